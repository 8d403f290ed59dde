"""Gateway server with `*/*` beside other hosts

## What it finds
A server of an Istio Gateway whose hosts list has `*/*` and other entries.

## Why it matters
`*/*` covers all the others, and istiod can crash while it shortens such a list (seen with Istio 1.31: index
out of range in `sanitizeServerHostNamespace`): then no proxy gets any change until it runs again.

## How to prove it
`kubectl get gateways.networking.istio.io NAME -n NAMESPACE -o jsonpath='{.spec.servers[*].hosts}'`

## How to fix it
Leave `*/*` alone in the list, or write `*`, which means the same.

## What it does not report
`*/*` alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Finding, Match, Severity
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import mappings, texts


@rule(
    "KG207", "every-host-beside-others", Severity.WARNING, needs=(kinds.ISTIO_GATEWAY,),
    about=(kinds.ISTIO_GATEWAY,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such server."""
    for gateway in scope.all(world, kinds.ISTIO_GATEWAY):
        for at, server in mappings(gateway.get("spec.servers")):
            hosts = texts(server.get("hosts"))
            if "*/*" not in hosts or len(hosts) < 2:
                continue
            part = f"spec.servers[{at}].hosts"
            yield self.finding(
                gateway.ref,
                f"{part} has */* beside other hosts: it covers them all, and istiod can crash on such a list",
                evidence=[gateway.evidence(part)],
                fix=f'set {part} to ["*"]',
                verify=[_prove(gateway.namespace, gateway.name, part)],
            )


def _prove(namespace: str, name: str, part: str) -> Command:
    return commands.get(
        kinds.ISTIO_GATEWAY, namespace, name, jsonpath=f".{part}", expect="*/* and others",
        match=Match.CONTAINS, value='"*/*"',
    )  # fmt: skip
