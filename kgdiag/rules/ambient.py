"""Istio's ambient mesh as the rules ask of it: who is in it, and which waypoint stands before whom.

Sources: istio pkg/config/constants (labels), cni/pkg/util/podutil.go (PodFullyEnrolled),
pilot/pkg/serviceregistry/ambient/waypoints.go (fetchWaypointForService).
"""

from __future__ import annotations

from kgdiag.dialects.istio.mesh import is_proxy
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref

MODE = "istio.io/dataplane-mode"
USE_WAYPOINT = "istio.io/use-waypoint"
WAYPOINT_NAMESPACE = "istio.io/use-waypoint-namespace"


def ambient(world: World, namespace: str) -> bool:
    """Whether a namespace asks for the ambient mesh."""
    found = world.get(kinds.NAMESPACE, "", namespace, optional=True)
    return found is not None and found.labels.get(MODE) == "ambient"


def in_ambient(world: World, pod: Obj) -> bool:
    """Whether a pod is in the ambient mesh: asked for by itself or its namespace, and without a proxy."""
    if is_proxy(pod) or pod.get("spec.hostNetwork") is True:
        return False
    mode = pod.labels.get(MODE)
    return mode == "ambient" or (mode != "none" and ambient(world, pod.namespace))


def waypoint_of(world: World, obj: Obj) -> tuple[Obj, Ref] | None:
    """(who says so, the Gateway) for a Service, pod or Namespace: its own label, else its namespace's."""
    owners = [obj]
    if obj.kind != kinds.NAMESPACE:
        namespace = world.get(kinds.NAMESPACE, "", obj.namespace, optional=True)
        owners += [namespace] if namespace is not None else []
    for owner in owners:
        name = str(owner.labels.get(USE_WAYPOINT) or "")
        if name == "none":
            return None
        if name:
            home = owner.name if owner.kind == kinds.NAMESPACE else owner.namespace
            place = str(owner.labels.get(WAYPOINT_NAMESPACE) or home)
            return owner, Ref(kinds.GATEWAY.group, kinds.GATEWAY.name, place, name)
    return None
