"""Knative's local gateways: which Services the in-cluster names of Knative Services lead to."""

from __future__ import annotations

from kgdiag.dialects.knative import SYSTEM, configured_gateways
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.ref import Ref

_DEFAULT = Ref("", "Service", "istio-system", "knative-local-gateway")


def local_services(world: World) -> set[Ref]:
    """The Services of Knative's local gateways, by config-istio or by default."""
    config = world.get(kinds.CONFIG_MAP, SYSTEM, "config-istio", optional=True)
    named = {item.service for item in configured_gateways(config) if item.local} if config else set()
    return {ref for ref in named if ref is not None} or {_DEFAULT}
