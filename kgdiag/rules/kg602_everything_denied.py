"""Workload on the path that denies every request

## What it finds
Pods with a proxy (gateways, and sidecars that a Service leads to from a gateway) to which ALLOW policies
apply, none of which has a rule: the default-deny pattern (`spec: {}`) without the ALLOW that the workload
needs.

## Why it matters
As soon as one ALLOW policy applies, what none of them matches is denied: every request gets 403
`RBAC: access denied`.

## How to prove it
`istioctl x authz check POD -n NAMESPACE` lists the policies; the proxy's log says `rbac_access_denied`.

## How to fix it
An ALLOW policy in the workload's namespace that selects it, with the rules that it needs (`rules: [{}]`
allows all).

## What it does not report
Workloads that nothing on a gateway leads to: a default deny is then as meant.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.gateway_api.backends import backend_refs
from kgdiag.dialects.istio.mesh import is_gateway_pod, is_proxy, mesh_of
from kgdiag.dialects.istio.security import attached_policies
from kgdiag.graph.core import is_assumed, pods_of, services_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Fault, Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import gone_or_unseen, listed, near, workload_name
from kgdiag.rules.istio import destinations, gateways_on


@rule(
    "KG602", "everything-denied", Severity.ERROR, needs=(kinds.AUTHORIZATION_POLICY, kinds.POD),
    about=(kinds.SERVICE,),
    reads=(kinds.SERVICE, kinds.ISTIO_GATEWAY, kinds.VIRTUAL_SERVICE, kinds.HTTP_ROUTE, *MESH_READS),
    names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Service whose pods deny all."""
    if not world.all(kinds.AUTHORIZATION_POLICY):
        return
    for service in scope.all(world, kinds.SERVICE):
        pods = [pod for pod in pods_of(world, service) if is_proxy(pod)]
        if not pods:
            continue
        pod = pods[0]
        if is_gateway_pod(pod):
            first = services_of(world, pod)[:1]
            if [item.ref for item in first] != [service.ref] or not gateways_on(world, pod):
                continue  # once for each set of gateway pods
        elif service.ref not in _routed(world):
            continue
        blockers = _blockers(world, pod)
        if blockers:
            yield _finding(self, service, pod, blockers, _meant(world, pod))


def _routed(world: World) -> set[Ref]:
    """The Services that a VirtualService or HTTPRoute leads to.

    Knative's Services have no selector: behind each stands the private one of the same revision.
    """
    mesh = mesh_of(world)
    routes = world.all(kinds.VIRTUAL_SERVICE, optional=True)
    http = world.all(kinds.HTTP_ROUTE, optional=True)
    services = world.all(kinds.SERVICE)

    def collect() -> set[Ref]:
        suffix = f".svc.{mesh.domain}"
        names = {item.full for route in routes for item in destinations(mesh, route)}
        pairs = [name[: -len(suffix)].split(".") for name in names if name.endswith(suffix)]
        found = {Ref("", "Service", pair[1], pair[0]) for pair in pairs if len(pair) == 2}
        for route in http:
            for number, _ in enumerate(route.items("spec.rules")):
                found.update(ref.ref for ref in backend_refs(route, number))
        for service in services:
            revision = service.labels.get("networking.internal.knative.dev/serverlessservice")
            private = service.labels.get("networking.internal.knative.dev/serviceType") == "Private"
            if revision and private and Ref("", "Service", service.namespace, str(revision)) in found:
                found.add(service.ref)
        return found

    return world.memo("Services that routes lead to", collect)


def _blockers(world: World, pod: Obj) -> list[Obj]:
    """The ALLOW policies of a pod where none of them has a rule, and none may be elsewhere."""
    mesh = mesh_of(world, pod)
    policies = [
        policy
        for policy in attached_policies(world, mesh, pod)
        if policy.text("spec.action", "ALLOW") == "ALLOW"
        and policy.annotations.get("istio.io/dry-run") != "true"
    ]
    if not policies or any(policy.items("spec.rules") for policy in policies):
        return []
    unseen = gone_or_unseen(world, kinds.AUTHORIZATION_POLICY, pod.namespace, "any")[0]
    return policies if unseen is Severity.ERROR else []


def _meant(world: World, pod: Obj) -> list[Fault]:
    """The ALLOW policies with rules that were perhaps meant for the pod and apply to none (KG601): of its
    labels in another namespace, or with all but one, or of a like value."""
    found: list[Fault] = []
    for policy in world.all(kinds.AUTHORIZATION_POLICY):
        selector = policy.mapping("spec.selector.matchLabels")
        if not selector or policy.text("spec.action", "ALLOW") != "ALLOW" or not policy.items("spec.rules"):
            continue
        other = [(key, value) for key, value in selector.items() if pod.labels.get(key) != value]
        if not other or (
            len(other) == 1
            and policy.namespace in (pod.namespace, mesh_of(world).root_namespace)
            and (len(selector) > 1 or near(str(other[0][1]), [str(pod.labels.get(other[0][0], ""))]))
        ):
            found.append(("policy for no pod", policy.ref))
    return found


def _finding(self: Rule, service: Obj, pod: Obj, blockers: list[Obj], meant: list[Fault]) -> Finding:
    first = blockers[0]
    names = listed(f"{policy.namespace}/{policy.name}" for policy in blockers)
    return self.finding(
        service.ref,
        f"every request gets 403 (RBAC: access denied): no ALLOW policy with rules selects {pod.name}, and "
        f"{names} (ALLOW without rules) denies the rest",
        evidence=[first.evidence("spec"), pod.evidence("metadata.labels")],
        fix=f"create in {pod.namespace} an AuthorizationPolicy for {workload_name(pod)} with the rules that "
        "it needs (rules: [{}] allows all)",
        follows=meant,
        verify=[
            commands.get(
                kinds.AUTHORIZATION_POLICY, first.namespace, first.name, jsonpath=".spec.rules",
                expect="no rules", match=Match.EQUALS, value="",
            ),
            commands.get(
                kinds.POD, pod.namespace, "" if is_assumed(pod) else pod.name, names_only=True,
                labels=pod.labels if is_assumed(pod) else None, expect="the pod", match=Match.ANY,
            ),
        ],
    )  # fmt: skip
