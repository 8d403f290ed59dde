"""Sidecar that does other than it looks

## What it finds
- `outboundTrafficPolicy: {}` (or without `mode`): the mode is then REGISTRY_ONLY, the enum's zero, not the
  mesh's default.
- A Sidecar of the root namespace with a workloadSelector: it is for pods of the root namespace only, not for
  the mesh.

## Why it matters
REGISTRY_ONLY refuses all hosts that no Service and no ServiceEntry names: calls to the outside get 502 or a
reset. A mesh-wide Sidecar that selects nobody leaves all proxies with everything.

## How to prove it
`kubectl get sidecars NAME -n NAMESPACE -o yaml`

## How to fix it
Write the mode; remove the selector, or move the Sidecar to the namespace of the pods that it selects.

## What it does not report
Sidecars of the root namespace that select pods there.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known


@rule(
    "KG321", "sidecar-by-its-zero", Severity.WARNING, needs=(kinds.SIDECAR, kinds.POD),
    about=(kinds.SIDECAR,), equivalents=("KIA1006", "KIA1007"), reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each of the two."""
    for sidecar in scope.all(world, kinds.SIDECAR):
        policy = sidecar.get("spec.outboundTrafficPolicy")
        if isinstance(policy, dict) and not policy.get("mode"):
            yield self.finding(
                sidecar.ref,
                "spec.outboundTrafficPolicy has no mode, which means REGISTRY_ONLY: hosts that the mesh does "
                "not know get 502, or a reset",
                evidence=[sidecar.evidence("spec.outboundTrafficPolicy")],
                fix="set spec.outboundTrafficPolicy.mode to ALLOW_ANY or to REGISTRY_ONLY",
                equivalents=("KIA1007",),
                verify=[
                    commands.get(
                        kinds.SIDECAR, sidecar.namespace, sidecar.name,
                        jsonpath=".spec.outboundTrafficPolicy", expect="no mode", match=Match.LACKS,
                        value="mode",
                    )
                ],
            )  # fmt: skip
        labels = sidecar.mapping("spec.workloadSelector.labels")
        root = mesh_of(world).root_namespace
        if not labels or sidecar.namespace != root or world.select(kinds.POD, root, labels):
            continue
        elsewhere = world.select(kinds.POD, None, labels)
        if elsewhere and known(world, kinds.POD, root):
            yield self.finding(
                sidecar.ref,
                f"it stands in the root namespace with a workloadSelector, which is for pods of {root} only; "
                f"the pods that it selects are in {elsewhere[0].namespace}: it does nothing",
                evidence=[sidecar.evidence("spec.workloadSelector")],
                fix=f"move it to {elsewhere[0].namespace}",
                equivalents=("KIA1006",),
                verify=[
                    commands.get(
                        kinds.POD, root, labels={key: str(value) for key, value in labels.items()},
                        names_only=True, expect="no pod", match=Match.EMPTY,
                    )
                ],
            )  # fmt: skip
