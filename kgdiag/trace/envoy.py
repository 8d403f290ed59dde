"""What Envoy does with a connection and a request, given its configuration: pure functions.

Sources: envoy source/common/listener_manager/filter_chain_manager_impl.cc (findFilterChain),
source/common/router/config_impl.cc (findVirtualHost, finalizeRequestHeaders, newUri),
source/common/router/header_parser.cc (evaluateHeaders), source/common/http/path_utility.cc.
"""

from __future__ import annotations

import codecs
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote

from kgdiag.model.proxy import (
    FilterChain,
    HeaderEdits,
    How,
    Listener,
    PathRewrite,
    Redirect,
    RouteConfig,
    StringMatch,
    VirtualHost,
)
from kgdiag.model.trace import Request
from kgdiag.trace.match import compiled

HTTP_ALPN = ("h2", "http/1.1")
MESH_HTTP_ALPN = ("istio-http/1.1", "istio", "http/1.1")
MESH_H2_ALPN = ("istio-h2", "istio", "h2")
MESH_TCP_ALPN = ("istio-peer-exchange", "istio")


@dataclass(frozen=True, slots=True)
class Hello:
    """One layer of TLS on a connection: what its client offers."""

    sni: str | None
    alpn: tuple[str, ...] = ()
    cert: Literal["none", "mesh", "file"] = "none"
    principal: str | None = None
    principal_known: bool = True


# -- filter chains -------------------------------------------------------------------------------------


def find_chain(
    listener: Listener, address: str, port: int, hello: Hello | None, request: Request
) -> FilterChain | None:
    """The filter chain that a connection gets, the default one, or None: the connection is closed."""
    left = fitting_chains(listener, address, port, hello, request)
    return left[0] if left else listener.default_chain


def fitting_chains(
    listener: Listener, address: str, port: int, hello: Hello | None, request: Request
) -> list[FilterChain]:
    """The filter chains left for a connection: one, or several that ask different things of its source.

    Envoy narrows by destination port, address, server name, transport and application protocol, in this
    order, each time to the most specific entry, and never goes back.
    """
    chains = list(listener.chains)
    on_port = [chain for chain in chains if chain.match.port == port]
    if not on_port:
        on_port = [chain for chain in chains if chain.match.port is None]
    left = _by_address(on_port, address)
    left = _by_server_name(left, hello.sni if hello and hello.sni else "")
    left = _by_transport(left, "tls" if hello else "raw_buffer")
    plain = plaintext_protocols(request) if listener.inspects_http else ()
    return _by_protocol(left, hello.alpn if hello else plain)


def plaintext_protocols(request: Request) -> tuple[str, ...]:
    """What the HTTP inspector finds in a plaintext connection."""
    return () if not request.is_http else ("h2c",) if request.grpc else ("http/1.1",)


def _by_address(chains: list[FilterChain], address: str) -> list[FilterChain]:
    best, found = -1, []
    for chain in chains:
        length = (
            0 if not chain.match.addresses else max(_prefix(one, address) for one in chain.match.addresses)
        )
        if chain.match.addresses and length < 0:
            continue
        if not chain.match.addresses:
            length = -1
        if length > best:
            best, found = length, [chain]
        elif length == best:
            found.append(chain)
    return found


def _prefix(network: str, address: str) -> int:
    """The length of a prefix range that holds the address, plus one; -1 where it does not."""
    if network == address:
        return 1000
    if network in ("0.0.0.0/0", "::/0"):
        return 1
    try:
        parsed = ipaddress.ip_network(network, strict=False)
        return parsed.prefixlen + 1 if ipaddress.ip_address(address) in parsed else -1
    except ValueError:
        return -1


def _by_server_name(chains: list[FilterChain], sni: str) -> list[FilterChain]:
    for name in _server_names(sni.lower()):
        found = [chain for chain in chains if name in _lower(chain.match.server_names)]
        if found:
            return found
    return [chain for chain in chains if not chain.match.server_names]


def _lower(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}


def _server_names(sni: str) -> Iterable[str]:
    """The exact name, then ``*.suffix`` from the longest on."""
    if not sni:
        return
    yield sni
    labels = sni.split(".")
    for at in range(1, len(labels)):
        yield "*." + ".".join(labels[at:])


def _by_transport(chains: list[FilterChain], transport: str) -> list[FilterChain]:
    return [chain for chain in chains if chain.match.transport == transport] or [
        chain for chain in chains if not chain.match.transport
    ]


def _by_protocol(chains: list[FilterChain], offered: tuple[str, ...]) -> list[FilterChain]:
    for protocol in offered:
        found = [chain for chain in chains if protocol in chain.match.alpn]
        if found:
            return found
    return [chain for chain in chains if not chain.match.alpn]


# -- virtual hosts -------------------------------------------------------------------------------------


def find_virtual_host(config: RouteConfig, authority: str) -> tuple[VirtualHost, str] | None:
    """The virtual host of a request with the domain that won: exact, longest ``*suffix``, longest
    ``prefix*``, then ``*``. A wildcard stands for at least one character."""
    host = authority.lower()
    if config.ignore_port:
        host = without_port(host)
    by_domain = config.by_domain
    whole = type(by_domain) is dict  # else domains are looked up one by one, and all wildcards are of labels
    for domain in _domains(host) if whole else (*_server_names(host), "*"):
        if domain in by_domain:
            return by_domain[domain], domain
    return None


def _domains(host: str) -> Iterable[str]:
    if host:
        yield host
    for at in range(1, len(host)):
        yield "*" + host[at:]
    for at in range(len(host) - 1, 0, -1):
        yield host[:at] + "*"
    yield "*"


def without_port(host: str) -> str:
    """A host without what stands behind its last colon; an IPv6 address keeps its brackets.

    Source: envoy source/common/http/header_utility.cc, getPortStart (which asks for no digits).
    """
    head, colon, tail = host.rpartition(":")
    return head if colon and "]" not in tail else host


# -- paths ---------------------------------------------------------------------------------------------

_ESCAPED = re.compile(r'["<>`{}|^\x00-\x20\x7f]')
_UNRESERVED = re.compile(r"%([0-9A-Fa-f]{2})")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def normalize(path: str, *, merge_slashes: bool = False) -> str:
    """Envoy's normalize_path: ``\\`` is ``/``, dot segments go (``%2e`` is a dot), unreserved characters are
    decoded and others than ASCII encoded; then ``merge_slashes`` joins runs of slashes. The path comes
    without its query. Source: envoy source/common/http/path_utility.cc, measured on Envoy 1.40.
    """
    path = path.replace("\\", "/")
    if not path.startswith("/"):
        return path
    segments: list[str] = []
    parts = path[1:].split("/")
    for at, part in enumerate(parts):
        last = at == len(parts) - 1
        dots = part.replace("%2e", ".").replace("%2E", ".")
        if dots in (".", ".."):
            if dots == ".." and segments:
                segments.pop()
            if last:
                segments.append("")
        else:
            segments.append(part)
    path = "/" + "/".join(segments).encode("ascii", "percent").decode("ascii")
    path = _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", path)
    path = _UNRESERVED.sub(_decode, path)
    return merged_slashes(path) if merge_slashes else path


def merged_slashes(path: str) -> str:
    """A path with runs of slashes made one, Envoy's merge_slashes; nothing but slashes becomes ``//``."""
    if "//" not in path:
        return path
    parts = "/".join(part for part in path.split("/") if part)
    return f"{'/' if path.startswith('/') else ''}{parts}{'/' if path.endswith('/') else ''}"


def _percent(error: UnicodeError) -> tuple[str, int]:
    """What is no ASCII, percent-encoded as UTF-8."""
    assert isinstance(error, UnicodeEncodeError)
    return quote(error.object[error.start : error.end]), error.end


codecs.register_error("percent", _percent)


def _decode(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if char in _PLAIN else found[0]


def rewrite_path(rewrite: PathRewrite, matched: StringMatch | None, path: str) -> str:
    """A path after a rewrite. ``prefix`` replaces what the route's matcher matched: its prefix, or the
    whole path where it is exact, a regex or a template."""
    if rewrite.how == "full":
        return rewrite.value
    if rewrite.how == "regex":
        pattern = compiled(rewrite.pattern)
        return path if pattern is None else substituted(pattern, rewrite.value, path)
    if matched is not None and matched.how not in (How.PREFIX, How.PATH_PREFIX):
        return rewrite.value
    length = len(matched.value) if matched is not None else 1
    return rewrite.value + path[length:]


def substituted(pattern: Any, value: str, text: str) -> str:
    r"""All matches replaced by RE2's rewrite string: ``\1`` is a group, ``\0`` the match."""

    def one(found: Any) -> str:
        return re.sub(r"\\(.)", lambda part: _referred(found, part[1]), value)

    return str(pattern.sub(one, text))


def _referred(found: Any, mark: str) -> str:
    return (found.group(int(mark)) or "") if mark.isdigit() else mark


# -- headers -------------------------------------------------------------------------------------------


def edit(request: Request, levels: Iterable[HeaderEdits]) -> Request:
    """A request after header edits, levels in the order given (the most specific first).

    Each level removes, then overwrites, then appends.
    """
    for level in levels:
        for name in level.remove:
            request = _without(request, name.lower())
        before = request  # values are made of the headers as they came, whatever the order of the edits
        made = [
            (op[0], op[1].lower(), value)
            for op in level.ops
            if (value := expand(op[2], before)) or op in level.keep_empty
        ]
        for op, name, value in made:
            if op == "set" or (op == "set_if_present" and before.header(name) is not None):
                request = _put(request, "set", name, value)
        for op, name, value in made:
            if op == "add" or (op == "add_if_absent" and before.header(name) is None):
                request = _put(request, "add", name, value)
    return request


def _without(request: Request, name: str) -> Request:
    return replace(request, headers=tuple(pair for pair in request.headers if pair[0] != name))


def _put(request: Request, op: str, name: str, value: str) -> Request:
    if name in ("host", ":authority"):
        return replace(request, authority=value) if op == "set" else request
    if name == ":path":
        path, _, query = value.partition("?")
        return replace(request, path=path, query=query) if op == "set" else request
    if name == ":method":
        return replace(request, method=value) if op == "set" else request
    if op == "set":
        request = _without(request, name)
    return replace(request, headers=(*request.headers, (name, value)))


def expand(value: str, request: Request) -> str:
    """A header value with Envoy's ``%REQ(name?other):length%`` filled in and ``%%`` made ``%``.

    Other commands stay as they are.
    """

    def one(found: re.Match[str]) -> str:
        if found[3]:
            return "%"
        first, _, other = found[1].partition("?")
        text = first_value(request, first) or (first_value(request, other) if other else None) or ""
        return text[: int(found[2])] if found[2] else text

    return re.sub(r"%REQ\(([^)%]+)\)(?::(\d+))?%|%(%)", one, value)


def first_value(request: Request, name: str) -> str | None:
    """The first of a header's values, which is what Envoy takes where it needs one."""
    name = name.lower()
    if name.startswith(":") or name == "host":
        return request.header(name)
    return next((value for key, value in request.headers if key == name), None)


def expanded(level: HeaderEdits, request: Request) -> HeaderEdits:
    """Edits of an answer, with what their values take from the request filled in."""
    if not any("%" in op[2] for op in level.ops):
        return level
    kept = frozenset((op[0], op[1], expand(op[2], request)) for op in level.keep_empty)
    return replace(
        level,
        ops=tuple((how, name, expand(value, request)) for how, name, value in level.ops),
        keep_empty=kept,
    )


# -- redirects -----------------------------------------------------------------------------------------


def location(
    redirect: Redirect, request: Request, matched: StringMatch | None, *, tls: bool, said: str = ""
) -> str:
    """The Location of a redirect. ``said`` is X-Forwarded-Proto, by which default ports are dropped."""
    came = "https" if tls else "http"
    scheme = redirect.scheme or came
    port = f":{redirect.port}" if redirect.port else ""
    host = redirect.host or _request_host(request.authority, scheme, said or came, port)
    path = request.target
    if redirect.path is not None:
        path = redirect.path if "?" in redirect.path else redirect.path + request.target[len(request.path) :]
    elif redirect.path_rewrite is not None:
        path = rewrite_path(redirect.path_rewrite, matched, request.path)
        path += request.target[len(request.path) :]
    if redirect.strip_query and not (redirect.path and "?" in redirect.path):
        path = path.partition("?")[0]
    return f"{scheme}://{host}{port}{path if path.startswith('/') else '/' + path}"


def _request_host(authority: str, scheme: str, came: str, port: str) -> str:
    bare = without_port(authority)
    if bare == authority:
        return authority
    own = authority[len(bare) :]
    default = {"http": ":80", "https": ":443"}.get(came)
    return bare if port or (scheme != came and own == default) else authority


def grpc_status(http_status: int) -> int:
    """Envoy's httpToGrpcStatus, for the answers that it makes itself."""
    return {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}.get(http_status, 2)
