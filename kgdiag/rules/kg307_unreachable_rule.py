"""VirtualService rule that no request reaches

## What it finds
An `http` entry after one that takes every request (no match, or prefix `/` alone), or a match that repeats
an earlier one exactly.

## Why it matters
Rules are tried in their order and the first that matches wins: what stands after a catch-all is never
tried, so its paths go to the catch-all's destination.

## How to prove it
`istioctl proxy-config routes POD -o json` has no route behind the catch-all, or has it twice.

## How to fix it
Move the catch-all to the end.

## What it does not report
The order between several VirtualServices of one host: there istiod moves catch-alls to the end itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import mappings

_CONDITIONS = ("uri", "method", "authority", "scheme", "headers", "withoutHeaders", "queryParams", "port",
               "gateways", "sourceLabels", "sourceNamespace")  # fmt: skip


@rule(
    "KG307", "unreachable-rule", Severity.WARNING, needs=(kinds.VIRTUAL_SERVICE,),
    about=(kinds.VIRTUAL_SERVICE,), equivalents=("IST0130", "IST0131"),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each entry that can never be tried."""
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        taken: str | None = None
        seen: dict[str, str] = {}
        for at, entry in mappings(route.get("spec.http")):
            field = f"spec.http[{at}]"
            if taken is not None:
                yield _finding(self, route, field, f"{taken} takes every request before it", taken)
                break  # the rest is behind the same rule
            matches = list(mappings(entry.get("match")))
            fields = [f"{field}.match[{number}]" for number, _ in matches]
            keys = [_key(match) for _, match in matches]
            repeated = [seen.get(key) for key in keys]
            if matches and all(repeated):
                yield _finding(self, route, field, f"{repeated[0]} has the same conditions", str(repeated[0]))
            for key, where in zip(keys, fields, strict=True):
                seen.setdefault(key, where)
            if not matches or any(_everything(match) for _, match in matches):
                taken = field


def _finding(self: Rule, route: Obj, field: str, why: str, first: str) -> Finding:
    return self.finding(
        route.ref,
        f"{field} is never reached: {why}",
        evidence=[route.evidence(field), route.evidence(first)],
        fix=f"move {first} behind {field}, or remove {field}",
        verify=[
            commands.get(
                kinds.VIRTUAL_SERVICE, route.namespace, route.name, jsonpath=".spec.http[*].match",
                expect="the conditions in their order", match=Match.ANY,
            )
        ],
    )  # fmt: skip


def _everything(match: Mapping[str, Any]) -> bool:
    """Whether a match holds for every request of the VirtualService."""
    conditions = {key for key in _CONDITIONS if match.get(key)}
    if not conditions:
        return True
    uri = match.get("uri")
    return conditions == {"uri"} and isinstance(uri, Mapping) and uri.get("prefix") == "/"


def _key(match: Mapping[str, Any]) -> str:
    return json.dumps({key: match[key] for key in _CONDITIONS if match.get(key)}, sort_keys=True)
