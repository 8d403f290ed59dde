"""ExternalName Service whose ports Istio does not understand

## What it finds
With Istio before 1.21 (and OpenShift Service Mesh 2): an ExternalName Service with a port whose name says no
protocol.

## Why it matters
These versions make a service of it with the ports that it declares. A port without a protocol counts as TCP
for a host without an address: its listener takes every connection to this port number that nothing else
takes.

## How to prove it
`istioctl proxy-config listeners POD -n NAMESPACE --port PORT` shows 0.0.0.0 and the external host.

## How to fix it
Name the port `http`, `https-…` or `tls`, or set appProtocol.

## What it does not report
Istio 1.21 and newer, where an ExternalName is another name of its target and its ports do not count. Services
without ports.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.registry import protocol_of
from kgdiag.graph.core import service_ports
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import prove_ports


@rule(
    "KG115", "external-name-ports", Severity.WARNING, needs=(kinds.SERVICE,), about=(kinds.SERVICE,),
    equivalents=("IST0150",), reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such port."""
    for service in scope.all(world, kinds.SERVICE):
        if service.text("spec.type") != "ExternalName":
            continue
        mesh = mesh_of(world)
        if mesh.since(1, 21):
            return
        external = service.text("spec.externalName")
        for port in service_ports(service):
            known = protocol_of(port)
            if known and (known != "TCP" or port.name.startswith("tcp")):
                continue
            yield self.finding(
                service.ref,
                f"port {port.port} ({port.name or 'without a name'}) says no protocol: this Istio takes it "
                f"for TCP of {external}, and every connection to port {port.port} that nothing else takes "
                "goes there",
                evidence=[service.evidence(f"spec.ports[{port.index}]")],
                fix=f"name the port http, https or tls (spec.ports[{port.index}].name)",
                verify=[prove_ports(service)],
            )
