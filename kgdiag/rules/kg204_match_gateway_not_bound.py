"""Match for a gateway that the VirtualService is not bound to

## What it finds
A gateway in `match[].gateways` that `spec.gateways` does not have.

## Why it matters
The match never holds: routes are made for bound gateways only, and the rule is skipped at all others.
Requests that it was meant for go to a later rule, or get 404.

## How to prove it
`kubectl get vs NAME -n NAMESPACE -o jsonpath='{.spec.gateways}'` lacks the name.

## How to fix it
Add the gateway to `spec.gateways`, or take it from the match.

## What it does not report
Gateways that do not exist at all (KG201). A match with another gateway that is bound.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.routes import gateway_name, gateways_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import listed, mappings, texts
from kgdiag.rules.istio import find_gateway


@rule(
    "KG204", "match-gateway-not-bound", Severity.ERROR, needs=(kinds.VIRTUAL_SERVICE, kinds.ISTIO_GATEWAY),
    about=(kinds.VIRTUAL_SERVICE,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each match that can never hold for its gateways."""
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        bound = set(gateways_of(route))
        if not route.items("spec.hosts"):
            continue  # a delegate is bound where its root is
        for kind in ("http", "tls", "tcp"):
            for at, entry in mappings(route.get(("spec", kind))):
                for number, match in mappings(entry.get("match")):
                    named = [gateway_name(name, route.namespace) for name in texts(match.get("gateways"))]
                    if not named or bound & set(named):
                        continue
                    if not any(name == "mesh" or find_gateway(world, name) for name in named):
                        continue
                    field = f"spec.{kind}[{at}].match[{number}].gateways"
                    yield self.finding(
                        route.ref,
                        f"{field} is {listed(named)}, and spec.gateways is {listed(sorted(bound))}: "
                        "the match never holds",
                        evidence=[route.evidence(field), route.evidence("spec.gateways")],
                        fix=f"add {named[0]} to spec.gateways",
                        verify=[
                            commands.get(
                                kinds.VIRTUAL_SERVICE, route.namespace, route.name,
                                jsonpath=".spec.gateways", expect=f"no {named[0]}", match=Match.LACKS,
                                value=f'"{named[0]}"',
                            )
                        ],
                    )  # fmt: skip
