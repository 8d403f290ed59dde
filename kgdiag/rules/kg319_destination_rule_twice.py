"""Two DestinationRules for one host, of which a part does nothing

## What it finds
Two DestinationRules of one namespace for the same host: istiod merges them, oldest first (then by name). A
subset that the first has already is left out, and so is a second `trafficPolicy`.

## Why it matters
The later settings look as if they were in force: other labels of a subset, other TLS settings, other limits.

## How to prove it
`istioctl proxy-config clusters POD -n NAMESPACE --fqdn HOST -o json` has the first one's settings.

## How to fix it
Merge them into one.

## What it does not report
Rules that share nothing: they complete each other. Rules with a workloadSelector or another exportTo. Files
that are not a whole cluster: they may be alternatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kgdiag.dialects.istio.destination_rules import export_of, host_of
from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import group_by, mappings, whole_cluster


@rule(
    "KG319", "destination-rule-twice", Severity.WARNING, needs=(kinds.DESTINATION_RULE,),
    about=(kinds.DESTINATION_RULE,), equivalents=("KIA0201",), reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each part that another rule keeps from being taken."""
    mesh = mesh_of(world)
    every = world.all(kinds.DESTINATION_RULE)
    if not whole_cluster(world):
        return
    same = group_by(
        world, "destination rules of one host", every, lambda one: [f"{one.namespace} {host_of(mesh, one)}"]
    )
    for one in scope.all(world, kinds.DESTINATION_RULE):
        alike = same.get(f"{one.namespace} {host_of(mesh, one)}", [])
        before = [
            other
            for other in sorted(alike, key=lambda item: item.age_key)
            if other.age_key < one.age_key and export_of(other) == export_of(one) and _general(other)
        ]
        if before and _general(one) and one.text("spec.host"):
            for field, words, other in _lost(one, before):
                yield _finding(self, one, field, words, other)


def _general(one: Obj) -> bool:
    return one.get("spec.workloadSelector") is None


def _lost(one: Obj, before: list[Obj]) -> Iterator[tuple[str, str, Obj]]:
    """(field, words, the rule that has it already)."""
    taken: dict[str, tuple[Obj, Mapping[str, object]]] = {}
    for other in before:
        for _, subset in mappings(other.get("spec.subsets")):
            taken.setdefault(str(subset.get("name")), (other, subset))
    for at, subset in mappings(one.get("spec.subsets")):
        first = taken.get(str(subset.get("name")))
        if first is not None and first[1] != subset:
            yield f"spec.subsets[{at}]", f"subset {subset.get('name')}", first[0]
    policy = next((other for other in before if other.get("spec.trafficPolicy") is not None), None)
    mine = one.get("spec.trafficPolicy")
    if policy is not None and mine is not None and policy.get("spec.trafficPolicy") != mine:
        yield "spec.trafficPolicy", "the trafficPolicy", policy


def _finding(self: Rule, one: Obj, field: str, words: str, other: Obj) -> Finding:
    above = field.partition("[")[0]
    return self.finding(
        one.ref,
        f"{words} does nothing: {other.ref} has it for the same host {one.text('spec.host')} and is older or "
        "first by name",
        evidence=[one.evidence(field), other.evidence(above)],
        fix=f"merge it into {other.ref}",
        verify=[
            commands.get(
                kinds.DESTINATION_RULE, other.namespace, other.name, jsonpath=".spec.host",
                expect="the same host, perhaps in its short form", match=Match.CONTAINS,
                value=one.text("spec.host").partition(".")[0],
            )
        ],
    )  # fmt: skip
