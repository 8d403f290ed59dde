"""Policy that applies to no workload

## What it finds
An AuthorizationPolicy, PeerAuthentication or RequestAuthentication whose selector no pod satisfies: in its
own namespace, or anywhere for a policy of the root namespace. The nearest miss is named: the label that
differs, and pods with the labels in another namespace.

## Why it matters
The policy does nothing: what it was to allow stays denied, or what it was to protect stays open. A policy
in the application's namespace never applies to the ingress gateway, whose pods are in another.

## How to prove it
`kubectl get pods -n NAMESPACE -l SELECTOR` prints nothing.

## How to fix it
Write the labels of the pods, in the namespace of the pods.

## What it does not report
Policies with `targetRefs`, policies without a selector, and files that do not hold the namespace. Workloads
that are scaled to zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.graph.labels import subset_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known_everywhere, labels_text, near, prove_no_pods

_KINDS = (kinds.AUTHORIZATION_POLICY, kinds.PEER_AUTHENTICATION, kinds.REQUEST_AUTHENTICATION)
_WORKLOADS = (kinds.DEPLOYMENT, kinds.STATEFUL_SET)


@rule(
    "KG601", "policy-selects-nothing", Severity.WARNING, needs=(kinds.POD,), about=_KINDS,
    equivalents=("IST0127", "KIA0004"),
    reads=(kinds.STATEFUL_SET, kinds.AUTHORIZATION_POLICY, kinds.PEER_AUTHENTICATION,
           kinds.REQUEST_AUTHENTICATION, *MESH_READS),
    names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each policy without workloads."""
    root = mesh_of(world).root_namespace
    for kind in _KINDS:
        for policy in scope.all(world, kind):
            selector = policy.mapping("spec.selector.matchLabels")
            if not selector:
                continue
            where = None if policy.namespace == root else policy.namespace
            if world.select(kinds.POD, where, selector) or not known_everywhere(world, kinds.POD):
                continue
            if not _asleep(world, where, selector):
                yield _finding(self, world, policy, selector, where)


def _asleep(world: World, where: str | None, selector: Mapping[str, str]) -> bool:
    return any(
        subset_of(selector, obj.mapping("spec.template.metadata.labels"))
        for kind in _WORKLOADS
        for obj in world.all(kind, where, optional=True)
    )


def _finding(
    self: Rule, world: World, policy: Obj, selector: Mapping[str, str], where: str | None
) -> Finding:
    place = f"in {where}" if where else "in any namespace"
    why, fix = _near(world, policy, selector, where)
    return self.finding(
        policy.ref,
        f"no pod {place} has {labels_text(selector)}{why}: the policy does nothing",
        evidence=[policy.evidence("spec.selector")],
        causes=[("policy for no pod", policy.ref)],
        fix=fix,
        verify=[prove_no_pods(where, selector)]
        if where
        else [
            commands.get(
                kinds.POD, None, labels=selector, names_only=True, expect="no pod", match=Match.EMPTY
            )
        ],
    )  # fmt: skip


def _near(world: World, policy: Obj, selector: Mapping[str, str], where: str | None) -> tuple[str, str]:
    elsewhere = world.select(kinds.POD, None, selector) if where else []
    if elsewhere:
        there = elsewhere[0].namespace
        return f" (such pods are in {there})", f"create the policy in {there}"
    pods = world.all(kinds.POD, where)
    for key, value in selector.items():
        rest = {name: wanted for name, wanted in selector.items() if name != key}
        if rest and (found := world.select(kinds.POD, where, rest)):
            has = found[0].labels.get(key)
            return f" ({found[0].name} has {key}={has})", f"set {key} to {has}"
        values = {str(pod.labels[key]) for pod in pods if key in pod.labels}
        if guess := near(str(value), values):
            return f"; did you mean {key}={guess[0]}?", f"set spec.selector.matchLabels.{key} to {guess[0]}"
    return "", "correct spec.selector.matchLabels, or remove the policy"
