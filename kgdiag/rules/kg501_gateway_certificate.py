"""Istio Gateway server without a usable certificate

## What it finds
A TLS server whose Secret does not exist where it is looked for (the namespace of the gateway pods, not that
of the Gateway), has other keys than a certificate's, or holds a key that is not the certificate's; for
MUTUAL, a missing CA.

## Why it matters
The filter chain has no certificate: TLS handshakes for its hosts are reset, while other servers work.

## How to prove it
`kubectl get secret NAME -n GATEWAY-POD-NAMESPACE`; `istioctl proxy-config secret POD` shows it as not
ready.

## How to fix it
Create the Secret in the namespace of the gateway pods.

## What it does not report
PASSTHROUGH and ISTIO_MUTUAL servers. Secrets that could not be read or are not in the files given.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.servers import Server, servers_of
from kgdiag.dialects.istio.tls import credential_names, secret_ref, server_tls
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Command, Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import prove_gone, prove_secret, whole_cluster
from kgdiag.rules.istio import gateway_pods


@rule(
    "KG501", "gateway-certificate", Severity.ERROR, needs=(kinds.ISTIO_GATEWAY, kinds.POD),
    about=(kinds.ISTIO_GATEWAY,), equivalents=("IST0101", "IST0161"),
    reads=MESH_READS, names=(kinds.SECRET, *MESH_NAMES),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each server whose handshakes cannot succeed."""
    for gateway in scope.all(world, kinds.ISTIO_GATEWAY):
        for pod in gateway_pods(world, gateway)[:1]:
            for server in servers_of(gateway):
                if server.tls is None or server.http:
                    continue
                found = server_tls(world, pod, server)
                if found.problem and (whole_cluster(world) or not _absent(world, server, pod)):
                    yield self.finding(
                        gateway.ref,
                        f"server {server.number} for {', '.join(server.names)}: {found.problem}: "
                        "TLS handshakes are reset",
                        evidence=found.evidence,
                        fix=_fix(server, pod),
                        verify=_proof(world, server, pod),
                    )


def _absent(world: World, server: Server, pod: Obj) -> bool:
    """Whether the first Secret is not among what was read: files seldom hold Secrets."""
    names = credential_names(server.tls or {})
    ref = secret_ref(names[0], pod.namespace) if names else None
    return ref is not None and world.get(kinds.SECRET, ref.namespace, ref.name, optional=True) is None


def _fix(server: Server, pod: Obj) -> str:
    names = credential_names(server.tls or {})
    if not names:
        return f"set {server.part}.tls.credentialName to a Secret in {pod.namespace}"
    name = names[0].rpartition("/")[2]
    return f"kubectl create secret tls {name} -n {pod.namespace} --cert=… --key=…"


def _proof(world: World, server: Server, pod: Obj) -> list[Command]:
    commands: list[Command] = []
    for credential in credential_names(server.tls or {})[:1]:
        ref = secret_ref(credential, pod.namespace)
        if ref is not None:
            secret = world.get(kinds.SECRET, ref.namespace, ref.name, optional=True)
            commands.append(
                prove_secret(secret) if secret else prove_gone(kinds.SECRET, ref.namespace, ref.name)
            )
    return commands
