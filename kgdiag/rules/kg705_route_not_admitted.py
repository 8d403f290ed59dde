"""OpenShift Route that no router admits

## What it finds
A Route with a router's condition Admitted=False, in the router's words: another namespace owns the host
(HostAlreadyClaimed), a certificate that does not fit (ExtendedValidationFailed), …

## Why it matters
The router does not serve it: its host goes to the Route that was there first, or gets 503.

## How to prove it
`oc get route NAME -n NAMESPACE -o jsonpath='{.status.ingress[*].conditions}'`

## How to fix it
Choose another host, or remove the older Route.

## What it does not report
Routes without a status: no router has looked yet, or none selects it.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import group_by, mappings


@rule("KG705", "route-not-admitted", Severity.ERROR, needs=(kinds.ROUTE,), about=(kinds.ROUTE,))
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each router that turns a Route down."""
    for route in scope.all(world, kinds.ROUTE):
        for at, ingress in mappings(route.get("status.ingress")):
            for number, condition in mappings(ingress.get("conditions")):
                if condition.get("type") != "Admitted" or condition.get("status") != "False":
                    continue
                host = str(ingress.get("host") or route.text("spec.host"))
                every = world.all(kinds.ROUTE)
                same = group_by(world, "routes by host", every, lambda item: [item.text("spec.host")])
                owners = [item for item in same.get(host, ()) if item.ref != route.ref]
                older = min(owners, key=lambda item: item.age_key, default=None)
                by = f" by {older.ref}" if older and condition.get("reason") == "HostAlreadyClaimed" else ""
                words = " ".join(str(condition.get("message") or "").split())[:160]
                yield self.finding(
                    route.ref,
                    f"router {ingress.get('routerName')} does not admit it "
                    f"({condition.get('reason')}{by}): {words}",
                    evidence=[route.evidence(f"status.ingress[{at}].conditions[{number}]")],
                    fix=f"choose another host than {host}" + (f", or remove {older.ref}" if older else ""),
                    verify=[
                        commands.get(
                            kinds.ROUTE, route.namespace, route.name,
                            jsonpath='.status.ingress[*].conditions[?(@.type=="Admitted")].status',
                            expect="False", match=Match.CONTAINS, value="False",
                        )
                    ],
                )  # fmt: skip
