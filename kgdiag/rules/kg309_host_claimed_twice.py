"""Two VirtualServices for one host in the mesh

## What it finds
A host that two VirtualServices claim for sidecars (gateway `mesh`). Sidecars do not merge them: the oldest
wins (then the first by name), the other is ignored for this host.

## Why it matters
The rules of the later one never apply inside the mesh, while on gateways, where VirtualServices are merged,
they do: the same URL goes to different places from inside and outside.

## How to prove it
`istioctl proxy-config routes POD --name PORT -o json` shows the routes of one of them only.

## How to fix it
Merge the rules into one VirtualService, or delegate.

## What it does not report
VirtualServices for gateways only (they are merged), with `exportTo` that keeps them apart, and delegates.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import Mesh, mesh_of
from kgdiag.dialects.istio.routes import export_to, gateways_of, hosts_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.istio import by_gateway


@rule(
    "KG309", "host-claimed-twice", Severity.WARNING, needs=(kinds.VIRTUAL_SERVICE,),
    about=(kinds.VIRTUAL_SERVICE,), equivalents=("IST0109", "KIA1106"),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each host that a VirtualService does not get in the mesh."""
    mesh = mesh_of(world)
    wanted = {route.ref for route in scope.all(world, kinds.VIRTUAL_SERVICE)}
    for host, routes in _claims(world, mesh).items():
        first, *others = sorted(routes, key=lambda route: route.age_key)
        for other in others:
            if other.ref in wanted:
                yield _finding(self, host, first, other)


def _claims(world: World, mesh: Mesh) -> dict[str, list[Obj]]:
    """VirtualServices that everybody in the mesh is shown, by host."""
    routes = by_gateway(world).get("mesh", [])

    def collect() -> dict[str, list[Obj]]:
        found: dict[str, list[Obj]] = {}
        for route in routes:
            if "*" in export_to(route, mesh):
                for host in dict.fromkeys(hosts_of(route, mesh)):
                    found.setdefault(host.lower(), []).append(route)
        return {host: claimed for host, claimed in found.items() if len(claimed) > 1}

    return world.memo("hosts claimed in the mesh", collect)


def _finding(self: Rule, host: str, first: Obj, other: Obj) -> Finding:
    at_gateways = any(name != "mesh" for name in gateways_of(other))
    more = " (at its gateways it is merged)" if at_gateways else ""
    return self.finding(
        other.ref,
        f"host {host} is claimed by {first.ref} already, which is older or first by name: sidecars ignore "
        f"this one for it{more}",
        evidence=[other.evidence("spec.hosts"), first.evidence("spec.hosts")],
        fix=f"merge the rules for {host} into {first.ref}",
        verify=[
            commands.get(
                kinds.VIRTUAL_SERVICE, first.namespace, first.name, jsonpath=".spec.hosts",
                expect=f"{host} (or its short name)", match=Match.CONTAINS, value=host.partition(".")[0],
            )
        ],
    )  # fmt: skip
