"""Gateway that no controller programs

## What it finds
A Gateway API Gateway whose `gatewayClassName` names no GatewayClass, or a GatewayClass that its controller
has not accepted. Near names are given.

## Why it matters
No controller touches the Gateway: no proxy, no address, no status. Routes on it stay without a status too.

## How to prove it
`kubectl get gatewayclass NAME` answers NotFound, or shows ACCEPTED False or Unknown.

## How to fix it
Write the name of an existing class, or install the controller that brings it.

## What it does not report
In files that are not a whole cluster, a class that is not in them: controllers make their classes
themselves.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import Missing, World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import listed, near, prove_gone


@rule(
    "KG400", "gateway-class", Severity.ERROR, needs=(kinds.GATEWAY, kinds.GATEWAY_CLASS),
    about=(kinds.GATEWAY,), equivalents=("KIA1504",),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Gateway whose class is missing or not accepted."""
    for gateway in scope.all(world, kinds.GATEWAY):
        name = gateway.text("spec.gatewayClassName")
        found = world.get(kinds.GATEWAY_CLASS, "", name)
        if found is not None:
            yield from _not_accepted(self, gateway, found)
        elif name and world.missing(kinds.GATEWAY_CLASS, "", name) is Missing.GONE:
            names = [obj.name for obj in world.all(kinds.GATEWAY_CLASS)]
            has = f"the cluster has {listed(names, 5)}" if names else "the cluster has none"
            guess = near(name, names) or names[:1]
            yield self.finding(
                gateway.ref,
                f"GatewayClass {name} does not exist ({has}): no controller programs this Gateway, it gets "
                "no proxy and no address",
                evidence=[gateway.evidence("spec.gatewayClassName")],
                fix=f"set spec.gatewayClassName to {guess[0]}"
                if guess
                else f"install the controller of {name}",
                verify=[prove_gone(kinds.GATEWAY_CLASS, "", name)],
                causes=[("no controller", gateway.ref)],
            )


def _not_accepted(self: Rule, gateway: Obj, klass: Obj) -> Iterable[Finding]:
    for at, condition in enumerate(klass.maps("status.conditions")):
        if condition.get("type") == "Accepted" and condition.get("status") != "True":
            waiting = condition.get("status") == "Unknown"
            controller = klass.text("spec.controllerName")
            why = (
                f"no controller {controller} has answered for it"
                if waiting
                else f"{condition.get('reason')}: {condition.get('message')}"
            )
            yield self.finding(
                gateway.ref,
                f"{klass.ref} is not accepted ({why}): no controller programs this Gateway",
                evidence=[
                    gateway.evidence("spec.gatewayClassName"),
                    klass.evidence(f"status.conditions[{at}]"),
                ],
                fix=f"install or start the controller {controller}" if waiting else f"mend {klass.ref}",
                causes=[("no controller", gateway.ref)],
                verify=[
                    commands.get(
                        kinds.GATEWAY_CLASS, "", klass.name,
                        jsonpath='.status.conditions[?(@.type=="Accepted")].status',
                        expect=str(condition.get("status")), match=Match.EQUALS,
                        value=str(condition.get("status")),
                    )
                ],
            )  # fmt: skip
