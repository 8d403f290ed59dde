"""Gateway server that istiod leaves out

## What it finds
A server that conflicts with an older one on the same port of the same gateway pods: a TLS server with a
host that another has already (the whole server is left out, not the host alone), TLS or TCP beside plain
HTTP, two HTTPS servers of one Gateway with the same port name.

## Why it matters
The server does not exist in the proxy: its hosts are served by nobody, or with the other's certificate.
Only istiod's log and its metric `pilot_total_rejected_configs` tell.

## How to prove it
`istioctl proxy-config listeners POD --port PORT` shows no chain for the server's hosts.

## How to fix it
Merge the two servers, or give each host to one of them.

## What it does not report
Plain HTTP servers on one port: they are merged.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.servers import Skipped
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.istio import gateway_pods, merged


@rule(
    "KG205", "server-left-out", Severity.ERROR,
    needs=(kinds.ISTIO_GATEWAY, kinds.POD, kinds.SERVICE), about=(kinds.ISTIO_GATEWAY,),
    equivalents=("IST0145", "KIA0301"),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each server that is not part of its pods' configuration."""
    for gateway in scope.all(world, kinds.ISTIO_GATEWAY):
        for pod in gateway_pods(world, gateway)[:1]:
            for skipped in _of(world, pod).get(gateway.ref, ()):
                server = skipped.server
                yield self.finding(
                    gateway.ref,
                    f"{server.part} ({server.words()}) is left out: {skipped.reason}",
                    evidence=server.evidence(),
                    fix="merge the two servers into one, or take the host or port from one of them",
                    verify=[
                        commands.istioctl(
                            "listeners", pod.name, pod.namespace, "--port", str(skipped.port), "-o", "json",
                            expect=f"no chain of {gateway.ref} {server.part}", match=Match.ANY,
                        )
                    ],
                )  # fmt: skip


def _of(world: World, pod: Obj) -> dict[Ref, list[Skipped]]:
    whole = merged(world, pod)

    def collect() -> dict[Ref, list[Skipped]]:
        found: dict[Ref, list[Skipped]] = {}
        for skipped in whole.skipped:
            found.setdefault(skipped.server.gateway.ref, []).append(skipped)
        return found

    return world.memo(("servers left out", pod.ref), collect)
