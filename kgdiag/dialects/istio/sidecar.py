"""A sidecar, lowered to the neutral proxy model: what it does with its application's connections and to it.

Sources: istio pilot/pkg/networking/core/listener_inbound.go (buildInboundChainConfigs,
getFilterChainsByServicePort, buildInboundPassthroughChains), filterchain_options.go; the outbound side is in
``outbound.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kgdiag.dialects.istio import clusters, registry, security
from kgdiag.dialects.istio.capture import capture_of
from kgdiag.dialects.istio.mesh import Mesh, has_sidecar, mesh_of, principal
from kgdiag.dialects.istio.outbound import Outbound
from kgdiag.dialects.istio.registry import Service
from kgdiag.dialects.istio.scope import Scope, scope_of
from kgdiag.dialects.istio.virtual_hosts import EVERY_PATH, UNREAD
from kgdiag.graph import labels
from kgdiag.graph.core import resolve_target, services_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import (
    ChainMatch,
    Cluster,
    Excluded,
    FilterChain,
    Forward,
    HttpConnections,
    HttpFilter,
    Listener,
    Origin,
    Proxy,
    Route,
    RouteConfig,
    ServerTls,
    TcpConnections,
    TlsMode,
    VirtualHost,
    WeightedCluster,
)

INBOUND = 15006
MESH_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MESH_TCP = ("istio-peer-exchange", "istio")
MESH_ANY = (*MESH_TCP, *MESH_HTTP)
PLAIN_HTTP = ("http/1.1", "h2c")


def sidecar_proxy(world: World, pod: Obj) -> Proxy | None:
    """The sidecar of a pod, None where it has none."""
    if not has_sidecar(world, pod):
        return None
    mesh = mesh_of(world, pod)
    return Proxy(
        pod=pod.ref,
        role="sidecar",
        dialect="istio",
        truth="intent",
        listener_at=partial(_inbound, world, mesh, pod),
        cluster=partial(_cluster, world, mesh, pod),
        ports=lambda: _ports(world, mesh, pod),
        capture=partial(_capture, world, mesh, pod),
        inbound=partial(_inbound, world, mesh, pod),
        identity=principal(mesh, pod),
        namespace=pod.namespace,
        access_log=bool(mesh.access_log_file),
        why_no_cluster=partial(clusters.why_unknown, world, mesh, pod),
    )


def _cluster(world: World, mesh: Mesh, pod: Obj, name: str) -> Cluster | None:
    if name.startswith(UNREAD):
        return Cluster(name, "eds", unknown=name.removeprefix(UNREAD))
    return clusters.cluster(world, mesh, pod, name)


def _capture(world: World, mesh: Mesh, pod: Obj, address: str, port: int) -> Listener | None:
    """The outbound listener; None for connections that the sidecar does not take."""
    if not capture_of(pod).outbound(address, port):
        return None
    return Outbound(world, mesh, pod, scope_of(world, mesh, pod)).listener(address, port)


# -- inbound -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Served:
    """What a port of the pod is for the sidecar: its protocol, who says so, and who else would."""

    protocol: str
    cluster: str
    origin: Origin | None = None
    losers: tuple[Excluded, ...] = ()

    @property
    def http(self) -> bool:
        return registry.Port("", 0, self.protocol).http

    @property
    def detected(self) -> bool:
        return self.protocol == ""


def _inbound(world: World, mesh: Mesh, pod: Obj, port: int) -> Listener | None:
    """The filter chains that guard a port; None where connections go past the sidecar."""
    if not capture_of(pod).inbound(port):
        return None
    if port == INBOUND:
        chain = FilterChain("virtualInbound-blackhole", ChainMatch(port=port), TcpConnections())
        return Listener("virtualInbound", "0.0.0.0", port, (chain,))
    served = _served(world, mesh, pod, port)
    mode, policy = security.peer_mode(world, mesh, pod, port)
    filters = (*_unread_peer(world, mesh, pod), *security.filters(world, mesh, pod, port=port))
    chains = tuple(_chains(served, mode, policy, port, filters))
    origins = tuple(one for one in (served.origin, policy) if one is not None)
    return Listener("virtualInbound", "0.0.0.0", port, chains, origins=origins, excluded=served.losers)


def _served(world: World, mesh: Mesh, pod: Obj, port: int) -> _Served:
    scope = scope_of(world, mesh, pod)
    declared = scope.sidecar.maps("spec.ingress") if scope.sidecar is not None else []
    passing = _Served("", clusters.INBOUND_PASSTHROUGH)
    if declared:
        found = _ingress(scope, declared, port)
        merge = mesh.switch("PILOT_ALLOW_SIDECAR_SERVICE_INBOUND_LISTENER_MERGE", False)
        if found is not None or not merge:
            return found or passing
    claims = list(_claims(world, mesh, pod, port))
    if not claims:
        return passing
    first, index = claims[0]
    protocol = first.ports[index].protocol.replace("UDP", "TCP")  # istiod makes TCP chains of UDP ports too
    losers = [
        Excluded(
            service.obj.ref,
            f"spec.ports[{service.ports[at].index}]",
            f"it says {service.ports[at].protocol or 'nothing'} of port {port}, "
            f"and the older {first.obj.ref} says {protocol or 'nothing'}",
            1,
        )
        for service, at in claims[1:]
        if service.ports[at].protocol != protocol and service.host != first.host
    ]
    part = f"spec.ports[{first.ports[index].index}]"
    origin = Origin(first.obj.ref, part, (first.obj.evidence(part),))
    return _Served(protocol, f"inbound|{port}||", origin, tuple(losers))


def _ingress(scope: Scope, declared: Sequence[Mapping[str, Any]], port: int) -> _Served | None:
    """The Sidecar's own listener for a port."""
    sidecar = scope.sidecar
    assert sidecar is not None
    for at, raw in enumerate(declared):
        listener = raw.get("port")
        if isinstance(listener, Mapping) and listener.get("number") == port:
            part = f"spec.ingress[{at}]"
            origin = Origin(sidecar.ref, part, (sidecar.evidence(part),))
            protocol = registry.protocol_named(str(listener.get("protocol") or ""))
            return _Served(protocol, f"inbound|{port}||", origin)
    return None


def _claims(world: World, mesh: Mesh, pod: Obj, port: int) -> Iterator[tuple[Service, int]]:
    """The services whose port leads to this port of the pod, oldest first: the first one has its say."""
    found = [registry.of_service(mesh, one) for one in services_of(world, pod)]
    found += [one for one in registry.entries(world, mesh) if _entry_selects(one, pod)]
    for service in sorted(found, key=lambda one: one.age):
        for at, declared in enumerate(service.ports):
            if declared.service_port is not None:
                target = resolve_target(pod, declared.service_port)
            else:
                target = declared.target or declared.number
            if target == port:
                yield service, at


def _entry_selects(service: Service, pod: Obj) -> bool:
    selector = service.obj.mapping("spec.workloadSelector.labels")
    return bool(selector) and service.namespace == pod.namespace and labels.subset_of(selector, pod.labels)


def _ports(world: World, mesh: Mesh, pod: Obj) -> list[int]:
    """The ports that Services lead to."""
    found = set()
    for service in services_of(world, pod):
        for declared in registry.of_service(mesh, service).ports:
            target = resolve_target(pod, declared.service_port) if declared.service_port else None
            if target is not None:
                found.add(target)
    return sorted(found)


def _chains(
    served: _Served, mode: str, policy: Origin | None, port: int, filters: tuple[HttpFilter, ...]
) -> Iterator[FilterChain]:
    """The chains of one port, by its protocol and by the mTLS mode that is demanded."""
    strict, permissive = mode == security.STRICT, mode == security.PERMISSIVE
    http, tcp = _http(served, port, filters), _tcp(served, filters)
    mesh_tls = ServerTls(TlsMode.MESH, evidence=policy.evidence if policy else ())
    plain = ServerTls(TlsMode.NONE)
    origin = policy or served.origin

    def chain(alpn: tuple[str, ...], tls: ServerTls, network: HttpConnections | TcpConnections, name: str,
              transport: str = "") -> FilterChain:  # fmt: skip
        transport = transport or ("tls" if tls.mode is TlsMode.MESH else "raw_buffer")
        match = ChainMatch(transport=transport, alpn=alpn)
        return FilterChain(f"0.0.0.0_{port} {name}", match, network, tls, origin)

    if strict or permissive:
        if served.http:
            yield chain(() if strict else MESH_ANY, mesh_tls, http, "mTLS HTTP")
        elif served.detected:
            yield chain(MESH_HTTP, mesh_tls, http, "mTLS HTTP")
            yield chain(() if strict else MESH_TCP, mesh_tls, tcp, "mTLS TCP")
        else:
            yield chain(() if strict else MESH_ANY, mesh_tls, tcp, "mTLS TCP")
    if strict:
        return
    if served.http:
        yield chain((), plain, http, "plaintext HTTP")
        return
    if served.detected:
        yield chain(PLAIN_HTTP, plain, http, "plaintext HTTP")
    yield chain((), plain, tcp, "plaintext TCP")
    if permissive:  # TLS that is not the mesh's is passed on as it is
        yield chain((), plain, tcp, "TLS of the client's own", "tls")


def _http(served: _Served, port: int, filters: tuple[HttpFilter, ...]) -> HttpConnections:
    cluster = WeightedCluster(served.cluster, origin=served.origin)
    route = Route(EVERY_PATH, Forward((cluster,)), served.origin, "default")
    host = VirtualHost(f"inbound|http|{port}", ("*",), lambda: (route,), origin=served.origin)
    return HttpConnections(lambda: RouteConfig(served.cluster, (host,)), filters)


def _tcp(served: _Served, filters: tuple[HttpFilter, ...]) -> TcpConnections:
    return TcpConnections((WeightedCluster(served.cluster, origin=served.origin),), filters)


def _unread_peer(world: World, mesh: Mesh, pod: Obj) -> Iterator[HttpFilter]:
    """Where PeerAuthentications could not be read, whether the chain takes a connection is not known."""
    for namespace in dict.fromkeys((mesh.root_namespace, pod.namespace)):
        if not world.readable(kinds.PEER_AUTHENTICATION, namespace):
            yield security.undecided(f"PeerAuthentications of namespace {namespace} could not be read")
