"""Weights in the mesh that clients from outside never meet

## What it finds
A VirtualService for sidecars only (gateway `mesh`) that splits requests between several destinations, for a
Service that is open to the outside (NodePort, LoadBalancer) or is an Ingress's backend.

## Why it matters
A VirtualService is applied by the client's proxy. A browser has none, and an ingress controller outside the
mesh has none either: their requests go to the endpoints of the Service by kube-proxy, and the weights are
ignored: each version gets as much as it has pods.

## How to prove it
Requests from outside are spread by the number of ready endpoints, not by the weights.

## How to fix it
Let requests enter through an Istio Gateway and bind the VirtualService to it.

## What it does not report
VirtualServices without weights, and those that are bound to a Gateway as well.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.ingress import backends
from kgdiag.dialects.istio.mesh import is_gateway_pod, mesh_of
from kgdiag.dialects.istio.routes import gateways_of, hosts_of
from kgdiag.graph.core import pods_of, selector_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import group_by, mappings, prove_field
from kgdiag.rules.istio import services_named

_OPEN = ("NodePort", "LoadBalancer")


@rule(
    "KG310", "mesh-rules-bypassed", Severity.WARNING, needs=(kinds.VIRTUAL_SERVICE, kinds.SERVICE),
    about=(kinds.VIRTUAL_SERVICE,),
    reads=(kinds.POD, kinds.SERVICE_ENTRY, kinds.INGRESS, *MESH_READS), names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each VirtualService whose weights outside clients go round."""
    mesh = mesh_of(world)
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        if gateways_of(route) != ("mesh",) or not _splits(route):
            continue
        for host in hosts_of(route, mesh):
            for found in services_named(world, mesh, host.lower()):
                service = found.obj
                if not found.kubernetes or not selector_of(service):
                    continue
                entry, fact = _entry(world, service)
                if entry and not any(is_gateway_pod(pod) for pod in pods_of(world, service)):
                    pods = len(pods_of(world, service))
                    yield self.finding(
                        route.ref,
                        f"it is applied by sidecars only (gateways: mesh), and {service.ref} is reached by "
                        f"{entry} without one: the weights are ignored there, its {pods} pods share the "
                        "requests evenly",
                        evidence=[route.evidence("spec.http"), fact.evidence("spec.type")
                                  if fact is service else fact.evidence("spec.rules")],
                        fix="bind the VirtualService to an Istio Gateway and let requests enter there",
                        verify=[
                            prove_field(route, ".spec.gateways", "", "nothing: sidecars only")
                        ]
                        if not route.items("spec.gateways")
                        else [prove_field(route, ".spec.gateways[*]", "mesh", "mesh")],
                    )  # fmt: skip


def _splits(route: Obj) -> bool:
    return any(
        len([item for _, item in mappings(entry.get("route")) if item.get("weight") != 0]) > 1
        for _, entry in mappings(route.get("spec.http"))
    )


def _entry(world: World, service: Obj) -> tuple[str, Obj]:
    """How clients without a proxy reach a Service, and the object that says so."""
    if service.text("spec.type") in _OPEN:
        return f"its {service.text('spec.type')}", service
    every = world.all(kinds.INGRESS, service.namespace, optional=True)
    by_service = group_by(
        world, ("ingresses by service", service.namespace), every,
        lambda item: [
            str((backend.get("service") or {}).get("name")) for _, backend, _ in backends(item)
        ],
    )  # fmt: skip
    found = by_service.get(service.name, [])
    return (f"{found[0].ref}", found[0]) if found else ("", service)
