"""Istio's Gateways as the rules ask of them: which pods they open, on which ports, through which Services.

What istiod makes of Gateways is in ``dialects/istio/servers.py``; here is only the asking, for many objects
at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kgdiag.dialects.istio import registry
from kgdiag.dialects.istio.hosts import subset_of
from kgdiag.dialects.istio.mesh import Mesh, has_sidecar, is_gateway_pod, mesh_of, resolve_host
from kgdiag.dialects.istio.routes import gateways_of
from kgdiag.dialects.istio.servers import (
    Merged,
    Server,
    Target,
    merge,
    resolve_port,
    targets_of,
)
from kgdiag.graph.core import ServicePort, cluster_name, pods_of, service_ports, services_of
from kgdiag.graph.labels import SelectorIndex
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.rules.common import group_by, mappings

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

    def collect() -> list[Obj]:
        found = index.matching(pod.labels)
        if mesh_of(world, pod).switch("PILOT_SCOPE_GATEWAY_TO_NAMESPACE", False):
            found = [gateway for gateway in found if gateway.namespace == pod.namespace]
        return sorted(found, key=lambda gateway: gateway.age_key)

    return world.memo(("gateways on", pod.ref), collect)


def gateway_pods(world: World, gateway: Obj) -> list[Obj]:
    """The gateway pods that a Gateway programs."""

    def collect() -> list[Obj]:
        selector = gateway.mapping("spec.selector")
        return [
            pod
            for pod in world.select(kinds.POD, None, selector)
            if is_gateway_pod(pod)
            and (
                pod.namespace == gateway.namespace
                or not mesh_of(world, pod).switch("PILOT_SCOPE_GATEWAY_TO_NAMESPACE", False)
            )
        ]

    return world.memo(("gateway pods", gateway.ref), collect)


def targets(world: World, pod: Obj) -> list[Target]:
    """The Service ports in front of a gateway pod, in istiod's order."""
    services_of(world, pod)
    return world.memo(("service targets", pod.ref), lambda: targets_of(world, pod))


def translate(world: World, pod: Obj, number: int) -> tuple[int, Target | None]:
    """Where a server's number makes a pod listen, and the Service port that decided it."""
    return resolve_port(number, targets(world, pod))


def candidates(world: World, pod: Obj, number: int) -> Iterator[tuple[Obj, ServicePort]]:
    """The Service ports of a gateway pod with this number, oldest Service first."""
    for target in targets(world, pod):
        if target.port != number:
            continue
        for port in service_ports(target.service):
            if port.index == target.index:
                yield target.service, port


def merged(world: World, pod: Obj) -> Merged:
    """All servers of a gateway pod as istiod merges them."""
    gateways, fronts = gateways_on(world, pod), targets(world, pod)
    return world.memo(("merged servers", pod.ref), lambda: merge(gateways, fronts))


def open_ports(world: World, pod: Obj) -> dict[int, list[Server]]:
    """The ports that Gateways open on a gateway pod, with the servers that open them."""
    whole = merged(world, pod)

    def collect() -> dict[int, list[Server]]:
        found: dict[int, list[Server]] = {}
        for port in whole.ports:
            found.setdefault(port.number, []).extend(whole.servers[port])
        return found

    return world.memo(("open ports", pod.ref), collect)


def gateway_pods_of(world: World, service: Obj) -> list[Obj]:
    """The gateway pods that a Service selects and that Istio's Gateways open: not the data planes that
    istiod makes for Gateways of the Gateway API."""
    return [pod for pod in pods_of(world, service) if is_classic_gateway(pod)]


def is_classic_gateway(pod: Obj) -> bool:
    """Whether a gateway pod is one that people install, for Istio's Gateways."""
    return is_gateway_pod(pod) and "gateway.networking.k8s.io/gateway-name" not in pod.labels


def mesh_for(world: World, gateway: Obj) -> Mesh:
    """The mesh of a Gateway's pods, the default one where it has none."""

    def find() -> Mesh:
        pods = gateway_pods(world, gateway)
        return mesh_of(world, pods[0] if pods else None)

    return world.memo(("mesh for", gateway.ref), find)


# -- VirtualServices -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination of a VirtualService. ``host`` is as written, ``full`` with a short name completed;
    ``port`` None and ``subset`` "" where it names none."""

    route: Obj
    part: str
    host: str
    full: str
    port: int | None
    subset: str
    http: bool


def destinations(mesh: Mesh, route: Obj) -> list[Destination]:
    """All destinations of a VirtualService, in its order."""
    return route.once(("destinations", mesh.domain), lambda route: list(_destinations(mesh, route)))


def _destinations(mesh: Mesh, route: Obj) -> Iterator[Destination]:
    for kind in ("http", "tls", "tcp"):
        for at, entry in enumerate(route.items(("spec", kind))):
            if not isinstance(entry, Mapping):
                continue
            for part, raw in _destination_parts(entry):
                host = str(raw.get("host") or "")
                if not host:
                    continue
                port = raw.get("port")
                number = port.get("number") if isinstance(port, Mapping) else None
                yield Destination(
                    route,
                    f"spec.{kind}[{at}].{part}",
                    host,
                    resolve_host(host, route.namespace, mesh.domain).lower(),
                    number if isinstance(number, int) else None,
                    str(raw.get("subset") or ""),
                    kind == "http",
                )


def _destination_parts(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key in ("route", "mirrors"):
        for at, item in mappings(entry.get(key)):
            if isinstance(item.get("destination"), Mapping):
                yield f"{key}[{at}].destination", item["destination"]
    if isinstance(entry.get("mirror"), Mapping):
        yield "mirror", entry["mirror"]


def find_gateway(world: World, name: str) -> Obj | None:
    """The Gateway of a resolved name, ``namespace/name``."""
    namespace, _, rest = name.partition("/")
    return world.get(kinds.ISTIO_GATEWAY, namespace, rest)


def services_named(world: World, mesh: Mesh, host: str) -> list[registry.Service]:
    """What istiod knows under a host: a Service, else ServiceEntries, those with a wildcard last."""
    # The mesh is kept with the answer, so that no other one gets its id.
    return world.memo(("services named", id(mesh), host), lambda: (mesh, _named(world, mesh, host)))[1]


def _named(world: World, mesh: Mesh, host: str) -> list[registry.Service]:
    found: list[registry.Service] = []
    named = cluster_name(host, mesh.domain)
    if named and host.endswith(mesh.domain):
        service = world.get(kinds.SERVICE, named[1], named[0])
        if service is not None:
            found.append(registry.of_service(mesh, service))
    exact, wild = _entry_hosts(world, mesh)
    found += exact.get(host, [])
    return found or [entry for entry in wild if entry.host != "*" and subset_of(host, entry.host)]


def _entry_hosts(
    world: World, mesh: Mesh
) -> tuple[dict[str, list[registry.Service]], list[registry.Service]]:
    def collect() -> tuple[dict[str, list[registry.Service]], list[registry.Service]]:
        entries = registry.entries(world, mesh)
        exact: dict[str, list[registry.Service]] = {}
        for entry in entries:
            exact.setdefault(entry.host, []).append(entry)
        return exact, [entry for entry in entries if entry.host.startswith("*")]

    return world.memo(("entry hosts", mesh.revision), collect)


def by_gateway(world: World) -> dict[str, list[Obj]]:
    """VirtualServices by the gateways that they are bound to (``namespace/name``, ``mesh``)."""
    routes = world.all(kinds.VIRTUAL_SERVICE)
    return group_by(world, "virtual services by gateway", routes, gateways_of)


def sidecar_likely(world: World, pod: Obj) -> bool:
    """Whether a pod has a sidecar, or as a manifest would be given one, as far as that is known."""
    return has_sidecar(world, pod)
