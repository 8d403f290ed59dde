"""Gateway pods that files only imply.

Manifests often hold an Istio Gateway and the Service before it without the Deployment behind both, which an
operator or a chart makes. Where a Service selects what a Gateway selects, its pods are gateways of Istio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kgdiag.dialects.base import Dialect
from kgdiag.graph.core import ASSUMED, pods_of, selector_of
from kgdiag.graph.labels import subset_of
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Proxy
from kgdiag.model.read import Origin
from kgdiag.model.ref import Ref


def gateway_pod(world: World, service: Obj) -> Obj | None:
    """The gateway pod that must stand behind a Service of files; None where files say nothing of it."""
    selector = selector_of(service)
    if world.origin is not Origin.FILES or world.complete or not selector:
        return None
    selectors = [gateway.mapping("spec.selector") for gateway in world.all(kinds.ISTIO_GATEWAY)]
    if not any(one and subset_of(one, selector) for one in selectors):
        return None
    return _pod(world, service)


def pods_of_gateway(world: World, gateway: Obj) -> list[Obj]:
    """The gateway pods that must stand behind the Services which select what a Gateway selects."""
    selector = gateway.mapping("spec.selector")
    if world.origin is not Origin.FILES or world.complete or not selector:
        return []
    services = [one for one in world.all(kinds.SERVICE) if subset_of(selector, selector_of(one))]
    unique = {pod.ref: pod for pod in (_pod(world, service) for service in services)}
    if unique:
        return list(unique.values())
    return [_made(gateway.namespace, gateway.name, dict(selector))]


def gateway_before(world: World, dialects: Sequence[Dialect], service: Obj) -> tuple[Obj, Proxy] | None:
    """The Gateway of the Gateway API whose proxies a Service of files fronts, with the proxy it declares."""
    if world.origin is not Origin.FILES or world.complete:
        return None
    for dialect in dialects:
        if dialect.data_plane is None or dialect.gateway_proxy is None:
            continue
        for gateway in world.all(kinds.GATEWAY):
            if service.ref in dialect.data_plane(world, gateway):
                proxy = dialect.gateway_proxy(world, gateway)
                if proxy is not None:
                    return gateway, proxy
    return None


def own_ports(gateway: Obj, proxy: Proxy, number: int) -> set[int]:
    """The ports that a Gateway itself gives to what its proxy has on one of its own."""
    listener = proxy.listener_at(number)
    if listener is None:
        return set()
    chains = [chain.origin for chain in listener.chains if chain.origin is not None]
    origins = [one for one in (*listener.origins, *chains) if one.ref == gateway.ref and one.part]
    declared = [gateway.get(f"{one.part}.port") for one in origins]
    ports = [port.get("number") if isinstance(port, Mapping) else port for port in declared]  # Istio's first
    return {port for port in ports if isinstance(port, int)} or {number}


def pod_of_endpoint(world: World, pod: Ref, address: str, port: int, service: Obj | None) -> Obj | None:
    """The pod that an EndpointSlice of files names and that is no part of them; None where it is gone.

    It is as the pods of the same Service are, as far as files have them: as their workload's template, or as
    the gateway pods that must stand behind the Service.
    """
    unreadable = world.missing(kinds.POD, pod.namespace, pod.name) is Missing.UNREADABLE
    if world.origin is not Origin.FILES or world.complete or unreadable:
        return None
    labels = {str(key): str(value) for key, value in selector_of(service).items()} if service else {}
    spec: Mapping[str, Any] = {"containers": [{"name": "app", "ports": [{"containerPort": port}]}]}
    alike = next(iter(pods_of(world, service)), None) if service is not None and labels else None
    alike = alike or (gateway_pod(world, service) if service is not None else None)
    if alike is not None:
        labels, spec = dict(alike.labels), alike.mapping("spec")
    made = {
        "metadata": {
            "name": pod.name,
            "namespace": pod.namespace,
            "labels": labels,
            "annotations": {**(alike.annotations if alike else {}), ASSUMED: "EndpointSlice"},
        },
        "spec": spec,
        "status": {"podIP": address},
    }
    return Obj(kinds.POD, made)


def _pod(world: World, service: Obj) -> Obj:
    """One pod for all Services of the namespace whose selectors have pairs in common and none against."""
    labels = {str(key): str(value) for key, value in selector_of(service).items()}
    name, size = service.name, len(labels)
    for other in world.all(kinds.SERVICE, service.namespace):
        pairs = {str(key): str(value) for key, value in selector_of(other).items()}
        shared = pairs.keys() & labels.keys()
        if shared and all(pairs[key] == labels[key] for key in shared):
            if (len(pairs), other.name) > (size, name) and len(pairs) > size:
                name, size = other.name, len(pairs)
            labels |= pairs
    return _made(service.namespace, name, labels)


def _made(namespace: str, name: str, labels: dict[str, str]) -> Obj:
    raw = {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "annotations": {ASSUMED: "true"},
        },
        "spec": {"containers": [{"name": "istio-proxy", "args": ["proxy", "router"]}]},
    }
    return Obj(kinds.POD, raw)
