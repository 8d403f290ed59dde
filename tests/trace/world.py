"""Worlds and proxies for the walker's tests: manifests as text, proxies made by hand."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kgdiag.collect.files import read_files
from kgdiag.dialects.base import Dialect
from kgdiag.graph.ask import ask
from kgdiag.graph.assumed import AssumedPods
from kgdiag.graph.world import World
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import (
    ChainMatch,
    ClientTls,
    Cluster,
    Endpoint,
    FilterChain,
    Forward,
    Health,
    How,
    HttpConnections,
    HttpFilter,
    Listener,
    Origin,
    Proxy,
    Route,
    RouteConfig,
    RouteMatch,
    ServerTls,
    StringMatch,
    TcpConnections,
    TlsMode,
    VirtualHost,
    WeightedCluster,
)
from kgdiag.model.read import Origin as Source
from kgdiag.model.ref import Ref
from kgdiag.model.trace import PathTaken, Trace
from kgdiag.trace import trace
from kgdiag.trace.question import parse_question

GATEWAY = Ref("networking.istio.io", "Gateway", "infra", "gw")
ROUTES = Ref("networking.istio.io", "VirtualService", "apps", "web")


def service(name: str, namespace: str, ports: str, selector: str | None = None, **spec: Any) -> str:
    """A Service: ``ports`` is ``80:8080,443:https``, ``selector`` the value of ``app`` (its own name)."""
    lines = []
    for number, pair in enumerate(ports.split(",")):
        port, _, target = pair.partition(":")
        lines.append(f"  - {{name: http-{number}, port: {port}, targetPort: {target or port}}}")
    chosen = f"  selector: {{app: {selector or name}}}\n" if selector != "" else ""
    extra = "".join(f"  {key}: {value}\n" for key, value in spec.items())
    meta = f"metadata: {{name: {name}, namespace: {namespace}}}"
    return (
        f"---\napiVersion: v1\nkind: Service\n{meta}\nspec:\n{chosen}{extra}  ports:\n"
        + "\n".join(lines)
        + "\n"
    )


def pod(
    name: str,
    namespace: str,
    app: str | None = None,
    *,
    ready: bool = True,
    ip: str = "",
    node: str = "n1",
    labels: str = "",
    container: str = "main",
    port: int = 8080,
) -> str:
    """A pod that runs, labelled ``app``."""
    more = f", {labels}" if labels else ""
    address = f"podIP: {ip}, " if ip else ""
    return (
        f"---\napiVersion: v1\nkind: Pod\n"
        f"metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app or name}{more}}}}}\n"
        f"spec:\n  nodeName: {node}\n  containers:\n"
        f"  - {{name: {container}, image: x, ports: [{{containerPort: {port}}}]}}\n"
        f"status: {{{address}phase: Running, conditions: [{{type: Ready, status: '{ready}'}}]}}\n"
    )


def route(
    path: str = "/",
    to: Iterable[tuple[str, int]] = (("web", 1),),
    how: How = How.PREFIX,
    part: str = "",
    **more: Any,
) -> Route:
    """A route that forwards to clusters by weight."""
    match = more.pop("match", None) or RouteMatch(StringMatch(how, path))
    shares = tuple(WeightedCluster(name, weight) for name, weight in to)
    action = more.pop("action", None) or Forward(shares, **more.pop("forward", {}))
    return Route(match, action, Origin(ROUTES, part or f"http[{path}]"), **more)


def config(
    *routes: Route, domains: tuple[str, ...] = ("*",), name: str = "http.8080", **more: Any
) -> RouteConfig:
    """A route config with one virtual host."""
    return RouteConfig(name, (VirtualHost("vh", domains, lambda: routes, origin=Origin(ROUTES, "")),), **more)


def chain(
    what: RouteConfig | TcpConnections,
    *,
    tls: ServerTls | None = None,
    match: ChainMatch | None = None,
    filters: tuple[HttpFilter, ...] = (),
    **http: Any,
) -> FilterChain:
    """A filter chain of the test Gateway."""
    network = what if isinstance(what, TcpConnections) else HttpConnections(lambda: what, filters, **http)
    return FilterChain(
        "c", match or ChainMatch(), network, tls or ServerTls(TlsMode.NONE), Origin(GATEWAY, "servers[0]")
    )


def listener(port: int, *chains: FilterChain, **more: Any) -> Listener:
    return Listener(
        f"0.0.0.0_{port}", "0.0.0.0", port, chains, origins=(Origin(GATEWAY, "servers[0]"),), **more
    )


def cluster(
    name: str,
    *endpoints: Endpoint,
    tls: ClientTls = ClientTls.PLAIN,
    svc: str = "",
    port: int = 80,
    **more: Any,
) -> Cluster:
    """An EDS cluster that stands for ``apps/svc``."""
    ref = Ref("", "Service", "apps", svc or name)
    kind = more.pop("kind", "eds")
    return Cluster(
        name, kind, lambda: endpoints, tls=tls, service=more.pop("service", ref), port=port, **more
    )


def at(name: str, namespace: str = "apps", port: int = 8080, **more: Any) -> Endpoint:
    """An endpoint on a pod."""
    return Endpoint("", port, Ref("", "Pod", namespace, name), **more)


def down(name: str, namespace: str = "apps", port: int = 8080) -> Endpoint:
    return at(name, namespace, port, health=Health.UNHEALTHY)


def proxy(
    name: str,
    namespace: str,
    listeners: Iterable[Listener] = (),
    clusters: Iterable[Cluster] = (),
    role: Any = "gateway",
    **more: Any,
) -> Proxy:
    """A proxy in a pod."""
    by_port = {one.port: one for one in listeners}
    by_name = {one.name: one for one in clusters}
    return Proxy(
        Ref("", "Pod", namespace, name),
        role,
        "istio",
        "intent",
        by_port.get,
        by_name.get,
        lambda: tuple(by_port),
        namespace=namespace,
        **more,
    )


def dialect(*proxies: Proxy) -> Dialect:
    """A dialect whose proxies run in the pods that they name."""
    by_pod = {one.pod: one for one in proxies}

    def proxy_of(_world: World, obj: Obj) -> Proxy | None:
        return by_pod.get(obj.ref)

    return Dialect("test", proxy_of=proxy_of)


def ask_of(text: str, question: Callable[[World], Any], *, complete: bool = True) -> Any:
    """The answer to a question about manifests, with pods assumed for workloads, as the app reads them."""
    source = AssumedPods(read_files(["-"], complete=complete, stdin=io.BytesIO(text.encode())))
    return ask(source, World(Source.FILES, complete=complete), question)


def run(
    text: str, url: str, *proxies: Proxy, complete: bool = True, dialects: Any = None, **asked: Any
) -> Trace:
    """A trace over manifests and hand-made proxies."""
    question = parse_question(url, **asked)
    known = dialects if dialects is not None else (dialect(*proxies),)
    found: Trace = ask_of(text, lambda world: trace(world, question, known), complete=complete)
    return found


def only(found: Trace) -> PathTaken:
    """The one path of a trace."""
    assert len(found.paths) == 1, [
        (str(path.entry), path.weight, path.outcome.reason) for path in found.paths
    ]
    return found.paths[0]


def said(path: PathTaken) -> Mapping[str, str]:
    """The last detail of each action."""
    return {str(hop.action): hop.detail for hop in path.hops}
