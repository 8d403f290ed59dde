"""Two Services that name different protocols for one port of a pod

## What it finds
Pods with a sidecar selected by two Services whose ports lead to the same container port, one named as HTTP
and the other as TCP or TLS (by `appProtocol` or the port's name).

## Why it matters
The sidecar has one listener for the container port and takes one of the two protocols, that of the first
Service: requests through the other are not seen as HTTP (no routes, no L7 policy), or are broken as HTTP.

## How to prove it
`kubectl get services -n NAMESPACE -o yaml`: the names and appProtocols of the ports.

## How to fix it
Give both ports the same protocol.

## What it does not report
Ports without a protocol in their name (it is detected), HTTP beside HTTP/2 or gRPC, and gateways.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kgdiag.dialects.istio.mesh import has_sidecar
from kgdiag.dialects.istio.registry import protocol_of
from kgdiag.graph.core import ServicePort, pods_of, resolve_target, service_ports, services_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import port_text, prove_ports

_HTTP = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"})


@rule(
    "KG114", "protocols-of-one-port", Severity.WARNING, needs=(kinds.SERVICE, kinds.POD),
    about=(kinds.SERVICE,), equivalents=("IST0116",), reads=MESH_READS,
    names=(kinds.NAMESPACE, *MESH_NAMES),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each pair of Services, on the younger one."""
    for service in scope.all(world, kinds.SERVICE):
        mine = [port for port in service_ports(service) if protocol_of(port) not in ("", "UDP")]
        if not mine:
            continue
        for pod in pods_of(world, service)[:1]:
            beside = [one for one in services_of(world, pod) if one.age_key < service.age_key]
            if beside and has_sidecar(world, pod):
                for port, other, theirs in _clashes(pod, mine, beside):
                    yield _finding(self, service, port, other, theirs)


def _clashes(
    pod: Obj, mine: list[ServicePort], beside: list[Obj]
) -> Iterator[tuple[ServicePort, Obj, ServicePort]]:
    for port in mine:
        target = resolve_target(pod, port)
        for other in beside:
            for theirs in service_ports(other):
                known = protocol_of(theirs)
                if target is None or known in ("", "UDP") or resolve_target(pod, theirs) != target:
                    continue
                if (known in _HTTP) != (protocol_of(port) in _HTTP):
                    yield port, other, theirs
                    return


def _finding(self: Rule, service: Obj, port: ServicePort, other: Obj, theirs: ServicePort) -> Finding:
    return self.finding(
        service.ref,
        f"port {port_text(port)} is {protocol_of(port)} ({port.app_protocol or port.name}), and {other.ref} "
        f"has the same port of the pods as {protocol_of(theirs)} ({theirs.app_protocol or theirs.name}): the "
        "sidecar takes one of the two for both",
        evidence=[
            service.evidence(f"spec.ports[{port.index}]"),
            other.evidence(f"spec.ports[{theirs.index}]"),
        ],
        fix=f"give both ports the same protocol (name or appProtocol), as {other.ref} has it",
        verify=[prove_ports(service), prove_ports(other)],
    )
