"""Gateway API manifests for tests, and what becomes of requests to them."""

from __future__ import annotations

from typing import Any

import yaml

from kgdiag.dialects import dialects
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.proxy import Proxy
from kgdiag.model.trace import Outcome, Request, Trace
from kgdiag.trace.entry import trace
from kgdiag.trace.question import parse_question
from tests.support import answer

Json = dict[str, Any]
CLASSES = {
    "envoy-gateway": "gateway.envoyproxy.io/gatewayclass-controller",
    "istio": "istio.io/gateway-controller",
    "kgateway": "kgateway.dev/kgateway",
}
PROVIDERS = tuple(CLASSES)
API = "gateway.networking.k8s.io/v1"


def made(kind: str, name: str, spec: Json, *, api: str = API, namespace: str = "shop", **meta: Any) -> Json:
    """An object with a spec."""
    where = {} if kind == "GatewayClass" else {"namespace": namespace}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, **where, **meta}, "spec": spec}


def gateway(provider: str, *listeners: Json, **spec: Any) -> list[Json]:
    """A Gateway ``shop/web`` of an implementation, with its class; one HTTP listener by default."""
    own = list(listeners) or [{"name": "http", "port": 80, "protocol": "HTTP"}]
    return [
        made("GatewayClass", provider, {"controllerName": CLASSES[provider]}),
        made("Gateway", "web", {"gatewayClassName": provider, "listeners": own, **spec}),
    ]


def route(name: str, *rules: Json, kind: str = "HTTPRoute", **more: Any) -> Json:
    """A route of ``shop/web``; ``parents``, ``hosts``, ``namespace`` and ``created`` may be given."""
    parents = more.get("parents") or [{"name": "web", "namespace": "shop"}]
    spec: Json = {"parentRefs": parents, "rules": list(rules)}
    if more.get("hosts"):
        spec["hostnames"] = more["hosts"]
    meta = {"creationTimestamp": more["created"]} if more.get("created") else {}
    return made(kind, name, spec, namespace=more.get("namespace", "shop"), **meta)


def rule(*backends: str | Json, path: str | Json | None = None, filters: Any = (), **match: Any) -> Json:
    """A rule: backends are names of Services (port 80), a path is a prefix unless it says more."""
    out: Json = {
        "backendRefs": [{"name": one, "port": 80} if isinstance(one, str) else one for one in backends]
    }
    if path is not None:
        match["path"] = {"type": "PathPrefix", "value": path} if isinstance(path, str) else path
    if match:
        out["matches"] = [match]
    if filters:
        out["filters"] = list(filters)
    return out


def app(
    name: str, *, namespace: str = "shop", ready: bool | None = True, spec: Json | None = None
) -> list[Json]:
    """A Service with port 80 and its pod; ``ready`` None leaves the pod out."""
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}}
    service["spec"] = spec or {"selector": {"app": name}, "ports": ports}
    if ready is None:
        return [service]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-1", "namespace": namespace, "labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": "example/app", "ports": [{"containerPort": 8080}]}]},
        "status": {
            "podIP": "10.0.0.9",
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }
    return [service, pod]


def text(objects: list[Json]) -> str:
    return yaml.safe_dump_all(objects)


def the_proxy(world: World, name: str = "web") -> Proxy | None:
    """The proxy of ``shop/NAME``, whoever programs it."""
    found = world.get(kinds.GATEWAY, "shop", name)
    for dialect in dialects():
        made_ = dialect.gateway_proxy(world, found) if found and dialect.gateway_proxy else None
        if made_ is not None:
            return made_
    return None


def traced(objects: list[Json], url: str, *, method: str = "GET", headers: list[str] | None = None) -> Trace:
    """The ways of a request to the Gateway ``shop/web``."""
    question = parse_question(url, method=method, headers=headers or [], via="gateway/web", namespace="shop")
    return answer(text(objects), lambda world: trace(world, question, dialects()))


def outcome(objects: list[Json], url: str, **request: Any) -> Outcome:
    """How the only way of a request ends."""
    paths = traced(objects, url, **request).paths
    assert len(paths) == 1, [path.outcome.reason for path in paths]
    return paths[0].outcome


def ends(objects: list[Json], url: str, **request: Any) -> str:
    """The Service that gets a request, or the status that refuses it."""
    found = outcome(objects, url, **request)
    if found.backend and found.backend.service and found.result.value == "delivered":
        return found.backend.service.name
    return str(found.status)


def seen(objects: list[Json], url: str, **request: Any) -> Request:
    """The request as the pod sees it."""
    paths = traced(objects, url, **request).paths
    assert len(paths) == 1
    last = paths[0].hops[-1].request
    assert last is not None, paths[0].outcome.reason
    return last
