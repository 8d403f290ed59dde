"""NetworkPolicy that closes an entry

## What it finds
A Service of type LoadBalancer or NodePort, or the target port of a gateway's Service, that the
NetworkPolicies of the pods' namespace leave open to nobody outside: the policy counts the port of the pod
after translation (8081), not the Service's (80).

## Why it matters
If the cluster's network enforces NetworkPolicies, connections time out, while `kubectl port-forward` works.

## How to prove it
`kubectl get networkpolicies -n NAMESPACE -o yaml`, and a connection from outside.

## How to fix it
Allow the pod's port, from everywhere or from the load balancer's addresses.

## What it does not report
Clusters whose network does not enforce NetworkPolicies do not have the problem: the finding says "if
enforced". ClusterIP Services, whose clients are inside.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.core import ServicePort, pods_of, resolve_target, service_ports
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import port_text
from kgdiag.rules.istio import AGENT_PORTS
from kgdiag.trace.network import policies


@rule(
    "KG604", "network-policy-on-the-way", Severity.WARNING,
    needs=(kinds.NETWORK_POLICY, kinds.SERVICE, kinds.POD), about=(kinds.SERVICE,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Service that outside clients cannot reach if policies are enforced."""
    for service in scope.all(world, kinds.SERVICE):
        if service.text("spec.type") not in ("LoadBalancer", "NodePort"):
            continue
        if not world.all(kinds.NETWORK_POLICY, service.namespace):
            continue
        pods = pods_of(world, service)
        closed = [
            (port, words)
            for port in service_ports(service)
            if pods and (words := _closed(world, pods[0], port))
        ]
        if closed:
            yield _finding(self, service, pods[0], closed)


def _closed(world: World, pod: Obj, port: ServicePort) -> str:
    target = resolve_target(pod, port)
    if target is None or target in AGENT_PORTS:
        return ""
    return next(iter(policies(world, None, pod, target)), "")


def _finding(self: Rule, service: Obj, pod: Obj, closed: list[tuple[ServicePort, str]]) -> Finding:
    ports = ", ".join(port_text(port) for port, _ in closed)
    return self.finding(
        service.ref,
        f"port {ports}: {closed[0][1]}: connections time out (a policy counts the pod's port)",
        evidence=[service.evidence("spec.type"), pod.evidence("metadata.labels")],
        fix=f"allow ingress to port {resolve_target(pod, closed[0][0])} of these pods in a NetworkPolicy of "
        f"{service.namespace}",
        verify=[
            commands.get(
                kinds.NETWORK_POLICY, service.namespace, names_only=True, expect="policies", match=Match.ANY,
            )
        ],
    )  # fmt: skip
