"""No Service leads to a Gateway's port

## What it finds
A server of an Istio Gateway whose port on the gateway pods is the target of no Service port: the Service in
front of the pods and the Gateway never meet. Istio translates a server's number through the Services of the
pods first (80 becomes 8080 where a Service maps 80 to 8080), and so does this rule.

## Why it matters
The proxy listens, but nothing leads there: a client of the Service is refused the connection on that port.

## How to prove it
`kubectl get svc -n NAMESPACE NAME -o jsonpath='{.spec.ports[*].targetPort}'` lacks the port where
`istioctl proxy-config listeners` shows the Gateway's listener.

## How to fix it
Write a port of the Service as the server's number, or add a port to the Service.

## What it does not report
Gateway pods without any Service, with host networking or a host port for the listener. A server that
another server of the same Gateway makes reachable is a warning, not an error.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.servers import Server, servers_of
from kgdiag.graph.core import containers, resolve_target, service_ports, services_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import listed, mappings, ports_text, prove_ports
from kgdiag.rules.istio import gateway_pods, gateway_pods_of, translate
from kgdiag.rules.kg101_service_selects_other_pods import dead_targets


@rule(
    "KG106", "gateway-port-unreachable", Severity.ERROR,
    needs=(kinds.ISTIO_GATEWAY, kinds.POD, kinds.SERVICE), about=(kinds.ISTIO_GATEWAY,),
    equivalents=("IST0162",),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each server that no Service reaches on any pod of its Gateway."""
    for gateway in scope.all(world, kinds.ISTIO_GATEWAY):
        pods = gateway_pods(world, gateway)
        fronted = [(pod, services_of(world, pod)) for pod in pods]
        fronted = [(pod, services) for pod, services in fronted if services]
        if not fronted or any(_on_host(pod) for pod in pods):
            continue
        reached = {
            (pod.ref, target)
            for pod, services in fronted
            for service in services
            for port in service_ports(service)
            if (target := resolve_target(pod, port)) is not None
        }
        dead, alive = [], 0
        for server in servers_of(gateway):
            if any((pod.ref, translate(world, pod, server.number)[0]) in reached for pod, _ in fronted):
                alive += 1
            else:
                dead.append(server)
        missed = _missed(world)
        for server in dead:
            if (server.gateway.ref, server.index) in missed:
                continue  # a Service that means it leads to other pods: KG101 says so
            yield _finding(self, world, server, *fronted[0], alive)


def _finding(self: Rule, world: World, server: Server, pod: Obj, services: list[Obj], alive: int) -> Finding:
    gateway = server.gateway
    port = translate(world, pod, server.number)[0]
    named = listed(f"{service.namespace}/{service.name}: {ports_text(service)}" for service in services)
    front = services[0]
    numbers = [str(item.port) for item in service_ports(front) if item.target == port] or [
        str(item.port) for item in service_ports(front)
    ]
    return self.finding(
        gateway.ref,
        f"server {server.number} opens port {port} of {pod.name}, and no Service leads there ({named}): "
        "clients are refused the connection",
        severity=Severity.WARNING if alive else Severity.ERROR,
        evidence=[
            gateway.evidence(f"{server.part}.port.number"),
            *(service.evidence("spec.ports") for service in services),
        ],
        fix=f"set {server.part}.port.number of {gateway.ref} to a port of "
        f"{front.ref} ({listed(numbers, 6)}), or add a port with targetPort {port} to it",
        verify=[prove_ports(service) for service in services],
    )


def _missed(world: World) -> set[tuple[Ref, int]]:
    """The servers that a Service means and does not reach, since it selects other gateway pods."""
    services = world.all(kinds.SERVICE)

    def collect() -> set[tuple[Ref, int]]:
        return {
            (server.gateway.ref, server.index)
            for service in services
            for pod in gateway_pods_of(world, service)[:1]
            for _, server in dead_targets(world, service, pod)
        }

    return world.memo("missed servers", collect)


def _on_host(pod: Obj) -> bool:
    return pod.get("spec.hostNetwork") is True or any(
        entry.get("hostPort")
        for container in containers(pod)
        for _, entry in mappings(container.get("ports"))
    )
