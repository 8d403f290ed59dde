"""Two Services decide where a Gateway's port listens

## What it finds
Gateway pods that two Services select, both with the port that a Gateway's server names, but with different
target ports, and neither excluded from translation. istiod takes the oldest of them (then the first by
name): the server listens on that one's target port, and nothing listens on the other's.

## Why it matters
The Service that lost leads to a closed port: connection refused, 503 with flag UF through an Envoy. Which
of them loses depends on their age, so it changes when one is created anew. Kubeflow's
`knative-local-gateway` (80→8081) beside `cluster-local-gateway` (80→8080) is the known case.

## How to prove it
`istioctl proxy-config listeners POD -n NAMESPACE` shows the target port of the older Service only.

## How to fix it
Label the Service that must not decide with `experimental.istio.io/disable-gateway-port-translation=true`,
as Knative ships it for `knative-local-gateway`.

## What it does not report
Services whose target port another server opens by its own number anyway, and Services with that label.
Where the right one wins today, it is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.servers import NO_TRANSLATION, Server, servers_of
from kgdiag.graph.core import ServicePort, resolve_target
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.patch import Patch, merge
from kgdiag.model.ref import Ref
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import port_text
from kgdiag.rules.istio import candidates, gateway_pods, gateway_pods_of, gateways_on, open_ports


@rule(
    "KG108", "port-translation-conflict", Severity.ERROR,
    needs=(kinds.SERVICE, kinds.POD, kinds.ISTIO_GATEWAY), about=(kinds.SERVICE,),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each server and Service that another Service's target port takes from the other."""
    services = list(scope.all(world, kinds.SERVICE))
    wanted = {service.ref for service in services}
    for gateway, pod in _programmed(world, scope, services):
        for server in servers_of(gateway):
            yield from _conflict(self, world, server, wanted, pod)


def _programmed(world: World, scope: Scope, services: Iterable[Obj]) -> Iterable[tuple[Obj, Obj]]:
    """Gateways with one of the pods that they program: all, or those that single Services lead to, which
    takes no look at all other pods."""
    if not scope.objects:
        for gateway in world.all(kinds.ISTIO_GATEWAY):
            for pod in gateway_pods(world, gateway)[:1]:
                yield gateway, pod
        return
    found = {
        gateway.ref: (gateway, pod)
        for service in services
        for pod in gateway_pods_of(world, service)
        for gateway in gateways_on(world, pod)
    }
    yield from (found[ref] for ref in sorted(found))


def _conflict(self: Rule, world: World, server: Server, wanted: set[Ref], pod: Obj) -> Iterable[Finding]:
    rivals = [
        (service, port, target)
        for service, port in candidates(world, pod, server.number)
        if NO_TRANSLATION not in service.labels and (target := resolve_target(pod, port)) is not None
    ]
    if len(rivals) < 2:
        return
    winner, won, listening = rivals[0]
    for service, port, target in rivals[1:]:
        if target == listening:
            continue
        if not wanted & {service.ref, winner.ref}:
            continue
        if target in open_ports(world, pod):
            # The loser's port is served by another server: it works while the order stays so.
            yield _lucky(self, server, winner, service, port, listening)
        else:
            yield _dead(self, world, server, (winner, won, listening), (service, port, target), pod)


def _dead(
    self: Rule, world: World, server: Server, first: tuple[Obj, ServicePort, int],
    second: tuple[Obj, ServicePort, int], pod: Obj,
) -> Finding:  # fmt: skip
    winner, won, listening = first
    loser, lost, target = second
    # The Service to be labelled is the one whose target port a server opens by its own number.
    numbers = {other.number for servers_ in open_ports(world, pod).values() for other in servers_}
    blamed = loser if target in numbers and listening not in numbers else winner
    return self.finding(
        blamed.ref,
        f"server {server.number} of {server.gateway.ref} resolves to {listening} through {winner.ref} "
        f"({port_text(won)}), and nothing listens on {target}, where {loser.ref} ({port_text(lost)}) leads: "
        f"its clients are refused the connection (503 UF through an Envoy); "
        f"label {NO_TRANSLATION} is missing on one of them",
        evidence=[
            server.gateway.evidence(f"{server.part}.port.number"),
            winner.evidence(f"spec.ports[{won.index}]"),
            loser.evidence(f"spec.ports[{lost.index}]"),
        ],
        fix=f"kubectl label svc {blamed.name} -n {blamed.namespace} {NO_TRANSLATION}=true",
        patch=_label(blamed) if (target in numbers) != (listening in numbers) else None,
        verify=[
            _prove_label(blamed),
            commands.istioctl(
                "listeners", pod.name, pod.namespace, "--port", str(target), expect="no listener",
                match=Match.LACKS, value=f"{target} ",
            ),
        ],
    )  # fmt: skip


def _lucky(self: Rule, server: Server, winner: Obj, loser: Obj, port: ServicePort, listening: int) -> Finding:
    return self.finding(
        loser.ref,
        f"only its age keeps server {server.number} of {server.gateway.ref} on {listening}: {winner.ref} is "
        f"older (or first by name), and this Service maps {port_text(port)} on the same pods; created "
        "the other way round, the Gateway moves",
        severity=Severity.WARNING,
        evidence=[
            loser.evidence(f"spec.ports[{port.index}]"),
            server.gateway.evidence(f"{server.part}.port.number"),
        ],
        fix=f"kubectl label svc {loser.name} -n {loser.namespace} {NO_TRANSLATION}=true",
        patch=_label(loser),
        verify=[_prove_label(loser)],
    )


def _label(service: Obj) -> Patch:
    return merge(service, {"metadata": {"labels": {NO_TRANSLATION: "true"}}})


def _prove_label(service: Obj) -> Command:
    key = NO_TRANSLATION.replace(".", "\\.")
    return commands.get(
        kinds.SERVICE, service.namespace, service.name, jsonpath=f".metadata.labels.{key}",
        expect="no value: the label is missing", match=Match.EQUALS, value="",
    )  # fmt: skip
