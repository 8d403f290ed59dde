"""Proxy whose endpoints are not those of the EndpointSlices

## What it finds
A cluster of a proxy whose endpoints are other pods than the ready ones of the Service. Found by
`kgdiag trace --truth both`.

## Why it matters
Requests go to pods that are gone, or none go to pods that are ready. Endpoints that the proxy's own health
checks or outlier detection took out count as missing.

## How to prove it
`istioctl proxy-config endpoints POD.NAMESPACE --cluster NAME` against
`kubectl get endpointslices -l kubernetes.io/service-name=SERVICE`.

## How to fix it
Let the control plane send them (KG906); for ejected endpoints look at what they answered.

## What it does not report
Endpoints outside of the cluster, and clusters that resolve names themselves.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import Rule, Scope, rule


@rule("KG904", "endpoints-differ", Severity.WARNING, needs=(kinds.POD,), about=())
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """Nothing without a request: ``kgdiag.rules.effect`` makes the findings of a trace."""
    return ()
