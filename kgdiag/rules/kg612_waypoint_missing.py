"""Waypoint that is asked for and cannot serve

## What it finds
`istio.io/use-waypoint` on a Namespace or Service that names a Gateway which does not exist, is of another
class, has no HBONE listener on 15008, or does not take the namespace (`allowedRoutes`).

## Why it matters
The Service is not bound to a waypoint: requests go from ztunnel to ztunnel, and HTTPRoutes, VirtualServices
and L7 policies for it do not apply.

## How to prove it
`istioctl waypoint list -n NAMESPACE`; the Service's condition `istio.io/WaypointBound`.

## How to fix it
`istioctl waypoint apply -n NAMESPACE --name NAME`, or correct the label.

## What it does not report
Objects outside of the ambient mesh (KG611).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kgdiag.dialects.gateway_api.spec import listeners_of
from kgdiag.graph.world import Missing, World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.ambient import USE_WAYPOINT, ambient, waypoint_of
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import namesakes, prove_gone

_CLASSES = ("istio-waypoint",)


@rule(
    "KG612", "waypoint-missing", Severity.WARNING, needs=(kinds.NAMESPACE, kinds.GATEWAY),
    about=(kinds.NAMESPACE, kinds.SERVICE), equivalents=("KIA1313",), reads=(kinds.SERVICE,),
    names=(kinds.GATEWAY_CLASS,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each object with the label."""
    for owner in _owners(world, scope):
        found = waypoint_of(world, owner)
        if found is None or found[0].ref != owner.ref or not ambient(world, owner.namespace or owner.name):
            continue
        ref = found[1]
        gateway = world.get(kinds.GATEWAY, ref.namespace, ref.name)
        if gateway is None:
            if world.missing(kinds.GATEWAY, ref.namespace, ref.name) is not Missing.GONE:
                continue
            others = namesakes(world, kinds.GATEWAY, ref.name, but=ref.namespace)
            hint = f"; one of this name is in {others[0].namespace}" if others else ""
            words, proof = f"does not exist{hint}", prove_gone(kinds.GATEWAY, ref.namespace, ref.name)
            facts = [owner.evidence("metadata.labels")]
        else:
            words = _unfit(world, gateway, owner)
            proof = _written(gateway)
            facts = [owner.evidence("metadata.labels"), gateway.evidence("spec")]
        if words:
            yield self.finding(
                owner.ref,
                f"its waypoint Gateway {ref.namespace}/{ref.name} {words}: requests go round it, and rules "
                "and policies of L7 do not apply",
                evidence=facts,
                fix=f"istioctl waypoint apply -n {ref.namespace} --name {ref.name}, or correct the label "
                f"{USE_WAYPOINT}",
                verify=[proof],
            )


def _owners(world: World, scope: Scope) -> Iterator[Obj]:
    for kind in (kinds.NAMESPACE, kinds.SERVICE):
        for obj in scope.all(world, kind):
            if USE_WAYPOINT in obj.labels:
                yield obj


def _unfit(world: World, gateway: Obj, owner: Obj) -> str:
    """Why a Gateway is no waypoint for an object, "" where it is one."""
    name = gateway.text("spec.gatewayClassName")
    klass = world.get(kinds.GATEWAY_CLASS, "", name, optional=True)
    mine = klass is not None and klass.text("spec.controllerName") == "istio.io/mesh-controller"
    if name not in _CLASSES and not mine:
        return f"is of class {name}, not istio-waypoint"
    listeners = [item for item in listeners_of(world, gateway) if item.port == 15008]
    if not any(item.protocol == "HBONE" for item in listeners):
        return "has no listener for HBONE on port 15008"
    namespace = owner.namespace or owner.name
    if namespace != gateway.namespace and all(item.allows(world, namespace) is False for item in listeners):
        return f"does not take the namespace {namespace} (allowedRoutes)"
    return ""


def _written(gateway: Obj) -> Command:
    name = gateway.text("spec.gatewayClassName")
    return commands.get(
        kinds.GATEWAY, gateway.namespace, gateway.name, jsonpath=".spec.gatewayClassName", expect=name,
        match=Match.EQUALS, value=name,
    )  # fmt: skip
