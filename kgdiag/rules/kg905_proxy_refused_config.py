"""Config that a proxy was sent and refused

## What it finds
An error state in the config dump of a proxy on the way: it was sent a listener, cluster, route config or
secret and could not use it. Found by `kgdiag trace --truth effect` and `both`.

## Why it matters
The proxy goes on with the last version that it accepted, or without any: all later changes of the same
listener or route config are lost too.

## How to prove it
`istioctl proxy-status` says STALE or ERROR; `error_state` in `/config_dump` has the proxy's words.

## How to fix it
Mend the object that holds what the words name (a regular expression, a certificate, an EnvoyFilter).

## What it does not report
Config that the control plane itself rejected before it was sent (KG407 and the object's status).
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import Rule, Scope, rule


@rule("KG905", "proxy-refused-config", Severity.WARNING, needs=(kinds.POD,), about=())
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """Nothing without a request: ``kgdiag.rules.effect`` makes the findings of a trace."""
    return ()
