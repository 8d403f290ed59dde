"""HTTP rules for a port that Istio takes for TCP

## What it finds
A VirtualService with `http` rules for sidecars, whose host is a Service all of whose ports Istio takes for
TCP or TLS: by `appProtocol`, else by the port's name up to its first dash (`tcp-web`, `https`, `tls-…`).

## Why it matters
On such ports sidecars route connections, not requests: the `http` rules are ignored, requests are spread
evenly.

## How to prove it
`kubectl get svc NAME -n NAMESPACE -o jsonpath='{.spec.ports[*].name}'`

## How to fix it
Name the port `http` (or `http-…`), or set `appProtocol: http`.

## What it does not report
Ports without a known name: their protocol is detected from the bytes. VirtualServices on gateways only.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.routes import gateways_of, hosts_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import listed
from kgdiag.rules.istio import services_named


@rule(
    "KG312", "http-rules-on-tcp-port", Severity.WARNING, needs=(kinds.VIRTUAL_SERVICE, kinds.SERVICE),
    about=(kinds.VIRTUAL_SERVICE,),
    reads=(kinds.SERVICE_ENTRY, *MESH_READS), names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each host whose ports know no HTTP."""
    mesh = mesh_of(world)
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        if "mesh" not in gateways_of(route) or not route.maps("spec.http"):
            continue
        for host in hosts_of(route, mesh):
            for found in services_named(world, mesh, host.lower()):
                ports = [port for port in found.ports if port.protocol != "UDP"]
                if not found.kubernetes or not ports or not all(port.tcp for port in ports):
                    continue
                service = found.obj
                names = listed(f"{port.number} ({port.name or port.protocol})" for port in ports)
                yield self.finding(
                    route.ref,
                    f"its http rules are ignored for {host}: Istio takes port {names} of {service.ref} for "
                    f"{ports[0].protocol} by its name or appProtocol",
                    evidence=[route.evidence("spec.http"), service.evidence("spec.ports[0].name")],
                    fix=f"name the port http in {service.ref}, or set appProtocol: http",
                    verify=[
                        commands.get(
                            kinds.SERVICE, service.namespace, service.name, jsonpath=".spec.ports[*].name",
                            expect="no name that starts with http", match=Match.ANY,
                        )
                    ],
                )  # fmt: skip
