"""Istio Gateways, lowered to the proxy that runs in a gateway pod.

Source: istio pilot/pkg/networking/core/gateway.go (buildGatewayListeners, buildGatewayHTTPRouteConfig,
createGatewayTCPFilterChainOpts, builtAutoPassthroughFilterChains) and listener.go (toFilterChainMatch).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from kgdiag.dialects.istio import bound, hosts, ingress, registry, security
from kgdiag.dialects.istio.generated import excluded as lost
from kgdiag.dialects.istio.generated import origin as origin_of
from kgdiag.dialects.istio.mesh import (
    PROXY_CONTAINER,
    Mesh,
    in_scope,
    is_gateway_pod,
    mesh_of,
    principal,
    proxy_env,
)
from kgdiag.dialects.istio.routes import (
    RouteContext,
    any_route,
    catch_all_last,
    lowered,
    tcp_routes,
    tls_routes,
)
from kgdiag.dialects.istio.servers import (
    Merged,
    Server,
    ServerPort,
    Target,
    difference,
    merge,
    resolve_port,
    selects,
    servers_of,
    targets_of,
)
from kgdiag.dialects.istio.tls import server_tls
from kgdiag.graph.core import ASSUMED
from kgdiag.graph.labels import subset_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import (
    ChainMatch,
    Cluster,
    Direct,
    Excluded,
    FilterChain,
    How,
    HttpConnections,
    HttpFilter,
    Listener,
    Proxy,
    Route,
    RouteConfig,
    RouteMatch,
    ServerTls,
    StringMatch,
    TcpConnections,
    TlsMode,
    VirtualHost,
    WeightedCluster,
)

WILDCARDS = ("", "0.0.0.0", "::")
MESH_ALPN = ("istio-peer-exchange", "istio", "istio-http/1.0", "istio-http/1.1", "istio-h2")
_MANY = 20  # destinations of more VirtualServices than this are looked up in one list of Services
_AGENT = {15021: "/healthz/ready", 15090: "/stats/prometheus"}


def gateway_proxy(world: World, pod: Obj) -> Proxy | None:
    """The gateway proxy of a pod, None where it is none."""
    if not is_gateway_pod(pod):
        return None
    mesh = mesh_of(world, pod)
    made, _ = ingress.generated(world, mesh)
    found = [*made, *in_scope(world, mesh, world.all(kinds.ISTIO_GATEWAY))]
    world.all(kinds.VIRTUAL_SERVICE)  # asked for early: whatever comes in needs them
    world.all(kinds.SERVICE, pod.namespace)
    key = ("istio gateway proxy", pod.ref, str(pod.labels))  # pods of declared_proxy may share a name
    return world.memo(key, lambda: proxy_for(world, mesh, pod, found))


def proxy_for(world: World, mesh: Mesh, pod: Obj, gateways: Sequence[Obj]) -> Proxy:
    """The proxy of a gateway pod among these Gateways, whoever declared them."""
    state = _Gateway(world, mesh, pod, gateways)
    return Proxy(
        pod=pod.ref,
        role="gateway",
        dialect="istio",
        truth="intent",
        listener_at=state.listener_at,
        cluster=state.cluster,
        ports=state.open_ports,
        excluded_at=state.excluded_at,
        identity=principal(mesh, pod),
        namespace=pod.namespace,
        access_log=bool(mesh.access_log_file),
        unknown=_unknown(world),
    )


def _unknown(world: World) -> str | None:
    for kind, what in ((kinds.ISTIO_GATEWAY, "Gateways"), (kinds.VIRTUAL_SERVICE, "VirtualServices")):
        if not world.readable(kind):
            return f"{what} of all namespaces could not be read"
    return None


class _Gateway:
    """What istiod sends to one gateway pod, made as far as it is asked for."""

    def __init__(self, world: World, mesh: Mesh, pod: Obj, gateways: Sequence[Obj]) -> None:
        self.world, self.mesh, self.pod = world, mesh, pod
        self.scoped = mesh.switch("PILOT_SCOPE_GATEWAY_TO_NAMESPACE", False)
        self.gateways = sorted(gateways, key=lambda one: one.age_key)
        self._listeners: dict[int, Listener | None] = {}
        self._refused: dict[int, tuple[Excluded, ...]] = {}

    @cached_property
    def mine(self) -> list[Obj]:
        """The Gateways that are for this pod, oldest first."""
        return [
            one
            for one in self.gateways
            if selects(one, self.pod.labels) and (not self.scoped or one.namespace == self.pod.namespace)
        ]

    @cached_property
    def targets(self) -> list[Target]:
        return targets_of(self.world, self.pod, self.mesh.domain)

    @cached_property
    def merged(self) -> Merged:
        return merge(self.mine, self.targets)

    @cached_property
    def existing(self) -> frozenset[str]:
        return frozenset(f"{one.namespace}/{one.name}" for one in self.gateways)

    @cached_property
    def unprivileged(self) -> bool:
        value = proxy_env(self.pod).get("ISTIO_META_UNPRIVILEGED_POD", "")
        return value.strip().lower() in ("1", "t", "true")

    def bound_to(self, gateway: str) -> Sequence[Obj]:
        return bound.bound_to(self.world, self.mesh, gateway, self.pod.namespace)

    def hosts(self, virtual_service: Obj) -> tuple[str, ...]:
        return self.index.hosts[id(virtual_service)]

    @cached_property
    def index(self) -> bound.Index:
        return bound.index_of(self.world, self.mesh)

    def context(self, server: Server) -> RouteContext:
        return RouteContext(
            world=self.world,
            mesh=self.mesh,
            gateway=server.name,
            server_port=server.number,
            proxy_namespace=self.pod.namespace,
            proxy_labels=self.pod.labels,
            proxy_pod=self.pod,
            tls=server.tls is not None,
        )

    def cluster(self, name: str) -> Cluster | None:
        from kgdiag.dialects.istio import clusters

        return clusters.cluster(self.world, self.mesh, self.pod, name)

    # -- listeners -----------------------------------------------------------------------------------------

    def open_ports(self) -> Sequence[int]:
        """The ports that listen, the agent's own ones left out."""
        return sorted({key.number for key in self.merged.ports if self.listener_at(key.number)})

    def listener_at(self, port: int) -> Listener | None:
        if port not in self._listeners:
            self._listeners[port] = self._listener(port)
        return self._listeners[port]

    def _reachable(self, bind: str) -> bool:
        return bind in WILDCARDS or bind == self.pod.text("status.podIP")

    def _listener(self, port: int) -> Listener | None:
        if port in _AGENT:
            return _agent_listener(port)
        if port < 1024 and self.unprivileged:
            return None
        keys = [key for key in self.merged.ports if key.number == port and self._reachable(key.bind)]
        narrow = [key for key in keys if key.bind not in WILDCARDS]
        keys = narrow or keys  # a listener on the pod's address takes what a wildcard one would
        chains = [chain for key in keys for chain in self._chains(key)]
        if not chains:
            return None
        twice = _same_matches(chains)
        if twice:
            self._refused[port] = tuple(
                Excluded(
                    chain.origin.ref,
                    chain.origin.part,
                    f"Envoy refuses the whole listener on port {port}: {why}",
                    0,
                )
                for chain, why in twice
                if chain.origin
            )
            return None
        servers = [server for key in keys for server in self.merged.servers[key]]
        bind = keys[0].bind or "0.0.0.0"
        return Listener(
            name=f"{bind}_{port}",
            address=bind,
            port=port,
            chains=tuple(chains),
            origins=tuple(self.merged.origin(server) for server in servers),
            excluded=self.excluded_at(port),
        )

    def _chains(self, key: ServerPort) -> Iterator[FilterChain]:
        servers = self.merged.servers[key]
        if servers[0].http:
            name = self.merged.route_names[servers[0].key]
            yield FilterChain(
                name="",
                match=ChainMatch(),
                network=self._http(name, key.number, servers[0]),
                origin=self.merged.origin(servers[0]),
            )
            return
        taken: set[tuple[str, str]] = set()
        for server in servers:
            if server.terminates_https:
                name = self.merged.route_names[server.key]
                yield self._terminating(server, self._http(name, key.number, server))
            elif server.passthrough:
                yield from self._passthrough(server, key.number, taken)
            else:
                clusters = self._tcp_clusters(server)
                if clusters:
                    tcp = TcpConnections(clusters, self._filters(key.number, server))
                    yield self._terminating(server, tcp)

    def _terminating(self, server: Server, network: HttpConnections | TcpConnections) -> FilterChain:
        """A chain of a server without SNI routing of its own: plaintext TCP, or TLS that ends here."""
        if server.tls is None:
            return FilterChain("", ChainMatch(), network, origin=self.merged.origin(server))
        return FilterChain(
            name="",
            match=ChainMatch(server_names=_server_names(server.names)),
            network=network,
            tls=server_tls(self.world, self.pod, server),
            origin=self.merged.origin(server),
        )

    def _filters(self, port: int, server: Server) -> tuple[HttpFilter, ...]:
        return security.filters(self.world, self.mesh, self.pod, port=port, gateway=server.gateway.ref)

    def _http(self, name: str, port: int, server: Server) -> HttpConnections:
        normalize, merge_slashes, decode = path_normalization(self.mesh)
        return HttpConnections(
            make_route_config=lambda: self.route_config(name),
            filters=self._filters(port, server),
            normalize_path=normalize,
            merge_slashes=merge_slashes,
            escaped_slashes="decode" if decode else "keep",
        )

    # -- TCP and TLS without HTTP --------------------------------------------------------------------------

    def _matching(self, server: Server) -> Iterator[tuple[Obj, RouteContext]]:
        """VirtualServices of a server's Gateway with a host that overlaps the server's."""
        context = self.context(server)
        for one in self.bound_to(server.name):
            mine = hosts.for_namespace(server.hosts, one.namespace)
            if any(hosts.overlap(host, name) for host in mine for name in self.hosts(one)):
                yield one, context

    def _tcp_clusters(self, server: Server) -> tuple[WeightedCluster, ...]:
        """The first ``tcp`` route of the first VirtualService that fits."""
        for one, context in self._matching(server):
            for route in tcp_routes(context, one):
                return route.clusters
        return ()

    def _passthrough(self, server: Server, port: int, taken: set[tuple[str, str]]) -> Iterator[FilterChain]:
        """A chain for each ``tls`` match; a match with an SNI host that is taken already is left out."""
        if server.mode == "AUTO_PASSTHROUGH":
            yield from self._auto_passthrough(server)
            return
        for one, context in self._matching(server):
            for route in tls_routes(context, one):
                names = {(name, server.bind) for name in route.sni_hosts}
                if names & taken:
                    continue
                taken |= names
                yield FilterChain(
                    name="",
                    match=ChainMatch(server_names=_server_names(sorted(route.sni_hosts))),
                    network=TcpConnections(route.clusters, self._filters(port, server)),
                    tls=ServerTls(TlsMode.PASSTHROUGH),
                    origin=origin_of(one, route.part, *server.evidence(), one.evidence(route.part)),
                )

    def _auto_passthrough(self, server: Server) -> Iterator[FilterChain]:
        """A chain for each Service port in the mesh; SNI is the name of the cluster."""
        for service in registry.everything(self.world, self.mesh):
            if service.external or not any(hosts.subset_of(service.host, name) for name in server.names):
                continue
            for port in service.ports:
                if port.protocol == "UDP":
                    continue
                name = f"outbound_.{port.number}_._.{service.host}"
                yield FilterChain(
                    name="",
                    match=ChainMatch(server_names=(name,), alpn=MESH_ALPN),
                    network=TcpConnections((WeightedCluster(name),)),
                    tls=ServerTls(TlsMode.PASSTHROUGH),
                    origin=self.merged.origin(server),
                )

    # -- routes --------------------------------------------------------------------------------------------

    def route_config(self, name: str) -> RouteConfig:
        """The route config of a plain HTTP port or of one HTTPS server."""
        servers = self.merged.by_route.get(name, [])
        return _RouteConfig(self, name, servers).lowered()

    # -- losers --------------------------------------------------------------------------------------------

    def excluded_at(self, port: int) -> tuple[Excluded, ...]:
        """Gateways that might have opened a port and did not, or not with all servers; nearest first."""
        found = [*self._refused.get(port, ()), *self._left_out(port), *self._not_selected(port)]
        return tuple(sorted(found, key=lambda one: (one.nearness, one.ref, one.part)))

    def _left_out(self, port: int) -> Iterator[Excluded]:
        for skipped in self.merged.skipped:
            if skipped.port == port:
                yield lost(skipped.server.gateway, skipped.server.part, skipped.reason, 0)
        for key in self.merged.ports:
            for server in self.merged.servers[key]:
                reason, nearness = self._why_elsewhere(key, server, port)
                if reason:
                    yield lost(server.gateway, server.part, reason, nearness)

    def _why_elsewhere(self, key: ServerPort, server: Server, port: int) -> tuple[str, int]:
        """Why a server that was taken in does not serve this port, "" where it does."""
        if key.number != port:
            if server.number != port:
                return "", 0
            target = self.merged.translated[server.key]
            return f"its number {port} is translated to {key.number} by {target.words()}", 0
        if port < 1024 and self.unprivileged:
            return (
                f"port {port} is below 1024, which these pods may not open (ISTIO_META_UNPRIVILEGED_POD)",
                0,
            )
        if not self._reachable(key.bind):
            return f"it listens on address {key.bind} alone", 1
        if server.http or server.terminates_https or server.passthrough:
            if server.passthrough and not any(self._passthrough(server, port, set())):
                return "no VirtualService has a tls route for it", 0
            return "", 0
        if not self._tcp_clusters(server):
            return "no VirtualService has a tcp route for it, so it opens nothing", 0
        return "", 0

    def _not_selected(self, port: int) -> Iterator[Excluded]:
        mine = {one.ref for one in self.mine}
        for gateway in self.gateways:
            if gateway.ref in mine:
                continue
            for server in servers_of(gateway):
                resolved, _ = resolve_port(server.number, self.targets)
                if port not in (resolved, server.number):
                    continue
                if selects(gateway, self.pod.labels):
                    reason, far = "istiod applies Gateways to pods of their own namespace only", 0
                else:
                    far, words = difference(gateway, self.pod.labels)
                    reason = f"its selector asks for {words}"
                yield lost(gateway, "spec.selector", reason, min(far, 4))
                break


def path_normalization(mesh: Mesh) -> tuple[bool, bool, bool]:
    """(normalize, merge slashes, decode slashes) of ``meshConfig.pathNormalization``; the default is BASE."""
    raw = mesh.raw.get("pathNormalization")
    word = str(raw.get("normalization") or "") if isinstance(raw, dict) else ""
    merges = word in ("MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")
    return word != "NONE", merges, word == "DECODE_AND_MERGE_SLASHES"


def _server_names(names: Sequence[str]) -> tuple[str, ...]:
    """SNI to match; ``*`` among them matches everything, also connections without SNI."""
    return () if "*" in names else tuple(names)


def _same_matches(chains: Iterable[FilterChain]) -> list[tuple[FilterChain, str]]:
    """The chains that match what an earlier one matches, which Envoy refuses with the whole listener.

    Measured with Istio 1.31: "filter chain '' has the same matching rules defined as ''".
    """
    seen: dict[tuple[str, tuple[str, ...]], FilterChain] = {}
    found = []
    for chain in chains:
        for name in chain.match.server_names or ("",):
            key = (name.lower(), chain.match.alpn)
            first = seen.get(key)
            seen.setdefault(key, chain)
            if first is not None:
                what = f"SNI {name}" if name else "all connections"
                by = f"{first.origin.ref} {first.origin.part}" if first.origin else "another chain"
                again = "it names it twice, in upper and lower case" if first is chain else f"by {by} too"
                found.append((chain, f"{what} is matched {again}"))
                break
    return found


def _agent_listener(port: int) -> Listener:
    """The proxy's own listeners for health and metrics. Source: istio tools/packaging bootstrap."""
    path = _AGENT[port]
    route = Route(RouteMatch(StringMatch(How.PREFIX, path)), Direct(200, reason="the proxy's own answer"))
    config = RouteConfig("", (VirtualHost("backend", ("*",), lambda: (route,)),))
    chain = FilterChain("", ChainMatch(), HttpConnections(lambda: config))
    return Listener(f"0.0.0.0_{port}", "0.0.0.0", port, (chain,))


Member = tuple[Obj, int]
"""A VirtualService and the place, among a route config's servers, of the one that decides its port."""


class _Grouping:
    """Which VirtualServices give routes to which domains of one route config.

    A VirtualService stands there once for each Gateway that brings it, in the order of the servers: what it
    gives may differ by Gateway. The first server of a Gateway that a VirtualService shares a host with
    decides the port that its matches and its destinations without a port see.
    """

    def __init__(self, state: _Gateway, servers: Sequence[Server]) -> None:
        self.members: dict[str, list[Member]] = {}
        self.redirects: set[str] = set()
        self.ports: dict[str, int] = {}
        self.bound: set[int] = set()
        self.without: dict[int, tuple[Obj, str]] = {}  # bound, but without a virtual host here
        self._first: dict[tuple[str, int], int] = {}
        contexts = [state.context(server) for server in servers]
        for at in range(len(servers)):
            self._add(state, servers, contexts, at)
        self.groups = self._grouped()

    def _add(
        self, state: _Gateway, servers: Sequence[Server], contexts: Sequence[RouteContext], at: int
    ) -> None:
        server = servers[at]
        covers: dict[str, hosts.Hosts] = {}
        for one in state.bound_to(server.name):
            if one.namespace not in covers:
                covers[one.namespace] = hosts.Hosts(hosts.for_namespace(server.hosts, one.namespace))
            shared = covers[one.namespace].intersection(state.hosts(one))
            if not shared:
                reason = f"none of its hosts lies within those of {server.name} ({', '.join(server.hosts)})"
                self.without.setdefault(id(one), (one, reason))
                continue
            first = self._first.get((server.name, id(one)), at)
            if not any_route(contexts[first], one):
                reason = f"none of its http entries is for {server.name} port {server.number}"
                self.without[id(one)] = (one, reason)
                continue
            self._first[server.name, id(one)] = first
            self.bound.add(id(one))
            for name in shared:
                self._open(name.lower(), server).append((one, first))
        if server.https_redirect:
            for host in server.hosts:
                self._open(host.lower(), server)

    def _open(self, name: str, server: Server) -> list[Member]:
        self.ports.setdefault(name, server.number)
        if server.https_redirect:
            self.redirects.add(name)
        return self.members.setdefault(name, [])

    def _grouped(self) -> list[list[str]]:
        """Domains with the same VirtualServices, the most specific first: they are one virtual host."""
        grouped: dict[tuple[tuple[tuple[int, int], ...], bool], list[str]] = {}
        for name in sorted(self.members, key=hosts.specificity):
            keys = tuple((id(one), first) for one, first in self.members[name])
            grouped.setdefault((keys, name in self.redirects), []).append(name)
        return sorted(grouped.values(), key=lambda names: f"{names[0]}:{self.ports[names[0]]}")


class _RouteConfig:
    """One route config, its routes made as they are asked for."""

    def __init__(self, state: _Gateway, name: str, servers: Sequence[Server]) -> None:
        self.state, self.name, self.servers = state, name, servers
        self.contexts = [state.context(server) for server in servers]
        self.made: dict[tuple[int, int], tuple[tuple[Route, ...], tuple[Excluded, ...]]] = {}
        shape = tuple((one.key, one.number, one.hosts, one.https_redirect) for one in servers)
        self.grouping = bound.kept(
            state.world,
            state.mesh,
            state.index,
            ("istio virtual hosts", state.pod.ref, str(state.pod.labels), name, shape),
            lambda: _Grouping(state, servers),
        )

    def lowered(self) -> RouteConfig:
        made = [self._virtual_host(names) for names in self.grouping.groups]
        if not made:
            made = [VirtualHost(f"blackhole:{self.servers[0].number if self.servers else 0}", ("*",))]
        return RouteConfig(
            name=self.name,
            virtual_hosts=tuple(made),
            origin=self.state.merged.origin(self.servers[0]) if self.servers else None,
            make_excluded=self._excluded,
            excluded_for=self._excluded_for,
        )

    def _virtual_host(self, names: list[str]) -> VirtualHost:
        name = names[0]
        members = self.grouping.members[name]
        return VirtualHost(
            name=f"{name}:{self.grouping.ports[name]}",
            domains=tuple(names),
            make_routes=lambda: self._routes(members),
            require_tls="all" if name in self.grouping.redirects else "none",
            origin=origin_of(members[0][0], "spec.hosts") if members else None,
            make_excluded=lambda: self._dropped(members),
        )

    def _routes(self, members: Sequence[Member]) -> tuple[Route, ...]:
        """The members' routes; one that two servers of its Gateway bring comes once, for the same effect."""
        if len(members) > _MANY:
            self.state.world.all(kinds.SERVICE)
        return catch_all_last(route for routes, _ in self._lowered(members) for route in routes)

    def _dropped(self, members: Sequence[Member]) -> tuple[Excluded, ...]:
        return tuple(found for _, dropped in self._lowered(members) for found in dropped)

    def _lowered(self, members: Sequence[Member]) -> Iterator[tuple[tuple[Route, ...], tuple[Excluded, ...]]]:
        for (key, first), one in {(id(one), first): one for one, first in members}.items():
            if (key, first) not in self.made:
                self.made[key, first] = lowered(self.contexts[first], one)
            yield self.made[key, first]

    def _excluded(self) -> tuple[Excluded, ...]:
        return tuple(
            lost(one, "spec.hosts", reason, 3)
            for key, (one, reason) in self.grouping.without.items()
            if key not in self.grouping.bound
        )

    def _excluded_for(self, host: str) -> tuple[Excluded, ...]:
        """VirtualServices that name a host, or nearly, and do not serve it here; nearest first."""
        index = self.state.index
        winner = self._domain(host)
        serving = {id(one) for one, _ in self.grouping.members.get(winner, ())}
        found = [self._why_not(one, host, winner) for one in index.naming(host) if id(one) not in serving]
        for name, one in index.near(host):
            if id(one) not in serving and id(one) in self.grouping.bound:
                found.append(lost(one, "spec.hosts", f"its host is {name}, the request's is {host}", 3))
        return tuple(sorted(found, key=lambda one: (one.nearness, one.ref)))

    def _domain(self, host: str) -> str:
        """The domain of the virtual host that Envoy takes for a host, "" where there is none."""
        if host in self.grouping.members:
            return host
        wild = [
            name for name in self.grouping.members if name.startswith("*") and hosts.subset_of(host, name)
        ]
        return min(wild, key=hosts.specificity, default="")

    def _why_not(self, one: Obj, host: str, winner: str) -> Excluded:
        names = list(dict.fromkeys(server.name for server in self.servers))
        nearness, reason = bound.unbound_reason(one, names, self.state.mesh, self.state.existing)
        if reason:
            return lost(one, "spec.gateways", reason, nearness)
        reason = bound.hidden_reason(one, self.state.mesh, self.state.pod.namespace)
        if reason:
            return lost(one, "spec.exportTo", reason, 0)
        if id(one) in self.grouping.without and id(one) not in self.grouping.bound:
            return lost(one, "spec.hosts", self.grouping.without[id(one)][1], 1)
        mine = next(name for name in self.state.hosts(one) if hosts.subset_of(host, name.lower()))
        if winner:
            reason = f"its host {mine} is less specific than {winner}"
            return lost(one, "spec.hosts", reason, 1)
        return lost(one, "spec.hosts", f"its host {mine} is served by no server for {host}", 1)


# -- Gateways without pods -------------------------------------------------------------------------------


def declared_proxy(world: World, gateway: Obj) -> Proxy | None:
    """The proxy that a Gateway would program, where files have no pod for it; None for other kinds.

    The pod is the one that its selector describes, behind the Services that select it.
    """
    if gateway.kind != kinds.ISTIO_GATEWAY:
        return None
    labels = {str(key): str(value) for key, value in gateway.mapping("spec.selector").items()}
    fronts = [
        one
        for one in world.all(kinds.SERVICE)
        if one.mapping("spec.selector") and subset_of(one.mapping("spec.selector"), labels)
    ]
    mesh = mesh_of(world)
    pod = Obj(
        kinds.POD,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": gateway.name,
                "namespace": fronts[0].namespace if fronts else mesh.root_namespace,
                "labels": labels,
                "annotations": {ASSUMED: "true"},
            },
            "spec": {"containers": [{"name": PROXY_CONTAINER, "args": ["proxy", "router"]}]},
        },
    )
    return gateway_proxy(world, pod)
