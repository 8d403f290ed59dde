"""Plaintext client of pods that demand mTLS

## What it finds
Pods with a sidecar whose PeerAuthentication is STRICT on a port, reached by a client that cannot speak the
mesh's TLS:

- a Gateway API gateway of an implementation without a mesh identity (Envoy Gateway, kgateway) with a route
  to them;
- a Service of type NodePort or LoadBalancer, whose clients come from outside (warning);
- an Istio client that a DestinationRule tells to speak plaintext (`tls.mode: DISABLE`).

## Why it matters
The sidecar resets the connection: 503 with flag UC or UF at the gateway, `Empty reply` or `connection
reset` outside.

## How to prove it
`kubectl get peerauthentications -A` shows STRICT for the namespace or the mesh; the client's pod has no
`istio-proxy` container.

## How to fix it
PERMISSIVE for that port (`portLevelMtls`), or an entry through Istio's own gateway.

## What it does not report
Istio's gateways and sidecars without such a rule: they speak mTLS by themselves. Pods without a sidecar.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.gateway_api.attach import attachments
from kgdiag.dialects.gateway_api.backends import backend_refs, resolve
from kgdiag.dialects.istio.destination_rules import applied, host_of, setting_of
from kgdiag.dialects.istio.mesh import is_gateway_pod, is_proxy, mesh_of
from kgdiag.dialects.istio.registry import of_service
from kgdiag.dialects.istio.security import STRICT, peer_mode
from kgdiag.graph.core import ServicePort, pods_of, resolve_target, service_ports
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Finding, Match, Severity
from kgdiag.model.obj import Evidence, Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import port_text
from kgdiag.rules.istio import services_named, sidecar_likely

_ROUTES = (kinds.HTTP_ROUTE, kinds.GRPC_ROUTE)
_MESHLESS = ("envoy-gateway", "kgateway")


@rule(
    "KG505", "plain-to-strict", Severity.ERROR,
    needs=(kinds.PEER_AUTHENTICATION, kinds.SERVICE, kinds.POD),
    about=(kinds.SERVICE, kinds.DESTINATION_RULE, *_ROUTES), equivalents=("KIA0207",),
    reads=(kinds.GRPC_ROUTE, kinds.HTTP_ROUTE, kinds.DESTINATION_RULE, kinds.SERVICE_ENTRY, *MESH_READS),
    names=(kinds.GATEWAY, kinds.GATEWAY_CLASS, *MESH_NAMES),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each plaintext way to pods that refuse it."""
    if not world.all(kinds.PEER_AUTHENTICATION):
        return
    for service in scope.all(world, kinds.SERVICE):
        yield from _from_outside(self, world, service)
    for kind in _ROUTES:
        for route in scope.all(world, kind):
            yield from _by_gateway(self, world, route)
    for one in scope.all(world, kinds.DESTINATION_RULE):
        if "DISABLE" in str(one.raw.get("spec")):
            yield from _by_rule(self, world, one)


def _strict(world: World, service: Obj, port: ServicePort) -> tuple[Obj, int, tuple[Evidence, ...]] | None:
    """(pod, its port, evidence) where all pods of a Service port refuse plaintext."""
    found = None
    for pod in pods_of(world, service):
        target = resolve_target(pod, port)
        if is_gateway_pod(pod) or not (is_proxy(pod) or sidecar_likely(world, pod)) or target is None:
            return None
        mode, origin = peer_mode(world, mesh_of(world, pod), pod, target)
        if mode != STRICT:
            return None
        found = found or (pod, target, origin.evidence if origin else ())
    return found


def _from_outside(self: Rule, world: World, service: Obj) -> Iterable[Finding]:
    kind = service.text("spec.type", "ClusterIP")
    if kind not in ("NodePort", "LoadBalancer"):
        return
    for port in service_ports(service):
        found = _strict(world, service, port)
        if found is None:
            continue
        pod, target, evidence = found
        yield self.finding(
            service.ref,
            f"port {port_text(port)} is open to the outside ({kind}), and {pod.name}:{target} demands mTLS "
            "(STRICT): clients without a mesh certificate are reset",
            severity=Severity.WARNING,
            evidence=[service.evidence("spec.type"), *evidence],
            fix=f"enter through the mesh's gateway, or set portLevelMtls {target}: PERMISSIVE",
            verify=[_prove(evidence)],
        )
        return


def _by_gateway(self: Rule, world: World, route: Obj) -> Iterable[Finding]:
    providers = {
        item.gateway.ref: item.provider
        for item in attachments(world, route)
        if item.gateway is not None and item.accepted and item.provider is not None
    }
    outside = [ref for ref, provider in providers.items() if provider.name in _MESHLESS]
    if not outside:
        return
    for number, _ in enumerate(route.items("spec.rules")):
        for ref in backend_refs(route, number):
            backend = resolve(world, ref)
            if backend.service is None or backend.port is None:
                continue
            found = _strict(world, backend.service, backend.port)
            if found is not None:
                pod, target, evidence = found
                yield self.finding(
                    route.ref,
                    f"client {outside[0]} has no mesh identity, and {pod.name}:{target} behind "
                    f"{backend.service.ref} demands mTLS (STRICT): connections are reset, 503",
                    evidence=[route.evidence(ref.part), *evidence],
                    fix=f"set portLevelMtls {target}: PERMISSIVE for the pods of {backend.service.ref}, "
                    "or put the gateway into the mesh",
                    verify=[_prove(evidence)],
                )


def _by_rule(self: Rule, world: World, one: Obj) -> Iterable[Finding]:
    mesh = mesh_of(world)
    for service in _meant(world, one):
        choice = applied(world, mesh, of_service(mesh, service), service.namespace, {})
        if choice is None or one.ref not in {obj.ref for obj in choice.objs}:
            continue
        for port in service_ports(service):
            setting = setting_of(choice, port.port, "", "tls")
            found = _strict(world, service, port) if setting else None
            if setting is None or found is None or setting.value.get("mode") != "DISABLE":
                continue
            pod, target, evidence = found
            yield self.finding(
                one.ref,
                f"it makes clients speak plaintext (DISABLE) to {service.ref}, and {pod.name}:{target} "
                "demands mTLS (STRICT): connections are reset, 503 (UC)",
                evidence=[one.evidence(f"{setting.part}.mode"), *evidence],
                fix=f"remove {setting.part} of {one.ref} (mTLS is then chosen by itself)",
                verify=[_prove(evidence)],
            )
            return


def _meant(world: World, one: Obj) -> list[Obj]:
    """The Services that a rule's host covers."""
    mesh = mesh_of(world)
    host = host_of(mesh, one).lower()
    if not host.startswith("*"):
        return [found.obj for found in services_named(world, mesh, host) if found.kubernetes]
    every = world.all(kinds.SERVICE)
    return [item for item in every if f"{item.name}.{item.namespace}.svc.{mesh.domain}".endswith(host[1:])]


def _prove(evidence: tuple[Evidence, ...]) -> Command:
    ref = evidence[0].object if evidence else None
    return commands.get(
        kinds.PEER_AUTHENTICATION, ref.namespace if ref else None, ref.name if ref else "",
        jsonpath=".spec" if ref else ".items[*].spec", expect="STRICT", match=Match.CONTAINS, value="STRICT",
    )  # fmt: skip
