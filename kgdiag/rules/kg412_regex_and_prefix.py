"""Regular expression and prefix on one host, of which one is never reached

## What it finds
Routes of one listener and hostname, where a path match is never reached because of the order of kinds, which
differs by implementation: Istio tries regular expressions after every prefix, so that a rule for `/` hides
them; Envoy Gateway and kgateway try them before every prefix, so that `/.*` hides those.

## Why it matters
The Gateway API leaves the order open. What works with one implementation sends the requests elsewhere with
another. KServe makes its HTTPRoutes with `^/.*$`: a prefix route made by hand for the same hostname wins with
Istio and loses with the others.

## How to prove it
The proxy's route table (`istioctl proxy-config routes`, `egctl config envoy-proxy route`) in its order.

## How to fix it
Write both as the same kind of match.

## What it does not report
Matches with methods, headers or parameters in the one that hides. Matches that lead to the same backends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kgdiag.dialects.gateway_api.attach import routes_of
from kgdiag.dialects.gateway_api.provider import implementation
from kgdiag.dialects.gateway_api.routes import Match, matches_of
from kgdiag.dialects.gateway_api.spec import listeners_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.finding import Match as Expected
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule

_EVERYTHING = re.compile(r"\^?(/)?\.[*+]\$?")
_REGEX, _PREFIX = "RegularExpression", "PathPrefix"
_REGEX_LAST = ("istio",)
_REGEX_FIRST = ("envoy-gateway", "kgateway")


@rule(
    "KG412", "regex-and-prefix", Severity.WARNING,
    needs=(kinds.HTTP_ROUTE, kinds.GATEWAY, kinds.GATEWAY_CLASS), about=(kinds.HTTP_ROUTE,),
    reads=(kinds.GRPC_ROUTE,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each match that is never reached."""
    wanted = {route.ref for route in scope.all(world, kinds.HTTP_ROUTE)}
    said = set()
    for gateway in world.all(kinds.GATEWAY):
        provider = implementation(world, gateway).provider
        if provider is None or provider.name not in (*_REGEX_LAST, *_REGEX_FIRST):
            continue
        last = provider.name in _REGEX_LAST
        for host, matches in _hosts(world, gateway):
            takers = [one for one in matches if _takes_all(one, _PREFIX if last else _REGEX)]
            for one in matches:
                if not takers or one.path is None or one.path[0] != (_REGEX if last else _PREFIX):
                    continue
                taker = takers[0]
                if (
                    one.route.ref in wanted
                    and not _alike(one, taker)
                    and (one.route.ref, one.part) not in said
                ):
                    said.add((one.route.ref, one.part))
                    yield _finding(self, gateway, provider.title, last, host, one, taker)


def _hosts(world: World, gateway: Obj) -> Iterator[tuple[str, list[Match]]]:
    """(hostname, the matches that are looked up for it), listener by listener."""
    for listener in listeners_of(world, gateway):
        if listener.protocol not in ("HTTP", "HTTPS"):
            continue
        by_host: dict[str, list[Match]] = {}
        for attached in routes_of(world, gateway, listener):
            if attached.route.kind == kinds.HTTP_ROUTE and not attached.doubt:
                for host in attached.hostnames:
                    by_host.setdefault(host, []).extend(matches_of(attached.route))
        yield from by_host.items()


def _takes_all(match: Match, kind: str) -> bool:
    if match.path is None or match.path[0] != kind or match.method or match.headers or match.query:
        return False
    return match.path[1] == "/" if kind == _PREFIX else bool(_EVERYTHING.fullmatch(match.path[1]))


def _alike(one: Match, other: Match) -> bool:
    def ends(match: Match) -> list[tuple[str, int | None]]:
        return [(str(ref.ref), ref.port) for ref in match.backends]

    return ends(one) == ends(other) and one.filters == other.filters


def _finding(
    self: Rule, gateway: Obj, title: str, last: bool, host: str, one: Match, taker: Match
) -> Finding:
    order = "after every prefix" if last else "before every prefix"
    assert one.path is not None and taker.path is not None
    return self.finding(
        one.route.ref,
        f"{one.part} ({one.path[0]} {one.path[1]}) is never reached for {host} at {gateway.ref}: {title} "
        f"tries regular expressions {order}, and {taker.part} of {taker.route.ref} ({taker.path[1]}) takes "
        "every path",
        evidence=[one.route.evidence(one.part), taker.route.evidence(taker.part)],
        fix=f"write {one.part} and {taker.part} of {taker.route.ref} as the same kind of path match",
        verify=[
            commands.get(
                kinds.HTTP_ROUTE, taker.route.namespace, taker.route.name,
                jsonpath=".spec.rules[*].matches[*].path.value", expect=taker.path[1],
                match=Expected.CONTAINS, value=taker.path[1],
            )
        ]
        if taker.raw
        else [
            commands.get(
                kinds.HTTP_ROUTE, taker.route.namespace, taker.route.name, names_only=True,
                expect="the route", match=Expected.ANY,
            )
        ],
    )  # fmt: skip
