"""Proxy that decides a request otherwise than declared

## What it finds
A request that another object decides in the proxy than is declared to, or the same object with another
cluster, host, path, header, share or answer. Found by `kgdiag trace --truth both`.

## Why it matters
The request goes where nobody meant it to: an older version of the object is in effect, or routes stand in
another order.

## How to prove it
`istioctl proxy-config routes POD.NAMESPACE --name NAME -o json`.

## How to fix it
Do what the finding names as the cause; otherwise wait for the control plane to settle and ask again.

## What it does not report
Differences in the names that control planes give to clusters, and in the order of replicas.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import Rule, Scope, rule


@rule("KG903", "proxy-decides-otherwise", Severity.WARNING, needs=(kinds.POD,), about=())
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """Nothing without a request: ``kgdiag.rules.effect`` makes the findings of a trace."""
    return ()
