"""Knative Serving's data path: activator and private Services.

The public Service of a Revision has no selector: its endpoints are the activator's pods (mode Proxy) or the
Revision's own (mode Serve). The activator passes a request on to the Revision that its headers name.
Sources: knative/serving pkg/reconciler/serverlessservice, pkg/activator/handler/handler.go (headers
Knative-Serving-Revision and -Namespace), pkg/activator/net/revision_backends.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from kgdiag.graph.core import ServicePort, service_ports
from kgdiag.graph.world import Missing
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Endpoint, Health, Peer
from kgdiag.model.read import Origin
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Act, Backend, Hop, Outcome, Request, Result
from kgdiag.trace import network, verify
from kgdiag.trace.flow import Branch, Flow, Front, Target, behind, merged, response_headers, scaled

if TYPE_CHECKING:
    from kgdiag.trace.walk import Walker

SYSTEM = "knative-serving"
_SKS = "networking.internal.knative.dev/serverlessservice"
_TYPE = "networking.internal.knative.dev/serviceType"
_ORIGINAL, _MARK = "k-original-host", ("k-proxy-request", "activator")
_PRUNED = ("knative-serving-revision", "knative-serving-namespace")
_PORTS = {8012: 80, 8013: 80, 8112: 443}


def is_activator(pod: Obj) -> bool:
    """Whether a pod is Knative's activator."""
    return pod.labels.get("app") == "activator" and (
        pod.namespace == SYSTEM
        or pod.labels.get("app.kubernetes.io/name") == SYSTEM
        or any(key.startswith("serving.knative.dev/") or key == "role" for key in pod.labels)
    )


def revision_of(service: Obj) -> str | None:
    """The Revision whose public Service this is, None for any other Service."""
    if service.labels.get(_TYPE) == "Private" or service.mapping("spec.selector"):
        return None
    name = service.labels.get(_SKS) or service.labels.get("serving.knative.dev/revision")
    if name:
        return name
    targets = {port.target for port in service_ports(service)}
    return service.name if targets & {8012, 8013} else None


def activator(walk: Walker, pod: Obj, port: int, flow: Flow) -> list[Branch] | None:
    """Onward from the activator; None where the pod is none, or the port is not for requests."""
    if port not in _PORTS or not is_activator(pod):
        return None
    service = flow.backend.service if flow.backend else None
    namespace = flow.request.header("knative-serving-namespace") or (service.namespace if service else "")
    revision = flow.request.header("knative-serving-revision") or ""
    if not revision and service is not None:
        public = walk.world.get(kinds.SERVICE, service.namespace, service.name)
        revision = (revision_of(public) if public else None) or ""
    at = pod.ref
    if not revision or not namespace:
        return walk.failed(flow, at, "reset", "the activator cannot tell which Revision the request is for")
    hop = Hop(
        at,
        Act.FORWARDS,
        f"the activator passes it on to Revision {namespace}/{revision}, and wakes it up first",
    )
    source = walk.world.get(kinds.POD, pod.namespace, pod.name)
    peer = Peer(namespace=pod.namespace, labels=tuple(sorted(pod.labels.items())))
    onward = flow.to(source=source, peer=peer, front=Front("client"), layers=())
    return behind([verify.with_commands(hop)], to_revision(walk, namespace, revision, onward))


def to_revision(walk: Walker, namespace: str, revision: str, flow: Flow) -> list[Branch]:
    """To the pods of a Revision through its private Service."""
    private = private_service(walk, namespace, revision)
    ref = private.ref if private else Ref("", "Service", namespace, f"{revision}-private")
    if private is None:
        return walk.lacking(flow, ref) or _asleep(flow, ref, revision, "it does not exist")
    declared = next((one for one in service_ports(private) if one.port == 80), None)
    if declared is None:
        return walk.service(private, 80, flow)
    found = network.endpoints_of(walk.world, private, declared)
    if not found:
        doubt = network.doubt(walk.world, private)
        backend = Backend(private.ref, 80)
        if doubt:
            return walk.unknown(flow.to(backend=backend), private.ref, f"endpoints of {private.ref}: {doubt}")
        return _asleep(flow.to(backend=backend), private.ref, revision, "no pod runs")
    address = private.text("spec.clusterIP") or f"{private.name}.{namespace}.svc.cluster.local"
    return walk.connect(
        Target(address, 80, address, service=private), flow.to(request=_hidden(flow.request, address))
    )


def _hidden(request: Request, address: str) -> Request:
    """The activator sends the target's address as Host, and the Host it got in a header of its own, which
    queue-proxy turns back. Source: knative/networking pkg/http/proxy, RewriteHostIn and RewriteHostOut."""
    kept = tuple(pair for pair in request.headers if pair[0] not in _PRUNED)
    return replace(request, authority=f"{address}:80", headers=(*kept, (_ORIGINAL, request.authority), _MARK))


def restored(request: Request) -> Request:
    """What a user container gets from queue-proxy of a request that an activator sent."""
    host = request.header(_ORIGINAL)
    if host is None:
        return request
    kept = tuple(pair for pair in request.headers if pair[0] not in (_ORIGINAL, _MARK[0]))
    return replace(request, authority=host, headers=kept)


def private_service(walk: Walker, namespace: str, revision: str) -> Obj | None:
    """The private Service of a Revision."""
    sks = walk.world.get(kinds.SERVERLESS_SERVICE, namespace, revision, optional=True)
    name = sks.text("status.privateServiceName") if sks is not None else ""
    return walk.world.get(kinds.SERVICE, namespace, name or f"{revision}-private")


def _asleep(flow: Flow, at: Ref, revision: str, why: str) -> list[Branch]:
    reason = f"Revision {revision} sleeps ({why}): the activator holds the request and starts a pod for it"
    outcome = Outcome(
        Result.DELIVERED,
        reason,
        backend=flow.backend or Backend(at, 80),
        cluster=flow.cluster,
        response_headers=response_headers(flow.response),
    )
    return [Branch(1.0, (Hop(at, Act.ANSWERS, reason, request=flow.request),), outcome)]


def public_endpoints(
    walk: Walker, service: Obj, port: ServicePort | None, secured: Callable[[bool], Flow]
) -> list[Branch] | None:
    """The way on from a Revision's public Service whose endpoints files lack; None for other Services.

    The controller writes them: the activator's pods where the ServerlessService says Proxy, or where files
    have its pods and no ServerlessService says otherwise; else the Revision's own. ``secured`` gives the
    flow to a pod with a sidecar (True) or without.
    """
    revision = revision_of(service)
    if revision is None or walk.world.origin is Origin.LIVE:
        return None
    sks = walk.world.get(kinds.SERVERLESS_SERVICE, service.namespace, revision, optional=True)
    mode = sks.text("spec.mode", "Serve") if sks is not None else ""
    number = port.target if port is not None and isinstance(port.target, int) else 8012
    pods = [
        one
        for one in walk.world.select(kinds.POD, SYSTEM, {"app": "activator"}, optional=True)
        if is_activator(one)
    ]
    if pods and mode != "Serve":
        said = (
            "its ServerlessService is in mode Proxy"
            if mode
            else "the controller's choice is not in these files"
        )
        walk.notes.add(f"{service.ref}: endpoints are taken for the activator's ({said})")
        return _spread(walk, [Endpoint(one.text("status.podIP"), number, one.ref) for one in pods], secured)
    private = private_service(walk, service.namespace, revision)
    if private is None:
        ref = Ref("", "Service", service.namespace, f"{revision}-private")
        missing = walk.world.missing(kinds.SERVICE, ref.namespace, ref.name)
        if missing is Missing.GONE:
            return None
        return walk.unknown(secured(False), service.ref, f"endpoints of {service.ref}: {ref} {missing.value}")
    walk.notes.add(f"{service.ref}: endpoints are taken for the Revision's own, those of {private.ref}")
    declared = next((one for one in service_ports(private) if one.target == number), None)
    found = network.endpoints_of(walk.world, private, declared or service_ports(private)[0])
    ready = [one for one in found if one.health is Health.HEALTHY]
    if not ready:
        return None
    return _spread(walk, ready, secured)


def _spread(walk: Walker, endpoints: list[Endpoint], secured: Callable[[bool], Flow]) -> list[Branch]:
    by_sidecar: dict[bool, list[Endpoint]] = {}
    for one in endpoints:
        pod = walk.world.get(kinds.POD, one.pod.namespace, one.pod.name) if one.pod else None
        proxy = walk.proxy_of(pod) if pod is not None else None
        by_sidecar.setdefault(proxy is not None and proxy.role == "sidecar", []).append(one)
    branches: list[Branch] = []
    for sidecar, members in by_sidecar.items():
        branches += scaled(len(members) / len(endpoints), walk.spread(members, secured(sidecar), None))
    return merged(branches)
