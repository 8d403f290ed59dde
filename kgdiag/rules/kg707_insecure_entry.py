"""OpenShift Route that lets plain http into the mesh's gateway

## What it finds
A Route with edge termination and `insecureEdgeTerminationPolicy: Allow` whose Service leads to Istio
gateway pods.

## Why it matters
Plain http is served beside https, without any identity: policies that ask for principals do not match, and
whatever travels there can be read on the way.

## How to prove it
`oc get route NAME -n NAMESPACE -o jsonpath='{.spec.tls.insecureEdgeTerminationPolicy}'` prints Allow.

## How to fix it
Set it to Redirect.

## What it does not report
Routes to other pods, where plain http may be as meant.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import prove_field
from kgdiag.rules.istio import gateway_pods_of


@rule(
    "KG707", "insecure-entry", Severity.WARNING, needs=(kinds.ROUTE, kinds.SERVICE, kinds.POD),
    about=(kinds.ROUTE,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such Route."""
    for route in scope.all(world, kinds.ROUTE):
        how = route.text("spec.tls.insecureEdgeTerminationPolicy")
        if route.text("spec.tls.termination") != "edge" or how != "Allow":
            continue
        service = world.get(kinds.SERVICE, route.namespace, route.text("spec.to.name"))
        if service is not None and gateway_pods_of(world, service):
            yield self.finding(
                route.ref,
                f"it lets plain http in (insecureEdgeTerminationPolicy Allow) to the gateway behind "
                f"{service.ref}: requests there have no identity and are not encrypted",
                evidence=[route.evidence("spec.tls.insecureEdgeTerminationPolicy")],
                fix="set spec.tls.insecureEdgeTerminationPolicy to Redirect",
                verify=[
                    prove_field(route, ".spec.tls.insecureEdgeTerminationPolicy", "Allow", "Allow"),
                ],
            )
