"""ReferenceGrant for a namespace that does not exist

## What it finds
An entry of a ReferenceGrant's `spec.from` whose namespace does not exist.

## Why it matters
It allows nobody: the reference that was meant is refused (KG401), and the grant looks as if it were there.

## How to prove it
`kubectl get namespace NAME` says NotFound.

## How to fix it
Write the namespace of the route or Gateway that refers.

## What it does not report
Files that are not a whole cluster, or have no Namespaces.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import known_everywhere, mappings, near, prove_gone


@rule(
    "KG416", "grant-for-nobody", Severity.WARNING, needs=(kinds.REFERENCE_GRANT, kinds.NAMESPACE),
    about=(kinds.REFERENCE_GRANT,), equivalents=("KIA1601",),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such entry."""
    for grant in scope.all(world, kinds.REFERENCE_GRANT):
        for at, entry in mappings(grant.get("spec.from")):
            name = str(entry.get("namespace") or "")
            names = {one.name for one in world.all(kinds.NAMESPACE)}
            if not name or not names or name in names or not known_everywhere(world, kinds.NAMESPACE):
                continue
            if world.known(kinds.SERVICE, name) or world.known(kinds.HTTP_ROUTE, name):
                continue  # files often leave the Namespace itself out
            guess = near(name, names)
            field = f"spec.from[{at}].namespace"
            hint = f"; did you mean {guess[0]}?" if guess else ""
            yield self.finding(
                grant.ref,
                f"{field} is {name}, and there is no such namespace: it allows nobody{hint}",
                evidence=[grant.evidence(field)],
                fix=f"set {field} to {guess[0]}" if guess else f"correct {field}",
                verify=[prove_gone(kinds.NAMESPACE, "", name)],
            )
