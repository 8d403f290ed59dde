"""From a Provider to what a Dialect is asked for: proxies of pods and of Gateway objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from kgdiag.dialects.gateway_api import listeners
from kgdiag.dialects.gateway_api.provider import Place, Provider, implementation
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Proxy
from kgdiag.model.ref import Ref


class Hooks(TypedDict):
    """The fields of a Dialect that a Provider fills."""

    proxy_of: Callable[[World, Obj], Proxy | None]
    gateway_proxy: Callable[[World, Obj], Proxy | None]
    data_plane: Callable[[World, Obj], tuple[Ref, ...]]


def hooks(provider: Provider) -> Hooks:
    """The functions of a Dialect for one implementation."""
    return {
        "proxy_of": lambda world, pod: proxy_of(world, provider, pod),
        "gateway_proxy": lambda world, gateway: virtual_proxy(world, provider, gateway),
        "data_plane": lambda world, gateway: services(world, provider, gateway),
    }


def proxy_of(world: World, provider: Provider, pod: Obj) -> Proxy | None:
    """The proxy of a pod that this implementation runs, None for every other pod."""
    refs = provider.gateways_of(world, pod)
    if refs is None:
        return None
    found = [(ref, world.get(kinds.GATEWAY, ref.namespace, ref.name)) for ref in refs]
    unknown = None
    for ref, gateway in found:
        missing = world.missing(kinds.GATEWAY, ref.namespace, ref.name) if gateway is None else None
        if missing in (Missing.UNREADABLE, Missing.NOT_IN_FILES):
            unknown = f"{ref} {missing.value}"
    gateways = tuple(gateway for _, gateway in found if gateway is not None)
    return listeners.proxy(Place(world, provider, gateways, pod), pod.ref, unknown=unknown)


def virtual_proxy(world: World, provider: Provider, gateway: Obj) -> Proxy | None:
    """The proxy that a Gateway gets, whether or not any pod of it is known; None for Gateways of others.

    Its ``pod`` is a pod of the data plane where there is one, else the workload that would run it.
    """
    if gateway.kind != kinds.GATEWAY or implementation(world, gateway).provider is not provider:
        return None
    plane = provider.data_plane(world, gateway)
    if plane is None:
        return None
    pod = plane.pods[0] if plane.pods else None
    gateways = provider.shared(world, gateway)
    return listeners.proxy(Place(world, provider, gateways, pod), pod.ref if pod else plane.workload)


def services(world: World, provider: Provider, gateway: Obj) -> tuple[Ref, ...]:
    """The Services before a Gateway's proxies, existing or not."""
    if gateway.kind != kinds.GATEWAY or implementation(world, gateway).provider is not provider:
        return ()
    plane = provider.data_plane(world, gateway)
    return plane.services if plane else ()
