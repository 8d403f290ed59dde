"""What a proxy does with connections and requests, in Envoy's terms and without any control plane's.

Declared resources are lowered to it (intent), a config dump is parsed into it (effect), and one walker
answers for both. Where a field has a counterpart in Envoy's API, it means what Envoy means by it; source:
envoyproxy.io/docs/envoy/latest/api-v3.

``Origin`` ties each entry to the declared object that it comes from. ``Excluded`` are the candidates that
never became an entry here and the first condition that kept them out: they are the losers of a hop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Literal

from kgdiag.model.obj import Evidence
from kgdiag.model.ref import Ref


@dataclass(frozen=True, slots=True)
class Origin:
    """The declared object behind an entry, the part of it (``spec.http[1].match[0]``) and its evidence."""

    ref: Ref
    part: str = ""
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Excluded:
    """A candidate that did not become part of the proxy's config at this place, and why.

    ``nearness`` orders losers: 0 is the nearest miss.
    """

    ref: Ref
    part: str
    reason: str
    nearness: int = 5


# -- matching ------------------------------------------------------------------------------------------


class How(StrEnum):
    """How a StringMatch compares."""

    EXACT = "exact"
    PREFIX = "prefix"
    PATH_PREFIX = "path_separated_prefix"  # by whole path elements
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"  # RE2, full match
    PRESENT = "present"
    INVALID = "invalid"  # never matches; what a control plane makes of a pattern that it cannot use
    TEMPLATE = "template"  # Envoy's URI template match
    RANGE = "range"  # an integer of ``low,high``, high not included


@dataclass(frozen=True, slots=True)
class StringMatch:
    """Envoy's StringMatcher."""

    how: How
    value: str = ""
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A header or query parameter matcher. ``match`` None asks for presence.

    Header names are lower case; ``:authority``, ``:method``, ``:path`` and ``:scheme`` are headers too.
    """

    name: str
    match: StringMatch | None = None
    invert: bool = False
    missing_is_empty: bool = False


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """All conditions of one route; ``path`` None matches every path.

    ``grpc`` restricts to gRPC requests. ``dynamic`` names conditions that a request alone cannot decide
    (runtime fractions, dynamic metadata such as JWT claims): a route with one matches "perhaps".
    """

    path: StringMatch | None = None
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()
    grpc: bool = False
    dynamic: tuple[str, ...] = ()


# -- what a route does ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Header edits of one level: Envoy removes, then overwrites (``set``), then appends (``add``).

    ``ops`` keeps the order in which Envoy applies appends: ``("set"|"add"|"add_if_absent"|"set_if_present",
    name, value)``. An empty value changes nothing, unless its op is in ``keep_empty``.
    Envoy applies the most specific level first (weighted cluster, route, virtual host, route config).
    Source: envoy source/common/router/header_parser.cc, evaluateHeaders.
    """

    ops: tuple[tuple[str, str, str], ...] = ()
    remove: tuple[str, ...] = ()
    keep_empty: frozenset[tuple[str, str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class PathRewrite:
    """``prefix`` replaces what the route's own path match matched (Envoy's prefix_rewrite), ``regex``
    replaces all matches of ``pattern``, ``full`` replaces the whole path (query kept)."""

    how: Literal["prefix", "regex", "full"]
    value: str
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    """A cluster with its share. ``origin`` is the destination entry (``spec.http[0].route[1]``)."""

    cluster: str
    weight: int = 1
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    host_rewrite: str | None = None
    path_rewrite: PathRewrite | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Forward:
    """Forward to one of the clusters; a cluster that does not exist is answered with ``not_found``.

    ``host_rewrite`` "" leaves the host; ``auto_host`` takes the endpoint's host name (strict DNS only),
    ``host_header`` the value of a request header, ``host_regex`` (pattern, substitution) what it makes of the
    path. ``cluster_header`` names the request header that names the cluster. ``dynamic`` says what picks the
    cluster where the config alone does not.
    """

    clusters: tuple[WeightedCluster, ...]
    host_rewrite: str | None = None
    auto_host: bool = False
    path_rewrite: PathRewrite | None = None
    not_found: int = 503
    timeout: str | None = None
    retries: str | None = None
    upgrade: tuple[str, ...] = ()
    host_header: str | None = None
    host_regex: tuple[str, str] | None = None
    cluster_header: str | None = None
    dynamic: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Envoy's RedirectAction. None keeps the request's own part; ``port`` None follows Envoy's rule: the
    port of the request's authority is kept, and a default port is dropped where the scheme changes."""

    status: int = 301
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    path_rewrite: PathRewrite | None = None
    strip_query: bool = False


@dataclass(frozen=True, slots=True)
class Direct:
    """A response that the proxy makes itself."""

    status: int
    body: str = ""
    reason: str = ""


Action = Forward | Redirect | Direct


@dataclass(frozen=True, slots=True)
class Fault:
    """Injected faults; percentages of requests."""

    abort_status: int | None = None
    abort_percent: float = 0.0
    delay: str | None = None
    delay_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Cors:
    """A CORS policy: the filter answers preflights (OPTIONS with Origin and Access-Control-Request-Method)
    whose origin matches, before the router; with ``answers_all`` those of other origins too (200, without
    CORS headers: Envoy's ``forward_not_matching_preflights: false``)."""

    origins: tuple[StringMatch, ...] = ()
    methods: str = ""
    headers: str = ""
    expose: str = ""
    max_age: str = ""
    credentials: bool | None = None
    answers_all: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of a virtual host. ``name`` is the proxy's own name for it."""

    match: RouteMatch
    action: Action
    origin: Origin | None = None
    name: str = ""
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    fault: Fault | None = None
    cors: Cors | None = None
    filters: tuple[HttpFilter, ...] = ()  # what the route adds to, or decides for, the chain's filters
    mirrors: tuple[WeightedCluster, ...] = ()
    overrides: Mapping[str, object] = field(default_factory=dict)  # for the chain's filters, by their keys


@dataclass(frozen=True)
class VirtualHost:
    """Domains and their routes, in order; the first route that matches wins.

    ``routes`` may be made when they are asked for: of thousands of hosts a request needs one.
    ``excluded`` are candidates for these domains that have no route here.
    """

    name: str
    domains: tuple[str, ...]
    make_routes: Callable[[], tuple[Route, ...]] = tuple
    require_tls: Literal["none", "all", "external"] = "none"
    origin: Origin | None = None
    make_excluded: Callable[[], tuple[Excluded, ...]] = tuple
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        return self.make_routes()

    @cached_property
    def excluded(self) -> tuple[Excluded, ...]:
        return self.make_excluded()


@dataclass(frozen=True)
class RouteConfig:
    """Virtual hosts by domain: exact, then longest ``*suffix``, then longest ``prefix*``, then ``*``.

    Source: Envoy api/envoy/config/route/v3/route_components.proto, VirtualHost.domains.
    ``excluded`` are candidates that no request to this route config can reach; ``excluded_for(host)`` are
    those for one host (lower case, without port) that do not serve it here, nearest first.
    """

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    ignore_port: bool = True
    origin: Origin | None = None
    make_excluded: Callable[[], tuple[Excluded, ...]] = tuple
    excluded_for: Callable[[str], tuple[Excluded, ...]] = lambda _host: ()
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    specific_last: bool = False  # header edits: the most specific level is applied last
    unknown: str | None = None  # why it cannot be known

    @cached_property
    def by_domain(self) -> dict[str, VirtualHost]:
        """Virtual host of each domain, lower case; the first to name a domain has it."""
        found: dict[str, VirtualHost] = {}
        for host in self.virtual_hosts:
            for domain in host.domains:
                found.setdefault(domain.lower(), host)
        return found

    @cached_property
    def excluded(self) -> tuple[Excluded, ...]:
        return self.make_excluded()


# -- filters -------------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """What a filter says of one request. ``unknown`` comes with what would have to be known."""

    ALLOW = "allow"
    DENY = "deny"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is on the other end of a connection, as far as the proxy can tell.

    ``principal`` is a SPIFFE name without scheme (``cluster.local/ns/x/sa/y``), None without mTLS.
    ``address`` is the direct peer's IP, None where it cannot be known.
    """

    principal: str | None = None
    address: str | None = None
    namespace: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    principal_known: bool = True


@dataclass(frozen=True, slots=True)
class FilterRequest:
    """What a filter may look at. ``path`` is without the query; header names are lower case."""

    method: str
    authority: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    sni: str | None
    peer: Peer
    local_port: int
    http: bool = True
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class Ruling:
    """A filter's verdict with its reason and, for a denial, the answer that the client gets."""

    verdict: Verdict
    reason: str
    status: int | None = 403
    origin: Origin | None = None
    flag: str | None = None
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class HttpFilter:
    """A filter that can end a request before it is routed. ``judge`` is a pure function.

    On a TCP filter chain the same filters judge the connection (``FilterRequest.http`` False).
    ``key`` is what routes call it by; ``override`` makes of a route's own config for it the filter that
    judges instead, or None where the route switches it off; where ``enabled`` is False only routes switch
    it on.
    """

    name: str  # "rbac", "jwt", "ext_authz", "ip", "ratelimit", ...
    judge: Callable[[FilterRequest], Ruling]
    origin: Origin | None = None
    stage: int = 0  # order within the chain, ascending; from 100 on it is behind fault injection and CORS
    key: str = ""
    enabled: bool = True
    override: Callable[[object], HttpFilter | None] | None = None


# -- connections ---------------------------------------------------------------------------------------


class TlsMode(StrEnum):
    """What a filter chain does with TLS."""

    NONE = "none"  # plaintext expected
    TERMINATE = "terminate"
    MUTUAL = "mutual"  # terminate, and a client certificate is required
    OPTIONAL_MUTUAL = "optional_mutual"
    MESH = "mesh"  # terminate with the mesh's certificate, and a mesh client certificate is required
    PASSTHROUGH = "passthrough"  # bytes are passed on


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS of a filter chain. ``problem`` says why no handshake can succeed (certificate missing, …);
    ``doubt`` what of the certificate could not be read."""

    mode: TlsMode
    certificates: tuple[str, ...] = ()
    problem: str | None = None
    doubt: str | None = None
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class ChainMatch:
    """Envoy's FilterChainMatch; empty fields match everything.

    ``transport`` is ``tls`` or ``raw_buffer`` or empty; ``alpn`` are application protocols.
    """

    server_names: tuple[str, ...] = ()
    transport: str = ""
    alpn: tuple[str, ...] = ()
    port: int | None = None
    addresses: tuple[str, ...] = ()  # destination prefix ranges
    dynamic: str = ""  # what else it asks of a connection, which nobody can tell beforehand


@dataclass(frozen=True)
class HttpConnections:
    """An HTTP connection manager. The route config may be made when it is asked for.

    ``normalize_path``, ``merge_slashes`` and ``escaped_slashes`` (what becomes of ``%2F`` and ``%5C``) are
    Envoy's options; the defaults here are Istio's (BASE).
    """

    make_route_config: Callable[[], RouteConfig]
    filters: tuple[HttpFilter, ...] = ()
    normalize_path: bool = True
    merge_slashes: bool = False
    escaped_slashes: Literal["keep", "reject", "redirect", "decode"] = "keep"
    strip_port: Literal["no", "any", "own"] = "no"  # the port in Host: "own" is the listener's
    strip_dot: bool = False  # the dot at the end of Host
    trusts_forwarded: bool = False  # X-Forwarded-Proto of the client decides http or https
    faults: bool = True  # whether the filters that a route's fault and CORS settings are for are there
    cors: bool = True
    cors_first: bool = False  # CORS before fault injection
    cors_stage: int = 0  # filters from this stage on judge behind CORS

    @cached_property
    def route_config(self) -> RouteConfig:
        return self.make_route_config()


@dataclass(frozen=True, slots=True)
class TcpConnections:
    """A TCP proxy to one of the clusters; no cluster closes the connection."""

    clusters: tuple[WeightedCluster, ...] = ()
    filters: tuple[HttpFilter, ...] = ()


@dataclass(frozen=True)
class FilterChain:
    """One filter chain of a listener."""

    name: str
    match: ChainMatch
    network: HttpConnections | TcpConnections
    tls: ServerTls = ServerTls(TlsMode.NONE)
    origin: Origin | None = None


@dataclass(frozen=True)
class Listener:
    """A listener on one port of a pod. ``excluded`` are servers and listeners that are not part of it."""

    name: str
    address: str
    port: int
    chains: tuple[FilterChain, ...]
    default_chain: FilterChain | None = None
    origins: tuple[Origin, ...] = ()
    excluded: tuple[Excluded, ...] = ()
    inspects_http: bool = True  # whether the protocol of plaintext is looked for before a chain is chosen


class Health(StrEnum):
    """Whether an endpoint is sent requests."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address behind a cluster or a Service.

    ``pod`` is who has the address, where that is known; ``assumed`` marks what files only imply. ``tls``
    says that the proxy speaks the mesh's TLS to this endpoint (auto mTLS decides for each endpoint).
    """

    address: str
    port: int
    pod: Ref | None = None
    health: Health = Health.HEALTHY
    assumed: bool = False
    tls: bool = False
    hostname: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    internal: str = ""  # the internal listener that it is, by name
    weight: float = 1.0  # its share of the requests, relative to the other endpoints'
    locality: str = ""  # region, zone and sub-zone, joined with slashes


class ClientTls(StrEnum):
    """What a cluster speaks to its endpoints."""

    PLAIN = "plain"
    SIMPLE = "simple"
    MUTUAL = "mutual"
    MESH = "mesh"  # ISTIO_MUTUAL as written
    AUTO = "auto"  # the mesh's TLS to endpoints whose ``tls`` is set, plaintext to the others


@dataclass(frozen=True)
class Cluster:
    """An upstream cluster.

    ``kind``: ``eds`` and ``static`` have endpoints; ``dns`` resolves host names (``endpoints`` hold them);
    ``original_dst`` sends to the address that the client meant; ``blackhole`` closes the connection.
    ``service``, ``port`` and ``subset`` say what it stands for. ``external`` marks hosts outside of the
    cluster. ``unknown`` says why its endpoints cannot be known. ``panic`` lets unhealthy endpoints serve
    where no healthy one is left.
    """

    name: str
    kind: Literal["eds", "static", "dns", "original_dst", "blackhole"]
    make_endpoints: Callable[[], tuple[Endpoint, ...]] = tuple
    tls: ClientTls = ClientTls.PLAIN
    sni: str | None = None
    service: Ref | None = None
    port: int | None = None
    subset: str | None = None
    external: bool = False
    http2: bool | None = None
    panic: bool = False
    unknown: str | None = None
    origins: tuple[Origin, ...] = ()  # Service, DestinationRule, BackendTLSPolicy that shaped it
    empty_status: int = 503  # what the proxy answers where no endpoint is there
    empty_flag: str | None = "UH"
    make_excluded: Callable[[], tuple[Excluded, ...]] = field(default=tuple)  # DestinationRules that lost, …
    upstream_protocol: str = ""
    # shares that stand for Services of their own: Envoy Gateway's backends are localities of one cluster
    make_parts: Callable[[], tuple[tuple[float, Cluster], ...]] = tuple

    @cached_property
    def parts(self) -> tuple[tuple[float, Cluster], ...]:
        return self.make_parts()

    @cached_property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self.make_endpoints()

    @cached_property
    def excluded(self) -> tuple[Excluded, ...]:
        return self.make_excluded()


@dataclass(frozen=True)
class Proxy:
    """Everything that a trace asks of one proxy.

    ``listener_at(port)`` is where connections to that port of the pod arrive; None: nothing listens.
    ``capture(address, port)`` is where a sidecar takes its own application's outbound connections; None for
    gateways. The address is an IP, or a host name where the IP cannot be known (a Service of files by its
    full name, ``x.ns.svc.cluster.local``; a host outside of the cluster). ``inbound(port)`` is the chain set
    that guards the application's port in a sidecar.
    ``cluster(name)`` None means that the proxy does not know it.
    ``identity`` is the principal that it presents, ``dialect`` names the control plane, ``truth`` says
    whether this is declared or read from the proxy itself.
    """

    pod: Ref
    role: Literal["gateway", "sidecar", "waypoint"]
    dialect: str
    truth: Literal["intent", "effect"]
    listener_at: Callable[[int], Listener | None]
    cluster: Callable[[str], Cluster | None]
    ports: Callable[[], Sequence[int]]
    excluded_at: Callable[[int], tuple[Excluded, ...]] = lambda _port: ()
    capture: Callable[[str, int], Listener | None] = lambda _address, _port: None
    inbound: Callable[[int], Listener | None] = lambda _port: None
    identity: str | None = None
    namespace: str = ""
    access_log: bool = True
    unknown: str | None = None  # why its config cannot be known (a read that failed)
    # the listener that an endpoint is, where the proxy connects to itself
    own_listener: Callable[[Endpoint], Listener | None] = lambda _endpoint: None
    # all listeners, bound or not, and the names of all clusters: known of a dump only
    listeners: Callable[[], Sequence[Listener]] = tuple
    cluster_names: Callable[[], Sequence[str]] = tuple
    # of names that ``cluster`` lacks
    why_no_cluster: Callable[[str], tuple[Excluded, ...]] = lambda _name: ()
