"""Gateway that expects the mesh's TLS from clients that speak plaintext

## What it finds
A VirtualService destination that leads to gateway pods on a port whose server is `ISTIO_MUTUAL`, while no
DestinationRule makes the clients speak it: gateway pods lack the label `security.istio.io/tlsMode`, so
automatic mTLS never applies towards them.

## Why it matters
The listener resets the plaintext connection: 503 with flag UC. It is what happens to KServe's second pass
through the local gateway where mTLS was switched off in the control plane.

## How to prove it
`kubectl get destinationrules -A` has none with ISTIO_MUTUAL for the gateway's Service.

## How to fix it
A DestinationRule with `tls.mode: ISTIO_MUTUAL` for the Service, or a plaintext server.

## What it does not report
Ports with a plaintext server beside it.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.destination_rules import applied, setting_of
from kgdiag.dialects.istio.mesh import Mesh, mesh_of
from kgdiag.dialects.istio.registry import Service
from kgdiag.dialects.istio.routes import gateways_of
from kgdiag.dialects.istio.servers import Server
from kgdiag.graph.core import resolve_target
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known_everywhere
from kgdiag.rules.istio import (
    Destination,
    destinations,
    find_gateway,
    gateway_pods,
    gateway_pods_of,
    open_ports,
    services_named,
)


@rule(
    "KG506", "mesh-tls-listener", Severity.ERROR,
    needs=(kinds.VIRTUAL_SERVICE, kinds.SERVICE, kinds.ISTIO_GATEWAY, kinds.DESTINATION_RULE, kinds.POD),
    about=(kinds.VIRTUAL_SERVICE,),
    reads=(kinds.SERVICE_ENTRY, *MESH_READS), names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each VirtualService that leads plaintext to such a server."""
    mesh = mesh_of(world)
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        done = set()
        for destination in destinations(mesh, route):
            if (destination.full, destination.port) in done:
                continue
            done.add((destination.full, destination.port))
            for found in services_named(world, mesh, destination.full)[:1]:
                server = _expects(world, found, destination)
                if server is None or not known_everywhere(world, kinds.DESTINATION_RULE):
                    continue
                if not _speaks(world, mesh, route, found, destination):
                    yield _finding(self, destination, found.obj, server)


def _expects(world: World, found: Service, destination: Destination) -> Server | None:
    """The server of the gateway pods behind a destination where it wants the mesh's TLS."""
    if not found.kubernetes:
        return None
    for pod in gateway_pods_of(world, found.obj)[:1]:
        for port in found.ports:
            if port.service_port is None or destination.port not in (None, port.number):
                continue
            servers = open_ports(world, pod).get(resolve_target(pod, port.service_port) or 0, [])
            if servers and all(one.tls is not None and one.mode == "ISTIO_MUTUAL" for one in servers):
                return servers[0]
    return None


def _speaks(world: World, mesh: Mesh, route: Obj, found: Service, destination: Destination) -> bool:
    """Whether every client of the VirtualService is told to speak the mesh's TLS."""
    for name in gateways_of(route):
        gateway = find_gateway(world, name) if name != "mesh" else None
        pods = gateway_pods(world, gateway) if gateway else []
        if name != "mesh" and not pods:
            continue
        client = pods[0].namespace if pods else route.namespace
        rule_ = applied(world, mesh, found, client, {})
        port = destination.port or (found.ports[0].number if found.ports else 0)
        setting = setting_of(rule_, port, destination.subset, "tls")
        if setting is None or setting.value.get("mode") != "ISTIO_MUTUAL":
            return False
    return True


def _finding(self: Rule, destination: Destination, service: Obj, server: Server) -> Finding:
    return self.finding(
        destination.route.ref,
        f"destination {destination.host} leads to {server.gateway.ref} {server.part}, which expects the "
        "mesh's TLS (ISTIO_MUTUAL), and no DestinationRule makes clients speak it: the connection is reset, "
        "503 (UC)",
        evidence=[
            destination.route.evidence(f"{destination.part}.host"),
            server.gateway.evidence(f"{server.part}.tls.mode"),
        ],
        fix=f"create a DestinationRule in {service.namespace} for {destination.full} with "
        "trafficPolicy.tls.mode ISTIO_MUTUAL",
        verify=[
            commands.get(
                kinds.DESTINATION_RULE, service.namespace, jsonpath=".items[*].spec.host",
                expect=f"no {destination.full}", match=Match.LACKS, value=destination.full,
            )
        ],
    )  # fmt: skip
