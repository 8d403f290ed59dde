"""Path prefix that leaves out the verb after a colon

## What it finds
An HTTPRoute match `PathPrefix /v1/models/NAME` (or `/v2/models/NAME`): prefixes of the Gateway API compare
whole path elements, and in `NAME:predict` the verb is part of the last element.

## Why it matters
`GET /v1/models/NAME` matches and `POST /v1/models/NAME:predict` does not: the request that matters gets
404, although the readiness check works. The same prefix in a VirtualService matches both.

## How to prove it
`kgdiag trace -X POST http://HOST/v1/models/NAME:predict` names the rule and why it does not match.

## How to fix it
Use the prefix `/v1/models`, or type RegularExpression with `^/v1/models/NAME(:predict)?$`.

## What it does not report
Routes where another match of the same hostnames takes the verb: a shorter prefix, or a regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import group_by, mappings

_MODEL = re.compile(r"/v1/models/[^/:]+/?")


@rule(
    "KG405", "prefix-and-verb", Severity.WARNING, needs=(kinds.HTTP_ROUTE,), about=(kinds.HTTP_ROUTE,)
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such prefix."""
    for route in scope.all(world, kinds.HTTP_ROUTE):
        for field, how, value in _paths(route):
            if how != "PathPrefix" or not _MODEL.fullmatch(value):
                continue
            verb = f"{value.rstrip('/')}:predict"
            if any(_takes(how, other, verb) for _, how, other in _beside(world, route)):
                continue
            yield self.finding(
                route.ref,
                f"PathPrefix {value} compares whole path elements: {verb} does not match it, 404",
                evidence=[route.evidence(f"{field}.value")],
                fix=f"set {field} to {{type: RegularExpression, value: '{_pattern(value)}'}}",
                verify=[
                    commands.get(
                        kinds.HTTP_ROUTE, route.namespace, route.name,
                        jsonpath=".spec.rules[*].matches[*].path.value", expect=f"{value}, no shorter prefix",
                        match=Match.CONTAINS, value=value,
                    )
                ],
            )  # fmt: skip


def _pattern(value: str) -> str:
    return f"^{re.escape(value.rstrip('/'))}(:[a-z]+)?$"


def _paths(route: Obj) -> Iterator[tuple[str, str, str]]:
    """(field, type, value) of every match; a rule without matches takes everything."""
    for at, raw in mappings(route.get("spec.rules")):
        matches = raw.get("matches")
        if not matches:
            yield f"spec.rules[{at}]", "PathPrefix", "/"
        for number, match in mappings(matches):
            path = match.get("path")
            path = path if isinstance(path, dict) else {}
            field = f"spec.rules[{at}].matches[{number}].path"
            yield field, str(path.get("type") or "PathPrefix"), str(path.get("value") or "/")


def _beside(world: World, route: Obj) -> Iterator[tuple[str, str, str]]:
    """The matches of all routes with one of the hostnames."""
    every = world.all(kinds.HTTP_ROUTE, route.namespace)
    by_host = group_by(
        world, ("routes by hostname", route.namespace), every,
        lambda item: map(str, item.items("spec.hostnames") or ("*",)),
    )  # fmt: skip
    for host in dict.fromkeys((*map(str, route.items("spec.hostnames") or ("*",)), "*")):
        for other in by_host.get(host, ()):
            yield from _paths(other)


def _takes(how: str, value: str, path: str) -> bool:
    if how == "Exact":
        return value == path
    if how == "RegularExpression":
        return True  # judged by trace; a wrong alarm would be worse
    prefix = value.rstrip("/")
    return path == prefix or path.startswith(f"{prefix}/")
