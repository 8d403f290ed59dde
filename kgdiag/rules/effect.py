"""Findings on what proxies do: what they refused, and where they differ from what is declared."""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model.finding import Finding
from kgdiag.model.trace import Trace


def refusals(world: World) -> Iterable[Finding]:
    return ()


def disagreements(world: World, intent: Trace, effect: Trace) -> Iterable[Finding]:
    return ()
