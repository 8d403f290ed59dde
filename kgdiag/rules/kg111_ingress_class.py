"""Ingress that no controller takes

## What it finds
An Ingress whose class does not exist, or without a class in a cluster that has no default class.

## Why it matters
Nothing happens: ADDRESS stays empty, and its hosts are answered by whoever has the address, with 404.

## How to prove it
`kubectl get ingressclass` lacks the name, or shows no default.

## How to fix it
Set `spec.ingressClassName` to a class of the cluster.

## What it does not report
The legacy annotation with a class that a controller may serve without an IngressClass object; files that
are not a whole cluster; Ingresses that have an address.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.patch import set_field
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import known_everywhere, listed, near, prove_gone

_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
_LEGACY = "kubernetes.io/ingress.class"


@rule(
    "KG111", "ingress-class", Severity.ERROR, needs=(kinds.INGRESS, kinds.INGRESS_CLASS),
    about=(kinds.INGRESS,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Ingress that nobody serves."""
    for ingress in scope.all(world, kinds.INGRESS):
        if _LEGACY in ingress.annotations or ingress.items("status.loadBalancer.ingress"):
            continue
        classes = world.all(kinds.INGRESS_CLASS)
        if not known_everywhere(world, kinds.INGRESS_CLASS):
            continue
        names = [obj.name for obj in classes]
        name = ingress.text("spec.ingressClassName")
        has = f"the cluster has {listed(names, 4)}" if names else "the cluster has none"
        if name and name not in names:
            alike = near(name, names)
            guess = alike or names[:1]
            yield self.finding(
                ingress.ref,
                f"IngressClass {name} does not exist ({has}): no controller serves this Ingress",
                evidence=[ingress.evidence("spec.ingressClassName")],
                fix=f"set spec.ingressClassName to {guess[0]}" if guess else "install an ingress controller",
                patch=set_field(ingress, "spec.ingressClassName", alike[0]) if alike else None,
                verify=[prove_gone(kinds.INGRESS_CLASS, "", name)],
            )
        elif not name and not any(obj.annotations.get(_DEFAULT) == "true" for obj in classes):
            yield self.finding(
                ingress.ref,
                f"it names no IngressClass and no class is the default ({has}): no controller serves it",
                severity=Severity.WARNING,
                evidence=[ingress.evidence("spec")],
                fix=f"set spec.ingressClassName to {names[0]}" if names else "install an ingress controller",
                verify=[
                    commands.get(
                        kinds.INGRESS_CLASS, "", jsonpath=".items[*].metadata.annotations",
                        expect="no default class", match=Match.LACKS, value=f'"{_DEFAULT}":"true"',
                    )
                ],
            )  # fmt: skip
