"""OpenShift Route that leads to no endpoint

## What it finds
A Route whose Service does not exist, or whose `port.targetPort` is neither the name of one of the Service's
ports nor the number of a pod's port: it is never the Service's port number.

## Why it matters
The router has no server for it and answers 503 "Application is not available", although the Route is
admitted.

## How to prove it
`oc get route NAME -n NAMESPACE -o jsonpath='{.spec.port.targetPort}'` beside the Service's port names and
target ports.

## How to fix it
Write the name of the Service's port.

## What it does not report
Routes without `port`: all ports of the endpoints are used.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.core import pods_of, resolve_target, service_ports
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.patch import set_field
from kgdiag.model.ref import Ref
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import gone_or_unseen, listed, near, ports_text, prove_gone, prove_ports


@rule(
    "KG704", "openshift-route", Severity.ERROR, needs=(kinds.ROUTE, kinds.SERVICE), about=(kinds.ROUTE,),
    reads=(kinds.POD,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each backend of a Route that has no server."""
    for route in scope.all(world, kinds.ROUTE):
        named = [("spec.to", route.mapping("spec.to"))]
        named += [
            (f"spec.alternateBackends[{at}]", item)
            for at, item in enumerate(route.maps("spec.alternateBackends"))
        ]
        for field, backend in named:
            name = str(backend.get("name") or "")
            if not name or backend.get("weight") == 0:
                continue
            service = world.get(kinds.SERVICE, route.namespace, name)
            if service is None:
                yield from _missing(self, world, route, field, name)
            else:
                yield from _port(self, world, route, service)


def _missing(self: Rule, world: World, route: Obj, field: str, name: str) -> Iterable[Finding]:
    severity, words = gone_or_unseen(world, kinds.SERVICE, route.namespace, name)
    if severity is None:
        return
    here = [obj.name for obj in world.all(kinds.SERVICE, route.namespace, optional=True)]
    guess = near(name, here)
    hint = f"; did you mean {guess[0]}?" if guess else ""
    lost = ": the router answers 503" if severity is Severity.ERROR else ""
    yield self.finding(
        route.ref,
        f"Service {route.namespace}/{name} {words}{lost}{hint}",
        severity=severity,
        evidence=[route.evidence(f"{field}.name")],
        fix=f"set {field}.name to {guess[0]}" if guess else f"create Service {route.namespace}/{name}",
        patch=set_field(route, f"{field}.name", guess[0]) if guess and severity is Severity.ERROR else None,
        follows=[("missing", Ref("", "Service", route.namespace, name))],
        verify=[prove_gone(kinds.SERVICE, route.namespace, name)] if severity is Severity.ERROR else [],
    )


def _port(self: Rule, world: World, route: Obj, service: Obj) -> Iterable[Finding]:
    wanted = route.text("spec.port.targetPort")
    ports = service_ports(service)
    if not wanted or any(port.name == wanted for port in ports):
        return
    pods = pods_of(world, service)
    numbers = {str(port.target) for port in ports}
    numbers |= {str(resolve_target(pod, port)) for pod in pods for port in ports}
    if wanted in numbers or not ports:
        return
    if not wanted.isdigit() and any(isinstance(port.target, str) for port in ports) and not pods:
        return
    mine = [port for port in ports if str(port.port) == wanted]
    hint = f": {wanted} is the Service's own port number" if mine else ""
    right = (mine or ports)[0]
    yield self.finding(
        route.ref,
        f"targetPort {wanted} is neither a port name nor a pod's port of {service.ref} "
        f"({ports_text(service)}){hint}: the router answers 503",
        evidence=[route.evidence("spec.port.targetPort"), service.evidence("spec.ports")],
        fix=f"set spec.port.targetPort to {right.name or right.target} "
        f"({listed(port.name or str(port.target) for port in ports)} would do)",
        patch=set_field(route, "spec.port.targetPort", right.name or right.target)
        if len(mine) == 1
        else None,
        verify=[prove_ports(service)],
    )
