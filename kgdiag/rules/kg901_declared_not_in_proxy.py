"""Route that is declared and that the proxy does not have

## What it finds
A request that the declared objects send on, and that the proxy on the way has no route, listener or cluster
for. Found by `kgdiag trace --truth both`, which walks the same request through both.

## Why it matters
The object looks right and does nothing: the proxy answers 404 (NR), 503 (NC) or closes the connection. Either
the control plane left the object out, or the proxy refused it (KG905) or never got it (KG906).

## How to prove it
`istioctl proxy-config routes POD.NAMESPACE`, or `kgdiag proxy POD -n NAMESPACE`, does not list it.

## How to fix it
Do what the finding names as the cause. Without one: `istioctl proxy-status`, and the control plane's log.

## What it does not report
Requests whose outcome cannot be known on either side, and proxies whose config could not be read.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import Rule, Scope, rule


@rule("KG901", "declared-not-in-proxy", Severity.ERROR, needs=(kinds.POD,), about=())
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """Nothing without a request: ``kgdiag.rules.effect`` makes the findings of a trace."""
    return ()
