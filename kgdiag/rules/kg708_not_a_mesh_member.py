"""Namespace outside of the mesh whose objects are for the mesh

## What it finds
VirtualServices, Gateways or DestinationRules in a namespace that istiod does not look at: not in the
ServiceMeshMemberRoll of OpenShift Service Mesh, or left out by `discoverySelectors`.

## Why it matters
istiod does not read them: gateways answer 404, and Services of that namespace are unknown hosts to the
mesh.

## How to prove it
`kubectl get smmr default -n istio-system -o jsonpath='{.spec.members}'`, or the mesh configuration's
`discoverySelectors` beside the namespace's labels.

## How to fix it
Add the namespace to the member roll (or create a ServiceMeshMember in it), or give it the label.

## What it does not report
Namespaces whose labels are not known.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import discovered, mesh_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known_everywhere

_KINDS = (kinds.VIRTUAL_SERVICE, kinds.ISTIO_GATEWAY, kinds.DESTINATION_RULE)


@rule(
    "KG708", "not-a-mesh-member", Severity.ERROR, needs=(kinds.VIRTUAL_SERVICE,), about=(kinds.NAMESPACE,),
    reads=(kinds.DESTINATION_RULE, kinds.ISTIO_GATEWAY, *MESH_READS),
    names=(kinds.NAMESPACE, *MESH_NAMES),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each namespace whose Istio objects nobody reads."""
    mesh = mesh_of(world)
    if mesh.members is None and not mesh.discovery_selectors:
        return
    said: dict[str, Obj] = {}
    for kind in _KINDS:
        for obj in scope.all(world, kind):
            if obj.namespace not in said and not discovered(world, mesh, obj.namespace):
                said[obj.namespace] = obj
    for namespace, obj in said.items():
        by_roll = mesh.members is not None and namespace not in mesh.members
        why = "it is no member of the mesh" if by_roll else "the mesh's discoverySelectors leave it out"
        if by_roll and not known_everywhere(world, kinds.MESH_MEMBER_ROLL):
            continue
        roll = Ref(kinds.MESH_MEMBER_ROLL.group, "ServiceMeshMemberRoll", mesh.control_plane, "default")
        yield self.finding(
            Ref("", "Namespace", "", namespace),
            f"istiod does not look at it ({why}): {obj.ref} and what else is for the mesh there does nothing",
            evidence=[obj.evidence("metadata.namespace")],
            fix=f"add {namespace} to spec.members of {roll}"
            if by_roll
            else f"give Namespace {namespace} the labels that discoverySelectors ask for",
            verify=[
                commands.get(
                    kinds.MESH_MEMBER_ROLL, roll.namespace, roll.name, jsonpath=".spec.members",
                    expect=f"no {namespace}", match=Match.LACKS, value=f'"{namespace}"',
                )
                if by_roll
                else commands.get(
                    kinds.CONFIG_MAP, mesh.control_plane, "istio", jsonpath=".data.mesh",
                    expect="discoverySelectors", match=Match.CONTAINS, value="discoverySelectors",
                )
            ],
        )  # fmt: skip
