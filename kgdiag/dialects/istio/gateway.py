"""Istio Gateways, lowered to the proxy that runs in a gateway pod."""

from __future__ import annotations

from kgdiag.graph.world import World
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Proxy


def gateway_proxy(world: World, pod: Obj) -> Proxy | None:
    """The gateway proxy of a pod, None where it is none."""
    return None
