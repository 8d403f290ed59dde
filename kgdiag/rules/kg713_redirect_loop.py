"""Redirect to https that never ends

## What it finds
An OpenShift Route with edge termination that leads to a port of an Istio gateway whose servers for the
Route's host all redirect to https (`tls.httpsRedirect`).

## Why it matters
The router takes https and speaks plain http to the gateway. The gateway sees http and answers 301 to the same
URL, whatever `X-Forwarded-Proto` says: the browser goes round until it gives up (`ERR_TOO_MANY_REDIRECTS`).

## How to prove it
`curl -sI https://HOST/` answers 301 with a Location of the same URL.

## How to fix it
Let the router redirect (`insecureEdgeTerminationPolicy: Redirect`) and take `httpsRedirect` from the server;
or use passthrough to the gateway's https port.

## What it does not report
Load balancers that end TLS outside of the cluster: they cannot be seen here.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.hosts import subset_of
from kgdiag.dialects.istio.servers import Server
from kgdiag.graph.core import ServicePort, resolve_target, service_ports
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.istio import gateway_pods_of, open_ports


@rule(
    "KG713", "redirect-loop", Severity.ERROR,
    needs=(kinds.ROUTE, kinds.SERVICE, kinds.POD, kinds.ISTIO_GATEWAY), about=(kinds.ROUTE,),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such Route."""
    for route in scope.all(world, kinds.ROUTE):
        if route.text("spec.tls.termination") != "edge":
            continue
        service = world.get(kinds.SERVICE, route.namespace, route.text("spec.to.name"))
        for pod in gateway_pods_of(world, service)[:1] if service is not None else ():
            assert service is not None
            wanted = route.text("spec.port.targetPort")
            ports = [port for port in service_ports(service) if _meant(pod, port, wanted)]
            if not wanted or len(ports) != 1:
                continue
            server = _redirects(world, pod, ports[0], route.text("spec.host"))
            if server is not None:
                yield _finding(self, route, server)


def _meant(pod: Obj, port: ServicePort, wanted: str) -> bool:
    return wanted in (port.name, str(resolve_target(pod, port)))


def _redirects(world: World, pod: Obj, port: ServicePort, host: str) -> Server | None:
    """The server that answers the host on a port, where it redirects."""
    servers = open_ports(world, pod).get(resolve_target(pod, port) or 0, [])
    mine = [one for one in servers if one.http and any(subset_of(host, name) for name in one.names)]
    return mine[0] if mine and host and all(one.https_redirect for one in mine) else None


def _finding(self: Rule, route: Obj, server: Server) -> Finding:
    field = f"{server.part}.tls.httpsRedirect"
    return self.finding(
        route.ref,
        f"the router ends TLS and speaks http to {server.gateway.ref} {server.part}, which redirects to "
        "https: the client is sent round to the same URL without end",
        evidence=[route.evidence("spec.tls.termination"), server.gateway.evidence(field)],
        fix=f"set insecureEdgeTerminationPolicy of {route.ref} to Redirect and remove {field}",
        verify=[
            commands.get(
                kinds.ISTIO_GATEWAY, server.gateway.namespace, server.gateway.name, jsonpath=f".{field}",
                expect="true", match=Match.EQUALS, value="true",
            )
        ],
    )  # fmt: skip
