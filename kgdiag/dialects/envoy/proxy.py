"""The neutral Proxy of a config dump."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from kgdiag.dialects.envoy.balance import locality, weights
from kgdiag.dialects.envoy.dump import Dump, reading
from kgdiag.dialects.envoy.filters import Matches, http_filters
from kgdiag.dialects.envoy.origin import origin_of, service_of
from kgdiag.dialects.envoy.routes import route_config
from kgdiag.model.obj import dig
from kgdiag.model.proxy import (
    ChainMatch,
    ClientTls,
    Cluster,
    Endpoint,
    FilterChain,
    Health,
    HttpConnections,
    Listener,
    Proxy,
    RouteConfig,
    ServerTls,
    TcpConnections,
    TlsMode,
    WeightedCluster,
)
from kgdiag.model.ref import Ref

Json = Mapping[str, Any]
_INBOUND, _OUTBOUND = 15006, 15001
# What a filter chain may ask of the client's side of a connection.
_SOURCES = ("source_type", "source_prefix_ranges", "source_ports", "direct_source_prefix_ranges")
_ANY = ("0.0.0.0", "::", "")
_KINDS: dict[str, Literal["eds", "static", "dns", "original_dst", "blackhole"]] = {
    "EDS": "eds",
    "STRICT_DNS": "dns",
    "LOGICAL_DNS": "dns",
    "ORIGINAL_DST": "original_dst",
    "envoy.clusters.dns": "dns",
    "envoy.cluster.dns": "dns",
    "envoy.cluster.strict_dns": "dns",
    "envoy.cluster.logical_dns": "dns",
    "envoy.cluster.original_dst": "original_dst",
    "envoy.cluster.eds": "eds",
}
_ESCAPED: dict[str, Literal["keep", "reject", "redirect", "decode"]] = {
    "REJECT_REQUEST": "reject",
    "UNESCAPE_AND_REDIRECT": "redirect",
    "UNESCAPE_AND_FORWARD": "decode",
}


def dump_proxy(
    dump: Dump, matches: Matches, *, pod: Ref, pod_at: Callable[[str], Ref | None] = lambda _address: None
) -> Proxy:
    """The proxy whose config was dumped. ``matches`` is the walker's string matcher, ``pod_at`` knows whose
    an address is (nobody does for a dump alone)."""
    read = _Reader(dump, matches, pod_at)
    sidecar = any(_port(item) == _INBOUND for item in dump.listeners)
    return Proxy(
        pod=pod,
        role="sidecar" if sidecar else "gateway",
        dialect="envoy",
        truth="effect",
        listener_at=read.listener_at,
        cluster=read.cluster,
        ports=read.ports,
        capture=read.capture if sidecar else lambda _address, _port: None,
        inbound=read.inbound if sidecar else lambda _port: None,
        identity=_identity(dump),
        namespace=pod.namespace,
        unknown="the dump has no listeners" if "listeners" in dump.missing else None,
        own_listener=read.own_listener,
        listeners=read.listeners,
        cluster_names=lambda: tuple(dump.clusters),
    )


def _identity(dump: Dump) -> str | None:
    account = dig(dump.bootstrap, "node.metadata.SERVICE_ACCOUNT")
    namespace = dig(dump.bootstrap, "node.metadata.NAMESPACE")
    domain = dig(dump.bootstrap, "node.metadata.PROXY_CONFIG.trustDomain", "cluster.local")
    return f"{domain}/ns/{namespace}/sa/{account}" if account and namespace else None


def pod_of(dump: Dump, name: str = "") -> Ref:
    """The pod that a dump is of: its node id (``sidecar~IP~POD.NS~…``), else the file's name for it."""
    parts = dump.node.split("~")
    if len(parts) >= 3 and "." in parts[2]:
        pod, _, namespace = parts[2].rpartition(".")
        return Ref("", "Pod", namespace, pod)
    namespace, _, pod = name.rpartition("/")
    return Ref("", "Pod", namespace.rpartition("/")[2], pod or dump.node or "envoy")


def _port(listener: Json) -> int:
    number = dig(listener, "address.socket_address.port_value")
    return number if isinstance(number, int) else 0


def _address(listener: Json) -> str:
    return str(dig(listener, "address.socket_address.address", ""))


class _Reader:
    """Listeners, route configs and clusters of one dump, each parsed once and when it is asked for."""

    def __init__(self, dump: Dump, matches: Matches, pod_at: Callable[[str], Ref | None]) -> None:
        self._dump = dump
        self._matches = matches
        self._pod_at = pod_at
        self._listeners: dict[int, Listener] = {}
        self._clusters: dict[str, Cluster] = {}
        self._routes: dict[str, RouteConfig] = {}

    # -- listeners -------------------------------------------------------------------------------------

    def ports(self) -> Sequence[int]:
        return sorted({_port(item) for item in self._dump.listeners if _bound(item) and _port(item)})

    def listeners(self) -> Sequence[Listener]:
        return tuple(self._listener(item) for item in self._dump.listeners)

    def listener_at(self, port: int) -> Listener | None:
        return next(
            (self._listener(item) for item in self._dump.listeners if _port(item) == port and _bound(item)),
            None,
        )

    def own_listener(self, endpoint: Endpoint) -> Listener | None:
        """The listener of this proxy that an endpoint is: an internal one by name, else one of a socket."""
        if endpoint.internal:
            named = (item for item in self._dump.listeners if item.get("name") == endpoint.internal)
            return next((self._listener(item) for item in named if "internal_listener" in item), None)
        for item in self._dump.listeners:
            if _port(item) == endpoint.port and _bound(item) and _port(item):
                address = _address(item)
                if endpoint.address == address or (
                    address in _ANY and endpoint.address in ("127.0.0.1", "::1", *self._addresses())
                ):
                    return self._listener(item)
        return None

    def _addresses(self) -> Sequence[str]:
        """The proxy's own addresses, by its node id."""
        parts = self._dump.node.split("~")
        return parts[1:2] if len(parts) > 2 else ()

    def inbound(self, port: int) -> Listener | None:
        return self.listener_at(_INBOUND)

    def capture(self, address: str, port: int) -> Listener | None:
        """The outbound listener of a connection: address and port, else any address, else the catch-all."""
        unbound = [item for item in self._dump.listeners if not _bound(item)]
        for wanted in (address, "0.0.0.0", "::"):
            for item in unbound:
                if _port(item) == port and _address(item) == wanted:
                    return self._listener(item)
        return self.listener_at(_OUTBOUND)

    def _listener(self, raw: Json) -> Listener:
        if id(raw) not in self._listeners:
            with reading(f"listener {raw.get('name', '')}"):
                self._listeners[id(raw)] = self._make_listener(raw)
        return self._listeners[id(raw)]

    def _make_listener(self, raw: Json) -> Listener:
        origin = origin_of(raw)
        default = raw.get("default_filter_chain")
        ahead = [str(item.get("name", "")) for item in raw.get("listener_filters") or ()]
        return Listener(
            name=str(raw.get("name", "")),
            address=_address(raw),
            port=_port(raw),
            chains=tuple(self._chain(item) for item in raw.get("filter_chains") or ()),
            default_chain=self._chain(default) if isinstance(default, Mapping) else None,
            origins=(origin,) if origin else (),
            inspects_http=any(name.endswith("http_inspector") for name in ahead),
        )

    def _chain(self, raw: Json) -> FilterChain:
        found = raw.get("filter_chain_match")
        found = found if isinstance(found, Mapping) else {}
        port = found.get("destination_port")
        match = ChainMatch(
            server_names=tuple(str(name) for name in found.get("server_names") or ()),
            transport=str(found.get("transport_protocol", "")),
            alpn=tuple(str(name) for name in found.get("application_protocols") or ()),
            port=port if isinstance(port, int) else None,
            addresses=tuple(
                f"{item.get('address_prefix')}/{item.get('prefix_len', 0)}"
                for item in found.get("prefix_ranges") or ()
            ),
            dynamic=", ".join(key.replace("_", " ") for key in _SOURCES if found.get(key)),
        )
        network = self._network(raw.get("filters") or ())
        tls = self._tls(raw.get("transport_socket"), match, network)
        return FilterChain(str(raw.get("name", "")), match, network, tls, origin_of(raw))

    def _network(self, raw: Sequence[Json]) -> HttpConnections | TcpConnections:
        ahead: list[Json] = []
        for item in raw:
            config = item.get("typed_config")
            config = config if isinstance(config, Mapping) else {}
            kind = str(config.get("@type", "")).rpartition(".")[2]
            if kind == "HttpConnectionManager":
                return self._http(config, ahead)
            if kind == "TcpProxy":
                return TcpConnections(_tcp_clusters(config), http_filters(ahead, self._matches).filters)
            ahead.append(item)
        return TcpConnections((), http_filters(ahead, self._matches).filters)

    def _http(self, config: Json, ahead: Sequence[Json]) -> HttpConnections:
        name = str(dig(config, "rds.route_config_name", ""))
        inline = config.get("route_config")
        chain = http_filters([*ahead, *(config.get("http_filters") or ())], self._matches)
        matching = config.get("strip_matching_host_port") is True
        hops = config.get("xff_num_trusted_hops") or 0
        return HttpConnections(
            make_route_config=lambda: self._route_config(
                name, inline if isinstance(inline, Mapping) else None
            ),
            filters=chain.filters,
            normalize_path=config.get("normalize_path") is True,
            merge_slashes=config.get("merge_slashes") is True,
            escaped_slashes=_ESCAPED.get(str(config.get("path_with_escaped_slashes_action")), "keep"),
            strip_port="any" if config.get("strip_any_host_port") is True else "own" if matching else "no",
            strip_dot=config.get("strip_trailing_host_dot") is True,
            trusts_forwarded=config.get("use_remote_address") is not True or hops > 0,
            faults=chain.faults,
            cors=chain.cors,
            cors_first=chain.cors_first,
            cors_stage=chain.cors_stage,
        )

    def _route_config(self, name: str, inline: Json | None) -> RouteConfig:
        raw = inline if inline is not None else self._dump.routes.get(name)
        key = name or str((raw or {}).get("name", ""))
        if raw is None:
            gone = "routes" in self._dump.missing
            return RouteConfig(name, (), unknown=f"the dump has no routes, so not {name}" if gone else None)
        with reading(f"route config {key}"):
            if inline is not None:
                return route_config(raw)
            if key not in self._routes:
                self._routes[key] = route_config(raw)
        return self._routes[key]

    def _tls(self, raw: Any, match: ChainMatch, network: HttpConnections | TcpConnections) -> ServerTls:
        config = dig(raw, "typed_config", {}) if isinstance(raw, Mapping) else {}
        if "common_tls_context" not in config:
            passed = match.transport == "tls" and isinstance(network, TcpConnections)
            return ServerTls(TlsMode.PASSTHROUGH if passed else TlsMode.NONE)
        common = config["common_tls_context"]
        names = [str(item.get("name")) for item in common.get("tls_certificate_sds_secret_configs") or ()]
        late = [name for name in names if name in self._dump.warming_secrets]
        required = config.get("require_client_certificate") is True
        validated = (
            "combined_validation_context" in common or "validation_context_sds_secret_config" in common
        )
        mode = TlsMode.TERMINATE
        if required:
            mode = TlsMode.MESH if names == ["default"] else TlsMode.MUTUAL
        elif validated and names != ["default"]:
            mode = TlsMode.OPTIONAL_MUTUAL
        problem = f"the certificate {late[0]} has not arrived" if late else None
        return ServerTls(mode, tuple(names), problem)

    # -- clusters --------------------------------------------------------------------------------------

    def cluster(self, name: str) -> Cluster | None:
        raw = self._dump.clusters.get(name)
        if raw is None and "clusters" in self._dump.missing:
            why = f"the dump has no clusters, so whether there is a cluster {name} is not known"
            return Cluster(name, "eds", unknown=why)
        if raw is None:
            return None
        if name not in self._clusters:
            with reading(f"cluster {name}"):
                self._clusters[name] = self._make_cluster(name, raw)
        return self._clusters[name]

    def _make_cluster(self, name: str, raw: Json) -> Cluster:
        port, subset, host = _istio_name(name)
        own = str(dig(raw, "cluster_type.name", ""))
        kind = _KINDS.get(str(raw.get("type") or own), "static")
        if name == "BlackHoleCluster":
            kind = "blackhole"
        tls, sni, matched = _client_tls(raw)
        origin = origin_of(raw)
        threshold = dig(raw, "common_lb_config.healthy_panic_threshold")
        gap = "endpoints" in self._dump.missing and kind == "eds"
        return Cluster(
            name=name,
            kind=kind,
            make_endpoints=lambda: self._endpoints(name, raw, matched),
            tls=tls,
            sni=sni,
            service=service_of(raw, host),
            port=port,
            subset=subset,
            external=kind == "dns",
            panic=threshold is None or float(threshold.get("value", 0)) > 0,
            unknown=_doubt(raw, own) or (_NO_ENDPOINTS if gap else None),
            origins=(origin,) if origin else (),
        )

    def _endpoints(self, name: str, raw: Json, matched: bool) -> tuple[Endpoint, ...]:
        with reading(f"the endpoints of cluster {name}"):
            return self._read_endpoints(name, raw, matched)

    def _read_endpoints(self, name: str, raw: Json, matched: bool) -> tuple[Endpoint, ...]:
        service_name = str(dig(raw, "eds_cluster_config.service_name", name))
        load = self._dump.endpoints.get(service_name) or self._dump.endpoints.get(name)
        load = load or (raw.get("load_assignment") if isinstance(raw.get("load_assignment"), Mapping) else {})
        found = []
        shares = weights(load or {}, raw)
        for group in (load or {}).get("endpoints") or ():
            for item in group.get("lb_endpoints") or ():
                socket = dig(item, "endpoint.address.socket_address", {})
                address, number = str(socket.get("address", "")), socket.get("port_value")
                inner = dig(item, "endpoint.address.envoy_internal_address", {})
                tunnel = inner.get("endpoint_id")
                if tunnel:
                    address, _, text = str(tunnel).rpartition(":")
                    number = int(text) if text.isdigit() else None
                health = str(item.get("health_status", "HEALTHY"))
                share = shares[id(item)]
                if not share and _health(health) is Health.HEALTHY:
                    continue  # of a priority or locality that gets nothing
                found.append(
                    Endpoint(
                        address=address,
                        port=number if isinstance(number, int) else 0,
                        pod=self._pod_at(address),
                        health=_health(health),
                        tls=matched and _speaks_mesh_tls(item),
                        hostname=str(dig(item, "endpoint.hostname", "")),
                        internal="" if tunnel else str(inner.get("server_listener_name", "")),
                        weight=share,
                        locality=locality(group),
                    )
                )
        return tuple(found)


_NO_ENDPOINTS = "the dump has no endpoints (config_dump?include_eds)"


def _doubt(raw: Json, own: str) -> str | None:
    """Why the endpoints of a cluster are not in its config."""
    if own and own not in _KINDS and not own.endswith(".static"):
        return f"clusters of type {own} find their endpoints in ways that the dump does not tell"
    if dig(raw, "lb_subset_config.subset_selectors"):
        return "its load balancer takes subsets of its endpoints by metadata, which is not evaluated here"
    return None


def _bound(listener: Json) -> bool:
    """Whether the listener has a socket of its own; a sidecar's outbound listeners have none."""
    return (
        listener.get("bind_to_port") is not False and dig(listener, "deprecated_v1.bind_to_port") is not False
    )


def _tcp_clusters(config: Json) -> tuple[WeightedCluster, ...]:
    if config.get("cluster"):
        return (WeightedCluster(str(config["cluster"]), 1),)
    weighted = dig(config, "weighted_clusters.clusters", [])
    return tuple(WeightedCluster(str(item.get("name")), int(item.get("weight", 1))) for item in weighted)


def _istio_name(name: str) -> tuple[int | None, str | None, str]:
    """(port, subset, host) of ``outbound|80|v1|host``."""
    parts = name.split("|")
    if len(parts) != 4 or not parts[1].isdigit():
        return None, None, ""
    return int(parts[1]), parts[2] or None, parts[3]


def _client_tls(raw: Json) -> tuple[ClientTls, str | None, bool]:
    """What the cluster speaks, its SNI, and whether that depends on each endpoint (auto mTLS)."""
    for item in raw.get("transport_socket_matches") or ():
        if dig(item, "match.tlsMode") == "istio":
            return ClientTls.AUTO, _sni(item.get("transport_socket")), True
        tls = dig(item, "transport_socket.typed_config", {})
        if str(tls.get("@type", "")).endswith("UpstreamTlsContext"):
            return ClientTls.SIMPLE, _sni(item.get("transport_socket")), False
    socket = raw.get("transport_socket")
    config = dig(socket, "typed_config", {}) if isinstance(socket, Mapping) else {}
    if not str(config.get("@type", "")).endswith("UpstreamTlsContext"):
        return ClientTls.PLAIN, None, False
    names = [
        str(item.get("name"))
        for item in dig(config, "common_tls_context.tls_certificate_sds_secret_configs", [])
    ]
    if names == ["default"]:
        return ClientTls.MESH, _sni(socket), False
    return (ClientTls.MUTUAL if names else ClientTls.SIMPLE), _sni(socket), False


def _sni(socket: Any) -> str | None:
    found = dig(socket, "typed_config.sni") if isinstance(socket, Mapping) else None
    return str(found) if found else None


def _speaks_mesh_tls(item: Json) -> bool:
    mode = dig(item, ("metadata", "filter_metadata", "envoy.transport_socket_match", "tlsMode"))
    return bool(mode == "istio")


def _health(status: str) -> Health:
    if status in ("HEALTHY", "UNKNOWN", "DEGRADED"):
        return Health.HEALTHY
    return Health.DRAINING if status == "DRAINING" else Health.UNHEALTHY
