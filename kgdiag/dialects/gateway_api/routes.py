"""HTTPRoutes and GRPCRoutes, lowered match by match.

What the implementations share is here; where they differ, they override ``Provider`` (precedence, path
matches, rewrites, what invalid backends give).

Source: gateway-api apis/v1/httproute_types.go and grpcroute_types.go, with the defaults of their CRDs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from kgdiag.dialects.gateway_api.backends import BackendRef, backend_refs
from kgdiag.model import kinds
from kgdiag.model.obj import Obj, dig
from kgdiag.model.proxy import (
    Cors,
    Direct,
    HeaderEdits,
    How,
    Origin,
    PathRewrite,
    Route,
    RouteMatch,
    StringMatch,
    ValueMatch,
)

EXACT, PREFIX, REGEX = "Exact", "PathPrefix", "RegularExpression"
FILTER_FIELDS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "CORS": "cors",
    "ExtensionRef": "extensionRef",
}


@dataclass(frozen=True)
class Match:
    """One match of one rule of a route: what becomes one route of the proxy.

    ``index`` is None for a rule without matches, which matches everything. ``path`` is (type, value), the
    API's default where a HTTPRoute says nothing; None for GRPCRoutes.
    """

    route: Obj
    rule: int
    index: int | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)
    doubt: str = ""
    preflight: bool = False  # made for the CORS preflights of a match

    @property
    def rule_part(self) -> str:
        return f"spec.rules[{self.rule}]"

    @property
    def part(self) -> str:
        """The field that it is written in."""
        return self.rule_part if self.index is None else f"{self.rule_part}.matches[{self.index}]"

    @cached_property
    def origin(self) -> Origin:
        return Origin(self.route.ref, self.part, (self.route.evidence(self.part),))

    @property
    def grpc(self) -> bool:
        return self.route.kind == kinds.GRPC_ROUTE

    @property
    def path(self) -> tuple[str, str] | None:
        if self.grpc:
            return None
        return str(dig(self.raw, "path.type", PREFIX)), str(dig(self.raw, "path.value", "/"))

    @property
    def method(self) -> str:
        """The HTTP method, "" for any."""
        return "" if self.grpc else str(self.raw.get("method") or "")

    @property
    def headers(self) -> list[Mapping[str, Any]]:
        return _maps(self.raw.get("headers"))

    @property
    def query(self) -> list[Mapping[str, Any]]:
        return [] if self.grpc else _maps(self.raw.get("queryParams"))

    @property
    def filters(self) -> list[Mapping[str, Any]]:
        return self.route.maps(f"{self.rule_part}.filters")

    @property
    def backends(self) -> list[BackendRef]:
        return backend_refs(self.route, self.rule)

    def filter(self, kind: str) -> Mapping[str, Any] | None:
        """The settings of the first filter of a type, None where there is none."""
        for item in self.filters:
            if item.get("type") == kind:
                settings = item.get(FILTER_FIELDS[kind])
                return settings if isinstance(settings, Mapping) else {}
        return None


def _maps(raw: Any) -> list[Mapping[str, Any]]:
    return [item for item in raw if isinstance(item, Mapping)] if isinstance(raw, list) else []


def matches_of(route: Obj, doubt: str = "") -> list[Match]:
    """The matches of a route in their order."""
    out = []
    for rule, raw in enumerate(route.items("spec.rules")):
        if not isinstance(raw, Mapping):
            continue
        given = _maps(raw.get("matches"))
        if given:
            out += [Match(route, rule, index, item, doubt) for index, item in enumerate(given)]
        else:
            out.append(Match(route, rule, None, {}, doubt))
    return out


# -- matching ----------------------------------------------------------------------------------------------


def path_match(path: tuple[str, str] | None) -> StringMatch | None:
    """A path match as Envoy has it: prefixes by whole elements, without a slash at their end."""
    if path is None:
        return None
    kind, value = path
    if kind == EXACT:
        return StringMatch(How.EXACT, value)
    if kind == REGEX:
        return regex(value)
    if value == "/":
        return None
    return StringMatch(How.PATH_PREFIX, value.removesuffix("/"))


def regex(pattern: str) -> StringMatch:
    """A regular expression; one that is not RE2 never matches."""
    return StringMatch(How.REGEX if is_re2(pattern) else How.INVALID, pattern)


def is_re2(pattern: str) -> bool:
    """Whether a pattern is RE2, which is what Envoy takes."""
    import re2  # only routes with patterns pay for the library

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error:
        return False
    return True


def value_matches(entries: Iterable[Mapping[str, Any]], *, lower: bool) -> tuple[ValueMatch, ...]:
    """Header (names in lower case) or query parameter matches; of equal names the first counts."""
    found: dict[str, ValueMatch] = {}
    for item in entries:
        name, value = str(item.get("name") or ""), str(item.get("value", ""))
        name = name.lower() if lower else name
        test = regex(value) if item.get("type") == REGEX else StringMatch(How.EXACT, value)
        found.setdefault(name, ValueMatch(name, test))
    return tuple(found.values())


def route_match(
    match: Match, path: StringMatch | None, headers: Sequence[ValueMatch] = ()
) -> RouteMatch:  # fmt: skip
    """All conditions of a match, with the path test that the implementation makes of it."""
    own = value_matches(match.headers, lower=True)
    method = (ValueMatch(":method", StringMatch(How.EXACT, match.method)),) if match.method else ()
    return RouteMatch(
        path=path,
        headers=(*own, *headers, *method),
        query=value_matches(match.query, lower=False),
        dynamic=(match.doubt,) if match.doubt else (),
    )


def grpc_method(match: Match) -> tuple[str, str, str]:
    """(type, service, method) of a GRPCRoute's match; both are "" where it says nothing of them."""
    return (
        str(dig(match.raw, "method.type", EXACT)),
        str(dig(match.raw, "method.service", "")),
        str(dig(match.raw, "method.method", "")),
    )


def precedence(match: Match) -> tuple[int, int, int, int]:
    """How specific a match is, the greater the earlier, as the specification orders them: length of the
    path, method, headers, query parameters. The path's kind comes before it, and implementations differ
    in it."""
    length = len(match.path[1].encode()) if match.path else 0
    return (length, bool(match.method), len(match.headers), len(match.query))


# -- filters -----------------------------------------------------------------------------------------------


def header_edits(
    settings: Mapping[str, Any] | None,
    order: Sequence[str] = ("set", "add"),
    *,
    by_name: bool = False,
    once: bool = False,
) -> HeaderEdits:
    """A header modifier filter; ``by_name`` sorts each group by name, as istiod does.

    Of equal names in one group the first counts; with ``once`` a name counts in one group only, the first
    in ``order`` (Envoy Gateway 1.9.1: a name under both ``add`` and ``set`` is added, measured).
    """
    if not settings:
        return HeaderEdits()
    ops: list[tuple[str, str, str]] = []
    for how in order:
        group: dict[str, str] = {}
        for item in _maps(settings.get(how)):
            name = str(item.get("name") or "").lower()
            if not (once and any(op[1] == name for op in ops)):
                group.setdefault(name, str(item.get("value", "")))
        ops += [(how, *pair) for pair in (sorted(group.items()) if by_name else group.items())]
    remove = settings.get("remove")
    names = [str(name).lower() for name in remove] if isinstance(remove, list) else []
    return HeaderEdits(tuple(ops), tuple(dict.fromkeys(names)))


def joined(first: HeaderEdits, second: HeaderEdits) -> HeaderEdits:
    """Two levels of edits as one."""
    return HeaderEdits((*first.ops, *second.ops), (*first.remove, *second.remove))


def quote(text: str) -> str:
    """Text as a regular expression that matches it, like Go's regexp.QuoteMeta."""
    return "".join("\\" + char if char in r"\.+*?()|[]{}^$" else char for char in text)


def full_path(modifier: Mapping[str, Any] | None) -> str | None:
    """The whole path that a rewrite or redirect sets, None where it sets none."""
    if modifier and modifier.get("type") == "ReplaceFullPath":
        return str(modifier.get("replaceFullPath", ""))
    return None


def prefix_path(modifier: Mapping[str, Any] | None) -> str | None:
    """What a rewrite or redirect puts in the place of the matched prefix, None where it does not."""
    if modifier and modifier.get("type") == "ReplacePrefixMatch":
        return str(modifier.get("replacePrefixMatch", ""))
    return None


def path_modifier(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    modifier = settings.get("path")
    return modifier if isinstance(modifier, Mapping) else None


def full_rewrite(value: str) -> PathRewrite:
    return PathRewrite("full", value)


def cors(settings: Mapping[str, Any] | None) -> Cors | None:
    """A CORS filter; ``*`` in an origin stands for any text.

    Preflights of other origins are answered too, with 200 and no CORS headers: measured with Istio 1.31 and
    Envoy Gateway 1.9.1.
    """
    if settings is None:
        return None

    def listed(name: str) -> str:
        values = settings.get(name)
        return ",".join(str(item) for item in values) if isinstance(values, list) else ""

    origins = settings.get("allowOrigins")
    age = settings.get("maxAge")
    return Cors(
        origins=tuple(_origin(str(item)) for item in origins) if isinstance(origins, list) else (),
        methods=listed("allowMethods"),
        headers=listed("allowHeaders"),
        expose=listed("exposeHeaders"),
        max_age=str(age) if isinstance(age, int) else "",
        credentials=settings.get("allowCredentials") is True or None,
        answers_all=True,
    )


def _origin(origin: str) -> StringMatch:
    if "*" not in origin:
        return StringMatch(How.EXACT, origin)
    return StringMatch(How.REGEX, ".*".join(quote(part) for part in origin.split("*")))


class LateRoute(Route):
    """A route of which only the match, and its origin, are made until more of it is asked for.

    Of the thousands of routes of a virtual host a request needs one; what the others lead to is neither
    lowered nor read.
    """

    __slots__ = ("_made", "_make", "_source")
    _make: Callable[[], Route]
    _made: Route | None
    _source: Match

    def __init__(self, match: RouteMatch, name: str, source: Match, make: Callable[[], Route]) -> None:
        for key, value in (("match", match), ("name", name), ("_source", source), ("_make", make)):
            object.__setattr__(self, key, value)
        object.__setattr__(self, "_made", None)

    def whole(self) -> Route:
        """The route with all of its fields."""
        made = self._made
        if made is None:
            made = self._make()
            object.__setattr__(self, "_made", made)
        return made

    def __eq__(self, other: object) -> bool:
        return self.whole() == (other.whole() if isinstance(other, LateRoute) else other)

    def __hash__(self) -> int:
        return hash((self.match, self.name))


def _late(name: str) -> property:
    return property(lambda self: getattr(self.whole(), name))


for _field in fields(Route):
    if _field.name not in ("match", "name", "origin"):
        setattr(LateRoute, _field.name, _late(_field.name))
setattr(LateRoute, "origin", property(lambda self: self._source.origin))  # noqa: B010 -- a slot of its base


def refused(status: int, reason: str) -> Direct:
    """The answer that a proxy gives for a rule that it cannot follow."""
    return Direct(status, reason=reason)
