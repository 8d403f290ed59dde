"""How the core kinds relate: Services, pods, endpoints, workloads.

Sources: kubernetes.io/docs/concepts/services-networking/service and endpoint-slices; istio
pilot/pkg/serviceregistry/kube/controller/util.go (FindPort) for named target ports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kgdiag.graph.labels import SelectorIndex
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref

ASSUMED = "kgdiag.dev/assumed"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service; ``target`` is a number or the name of a container port."""

    name: str
    port: int
    target: int | str
    protocol: str = "TCP"
    node_port: int | None = None
    app_protocol: str = ""
    index: int = 0


def service_ports(service: Obj) -> list[ServicePort]:
    """The ports of a Service, with the API's defaults; entries without a number are left out."""
    return service.once("service ports", _ports_of)


def _ports_of(service: Obj) -> list[ServicePort]:
    ports = []
    for index, raw in enumerate(service.maps("spec.ports")):
        number = raw.get("port")
        if not isinstance(number, int):
            continue
        target = raw.get("targetPort")
        ports.append(
            ServicePort(
                name=str(raw.get("name") or ""),
                port=number,
                target=_target(target) if target not in (None, 0, "") else number,
                protocol=str(raw.get("protocol") or "TCP"),
                node_port=raw.get("nodePort") if isinstance(raw.get("nodePort"), int) else None,
                app_protocol=str(raw.get("appProtocol") or ""),
                index=index,
            )
        )
    return ports


def _target(raw: Any) -> int | str:
    return int(raw) if isinstance(raw, str) and raw.isdigit() else raw if isinstance(raw, int) else str(raw)


def selector_of(service: Obj) -> Mapping[str, str]:
    """A Service's selector; ``{}`` selects nothing (its endpoints are made by hand or by a controller)."""
    return service.mapping("spec.selector")


def pods_of(world: World, service: Obj) -> list[Obj]:
    """The pods that a Service selects, ready or not, finished ones left out."""
    return world.memo(("pods of", service.ref), lambda: _selected(world, service))


def _selected(world: World, service: Obj) -> list[Obj]:
    selector = selector_of(service)
    if not selector or service.text("spec.type") == "ExternalName":
        return []
    found = world.select(kinds.POD, service.namespace, selector)
    return [pod for pod in found if pod.text("status.phase") not in ("Succeeded", "Failed")]


def services_of(world: World, pod: Obj) -> list[Obj]:
    """The Services of the pod's namespace that select it, sorted by name."""
    index = world.memo(
        ("services by selector", pod.namespace),
        lambda: SelectorIndex(
            (
                (service, selector_of(service))
                for service in world.all(kinds.SERVICE, pod.namespace)
                if service.text("spec.type") != "ExternalName"
            ),
            empty_matches=False,
        ),
    )
    world.all(kinds.SERVICE, pod.namespace)
    return index.matching(pod.labels)


def is_ready(pod: Obj) -> bool:
    """Whether the pod's Ready condition is true; a pod that files only imply counts as ready."""
    if ASSUMED in pod.annotations:
        return True
    conditions = pod.maps("status.conditions")
    if not conditions and not pod.mapping("status"):
        return True  # a manifest: a missing status says nothing
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def is_assumed(pod: Obj) -> bool:
    """Whether files only imply this pod, by the template of its workload."""
    return ASSUMED in pod.annotations


def containers(pod: Obj) -> Iterator[Mapping[str, Any]]:
    """Containers that run beside each other: the usual ones, then native sidecars (restartPolicy Always)."""
    yield from pod.maps("spec.containers")
    for container in pod.maps("spec.initContainers"):
        if container.get("restartPolicy") == "Always":
            yield container


def resolve_target(pod: Obj, port: ServicePort) -> int | None:
    """The number of a Service port's target on one pod, None where no container has the named port."""
    if isinstance(port.target, int):
        return port.target
    for container in containers(pod):
        ports = container.get("ports")
        for declared in ports if isinstance(ports, list) else ():
            if not isinstance(declared, Mapping) or declared.get("name") != port.target:
                continue
            if str(declared.get("protocol") or "TCP") == port.protocol:
                number = declared.get("containerPort")
                return number if isinstance(number, int) else None
    return None


@dataclass(frozen=True, slots=True)
class Address:
    """An endpoint of a Service port. ``why_not`` says why one that is not ready is not."""

    ip: str
    port: int
    ready: bool
    pod: Ref | None = None
    node: str = ""
    assumed: bool = False
    terminating: bool = False
    serving: bool = True
    why_not: str = ""


def addresses(world: World, service: Obj, port: ServicePort) -> list[Address]:
    """The endpoints of one port: of its EndpointSlices, else its Endpoints, else of the pods it selects.

    Pods stand in only where no slice was read, as in files: on a live cluster the slices are the truth.
    """
    labels = {"kubernetes.io/service-name": service.name}
    slices = world.select(kinds.ENDPOINT_SLICE, service.namespace, labels)
    if slices:
        return [found for item in slices for found in _of_slice(item, port)]
    if not selector_of(service):
        manual = world.get(kinds.ENDPOINTS, service.namespace, service.name, optional=True)
        return list(_of_endpoints(manual, port)) if manual else []
    if world.origin.value == "live" and world.readable(kinds.ENDPOINT_SLICE, service.namespace):
        return []
    return list(_of_pods(world, service, port))


def _of_slice(item: Obj, port: ServicePort) -> Iterator[Address]:
    number = next(
        (
            declared.get("port")
            for declared in item.maps("ports")
            if (declared.get("name") or "") == port.name
            and (declared.get("protocol") or "TCP") == port.protocol
        ),
        None,
    )
    if not isinstance(number, int):
        return
    for endpoint in item.maps("endpoints"):
        conditions = endpoint.get("conditions")
        conditions = conditions if isinstance(conditions, Mapping) else {}
        target = endpoint.get("targetRef")
        pod = None
        if isinstance(target, Mapping) and target.get("kind") == "Pod":
            namespace = str(target.get("namespace") or item.namespace)
            pod = Ref("", "Pod", namespace, str(target.get("name") or ""))
        ready = conditions.get("ready")
        for ip in endpoint.get("addresses") or ():
            yield Address(
                ip=str(ip),
                port=number,
                ready=ready is None or ready is True,
                pod=pod,
                node=str(endpoint.get("nodeName") or ""),
                terminating=conditions.get("terminating") is True,
                serving=conditions.get("serving") is not False,
                why_not="" if ready in (None, True) else f"EndpointSlice {item.name} has it not ready",
            )


def _of_endpoints(manual: Obj, port: ServicePort) -> Iterator[Address]:
    for subset in manual.maps("subsets"):
        declared = [entry for entry in subset.get("ports") or () if isinstance(entry, Mapping)]
        named = [
            entry.get("port")
            for entry in declared
            if (entry.get("name") or "") == port.name or len(declared) == 1
        ]
        if not named or not isinstance(named[0], int):
            continue
        for key, ready in (("addresses", True), ("notReadyAddresses", False)):
            for entry in subset.get(key) or ():
                if not isinstance(entry, Mapping):
                    continue
                target = entry.get("targetRef")
                pod = None
                if isinstance(target, Mapping) and target.get("kind") == "Pod":
                    namespace = str(target.get("namespace") or manual.namespace)
                    pod = Ref("", "Pod", namespace, str(target.get("name") or ""))
                yield Address(
                    str(entry.get("ip") or ""), named[0], ready, pod, str(entry.get("nodeName") or "")
                )


def _of_pods(world: World, service: Obj, port: ServicePort) -> Iterator[Address]:
    everyone = service.get("spec.publishNotReadyAddresses") is True
    for pod in pods_of(world, service):
        number = resolve_target(pod, port)
        if number is None:
            continue
        ready = everyone or is_ready(pod)
        yield Address(
            ip=pod.text("status.podIP"),
            port=number,
            ready=ready,
            pod=pod.ref,
            node=pod.text("spec.nodeName"),
            assumed=is_assumed(pod),
            why_not="" if ready else "its Ready condition is not True",
        )


def service_by_address(world: World, address: str) -> Obj | None:
    """The Service that owns a cluster IP."""
    return cluster_ips(world).get(address)


def cluster_ips(world: World) -> Mapping[str, Obj]:
    """Services by their cluster IPs. Reads every Service."""
    services = world.all(kinds.SERVICE)

    def collect() -> dict[str, Obj]:
        found: dict[str, Obj] = {}
        for service in services:
            for ip in (service.get("spec.clusterIP"), *service.items("spec.clusterIPs")):
                if isinstance(ip, str) and ip not in ("", "None"):
                    found.setdefault(ip, service)
        return found

    return world.memo("cluster ips", collect)


def cluster_name(host: str, domain: str = "cluster.local") -> tuple[str, str] | None:
    """(name, namespace) of ``name.namespace.svc[.domain]``, None for every other host."""
    for suffix in (f".svc.{domain}", ".svc"):
        if host.endswith(suffix):
            parts = host[: -len(suffix)].split(".")
            return (parts[0], parts[1]) if len(parts) == 2 and all(parts) else None
    return None
