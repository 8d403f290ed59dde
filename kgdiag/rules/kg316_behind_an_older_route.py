"""Rule of a VirtualService that an older one on the same gateway and host takes first

## What it finds
Two VirtualServices for one host at one Gateway: an entry of the newer one whose every match is covered by a
match of the older one (the same path or prefix, or a prefix of it, without further conditions), with another
destination.

## Why it matters
On a gateway the rules of all VirtualServices of a host are put together, the oldest first (then by name),
without sorting by length: the entry is never reached. Catch-all rules come last, the oldest of them wins.

## How to prove it
`istioctl proxy-config routes POD -n NAMESPACE -o json` lists the older one's route first.

## How to fix it
Put both rules into one VirtualService, the more specific first.

## What it does not report
Entries with the same destination, conditions beyond the path in the older one, and VirtualServices that a
controller writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.routes import export_to, gateways_of, hosts_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import mappings, owned_by_controller

_EXACT, _PREFIX = "exact", "prefix"


@rule(
    "KG316", "behind-an-older-route", Severity.WARNING, needs=(kinds.VIRTUAL_SERVICE,),
    about=(kinds.VIRTUAL_SERVICE,), equivalents=("KIA1106",), reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each entry that is never reached."""
    together = _together(world)
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        if owned_by_controller(route):
            continue
        done = set()
        for gateway, host in _places(world, route):
            for older in together.get((gateway, host), ()):
                if older.age_key >= route.age_key or (older.ref, host) in done:
                    continue
                done.add((older.ref, host))
                for at, first in _covered(older, route):
                    yield _finding(self, route, f"spec.http[{at}]", older, first, gateway, host)


def _places(world: World, route: Obj) -> Iterator[tuple[str, str]]:
    mesh = mesh_of(world)
    if "*" not in export_to(route, mesh):
        return
    for gateway in gateways_of(route):
        if gateway != "mesh":
            yield from ((gateway, host.lower()) for host in dict.fromkeys(hosts_of(route, mesh)))


def _together(world: World) -> dict[tuple[str, str], list[Obj]]:
    """The VirtualServices of each Gateway and host that has several, oldest first."""
    every = world.all(kinds.VIRTUAL_SERVICE)
    mesh_of(world)

    def collect() -> dict[tuple[str, str], list[Obj]]:
        found: dict[tuple[str, str], list[Obj]] = {}
        for route in sorted(every, key=lambda one: one.age_key):
            for place in _places(world, route):
                found.setdefault(place, []).append(route)
        return {place: routes for place, routes in found.items() if len(routes) > 1}

    return world.memo("virtual services by gateway and host", collect)


@dataclass(frozen=True, slots=True)
class _Path:
    """What a match asks of the path; ``bare`` where it asks nothing else."""

    kind: str
    value: str
    bare: bool

    @property
    def everything(self) -> bool:
        return self.bare and (self.kind, self.value) == (_PREFIX, "/")

    def covers(self, other: _Path) -> bool:
        if not self.bare:
            return False
        if self.everything:  # catch-alls are moved behind all others, in their order
            return other.everything
        if self.kind == _EXACT:
            return (other.kind, other.value) == (_EXACT, self.value)
        return other.value.startswith(self.value)


def _path(match: Mapping[str, Any]) -> _Path | None:
    conditions = {key for key, value in match.items() if value and key not in ("name", "statPrefix")}
    uri = match.get("uri")
    bare = conditions <= {"uri"}
    if "uri" not in conditions:
        return _Path(_PREFIX, "/", bare)
    if not isinstance(uri, Mapping) or match.get("ignoreUriCase"):
        return None
    for kind in (_EXACT, _PREFIX):
        if isinstance(uri.get(kind), str):
            return _Path(kind, uri[kind], bare)
    return None


def _paths(entry: Mapping[str, Any]) -> list[_Path | None]:
    matches = [_path(match) for _, match in mappings(entry.get("match"))]
    return matches or [_Path(_PREFIX, "/", True)]


def _covered(older: Obj, newer: Obj) -> Iterator[tuple[int, int]]:
    """(entry of the newer one, entry of the older one that takes its requests)."""
    before = [(at, entry, _paths(entry)) for at, entry in mappings(older.get("spec.http"))]
    for at, entry in mappings(newer.get("spec.http")):
        takers = []
        for path in _paths(entry):
            taker = next(
                ((number, one) for number, one, paths in before
                 if path and any(first and first.covers(path) for first in paths)), None,
            )  # fmt: skip
            takers.append(taker)
        if all(takers) and any(taker and not _same(taker[1], entry) for taker in takers):
            first = takers[0]
            assert first is not None
            yield at, first[0]


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    keys = ("route", "redirect", "directResponse", "rewrite", "delegate")
    return all(one.get(key) == other.get(key) for key in keys)


def _finding(self: Rule, route: Obj, field: str, older: Obj, first: int, gateway: str, host: str) -> Finding:
    taker = f"spec.http[{first}]"
    return self.finding(
        route.ref,
        f"{field} is never reached for {host} at Gateway {gateway}: {taker} of {older.ref}, which is older "
        "or first by name, takes its requests",
        evidence=[route.evidence(f"{field}.match" if route.get(f"{field}.match") else field),
                  older.evidence(f"{taker}.match" if older.get(f"{taker}.match") else taker)],
        fix=f"put {field} into {older.ref}, before {taker}",
        verify=[
            commands.get(
                kinds.VIRTUAL_SERVICE, older.namespace, older.name, jsonpath=".spec.hosts",
                expect=f"{host} (or its short name)", match=Match.CONTAINS, value=host.partition(".")[0],
            )
        ],
    )  # fmt: skip
