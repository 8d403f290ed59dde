"""Mesh TLS server whose hosts leave out the Service in front of it

## What it finds
A server with TLS mode ISTIO_MUTUAL whose port a Service leads to, where no server on this port has a host
that covers the Service's own name.

## Why it matters
Clients with the mesh's TLS send the Service's name as SNI (`outbound_.80_._.NAME.NAMESPACE.svc.…`), not the
Host. Without a server for it no filter chain matches and the connection is reset. It happens when
`*.svc.cluster.local` is narrowed to the namespace of the models.

## How to prove it
`istioctl proxy-config listeners POD -n NAMESPACE --port PORT` lists the SNI of each chain.

## How to fix it
Add the Service's name to the server's hosts; hosts of the VirtualServices are matched apart from it.

## What it does not report
Plaintext servers, where the Host alone counts. Services that no VirtualService leads to (warning).
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.hosts import subset_of
from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.servers import Server
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.istio import destinations, gateway_pods, open_ports, targets


@rule(
    "KG508", "mesh-sni-not-served", Severity.ERROR,
    needs=(kinds.ISTIO_GATEWAY, kinds.SERVICE, kinds.POD, kinds.VIRTUAL_SERVICE),
    about=(kinds.ISTIO_GATEWAY,), reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each server and Service."""
    for gateway in scope.all(world, kinds.ISTIO_GATEWAY):
        if "ISTIO_MUTUAL" not in str(gateway.raw.get("spec")):
            continue
        for pod in gateway_pods(world, gateway)[:1]:
            for number, servers in open_ports(world, pod).items():
                mine = [
                    one for one in servers if one.gateway.ref == gateway.ref and one.mode == "ISTIO_MUTUAL"
                ]
                if mine and all(one.tls is not None for one in servers):
                    yield from _judge(self, world, pod, number, mine[0], servers)


def _judge(
    self: Rule, world: World, pod: Obj, number: int, server: Server, servers: list[Server]
) -> Iterable[Finding]:
    mesh = mesh_of(world, pod)
    names = {name for one in servers for name in one.names}
    for target in targets(world, pod):
        service = target.service
        full = f"{service.name}.{service.namespace}.svc.{mesh.domain}"
        sni = f"outbound_.{target.port}_._.{full}"
        if target.target != number or any(subset_of(sni, name) for name in names):
            continue
        used = next(
            (route for route in world.all(kinds.VIRTUAL_SERVICE)
             for one in destinations(mesh, route) if one.full == full and one.port in (None, target.port)),
            None,
        )  # fmt: skip
        by = f" ({used.ref} leads there)" if used is not None else ""
        yield self.finding(
            server.gateway.ref,
            f"{server.part} expects the mesh's TLS for {', '.join(server.names)}, and clients of "
            f"{service.ref} port {target.port}{by} send its own name as SNI: no filter chain matches, the "
            "connection is reset",
            severity=Severity.ERROR if used is not None else Severity.WARNING,
            evidence=[server.gateway.evidence(f"{server.part}.hosts"),
                      service.evidence(f"spec.ports[{target.index}]")],
            fix=f"add {full} (or *.{service.namespace}.svc.{mesh.domain}) to {server.part}.hosts",
            verify=[
                commands.get(
                    kinds.ISTIO_GATEWAY, server.gateway.namespace, server.gateway.name,
                    jsonpath=f".{server.part}.hosts", expect=f"nothing that covers {full}",
                    match=Match.LACKS, value=full,
                )
            ],
        )  # fmt: skip
