"""Field that its kind does not have

## What it finds
A field in a manifest that the kind's schema does not have: misspelt, at the wrong depth (`http` beside
`spec` instead of in it), or of another kind. The place where such a field would do something is named.

## Why it matters
The field does nothing. With kubectl's default validation the object is refused; with `--validate=false`,
and with most controllers and GitOps tools, the API server drops the field, and the object then means
something else: a VirtualService without routes answers 404, a DestinationRule without `tls.mode` turns TLS
off.

## How to prove it
`kubectl apply --dry-run=server --validate=strict -f FILE` names the field.

## How to fix it
Write the field where the finding says.

## What it does not report
Objects read from a cluster (the server has dropped the field already), kinds whose schema kgdiag does not
have, and kustomize patches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kgdiag.dialects import all_kinds
from kgdiag.graph.world import World
from kgdiag.model import kinds, schema
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.patch import Patch, move_field
from kgdiag.model.read import Origin
from kgdiag.rules.base import Rule, Scope, rule

_ROUTING = ("networking.istio.io", "security.istio.io", "gateway.networking.k8s.io", "networking.k8s.io")


@rule(
    "KG002", "unknown-field", Severity.ERROR, needs=(), about=(), equivalents=("IST0106",)
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each field that does nothing."""
    if world.origin is not Origin.FILES:
        return
    for obj in _objects(world, scope):
        if "*" in obj.name:
            continue  # a patch for many objects
        for found in schema.unknown_fields(obj.raw, _definition(world, obj.kind)):
            meant = f"; did you mean {found.nearest}?" if found.nearest else ""
            yield self.finding(
                obj.ref,
                f"{obj.kind.name} has no field {found.path}: it does nothing{meant}",
                severity=Severity.ERROR if obj.kind.group in _ROUTING else Severity.WARNING,
                evidence=[obj.evidence(found.path)],
                fix=f"move {found.path} to {found.nearest}" if found.nearest else f"remove {found.path}",
                patch=_patch(obj, found.path, found.nearest),
            )


def _patch(obj: Obj, path: str, nearest: str) -> Patch | None:
    """The field under its right name, where its parent is there and nothing else has the name."""
    parent = nearest.rpartition(".")[0]
    there = not parent or isinstance(obj.get(parent), Mapping)
    written = "[]" not in nearest  # else it goes into an item of a list that is not there yet
    free = bool(nearest) and written and there and obj.get(nearest) is None
    return move_field(obj, path, nearest) if free else None


def _objects(world: World, scope: Scope) -> Iterator[Obj]:
    for kind in all_kinds():
        yield from scope.all(world, kind)


def _definition(world: World, kind: Kind) -> dict[str, object] | None:
    found = world.get(kinds.CRD, "", kind.resource, optional=True)
    return dict(found.raw) if found else None
