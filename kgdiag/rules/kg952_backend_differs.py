"""Request that reached another backend than predicted

## What it finds
A request that was really sent (`kgdiag trace --probe`) and that, by the logs of the proxies on its way,
went to a pod that the way does not have, or arrived with another Host.

## Why it matters
The request goes where nobody meant it to.

## How to prove it
`kgdiag logs --request-id ID`, with the id that the finding names.

## How to fix it
`kgdiag trace --truth both` for the request: it names the object that the proxy takes and where it comes from.

## What it does not report
Anything where the proxies write no access log, or it could not be read.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import Rule, Scope, rule


@rule("KG952", "backend-differs", Severity.WARNING, needs=(kinds.POD,), about=())
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """Nothing without a request: ``kgdiag.probing`` makes the findings of ``trace --probe``."""
    return ()
