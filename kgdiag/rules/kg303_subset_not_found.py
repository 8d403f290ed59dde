"""Destination subset that no DestinationRule defines

## What it finds
A destination whose `subset` is not in the DestinationRule that the proxy uses for the host. Which one that
is follows istiod: a rule of the client's own namespace first (the gateway pods' for a VirtualService on a
Gateway), then of the Service's, then of the root namespace; within one place the most specific host, which
hides the others entirely.

## Why it matters
The proxy has no cluster for the subset: the destination's share of the requests gets 503 with flag NC.

## How to prove it
`kubectl get destinationrules -n NAMESPACE -o jsonpath='{.items[*].spec.subsets[*].name}'` lacks the name.

## How to fix it
Add the subset to the DestinationRule that is named, or create one in the Service's namespace.

## What it does not report
Destinations whose host does not exist (KG301). In files that are not a whole cluster, a missing rule is a
fact.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.destination_rules import Choice, applied, choose
from kgdiag.dialects.istio.mesh import Mesh, mesh_of
from kgdiag.dialects.istio.registry import Service
from kgdiag.dialects.istio.routes import gateways_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Fault, Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.patch import Patch, set_fields
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known, listed, near
from kgdiag.rules.istio import Destination, destinations, find_gateway, gateway_pods, services_named


@rule(
    "KG303", "subset-not-found", Severity.ERROR,
    needs=(kinds.VIRTUAL_SERVICE, kinds.SERVICE, kinds.DESTINATION_RULE), about=(kinds.VIRTUAL_SERVICE,),
    equivalents=("IST0101", "KIA1107"),
    reads=(kinds.POD, kinds.SERVICE_ENTRY, *MESH_READS), names=(kinds.ISTIO_GATEWAY, *MESH_NAMES),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each subset of a VirtualService that is not defined."""
    mesh = mesh_of(world)
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        done = set()
        for destination in destinations(mesh, route):
            key = (destination.full, destination.subset)
            if not destination.subset or key in done:
                continue
            done.add(key)
            found = services_named(world, mesh, destination.full)
            if found:
                yield from _judge(self, world, mesh, destination, found[0])


def _judge(
    self: Rule, world: World, mesh: Mesh, destination: Destination, service: Service
) -> Iterable[Finding]:
    route = destination.route
    choices = [(client, _choice(world, mesh, service, client)) for client in _clients(world, mesh, route)]
    lacking = [
        (client, choice)
        for client, choice in choices
        if choice.rule is None or choice.rule.subset(destination.subset) is None
    ]
    if not lacking:
        return
    client, choice = lacking[0]
    everyone = len(lacking) == len(choices)
    rule_ = choice.rule
    guess: list[str] = []
    if rule_ is None:
        certain = known(world, kinds.DESTINATION_RULE, service.namespace)
        if not world.readable(kinds.DESTINATION_RULE, service.namespace):
            return
        hidden = listed(loser.reason for loser in choice.losers[:1])
        why = f"no DestinationRule applies to {service.host} for clients in {client}"
        why += f" ({choice.losers[0].ref}: {hidden})" if hidden else ""
        words = why if certain else f"no DestinationRule for {service.host} is in these files"
        severity = Severity.ERROR if certain else Severity.INFO
        facts = [route.evidence(f"{destination.part}.subset")]
    else:
        names = rule_.subset_names
        guess = near(destination.subset, names)
        has = f"it has {listed(names, 6)}" if names else "it has none"
        words = f"{rule_.objs[0].ref} does not define it ({has})"
        words += f"; did you mean {guess[0]}?" if guess else ""
        severity = Severity.ERROR
        facts = [
            route.evidence(f"{destination.part}.subset"),
            *(obj.evidence("spec.subsets") for obj in rule_.objs),
        ]
    if severity is Severity.ERROR and not everyone:
        severity = Severity.WARNING
    lost = "" if severity is Severity.INFO else ": its share of the requests gets 503 (NC)"
    yield self.finding(
        route.ref,
        f"subset {destination.subset} of {destination.host}: {words}{lost}",
        severity=severity,
        evidence=facts,
        fix=f"add the subset {destination.subset} to "
        + str(rule_.objs[0].ref if rule_ else f"a DestinationRule of {service.namespace} for {service.host}"),
        verify=[
            commands.get(
                kinds.DESTINATION_RULE, rule_.objs[0].namespace if rule_ else service.namespace,
                rule_.objs[0].name if rule_ else "",
                jsonpath=".spec.subsets[*].name" if rule_ else ".items[*].spec.subsets[*].name",
                expect=f"no {destination.subset}", match=Match.LACKS, value=destination.subset,
            )
        ]
        if severity is not Severity.INFO
        else [],
        patch=_rename(mesh, destination, guess[0]) if guess and everyone else None,
        causes=[(f"no rule for {service.host}", route.ref)] if rule_ is None else [],
        follows=_causes(world, destination, service) if rule_ is None else [],
    )  # fmt: skip


def _rename(mesh: Mesh, destination: Destination, subset: str) -> Patch:
    route = destination.route
    fields = [
        f"{item.part}.subset"
        for item in destinations(mesh, route)
        if (item.full, item.subset) == (destination.full, destination.subset)
    ]
    return set_fields(route, dict.fromkeys(fields, subset))


def _causes(world: World, destination: Destination, service: Service) -> list[Fault]:
    """A rule that has the subset and does nothing (KG305), else what other subsets of the host lack too."""
    rules = world.all(kinds.DESTINATION_RULE, service.namespace)
    idle: list[Fault] = [
        ("rule for no host", one.ref)
        for one in rules
        if any(item.get("name") == destination.subset for item in one.maps("spec.subsets"))
    ]
    return [*idle, (f"no rule for {service.host}", destination.route.ref)]


def _choice(world: World, mesh: Mesh, service: Service, client: str) -> Choice:
    """The rule that a client uses; why others do not is asked only where none does."""
    world.all(kinds.DESTINATION_RULE)
    found = applied(world, mesh, service, client, {})
    return Choice(found) if found else choose(world, mesh, service, client, {})


def _clients(world: World, mesh: Mesh, route: Obj) -> list[str]:
    """The namespaces of the proxies that apply it: its gateways' pods', its own for sidecars."""
    found: dict[str, None] = {}
    for name in gateways_of(route):
        if name == "mesh":
            found.setdefault(route.namespace)
            continue
        gateway = find_gateway(world, name)
        pods = gateway_pods(world, gateway) if gateway else []
        for namespace in [pod.namespace for pod in pods] or [mesh.root_namespace]:
            found.setdefault(namespace)
    return list(found)
