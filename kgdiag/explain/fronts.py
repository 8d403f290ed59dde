"""What stands behind the ports of gateway pods: the listeners, who declares them and who is bound to them.

One answer for Services and pods of all gateways, from declared objects alone: it costs no reads beyond the
Gateways and their routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kgdiag.dialects.gateway_api.attach import routes_of
from kgdiag.dialects.gateway_api.listeners import listener_states
from kgdiag.dialects.gateway_api.provider import Place, Provider, providers
from kgdiag.dialects.istio.mesh import is_gateway_pod, proxy_env
from kgdiag.dialects.istio.servers import NO_TRANSLATION, Server, Target
from kgdiag.explain.words import absent, named
from kgdiag.graph.core import service_ports, services_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref
from kgdiag.rules.istio import AGENT_PORTS, by_gateway, merged, targets


@dataclass(frozen=True)
class Bound:
    """A route on a listener, with the hosts that it has there."""

    route: Ref
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Opening:
    """One declared listener of a gateway pod.

    ``port`` is where the pod listens, ``declared`` what the Gateway says, ``decided`` who made the one of
    the other. ``lost`` says why it does not listen.
    """

    gateway: Ref
    part: str
    title: str
    declared: int
    port: int
    decided: str = ""
    hosts: tuple[str, ...] = ()
    tls: str = ""
    bound: tuple[Bound, ...] = ()
    lost: str = ""
    decider: Ref | None = None


@dataclass(frozen=True)
class Front:
    """All openings of one gateway pod. ``dialect`` is ``istio`` or ``gateway-api``."""

    pod: Obj
    dialect: str
    openings: tuple[Opening, ...] = ()
    gateways: tuple[Ref, ...] = ()
    unknown: str = ""
    routes: str = field(default="route")

    def at(self, port: int | None) -> list[Opening]:
        """Those that listen on a port of the pod."""
        return [item for item in self.openings if item.port == port and not item.lost]


def front_of(world: World, pod: Obj) -> Front | None:
    """The openings of a gateway pod, None for all other pods."""
    for provider in providers():
        refs = provider.gateways_of(world, pod)
        if refs is not None:
            return _gateway_api(world, provider, pod, refs)
    return _istio(world, pod) if is_gateway_pod(pod) else None


def is_front(world: World, pod: Obj) -> bool:
    """Whether the pod is a gateway's, by its own labels and containers."""
    return is_gateway_pod(pod) or any(item.gateways_of(world, pod) is not None for item in providers())


# -- Istio -----------------------------------------------------------------------------------------------


def _istio(world: World, pod: Obj) -> Front:
    bound = by_gateway(world)
    whole = merged(world, pod)
    openings = []
    for port in whole.ports:
        for server in whole.servers[port]:
            target = whole.translated.get(server.key)
            routes = bound.get(server.name, ())
            lost = _silent(pod, server, port.number, routes)
            decided = _decided(world, pod, server, target)
            openings.append(_opening(server, port.number, decided, routes, target, lost))
    for skipped in whole.skipped:
        openings.append(_opening(skipped.server, skipped.port, "", (), None, skipped.reason))
    unknown = next(
        (
            f"{kind.plural} of all namespaces could not be read"
            for kind in (kinds.ISTIO_GATEWAY, kinds.VIRTUAL_SERVICE)
            if not world.readable(kind)
        ),
        "",
    )
    refs = tuple(dict.fromkeys(item.gateway for item in openings))
    openings.sort(key=lambda item: (item.port, bool(item.lost), item.gateway, item.part))
    return Front(pod, "istio", tuple(openings), refs, unknown, "VirtualService")


def _silent(pod: Obj, server: Server, port: int, routes: Sequence[Obj]) -> str:
    """Why a server that istiod takes in opens no listener all the same.

    Source: istio pilot/pkg/networking/core/gateway.go buildGatewayListeners: ports below 1024 are left out
    for unprivileged pods; servers for TCP and TLS listen only where a route gives them a filter chain.
    """
    if port < 1024 and proxy_env(pod).get("ISTIO_META_UNPRIVILEGED_POD", "").lower() in ("1", "t", "true"):
        return f"the pod is unprivileged, so istiod leaves port {port} out"
    if server.is_http_server or (server.mode == "AUTO_PASSTHROUGH" and server.tls is not None):
        return ""
    if any(item.items("spec.tls") or item.items("spec.tcp") for item in routes):
        return ""
    return f"no VirtualService with tls or tcp routes is bound, and {server.protocol} listens only with one"


def _opening(
    server: Server, port: int, decided: str, bound: Sequence[Obj], target: Target | None, lost: str = ""
) -> Opening:
    return Opening(
        gateway=server.gateway.ref,
        part=server.part,
        title=f"{server.protocol} {server.number}",
        declared=server.number,
        port=port,
        decided=decided,
        hosts=server.hosts,
        tls=tls_text(server),
        bound=tuple(Bound(item.ref, tuple(str(host) for host in item.items("spec.hosts"))) for item in bound),
        lost=lost,
        decider=target.service.ref if target else None,
    )


def tls_text(server: Server) -> str:
    """The TLS of a server in words."""
    if server.tls is None:
        return "plain"
    if server.http:
        return "plain, redirects to HTTPS" if server.https_redirect else "plain (tls ignored)"
    return server.mode


def _decided(world: World, pod: Obj, server: Server, target: Target | None) -> str:
    """Who decides where a server listens: a Service that maps its number, else the number itself."""
    barred = [
        service
        for service in services_of(world, pod)
        if NO_TRANSLATION in service.labels
        and any(port.port == server.number for port in service_ports(service))
    ]
    if target is None:
        why = f"{names_of(barred)} may not translate it, by label" if barred else ""
        return f"its own number ({why or f'no Service port {server.number}'})"
    rivals = [
        other.service
        for other in targets(world, pod)
        if other.port == server.number
        and other.service.ref != target.service.ref
        and NO_TRANSLATION not in other.service.labels
    ]
    older = f", older than {names_of(rivals)}" if rivals else ""
    label = f"; {names_of(barred)} may not, by label" if barred else ""
    return f"Service {named(target.service.ref)} {target.port} → {target.target}{older}{label}"


def names_of(objects: Iterable[Obj]) -> str:
    return ", ".join(named(item.ref) for item in objects)


# -- Gateway API -----------------------------------------------------------------------------------------


def _gateway_api(world: World, provider: Provider, pod: Obj, refs: Sequence[Ref]) -> Front:
    openings: list[Opening] = []
    unknown = ""
    for ref in refs:
        gateway = world.get(kinds.GATEWAY, ref.namespace, ref.name)
        if gateway is None:
            unknown = f"Gateway {named(ref)} {absent(world.missing(kinds.GATEWAY, ref.namespace, ref.name))}"
            continue
        openings += gateway_openings(world, provider, gateway, pod)
    return Front(pod, "gateway-api", tuple(openings), tuple(refs), unknown)


def gateway_openings(world: World, provider: Provider, gateway: Obj, pod: Obj | None) -> list[Opening]:
    """The listeners of a Gateway of the Gateway API, as its implementation opens them."""
    place = Place(world, provider, provider.shared(world, gateway) or (gateway,), pod)
    out = []
    for state in listener_states(world, gateway):
        listener = state.listener
        port = provider.container_port(place, listener)
        same = "" if port == listener.port else f"{provider.title} moves {listener.port} to {port}"
        out.append(
            Opening(
                gateway=gateway.ref,
                part=listener.part,
                title=f"{listener.name}: {listener.protocol} {listener.port}",
                declared=listener.port,
                port=port,
                decided=same or "its own number",
                hosts=(listener.hostname or "*",),
                tls=listener.tls_mode or "plain",
                bound=tuple(
                    Bound(item.route.ref, item.hostnames) for item in routes_of(world, gateway, listener)
                ),
                lost="" if state.programmed else f"{state.reason}: {state.detail}",
            )
        )
    return out


def own_port(pod: Obj, port: int | None) -> bool:
    """Whether a port is the proxy's own: readiness, metrics."""
    if port in AGENT_PORTS:
        return True
    for container in pod.maps("spec.containers"):
        for declared in container.get("ports") or ():
            if isinstance(declared, dict) and declared.get("containerPort") == port:
                return str(declared.get("name") or "").startswith(
                    ("metrics", "readiness", "status", "http-envoy")
                )
    return False
