"""NetworkPolicy that closes a gateway's port to those who are routed through it

## What it finds
The Service of Knative's local gateway with a port which a Gateway opens, and which the NetworkPolicies of
the gateway pods' namespace open to no pod of a namespace whose VirtualServices are bound to that Gateway. A
policy counts the pod's port (8081), not the Service's (80).

## Why it matters
If the cluster's network enforces NetworkPolicies, requests of these namespaces time out at the gateway, while
requests through another gateway of the same namespace, and `kubectl port-forward`, work.

## How to prove it
`kubectl get networkpolicies -n NAMESPACE -o yaml`, and a request from a pod of the namespace that is named.

## How to fix it
Allow the pod's port from these namespaces.

## What it does not report
Gateways for the outside (KG604). The finding says "if enforced". Files that are not a
whole cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kgdiag.dialects.istio.mesh import is_gateway_pod
from kgdiag.graph.core import ServicePort, resolve_target, service_ports
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import known, listed, port_text, workload_name
from kgdiag.rules.istio import by_gateway, gateway_pods_of, open_ports
from kgdiag.rules.local_gateway import local_services
from kgdiag.trace.network import policies


@rule(
    "KG608", "gateway-closed-to-namespaces", Severity.WARNING,
    needs=(kinds.NETWORK_POLICY, kinds.SERVICE, kinds.POD, kinds.ISTIO_GATEWAY, kinds.VIRTUAL_SERVICE),
    about=(kinds.SERVICE,), names=(kinds.CONFIG_MAP,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Service and port."""
    for service in scope.all(world, kinds.SERVICE):
        if service.ref not in local_services(world):
            continue
        if not world.all(kinds.NETWORK_POLICY, service.namespace):
            continue
        for pod in gateway_pods_of(world, service)[:1]:
            for port in service_ports(service):
                target = resolve_target(pod, port)
                closed = list(_closed(world, pod, target)) if target is not None else []
                if closed and known(world, kinds.NETWORK_POLICY, service.namespace):
                    yield _finding(self, service, pod, port, closed)


def _closed(world: World, pod: Obj, target: int) -> Iterator[tuple[str, str]]:
    """(namespace, why) of namespaces with routes on this port, none of whose pods may connect to it."""
    names = {server.name for server in open_ports(world, pod).get(target, ())}
    routes = [route for name in sorted(names) for route in by_gateway(world).get(name, ())]
    for namespace in dict.fromkeys(route.namespace for route in routes):
        if namespace == pod.namespace:
            continue
        clients = [one for one in world.all(kinds.POD, namespace) if not is_gateway_pod(one)]
        why = [policies(world, client, pod, target) for client in clients[:20]]
        if why and all(why):
            yield namespace, why[0][0]


def _finding(self: Rule, service: Obj, pod: Obj, port: ServicePort, closed: list[tuple[str, str]]) -> Finding:
    target = resolve_target(pod, port)
    names = listed(name for name, _ in closed)
    return self.finding(
        service.ref,
        f"port {port_text(port)}: {closed[0][1]}, nor from any other pod of {names}, whose hosts are served "
        f"there: requests from inside time out (a policy counts the pod's port {target})",
        evidence=[service.evidence(f"spec.ports[{port.index}]"), pod.evidence("metadata.labels")],
        fix=f"allow ingress to port {target} of {workload_name(pod)} from {names} in a NetworkPolicy of "
        f"{service.namespace}",
        verify=[
            commands.get(
                kinds.NETWORK_POLICY, service.namespace, names_only=True, expect="policies", match=Match.ANY,
            )
        ],
    )  # fmt: skip
