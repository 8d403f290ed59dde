"""Istio as an implementation of the Gateway API.

istiod makes Istio Gateways and VirtualServices of the declared objects and programs those; what follows here
is the result. Sources, all of istio/istio: pilot/pkg/config/kube/gateway/{conversion,route_collections,
gateway_collection}.go and gatewaycommon/{gateway_utils,listener_conflict}.go (what is made of the objects),
pilot/pkg/networking/core/gateway.go and core/route/route.go (how Envoy gets it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kgdiag.dialects.base import Dialect
from kgdiag.dialects.gateway_api import listeners, wiring
from kgdiag.dialects.gateway_api.backends import (
    BackendRef,
    BackendTls,
    backend_ref,
    backend_tls,
    may_refer,
    with_tls,
)
from kgdiag.dialects.gateway_api.hostnames import covers, intersect
from kgdiag.dialects.gateway_api.provider import DataPlane, Place, Placed, Provider, implementation
from kgdiag.dialects.gateway_api.routes import (
    EXACT,
    PREFIX,
    REGEX,
    LateRoute,
    Match,
    cors,
    full_path,
    full_rewrite,
    grpc_method,
    header_edits,
    joined,
    path_match,
    path_modifier,
    prefix_path,
    quote,
    refused,
    route_match,
)
from kgdiag.dialects.gateway_api.spec import ListenerSpec, hostnames_of, order_key
from kgdiag.dialects.istio import clusters, security
from kgdiag.dialects.istio.gateway import gateway_proxy, path_normalization
from kgdiag.dialects.istio.mesh import Mesh, is_gateway_pod, mesh_of, principal
from kgdiag.graph.core import cluster_name, pods_of, resolve_target, service_ports
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import (
    Action,
    Cluster,
    Excluded,
    Forward,
    HeaderEdits,
    HttpConnections,
    HttpFilter,
    Listener,
    PathRewrite,
    Proxy,
    Redirect,
    Route,
    RouteConfig,
    RouteMatch,
    WeightedCluster,
)
from kgdiag.model.ref import Ref

NAME, CLASS = "gateway.networking.k8s.io/gateway-name", "gateway.networking.k8s.io/gateway-class-name"
MANAGED, CONTROLLER = "gateway.istio.io/managed", "istio.io-gateway-controller"
UNKNOWN_SERVICE = "UnknownService"  # istiod's name for what a refused backendRef leads to
_ABLE = {
    kinds.HTTP_ROUTE: {
        "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "RequestMirror", "URLRewrite",
        "CORS",
    },
    kinds.GRPC_ROUTE: {"RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror"},
}  # fmt: skip
_RANK = {EXACT: 3, PREFIX: 2, REGEX: 1}


class IstioGateways(Provider):
    """How istiod's Gateway API differs from the specification, and what it leaves open."""

    name = "istio"
    title = "Istio"
    controllers = ("istio.io/gateway-controller",)
    classes = ("istio",)

    # -- the proxies -----------------------------------------------------------------------------------

    def data_plane(self, world: World, gateway: Obj) -> DataPlane | None:
        if not is_managed(gateway):
            return _manual_plane(world, gateway)
        plain = f"{gateway.name}-{gateway.text('spec.gatewayClassName')}"
        name = gateway.annotations.get("gateway.istio.io/name-override", plain)
        account = gateway.annotations.get("gateway.istio.io/service-account", name)
        service = world.get(kinds.SERVICE, gateway.namespace, name, optional=True)
        pods = world.select(kinds.POD, gateway.namespace, {NAME: gateway.name}, optional=True)
        return DataPlane(
            workload=Ref("apps", "Deployment", gateway.namespace, name),
            services=(Ref("", "Service", gateway.namespace, name),),
            pods=tuple(pods),
            namespace=gateway.namespace,
            service_account=account,
            service=service,
        )

    def gateways_of(self, world: World, pod: Obj) -> tuple[Ref, ...] | None:
        name = pod.labels.get(NAME)
        if not name or pod.labels.get(MANAGED, "") not in ("", CONTROLLER):
            return None
        if MANAGED not in pod.labels and not is_gateway_pod(pod):
            return None
        return (Ref(kinds.GATEWAY.group, "Gateway", pod.namespace, name),)

    def container_port(self, place: Place, listener: ListenerSpec) -> int:
        """The listener's own port; behind a Service that the Gateway names, that Service's target port."""
        if is_managed(listener.gateway):
            return listener.port
        plane = _manual_plane(place.world, listener.gateway)
        service = plane.service if plane else None
        for port in service_ports(service) if service else ():
            if port.port == listener.port and place.pod is not None:
                return resolve_target(place.pod, port) or listener.port
        return listener.port

    def identity(self, place: Place) -> str | None:
        return principal(_mesh(place), _pod(place))

    # -- listeners -------------------------------------------------------------------------------------

    def conflicts(self, listeners: Sequence[ListenerSpec]) -> dict[int, str]:
        """A listener loses to an earlier one that it cannot share the port with; the earlier one stays.

        HTTP and TLS with different hostnames may share a port by their status, but a port of the proxy is
        one or the other: the first by name has it (measured with Istio 1.31).
        """
        lost: dict[int, str] = {}
        kept: list[ListenerSpec] = []
        for index, item in enumerate(listeners):
            prior = next((one for one in kept if not _distinct(item, one)), None)
            if prior is None:
                kept.append(item)
            else:
                same = prior.protocol == item.protocol and item.protocol not in ("TCP", "UDP")
                lost[index] = "HostnameConflict" if same else "ProtocolConflict"
        for port in dict.fromkeys(item.port for item in kept):
            here = sorted((item for item in kept if item.port == port), key=_server_key)
            other = [item for item in here if (item.protocol == "HTTP") != (here[0].protocol == "HTTP")]
            lost |= {index: "ProtocolConflict" for index, item in enumerate(listeners) if item in other}
        return lost

    def listener_problem(self, listener: ListenerSpec) -> str | None:
        if listener.protocol not in ("HTTP", "HTTPS", "TLS", "TCP"):
            return f"{listener.title} has protocol {listener.protocol}, which Istio's gateways do not serve"
        if listener.protocol in ("HTTPS", "TLS") and not listener.tls_mode:
            return f"{listener.title} has no tls"
        return None

    def hosts(
        self, listener: ListenerSpec, siblings: Sequence[ListenerSpec], names: Sequence[str]
    ) -> tuple[str, ...]:
        others = _others(listener, siblings)
        found: set[str] = set()
        for name in names or ("*",):
            if _is_ours(name, listener.hostname, others):
                found.update(intersect(listener.hostname, (name,)))
        return tuple(sorted(found))

    # -- routes ----------------------------------------------------------------------------------------

    def ordered(self, place: Place, host: str, found: list[Placed]) -> list[Placed]:
        """Matches are sorted among the routes that have one hostname on one listener; everything behind
        one that matches all requests is left out. Then those that match all go last."""
        groups: dict[tuple[str, ...], list[Placed]] = {}
        oldest: dict[tuple[str, ...], tuple[str, ...]] = {}
        for one in sorted(found, key=lambda item: order_key(item.match.route)):
            for name in hostnames_of(one.match.route) or ("*",):
                if host in intersect(one.listener.hostname, (name,)):
                    key: tuple[str, ...] = (*_server_key(one.listener), one.match.route.kind.name, name)
                    groups.setdefault(key, []).append(one)
                    oldest.setdefault(key, (one.match.route.created, name, one.match.route.namespace))
        out: list[Placed] = []
        for key in sorted(groups, key=lambda item: (item[:3], oldest[item], item)):
            out += _first_until_catch_all(groups[key])
        last = [one for one in out if _is_catch_all(one.match)]
        return [one for one in out if not _is_catch_all(one.match)] + last

    def connections(
        self, place: Place, make: Callable[[], RouteConfig], listener: ListenerSpec
    ) -> HttpConnections:
        normalize, merge, decode = path_normalization(_mesh(place))
        return HttpConnections(
            make,
            self.filters(place, listener),
            normalize_path=normalize,
            merge_slashes=merge,
            escaped_slashes="decode" if decode else "keep",
        )

    def filters(self, place: Place, listener: ListenerSpec) -> tuple[HttpFilter, ...]:
        port = self.container_port(place, listener)
        gateway = listener.gateway.ref
        return security.filters(place.world, _mesh(place), _pod(place), port=port, gateway=gateway)

    def dropped(self, place: Place, route: Obj) -> str | None:
        """Some mistakes in one rule make istiod drop all of a route."""
        for index, rule in enumerate(route.items("spec.rules")):
            if isinstance(rule, Mapping):
                problem = _hard_error(place, Match(route, index, None, {}))
                if problem:
                    return f"Istio programs nothing of it: {problem}"
        return None

    def lower(self, place: Place, match: Match, listener: ListenerSpec, host: str) -> Route | None:
        named = match.route.text(f"{match.rule_part}.name")
        name = named or f"{match.route.namespace}.{match.route.name}.{match.rule}"
        test = route_match(match, path_match(_path(match)))
        return LateRoute(test, name, match, lambda: _whole(place, match, listener, test, name))

    def l4_clusters(self, place: Place, route: Obj) -> tuple[WeightedCluster, ...] | None:
        rules = [Match(route, index, None, {}) for index in range(len(route.items("spec.rules")))]
        if not rules:
            return None
        refs = [ref for ref in rules[0].backends if ref.weight > 0]
        if not refs:
            return (WeightedCluster("outbound|65535|zero-weight|internal.cluster.local", 1),)
        return tuple(WeightedCluster(_cluster(place, ref), ref.weight, origin=ref.origin) for ref in refs)

    def same_names(self, names: Sequence[str], taken: set[str]) -> tuple[str, ...]:
        """A route loses all its names where one of them is taken."""
        return () if any(name in taken for name in names) else tuple(names)

    # -- names -----------------------------------------------------------------------------------------

    def cluster(self, place: Place, name: str) -> Cluster | None:
        found = clusters.cluster(place.world, _mesh(place), _pod(place), name)
        if found is None or found.service is None or found.service.kind != "Service":
            return found
        service = place.world.get(kinds.SERVICE, found.service.namespace, found.service.name)
        for port in service_ports(service) if service else ():
            if service is not None and port.port == found.port:
                tls = backend_tls(place.world, service, port)
                return _without_authority(found, tls) if tls and tls.problem else with_tls(found, tls)
        return found

    def route_config_name(self, listener: ListenerSpec) -> str:
        if listener.protocol != "HTTPS":
            return f"http.{listener.port}"
        return f"https.{listener.port}.default.{_internal_name(listener)}.{listener.owner.namespace}"

    def virtual_host_name(self, listener: ListenerSpec, host: str) -> str:
        return f"{host}:{listener.port}"


def _without_authority(found: Cluster, tls: BackendTls) -> Cluster:
    """A cluster whose CA Envoy never gets, so that no connection comes about: 503 UF.

    Measured with Istio 1.31; in the first 15 s the cluster is not there at all, and the answer is 500.
    """
    reason = Excluded(tls.policy.ref, "spec.validation", f"{tls.policy.ref}: {tls.problem}", 0)
    return replace(
        with_tls(found, tls),
        make_endpoints=tuple,
        make_excluded=lambda: (reason,),
        empty_status=503,
        empty_flag="UF",
    )


# -- data planes -------------------------------------------------------------------------------------------


def is_managed(gateway: Obj) -> bool:
    """Whether istiod makes a Deployment and Service for a Gateway: not where it names a Service."""
    addresses = gateway.maps("spec.addresses")
    if not addresses:
        return True
    return len(addresses) == 1 and addresses[0].get("type", "IPAddress") == "IPAddress"


def named_services(gateway: Obj) -> list[Ref]:
    """The Services that an unmanaged Gateway names by its addresses."""
    out = []
    for item in gateway.maps("spec.addresses"):
        value = str(item.get("value") or "")
        if item.get("type") != "Hostname" or not value:
            continue
        found = (value, gateway.namespace) if "." not in value else cluster_name(value)
        if found:
            out.append(Ref("", "Service", found[1], found[0]))
    return out


def _manual_plane(world: World, gateway: Obj) -> DataPlane | None:
    refs = named_services(gateway)
    if not refs:
        return None
    service = world.get(kinds.SERVICE, refs[0].namespace, refs[0].name)
    pods = tuple(pods_of(world, service)) if service else ()
    workload = Ref("apps", "Deployment", refs[0].namespace, refs[0].name)
    return DataPlane(workload, tuple(refs), pods, refs[0].namespace, "", service)


def _mesh(place: Place) -> Mesh:
    return mesh_of(place.world, place.pod)


def _pod(place: Place) -> Obj:
    """The gateway's pod, or a stand-in with the labels and account that istiod would give it."""
    if place.pod is not None:
        return place.pod
    gateway = place.gateways[0]
    plane = PROVIDER.data_plane(place.world, gateway)
    labels = {NAME: gateway.name, CLASS: gateway.text("spec.gatewayClassName"), MANAGED: CONTROLLER}
    return Obj(
        kinds.POD,
        {
            "metadata": {
                "name": plane.workload.name if plane else gateway.name,
                "namespace": plane.namespace if plane else gateway.namespace,
                "labels": {**labels, "istio.io/rev": gateway.labels.get("istio.io/rev", "default")},
            },
            "spec": {
                "serviceAccountName": plane.service_account if plane else "",
                "containers": [{"name": "istio-proxy", "args": ["proxy", "router"]}],
            },
        },
    )


# -- listeners ---------------------------------------------------------------------------------------------


def _distinct(one: ListenerSpec, other: ListenerSpec) -> bool:
    """Whether two listeners can be on one proxy: on other ports, or HTTP, HTTPS and TLS by hostname."""
    if one.port != other.port:
        return True
    plain = {"TCP", "UDP"}
    if one.protocol in plain or other.protocol in plain:
        return False
    return one.hostname != other.hostname


def _others(listener: ListenerSpec, siblings: Sequence[ListenerSpec]) -> list[str]:
    """Hostnames of the listeners with the same port and protocol."""
    return [
        item.hostname
        for item in siblings
        if item is not listener
        and (item.port, item.protocol) == (listener.port, listener.protocol)
        and item.hostname != listener.hostname
    ]


def _is_ours(name: str, ours: str, others: Sequence[str]) -> bool:
    """Whether a route's hostname stays with a listener, none of the others being more specific for it.

    Source: conversion.go hostnameAllowedByIsolation.
    """
    if ours and not ours.startswith("*"):
        return True
    if ours and not (covers(ours, name) or covers(name, ours)):
        return False
    return not any(len(ours) <= len(other) and other and covers(other, name) for other in others)


def _server_key(listener: ListenerSpec) -> tuple[str, str, str]:
    """The order of servers: oldest owner first, then by the name of the Gateway that istiod makes."""
    return (listener.owner.created, _internal_name(listener), listener.owner.namespace)


def _internal_name(listener: ListenerSpec) -> str:
    """The name of the Istio Gateway that istiod makes of a listener."""
    return f"{listener.owner.name}~istio-autogenerated-k8s-gateway~{listener.name}"


# -- matches -----------------------------------------------------------------------------------------------


def _path(match: Match) -> tuple[str, str] | None:
    """The path that istiod matches; None where it looks at none."""
    if not match.grpc:
        kind, value = match.path or (PREFIX, "/")
        return (kind, value.removesuffix("/") or "/") if kind == PREFIX else (kind, value)
    kind, service, method = grpc_method(match)
    if not service and not method:
        return None
    if kind == REGEX:
        if not method:
            return (REGEX, f"/{service}/.+")
        return (REGEX, f"/{service or '[^/]+'}/{method}")
    if not method:
        return (PREFIX, f"/{service}")
    return (EXACT, f"/{service}/{method}") if service else (REGEX, f"/[^/]+/{method}")


def _sort_key(match: Match) -> tuple[int, int, int, int, int, int]:
    """Exact over prefix over regular expression, longer paths, a method, more headers, more parameters."""
    if match.grpc and match.index is None:
        return (1, 0, 0, 0, 0, 0)
    path = _path(match)
    rank, length = (_RANK.get(path[0], -1), len(path[1].encode())) if path else (-1, 0)
    if match.grpc and path and path[0] == PREFIX:
        length += 1  # istiod sorts it with the slash that it takes off later
    return (0, -rank, -length, -bool(match.method), -len(match.headers), -len(match.query))


def _is_catch_all(match: Match) -> bool:
    path = _path(match)
    everything = path is None or path in ((PREFIX, "/"), (REGEX, ".*"))
    return everything and not match.headers and not match.query and not match.method and not match.doubt


def _first_until_catch_all(group: list[Placed]) -> Iterable[Placed]:
    for one in sorted(group, key=lambda item: _sort_key(item.match)):
        yield one
        if _is_catch_all(one.match):
            return


def _hard_error(place: Place, match: Match) -> str:
    able = _ABLE.get(match.route.kind)
    if able is None:
        return ""
    for index, item in enumerate(match.filters):
        if item.get("type") not in able:
            return (
                f"{match.rule_part}.filters[{index}] has type {item.get('type')}, which it does not support"
            )
    refs = match.backends
    if sum(ref.weight for ref in refs) == 0 and match.filter("RequestRedirect") is None:
        return ""
    for ref in refs:
        if ref.weight == 0:
            continue
        for index, item in enumerate(ref.filters):
            if item.get("type") not in ("RequestHeaderModifier", "ResponseHeaderModifier"):
                kind = item.get("type")
                return f"{ref.part}.filters[{index}] has type {kind}, which it does not support there"
        problem = _hard_backend(place, ref)
        if problem:
            return problem
    return ""


def _hard_backend(place: Place, ref: BackendRef) -> str:
    if may_refer(place.world, ref) is False or not _known_kind(ref):
        return ""
    if (ref.group, ref.kind) == ("", "Service") and "." in ref.name:
        return f"{ref.part} names the host {ref.name} instead of a Service"
    return f"{ref.part} has no port" if ref.port is None else ""


def _known_kind(ref: BackendRef) -> bool:
    return (ref.group, ref.kind) in (
        ("", "Service"),
        ("networking.istio.io", "Hostname"),
        ("multicluster.x-k8s.io", "ServiceImport"),
    )


# -- actions -----------------------------------------------------------------------------------------------


def _whole(place: Place, match: Match, listener: ListenerSpec, test: RouteMatch, name: str) -> Route:
    action, request, response = _action(place, match, listener)
    return Route(
        match=test,
        action=action,
        origin=match.origin,
        name=name,
        request_headers=request,
        response_headers=response,
        cors=cors(match.filter("CORS")),
        mirrors=tuple(_mirrors(place, match)) if isinstance(action, Forward) else (),
    )


def _action(place: Place, match: Match, listener: ListenerSpec) -> tuple[Action, HeaderEdits, HeaderEdits]:
    """What a rule does, with its edits of request and response headers."""
    settings = match.filter("RequestHeaderModifier")
    request = _without_host(header_edits(settings, by_name=True))
    response = _without_host(header_edits(match.filter("ResponseHeaderModifier"), by_name=True))
    redirect = match.filter("RequestRedirect")
    if redirect is not None:
        return _redirect(redirect, listener), request, response
    refs = [ref for ref in match.backends if ref.weight > 0]
    if not refs:
        return refused(500, f"{match.rule_part} has no backend with a weight above 0"), request, response
    made = tuple(_weighted(place, ref) for ref in refs)
    if len(made) == 1:
        request = joined(request, made[0].request_headers)
        response = joined(response, made[0].response_headers)
        made = (replace(made[0], request_headers=HeaderEdits(), response_headers=HeaderEdits(), weight=1),)
    rewrite = match.filter("URLRewrite") or {}
    timeout, retries = _times(match)
    host = str(rewrite.get("hostname") or "") or _authority(settings) or _authority_of(refs)
    action = Forward(
        clusters=made,
        host_rewrite=host or None,
        path_rewrite=_rewrite(rewrite, match),
        not_found=500,
        timeout=timeout,
        retries=retries,
    )
    return action, request, response


def _without_host(edits: HeaderEdits) -> HeaderEdits:
    """Host cannot be edited: setting it rewrites the authority, removing it does nothing."""

    def kept(name: str) -> bool:
        return name != "host" and not name.startswith(":")

    return HeaderEdits(
        tuple(item for item in edits.ops if kept(item[1])), tuple(name for name in edits.remove if kept(name))
    )


def _authority(settings: Mapping[str, Any] | None) -> str:
    """The Host that a header modifier sets or adds."""
    edits = header_edits(settings, ("add", "set"))
    named = [value for _, name, value in edits.ops if name in ("host", ":authority")]
    return named[-1] if named else ""


def _authority_of(refs: Sequence[BackendRef]) -> str:
    """The Host that the filters of a rule's only backend set."""
    if len(refs) != 1:
        return ""
    return next((_authority(item.get("requestHeaderModifier")) for item in refs[0].filters), "")


def _redirect(settings: Mapping[str, Any], listener: ListenerSpec) -> Redirect:
    scheme, port, status = settings.get("scheme"), settings.get("port"), settings.get("statusCode")
    modifier = path_modifier(settings)
    prefix = prefix_path(modifier)
    number: int | None = port if isinstance(port, int) else None if scheme else listener.port
    used = str(scheme or ("https" if listener.protocol == "HTTPS" else "http"))
    if (number, used) in ((80, "http"), (443, "https")):
        number = None
    return Redirect(
        status=status if isinstance(status, int) else 302,
        scheme=str(scheme) if scheme else None,
        host=str(settings["hostname"]) if settings.get("hostname") else None,
        port=number,
        path=full_path(modifier) or None,
        path_rewrite=PathRewrite("prefix", prefix) if prefix else None,
    )


def _rewrite(settings: Mapping[str, Any], match: Match) -> PathRewrite | None:
    modifier = path_modifier(settings)
    full, prefix = full_path(modifier), prefix_path(modifier)
    if full is not None:
        return full_rewrite(full)
    if prefix is None:
        return None
    value = prefix.removesuffix("/")
    if value:
        return PathRewrite("prefix", value)
    path = _path(match)
    matched = path[1] if path and path[0] == PREFIX and path[1] != "/" else ""
    return PathRewrite("regex", r"/\2", f"^{quote(matched)}(/?)(.*)")


def _times(match: Match) -> tuple[str | None, str | None]:
    times = match.route.mapping(f"{match.rule_part}.timeouts")
    retry = match.route.mapping(f"{match.rule_part}.retry")
    timeout = times.get("request")
    if times.get("backendRequest") and not retry:
        timeout = times["backendRequest"]
    retries = f"{retry.get('attempts', 2)} attempts" if retry else None
    return (str(timeout) if timeout else None), retries


def _weighted(place: Place, ref: BackendRef) -> WeightedCluster:
    edits = {
        key: next((item[key] for item in ref.filters if isinstance(item.get(key), Mapping)), None)
        for key in ("requestHeaderModifier", "responseHeaderModifier")
    }
    return WeightedCluster(
        cluster=_cluster(place, ref),
        weight=ref.weight,
        request_headers=_without_host(header_edits(edits["requestHeaderModifier"], by_name=True)),
        response_headers=_without_host(header_edits(edits["responseHeaderModifier"], by_name=True)),
        host_rewrite=_authority(edits["requestHeaderModifier"]) or None,
        origin=ref.origin,
    )


def _cluster(place: Place, ref: BackendRef) -> str:
    """The cluster of a backendRef; one that may not be referred to leads to a name that no cluster has."""
    if may_refer(place.world, ref) is False or not _known_kind(ref):
        return UNKNOWN_SERVICE
    if ref.kind == "Hostname":
        return f"outbound|{ref.port}||{ref.name}"
    mesh = _mesh(place)
    service = place.world.get(kinds.SERVICE, ref.namespace, ref.name)
    host = f"{ref.name}.{ref.namespace}.svc.{mesh.domain}"
    if service is not None and service.text("spec.type") == "ExternalName" and mesh.since(1, 21):
        host = service.text("spec.externalName") or host
    return f"outbound|{ref.port}||{host}"


def _mirrors(place: Place, match: Match) -> Iterable[WeightedCluster]:
    for index, item in enumerate(match.filters):
        settings = item.get("requestMirror")
        if item.get("type") == "RequestMirror" and isinstance(settings, Mapping):
            raw = settings.get("backendRef")
            part = f"{match.rule_part}.filters[{index}].requestMirror.backendRef"
            ref = backend_ref(match.route, raw if isinstance(raw, Mapping) else {}, part)
            yield WeightedCluster(_cluster(place, ref), 1, origin=ref.origin)


# -- Gateways that classic gateway pods serve --------------------------------------------------------------


def proxy_of(world: World, pod: Obj) -> Proxy | None:
    """The proxy of a managed Gateway's pod, or of a classic gateway pod that Gateways name by its Service."""
    found = wiring.proxy_of(world, PROVIDER, pod)
    if found is not None or NAME in pod.labels or not is_gateway_pod(pod):
        return found
    return _manual_proxy(world, pod)


def _manual_proxy(world: World, pod: Obj) -> Proxy | None:
    gateways = []
    for gateway in world.all(kinds.GATEWAY, optional=True):
        if is_managed(gateway) or implementation(world, gateway).provider is not PROVIDER:
            continue
        plane = _manual_plane(world, gateway)
        if plane and any(item.ref == pod.ref for item in plane.pods):
            gateways.append(gateway)
    classic = gateway_proxy(world, pod) if gateways else None
    if classic is None:
        return None
    own = listeners.proxy(Place(world, PROVIDER, tuple(gateways), pod), pod.ref)

    def listener_at(port: int) -> Listener | None:
        return own.listener_at(port) or classic.listener_at(port)

    return replace(
        classic,
        listener_at=listener_at,
        cluster=lambda name: classic.cluster(name) or own.cluster(name),
        ports=lambda: sorted({*own.ports(), *classic.ports()}),
        excluded_at=lambda port: (*own.excluded_at(port), *classic.excluded_at(port)),
    )


PROVIDER = IstioGateways()
_HOOKS = wiring.hooks(PROVIDER)
DIALECT = Dialect(
    "istio-gateway-api",
    proxy_of=proxy_of,
    gateway_proxy=_HOOKS["gateway_proxy"],
    data_plane=_HOOKS["data_plane"],
)
