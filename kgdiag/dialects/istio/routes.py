"""VirtualService routes, lowered to the neutral proxy model as istiod does.

Source: istio pilot/pkg/networking/core/route/route.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kgdiag.dialects.istio.mesh import Mesh
from kgdiag.graph.world import World
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Excluded, Route, WeightedCluster


def _default_cluster_name(host: str, port: int, subset: str) -> str:
    return f"outbound|{port}|{subset}|{host}"


@dataclass(frozen=True)
class RouteContext:
    """For which proxy and gateway routes are made.

    ``gateway`` is ``mesh`` or ``namespace/name``. ``server_port`` is the Gateway's ``server.port.number`` or,
    for ``mesh``, the Service port of the listener. ``service_port_of`` gives a host's only port, None where
    it has several or is unknown: then ``server_port`` stands in, as istiod does.
    """

    world: World
    mesh: Mesh
    gateway: str
    server_port: int
    proxy_namespace: str
    proxy_labels: Mapping[str, str] = field(default_factory=dict)
    proxy_pod: Obj | None = None
    only_port: Callable[[str], int | None] | None = None
    cluster_name: Callable[[str, int, str], str] = _default_cluster_name


def http_routes(context: RouteContext, virtual_service: Obj) -> tuple[Route, ...]:
    """The routes of a VirtualService's ``http``, in order, for this proxy."""
    return ()


def http_excluded(context: RouteContext, virtual_service: Obj) -> tuple[Excluded, ...]:
    """The entries of ``http`` that gave no route here, and why."""
    return ()


@dataclass(frozen=True, slots=True)
class L4Route:
    """One ``tls`` or ``tcp`` match with its clusters; ``sni_hosts`` is empty for ``tcp``."""

    part: str
    sni_hosts: tuple[str, ...]
    subnets: tuple[str, ...]
    clusters: tuple[WeightedCluster, ...]


def tls_routes(context: RouteContext, virtual_service: Obj) -> tuple[L4Route, ...]:
    """The ``tls`` routes that apply to this proxy, one for each match."""
    return ()


def tcp_routes(context: RouteContext, virtual_service: Obj) -> tuple[L4Route, ...]:
    """The ``tcp`` routes that apply to this proxy, one for each match."""
    return ()
