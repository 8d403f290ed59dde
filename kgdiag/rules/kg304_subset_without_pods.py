"""Subset that selects no pod

## What it finds
A subset of a DestinationRule whose labels no pod of the Service has, with the labels that the pods do have.

## Why it matters
The subset's cluster has no endpoints: requests sent to it get 503 with flag UH.

## How to prove it
`kubectl get pods -n NAMESPACE -l SERVICE-SELECTOR,SUBSET-LABELS` prints nothing.

## How to fix it
Write the labels that the pods have, or deploy the version.

## What it does not report
As an error: subsets that no VirtualService uses. Services without pods (KG102), hosts of ServiceEntries,
and workloads scaled to zero.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.destination_rules import host_of
from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.graph.core import pods_of, selector_of
from kgdiag.graph.labels import subset_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.patch import set_field
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known, labels_text, listed, mappings, near, prove_no_pods
from kgdiag.rules.istio import destinations, services_named


@rule(
    "KG304", "subset-without-pods", Severity.ERROR,
    needs=(kinds.DESTINATION_RULE, kinds.SERVICE, kinds.POD, kinds.VIRTUAL_SERVICE),
    about=(kinds.DESTINATION_RULE,), equivalents=("IST0173", "KIA0203"),
    reads=(kinds.SERVICE_ENTRY, *MESH_READS), names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each subset of a Service with pods, none of which is in it."""
    mesh = mesh_of(world)
    for one in scope.all(world, kinds.DESTINATION_RULE):
        host = host_of(mesh, one).lower()
        if host.startswith("*") or not one.maps("spec.subsets"):
            continue
        services = [found for found in services_named(world, mesh, host) if found.kubernetes]
        if not services:
            continue
        service = services[0].obj
        pods = pods_of(world, service)
        if not pods or not known(world, kinds.POD, service.namespace):
            continue
        for at, subset in mappings(one.get("spec.subsets")):
            labels = subset.get("labels")
            if not isinstance(labels, dict) or any(subset_of(labels, pod.labels) for pod in pods):
                continue
            yield _finding(self, world, one, at, labels, service, pods, host)


def _finding(
    self: Rule, world: World, one: Obj, at: int, labels: dict[str, str], service: Obj, pods: list[Obj],
    host: str,
) -> Finding:  # fmt: skip
    name = str(one.get(f"spec.subsets[{at}].name") or "")
    has = {key: sorted({str(pod.labels[key]) for pod in pods if key in pod.labels}) for key in labels}
    key = next((key for key in labels if labels[key] not in has[key]), next(iter(labels)))
    words = f"they have {key}={listed(has[key], 4)}" if has[key] else f"they have no label {key}"
    asleep = any(
        obj.get("spec.replicas") == 0 and subset_of(labels, obj.mapping("spec.template.metadata.labels"))
        for obj in world.all(kinds.DEPLOYMENT, service.namespace, optional=True)
    )
    used = (host, name) in _used(world)
    guess = near(str(labels[key]), has[key])
    selector = {**selector_of(service), **labels}
    return self.finding(
        one.ref,
        f"subset {name} ({labels_text(labels)}) selects no pod of {service.ref}: {words}; "
        + ("requests to it get 503 (UH)" if used else "no VirtualService uses it"),
        severity=Severity.WARNING if asleep or not used else Severity.ERROR,
        evidence=[one.evidence(f"spec.subsets[{at}].labels"), pods[0].evidence("metadata.labels")],
        fix=f"set spec.subsets[{at}].labels.{key} to {guess[0]}"
        if guess
        else f"deploy pods with {labels_text(labels)}, or remove the subset",
        patch=set_field(one, f"spec.subsets[{at}].labels['{key}']", guess[0])
        if guess and used and not asleep and len(has[key]) == 1
        else None,
        verify=[prove_no_pods(service.namespace, selector)],
    )


def _used(world: World) -> set[tuple[str, str]]:
    """(host, subset) of every destination."""
    mesh = mesh_of(world)
    routes = world.all(kinds.VIRTUAL_SERVICE)
    return world.memo(
        "used subsets",
        lambda: {(item.full, item.subset) for route in routes for item in destinations(mesh, route)},
    )
