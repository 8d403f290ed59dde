"""Gateway without an address

## What it finds
A Gateway API Gateway whose controller says that it has no address (Programmed=False AddressNotAssigned),
with what the cluster seems to be.

## Why it matters
There is nothing to connect to from outside: the LoadBalancer Service of its proxy is pending. On minikube
no tunnel is running; on kind nothing gives out addresses.

## How to prove it
`kubectl get gateways.gateway.networking.k8s.io NAME -n NAMESPACE` shows no ADDRESS.

## How to fix it
As for the Service (KG109): `minikube tunnel`, cloud-provider-kind, MetalLB, or a port-forward to the
proxy's Service.

## What it does not report
Gateways without a status. On kind and minikube it is a fact (info).
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import mappings
from kgdiag.rules.kg109_load_balancer_pending import LOCAL, cluster_maker, severity_of


@rule("KG409", "gateway-without-address", Severity.WARNING, needs=(kinds.GATEWAY,), about=(kinds.GATEWAY,),
    reads=(kinds.NODE,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Gateway that waits for an address."""
    for gateway in scope.all(world, kinds.GATEWAY):
        if gateway.items("status.addresses"):
            continue
        for at, condition in mappings(gateway.get("status.conditions")):
            if condition.get("type") != "Programmed" or condition.get("reason") != "AddressNotAssigned":
                continue
            place = cluster_maker(world)
            known = f": the cluster seems to be {place}, which gives none by itself" if place else ""
            yield self.finding(
                gateway.ref,
                f"it has no address (AddressNotAssigned){known}: nothing outside can connect to it",
                severity=severity_of(world, place),
                evidence=[gateway.evidence(f"status.conditions[{at}]")],
                follows=[("no controller", gateway.ref)],
                fix=LOCAL.get(place, "look at the events of the proxy's LoadBalancer Service"),
                verify=[
                    commands.get(
                        kinds.GATEWAY, gateway.namespace, gateway.name, jsonpath=".status.addresses",
                        expect="nothing", match=Match.EQUALS, value="",
                    )
                ],
            )  # fmt: skip
