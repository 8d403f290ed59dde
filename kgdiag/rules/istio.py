"""Istio's Gateways as the rules ask of them: which pods they open, on which ports, through which Services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kgdiag.dialects.istio.mesh import is_gateway_pod
from kgdiag.graph.core import ServicePort, pods_of, resolve_target, service_ports, services_of
from kgdiag.graph.labels import SelectorIndex
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

UNTRANSLATED = "experimental.istio.io/disable-gateway-port-translation"
AGENT_PORTS = frozenset((15000, 15001, 15004, 15006, 15008, 15012, 15014, 15017, 15020, 15021, 15053, 15090))


def gateways_on(world: World, pod: Obj) -> list[Obj]:
    """The Istio Gateways that program a gateway pod, oldest first."""
    gateways = world.all(kinds.ISTIO_GATEWAY)
    index = world.memo(
        "gateways by selector",
        lambda: SelectorIndex(
            ((gateway, gateway.mapping("spec.selector")) for gateway in gateways), empty_matches=True
        ),
    )
    return sorted(index.matching(pod.labels), key=lambda gateway: gateway.age_key)


def gateway_pods(world: World, gateway: Obj) -> list[Obj]:
    """The gateway pods that a Gateway programs."""
    selector = gateway.mapping("spec.selector")
    return [pod for pod in world.select(kinds.POD, None, selector) if is_gateway_pod(pod)]


@dataclass(frozen=True, slots=True)
class Translation:
    """Where a server's number makes a pod listen, and the Service that decided it (None: taken as it is)."""

    port: int
    service: Obj | None = None
    by: ServicePort | None = None


def translate(world: World, pod: Obj, number: int) -> Translation:
    """istiod's port translation. Source: istio pilot/pkg/model/gateway.go resolvePorts."""
    for service, port in candidates(world, pod, number):
        if service.labels.get(UNTRANSLATED) != "true":
            target = resolve_target(pod, port)
            if target is not None:
                return Translation(target, service, port)
    return Translation(number)


def candidates(world: World, pod: Obj, number: int) -> Iterator[tuple[Obj, ServicePort]]:
    """The Services of a gateway pod with a port of this number, oldest first, then by name."""
    for service in sorted(services_of(world, pod), key=lambda item: (item.created, item.name)):
        for port in service_ports(service):
            if port.port == number:
                yield service, port


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a Gateway."""

    gateway: Obj
    index: int
    number: int
    raw: Mapping[str, Any]

    @property
    def field(self) -> str:
        return f"spec.servers[{self.index}]"

    @property
    def hosts(self) -> list[str]:
        return [str(host) for host in self.raw.get("hosts") or ()]

    @property
    def protocol(self) -> str:
        port = self.raw.get("port")
        return str(port.get("protocol") or "").upper() if isinstance(port, Mapping) else ""

    @property
    def tls(self) -> Mapping[str, Any]:
        value = self.raw.get("tls")
        return value if isinstance(value, Mapping) else {}


def servers(gateway: Obj) -> list[Server]:
    """The servers of a Gateway; those without a port number are left out."""
    found = []
    for index, raw in enumerate(gateway.maps("spec.servers")):
        port = raw.get("port")
        number = port.get("number") if isinstance(port, Mapping) else None
        if isinstance(number, int):
            found.append(Server(gateway, index, number, raw))
    return found


def open_ports(world: World, pod: Obj) -> dict[int, list[Server]]:
    """The ports that Gateways open on a gateway pod, with the servers that open them."""
    gateways = gateways_on(world, pod)

    def collect() -> dict[int, list[Server]]:
        found: dict[int, list[Server]] = {}
        for gateway in gateways:
            for server in servers(gateway):
                found.setdefault(translate(world, pod, server.number).port, []).append(server)
        return found

    services_of(world, pod)
    return world.memo(("open ports", pod.ref), collect)


def gateway_pods_of(world: World, service: Obj) -> list[Obj]:
    """The gateway pods that a Service selects."""
    return [pod for pod in pods_of(world, service) if is_gateway_pod(pod)]
