"""One Envoy's config in one picture: listeners, chains, routes, clusters, endpoints, certificates.

Each entry comes with the declared object that its metadata names, or with none: control planes make entries
of their own (default routes of Services, passthrough), and EnvoyFilters leave no name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kgdiag.dialects.base import Dialect
from kgdiag.dialects.envoy.dump import Dump
from kgdiag.graph.core import pods_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.explanation import Table
from kgdiag.model.finding import Finding
from kgdiag.model.obj import Obj, dig
from kgdiag.model.picture import Picture
from kgdiag.model.proxies import admin_of
from kgdiag.model.proxy import (
    Cluster,
    Direct,
    Endpoint,
    FilterChain,
    Forward,
    HttpConnections,
    Listener,
    Origin,
    Proxy,
    Redirect,
    Route,
    RouteConfig,
    VirtualHost,
)
from kgdiag.trace.envoy import find_virtual_host
from kgdiag.trace.match import describe, string_matches

NONE = "no declared object"
_OWN_PORTS = (15021, 15090, 19001, 19002, 19003)  # readiness and metrics
_GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"


@dataclass(frozen=True, slots=True)
class Narrow:
    """What of a proxy is shown: one listener's port, what serves a host, what matches a path."""

    listener: int | None = None
    host: str = ""
    path: str = ""

    @property
    def narrows(self) -> bool:
        return self.listener is not None or bool(self.host or self.path)


def pods_behind(world: World, obj: Obj, dialects: Iterable[Dialect]) -> list[Obj]:
    """The pods whose proxy an object means: a pod itself, a workload's, a Gateway's, a Service's."""
    if obj.kind == kinds.POD:
        found = [obj]
    elif obj.kind == kinds.SERVICE:
        found = pods_of(world, obj)
    elif obj.kind == kinds.ISTIO_GATEWAY:
        selector = obj.mapping("spec.selector")
        found = world.select(kinds.POD, None, selector) if selector else []
    elif obj.kind == kinds.GATEWAY:
        found = world.select(kinds.POD, obj.namespace, {_GATEWAY_NAME: obj.name})
        for ref in (ref for one in dialects if one.data_plane for ref in one.data_plane(world, obj)):
            service = world.get(kinds.SERVICE, ref.namespace, ref.name)
            found = [*found, *(pods_of(world, service) if service is not None else ())]
    else:
        labels = obj.mapping("spec.selector.matchLabels")
        found = world.select(kinds.POD, obj.namespace, labels) if labels else []
    unique = {pod.ref: pod for pod in found if pod.text("status.phase") not in ("Succeeded", "Failed")}
    return sorted((pod for pod in unique.values() if admin_of(pod) is not None), key=_readiest)


def _readiest(pod: Obj) -> tuple[bool, str]:
    ready = any(
        item.get("type") == "Ready" and item.get("status") == "True" for item in pod.maps("status.conditions")
    )
    return (not ready, pod.name)


def picture(
    proxy: Proxy,
    dump: Dump,
    narrow: Narrow,
    *,
    via: str = "",
    findings: Iterable[Finding] = (),
    notes: Iterable[str] = (),
) -> Picture:
    """The picture of one proxy, narrowed to what was asked for."""
    listeners = [one for one in proxy.listeners() if narrow.listener in (None, one.port)]
    if narrow.listener is None and (narrow.host or narrow.path):
        listeners = [one for one in listeners if one.port not in _OWN_PORTS]
    configs = list(_configs(listeners, narrow))
    if narrow.host and proxy.role == "sidecar" and any(_by_name(hosts) for _, hosts in configs):
        # a Service's own listener takes every host, and gets connections to that Service only
        configs = [(config, hosts if _by_name(hosts) else []) for config, hosts in configs]
    if narrow.host or narrow.path:
        kept = {id(config) for config, hosts in configs if hosts}
        listeners = [one for one in listeners if _leads(one, kept, narrow)]
        configs = [pair for pair in configs if pair[1]]
    names = list(dict.fromkeys(_targets(listeners, configs))) if narrow.narrows else proxy.cluster_names()
    clusters = [found for name in names if (found := proxy.cluster(name)) is not None]
    lacking = [name for name in names if proxy.cluster(name) is None]
    certificates = list(_certificates(dump, listeners if narrow.narrows else None))
    config: dict[str, Any] = {
        "role": proxy.role,
        "via": via,
        "listeners": [_listener(one) for one in listeners],
        "route_configs": [_route_config(one, hosts) for one, hosts in configs],
        "clusters": [_cluster(one) for one in clusters],
        "certificates": certificates,
        "rejected": [{"what": what, "words": words} for what, words in dump.rejected],
    }
    tables = _tables(config)
    routes = sum(len(host.routes) for _, hosts in configs for host in hosts)
    summary = (
        f"{proxy.role} with {len(listeners)} listeners, {routes} routes, {len(clusters)} clusters"
        f"{' (of those that were asked for)' if narrow.narrows else ''}"
    )
    said = [f"routes lead to a cluster that it does not have: {name}" for name in lacking]
    said += [f"it refused {what}: {words}" for what, words in dump.rejected]
    return Picture(
        proxy.pod, summary, tuple(tables), findings=tuple(findings), notes=(*said, *notes), config=config
    )


# -- what is shown -------------------------------------------------------------------------------------


def _by_name(hosts: Iterable[VirtualHost]) -> bool:
    return any("*" not in host.domains for host in hosts)


def _chains(listener: Listener) -> Iterator[FilterChain]:
    yield from listener.chains
    if listener.default_chain is not None:
        yield listener.default_chain


def _configs(
    listeners: Iterable[Listener], narrow: Narrow
) -> Iterator[tuple[RouteConfig, list[VirtualHost]]]:
    """The route configs of the listeners, each once, with the virtual hosts that are shown."""
    seen: set[object] = set()
    for listener in listeners:
        for chain in _chains(listener):
            if not isinstance(chain.network, HttpConnections):
                continue
            config = chain.network.route_config
            key = config.name or id(config)
            if key in seen:
                continue
            seen.add(key)
            yield config, _hosts(config, narrow)


def _hosts(config: RouteConfig, narrow: Narrow) -> list[VirtualHost]:
    hosts = list(config.virtual_hosts)
    if narrow.host:
        found = find_virtual_host(config, narrow.host)
        hosts = [found[0]] if found is not None else []
    if narrow.path:
        hosts = [host for host in (_with_path(one, narrow.path) for one in hosts) if host.routes]
    return hosts


def _with_path(host: VirtualHost, path: str) -> VirtualHost:
    """The virtual host with the routes whose path condition a path meets; their other conditions stay."""
    bare = path.partition("?")[0]
    routes = tuple(
        one for one in host.routes if one.match.path is None or string_matches(one.match.path, bare)
    )
    return VirtualHost(host.name, host.domains, lambda: routes, host.require_tls, host.origin)


def _leads(listener: Listener, kept: set[int], narrow: Narrow) -> bool:
    """Whether a listener has a chain that the question is about: by its routes, or by its server names."""
    for chain in _chains(listener):
        if isinstance(chain.network, HttpConnections):
            if id(chain.network.route_config) in kept:
                return True
        elif narrow.host and not narrow.path and narrow.host.lower() in chain.match.server_names:
            return True
    return False


def _targets(
    listeners: Iterable[Listener], configs: Iterable[tuple[RouteConfig, list[VirtualHost]]]
) -> Iterator[str]:
    for _, hosts in configs:
        for host in hosts:
            for route in host.routes:
                if isinstance(route.action, Forward):
                    yield from (one.cluster for one in route.action.clusters)
    for listener in listeners:
        for chain in _chains(listener):
            if not isinstance(chain.network, HttpConnections):
                yield from (one.cluster for one in chain.network.clusters)


# -- as data -------------------------------------------------------------------------------------------


def _origin(origin: Origin | None) -> dict[str, Any] | None:
    if origin is None:
        return None
    return {**origin.ref.to_json(), "part": origin.part}


def _listener(one: Listener) -> dict[str, Any]:
    return {
        "name": one.name,
        "address": one.address,
        "port": one.port,
        "origin": _origin(one.origins[0] if one.origins else None),
        "chains": [_chain(chain) for chain in _chains(one)],
    }


def _chain(one: FilterChain) -> dict[str, Any]:
    match, network = one.match, one.network
    out: dict[str, Any] = {
        "name": one.name,
        "server_names": list(match.server_names),
        "transport": match.transport,
        "alpn": list(match.alpn),
        "port": match.port,
        "addresses": list(match.addresses),
        "tls": str(one.tls.mode),
        "certificates": list(one.tls.certificates),
        "filters": [item.name for item in network.filters],
        "origin": _origin(one.origin),
    }
    if isinstance(network, HttpConnections):
        return {**out, "route_config": network.route_config.name}
    return {**out, "clusters": [{"name": item.cluster, "weight": item.weight} for item in network.clusters]}


def _route_config(config: RouteConfig, hosts: Iterable[VirtualHost]) -> dict[str, Any]:
    return {
        "name": config.name,
        "virtual_hosts": [
            {
                "name": host.name,
                "domains": list(host.domains),
                "origin": _origin(host.origin),
                "routes": [_route(one) for one in host.routes],
            }
            for host in hosts
        ],
    }


def _route(one: Route) -> dict[str, Any]:
    return {
        "name": one.name,
        "match": matches_text(one),
        "action": action_text(one),
        "origin": _origin(one.origin),
    }


def matches_text(one: Route) -> str:
    """The conditions of a route in words."""
    match = one.match
    parts = [f"path {describe(match.path)}"] if match.path is not None else ["any path"]
    for item in match.headers:
        parts.append(f"{item.name} {'not ' if item.invert else ''}{_value(item.match)}")
    parts += [f"query {item.name} {_value(item.match)}" for item in match.query]
    parts += ["gRPC only"] if match.grpc else []
    parts += [f"if {item}" for item in match.dynamic]
    return ", ".join(parts)


def _value(match: Any) -> str:
    return describe(match) if match is not None else "present"


def action_text(one: Route) -> str:
    """What a route does, in words."""
    action = one.action
    if isinstance(action, Redirect):
        parts = [action.scheme or "", action.host or "", str(action.port or ""), action.path or ""]
        where = " ".join(part for part in parts if part)
        return f"redirect {action.status}{f' to {where}' if where else ''}"
    if isinstance(action, Direct):
        return f"answer {action.status}"
    named = [
        f"{item.cluster}{f' ({item.weight})' if len(action.clusters) > 1 else ''}" for item in action.clusters
    ]
    if action.cluster_header:
        named = [f"the cluster that header {action.cluster_header} names"]
    parts = [", ".join(named) or action.dynamic or "no cluster"]
    if action.host_rewrite:
        parts.append(f"Host {action.host_rewrite}")
    if action.path_rewrite is not None:
        parts.append(f"path {action.path_rewrite.how} {action.path_rewrite.value}")
    return "; ".join(parts)


def _cluster(one: Cluster) -> dict[str, Any]:
    return {
        "name": one.name,
        "type": one.kind,
        "tls": str(one.tls),
        "service": one.service.to_json() if one.service is not None else None,
        "port": one.port,
        "subset": one.subset,
        "origin": _origin(one.origins[0] if one.origins else None),
        "endpoints": [_endpoint(item) for item in one.endpoints],
    }


def _endpoint(one: Endpoint) -> dict[str, Any]:
    return {
        "address": one.hostname or one.address,
        "port": one.port,
        "pod": one.pod.to_json() if one.pod is not None else None,
        "health": str(one.health),
        "weight": round(one.weight, 6),
        "mesh_tls": one.tls,
    }


def _certificates(dump: Dump, listeners: Iterable[Listener] | None) -> Iterator[dict[str, Any]]:
    """The secrets of a dump with what their certificates say; those that the listeners name, if given."""
    wanted = None
    if listeners is not None:
        wanted = {name for one in listeners for chain in _chains(one) for name in chain.tls.certificates}
    for name, secret in dump.secrets.items():
        if wanted is not None and name not in wanted:
            continue
        for kind in ("tls_certificate", "validation_context"):
            facts = dig(secret, f"{kind}.certificate")
            if not isinstance(facts, Mapping):
                continue
            bundle = facts.get("caBundle") or [{}]
            first = facts if kind == "tls_certificate" else bundle[0]
            yield {
                "name": name,
                "kind": "certificate" if kind == "tls_certificate" else "authorities",
                "sans": list(facts.get("sans") or ()),
                "subject": first.get("subject"),
                "issuer": first.get("issuer"),
                "not_before": first.get("notBefore"),
                "not_after": first.get("notAfter"),
            }
    for name in sorted(dump.warming_secrets):
        if wanted is None or name in wanted:
            yield {"name": name, "kind": "not arrived"}


# -- as tables -----------------------------------------------------------------------------------------

Row = tuple[str, ...]


def _tables(config: Mapping[str, Any]) -> Iterator[Table]:
    made: list[tuple[str, tuple[str, ...], Callable[[Mapping[str, Any]], Iterator[Row]]]] = [
        ("Listeners", ("port", "takes", "does", "from"), _listener_rows),
        ("Routes", ("domains", "match", "does", "from"), _route_rows),
        ("Clusters", ("cluster", "speaks", "endpoints", "from"), _cluster_rows),
        ("Certificates", ("name", "valid until", "for"), _certificate_rows),
    ]
    for title, columns, rows in made:
        yield Table(title, columns, tuple(rows(config)))


def _listener_rows(config: Mapping[str, Any]) -> Iterator[Row]:
    for one in config["listeners"]:
        for chain in one["chains"]:
            origin = chain["origin"] or one["origin"]
            yield (f"{one['address']}:{one['port']}", _takes(chain), _does(chain), _from(origin))


def _takes(chain: Mapping[str, Any]) -> str:
    parts = []
    if chain["port"]:
        parts.append(f"port {chain['port']}")
    if chain["addresses"]:
        parts.append(f"to {', '.join(chain['addresses'][:2])}")
    if chain["server_names"]:
        more = f" and {len(chain['server_names']) - 3} more" if len(chain["server_names"]) > 3 else ""
        parts.append(f"SNI {', '.join(chain['server_names'][:3])}{more}")
    if chain["alpn"]:
        parts.append(f"ALPN {', '.join(chain['alpn'])}")
    if chain["tls"] != "none":
        parts.append(f"TLS {chain['tls']}")
    elif chain["transport"]:
        parts.append(chain["transport"])
    return "; ".join(parts) or "anything"


def _does(chain: Mapping[str, Any]) -> str:
    filters = f"{', '.join(dict.fromkeys(chain['filters']))}; " if chain["filters"] else ""
    if "route_config" in chain:
        return f"{filters}HTTP by {chain['route_config'] or 'its own routes'}"
    return f"{filters}TCP to {', '.join(item['name'] for item in chain['clusters']) or 'nothing'}"


def _route_rows(config: Mapping[str, Any]) -> Iterator[Row]:
    for one in config["route_configs"]:
        for host in one["virtual_hosts"]:
            more = f" and {len(host['domains']) - 2} more" if len(host["domains"]) > 2 else ""
            domains = f"{', '.join(host['domains'][:2])}{more} ({one['name']})"
            if not host["routes"]:
                yield (domains, "", "no routes", _from(host["origin"]))
            for at, route in enumerate(host["routes"]):
                origin = route["origin"] or host["origin"]
                yield (domains if at == 0 else "", route["match"], route["action"], _from(origin))


def _cluster_rows(config: Mapping[str, Any]) -> Iterator[Row]:
    for one in config["clusters"]:
        shown = [
            f"{_who(item)}{'' if item['health'] == 'healthy' else ' ' + item['health']}"
            for item in one["endpoints"][:4]
        ]
        more = f" and {len(one['endpoints']) - 4} more" if len(one["endpoints"]) > 4 else ""
        known = one["origin"] or one["service"]
        yield (one["name"], one["tls"], (", ".join(shown) or one["type"]) + more, _from(known))


def _who(endpoint: Mapping[str, Any]) -> str:
    pod = endpoint["pod"]
    where = f"{pod['namespace']}/{pod['name']}" if pod else endpoint["address"]
    return f"{where}:{endpoint['port']}"


def _certificate_rows(config: Mapping[str, Any]) -> Iterator[Row]:
    for one in config["certificates"]:
        names = ", ".join(one.get("sans") or ()) or str(one.get("subject") or "")
        yield (one["name"], str(one.get("not_after") or one["kind"]), names)


def _from(origin: Mapping[str, Any] | None) -> str:
    if not origin:
        return NONE
    part = f" {origin['part']}" if origin.get("part") else ""
    place = f"{origin['namespace']}/" if origin["namespace"] else ""
    return f"{origin['kind']} {place}{origin['name']}{part}"
