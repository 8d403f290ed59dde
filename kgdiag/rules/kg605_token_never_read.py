"""Policy that asks for a token that nobody reads

## What it finds
An AuthorizationPolicy whose rules ask for `requestPrincipals` or `request.auth.*` on pods that no
RequestAuthentication selects.

## Why it matters
Without a RequestAuthentication no token is read: an ALLOW rule that asks for one never matches, a DENY rule
for requests without one denies all. Every request gets 403, with and without a token.

## How to prove it
`kubectl get requestauthentications -A` has none for these pods.

## How to fix it
Create a RequestAuthentication with the issuer, for the same pods.

## What it does not report
Policies with another ALLOW rule that can match; pods that could not be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kgdiag.dialects.istio.mesh import is_proxy, mesh_of
from kgdiag.graph.labels import subset_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import gone_or_unseen, mappings


@rule(
    "KG605", "token-never-read", Severity.ERROR,
    needs=(kinds.AUTHORIZATION_POLICY, kinds.REQUEST_AUTHENTICATION, kinds.POD),
    about=(kinds.AUTHORIZATION_POLICY,), equivalents=("IST0149",),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each policy whose tokens nobody reads."""
    root = mesh_of(world).root_namespace
    for policy in scope.all(world, kinds.AUTHORIZATION_POLICY):
        rules = policy.maps("spec.rules")
        if policy.items("spec.targetRefs") or not rules or not all(_asks(rule_) for rule_ in rules):
            continue
        selector = policy.mapping("spec.selector.matchLabels")
        where = None if policy.namespace == root else policy.namespace
        pods = [pod for pod in world.select(kinds.POD, where, selector) if is_proxy(pod)]
        bare = [pod for pod in pods if not _read(world, root, pod)]
        if not bare or len(bare) < len(pods):
            continue
        unseen = gone_or_unseen(world, kinds.REQUEST_AUTHENTICATION, policy.namespace, "any")[0]
        if unseen is Severity.ERROR:
            yield _finding(self, policy, bare[0])


def _asks(rule_: Mapping[str, Any]) -> bool:
    """Whether a rule asks for a token in every way that it can match."""
    sources = [item.get("source") for _, item in mappings(rule_.get("from"))]
    by_source = bool(sources) and all(
        isinstance(source, Mapping)
        and (source.get("requestPrincipals") or source.get("notRequestPrincipals"))
        for source in sources
    )
    return by_source or any(
        str(item.get("key") or "").startswith("request.auth.") for _, item in mappings(rule_.get("when"))
    )


def _read(world: World, root: str, pod: Obj) -> bool:
    """Whether some RequestAuthentication applies to a pod."""
    return any(
        one.items("spec.targetRefs") or subset_of(one.mapping("spec.selector.matchLabels"), pod.labels)
        for namespace in dict.fromkeys((root, pod.namespace))
        for one in world.all(kinds.REQUEST_AUTHENTICATION, namespace)
    )


def _finding(self: Rule, policy: Obj, pod: Obj) -> Finding:
    return self.finding(
        policy.ref,
        f"it asks for a token, and no RequestAuthentication reads one at {pod.name}: every request gets 403",
        evidence=[policy.evidence("spec.rules"), pod.evidence("metadata.labels")],
        fix=f"create in {pod.namespace} a RequestAuthentication for these pods with the token's issuer",
        verify=[
            commands.get(
                kinds.AUTHORIZATION_POLICY, policy.namespace, policy.name, jsonpath=".spec.rules",
                expect="rules that ask for a token", match=Match.CONTAINS, value="equest",
            )
        ],
    )  # fmt: skip
