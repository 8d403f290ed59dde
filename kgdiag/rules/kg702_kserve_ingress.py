"""KServe's ingress configuration names what does not exist

## What it finds
The key `ingress` of KServe's ConfigMap `inferenceservice-config`: not JSON, without the required
`ingressGateway`, or naming a Gateway or a Service that is not there, or a Service that is not the one in
front of the local gateway which Knative uses.

## Why it matters
KServe writes these names into the VirtualService (or HTTPRoute) of every InferenceService: with a missing
gateway they get 404, with a missing Service the in-cluster name of every model leads nowhere.

## How to prove it
`kubectl get cm inferenceservice-config -n kserve -o jsonpath='{.data.ingress}'`

## How to fix it
Correct the key that is named and restart the KServe controller.

## What it does not report
Objects that are not in files that are not a whole cluster (a fact).
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.kserve import config_map, ingress_config
from kgdiag.graph.core import cluster_name
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import gone_or_unseen, namesakes, prove_config, prove_gone

_GATEWAYS = (
    ("ingressGateway", kinds.ISTIO_GATEWAY, "requests for InferenceServices from outside get 404"),
    ("localGateway", kinds.ISTIO_GATEWAY, "requests for InferenceServices from inside get 404"),
    ("kserveIngressGateway", kinds.GATEWAY, "no HTTPRoute of an InferenceService is attached"),
)
_SERVICES = ("localGatewayService", "knativeLocalGatewayService")


@rule(
    "KG702", "kserve-ingress", Severity.ERROR, needs=(kinds.SERVICE,), about=(kinds.CONFIG_MAP,),
    reads=(kinds.CONFIG_MAP, kinds.ISTIO_GATEWAY),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each name in the configuration that leads nowhere."""
    config = config_map(world)
    if config is None or not _in_scope(scope, config):
        return
    ingress = ingress_config(config)
    if ingress.problem:
        if config.get(("data", "ingress")) is not None:
            yield self.finding(
                config.ref,
                f"{ingress.problem}: KServe's controller fails for every InferenceService",
                evidence=[config.evidence("data.ingress")],
                fix="write the key ingress as one JSON object",
                verify=[prove_config(config, "ingress")],
            )
        return
    modern = ingress.values.get("enableGatewayApi") is True
    for key, kind, lost in _GATEWAYS:
        if (kind == kinds.GATEWAY) != modern and key != "localGateway":
            continue
        namespace, slash, name = str(ingress.values.get(key) or "").partition("/")
        if slash and (modern is False or kind == kinds.GATEWAY):
            yield from _named(self, world, config, key, kind, namespace, name, lost)
    if modern:
        return
    for key in _SERVICES:
        named = cluster_name(str(ingress.values.get(key) or "").rstrip("."))
        if named:
            lost = "the in-cluster name of every InferenceService leads nowhere"
            yield from _named(self, world, config, key, kinds.SERVICE, named[1], named[0], lost)


def _in_scope(scope: Scope, config: Obj) -> bool:
    if scope.objects:
        return config.ref in scope.objects
    return scope.namespaces is None or config.namespace in scope.namespaces


def _named(
    self: Rule, world: World, config: Obj, key: str, kind: Kind, namespace: str, name: str, lost: str
) -> Iterable[Finding]:
    if world.get(kind, namespace, name) is not None:
        return
    severity, words = gone_or_unseen(world, kind, namespace, name)
    if severity is None:
        return
    others = namesakes(world, kind, name)
    hint = f"; one of that name is in {others[0].namespace}" if others else ""
    yield self.finding(
        config.ref,
        f"{key}: {kind.name} {namespace}/{name} {words}"
        + (f": {lost}" if severity is Severity.ERROR else "")
        + hint,
        severity=severity,
        evidence=[config.evidence("data.ingress")],
        causes=[("missing", Ref(kind.group, kind.name, namespace, name))],
        follows=[("missing", Ref(kind.group, kind.name, namespace, name))],
        fix=f"set {key} to {others[0].namespace}/{name}" if others else f"set {key} to what exists",
        verify=[prove_gone(kind, namespace, name)] if severity is Severity.ERROR else [],
    )
