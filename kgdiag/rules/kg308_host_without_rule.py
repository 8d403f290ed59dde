"""VirtualService host that none of its rules accepts

## What it finds
A host in `spec.hosts` while every `http` rule has an `authority` condition that this host does not satisfy,
as where a domain was changed in `hosts` and not in the regular expressions of the rules.

## Why it matters
The host has a virtual host without any route for it: its requests get 404 with flag NR, although the host
is there in `istioctl proxy-config routes`.

## How to prove it
Compare `.spec.hosts` with `.spec.http[*].match[*].authority`.

## How to fix it
Write the host into one of the authority conditions.

## What it does not report
Wildcard hosts, regular expressions that RE2 does not take, and the short forms of a cluster name beside the
full one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.routes import hosts_of, route_match
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.proxy import ValueMatch
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import listed, mappings, owned_by_controller
from kgdiag.trace.match import string_matches


@rule(
    "KG308", "host-without-rule", Severity.ERROR, needs=(kinds.VIRTUAL_SERVICE,),
    about=(kinds.VIRTUAL_SERVICE,),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each VirtualService with hosts that no rule takes."""
    mesh = mesh_of(world)
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        matches = [match for _, entry in mappings(route.get("spec.http")) for match in _matches(entry)]
        if not matches or any(not _authority(match) for match in matches):
            continue
        hosts = [host for host in hosts_of(route, mesh) if "*" not in host]
        accepted = [host for host in hosts if any(_accepts(match, host) for match in matches)]
        lost = [host for host in hosts if host not in accepted and not _short(host, hosts)]
        if not lost or owned_by_controller(route):
            continue
        yield self.finding(
            route.ref,
            f"host {listed(lost)} is in spec.hosts, and no http match accepts it as authority: "
            "its requests get 404 (NR, route_not_found)",
            evidence=[route.evidence("spec.hosts"), route.evidence("spec.http[0].match[0].authority")],
            fix=f"let the authority of a match accept {lost[0]}, or take it from spec.hosts",
            verify=[
                commands.get(
                    kinds.VIRTUAL_SERVICE, route.namespace, route.name,
                    jsonpath=".spec.http[*].match[*].authority", expect=f"nothing that {lost[0]} satisfies",
                    match=Match.LACKS, value=f'"{lost[0]}"',
                )
            ],
        )  # fmt: skip


def _matches(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The matches of an entry; one without any condition where it has none."""
    return [match for _, match in mappings(entry.get("match"))] or [{}]


def _authority(match: Mapping[str, Any]) -> list[ValueMatch]:
    return [header for header in route_match(match).headers if header.name == ":authority"]


def _accepts(match: Mapping[str, Any], host: str) -> bool:
    return all(
        header.match is None or string_matches(header.match, host) != header.invert
        for header in _authority(match)
    )


def _short(host: str, hosts: list[str]) -> bool:
    """Whether the full form of a cluster name stands beside it."""
    return any(other != host and other.startswith(f"{host}.") for other in hosts)
