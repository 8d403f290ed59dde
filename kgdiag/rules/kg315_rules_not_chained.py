"""Weights or subsets in the mesh that requests from a gateway pass by

## What it finds
A VirtualService on a gateway that sends to a host without a subset, while the weights or subsets for this
host stand in another VirtualService that is for sidecars only.

## Why it matters
VirtualServices are not chained: the gateway's proxy applies what is bound to it and sends straight to the
endpoints. All versions get requests from outside, each as much as it has pods.

## How to prove it
`istioctl proxy-config routes POD -n NAMESPACE` at the gateway has one cluster without weights for the host.

## How to fix it
Bind the VirtualService with the weights to the gateway too, or repeat its destinations there.

## What it does not report
VirtualServices that a controller writes (Knative's come in pairs), and destinations that lead to another
gateway.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import is_gateway_pod, mesh_of
from kgdiag.dialects.istio.routes import gateways_of, hosts_of
from kgdiag.graph.core import pods_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import mappings, owned_by_controller
from kgdiag.rules.istio import by_gateway, destinations, services_named
from kgdiag.rules.kg314_mesh_left_out import splits


@rule(
    "KG315", "rules-not-chained", Severity.WARNING, needs=(kinds.VIRTUAL_SERVICE, kinds.SERVICE),
    about=(kinds.VIRTUAL_SERVICE,), equivalents=("IST0140",),
    reads=(kinds.POD, kinds.SERVICE_ENTRY, *MESH_READS), names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each destination whose rules are for sidecars only."""
    mesh = mesh_of(world)
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        bound = gateways_of(route)
        if bound == ("mesh",) or owned_by_controller(route):
            continue
        done = set()
        for destination in destinations(mesh, route):
            if not destination.http or destination.subset or destination.full in done:
                continue
            done.add(destination.full)
            inner = _inner(world, destination.full, set(bound))
            found = services_named(world, mesh, destination.full)[:1] if inner is not None else []
            pods = pods_of(world, found[0].obj) if found else []
            if inner is None or not found or any(is_gateway_pod(pod) for pod in pods):
                continue
            if not splits(inner) and len({pod.labels.get("version") for pod in pods}) < 2:
                continue  # one subset of one version: the same pods
            yield self.finding(
                route.ref,
                f"destination {destination.host} has its weights or subsets in {inner.ref}, which is for "
                "sidecars only: the gateway sends to all its endpoints alike",
                evidence=[route.evidence(f"{destination.part}.host"), inner.evidence("spec.http")],
                fix=f"write the destinations of {inner.ref} here, or bind it to "
                f"{next(name for name in bound if name != 'mesh')}",
                verify=[
                    commands.get(
                        kinds.VIRTUAL_SERVICE, inner.namespace, inner.name, jsonpath=".spec.gateways",
                        expect="no gateway", match=Match.LACKS, value="/",
                    )
                ],
            )  # fmt: skip


def _inner(world: World, host: str, bound: set[str]) -> Obj | None:
    """The VirtualService for sidecars alone that splits a host's requests."""
    mesh = mesh_of(world)
    for other in by_gateway(world).get("mesh", ()):
        if gateways_of(other) != ("mesh",) or owned_by_controller(other):
            continue
        if host in (name.lower() for name in hosts_of(other, mesh)) and (splits(other) or _pins(other)):
            return other
    return None


def _pins(route: Obj) -> bool:
    """Whether it sends every request to one subset."""
    entries = [entry for _, entry in mappings(route.get("spec.http"))]
    return bool(entries) and any(
        isinstance(item.get("destination"), dict) and item["destination"].get("subset")
        for entry in entries
        for _, item in mappings(entry.get("route"))
    )
