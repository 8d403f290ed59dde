"""Nothing answers on a Service's targetPort

## What it finds
- A Service that leads to gateway pods, with a port whose target no Gateway opens on them: nothing listens
  there (info: a port that nobody uses does no harm; KG101 says so where a Gateway opens it on other pods).
- A Service whose port number is a container port of its pods while its `targetPort` is not one: the two
  numbers were evidently mixed up (warning).

## Why it matters
The connection is refused: a client sees `connection refused`, an Envoy answers 503 with flag UF.

## How to prove it
`istioctl proxy-config listeners POD -n NAMESPACE --port PORT` prints no listener; for an app, `kubectl
exec` into the pod and look at what it listens on.

## How to fix it
Create a Gateway with a server on the port, or drop the Service port; for an app, set `targetPort` to the
port that it listens on.

## What it does not report
A numeric target port that no container declares, by itself: declarations are informational. The ports of
Istio's own agent (15020, 15021, 15090, …). Knative's Services. Gateway pods that no Gateway programs at
all.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.core import ServicePort, containers, pods_of, resolve_target, service_ports
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import listed, mappings, port_text
from kgdiag.rules.istio import AGENT_PORTS, is_classic_gateway, open_ports
from kgdiag.rules.kg101_service_selects_other_pods import dead_targets


@rule(
    "KG105", "target-port-unanswered", Severity.WARNING,
    needs=(kinds.SERVICE, kinds.POD, kinds.ISTIO_GATEWAY), about=(kinds.SERVICE,),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Service with ports that lead nowhere."""
    for service in scope.all(world, kinds.SERVICE):
        pods = pods_of(world, service)
        if not pods:
            continue
        gateways = [pod for pod in pods if is_classic_gateway(pod)]
        if gateways:
            yield from _gateway(self, world, service, gateways[0])
        elif len(pods) == len([pod for pod in pods if _declared(pod)]):
            yield from _mixed_up(self, service, pods[0])


def _gateway(self: Rule, world: World, service: Obj, pod: Obj) -> Iterable[Finding]:
    here = open_ports(world, pod)
    if not here:
        return
    elsewhere = {target for target, _ in dead_targets(world, service, pod)}
    declared = _declared(pod)
    numbers = {server.number for opening in here.values() for server in opening}
    dead = [
        port
        for port in service_ports(service)
        if (target := resolve_target(pod, port)) is not None
        and target not in here
        and target not in elsewhere
        and target not in AGENT_PORTS
        and port.port not in numbers  # another Service decides where that server listens: KG108 says so
        and not _own(target, declared)
    ]
    if dead:
        yield self.finding(
            service.ref,
            f"port {listed((port_text(port) for port in dead), 6)}: no listener: no Gateway opens "
            f"{listed((str(resolve_target(pod, port)) for port in dead), 6)} on {pod.name}",
            severity=Severity.INFO,
            evidence=[service.evidence(f"spec.ports[{port.index}].targetPort") for port in dead],
            verify=[
                commands.istioctl(
                    "listeners", pod.name, pod.namespace, "--port", str(resolve_target(pod, port)),
                    expect="no listener", match=Match.LACKS, value=f"{resolve_target(pod, port)} ",
                )
                for port in dead
            ],
        )  # fmt: skip


def _own(target: int, declared: dict[int, str]) -> bool:
    """Ports that the proxy opens by itself."""
    return declared.get(target, "").startswith(("http-envoy", "status", "tls-"))


def _declared(pod: Obj) -> dict[int, str]:
    """Container ports by number, with their names."""
    return {
        entry["containerPort"]: str(entry.get("name") or "")
        for container in containers(pod)
        for _, entry in mappings(container.get("ports"))
        if isinstance(entry.get("containerPort"), int)
    }


def _mixed_up(self: Rule, service: Obj, pod: Obj) -> Iterable[Finding]:
    if any("knative" in key for key in service.labels):
        return
    declared = _declared(pod)
    targets = {port.target for port in service_ports(service)}
    for port in service_ports(service):
        if _swapped(port, declared, targets):
            yield self.finding(
                service.ref,
                f"port {port_text(port)}: its pods declare {listed(map(str, sorted(declared)), 6)}, not "
                f"{port.target}, and {port.port} is one of them: targetPort is probably the wrong way round; "
                "connections to it are refused (503 UF through an Envoy)",
                evidence=[
                    service.evidence(f"spec.ports[{port.index}]"),
                    pod.evidence("spec.containers[0].ports"),
                ],
                fix=f"set spec.ports[{port.index}].targetPort of Service {service.namespace}/{service.name} "
                f"to {port.port}",
                verify=[
                    commands.get(
                        kinds.POD, pod.namespace, pod.name,
                        jsonpath=".spec.containers[*].ports[*].containerPort",
                        expect=f"the container ports, without {port.target}", match=Match.LACKS,
                        value=str(port.target),
                    )
                ],
            )  # fmt: skip


def _swapped(port: ServicePort, declared: dict[int, str], targets: set[int | str]) -> bool:
    return (
        isinstance(port.target, int)
        and port.target != port.port
        and port.target not in declared
        and port.port in declared
        and port.port not in targets
    )
