"""Gateway whose requests pass by the waypoint

## What it finds
A Service of the ambient mesh with a waypoint and an L7 policy for it (`targetRefs` to the Service or to the
waypoint), reached through an Istio ingress gateway, without the label `istio.io/ingress-use-waypoint: "true"`
on the Service or its Namespace.

## Why it matters
Gateways send to the pods and skip waypoints unless they are told otherwise: what the policy denies is let
through from outside, and what a route of the waypoint changes is not changed.

## How to prove it
`kubectl get service NAME -n NAMESPACE --show-labels`; the waypoint's access log lacks the requests.

## How to fix it
`kubectl label service NAME -n NAMESPACE istio.io/ingress-use-waypoint=true`

## What it does not report
Services without such a policy. Gateways of other implementations, which know no waypoints.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.gateway_api.attach import attachments
from kgdiag.dialects.gateway_api.backends import backend_refs
from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.routes import gateways_of
from kgdiag.graph.core import pods_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref
from kgdiag.rules.ambient import ambient, in_ambient, waypoint_of
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import mappings
from kgdiag.rules.istio import destinations

_LABEL = "istio.io/ingress-use-waypoint"


@rule(
    "KG614", "gateway-skips-waypoint", Severity.WARNING,
    needs=(kinds.SERVICE, kinds.NAMESPACE, kinds.AUTHORIZATION_POLICY), about=(kinds.SERVICE,),
    reads=(kinds.POD, kinds.VIRTUAL_SERVICE, kinds.HTTP_ROUTE, *MESH_READS),
    names=(kinds.GATEWAY, kinds.GATEWAY_CLASS, *MESH_NAMES),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such Service."""
    for service in scope.all(world, kinds.SERVICE):
        namespace = world.get(kinds.NAMESPACE, "", service.namespace)
        if namespace is None or not (
            ambient(world, service.namespace) or "istio.io/use-waypoint" in service.labels
        ):
            continue
        found = waypoint_of(world, service)
        if found is None or any(one.labels.get(_LABEL) == "true" for one in (service, namespace)):
            continue
        policy = _policy(world, service, found[1])
        entry = _entry(world, service) if policy is not None else None
        if (
            policy is None
            or entry is None
            or not any(in_ambient(world, pod) for pod in pods_of(world, service))
        ):
            continue
        yield self.finding(
            service.ref,
            f"{entry.ref} leads to it from a gateway, which skips waypoint {found[1].name}: {policy.ref} "
            "does not hold for these requests",
            evidence=[service.evidence("metadata.labels"), policy.evidence("spec.targetRefs")],
            fix=f"kubectl label service {service.name} -n {service.namespace} {_LABEL}=true",
            verify=[
                commands.get(
                    kinds.SERVICE, service.namespace, service.name,
                    jsonpath=r".metadata.labels.istio\.io/ingress-use-waypoint", expect="nothing",
                    match=Match.EQUALS, value="",
                )
            ],
        )  # fmt: skip


def _policy(world: World, service: Obj, waypoint: Ref) -> Obj | None:
    """A policy that the waypoint enforces for a Service."""
    wanted = {("Service", service.namespace, service.name), ("Gateway", waypoint.namespace, waypoint.name)}
    for policy in world.all(kinds.AUTHORIZATION_POLICY):
        for _, target in mappings(policy.get("spec.targetRefs")):
            if (str(target.get("kind")), policy.namespace, str(target.get("name"))) in wanted:
                return policy
    return None


def _entry(world: World, service: Obj) -> Obj | None:
    """A route of an Istio gateway that leads to a Service."""
    mesh = mesh_of(world)
    full = f"{service.name}.{service.namespace}.svc.{mesh.domain}"
    for route in world.all(kinds.VIRTUAL_SERVICE, optional=True):
        if gateways_of(route) != ("mesh",) and any(one.full == full for one in destinations(mesh, route)):
            return route
    for route in world.all(kinds.HTTP_ROUTE, optional=True):
        refs = [
            ref.ref
            for number, _ in enumerate(route.items("spec.rules"))
            for ref in backend_refs(route, number)
        ]
        if service.ref in refs:
            for item in attachments(world, route):
                if item.accepted and item.provider is not None and item.provider.name == "istio":
                    return route
    return None
