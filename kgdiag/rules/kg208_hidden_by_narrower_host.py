"""Wildcard host whose rules do not hold for a host that another VirtualService has

## What it finds
On a server for `*` (or a wildcard): a VirtualService for a wildcard host, and another one for a host within
it. The proxy makes a virtual host of each, and a request is looked up in the narrowest only.

## Why it matters
There is no fall-through: a path that the narrower VirtualService lacks gets 404 (NR) although the wildcard
one has it. People meet it when one app of many gets a host of its own.

## How to prove it
`istioctl proxy-config routes POD -n NAMESPACE` shows both domains, each with its own routes.

## How to fix it
Where the wildcard's paths are wanted at the narrower host too, name that host in its VirtualService.

## What it does not report
Servers that name the narrower host themselves: there the rules of all are merged. Narrower VirtualServices
that take every path. The finding is a fact: mostly it is what was meant.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.hosts import subset_of
from kgdiag.dialects.istio.mesh import Mesh
from kgdiag.dialects.istio.routes import gateways_of, hosts_of
from kgdiag.dialects.istio.servers import servers_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import listed, mappings, owned_by_controller
from kgdiag.rules.istio import by_gateway, find_gateway, mesh_for


@rule(
    "KG208", "hidden-by-narrower-host", Severity.INFO, needs=(kinds.VIRTUAL_SERVICE, kinds.ISTIO_GATEWAY),
    about=(kinds.VIRTUAL_SERVICE,), reads=(kinds.POD, *MESH_READS), names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each wildcard VirtualService, with the hosts that it does not reach."""
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        if not any(str(host).startswith("*") for host in route.items("spec.hosts")):
            continue
        for name in gateways_of(route):
            gateway = find_gateway(world, name) if name != "mesh" else None
            if gateway is None:
                continue
            mesh = mesh_for(world, gateway)
            named = {host for server in servers_of(gateway) for host in server.names}
            for host in hosts_of(route, mesh):
                if not host.startswith("*"):
                    continue
                hidden = _narrower(world, mesh, route, name, host, named)
                if hidden:
                    yield _finding(self, route, name, host, hidden)


def _narrower(
    world: World, mesh: Mesh, route: Obj, gateway: str, wide: str, named: set[str]
) -> list[tuple[str, Obj]]:
    mine = set(hosts_of(route, mesh))
    return [
        (host, other)
        for other in by_gateway(world).get(gateway, ())
        if other.ref != route.ref and not owned_by_controller(other) and not _takes_all(other)
        for host in hosts_of(other, mesh)
        if host not in mine and host not in named and host != wide and subset_of(host, wide)
    ]


def _takes_all(route: Obj) -> bool:
    for _, entry in mappings(route.get("spec.http")):
        found = list(mappings(entry.get("match")))
        if not found:
            return True
        for _, match in found:
            uri = match.get("uri")
            bare = not (set(match) - {"uri", "name"})
            if bare and (not isinstance(uri, dict) or uri.get("prefix") == "/"):
                return True
    return False


def _finding(self: Rule, route: Obj, gateway: str, wide: str, hidden: list[tuple[str, Obj]]) -> Finding:
    first = hidden[0][1]
    return self.finding(
        route.ref,
        f"at Gateway {gateway} its rules for {wide} do not hold for {listed(host for host, _ in hidden)}, "
        f"which {first.ref} has: a path that it lacks gets 404 there, without falling through to these",
        evidence=[route.evidence("spec.hosts"), first.evidence("spec.hosts")],
        fix=f"name {hidden[0][0]} in spec.hosts of {route.ref} where its paths are wanted there too",
    )
