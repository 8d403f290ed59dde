"""Service selects pods of another app than its name says

## What it finds
A Service whose name is not that of the pods that it selects, where this matters:

- It selects gateway pods of another name, as Kubeflow's `knative-local-gateway` selects
  `cluster-local-gateway` pods. Where the Gateways that should answer open its target ports on the same
  pods, this is a fact (info). Where a Gateway opens a target port on other pods only, nothing listens
  behind the Service, and it is an error.
- Pods with the Service's own name as their `app` label exist in the namespace, and the Service selects
  others (warning).

## Why it matters
Whoever reads the name looks at the wrong pods; and a Service that is patched without its Gateway (or the
Gateway without its Service) sends every request to a port where nothing listens: the client is refused the
connection, an Envoy answers 503 with flag UF.

## How to prove it
Compare `.spec.selector` of the Service with that of the Gateway, and list the pods of each.

## How to fix it
Give the Gateway and the Service that leads to it the same selector.

## What it does not report
That no pod is labelled with the Service's name while nothing selects that label. Ordinary Services whose
name differs from their pods' label without a namesake.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from kgdiag.dialects.istio.servers import Server, servers_of
from kgdiag.graph.core import pods_of, resolve_target, selector_of, service_ports
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Finding, Match, Severity
from kgdiag.model.obj import Evidence, Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import (
    group_by,
    labels_text,
    listed,
    prove_no_pods,
    prove_pods,
    prove_selector,
    workload_name,
)
from kgdiag.rules.istio import gateway_pods, is_classic_gateway, open_ports

_NAMING = ("app", "app.kubernetes.io/name", "k8s-app")


@rule(
    "KG101", "service-selects-other-pods", Severity.ERROR,
    needs=(kinds.SERVICE, kinds.POD, kinds.ISTIO_GATEWAY), about=(kinds.SERVICE,),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Service with pods of another name."""
    for service in scope.all(world, kinds.SERVICE):
        pods = pods_of(world, service)
        if not pods:
            continue
        at_gateways = [pod for pod in pods if is_classic_gateway(pod)]
        if at_gateways:
            name = workload_name(at_gateways[0])
            if not _same(service.name, name):
                yield _gateway(self, world, service, at_gateways, name)
        elif found := _namesake(self, world, service, pods):
            yield found


def _same(service: str, pods: str) -> bool:
    """``istio-ingressgateway`` and ``ingressgateway`` are one name to a reader."""
    return service == pods or service.endswith(f"-{pods}") or pods.endswith(f"-{service}")


def _gateway(self: Rule, world: World, service: Obj, pods: list[Obj], name: str) -> Finding:
    elsewhere = dead_targets(world, service, pods[0])
    facts = [service.evidence("spec.selector"), pods[0].evidence("metadata.labels")]
    proof = [prove_selector(service), prove_pods(service.namespace, selector_of(service), pods[0].name)]
    message = f"service {service.name} selects {name} pods"
    if not elsewhere:
        same = _answering(world, service, pods[0])
        agree = f"; {listed(str(gateway.ref) for gateway in same)} chooses the same pods" if same else ""
        app = {"app": service.name}
        quiet = not world.select(kinds.POD, service.namespace, app)
        none = f"; no pod has app={service.name}, and nothing selects that label" if quiet else ""
        return self.finding(
            service.ref,
            message + agree + none,
            severity=Severity.INFO,
            evidence=facts + [gateway.evidence("spec.selector") for gateway in same],
            verify=[*proof, *([prove_no_pods(service.namespace, app)] if quiet else [])],
        )
    target, server = elsewhere[0]
    gateway = server.gateway
    selector = gateway.mapping("spec.selector")
    others = gateway_pods(world, gateway)
    there = f"{workload_name(others[0])} pods" if others else "no pod"
    wanted = selector_of(service)
    return self.finding(
        service.ref,
        f"{message}, where nothing listens on {target}: {gateway.ref} opens "
        f"{target} on {there} ({labels_text(selector)}); connections are refused (503 UF through an Envoy)",
        evidence=[
            *facts,
            gateway.evidence("spec.selector"),
            gateway.evidence(f"{server.part}.port.number"),
        ],
        fix=f"give {gateway.ref} the selector {labels_text(wanted)}, or "
        f"{service.ref} the selector {labels_text(selector)}",
        verify=[*proof, _prove_gateway(gateway)],
    )


def dead_targets(world: World, service: Obj, pod: Obj) -> list[tuple[int, Server]]:
    """Targets of the Service where this gateway pod has no listener, while a Gateway opens them elsewhere."""
    here = open_ports(world, pod)
    found = []
    for port in service_ports(service):
        target = resolve_target(pod, port)
        if target is None or target in here:
            continue
        found += [(target, server) for server in _opening(world).get(target, ())]
    return found


def _opening(world: World) -> dict[int, list[Server]]:
    """All servers by their number."""
    gateways = world.all(kinds.ISTIO_GATEWAY)

    def collect() -> dict[int, list[Server]]:
        found: dict[int, list[Server]] = {}
        for gateway in gateways:
            for server in servers_of(gateway):
                found.setdefault(server.number, []).append(server)
        return found

    return world.memo("servers by number", collect)


def _answering(world: World, service: Obj, pod: Obj) -> list[Obj]:
    here = open_ports(world, pod)
    found: dict[object, Obj] = {}
    for port in service_ports(service):
        for server in here.get(resolve_target(pod, port) or 0, ()):
            found.setdefault(server.gateway.ref, server.gateway)
    return list(found.values())


def _prove_gateway(gateway: Obj) -> Command:
    return commands.get(
        kinds.ISTIO_GATEWAY, gateway.namespace, gateway.name, jsonpath=".spec.selector",
        expect=f"the selector {labels_text(gateway.mapping('spec.selector'))}", match=Match.ANY,
    )  # fmt: skip


def _namesake(self: Rule, world: World, service: Obj, pods: list[Obj]) -> Finding | None:
    """Pods that carry the Service's name, while it selects others."""
    everyone = world.all(kinds.POD, service.namespace)
    for key in _NAMING:
        if key not in selector_of(service) or pods[0].labels.get(key) == service.name:
            continue
        named = group_by(
            world, ("label values", service.namespace, key), everyone,
            partial(_label, key),
        ).get(service.name)  # fmt: skip
        if named and not _selected_by_namesake(world, service, key):
            facts: list[Evidence] = [service.evidence("spec.selector"), named[0].evidence("metadata.labels")]
            return self.finding(
                service.ref,
                f"service {service.name} selects {workload_name(pods[0])} pods, while pods with "
                f"{key}={service.name} exist: requests go to another app than the name says",
                severity=Severity.WARNING,
                evidence=facts,
                fix=f"kubectl patch svc {service.name} -n {service.namespace} -p "
                f'\'{{"spec": {{"selector": {{"{key}": "{service.name}"}}}}}}\'',
                verify=[
                    prove_selector(service),
                    prove_pods(service.namespace, {key: service.name}, named[0].name),
                ],
            )
    return None


def _label(key: str, pod: Obj) -> list[str]:
    value = pod.labels.get(key)
    return [value] if value else []


def _selected_by_namesake(world: World, service: Obj, key: str) -> bool:
    """Whether another Service already leads to the namesakes: then the two names are meant."""
    return any(
        other is not service and selector_of(other).get(key) == service.name
        for other in world.all(kinds.SERVICE, service.namespace)
    )
