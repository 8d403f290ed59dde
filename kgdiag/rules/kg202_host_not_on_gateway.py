"""VirtualService host that its Gateways do not serve

## What it finds
A host of a VirtualService that no server of any Gateway it is bound to covers, the servers' `namespace/`
prefixes included. `*.example.com` covers `a.example.com` and `a.b.example.com`, not `example.com`.

## Why it matters
The host gets no virtual host at the gateway: requests for it get 404 with flag NR (or, on TLS servers, no
filter chain: the connection is reset).

## How to prove it
Compare `.spec.hosts` of the VirtualService with `.spec.servers[*].hosts` of the Gateway;
`istioctl proxy-config routes POD` lacks the domain.

## How to fix it
Add the host to a server of the Gateway, or write the VirtualService's host as the Gateway has it.

## What it does not report
Hosts of VirtualServices that are also bound to `mesh` (sidecars serve them), short forms of a covered
cluster name (`name.ns` beside `name.ns.svc.cluster.local`), and VirtualServices with a Gateway that is not
known.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.hosts import Hosts, for_namespace
from kgdiag.dialects.istio.routes import gateways_of, hosts_of
from kgdiag.dialects.istio.servers import servers_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import listed
from kgdiag.rules.istio import find_gateway, mesh_for


@rule(
    "KG202", "host-not-on-gateway", Severity.ERROR, needs=(kinds.VIRTUAL_SERVICE, kinds.ISTIO_GATEWAY),
    about=(kinds.VIRTUAL_SERVICE,), equivalents=("IST0132",),
    reads=(kinds.POD, *MESH_READS), names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each VirtualService with hosts that no gateway of it serves."""
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        names = gateways_of(route)
        if "mesh" in names:
            continue
        found = [find_gateway(world, name) for name in names]
        gateways = [gateway for gateway in found if gateway is not None]
        if len(gateways) < len(names):
            continue  # one of them is not known: KG201 says so, and it may serve the host
        yield from _uncovered(self, world, route, gateways)


def _uncovered(self: Rule, world: World, route: Obj, gateways: list[Obj]) -> Iterable[Finding]:
    served: list[str] = []
    for gateway in gateways:
        for server in servers_of(gateway):
            served += for_namespace(server.hosts, route.namespace)
    known = Hosts([host.lower() for host in served])
    hosts = [host.lower() for host in hosts_of(route, mesh_for(world, gateways[0]))]
    covered = [host for host in hosts if known.intersection([host])]
    short = {form for host in covered for form in _short_forms(host)}
    lost = [host for host in hosts if host not in covered and host not in short]
    if not lost:
        return
    named = listed(str(gateway.ref) for gateway in gateways)
    restricted = [
        host
        for gateway in gateways
        for server in servers_of(gateway)
        for host in server.hosts
        if "/" in host and host.partition("/")[0] not in ("*", route.namespace)
    ]
    why = (
        f" for namespace {route.namespace} (it has {listed(restricted)})" if restricted and not served else ""
    )
    yield self.finding(
        route.ref,
        f"host {listed(lost)} is not served by {named}{why or f', which has {listed(served)}'}: "
        "requests for it get 404 (NR)",
        severity=Severity.WARNING if covered else Severity.ERROR,
        evidence=[
            route.evidence("spec.hosts"),
            *(gateway.evidence("spec.servers[0].hosts") for gateway in gateways),
        ],
        fix=f"add {lost[0]} to the hosts of a server of {gateways[0].ref}, or correct the host",
        verify=[
            commands.get(
                kinds.ISTIO_GATEWAY, gateway.namespace, gateway.name, jsonpath=".spec.servers[*].hosts",
                expect=f"hosts without {lost[0]}", match=Match.LACKS, value=lost[0],
            )
            for gateway in gateways
        ],
    )  # fmt: skip


def _short_forms(host: str) -> list[str]:
    """What Knative lists beside a cluster name: the name without its last parts."""
    forms = []
    for suffix in (".cluster.local", ".svc.cluster.local"):
        if host.endswith(suffix):
            forms.append(host[: -len(suffix)])
    return forms
