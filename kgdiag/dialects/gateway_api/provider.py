"""What an implementation of the Gateway API does its own way, and which implementation a Gateway has.

``Provider`` itself is what the specification says; each implementation is a subclass that overrides only
where it differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from kgdiag.dialects.gateway_api.hostnames import covers, intersect
from kgdiag.dialects.gateway_api.spec import ListenerSpec
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import (
    Cluster,
    Excluded,
    HttpConnections,
    HttpFilter,
    Route,
    RouteConfig,
    TlsMode,
    WeightedCluster,
)
from kgdiag.model.ref import Ref

if TYPE_CHECKING:
    from kgdiag.dialects.gateway_api.routes import Match

MODULES = ("envoy_gateway", "kgateway", "istio_gateway_api")


@dataclass(frozen=True)
class DataPlane:
    """The proxies of a Gateway: the Service before them and the workload that runs them, existing or not.

    ``services`` are those that exist (or were named by the Gateway itself), else the one that would be.
    """

    workload: Ref
    services: tuple[Ref, ...]
    pods: tuple[Obj, ...] = ()
    namespace: str = ""
    service_account: str = ""
    service: Obj | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Place:
    """Where something is lowered: for which Gateways' proxy, in which pod (None: no pod is known)."""

    world: World
    provider: Provider
    gateways: tuple[Obj, ...]
    pod: Obj | None = None


@dataclass(frozen=True)
class Placed:
    """A match of a route on a listener."""

    listener: ListenerSpec
    match: Match


class Provider:
    """The specification's own behaviour; see the implementations for what differs.

    Source: gateway-api apis/v1/httproute_types.go and gateway_types.go.
    """

    name = "gateway-api"
    title = "Gateway API"
    controllers: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()  # names of the classes that it makes itself
    keeps_port = False  # whether a TCP or TLS listener without routes listens, to close connections

    # -- the proxies -----------------------------------------------------------------------------------

    def data_plane(self, world: World, gateway: Obj) -> DataPlane | None:
        """The proxies of a Gateway, None where it is not known how they are named."""
        return None

    def gateways_of(self, world: World, pod: Obj) -> tuple[Ref, ...] | None:
        """The Gateways whose proxy a pod is, by its labels alone; None where it is none of this one's."""
        return None

    def shared(self, world: World, gateway: Obj) -> tuple[Obj, ...]:
        """The Gateways that share a proxy with this one, itself among them, oldest first."""
        return (gateway,)

    def container_port(self, place: Place, listener: ListenerSpec) -> int:
        """The port of the pod on which a listener listens."""
        return listener.port

    def identity(self, place: Place) -> str | None:
        """The mesh principal that the proxy presents."""
        return None

    # -- listeners -------------------------------------------------------------------------------------

    def conflicts(self, listeners: Sequence[ListenerSpec]) -> dict[int, str]:
        """Indexes of listeners that lose to, or lock out, others of the same proxy, with the reason."""
        return {}

    def listener_problem(self, listener: ListenerSpec) -> str | None:
        """What of a listener's own fields keeps it from being programmed, besides certificates."""
        return None

    def hosts(
        self, listener: ListenerSpec, siblings: Sequence[ListenerSpec], names: Sequence[str]
    ) -> tuple[str, ...]:
        """The hostnames that a route gets on a listener: the shared ones, without those that belong to a
        more specific listener of the same port."""
        others = [item.hostname for item in siblings if item.port == listener.port and item is not listener]
        return tuple(
            name
            for name in intersect(listener.hostname, names)
            if not any(
                other
                and other != listener.hostname
                and covers(other, name)
                and covers(listener.hostname, other)
                for other in others
            )
        )

    # -- routes ----------------------------------------------------------------------------------------

    def ordered(self, place: Place, host: str, found: list[Placed]) -> list[Placed]:
        """The matches of one virtual host, first tried first. They come route by route, HTTPRoutes before
        GRPCRoutes, the oldest first."""
        return found

    def lower(self, place: Place, match: Match, listener: ListenerSpec, host: str) -> Route | None:
        """A match as the proxy's route, None where the implementation drops it."""
        return None

    def same_names(self, names: Sequence[str], taken: set[str]) -> tuple[str, ...]:
        """The server names that a TLSRoute still gets on a port where others are taken."""
        return tuple(name for name in names if name not in taken)

    def dropped(self, place: Place, route: Obj) -> str | None:
        """Why an implementation programs nothing at all of an attached route."""
        return None

    def l4_clusters(self, place: Place, route: Obj) -> tuple[WeightedCluster, ...] | None:
        """The clusters of a TLSRoute or TCPRoute, None where the implementation makes no chain of it."""
        return None

    def tls_mode(self, place: Place, listener: ListenerSpec) -> TlsMode | None:
        """What of an implementation's own decides about client certificates, None for nothing."""
        return None

    def notes(self, place: Place, listener: ListenerSpec) -> Iterable[Excluded]:
        """What may change a listener in ways that are not followed."""
        return ()

    def connections(
        self, place: Place, make: Callable[[], RouteConfig], listener: ListenerSpec
    ) -> HttpConnections:  # fmt: skip
        """The HTTP side of a listener: what it does to paths, and its filters."""
        return HttpConnections(make, self.filters(place, listener))

    def filters(self, place: Place, listener: ListenerSpec) -> tuple[HttpFilter, ...]:
        """What judges requests on a listener before they are routed."""
        return ()

    def cluster(self, place: Place, name: str) -> Cluster | None:
        """An upstream cluster by its name."""
        return None

    def route_config_name(self, listener: ListenerSpec) -> str:
        return f"{listener.owner.namespace}/{listener.owner.name}/{listener.name}"

    def virtual_host_name(self, listener: ListenerSpec, host: str) -> str:
        return f"{self.route_config_name(listener)}/{host.replace('.', '_')}"


@lru_cache(maxsize=1)
def providers() -> tuple[Provider, ...]:
    """Every implementation, imported when first asked for."""
    return tuple(import_module(f"kgdiag.dialects.{name}").PROVIDER for name in MODULES)


@dataclass(frozen=True)
class Implementation:
    """Who programs a Gateway. ``provider`` None: nobody that kgdiag knows, for the reason ``why``.

    ``doubt`` says that the class could not be read, so that ``why`` is no proof of anything.
    """

    provider: Provider | None
    why: str = ""
    doubt: bool = False
    klass: Obj | None = field(default=None, compare=False)


def implementation(world: World, gateway: Obj) -> Implementation:
    """Who programs a Gateway, by its class's controller.

    Files seldom hold the classes that a controller makes itself, so there their names stand for them.
    """
    name = gateway.text("spec.gatewayClassName")
    klass = world.get(kinds.GATEWAY_CLASS, "", name)
    if klass is not None:
        controller = klass.text("spec.controllerName")
        found = next((item for item in providers() if controller in item.controllers), None)
        why = (
            ""
            if found
            else f"the controller {controller} of GatewayClass {name} is not one that kgdiag knows"
        )
        return Implementation(found, why, doubt=found is None, klass=klass)
    missing = world.missing(kinds.GATEWAY_CLASS, "", name)
    if missing in (Missing.NOT_IN_FILES, Missing.UNREADABLE):
        named = next((item for item in providers() if name in item.classes), None)
        if named is None:
            named = _by_status(gateway)
        return Implementation(named, f"GatewayClass {name} {missing.value}", doubt=True)
    return Implementation(None, f"GatewayClass {name} does not exist, so no controller programs the Gateway")


def _by_status(gateway: Obj) -> Provider | None:
    """The implementation that wrote a Gateway's status, where its labels tell."""
    managed = gateway.annotations.get("gateway.istio.io/controller-version")
    return next((item for item in providers() if managed and item.name == "istio"), None)


def provider_of(world: World, gateway: Obj) -> Provider | None:
    """The implementation of a Gateway, None where it is unknown."""
    return implementation(world, gateway).provider
