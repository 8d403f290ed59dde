"""Knative's configured gateway does not exist

## What it finds
A Gateway or its Service that Knative's ConfigMap `config-istio` names and that is not there; old keys
(`gateway.NS.NAME`) and new ones (`external-gateways`) mixed, which Knative refuses; an edit below
`_example`, which nobody reads.

## Why it matters
Knative writes the name into every VirtualService that it makes: they bind to nothing, and all Knative
Services get 404, or stay `Uninitialized`.

## How to prove it
`kubectl get cm config-istio -n knative-serving -o yaml`, then the Gateway and the Service that it names.

## How to fix it
Name the Gateway and the Service that exist; Knative Services are reconciled after the change.

## What it does not report
Objects that are not in files that are not a whole cluster (a fact).
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.knative import SYSTEM, ConfiguredGateway, configured_gateways
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import config_in_scope, gone_or_unseen, namesakes, prove_config, prove_gone

_NEW = ("external-gateways", "local-gateways")


@rule(
    "KG701", "knative-gateways", Severity.ERROR, needs=(kinds.ISTIO_GATEWAY, kinds.SERVICE),
    about=(kinds.CONFIG_MAP,),
    names=(kinds.CONFIG_MAP,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each gateway of the configuration that is not there."""
    config = config_in_scope(world, scope, SYSTEM, "config-istio")
    if config is None:
        return
    keys = [key for key in config.mapping("data") if key != "_example"]
    old = [key for key in keys if key.startswith(("gateway.", "local-gateway."))]
    new = [key for key in keys if key in _NEW]
    if old and new:
        yield self.finding(
            config.ref,
            f"it mixes old keys ({old[0]}) with new ones ({new[0]}): Knative refuses the whole ConfigMap and "
            "keeps what it had",
            evidence=[config.evidence(f"data['{old[0]}']"), config.evidence(f"data['{new[0]}']")],
            fix=f"remove {', '.join(old)}, or {', '.join(new)}",
            verify=[prove_config(config, old[0])],
        )
        return
    for item in configured_gateways(config):
        yield from _gateway(self, world, config, item)


def _gateway(self: Rule, world: World, config: Obj, item: ConfiguredGateway) -> Iterable[Finding]:
    which = "local" if item.local else "external"
    gateway = item.gateway
    if world.get(kinds.ISTIO_GATEWAY, gateway.namespace, gateway.name) is None:
        severity, words = gone_or_unseen(world, kinds.ISTIO_GATEWAY, gateway.namespace, gateway.name)
        if severity is not None:
            others = namesakes(world, kinds.ISTIO_GATEWAY, gateway.name)
            hint = f"; one of that name is in {others[0].namespace}" if others else ""
            lost = ": every Knative Service gets 404 there" if severity is Severity.ERROR else ""
            yield self.finding(
                config.ref,
                f"{which} {gateway} {words}{lost}{hint}",
                severity=severity,
                evidence=[config.evidence(item.field)],
                fix=f"name an existing Gateway in {item.field}",
                causes=[("missing", gateway)],
                verify=[prove_gone(kinds.ISTIO_GATEWAY, gateway.namespace, gateway.name)]
                if severity is Severity.ERROR
                else [],
            )
    service = item.service
    if service is None or world.get(kinds.SERVICE, service.namespace, service.name):
        return
    severity, words = gone_or_unseen(world, kinds.SERVICE, service.namespace, service.name)
    if severity is not None:
        lost = (
            ": the in-cluster names of Knative Services lead to it"
            if item.local
            else ": Knative publishes its address"
        )
        yield self.finding(
            config.ref,
            f"{service} of the {which} gateway {words}{lost if severity is Severity.ERROR else ''}",
            severity=severity,
            evidence=[config.evidence(item.field)],
            fix=f"name the Service in front of {gateway} in {item.field}",
            causes=[("missing", service)],
            verify=[prove_gone(kinds.SERVICE, service.namespace, service.name)]
            if severity is Severity.ERROR
            else [],
        )
