"""Path pattern that is taken literally, or that nothing can match

## What it finds
A `*` in an exact or prefix path of a VirtualService or HTTPRoute (`/api/*`), a path without a leading
slash, and a regular expression that RE2 does not take.

## Why it matters
Only regular expressions have patterns: `/api/*` matches a path with a star in it, so the rule is never used
and its requests get 404 or go to a later rule. A bad regular expression is refused on admission, or makes
Envoy reject the whole route config: the old one stays, and a restarted gateway has none.

## How to prove it
`kgdiag trace http://HOST/api/x` names the rule and why it does not match.

## How to fix it
Write the prefix `/api/`, or a regular expression.

## What it does not report
Stars in regular expressions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kgdiag.dialects.istio.routes import valid_regex
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import mappings


@rule(
    "KG311", "pattern-taken-literally", Severity.WARNING, needs=(kinds.VIRTUAL_SERVICE,),
    about=(kinds.VIRTUAL_SERVICE, kinds.HTTP_ROUTE),
    reads=(kinds.HTTP_ROUTE,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each path that cannot match what it looks like."""
    for kind, paths in ((kinds.VIRTUAL_SERVICE, _istio), (kinds.HTTP_ROUTE, _gateway_api)):
        for route in scope.all(world, kind):
            for field, how, value in paths(route):
                words, fix, severity = _judge(how, value)
                if words:
                    yield self.finding(
                        route.ref,
                        f"{field}: {words}",
                        severity=severity,
                        evidence=[route.evidence(field)],
                        fix=f"{fix} in {field}",
                        verify=[
                            commands.get(
                                kind, route.namespace, route.name, jsonpath=".spec",
                                expect=f"the path {value}", match=Match.ANY,
                            )
                        ],
                    )  # fmt: skip


def _judge(how: str, value: str) -> tuple[str, str, Severity]:
    if how == "regex":
        if not valid_regex(value):
            return f"RE2 does not take {value!r}", "write a regular expression of RE2", Severity.ERROR
        return "", "", Severity.INFO
    if "*" in value:
        meant = value.partition("*")[0] or "/"
        return (
            f"the star of {value} is taken literally: only paths with a * in them match",
            f"write the prefix {meant}",
            Severity.WARNING,
        )
    if value and not value.startswith("/"):
        return f"{value} has no leading slash: no path matches", f"write /{value}", Severity.WARNING
    return "", "", Severity.INFO


def _istio(route: Obj) -> Iterator[tuple[str, str, str]]:
    for at, entry in mappings(route.get("spec.http")):
        for number, match in mappings(entry.get("match")):
            uri = match.get("uri")
            for how, value in uri.items() if isinstance(uri, dict) else ():
                if how in ("exact", "prefix", "regex"):
                    yield f"spec.http[{at}].match[{number}].uri.{how}", how, str(value)


def _gateway_api(route: Obj) -> Iterator[tuple[str, str, str]]:
    for at, entry in mappings(route.get("spec.rules")):
        for number, match in mappings(entry.get("matches")):
            path = match.get("path")
            if isinstance(path, dict) and path.get("value"):
                how = "regex" if path.get("type") == "RegularExpression" else "prefix"
                yield f"spec.rules[{at}].matches[{number}].path.value", how, str(path["value"])
