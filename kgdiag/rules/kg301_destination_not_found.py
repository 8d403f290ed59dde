"""Destination host that does not exist

## What it finds
A destination of a VirtualService whose host is neither a Service nor a ServiceEntry's host. A host without
a dot is a Service of the VirtualService's namespace; every other host is taken as it is, so `reviews.shop`
is not completed to `reviews.shop.svc.cluster.local`. Services of that name elsewhere are named.

## Why it matters
The proxy has no cluster for it: the destination's share of the requests is answered with 503 and flag NC.

## How to prove it
`kubectl get svc -n NAMESPACE NAME` answers NotFound; `istioctl proxy-config clusters POD --fqdn HOST` is
empty.

## How to fix it
Write the full name, `name.namespace.svc.cluster.local`.

## What it does not report
In files that are not a whole cluster, a Service that is not among them is a fact (info). Objects that
Knative or KServe keeps are reported like others: their controller's configuration is then what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import Mesh, mesh_of
from kgdiag.graph.core import cluster_name
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.patch import set_fields
from kgdiag.model.ref import Ref
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import gone_or_unseen, known_everywhere, listed, namesakes, near, prove_gone
from kgdiag.rules.istio import Destination, destinations, services_named


@rule(
    "KG301", "destination-not-found", Severity.ERROR,
    needs=(kinds.VIRTUAL_SERVICE, kinds.SERVICE, kinds.SERVICE_ENTRY), about=(kinds.VIRTUAL_SERVICE,),
    equivalents=("IST0101", "KIA1101"),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each host of a VirtualService that leads nowhere."""
    mesh = mesh_of(world)
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        lost: dict[str, list[Destination]] = {}
        for destination in destinations(mesh, route):
            if not services_named(world, mesh, destination.full):
                lost.setdefault(destination.full, []).append(destination)
        for places in lost.values():
            yield from _finding(self, world, mesh, route, places)


def _finding(
    self: Rule, world: World, mesh: Mesh, route: Obj, places: list[Destination]
) -> Iterable[Finding]:
    first = places[0]
    named = cluster_name(first.full, mesh.domain)
    if named and first.full.endswith(mesh.domain):
        severity, words = gone_or_unseen(world, kinds.SERVICE, named[1], named[0])
        subject = f"Service {named[1]}/{named[0]}"
        proof = [prove_gone(kinds.SERVICE, named[1], named[0])]
    else:
        severity, words = _foreign(world, first)
        subject, proof = f"host {first.host}", []
    if severity is None:
        return
    meant = _meant(world, mesh, route, first, named)
    places_text = f" ({len(places)} destinations)" if len(places) > 1 else ""
    lost = ": its share of the requests gets 503 (NC)" if severity is Severity.ERROR else ""
    what = f"{first.host} ({subject})" if proof else first.host
    yield self.finding(
        route.ref,
        f"destination {what}{places_text} {words}{lost}"
        + (f"; did you mean {listed(meant)}?" if meant else ""),
        severity=severity,
        evidence=[route.evidence(f"{place.part}.host") for place in places],
        fix=f"write {meant[0]} as {first.part}.host" if meant else f"create {subject}, or name another host",
        patch=set_fields(route, {f"{place.part}.host": meant[0] for place in places})
        if len(meant) == 1 and severity is Severity.ERROR
        else None,
        follows=[("missing", Ref("", "Service", named[1], named[0]))] if named else [],
        verify=proof or [_prove_unknown(first)] if severity is Severity.ERROR else [],
    )


def _foreign(world: World, destination: Destination) -> tuple[Severity | None, str]:
    if known_everywhere(world, kinds.SERVICE_ENTRY):
        return Severity.ERROR, "is no Service and no ServiceEntry has it"
    if not world.readable(kinds.SERVICE_ENTRY):
        return None, ""
    return Severity.INFO, "is no Service, and no ServiceEntry in these files has it"


def _meant(
    world: World, mesh: Mesh, route: Obj, destination: Destination, named: tuple[str, str] | None
) -> list[str]:
    """Hosts that were perhaps meant, the most likely first."""
    head, _, rest = destination.host.partition(".")
    namespace = rest.partition(".")[0]
    found = []
    if namespace and world.get(kinds.SERVICE, namespace, head):
        found.append(f"{head}.{namespace}.svc.{mesh.domain}")
    name, where = named or (head, route.namespace)
    found += [
        f"{obj.name}.{obj.namespace}.svc.{mesh.domain}"
        for obj in namesakes(world, kinds.SERVICE, name, but=where)
    ]
    if not found:
        here = world.all(kinds.SERVICE, where, optional=True)
        found = [f"{other}.{where}.svc.{mesh.domain}" for other in near(name, (obj.name for obj in here))]
    return list(dict.fromkeys(found))


def _prove_unknown(destination: Destination) -> Command:
    return commands.get(
        kinds.SERVICE_ENTRY, None, jsonpath=".items[*].spec.hosts", expect=f"no {destination.host}",
        match=Match.LACKS, value=f'"{destination.host}"',
    )  # fmt: skip
