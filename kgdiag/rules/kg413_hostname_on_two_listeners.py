"""Hostname on two listeners of a port that Envoy Gateway makes one route table of

## What it finds
With Envoy Gateway: a hostname that routes give to two HTTP listeners of one port, mostly a route without
`sectionName` that fits both a listener without hostname and one with a wildcard.

## Why it matters
Envoy Gateway writes the hostname into the port's route table twice, and Envoy rejects the whole table ("Only
unique values for domains are permitted"): a new proxy answers 404 to everything on the port, a running one
keeps its old routes for ever. Every status stays Accepted and Programmed.

## How to prove it
The proxy's log has `Duplicate entry of domain`.

## How to fix it
Name the listener (`sectionName`) in the route's parentRef.

## What it does not report
Other implementations: with Istio it works. HTTPS listeners, which have a table each.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.gateway_api.attach import Attached, routes_of
from kgdiag.dialects.gateway_api.listeners import listener_states
from kgdiag.dialects.gateway_api.provider import implementation
from kgdiag.dialects.gateway_api.spec import ListenerSpec
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule

Place = tuple[ListenerSpec, Attached]


@rule(
    "KG413", "hostname-on-two-listeners", Severity.ERROR,
    needs=(kinds.GATEWAY, kinds.GATEWAY_CLASS, kinds.HTTP_ROUTE), about=(kinds.HTTP_ROUTE, kinds.GRPC_ROUTE),
    reads=(kinds.GRPC_ROUTE,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Gateway's port and hostname."""
    wanted = {obj.ref for kind in (kinds.HTTP_ROUTE, kinds.GRPC_ROUTE) for obj in scope.all(world, kind)}
    for gateway in world.all(kinds.GATEWAY):
        provider = implementation(world, gateway).provider
        if provider is None or provider.name != "envoy-gateway":
            continue
        for (port, host), places in _places(world, gateway).items():
            first, second = places[0], next((one for one in places if one[0].key != places[0][0].key), None)
            if second is None:
                continue
            about = second if second[1].route.ref in wanted else first
            if about[1].route.ref in wanted:
                yield _finding(self, gateway, port, host, first, second, about)


def _places(world: World, gateway: Obj) -> dict[tuple[int, str], list[Place]]:
    found: dict[tuple[int, str], list[Place]] = {}
    for state in listener_states(world, gateway):
        listener = state.listener
        if listener.protocol != "HTTP" or not state.programmed:
            continue
        for attached in routes_of(world, gateway, listener):
            if not attached.doubt:
                for host in attached.hostnames:
                    found.setdefault((listener.port, host), []).append((listener, attached))
    return found


def _finding(
    self: Rule, gateway: Obj, port: int, host: str, first: Place, second: Place, about: Place
) -> Finding:
    route = about[1].route
    same = first[1].route.ref == second[1].route.ref
    more = "" if same else f" ({first[1].route.ref} and {second[1].route.ref})"
    return self.finding(
        route.ref,
        f"hostname {host} is on {first[0].title} and on {second[0].title}, port {port} of {gateway.ref}{more}"
        ": Envoy rejects the whole route table of the port (duplicate domain): a new proxy answers 404 to "
        "everything, a running one keeps its old routes, and every status stays True",
        evidence=[route.evidence("spec.parentRefs"), first[0].evidence(), second[0].evidence()],
        fix=f"set sectionName of its parentRef to {second[0].name}",
        verify=[
            commands.get(
                kinds.GATEWAY, gateway.namespace, gateway.name,
                jsonpath=f'.spec.listeners[?(@.name=="{item.name}")].port', expect=str(port),
                match=Match.EQUALS, value=str(port),
            )
            for item, _ in (first, second)
        ],
    )  # fmt: skip
