"""No pod has the named targetPort

## What it finds
A Service port whose `targetPort` is a name that no container of the selected pods gives to a port with the
same protocol. Names are resolved on each pod by itself; where only some pods lack it, that is a warning.

## Why it matters
A pod without the name gets no endpoint for this Service port: connections to it are refused, an Envoy
answers 503 with flag UH, although the pods are ready.

## How to prove it
The names that the pods have: `kubectl get pods -n NAMESPACE -l SELECTOR -o
jsonpath='{.items[*].spec.containers[*].ports[*].name}'` lacks the one that the Service asks for.

## How to fix it
Write the container port's real name, or its number, as `targetPort`; or name the container port.

## What it does not report
Numeric target ports (a container port need not be declared), and Services without pods (KG102).
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.core import ServicePort, containers, pods_of, resolve_target, selector_of, service_ports
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.patch import set_field
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import listed, mappings, near


@rule(
    "KG104", "target-port-name", Severity.ERROR, needs=(kinds.SERVICE, kinds.POD), about=(kinds.SERVICE,),
    equivalents=("KIA0701",),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Service port whose target name is missing on pods."""
    for service in scope.all(world, kinds.SERVICE):
        named = [port for port in service_ports(service) if isinstance(port.target, str)]
        if not named:
            continue
        pods = pods_of(world, service)
        for port in named:
            without = [pod for pod in pods if resolve_target(pod, port) is None]
            if without:
                yield _finding(self, service, port, pods, without)


def _finding(self: Rule, service: Obj, port: ServicePort, pods: list[Obj], without: list[Obj]) -> Finding:
    declared = [
        (str(entry.get("name") or entry.get("containerPort")), str(entry.get("protocol") or "TCP"))
        for container in containers(without[0])
        for _, entry in mappings(container.get("ports"))
    ]
    names = [name for name, protocol in declared if protocol == port.protocol]
    everyone = len(without) == len(pods)
    who = "no pod" if everyone else f"pod {without[0].name} ({len(without)} of {len(pods)})"
    verb = "has" if everyone else "lacks"
    other = "" if names or not declared else f" for protocol {port.protocol}"
    has = (
        f"; container ports{other}: {listed(names, 6)}"
        if names
        else f"; no container port is declared{other}"
    )
    guess = near(str(port.target), names) or (names if len(names) == 1 else [])
    field = f"spec.ports[{port.index}].targetPort"
    right = int(guess[0]) if guess and guess[0].isdigit() else "".join(guess[:1])
    return self.finding(
        service.ref,
        f"port {port.port}: {who} {verb} a container port named {port.target}{has}; the port "
        + ("has no endpoint" if everyone else "reaches the other pods only"),
        severity=Severity.ERROR if everyone else Severity.WARNING,
        evidence=[
            service.evidence(f"spec.ports[{port.index}].targetPort"),
            without[0].evidence("spec.containers[0].ports"),
        ],
        fix=f"set spec.ports[{port.index}].targetPort of Service {service.namespace}/{service.name} to "
        + (guess[0] if guess else "the name or number of the port that the container listens on"),
        patch=set_field(service, field, right) if everyone and guess else None,
        verify=[
            commands.get(
                kinds.POD, service.namespace, labels=selector_of(service),
                jsonpath=".items[*].spec.containers[*].ports[*].name",
                expect=f"names without {port.target}", match=Match.LACKS, value=str(port.target),
            )
        ]
        if everyone
        else [
            commands.get(
                kinds.POD, service.namespace, without[0].name,
                jsonpath=".spec.containers[*].ports[*].name",
                expect=f"names without {port.target}", match=Match.LACKS, value=str(port.target),
            )
        ],
    )  # fmt: skip
