"""Namespace with injection labels that contradict each other

## What it finds
A Namespace with both `istio-injection` and `istio.io/rev`, or with an injection label and the ambient label
`istio.io/dataplane-mode: ambient`.

## Why it matters
`istio-injection` wins over `istio.io/rev`: the revision that is named injects nothing. A pod with a sidecar
is not taken into the ambient mesh, so the two modes mix, and policies of a waypoint do not apply.

## How to prove it
`kubectl get ns NAME --show-labels`

## How to fix it
Keep one of the labels.

## What it does not report
`istio-injection: disabled` beside the ambient label, which is how ambient is set up.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.rules.base import Rule, Scope, rule


@rule(
    "KG607", "injection-labels", Severity.WARNING, needs=(kinds.NAMESPACE,), about=(kinds.NAMESPACE,),
    equivalents=("IST0123", "KIA1311"),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such Namespace."""
    for namespace in scope.all(world, kinds.NAMESPACE):
        injection = namespace.labels.get("istio-injection")
        revision = namespace.labels.get("istio.io/rev")
        ambient = namespace.labels.get("istio.io/dataplane-mode") == "ambient"
        if injection and revision:
            words = f"istio-injection={injection} wins over istio.io/rev={revision}, which does nothing"
            drop, codes = "istio-injection" if injection == "enabled" else "istio.io/rev", ("IST0123",)
        elif ambient and (injection == "enabled" or revision):
            words = "it asks for sidecars and for the ambient mesh: injected pods are not part of the latter"
            drop, codes = "istio-injection" if injection else "istio.io/rev", ("KIA1311",)
        else:
            continue
        key = "istio\\.io/rev" if revision and not injection else "istio-injection"
        yield self.finding(
            namespace.ref,
            words,
            evidence=[namespace.evidence("metadata.labels")],
            fix=f"kubectl label ns {namespace.name} {drop}-",
            equivalents=codes,
            verify=[
                commands.get(
                    kinds.NAMESPACE, "", namespace.name, jsonpath=f".metadata.labels.{key}",
                    expect="a value", match=Match.ANY,
                )
            ],
        )  # fmt: skip
