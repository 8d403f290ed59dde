"""Answer that differs from what is predicted

## What it finds
A request that was really sent (`kgdiag trace --probe`) and got another status or redirect than the way says,
no answer where one is predicted, or an answer where none is.

## Why it matters
The objects (or, with `--truth effect`, the proxies' config) do not explain what happens: a change that has
not arrived, something on the way that kgdiag does not see, or the application.

## How to prove it
Send the request again (`kgdiag trace --probe`) and look at the proxies' logs of it (`kgdiag logs`).

## How to fix it
An error where the request is refused although it should be delivered: look at who answered, then
`kgdiag trace --truth both`. A warning otherwise.

## What it does not report
Statuses of the application behind a way that delivers: the prediction ends at its pod.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import Rule, Scope, rule


@rule("KG951", "answer-differs", Severity.WARNING, needs=(kinds.POD,), about=())
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """Nothing without a request: ``kgdiag.probing`` makes the findings of ``trace --probe``."""
    return ()
