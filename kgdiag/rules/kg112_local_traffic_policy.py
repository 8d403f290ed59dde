"""externalTrafficPolicy Local without a pod on every node

## What it finds
A Service of type LoadBalancer or NodePort with `externalTrafficPolicy: Local` whose ready pods run on fewer
nodes than the cluster has.

## Why it matters
A node without such a pod drops what arrives there from outside: where the load balancer does not ask the
Service's health check port, or the client chose the node, some connections time out.

## How to prove it
`kubectl get endpointslices -n NAMESPACE -l kubernetes.io/service-name=NAME -o
jsonpath='{.items[*].endpoints[*].nodeName}'` beside `kubectl get nodes`.

## How to fix it
`externalTrafficPolicy: Cluster` (the client's address is lost), or a pod on every node that is sent
traffic.

## What it does not report
As a warning: LoadBalancer Services, whose health check port tells the load balancer. Clusters whose nodes
could not be read. Control plane nodes do not count.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.core import is_assumed, is_ready, pods_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import listed, prove_field

_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


@rule(
    "KG112", "local-traffic-policy", Severity.WARNING, needs=(kinds.SERVICE, kinds.POD),
    about=(kinds.SERVICE,),
    reads=(kinds.NODE,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Service that some nodes drop."""
    for service in scope.all(world, kinds.SERVICE):
        kind = service.text("spec.type")
        if kind not in ("LoadBalancer", "NodePort"):
            continue
        if service.text("spec.externalTrafficPolicy") != "Local":
            continue
        nodes = {node.name for node in world.all(kinds.NODE, optional=True) if not _reserved(node)}
        pods = [pod for pod in pods_of(world, service) if is_ready(pod) and not is_assumed(pod)]
        homes = {pod.text("spec.nodeName") for pod in pods} - {""}
        without = sorted(nodes - homes)
        if not pods or not homes or not without:
            continue
        yield self.finding(
            service.ref,
            f"externalTrafficPolicy Local, and nodes {listed(without)} have no ready pod of it: what arrives "
            f"there from outside is dropped ({len(homes)} of {len(nodes)} nodes have one)",
            severity=Severity.INFO if kind == "LoadBalancer" else Severity.WARNING,
            evidence=[service.evidence("spec.externalTrafficPolicy"), pods[0].evidence("spec.nodeName")],
            fix=f"kubectl patch svc {service.name} -n {service.namespace} -p "
            '\'{"spec": {"externalTrafficPolicy": "Cluster"}}\', or run a pod on every node',
            verify=[prove_field(service, ".spec.externalTrafficPolicy", "Local", "Local")],
        )


def _reserved(node: Obj) -> bool:
    return any(key in node.labels for key in _CONTROL_PLANE) or node.get("spec.unschedulable") is True
