"""Gateway selector matches no gateway pod

## What it finds
An Istio Gateway whose `spec.selector` no gateway pod satisfies, in any namespace. Pods that the selector
does match but that run no gateway proxy do not count: Gateways program nothing else.

## Why it matters
No proxy opens the Gateway's ports. What sends requests there finds no listener (connection refused), or,
where another Gateway has the port, gets 404 with flag NR.

## How to prove it
`kubectl get pods -A -l SELECTOR` prints no gateway pod.

## How to fix it
Write the labels of the gateway pods. Istio's Helm chart `gateway` labels them `istio: RELEASE` without the
prefix `istio-`: a release `istio-ingress` gives `istio: ingress`, not the `istio: ingressgateway` of many
samples.

## What it does not report
Anything in files that are not a whole cluster: the gateway's Deployment is rarely among them.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import is_gateway_pod
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.patch import Patch, set_field
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known_everywhere, labels_text, listed
from kgdiag.rules.istio import gateway_pods


@rule(
    "KG107", "gateway-selects-nothing", Severity.ERROR, needs=(kinds.ISTIO_GATEWAY, kinds.POD),
    about=(kinds.ISTIO_GATEWAY,), equivalents=("IST0101", "KIA0302"),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Gateway without gateway pods."""
    for gateway in scope.all(world, kinds.ISTIO_GATEWAY):
        if gateway_pods(world, gateway) or not known_everywhere(world, kinds.POD):
            continue
        selector = gateway.mapping("spec.selector")
        others = world.select(kinds.POD, None, selector) if selector else []
        existing = _gateway_labels(world)
        why = (
            f"pod {others[0].namespace}/{others[0].name} has these labels but is no gateway proxy"
            if others
            else f"gateway pods have {listed(existing)}"
            if existing
            else "no pod is a gateway proxy"
        )
        yield self.finding(
            gateway.ref,
            f"no gateway pod has {labels_text(selector) or 'any label'}: {why}; no proxy opens its ports",
            evidence=[gateway.evidence("spec.selector")]
            + [pod.evidence("metadata.labels") for pod in others[:1]],
            fix=f"set spec.selector of {gateway.ref} to {existing[0]}"
            if existing
            else "install an ingress gateway (its pods must have these labels)",
            patch=_patch(gateway, existing) if not others else None,
            verify=[
                commands.get(
                    kinds.POD, None, labels=selector, names_only=True, expect="no pod", match=Match.EMPTY
                )
            ]
            if not others
            else [
                commands.get(
                    kinds.POD, others[0].namespace, others[0].name, jsonpath=".spec.containers[*].args",
                    expect="no proxy of role router", match=Match.LACKS, value="router",
                )
            ],
        )  # fmt: skip


def _patch(gateway: Obj, existing: list[str]) -> Patch | None:
    """The label of the only gateway pods that there are, where the Gateway asks for another value of it."""
    selector = gateway.mapping("spec.selector")
    key, _, value = (existing or [""])[0].partition("=")
    if len(existing) != 1 or list(selector) != [key]:
        return None
    return set_field(gateway, f"spec.selector['{key}']", value)


def _gateway_labels(world: World) -> list[str]:
    """The ``istio`` (else ``app``) labels of all gateway pods."""
    pods = world.all(kinds.POD, optional=True)

    def collect() -> list[str]:
        found: dict[str, None] = {}
        for pod in filter(is_gateway_pod, pods):
            key: str = "istio" if "istio" in pod.labels else "app"
            if key in pod.labels:
                found.setdefault(f"{key}={pod.labels[key]}")
        return sorted(found)

    return world.memo("gateway labels", collect)
