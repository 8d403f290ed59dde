"""Gateway that no VirtualService is bound to

## What it finds
An Istio Gateway that no VirtualService names: a port is opened and every path answers 404. A near miss is
named: a VirtualService with the Gateway's hosts that is bound to `mesh` only, or that names it without its
namespace.

## Why it matters
Every request gets 404 with flag NR from the gateway.

## How to prove it
`istioctl proxy-config routes POD` shows the virtual host `blackhole:PORT` alone.

## How to fix it
Name the Gateway, as `namespace/name`, in `spec.gateways` of the VirtualService.

## What it does not report
As a fault: Gateways on pods where a platform adds routes when there is something to route (those of
Knative, and those that KServe's or Knative's configuration names). Servers that only redirect to https or
pass TLS between clusters (AUTO_PASSTHROUGH). Beside a Gateway on the same pods that does have routes it is
a warning.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.hosts import Hosts, for_namespace
from kgdiag.dialects.istio.routes import gateways_of
from kgdiag.dialects.istio.servers import Server, servers_of
from kgdiag.dialects.kserve import config_map, ingress_config
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import group_by, known_everywhere, workload_name
from kgdiag.rules.istio import by_gateway, find_gateway, gateway_pods, gateways_on


@rule(
    "KG203", "gateway-without-routes", Severity.ERROR, needs=(kinds.ISTIO_GATEWAY, kinds.VIRTUAL_SERVICE),
    about=(kinds.ISTIO_GATEWAY,),
    reads=(kinds.CONFIG_MAP, kinds.POD, *MESH_READS), names=(kinds.MESH_MEMBER_ROLL,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Gateway without VirtualServices."""
    bound = by_gateway(world)
    for gateway in scope.all(world, kinds.ISTIO_GATEWAY):
        name = f"{gateway.namespace}/{gateway.name}"
        serving = [server for server in servers_of(gateway) if _serves(server)]
        if name in bound or not serving or not known_everywhere(world, kinds.VIRTUAL_SERVICE):
            continue
        if not gateway_pods(world, gateway):
            continue  # nothing runs it: KG107 says so
        near = _near(world, gateway, serving)
        if near is not None and _names_another(world, near, gateway):
            continue  # it means this Gateway and names one that does not exist: KG201 says so
        reason = f"; {near.ref} has its hosts and is bound to {', '.join(gateways_of(near))}" if near else ""
        yield self.finding(
            gateway.ref,
            f"no VirtualService is bound to it: every request gets 404 (NR){reason}",
            severity=Severity.ERROR if near else _severity(world, gateway),
            evidence=[gateway.evidence("metadata.name")] + ([near.evidence("spec.gateways")] if near else []),
            fix=f"add {name} to spec.gateways of {near.ref if near else 'the VirtualService that is meant'}",
            verify=[
                commands.get(
                    kinds.VIRTUAL_SERVICE, None, jsonpath=".items[*].spec.gateways",
                    expect=f"no {name}", match=Match.LACKS, value=f'"{name}"',
                )
            ],
        )  # fmt: skip


def _names_another(world: World, route: Obj, gateway: Obj) -> bool:
    """Whether a VirtualService names a Gateway of this name that is not there."""
    return any(
        name.partition("/")[2] == gateway.name and find_gateway(world, name) is None
        for name in gateways_of(route)
        if name != "mesh"
    )


def _serves(server: Server) -> bool:
    return not server.https_redirect and server.mode != "AUTO_PASSTHROUGH"


def _severity(world: World, gateway: Obj) -> Severity:
    """By what else is served: where no Gateway has any route, it is an error."""
    for pod in gateway_pods(world, gateway)[:1]:
        if gateway.name == workload_name(pod) or _filled_by_platform(world, pod):
            return Severity.INFO
    served = any(name != "mesh" for name in by_gateway(world))
    return Severity.WARNING if served else Severity.ERROR


def _filled_by_platform(world: World, pod: Obj) -> bool:
    others = gateways_on(world, pod)
    return world.memo(
        ("platform's pods", pod.ref), lambda: any(_of_platform(world, other) for other in others)
    )


def _of_platform(world: World, gateway: Obj) -> bool:
    """Whether Knative or KServe brings the VirtualServices when there is something to serve."""
    if "networking.knative.dev/ingress-provider" in gateway.labels:
        return True
    name = f"{gateway.namespace}/{gateway.name}"
    config = config_map(world)
    values = ingress_config(config).values if config else {}
    if name in (values.get("ingressGateway"), values.get("localGateway")):
        return True
    knative = world.get(kinds.CONFIG_MAP, "knative-serving", "config-istio", optional=True)
    text = " ".join(f"{key} {value}" for key, value in knative.mapping("data").items()) if knative else ""
    return f"{gateway.namespace}.{gateway.name}" in text or f"name: {gateway.name}" in text


def _near(world: World, gateway: Obj, serving: list[Server]) -> Obj | None:
    """A VirtualService that names a Gateway of this name elsewhere, or has one of its exact hosts."""
    bound = by_gateway(world)
    by_short = world.memo(
        "virtual services by the short name of gateways",
        lambda: {name.partition("/")[2]: routes for name, routes in bound.items()},
    )
    if gateway.name in by_short:
        return by_short[gateway.name][0]
    every = world.all(kinds.VIRTUAL_SERVICE)
    by_host = group_by(
        world, "virtual services by host", every, lambda route: map(str, route.items("spec.hosts"))
    )
    for server in serving:
        for host in server.names:
            for route in by_host.get(host, ()) if host != "*" else ():
                if Hosts(for_namespace(server.hosts, route.namespace)).names:
                    return route
    return None
