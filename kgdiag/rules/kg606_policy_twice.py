"""Two policies where one is taken

## What it finds
Two PeerAuthentications or two Sidecars without a selector in one namespace, or two for the same workload
selector: the oldest (then the first by name) is taken, the other does nothing.

## Why it matters
The later one looks as if it were in force. Where the two differ, mTLS or the egress scope is not what it
says.

## How to prove it
`kubectl get peerauthentications,sidecars -n NAMESPACE`

## How to fix it
Keep one of them.

## What it does not report
AuthorizationPolicies and RequestAuthentications: all of them apply. Two that say the same. Files that are
not a whole cluster: they may be alternatives.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Any

from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import group_by, whole_cluster

_SELECTORS = (
    (kinds.PEER_AUTHENTICATION, "spec.selector.matchLabels", ("KIA0002",)),
    (kinds.SIDECAR, "spec.workloadSelector.labels", ("IST0110", "IST0111", "KIA0002", "KIA0003")),
)


@rule(
    "KG606", "policy-twice", Severity.WARNING, needs=(),
    about=(kinds.PEER_AUTHENTICATION, kinds.SIDECAR),
    equivalents=("IST0110", "IST0111", "KIA0002", "KIA0003"),
    reads=(kinds.SIDECAR, kinds.PEER_AUTHENTICATION),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each policy that another one keeps from being taken."""
    for kind, path, codes in _SELECTORS:
        for obj in scope.all(world, kind):
            every = world.all(kind, obj.namespace)
            same = group_by(world, ("same selector", kind, obj.namespace), every, partial(_keys, path))
            first = min(same[_key(obj, path)], key=lambda one: one.age_key)
            if first.ref == obj.ref or _spec(first) == _spec(obj) or not whole_cluster(world):
                continue
            yield self.finding(
                obj.ref,
                f"{first.ref} has the same workloads and is older or first by name: this one does nothing",
                evidence=[obj.evidence("spec"), first.evidence("spec")],
                fix=f"merge it into {first.ref}, or delete one of them",
                equivalents=codes,
                verify=[
                    commands.get(
                        kind, obj.namespace, names_only=True, expect=f"both, {first.name} among them",
                        match=Match.CONTAINS, value=f"/{first.name}",
                    )
                ],
            )  # fmt: skip


def _key(obj: Obj, path: str) -> str:
    return json.dumps(dict(obj.mapping(path)), sort_keys=True)


def _spec(obj: Obj) -> Any:
    return obj.mapping("spec")


def _keys(path: str, obj: Obj) -> list[str]:
    return [_key(obj, path)]
