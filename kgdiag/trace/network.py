"""Kubernetes networking: endpoints, replicas, what a port speaks, NetworkPolicies.

Sources: kubernetes.io/docs concepts/services-networking/service, endpoint-slices, network-policies and
reference/networking/virtual-ips.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kgdiag.graph.core import (
    ServicePort,
    addresses,
    containers,
    pods_of,
    resolve_target,
    selector_of,
)
from kgdiag.graph.labels import matches
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Evidence, Obj
from kgdiag.model.proxy import Endpoint, Health
from kgdiag.model.read import Origin
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Rejected

_SHOWN = 4
_VOLATILE = (
    "pod-template-hash",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "pod-template-generation",
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/job-completion-index",
)
_TELLING = (
    "sidecar.istio.io/",
    "traffic.sidecar.istio.io/",
    "proxy.istio.io/",
    "ambient.istio.io/",
    "istio.io/",
)


# -- endpoints -----------------------------------------------------------------------------------------


def endpoints_of(world: World, service: Obj, port: ServicePort) -> list[Endpoint]:
    """The endpoints of a Service's port."""
    return [
        Endpoint(
            address=one.ip,
            port=one.port,
            pod=one.pod,
            health=Health.HEALTHY
            if one.ready
            else Health.DRAINING
            if one.terminating and one.serving
            else Health.UNHEALTHY,
            assumed=one.assumed,
        )
        for one in addresses(world, service, port)
    ]


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints that lead to the same, with one of them to follow and its pod where it is known."""

    members: tuple[Endpoint, ...]
    pod: Obj | None

    @property
    def first(self) -> Endpoint:
        return self.members[0]


def alike(world: World, endpoints: Sequence[Endpoint], service: Obj | None) -> list[Group]:
    """Endpoints by what decides their further way: the pod's labels, containers and account, the port."""
    known: dict[Ref, Obj] = {}
    selected = service is not None and bool(selector_of(service)) and any(one.pod for one in endpoints)
    if service is not None and selected:
        known = {pod.ref: pod for pod in pods_of(world, service)}
    coming = selected and not known and bool(world.lacking)  # one read by labels, not one a pod
    groups: dict[object, list[Endpoint]] = {}
    pods: dict[object, Obj | None] = {}
    for one in sorted(endpoints, key=lambda item: (item.pod or Ref("", "", "", ""), item.address, item.port)):
        pod = None
        if one.pod is not None:
            pod = known.get(one.pod)
            if pod is None and not coming:
                pod = world.get(kinds.POD, one.pod.namespace, one.pod.name)
        lone = one.pod or one.hostname or one.address
        key = (signature(pod) if pod is not None else lone, one.port, one.tls)
        groups.setdefault(key, []).append(one)
        pods.setdefault(key, pod)
    return [Group(tuple(members), pods[key]) for key, members in groups.items()]


def signature(pod: Obj) -> object:
    """What makes two pods alike for a request. Replicas of one workload have the same."""
    labels = tuple(sorted((key, value) for key, value in pod.labels.items() if key not in _VOLATILE))
    notes = tuple(
        sorted((key, str(value)) for key, value in pod.annotations.items() if key.startswith(_TELLING))
    )
    shapes = tuple(
        (str(one.get("name")), tuple(_ports(one)), str(one.get("args") or ""), str(one.get("env") or ""))
        for one in containers(pod)
        if one.get("name") == "istio-proxy" or "envoy" in str(one.get("image"))
    )
    ports = tuple((str(one.get("name")), tuple(_ports(one))) for one in containers(pod))
    return (
        pod.namespace,
        labels,
        _quiet(notes),
        bool(shapes),
        ports,
        pod.text("spec.serviceAccountName"),
        pod.get("spec.hostNetwork") is True,
    )


def _quiet(notes: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(
        pair for pair in notes if not pair[0].endswith("/status") or not pair[0].startswith("sidecar")
    )


def _ports(container: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for port in container.get("ports") or ():
        if isinstance(port, Mapping) and isinstance(port.get("containerPort"), int):
            yield str(port.get("name") or ""), port["containerPort"]


def workload(pod: Obj) -> str:
    """A name for the pod and its replicas: its owner's, without the hash of a ReplicaSet."""
    for owner in pod.maps("metadata.ownerReferences"):
        name, kind = str(owner.get("name") or ""), owner.get("kind")
        suffix = pod.labels.get("pod-template-hash")
        if kind == "ReplicaSet" and suffix and name.endswith(f"-{suffix}"):
            return name[: -len(suffix) - 1]
        if name:
            return name
    return pod.name


def describe(world: World, endpoints: Sequence[Endpoint]) -> str:
    """``2 endpoints: a/x-1:8080, a/x-2:8080``."""
    shown = []
    for one in endpoints[:_SHOWN]:
        where = f"{one.pod.namespace}/{one.pod.name}" if one.pod else one.hostname or one.address
        shown.append(f"{where}:{one.port}")
    more = f" and {len(endpoints) - _SHOWN} more" if len(endpoints) > _SHOWN else ""
    noun = "endpoint" if len(endpoints) == 1 else "endpoints"
    return f"{len(endpoints)} {noun}: {', '.join(shown)}{more}"


def unready(endpoints: Iterable[Endpoint]) -> Iterator[Rejected]:
    """Endpoints that get no requests."""
    for one in endpoints:
        if one.health is not Health.HEALTHY and one.pod is not None:
            why = "it is not ready or terminating" if one.health is Health.DRAINING else "it is not ready"
            yield Rejected(one.pod, "", why, 1)


def unapplied(world: World, service: Obj) -> Iterator[Rejected]:
    """VirtualServices for sidecars that name a Service which is reached without any.

    Source: istio.io/docs ops/common-problems/network-issues: the client's proxy applies them, or a gateway.
    """
    names = {service.name, f"{service.name}.{service.namespace}.svc.cluster.local"}
    for one in world.all(kinds.VIRTUAL_SERVICE, service.namespace, optional=True):
        gateways = one.items("spec.gateways")
        if (not gateways or "mesh" in gateways) and names & {str(host) for host in one.items("spec.hosts")}:
            reason = (
                "it is for clients with a sidecar, and none stands before this Service: it has no effect here"
            )
            yield Rejected(one.ref, "spec.hosts", reason, 1)


def service_evidence(service: Obj, port: ServicePort) -> tuple[Evidence, ...]:
    """The selector and the port entry of a Service."""
    return (service.evidence("spec.selector"), service.evidence(f"spec.ports[{port.index}]"))


def doubt(world: World, service: Obj) -> str:
    """Why "no endpoints" is no knowledge (failed reads, files that hold only a part), "" where it is."""
    for read in world.gaps():
        if read.need.kind in (kinds.ENDPOINT_SLICE, kinds.POD) and read.need.namespace in (
            None,
            service.namespace,
        ):
            if (
                read.need.kind == kinds.POD
                and world.origin is not Origin.FILES
                and not _lost_slices(world, service)
            ):
                continue
            return f"{read.need.kind.plural} of namespace {service.namespace} could not be read"
    if world.origin is not Origin.FILES or world.complete or pods_of(world, service):
        return ""
    return "" if world.whole(service.namespace) else "pods and EndpointSlices are not in these files"


def _lost_slices(world: World, service: Obj) -> bool:
    return any(
        read.need.kind == kinds.ENDPOINT_SLICE and read.need.namespace in (None, service.namespace)
        for read in world.gaps()
    )


def why_empty(world: World, service: Obj, port: ServicePort, found: Sequence[Endpoint]) -> str:
    """Why a Service's port has no ready endpoint."""
    if found:
        return f"{len(found)} of its pods {'is' if len(found) == 1 else 'are'} not ready"
    selector = selector_of(service)
    if not selector:
        return "it has no selector, and nobody made endpoints for it"
    shown = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    pods = pods_of(world, service)
    if not pods:
        near = _near(world, service, selector)
        return f"no pod in {service.namespace} has {shown}" + (f" ({near})" if near else "")
    if isinstance(port.target, str) and all(resolve_target(pod, port) is None for pod in pods):
        return f"no container of its pods has a port named {port.target}"
    return f"its pods ({shown}) give none"


def how_to_fill(service: Obj, found: Sequence[Endpoint]) -> str:
    """What would give a Service endpoints."""
    if found:
        pod = next((one.pod for one in found if one.pod), None)
        return f"make its pods ready: kubectl describe pod {pod.name} -n {pod.namespace}" if pod else ""
    if not selector_of(service):
        return f"make an EndpointSlice for {service.ref}, or give it a selector"
    return f"make the selector of {service.ref} and the labels of its pods agree"


def _near(world: World, service: Obj, selector: Mapping[str, str]) -> str:
    if world.origin is not Origin.FILES:
        return ""
    for pod in world.all(kinds.POD, service.namespace):
        wrong = [key for key, value in selector.items() if pod.labels.get(key) != value]
        if len(wrong) == 1 and wrong[0] in pod.labels:
            return f"{workload(pod)} has {wrong[0]}={pod.labels[wrong[0]]}"
    return ""


def pod_at(world: World, address: str) -> Obj | None:
    """The pod that has an address. Reads all pods: only for endpoints made by hand."""
    if not address:
        return None
    pods = world.all(kinds.POD, optional=True)

    def collect() -> dict[str, Obj]:
        found: dict[str, Obj] = {}
        for pod in pods:
            if pod.get("spec.hostNetwork") is True:
                continue
            for ip in (
                pod.text("status.podIP"),
                *(str(item.get("ip")) for item in pod.maps("status.podIPs")),
            ):
                if ip:
                    found.setdefault(ip, pod)
        return found

    return world.memo("pods by address", collect).get(address)


# -- ports ---------------------------------------------------------------------------------------------


def declared_protocol(port: ServicePort) -> str:
    """What a Service port says that it speaks: ``http``, ``tls`` or nothing."""
    return _protocol(port.app_protocol) or _protocol(port.name.partition("-")[0])


def _protocol(word: str) -> str:
    word = word.lower()
    if word in ("https", "tls", "kubernetes.io/wss"):
        return "tls"
    if word in ("http", "http2", "grpc", "grpc-web", "h2c", "http1", "kubernetes.io/h2c", "kubernetes.io/ws"):
        return "http"
    return ""


def speaks(pod: Obj, port: int, declared: str) -> str:
    """What the application is declared to speak on a port: by the Service's port, else by the container's."""
    if declared:
        return declared
    for container in containers(pod):
        for name, number in _ports(container):
            if number == port:
                return _protocol(name.partition("-")[0])
    return ""


def container_at(pod: Obj, port: int) -> str:
    """The container that declares the port, or the only one that could have it; "" where nobody knows."""
    apps = [one for one in containers(pod) if one.get("name") not in ("istio-proxy", "queue-proxy")]
    for container in containers(pod):
        if any(number == port for _, number in _ports(container)) or (
            container.get("name") == "queue-proxy" and port in (8012, 8013, 8112)
        ):
            return f"container {container.get('name')}"
    return f"container {apps[0].get('name')}" if len(apps) == 1 and apps[0].get("name") else ""


def port_remarks(pod: Obj, port: int) -> list[str]:
    """What is worth saying of a port that gets the request."""
    remarks = []
    declared = {number for container in containers(pod) for _, number in _ports(container)}
    queue = next((one for one in containers(pod) if one.get("name") == "queue-proxy"), None)
    if queue is not None and port in (8012, 8013, 8112):
        user = next(
            (one for one in containers(pod) if one.get("name") not in ("queue-proxy", "istio-proxy")), None
        )
        number = next((str(one) for _, one in _ports(user)), "8080") if user else "8080"
        name = user.get("name") if user else "the user container"
        remarks.append(f"queue-proxy passes it on to {name} on port {number}")
    elif declared and port not in declared:
        listed = ", ".join(str(number) for number in sorted(declared))
        remarks.append(
            f"no container declares port {port} (declared: {listed}); containers may listen anyway"
        )
    return remarks


def declares_port(pod: Obj, port: int) -> bool:
    """Whether a container declares the port."""
    return any(number == port for one in containers(pod) for _, number in _ports(one))


def declares(pod: Obj, container: str) -> bool:
    """Whether the pod runs a container of this name."""
    return any(one.get("name") == container for one in containers(pod))


# -- NetworkPolicies -----------------------------------------------------------------------------------


def policies(world: World, source: Obj | None, pod: Obj, port: int) -> list[str]:
    """What NetworkPolicies would forbid of a connection, if the cluster's network enforces them."""
    texts = []
    inbound = [one for one in _selecting(world, pod) if _directs(one, "Ingress")]
    if inbound and not any(_allows(world, one, "ingress", "from", source, pod, port) for one in inbound):
        who = f"{source.namespace}/{workload(source)}" if source is not None else "outside the cluster"
        names = ", ".join(one.name for one in inbound[:3])
        texts.append(
            f"if NetworkPolicies are enforced, {names} in {pod.namespace} deny ingress to "
            f"{workload(pod)}:{port} from {who}"
        )
    if source is not None:
        outbound = [one for one in _selecting(world, source) if _directs(one, "Egress")]
        if outbound and not any(_allows(world, one, "egress", "to", pod, pod, port) for one in outbound):
            names = ", ".join(one.name for one in outbound[:3])
            texts.append(
                f"if NetworkPolicies are enforced, {names} in {source.namespace} deny egress from "
                f"{workload(source)} to {pod.namespace}/{workload(pod)}:{port}"
            )
    return texts


def _selecting(world: World, pod: Obj) -> list[Obj]:
    return [
        one
        for one in world.all(kinds.NETWORK_POLICY, pod.namespace, optional=True)
        if matches(one.mapping("spec.podSelector"), pod.labels)
    ]


def _directs(policy: Obj, direction: str) -> bool:
    types = policy.items("spec.policyTypes")
    if types:
        return direction in types
    return direction == "Ingress" or bool(policy.items("spec.egress"))


def _allows(
    world: World, policy: Obj, field: str, peers: str, other: Obj | None, pod: Obj, port: int
) -> bool:
    for rule in policy.maps(f"spec.{field}"):
        if not _port_allowed(rule.get("ports"), pod, port):
            continue
        entries = rule.get(peers)
        if (
            not isinstance(entries, list)
            or not entries
            or any(isinstance(one, Mapping) and _is_peer(world, policy, one, other) for one in entries)
        ):
            return True
    return False


def _port_allowed(ports: Any, pod: Obj, port: int) -> bool:
    if not isinstance(ports, list) or not ports:
        return True
    for entry in ports:
        if not isinstance(entry, Mapping) or str(entry.get("protocol") or "TCP") != "TCP":
            continue
        wanted, end = entry.get("port"), entry.get("endPort")
        if (
            wanted is None
            or wanted == port
            or (isinstance(wanted, int) and isinstance(end, int) and wanted <= port <= end)
        ):
            return True
        named = (name for one in containers(pod) for name, number in _ports(one) if number == port)
        if isinstance(wanted, str) and (wanted in named or wanted == str(port)):
            return True
    return False


def _is_peer(world: World, policy: Obj, entry: Mapping[str, Any], other: Obj | None) -> bool:
    block = entry.get("ipBlock")
    if isinstance(block, Mapping):
        return _in_block(block, other)
    if other is None:
        return False
    spaces = entry.get("namespaceSelector")
    if spaces is None:
        if other.namespace != policy.namespace:
            return False
    elif spaces:
        namespace = world.get(kinds.NAMESPACE, "", other.namespace, optional=True)
        labels = {"kubernetes.io/metadata.name": other.namespace, **(namespace.labels if namespace else {})}
        if not matches(spaces, labels):
            return False
    return matches(entry.get("podSelector"), other.labels)


def _in_block(block: Mapping[str, Any], other: Obj | None) -> bool:
    """Clients of unknown address count as allowed: only a block that surely leaves them out denies."""
    address = other.text("status.podIP") if other is not None else ""
    if not address:
        return True
    try:
        ip = ipaddress.ip_address(address)
        if ip not in ipaddress.ip_network(str(block.get("cidr")), strict=False):
            return False
        return not any(
            ip in ipaddress.ip_network(str(one), strict=False) for one in block.get("except") or ()
        )
    except ValueError:
        return True
