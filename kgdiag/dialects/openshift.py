"""OpenShift Routes and Service Mesh membership. Source: openshift/api route/v1/types.go, maistra.io docs."""

from __future__ import annotations

from collections.abc import Iterator

from kgdiag.dialects.base import Dialect
from kgdiag.graph.relations import Link, Relation
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref


def _routes_to(world: World, route: Obj) -> Iterator[Link]:
    target = route.text("spec.port.targetPort")
    how = f"{route.text('spec.host')} → {f'targetPort {target}' if target else 'all ports'}"
    termination = route.text("spec.tls.termination")
    how += f", {termination}" if termination else ", no TLS"
    named = [("spec.to", route.mapping("spec.to"))]
    named += [
        (f"spec.alternateBackends[{at}]", item)
        for at, item in enumerate(route.maps("spec.alternateBackends"))
    ]
    for field, backend in named:
        if backend.get("name"):
            weight = backend.get("weight", 100)
            yield Link(
                Ref("", "Service", route.namespace, str(backend["name"])), field, f"{how}, weight {weight}"
            )


def _members(world: World, roll: Obj) -> Iterator[Link]:
    for at, name in enumerate(roll.items("spec.members")):
        yield Link(Ref("", "Namespace", "", str(name)), f"spec.members[{at}]")


def _membership(world: World, member: Obj) -> Iterator[Link]:
    control = member.mapping("spec.controlPlaneRef")
    if control.get("name"):
        ref = Ref(
            "maistra.io", "ServiceMeshControlPlane", str(control.get("namespace") or ""), str(control["name"])
        )
        yield Link(ref, "spec.controlPlaneRef")


def _in_namespace(world: World, obj: Obj) -> list[Obj]:
    return world.all(kinds.ROUTE, obj.namespace)


RELATIONS = (
    Relation("routes-to", "routed-to-by", kinds.ROUTE, (kinds.SERVICE,), _routes_to, _in_namespace),
    Relation("has-member", "member-of", kinds.MESH_MEMBER_ROLL, (kinds.NAMESPACE,), _members),
    Relation("joins", "joined-by", kinds.MESH_MEMBER, (kinds.MESH_CONTROL_PLANE,), _membership),
)

DIALECT = Dialect("openshift", relations=RELATIONS)
