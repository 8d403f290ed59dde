"""Two Services that name different protocols for one port of a pod

## What it finds
Pods with a sidecar selected by two Services whose ports lead to the same container port, one named as HTTP
and the other as TCP or TLS (by `appProtocol` or the port's name).

## Why it matters
The sidecar has one listener for the container port and takes the protocol of the oldest Service: requests
through the other are not seen as HTTP (no routes, no L7 policy), or are broken as HTTP.

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
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import port_text, prove_ports

_HTTP = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"})


@rule(
    "KG114", "protocols-of-one-port", Severity.WARNING, needs=(kinds.SERVICE, kinds.POD),
    about=(kinds.SERVICE,), equivalents=("IST0116",),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Service that the oldest one overrules."""
    for service in scope.all(world, kinds.SERVICE):
        mine = [port for port in service_ports(service) if protocol_of(port) not in ("", "UDP")]
        if not mine:
            continue
        for pod in pods_of(world, service)[:1]:
            everyone = sorted(services_of(world, pod), key=lambda one: one.age_key)
            if len(everyone) > 1 and has_sidecar(world, pod):
                for port, other, theirs in _clashes(pod, service, mine, everyone):
                    yield _finding(self, service, port, other, theirs)


def _clashes(
    pod: Obj, service: Obj, mine: list[ServicePort], everyone: list[Obj]
) -> Iterator[tuple[ServicePort, Obj, ServicePort]]:
    """Ports that the oldest Service of the same container port, which has its say, calls otherwise."""
    for port in mine:
        target = resolve_target(pod, port)
        claims = [
            (other, theirs)
            for other in everyone
            for theirs in service_ports(other)
            if target is not None and resolve_target(pod, theirs) == target
        ]
        other, theirs = claims[0] if claims else (service, port)
        known = protocol_of(theirs)
        overruled = other.ref != service.ref and known not in ("", "UDP")
        if overruled and (known in _HTTP) != (protocol_of(port) in _HTTP):
            yield port, other, theirs


def _finding(self: Rule, service: Obj, port: ServicePort, other: Obj, theirs: ServicePort) -> Finding:
    return self.finding(
        service.ref,
        f"port {port_text(port)} is {protocol_of(port)} ({port.app_protocol or port.name}), and {other.ref} "
        f"has the same port of the pods as {protocol_of(theirs)} ({theirs.app_protocol or theirs.name}): the "
        "sidecar takes the older one's for both",
        evidence=[
            service.evidence(f"spec.ports[{port.index}]"),
            other.evidence(f"spec.ports[{theirs.index}]"),
        ],
        fix=f"give both ports the same protocol (name or appProtocol), as {other.ref} has it",
        verify=[prove_ports(service), prove_ports(other)],
    )
