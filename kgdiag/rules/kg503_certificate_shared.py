"""One certificate on several servers of a port

## What it finds
Two HTTPS servers on the same port of the same gateway pods that serve the same Secret for different hosts,
in one Gateway or in several.

## Why it matters
A browser that has an HTTP/2 connection to one host uses it for the other as well, since the certificate is
good for both. The connection stays at the server of the first host, which does not know the second: 404
with flag NR in browsers, while curl works.

## How to prove it
`kgdiag trace https://SECOND-HOST/ --sni FIRST-HOST` ends in 404.

## How to fix it
Serve all hosts of the certificate by one server (a wildcard host), and bind the VirtualServices to that
Gateway.

## What it does not report
Servers with PASSTHROUGH, and certificates whose names are known not to cover both hosts.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.servers import Server
from kgdiag.dialects.istio.tls import credential_names, secret_ref
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.certificates import name_covers, names
from kgdiag.rules.common import listed, prove_field
from kgdiag.rules.istio import gateway_pods, open_ports


@rule(
    "KG503", "certificate-shared", Severity.WARNING, needs=(kinds.ISTIO_GATEWAY, kinds.POD),
    about=(kinds.ISTIO_GATEWAY,), equivalents=("IST0138",),
    reads=(kinds.SERVICE, *MESH_READS), names=(kinds.SECRET, *MESH_NAMES),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each server that shares its certificate with an earlier one."""
    wanted = {gateway.ref: gateway for gateway in scope.all(world, kinds.ISTIO_GATEWAY)}
    pods = {pod.ref: pod for gateway in wanted.values() for pod in gateway_pods(world, gateway)[:1]}
    for pod in pods.values():
        for servers in open_ports(world, pod).values():
            for finding in _shared(self, world, pod, servers):
                if finding.object in wanted:
                    yield finding


def _shared(self: Rule, world: World, pod: Obj, servers: list[Server]) -> Iterable[Finding]:
    first: dict[str, Server] = {}
    for server in servers:
        if not server.terminates_https:
            continue
        for credential in credential_names(server.tls or {}):
            earlier = first.setdefault(credential, server)
            if earlier is server:
                continue
            other = [host for host in server.names if host not in earlier.names]
            if not other or not _covers(world, pod, credential, (*server.names, *earlier.names)):
                continue
            yield self.finding(
                server.gateway.ref,
                f"{server.part} serves {listed(server.names)} with certificate {credential}, which "
                f"{earlier.gateway.ref} {earlier.part} serves for {listed(earlier.names)}: browsers reuse an "
                "HTTP/2 connection of one host for the other and get 404 (NR)",
                evidence=[
                    server.gateway.evidence(f"{server.part}.tls.credentialName"),
                    earlier.gateway.evidence(f"{earlier.part}.tls.credentialName"),
                ],
                fix=f"serve {listed((*earlier.names, *other), 5)} by one server, or by two certificates",
                verify=[
                    prove_field(
                        server.gateway, f".spec.servers[{server.index}].tls.credentialName", credential,
                        f"the certificate {credential}",
                    )
                ],
            )  # fmt: skip


def _covers(world: World, pod: Obj, credential: str, hosts: Iterable[str]) -> bool:
    """Whether the certificate may be good for all hosts: yes where its names are not known."""
    ref = secret_ref(credential, pod.namespace)
    secret = world.get(kinds.SECRET, ref.namespace, ref.name, optional=True) if ref else None
    known = names(secret) if secret else []
    if not known:
        return True
    return all(any(name_covers(name, host) for name in known) for host in hosts if host != "*")
