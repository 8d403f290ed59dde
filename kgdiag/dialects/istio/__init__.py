"""Classic Istio: Gateways and VirtualServices on gateways and sidecars."""

from __future__ import annotations

from kgdiag.dialects.base import Dialect
from kgdiag.dialects.istio.gateway import declared_proxy, gateway_proxy
from kgdiag.dialects.istio.ingress import is_ours
from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.relations import RELATIONS, front_services
from kgdiag.dialects.istio.sidecar import sidecar_proxy
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Proxy
from kgdiag.model.ref import Ref

GATEWAY_API = "gateway.networking.k8s.io/gateway-name"
"""The label of pods that a Gateway of the Gateway API got: another dialect's."""


def proxy_of(world: World, pod: Obj) -> Proxy | None:
    """The gateway or sidecar that istiod programs in a pod."""
    if GATEWAY_API in pod.labels:
        return None
    return gateway_proxy(world, pod) or sidecar_proxy(world, pod)


def data_plane(world: World, gateway: Obj) -> tuple[Ref, ...]:
    """The Services in front of the pods that a Gateway programs, or of those that serve an Ingress."""
    if gateway.kind == kinds.INGRESS:
        mesh = mesh_of(world)
        service = Ref("", "Service", mesh.control_plane, mesh.ingress_service)
        return (service,) if is_ours(world, mesh, gateway) else ()
    if gateway.kind != kinds.ISTIO_GATEWAY:
        return ()
    return tuple(service.ref for service in front_services(world, gateway))


DIALECT = Dialect(
    "istio",
    relations=RELATIONS,
    proxy_of=proxy_of,
    gateway_proxy=declared_proxy,
    data_plane=data_plane,
)
