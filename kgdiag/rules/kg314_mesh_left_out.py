"""VirtualService that splits a Service's requests and leaves the mesh out

## What it finds
A VirtualService with weights for a Service of the cluster, bound to gateways only, where pods with a sidecar
run and no other VirtualService for sidecars has the host.

## Why it matters
Naming a gateway takes the default `mesh` away: calls between pods go to all endpoints of the Service alike,
so that a canary gets as much of the inner traffic as it has pods.

## How to prove it
`kubectl get virtualservices NAME -n NAMESPACE -o jsonpath='{.spec.gateways}'` has no `mesh`.

## How to fix it
Add `mesh` to `spec.gateways`.

## What it does not report
Hosts that are no Service, VirtualServices without weights, and those that a controller writes.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import has_sidecar, mesh_of
from kgdiag.dialects.istio.routes import gateways_of, hosts_of
from kgdiag.graph.core import pods_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known_everywhere, mappings, owned_by_controller
from kgdiag.rules.istio import by_gateway, services_named


@rule(
    "KG314", "mesh-left-out", Severity.WARNING, needs=(kinds.VIRTUAL_SERVICE, kinds.SERVICE, kinds.POD),
    about=(kinds.VIRTUAL_SERVICE,), reads=(kinds.SERVICE_ENTRY, *MESH_READS),
    names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such host."""
    mesh = mesh_of(world)
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        if "mesh" in gateways_of(route) or owned_by_controller(route) or not splits(route):
            continue
        inner = by_gateway(world).get("mesh", ())
        for host in hosts_of(route, mesh):
            if any(host in hosts_of(other, mesh) for other in inner):
                continue
            for found in services_named(world, mesh, host.lower()):
                if not found.kubernetes or not known_everywhere(world, kinds.VIRTUAL_SERVICE):
                    continue
                clients = [pod for pod in pods_of(world, found.obj) if has_sidecar(world, pod)]
                if clients:
                    yield self.finding(
                        route.ref,
                        f"spec.gateways lists no mesh: sidecars ignore its weights for {host}, calls between "
                        f"pods are spread over all endpoints of {found.obj.ref}",
                        evidence=[route.evidence("spec.gateways"), route.evidence("spec.http")],
                        fix="add mesh to spec.gateways",
                        verify=[
                            commands.get(
                                kinds.VIRTUAL_SERVICE, route.namespace, route.name,
                                jsonpath=".spec.gateways", expect="no mesh", match=Match.LACKS,
                                value='"mesh"',
                            )
                        ],
                    )  # fmt: skip


def splits(route: Obj) -> bool:
    """Whether an entry of a VirtualService shares requests out between several destinations."""
    return any(
        len([item for _, item in mappings(entry.get("route")) if item.get("weight") != 0]) > 1
        for _, entry in mappings(route.get("spec.http"))
    )
