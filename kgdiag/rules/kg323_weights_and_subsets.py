"""Weights or subsets that mean other than they look

## What it finds
- One destination with a weight other than 100: it gets every request all the same.
- The same host and subset twice in one list of destinations: their weights add up.
- A subset without labels: it is all pods of the Service.

## Why it matters
Nothing fails. But who reads `weight: 10` beside no other destination expects a tenth, and who reads two
subsets expects two groups of pods.

## How to prove it
The field that is named.

## How to fix it
Write what is meant: the other destination, one entry with the sum, the labels.

## What it does not report
Sums other than 100: weights are relative. Subsets with a `trafficPolicy` of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import mappings


@rule(
    "KG323", "weights-and-subsets", Severity.INFO, needs=(kinds.VIRTUAL_SERVICE, kinds.DESTINATION_RULE),
    about=(kinds.VIRTUAL_SERVICE, kinds.DESTINATION_RULE), equivalents=("KIA0209", "KIA1104", "KIA1105"),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such field."""
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        for kind in ("http", "tcp", "tls"):
            for at, entry in mappings(route.get(("spec", kind))):
                items = list(mappings(entry.get("route")))
                for field, words, code in _of(f"spec.{kind}[{at}].route", items):
                    yield _finding(self, route, field, words, code)
    for one in scope.all(world, kinds.DESTINATION_RULE):
        for at, subset in mappings(one.get("spec.subsets")):
            if not subset.get("labels") and not subset.get("trafficPolicy") and one.text("spec.host"):
                words = (
                    f"subset {subset.get('name')} has no labels: it is all pods of {one.text('spec.host')}"
                )
                yield _finding(self, one, f"spec.subsets[{at}]", words, "KIA0209")


def _of(field: str, items: list[tuple[int, Mapping[str, Any]]]) -> Iterator[tuple[str, str, str]]:
    weight = items[0][1].get("weight") if len(items) == 1 else None
    if isinstance(weight, int) and weight not in (0, 100):
        words = f"weight {weight} of the only destination means all requests"
        yield f"{field}[{items[0][0]}].weight", words, "KIA1104"
    seen: dict[str, int] = {}
    for at, item in items:
        destination = item.get("destination")
        if not isinstance(destination, Mapping) or item.get("headers"):
            continue
        key = str(sorted((str(name), str(value)) for name, value in destination.items()))
        if key in seen:
            words = f"it is the same destination as {field}[{seen[key]}]: their weights add up"
            yield f"{field}[{at}].destination", words, "KIA1105"
        seen.setdefault(key, at)


def _finding(self: Rule, obj: Obj, field: str, words: str, code: str) -> Finding:
    return self.finding(
        obj.ref, f"{field}: {words}", evidence=[obj.evidence(field)], fix="write what is meant",
        equivalents=(code,),
    )  # fmt: skip
