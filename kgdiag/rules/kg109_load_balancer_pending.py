"""LoadBalancer Service without an address

## What it finds
A Service of type LoadBalancer whose `status.loadBalancer.ingress` is empty, with what the cluster seems to
be (kind, minikube, k3s) by its nodes, and how to reach the Service there.

## Why it matters
Nothing outside has an address to connect to: `kubectl get svc` shows `<pending>`, scripts that read the IP
get an empty string, and a Gateway API Gateway stays `Programmed=False AddressNotAssigned`.

## How to prove it
`kubectl get svc NAME -n NAMESPACE -o jsonpath='{.status.loadBalancer.ingress}'` prints nothing.

## How to fix it
On minikube run `minikube tunnel`; on kind run cloud-provider-kind or install MetalLB, or use
`kubectl port-forward` or the node port; elsewhere look at the cloud controller's events on the Service.

## What it does not report
Services in manifests: a file without `status` says nothing. On kind and minikube it is a fact (info), since
nobody there expects an address by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kgdiag.graph.core import service_ports
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.read import Origin, Status
from kgdiag.rules.base import Rule, Scope, rule

LOCAL = {
    "kind": "run cloud-provider-kind, or install MetalLB",
    "minikube": "run `minikube tunnel` and leave it running",
}


@rule(
    "KG109", "load-balancer-pending", Severity.WARNING, needs=(kinds.SERVICE,), about=(kinds.SERVICE,),
    reads=(kinds.NODE,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each LoadBalancer Service that waits for its address."""
    for service in scope.all(world, kinds.SERVICE):
        if service.text("spec.type") != "LoadBalancer" or service.items("status.loadBalancer.ingress"):
            continue
        if world.origin is Origin.FILES and not isinstance(service.get("status.loadBalancer"), Mapping):
            continue
        place = cluster_maker(world)
        ports = service_ports(service)
        node = next((port.node_port for port in ports if port.node_port), None)
        first = ports[0].port if ports else 80
        forward = f"kubectl port-forward -n {service.namespace} svc/{service.name} 8080:{first}"
        known = f"the cluster seems to be {place}, which gives none by itself" if place else ""
        yield self.finding(
            service.ref,
            "no address (EXTERNAL-IP is pending)"
            + (f": {known}" if known else ": no load balancer answered for it")
            + (f"; node port {node} is open on every node" if node else ""),
            severity=severity_of(world, place),
            evidence=[service.evidence("spec.type"), service.evidence("status.loadBalancer")],
            fix=f"{LOCAL[place]}; meanwhile {forward}"
            if place in LOCAL
            else f"read why: kubectl describe svc {service.name} -n {service.namespace}; meanwhile {forward}",
            verify=[
                commands.get(
                    kinds.SERVICE, service.namespace, service.name, jsonpath=".status.loadBalancer.ingress",
                    expect="nothing", match=Match.EQUALS, value="",
                )
            ],
        )  # fmt: skip


def severity_of(world: World, place: str) -> Severity:
    """A fact where no address is to be expected, or where nodes that would tell were not to be seen."""
    unseen = world.status(kinds.NODE) in (Status.FORBIDDEN, Status.FAILED)
    return Severity.INFO if place in LOCAL or unseen else Severity.WARNING


def cluster_maker(world: World) -> str:
    """What the nodes say the cluster is, ``""`` where they do not."""
    return next(filter(None, map(_maker, world.all(kinds.NODE, optional=True))), "")


def _maker(node: Obj) -> str:
    provider = node.text("spec.providerID")
    if provider.startswith("kind://"):
        return "kind"
    if any(key.startswith("minikube.k8s.io/") for key in node.labels):
        return "minikube"
    return ""
