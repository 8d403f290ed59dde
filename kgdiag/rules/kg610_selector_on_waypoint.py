"""Policy that selects a waypoint by its labels

## What it finds
An AuthorizationPolicy, RequestAuthentication or Telemetry whose selector matches pods of a waypoint only.

## Why it matters
Waypoints take policies by `targetRefs` alone: the policy does nothing.

## How to prove it
`istioctl x authz check POD -n NAMESPACE` does not list it.

## How to fix it
Name the waypoint's Gateway, or the Service, in `spec.targetRefs`.

## What it does not report
Gateways that are no waypoints: they still take selectors.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import is_waypoint
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import labels_text

_KINDS = (kinds.AUTHORIZATION_POLICY, kinds.REQUEST_AUTHENTICATION, kinds.TELEMETRY)


@rule(
    "KG610", "selector-on-waypoint", Severity.WARNING, needs=(kinds.POD,), about=_KINDS,
    equivalents=("IST0166", "KIA0110", "KIA1115"), reads=_KINDS,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such policy."""
    for kind in _KINDS:
        for policy in scope.all(world, kind):
            labels = policy.mapping("spec.selector.matchLabels")
            if not labels or policy.items("spec.targetRefs") or policy.mapping("spec.targetRef"):
                continue
            pods = world.select(kinds.POD, policy.namespace, labels)
            if not pods or not all(is_waypoint(pod) for pod in pods):
                continue
            gateway = str(pods[0].labels.get("gateway.networking.k8s.io/gateway-name") or "the waypoint")
            yield self.finding(
                policy.ref,
                f"its selector ({labels_text(labels)}) matches pods of waypoint {gateway} only, and "
                "waypoints take policies by targetRefs alone: it does nothing",
                evidence=[policy.evidence("spec.selector"), pods[0].evidence("metadata.labels")],
                fix=f"replace spec.selector by targetRefs [{{group: gateway.networking.k8s.io, "
                f"kind: Gateway, name: {gateway}}}]",
                verify=[
                    commands.get(
                        kind, policy.namespace, policy.name, jsonpath=".spec.targetRefs", expect="nothing",
                        match=Match.EQUALS, value="",
                    )
                ],
            )  # fmt: skip
