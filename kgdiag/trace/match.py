"""Envoy's matchers: strings, headers, query parameters, routes.

Sources: envoy source/common/common/matchers.cc (StringMatcherImpl), source/common/http/header_utility.cc
(HeaderUtility::matchHeaders), source/common/router/config_utility.cc (matchQueryParams), config_impl.cc
(RouteEntryImplBase::matchRoute and the path matchers, which see the path without query and fragment).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kgdiag.model.proxy import How, RouteMatch, StringMatch, ValueMatch
from kgdiag.model.trace import Request

_MAX_SHOWN = 80
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,19}\s*", re.ASCII)  # what absl::SimpleAtoi takes


@lru_cache(maxsize=2048)
def compiled(pattern: str) -> Any:
    """The RE2 pattern, or None where RE2 does not take it."""
    import re2  # only traces that meet a regex pay for the library

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return None


def string_matches(match: StringMatch, value: str) -> bool:
    """Whether a value satisfies a StringMatcher; a regex has to match all of it."""
    if match.how is How.PRESENT:
        return True
    if match.how is How.INVALID:
        return False
    if match.how is How.REGEX:
        pattern = compiled(match.value)  # ignore_case means nothing here
        return pattern is not None and pattern.fullmatch(value) is not None
    if match.how is How.TEMPLATE:
        pattern = compiled(_template(match.value))
        return pattern is not None and pattern.fullmatch(value) is not None
    if match.how is How.RANGE:
        low, _, high = match.value.partition(",")
        return _INTEGER.fullmatch(value) is not None and int(low) <= int(value) < int(high)
    wanted, got = match.value, value
    if match.ignore_case:
        wanted, got = wanted.lower(), got.lower()
    if match.how is How.EXACT:
        return got == wanted
    if match.how is How.PREFIX:
        return got.startswith(wanted)
    if match.how is How.PATH_PREFIX:
        return path_prefix(wanted, got)
    if match.how is How.SUFFIX:
        return got.endswith(wanted)
    return wanted in got


def path_prefix(prefix: str, path: str) -> bool:
    """Whether a path starts with these whole elements: ``/a`` holds for ``/a`` and ``/a/b``, not ``/ab``."""
    bare = prefix.rstrip("/")
    return path == bare or path.startswith(bare + "/")


_LITERAL = r"a-zA-Z0-9\-._~%!$&'()+,;:@="  # what a wildcard of a template stands for


def _template(template: str) -> str:
    """A URI template as RE2: ``*`` one segment, ``**`` any number, ``{name}`` and ``{name=...}`` likewise.

    Source: envoy source/extensions/path/uri_template_lib.
    """
    import re2

    out, at = "", 0
    while at < len(template):
        char = template[at]
        if char == "{":
            end = template.find("}", at)
            if end < 0:
                return "[^\\s\\S]"
            inner = template[at + 1 : end].partition("=")[2] or "*"
            out += _template(inner)
            at = end + 1
        elif template.startswith("**", at):
            out += f"[{_LITERAL}/]*"
            at += 2
        elif char == "*":
            out += f"[{_LITERAL}]+"
            at += 1
        else:
            out += re2.escape(char)
            at += 1
    return out


def describe(match: StringMatch) -> str:
    """A matcher in words: ``prefix /v1``, ``regex ^/a.*$``."""
    if match.how is How.PRESENT:
        return "present"
    name = {How.PATH_PREFIX: "path prefix", How.TEMPLATE: "template"}.get(match.how, match.how.value)
    return f"{name} {match.value}" + (" (any case)" if match.ignore_case else "")


# -- headers and query ---------------------------------------------------------------------------------


def header_matches(match: ValueMatch, request: Request) -> bool:
    """A header that is sent several times matches where one of its values does (measured on Envoy 1.40). A
    missing header never satisfies a matcher with a value, inverted or not, unless missing counts as empty;
    presence is what it says."""
    values = request_headers(request, match.name)
    if match.match is None or match.match.how is How.PRESENT:
        return (bool(values) or match.missing_is_empty) != match.invert
    if not values:
        if not match.missing_is_empty:
            return False
        values = [""]
    return any(string_matches(match.match, value) for value in values) != match.invert


def request_headers(request: Request, name: str) -> list[str]:
    """The values of a header, one by one."""
    if name == "host" or name.startswith(":"):
        value = request_header(request, name)
        return [] if value is None else [value]
    return [value for key, value in request.headers if key == name]


def request_header(request: Request, name: str) -> str | None:
    """A header as a proxy sees it; ``:scheme`` is http or https."""
    if name == ":scheme":
        return "https" if request.scheme in ("https", "grpcs") else "http"
    return request.header(name)


def query_matches(match: ValueMatch, request: Request) -> bool:
    """The first value of the parameter counts, as it was sent (not decoded)."""
    value = query_value(request.query, match.name)
    if match.match is None or match.match.how is How.PRESENT:
        return (value is not None) != match.invert
    if value is None:
        return False
    return string_matches(match.match, value) != match.invert


def query_value(query: str, name: str) -> str | None:
    """The first value of a parameter, None where the query lacks it."""
    for part in query.split("&") if query else ():
        key, _, value = part.partition("=")
        if key == name:
            return value
    return None


# -- routes --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Miss:
    """The first condition of a route that a request does not satisfy. ``rank`` 0 is the nearest miss."""

    reason: str
    rank: int


def miss(match: RouteMatch, request: Request) -> Miss | None:
    """None where the route matches (``dynamic`` conditions left aside), else why not."""
    if match.path is not None and not string_matches(match.path, request.path):
        return Miss(_path_reason(match.path, request), _path_rank(match.path, request))
    for header in match.headers:
        if not header_matches(header, request):
            return Miss(_header_reason(header, request), 1)
    for parameter in match.query:
        if not query_matches(parameter, request):
            return Miss(_query_reason(parameter, request), 1)
    if match.grpc and not is_grpc(request):
        return Miss("it takes gRPC requests only (content-type application/grpc)", 1)
    return None


def is_grpc(request: Request) -> bool:
    """Envoy's Grpc::Common::isGrpcRequestHeaders."""
    kind = request.header("content-type") or ""
    return kind == "application/grpc" or kind.startswith("application/grpc+")


def _short(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _path_reason(match: StringMatch, request: Request) -> str:
    path, value = _short(request.path), _short(match.value)
    if match.how is How.INVALID:
        return f"its path pattern {value} cannot be used, so it never matches"
    if match.how is How.REGEX:
        if compiled(match.value) is None:
            return f"regex {value} is not RE2"
        pattern = compiled(match.value)
        if request.query and pattern.fullmatch(request.target):
            return f"regex {value} is held against the path without the query, {path}"
        partly = " (it matches a part, and has to match all)" if pattern.search(request.path) else ""
        return f"path {path} does not match regex {value}{partly}"
    if match.how in (How.PREFIX, How.PATH_PREFIX, How.EXACT) and "*" in match.value:
        return f"{describe(match)} holds a literal *, path is {path}"
    if not match.ignore_case and string_matches(StringMatch(match.how, match.value, True), request.path):
        return f"path {path} differs from {describe(match)} in upper and lower case"
    if match.how is How.PATH_PREFIX and request.path.startswith(match.value):
        return f"path prefix {value} compares whole elements, and {path} goes on within one"
    if match.how is How.EXACT and request.path.startswith(match.value):
        return f"path has to be exactly {value}, and is {path}"
    return f"path {path} does not match {describe(match)}"


def _path_rank(match: StringMatch, request: Request) -> int:
    if match.how in (How.EXACT, How.PREFIX, How.PATH_PREFIX):
        head = match.value.rstrip("/").lower()
        if request.path.lower().startswith(head) or "*" in match.value:
            return 1
        if head.rsplit("/", 1)[0] and request.path.startswith(head.rsplit("/", 1)[0]):
            return 2
    return 3


_PSEUDO = {":authority": "Host", ":method": "method", ":scheme": "scheme", ":path": "path with query"}


def _header_reason(header: ValueMatch, request: Request) -> str:
    what = _PSEUDO.get(header.name, f"header {header.name}")
    value = request_header(request, header.name)
    if header.match is None or header.match.how is How.PRESENT:
        return f"{what} is present and must not be" if header.invert else f"{what} is missing"
    wanted = describe(header.match)
    if header.match.how is How.REGEX and compiled(header.match.value) is None:
        return f"{what}: {wanted} is not RE2"
    if value is None:
        return f"{what} is missing ({wanted} wanted)"
    verb = "must not match" if header.invert else "does not match"
    return f"{what} {_short(value)} {verb} {_short(wanted)}"


def _query_reason(parameter: ValueMatch, request: Request) -> str:
    value = query_value(request.query, parameter.name)
    if value is None:
        return f"query parameter {parameter.name} is missing"
    wanted = describe(parameter.match) if parameter.match else "absent"
    return f"query parameter {parameter.name}={_short(value)} does not match {_short(wanted)}"
