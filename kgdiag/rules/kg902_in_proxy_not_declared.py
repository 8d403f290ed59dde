"""Route in the proxy that no declared object explains

## What it finds
A request that the proxy sends on by a route whose object does not exist any more, or that is not declared to
take it (an EnvoyFilter, an extension). Found by `kgdiag trace --truth both`.

## Why it matters
A deleted route that is still in effect lets requests through that nobody wants; when the control plane comes
back, they end.

## How to prove it
`istioctl proxy-config routes POD.NAMESPACE -o json` shows the object in the route's metadata.

## How to fix it
Let the control plane send what is declared: see that it runs and that the proxy is connected (KG906).

## What it does not report
Routes that the control plane makes itself, such as the default route of each Service.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import Rule, Scope, rule


@rule("KG902", "in-proxy-not-declared", Severity.WARNING, needs=(kinds.POD,), about=())
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """Nothing without a request: ``kgdiag.rules.effect`` makes the findings of a trace."""
    return ()
