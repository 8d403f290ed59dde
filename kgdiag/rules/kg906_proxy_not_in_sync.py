"""Proxy that does not get what its control plane has

## What it finds
A proxy on the way whose admin interface says that it is not connected to its control plane. Found by
`kgdiag trace --truth effect` and `both`; `both` asks istiod too and names what it says in other findings.

## Why it matters
What changes does not reach the proxy: it keeps on doing what it did.

## How to prove it
`istioctl proxy-status POD.NAMESPACE`.

## How to fix it
See that the control plane runs, that the proxy resolves and reaches it, and that its certificate is good.

## What it does not report
Proxies behind Istio's agent, which keeps the connection for them; there istiod's own account is asked.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import Rule, Scope, rule


@rule("KG906", "proxy-not-in-sync", Severity.WARNING, needs=(kinds.POD,), about=())
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """Nothing without a request: ``kgdiag.rules.effect`` makes the findings of a trace."""
    return ()
