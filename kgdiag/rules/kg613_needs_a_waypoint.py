"""L7 rule for the ambient mesh without a waypoint

## What it finds
- An AuthorizationPolicy with methods, paths, hosts or token claims that applies, by selector or by namespace,
  to pods of the ambient mesh.
- A RequestAuthentication for such pods.
- A VirtualService for sidecars, or a DestinationRule that no gateway uses, whose host is a Service of the
  ambient mesh without a waypoint, or whose namespace is another than the Service's, where no pod has a
  sidecar.

## Why it matters
ztunnel knows addresses and identities, not requests: of an ALLOW policy it drops the rules with L7 fields, so
that nothing matches and connections are refused; VirtualServices, DestinationRules and tokens it does not
look at.

## How to prove it
`istioctl ztunnel-config policies`; the policy's condition `ZtunnelAccepted` is False.

## How to fix it
A waypoint (`istioctl waypoint apply`) and `targetRefs` to it or to the Service.

## What it does not report
Policies with targetRefs, and Services whose waypoint is named. Meshes with sidecars beside, whose clients
apply VirtualServices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kgdiag.dialects.istio.destination_rules import host_of
from kgdiag.dialects.istio.mesh import has_sidecar, mesh_of
from kgdiag.dialects.istio.routes import gateways_of, hosts_of
from kgdiag.graph.core import pods_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Evidence, Obj
from kgdiag.rules.ambient import MODE, in_ambient, waypoint_of
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import mappings, prove_field
from kgdiag.rules.istio import destinations, services_named

_RULES = (kinds.VIRTUAL_SERVICE, kinds.DESTINATION_RULE)
_OPERATION = ("hosts", "notHosts", "methods", "notMethods", "paths", "notPaths")
_SOURCE = ("requestPrincipals", "notRequestPrincipals", "remoteIpBlocks", "notRemoteIpBlocks")


@rule(
    "KG613", "needs-a-waypoint", Severity.WARNING, needs=(kinds.NAMESPACE, kinds.POD),
    about=(kinds.AUTHORIZATION_POLICY, kinds.REQUEST_AUTHENTICATION, *_RULES),
    equivalents=("KIA0109", "KIA0210", "KIA0211", "KIA0212", "KIA1109", "KIA1110", "KIA1113", "KIA1114",
                 "KIA1317"),
    reads=(kinds.AUTHORIZATION_POLICY, kinds.REQUEST_AUTHENTICATION, *_RULES, kinds.HTTP_ROUTE,
           kinds.SERVICE, kinds.SERVICE_ENTRY, *MESH_READS),
    names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each object that ztunnel does not apply."""
    pods = world.all(kinds.POD)
    namespaces = world.all(kinds.NAMESPACE)
    if not any(item.labels.get(MODE) == "ambient" for item in (*namespaces, *pods)):
        return
    for policy in scope.all(world, kinds.AUTHORIZATION_POLICY):
        field = _l7(policy)
        pod = _ambient_pod(world, policy) if field else None
        if field and pod is not None:
            action = policy.text("spec.action", "ALLOW")
            does = "it lets nobody in" if action == "ALLOW" else f"it {action.lower()}s other than it says"
            words = (
                f"{field} is of requests, and ztunnel, which enforces it for {pod.name}, knows none: {does}"
            )
            yield _finding(self, policy, words, policy.evidence(field), ("KIA0109", "KIA1317"))
    for token in scope.all(world, kinds.REQUEST_AUTHENTICATION):
        pod = _ambient_pod(world, token)
        if pod is not None:
            words = f"ztunnel, which is all that stands before {pod.name}, reads no tokens: it does nothing"
            yield _finding(self, token, words, token.evidence("spec.jwtRules"), ("KIA1110",))
    if not world.memo("any sidecar", lambda: any(has_sidecar(world, pod) for pod in pods)):
        for route in scope.all(world, kinds.VIRTUAL_SERVICE):
            yield from _route(self, world, route)
        for one in scope.all(world, kinds.DESTINATION_RULE):
            yield from _destination_rule(self, world, one)


def _l7(policy: Obj) -> str:
    """The first field of a policy that needs requests, "" where it has none."""
    for number, item in mappings(policy.get("spec.rules")):
        part = f"spec.rules[{number}]"
        for where, inner, names in (("to", "operation", _OPERATION), ("from", "source", _SOURCE)):
            for at, entry in mappings(item.get(where)):
                settings = entry.get(inner)
                if isinstance(settings, Mapping):
                    for name in names:
                        if settings.get(name):
                            return f"{part}.{where}[{at}].{inner}.{name}"
        for at, when in mappings(item.get("when")):
            if str(when.get("key")).startswith("request."):
                return f"{part}.when[{at}]"
    return ""


def _ambient_pod(world: World, policy: Obj) -> Obj | None:
    """A pod of the ambient mesh that a policy without targetRefs applies to."""
    if policy.items("spec.targetRefs") or policy.mapping("spec.targetRef"):
        return None
    root = policy.namespace == mesh_of(world).root_namespace
    labels: Mapping[str, Any] = policy.mapping("spec.selector.matchLabels")
    place = None if root else policy.namespace
    return next((pod for pod in world.select(kinds.POD, place, labels) if in_ambient(world, pod)), None)


def _route(self: Rule, world: World, route: Obj) -> Iterable[Finding]:
    if "mesh" not in gateways_of(route):
        return
    mesh = mesh_of(world)
    for host in hosts_of(route, mesh):
        for found in services_named(world, mesh, host.lower())[:1]:
            service = found.obj
            if not found.kubernetes or not any(in_ambient(world, pod) for pod in pods_of(world, service)):
                continue
            if waypoint_of(world, service) is None:
                words = f"{service.ref} is in the ambient mesh without a waypoint: nobody applies it"
                yield _finding(self, route, words, route.evidence("spec.hosts"), ("KIA1109", "KIA1113"))
            elif service.namespace != route.namespace:
                words = f"the waypoint of {service.ref} takes VirtualServices of {service.namespace} only"
                yield _finding(self, route, words, route.evidence("metadata.namespace"), ("KIA1114",))


def _destination_rule(self: Rule, world: World, one: Obj) -> Iterable[Finding]:
    mesh = mesh_of(world)
    host = host_of(mesh, one).lower()
    entered = {
        item.full
        for route in world.all(kinds.VIRTUAL_SERVICE)
        if gateways_of(route) != ("mesh",)
        for item in destinations(mesh, route)
    }
    if host in entered or world.all(kinds.HTTP_ROUTE, optional=True) or host.startswith("*"):
        return  # the gateway's own proxy applies it
    for found in services_named(world, mesh, host)[:1]:
        service = found.obj
        if not found.kubernetes or not any(in_ambient(world, pod) for pod in pods_of(world, service)):
            continue
        if waypoint_of(world, service) is None:
            words = f"{service.ref} is in the ambient mesh without a waypoint: nobody applies it"
            yield _finding(self, one, words, one.evidence("spec.host"), ("KIA0210", "KIA0211"))
        elif one.namespace not in (service.namespace, mesh.root_namespace):
            words = f"the waypoint of {service.ref} takes DestinationRules of {service.namespace} only"
            yield _finding(self, one, words, one.evidence("metadata.namespace"), ("KIA0212",))


def _finding(self: Rule, obj: Obj, words: str, fact: Evidence, codes: tuple[str, ...]) -> Finding:
    return self.finding(
        obj.ref,
        words,
        evidence=[fact],
        fix="create a waypoint and name it (or the Service) in spec.targetRefs"
        if obj.kind not in _RULES
        else "give the Service a waypoint (istio.io/use-waypoint), and keep this beside it",
        equivalents=codes,
        verify=[
            commands.get(
                obj.kind, obj.namespace, obj.name, jsonpath=".spec.targetRefs", expect="nothing",
                match=Match.EQUALS, value="",
            )
            if obj.kind not in _RULES
            else prove_field(obj, ".metadata.namespace", obj.namespace, "its namespace")
        ],
    )  # fmt: skip
