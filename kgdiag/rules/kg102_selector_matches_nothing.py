"""Service selector matches no pod

## What it finds
A Service with a selector that no pod of its namespace satisfies. The nearest miss is named: the pods that
lack one of the labels only, with the value that they have instead, or pods with all the labels in another
namespace.

## Why it matters
The Service has no endpoints. A client of its cluster IP is refused the connection; an Envoy in front of it
answers 503 with flag UH, and some Gateway API implementations answer 500.

## How to prove it
`kubectl get pods -n NAMESPACE -l SELECTOR` prints nothing, and the Service's EndpointSlices are empty.

## How to fix it
Correct the label that differs, on the Service or in the pod template; or move the Service to the namespace
of the pods, since selectors never cross namespaces.

## What it does not report
Services without a selector and ExternalName Services (nothing is selected). Services that Knative scales to
zero. In files that are not a whole cluster: only where pods with all labels but one, or a workload of the
Service's name, are among them. A workload scaled to zero is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kgdiag.graph.core import pods_of, selector_of
from kgdiag.graph.labels import subset_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Evidence, Obj
from kgdiag.model.patch import Patch, set_field
from kgdiag.rules.base import MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import (
    group_by,
    known,
    known_everywhere,
    labels_text,
    listed,
    near,
    prove_no_pods,
    prove_selector,
)

_WORKLOADS = (kinds.DEPLOYMENT, kinds.STATEFUL_SET)


_Near = tuple[str, str, list[Evidence], Patch | None]


@rule(
    "KG102", "selector-matches-nothing", Severity.ERROR, needs=(kinds.SERVICE, kinds.POD),
    about=(kinds.SERVICE,), equivalents=("KIA0701",),
    reads=(kinds.STATEFUL_SET, *MESH_READS),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Service whose selector matches nothing."""
    for service in scope.all(world, kinds.SERVICE):
        selector = selector_of(service)
        if not selector or service.text("spec.type") == "ExternalName" or _scales_to_zero(service):
            continue
        if pods_of(world, service) or not known(world, kinds.POD, service.namespace):
            continue
        if found := _finding(self, world, service, selector):
            yield found


def _finding(self: Rule, world: World, service: Obj, selector: Mapping[str, Any]) -> Finding | None:
    facts = [service.evidence("spec.selector")]
    severity, fix, patch = Severity.ERROR, "", None
    asleep = [
        obj
        for kind in _WORKLOADS
        for obj in world.all(kind, service.namespace, optional=True)
        if obj.get("spec.replicas") == 0 and subset_of(selector, obj.mapping("spec.template.metadata.labels"))
    ]
    if asleep:
        why = f"{listed(str(obj.ref) for obj in asleep)} is scaled to 0"
        facts += [obj.evidence("spec.replicas") for obj in asleep]
        severity = Severity.WARNING
        first = asleep[0]
        fix = f"kubectl scale -n {first.namespace} {first.kind.name.lower()}/{first.name} --replicas=1"
    else:
        why, fix, more, patch = _nearest(world, service, selector)
        if not known_everywhere(world, kinds.POD) and not _evident(world, service, selector):
            return None
        facts += more
    return self.finding(
        service.ref,
        f"no pod in {service.namespace} has {labels_text(selector)}{f': {why}' if why else ''}; "
        "connections are refused (503 UH through an Envoy)",
        severity=severity,
        evidence=facts,
        fix=fix,
        verify=[prove_selector(service), prove_no_pods(service.namespace, selector)],
        patch=patch,
    )


def _evident(world: World, service: Obj, selector: Mapping[str, Any]) -> bool:
    """Whether files that may lack pods hold those that the Service means: all labels but one agree, or a
    workload has the Service's name."""
    if any(
        world.select(
            kinds.POD, service.namespace, {key: value for key, value in selector.items() if key != out}
        )
        for out in selector
        if len(selector) > 1
    ):
        return True
    namesakes = (world.get(kind, service.namespace, service.name, optional=True) for kind in _WORKLOADS)
    return any(obj is not None and obj.mapping("spec.template.metadata.labels") for obj in namesakes)


def _nearest(world: World, service: Obj, selector: Mapping[str, Any]) -> _Near:
    """The nearest miss in words, its mend, its evidence, and the mend as a patch where it is the only one."""
    here = world.all(kinds.POD, service.namespace)
    if len(selector) > 1:
        for key, value in selector.items():
            rest = {name: wanted for name, wanted in selector.items() if name != key}
            pods = world.select(kinds.POD, service.namespace, rest)
            if pods:
                has = pods[0].labels.get(key)
                return _one_label(service, key, value, has, pods)
    for key, value in selector.items():
        near = _like(world, here, key, str(value))
        if near is not None:
            return _one_label(service, key, value, near.labels.get(key), [near])
    elsewhere = [
        pod
        for pod in world.select(kinds.POD, None, selector, optional=True)
        if pod.namespace != service.namespace
    ]
    if elsewhere:
        there = sorted({pod.namespace for pod in elsewhere})
        return (
            f"such pods are in {listed(there)}, and selectors do not cross namespaces",
            f"create the Service in {there[0]}, or point its users at a Service there",
            [elsewhere[0].evidence("metadata.labels")],
            None,
        )
    return "", f"give the pods the labels {labels_text(selector)}, or select what they have", [], None


def _one_label(service: Obj, key: str, value: object, has: object, pods: list[Obj]) -> _Near:
    pod = pods[0]
    if has is None:
        why = f"pod {pod.name} has no label {key}"
    else:
        why = f"pod {pod.name} has {key}={has}, not {key}={value}"
    change = f'"{key}": "{has}"' if has is not None else f'"{key}": null'
    words = f'{{"spec": {{"selector": {{{change}}}}}}}'
    only = isinstance(has, str) and all(other.labels.get(key) == has for other in pods)
    return (
        why,
        f"kubectl patch svc {service.name} -n {service.namespace} -p '{words}'",
        [pod.evidence("metadata.labels")],
        set_field(service, f"spec.selector['{key}']", has) if only else None,
    )


def _like(world: World, pods: list[Obj], key: str, value: str) -> Obj | None:
    """A pod whose value of the label is a near miss: another spelling of it."""
    if not pods:
        return None
    by_value = group_by(
        world, ("label values", pods[0].namespace, key), pods, lambda pod: filter(None, [pod.labels.get(key)])
    )
    found = near(value, by_value)
    return by_value[found[0]][0] if found else None


def _scales_to_zero(service: Obj) -> bool:
    return any(
        key.startswith(("serving.knative.dev/", "networking.internal.knative.dev/")) for key in _keys(service)
    )


def _keys(service: Obj) -> Iterator[str]:
    yield from service.labels
    yield from selector_of(service)
