"""Destination port that the Service does not have

## What it finds
A destination whose `port.number` is no port of the Service (often it is the target port: destinations take
the Service's port), or that names no port although the Service has several and the gateway's own port
number is not one of them.

## Why it matters
The proxy has no cluster for that port: the destination's share of the requests gets 503 with flag NC.

## How to prove it
`kubectl get svc NAME -n NAMESPACE -o jsonpath='{.spec.ports[*].port}'` lacks the number.

## How to fix it
Write one of the Service's ports.

## What it does not report
Destinations without a port on Services with one port. Services that do not exist (KG301), ExternalName
Services, and headless ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import Mesh, mesh_of
from kgdiag.dialects.istio.registry import Service
from kgdiag.dialects.istio.routes import gateways_of
from kgdiag.dialects.istio.servers import servers_of
from kgdiag.graph.core import ServicePort, service_ports
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.patch import set_fields
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import listed, prove_ports
from kgdiag.rules.istio import Destination, destinations, find_gateway, services_named


@rule(
    "KG302", "destination-port", Severity.ERROR,
    needs=(kinds.VIRTUAL_SERVICE, kinds.SERVICE, kinds.SERVICE_ENTRY), about=(kinds.VIRTUAL_SERVICE,),
    equivalents=("IST0101", "IST0112"),
    reads=MESH_READS, names=(kinds.ISTIO_GATEWAY, *MESH_NAMES),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each host and port of a VirtualService that the host does not have."""
    mesh = mesh_of(world)
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        done = set()
        for destination in destinations(mesh, route):
            key = (destination.full, destination.port)
            if key in done:
                continue
            done.add(key)
            yield from _judge(self, world, mesh, destination)


def _judge(self: Rule, world: World, mesh: Mesh, destination: Destination) -> Iterable[Finding]:
    found = services_named(world, mesh, destination.full)
    if not found or any(not service.ports or service.external for service in found):
        return
    numbers = sorted({port.number for service in found for port in service.ports})
    if destination.port is not None:
        if destination.port not in numbers:
            same = [
                item
                for item in destinations(mesh, destination.route)
                if (item.full, item.port) == (destination.full, destination.port)
            ]
            yield _wrong(self, same, found[0], numbers)
    elif len(numbers) > 1:
        asked = _listener_ports(world, destination.route)
        if asked and not asked & set(numbers):
            yield _unsaid(self, destination, found[0], numbers, asked)


def _wrong(self: Rule, same: list[Destination], service: Service, numbers: list[int]) -> Finding:
    destination = same[0]
    mapped = [port for port in _ports(service) if port.target == destination.port]
    hint = f"; {destination.port} is the targetPort of port {mapped[0].port}" if mapped else ""
    right = mapped[0].port if mapped else numbers[0]
    return self.finding(
        destination.route.ref,
        f"destination {destination.host}: {service.obj.ref} has no port {destination.port} "
        f"(it has {listed(map(str, numbers), 6)}){hint}: its share of the requests gets 503 (NC)",
        evidence=[
            destination.route.evidence(f"{destination.part}.port.number"),
            service.obj.evidence("spec.ports"),
        ],
        fix=f"set {destination.part}.port.number to {right}",
        patch=set_fields(destination.route, {f"{item.part}.port.number": right for item in same})
        if len(mapped) == 1
        else None,
        verify=[prove_ports(service.obj)] if service.kubernetes else [],
        equivalents=("IST0101",),
    )


def _unsaid(
    self: Rule, destination: Destination, service: Service, numbers: list[int], asked: set[int]
) -> Finding:
    return self.finding(
        destination.route.ref,
        f"destination {destination.host} names no port: {service.obj.ref} has "
        f"{listed(map(str, numbers), 6)}, and istiod takes the gateway's own "
        f"port {listed(map(str, sorted(asked)))}: 503 (NC)",
        evidence=[destination.route.evidence(destination.part), service.obj.evidence("spec.ports")],
        fix=f"set {destination.part}.port.number to one of {listed(map(str, numbers), 6)}",
        verify=[prove_ports(service.obj)] if service.kubernetes else [],
        equivalents=("IST0112",),
    )


def _ports(service: Service) -> list[ServicePort]:
    return service_ports(service.obj) if service.kubernetes else []


def _listener_ports(world: World, route: Obj) -> set[int]:
    """The server numbers of a VirtualService's gateways; empty where one is unknown or sidecars apply it."""
    numbers: set[int] = set()
    for name in gateways_of(route):
        gateway = find_gateway(world, name) if name != "mesh" else None
        if gateway is None:
            return set()
        numbers |= {server.number for server in servers_of(gateway)}
    return numbers
