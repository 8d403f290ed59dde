"""Cluster-local traffic that passes the external gateway's authorization

## What it finds
The Service of Knative's local gateway (`knative-local-gateway`) that leads to pods on which a CUSTOM
AuthorizationPolicy (an external authorizer, as oauth2-proxy) applies, because they are the ingress
gateway's pods.

## Why it matters
Requests between Services inside the cluster have no login session: the authorizer redirects or refuses them
(302, 403), and the prober of Knative may get the same answer.

## How to prove it
`kubectl get authorizationpolicies -n istio-system` shows action CUSTOM for these pods.

## How to fix it
Give the local gateway pods of its own, as Kubeflow's overlay `knative-serving/overlays/gateways` does, or
exempt the inside hosts in the policy.

## What it does not report
CUSTOM policies that name hosts or ports other than the inside ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.security import attached_policies
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import mappings, prove_field, workload_name
from kgdiag.rules.istio import gateway_pods_of
from kgdiag.rules.local_gateway import local_services


@rule(
    "KG709", "inside-through-external-auth", Severity.WARNING,
    needs=(kinds.SERVICE, kinds.POD, kinds.AUTHORIZATION_POLICY), about=(kinds.SERVICE,),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each local gateway behind an external authorizer."""
    wanted = local_services(world)
    for service in scope.all(world, kinds.SERVICE):
        if service.ref not in wanted:
            continue
        for pod in gateway_pods_of(world, service)[:1]:
            for policy in attached_policies(world, mesh_of(world, pod), pod):
                if policy.text("spec.action") != "CUSTOM" or _narrowed(policy):
                    continue
                yield self.finding(
                    service.ref,
                    f"cluster-local traffic enters {workload_name(pod)} pods, where {policy.ref} asks an "
                    "external authorizer: requests from inside get 302 or 403",
                    evidence=[service.evidence("spec.selector"), policy.evidence("spec.action")],
                    fix="give the local gateway its own pods (Kubeflow: knative-serving/overlays/gateways), "
                    f"or exempt the inside hosts in {policy.ref}",
                    verify=[prove_field(policy, ".spec.action", "CUSTOM", "CUSTOM")],
                )


def _narrowed(policy: Obj) -> bool:
    """Whether every rule asks for hosts or ports, so that inside requests may be left out."""
    rules = policy.maps("spec.rules")
    return bool(rules) and all(
        any(
            isinstance(item.get("operation"), dict)
            and any(item["operation"].get(key) for key in ("hosts", "notHosts", "ports", "notPorts"))
            for _, item in mappings(rule_.get("to"))
        )
        for rule_ in rules
    )
