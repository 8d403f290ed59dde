"""DestinationRule that speaks the mesh's TLS to pods without a sidecar

## What it finds
A DestinationRule with `tls.mode: ISTIO_MUTUAL` for Services none of whose pods has a sidecar: written for
one host, or mesh-wide (`*.cluster.local`), as OpenShift Service Mesh makes it where mTLS is on.

## Why it matters
The client's proxy opens TLS to a port that speaks plain HTTP: 503 with flag UF. A PeerAuthentication does
not help: it only says what servers accept.

## How to prove it
The pods have no container `istio-proxy`; `istioctl proxy-config cluster POD --fqdn HOST -o json` shows the
TLS context.

## How to fix it
A DestinationRule for this host in the client's namespace, without `trafficPolicy.tls` or with `mode:
DISABLE`: the most specific host hides the wildcard entirely.

## What it does not report
Gateway pods with a listener that expects the mesh's TLS. Services of namespaces without any sidecar, unless
a VirtualService leads to them: nobody in the mesh may call them.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.destination_rules import applied, setting_of
from kgdiag.dialects.istio.mesh import Mesh, discovered, is_gateway_pod, is_proxy, mesh_of
from kgdiag.dialects.istio.registry import of_service
from kgdiag.graph.core import is_assumed, pods_of, service_ports
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import listed
from kgdiag.rules.istio import destinations, sidecar_likely


@rule(
    "KG504", "tls-to-plain-pods", Severity.ERROR,
    needs=(kinds.DESTINATION_RULE, kinds.SERVICE, kinds.POD), about=(kinds.DESTINATION_RULE,),
    reads=(kinds.VIRTUAL_SERVICE, *MESH_READS), names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each DestinationRule and the Services that it cuts off."""
    mesh = mesh_of(world)
    wanted = {one.ref for one in scope.all(world, kinds.DESTINATION_RULE) if _mutual(one)}
    if not wanted:
        return
    cut: dict[Ref, list[tuple[Obj, Obj, str, Obj]]] = {}
    for service in world.all(kinds.SERVICE):
        found = _cut_off(world, mesh, service)
        if found is not None and found[0].ref in wanted:
            cut.setdefault(found[0].ref, []).append((*found, service))
    for places in cut.values():
        one, pod, part, first = places[0]
        names = listed(str(service.ref) for _, _, _, service in places)
        yield self.finding(
            one.ref,
            f"it makes clients speak the mesh's TLS (ISTIO_MUTUAL, host {one.text('spec.host')}) to {names}, "
            f"whose pods have no sidecar ({pod.name}): 503 (UF)",
            evidence=[one.evidence(f"{part}.mode"), pod.evidence("spec.containers[0].name")],
            fix=f"create in the client's namespace a DestinationRule for {first.name}.{first.namespace}.svc."
            f"{mesh.domain} without trafficPolicy (it hides this one), or inject the pods",
            verify=[
                commands.get(
                    kinds.POD, pod.namespace, "" if is_assumed(pod) else pod.name,
                    labels=pod.labels if is_assumed(pod) else None,
                    jsonpath=".items[*].spec.containers[*].name" if is_assumed(pod)
                    else ".spec.containers[*].name",
                    expect="no istio-proxy", match=Match.LACKS, value="istio-proxy",
                )
            ],
        )  # fmt: skip


def _mutual(one: Obj) -> bool:
    return "ISTIO_MUTUAL" in str(one.raw.get("spec"))


def _cut_off(world: World, mesh: Mesh, service: Obj) -> tuple[Obj, Obj, str] | None:
    """(rule, pod, field) where the rule for a Service speaks TLS to pods that cannot."""
    pods = pods_of(world, service)
    if not pods or any(is_gateway_pod(pod) or is_proxy(pod) or sidecar_likely(world, pod) for pod in pods):
        return None
    if not discovered(world, mesh, service.namespace):
        return None
    if not _called(world, mesh, service):
        return None
    known = of_service(mesh, service)
    rule_ = applied(world, mesh, known, service.namespace, {})
    for port in service_ports(service):
        setting = setting_of(rule_, port.port, "", "tls")
        if setting is not None and setting.value.get("mode") == "ISTIO_MUTUAL":
            return setting.obj, pods[0], setting.part
    return None


def _called(world: World, mesh: Mesh, service: Obj) -> bool:
    """Whether the mesh has clients for it: sidecars beside it, or a VirtualService that leads to it."""
    beside = world.all(kinds.POD, service.namespace)
    if any((is_proxy(pod) and not is_gateway_pod(pod)) or sidecar_likely(world, pod) for pod in beside):
        return True
    routes = world.all(kinds.VIRTUAL_SERVICE, optional=True)
    hosts = world.memo(
        "hosts of destinations",
        lambda: {item.full for route in routes for item in destinations(mesh, route)},
    )
    return f"{service.name}.{service.namespace}.svc.{mesh.domain}" in hosts
