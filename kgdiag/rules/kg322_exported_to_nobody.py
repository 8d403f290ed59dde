"""exportTo that names a namespace which does not exist

## What it finds
An entry of `exportTo` of a VirtualService, DestinationRule or ServiceEntry that is no namespace.

## Why it matters
The object is shown to nobody there: the namespace that was meant goes on without its rules.

## How to prove it
`kubectl get namespace NAME` says NotFound.

## How to fix it
Write the name that is meant.

## What it does not report
`.`, `*` and `~`. Files that are not a whole cluster, or have no Namespaces.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import known_everywhere, near, prove_gone

_KINDS = (kinds.VIRTUAL_SERVICE, kinds.DESTINATION_RULE, kinds.SERVICE_ENTRY)


@rule(
    "KG322", "exported-to-nobody", Severity.WARNING, needs=(kinds.NAMESPACE,), about=_KINDS,
    equivalents=("KIA0005",), reads=_KINDS,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such entry."""
    for kind in _KINDS:
        for obj in scope.all(world, kind):
            for at, name in enumerate(map(str, obj.items("spec.exportTo"))):
                if name in (".", "*", "~") or not known_everywhere(world, kinds.NAMESPACE):
                    continue
                names = {one.name for one in world.all(kinds.NAMESPACE)}
                if not names or name in names or world.known(kinds.SERVICE, name):
                    continue
                guess = near(name, names)
                hint = f"; did you mean {guess[0]}?" if guess else ""
                field = f"spec.exportTo[{at}]"
                yield self.finding(
                    obj.ref,
                    f"{field} is {name}, and there is no such namespace: it is shown to nobody there{hint}",
                    evidence=[obj.evidence(field)],
                    fix=f"set {field} to {guess[0]}" if guess else f"remove {field}",
                    verify=[prove_gone(kinds.NAMESPACE, "", name)],
                )
