"""kgateway: Gateway API by one Envoy Deployment for each Gateway, in the Gateway's namespace.

Sources, all of kgateway-dev/kgateway v2.0 unless said otherwise: internal/kgateway/deployer and helm/kgateway
(names, labels, ports; newer releases: pkg/kgateway/helm/envoy/templates), internal/kgateway/translator/
{routeutils/sortable_route,irtranslator/route,httproute}.go and krtcollections/{policy,builtin,endpoints}.go
(what is programmed).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cmp_to_key, partial
from typing import Any

from kgdiag.dialects.base import Dialect
from kgdiag.dialects.gateway_api import policies, wiring
from kgdiag.dialects.gateway_api.backends import (
    BackendRef,
    backend_ref,
    backend_tls,
    endpoints,
    endpoints_doubt,
    may_refer,
    resolve,
    speaks_http2,
    with_tls,
)
from kgdiag.dialects.gateway_api.provider import DataPlane, Place, Placed, Provider
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
    path_match,
    path_modifier,
    prefix_path,
    route_match,
)
from kgdiag.dialects.gateway_api.spec import ListenerSpec, order_key
from kgdiag.graph.core import resolve_target, service_ports
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import (
    Action,
    Cluster,
    Direct,
    Endpoint,
    Forward,
    HttpConnections,
    HttpFilter,
    Origin,
    PathRewrite,
    Redirect,
    Route,
    RouteConfig,
    RouteMatch,
    Ruling,
    Verdict,
    WeightedCluster,
)
from kgdiag.model.ref import Ref

_GROUP = "gateway.kgateway.dev"
_V = ("v1alpha1",)
BACKEND = Kind(_GROUP, "Backend", "backends", (), _V)
DIRECT_RESPONSE = Kind(_GROUP, "DirectResponse", "directresponses", (), _V)
TRAFFIC_POLICY = Kind(_GROUP, "TrafficPolicy", "trafficpolicies", (), _V)
LISTENER_POLICY = Kind(_GROUP, "HTTPListenerPolicy", "httplistenerpolicies", (), _V)
PARAMETERS = Kind(_GROUP, "GatewayParameters", "gatewayparameters", (), _V)
BACKEND_CONFIG = Kind(_GROUP, "BackendConfigPolicy", "backendconfigpolicies", (), _V)
EXTENSION = Kind(_GROUP, "GatewayExtension", "gatewayextensions", (), _V)
KINDS = (
    BACKEND,
    DIRECT_RESPONSE,
    TRAFFIC_POLICY,
    LISTENER_POLICY,
    PARAMETERS,
    BACKEND_CONFIG,
    EXTENSION,
)

NAME = "gateway.networking.k8s.io/gateway-name"
BLACKHOLE = "blackhole-cluster"
_CLUSTER = re.compile(r"^kube_([^_]+)_([^_]+)_(\d+)$")
_BACKEND = re.compile(r"^backend_([^_]+)_([^_]+)_0$")
_KNOWN_FILTERS = (
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestMirror",
    "RequestRedirect",
    "URLRewrite",
)


class Kgateway(Provider):
    """How kgateway differs from the specification, and what it leaves open."""

    name = "kgateway"
    title = "kgateway"
    controllers = ("kgateway.dev/kgateway",)
    classes = ("kgateway",)

    # -- the proxies -----------------------------------------------------------------------------------

    def data_plane(self, world: World, gateway: Obj) -> DataPlane | None:
        name = _safe_name(gateway.name)
        service = world.get(kinds.SERVICE, gateway.namespace, name, optional=True)
        pods = world.select(kinds.POD, gateway.namespace, {NAME: gateway.name}, optional=True)
        return DataPlane(
            workload=Ref("apps", "Deployment", gateway.namespace, name),
            services=(Ref("", "Service", gateway.namespace, name),),
            pods=tuple(pods),
            namespace=gateway.namespace,
            service_account=name,
            service=service,
        )

    def gateways_of(self, world: World, pod: Obj) -> tuple[Ref, ...] | None:
        labels = pod.labels
        name = labels.get(NAME)
        ours = labels.get("kgateway") == "kube-gateway" or (
            labels.get("gateway.networking.k8s.io/gateway-class-name") == "kgateway"
        )
        if not name or not ours or "gateway.istio.io/managed" in labels:
            return None
        return (Ref(kinds.GATEWAY.group, "Gateway", pod.namespace, name),)

    def container_port(self, place: Place, listener: ListenerSpec) -> int:
        """What the Service's target port says: v2.0 adds 8000 to privileged ports, later ones do not."""
        plane = self.data_plane(place.world, listener.gateway)
        for port in service_ports(plane.service) if plane and plane.service else ():
            if port.port != listener.port:
                continue
            if isinstance(port.target, int):
                return port.target
            return (resolve_target(place.pod, port) if place.pod else None) or listener.port
        return listener.port

    # -- routes ----------------------------------------------------------------------------------------

    def conflicts(self, listeners: Sequence[ListenerSpec]) -> dict[int, str]:
        """Listeners of one port with other protocols, or the same hostname, are all refused."""
        lost: dict[int, str] = {}
        for index, item in enumerate(listeners):
            for other in listeners:
                if other is item or other.port != item.port:
                    continue
                if _family(other) != _family(item):
                    lost[index] = "ProtocolConflict"
                elif other.hostname == item.hostname:
                    lost.setdefault(index, "HostnameConflict")
        return lost

    def ordered(self, place: Place, host: str, found: list[Placed]) -> list[Placed]:
        first = sorted(found, key=lambda one: order_key(one.match.route))
        return sorted(first, key=cmp_to_key(_compare_placed))

    def connections(
        self, place: Place, make: Callable[[], RouteConfig], listener: ListenerSpec
    ) -> HttpConnections:
        return HttpConnections(make, self.filters(place, listener), merge_slashes=True)

    def lower(self, place: Place, match: Match, listener: ListenerSpec, host: str) -> Route | None:
        extended = any(item.get("type") == "ExtensionRef" for item in match.filters)
        if not match.backends and not extended and match.filter("RequestRedirect") is None:
            return None  # a rule without an action is dropped
        name = f"{match.route.kind.name.lower()}-{match.route.name}-{match.route.namespace}-{match.rule}"
        test = route_match(match, path_match(_path(match)))
        return LateRoute(test, name, match, lambda: self._whole(place, match, listener, test, name))

    def _whole(
        self, place: Place, match: Match, listener: ListenerSpec, test: RouteMatch, name: str
    ) -> Route:  # fmt: skip
        action = self._action(place, match)
        return Route(
            match=test,
            action=action,
            origin=match.origin,
            name=name,
            request_headers=header_edits(match.filter("RequestHeaderModifier"), ("add", "set")),
            response_headers=header_edits(match.filter("ResponseHeaderModifier"), ("add", "set")),
            cors=cors(match.filter("CORS")),
            mirrors=tuple(self._mirrors(place, match)) if isinstance(action, Forward) else (),
            filters=tuple(_policy_filters(place, match, listener)),
        )

    def _action(self, place: Place, match: Match) -> Action:
        extension = self._extension(place, match)
        if extension is not None:
            return extension
        redirect = match.filter("RequestRedirect")
        if redirect is not None:
            return _redirect(redirect)
        refs = match.backends
        if not refs:
            return Direct(404, reason=f"{match.rule_part} has no backend and nothing else that answers")
        made = [
            WeightedCluster(self._cluster_name(place, ref), ref.weight, origin=ref.origin) for ref in refs
        ]
        if len(made) == 1:
            made = [WeightedCluster(made[0].cluster, 1, origin=made[0].origin)]
        rewrite = match.filter("URLRewrite") or {}
        times = match.route.mapping(f"{match.rule_part}.timeouts")
        timeout = times.get("request")
        return Forward(
            clusters=tuple(item for item in made if item.weight > 0),
            host_rewrite=str(rewrite["hostname"]) if rewrite.get("hostname") else None,
            path_rewrite=_rewrite(rewrite, match),
            not_found=500,
            timeout=str(timeout) if timeout else None,
        )

    def _extension(self, place: Place, match: Match) -> Action | None:
        """A DirectResponse that the rule refers to; references to what does not exist are answered 500."""
        for index, item in enumerate(match.filters):
            ref = item.get("extensionRef")
            if item.get("type") != "ExtensionRef" or not isinstance(ref, Mapping):
                continue
            name, key = str(ref.get("name") or ""), (ref.get("group"), ref.get("kind"))
            if key != DIRECT_RESPONSE.key:
                continue
            found = place.world.get(DIRECT_RESPONSE, match.route.namespace, name)
            if found is None:
                where = f"{match.rule_part}.filters[{index}]"
                return Direct(
                    500, reason=f"{where}: DirectResponse {match.route.namespace}/{name} is missing"
                )
            status = found.get("spec.status")
            body = found.text("spec.body")
            return Direct(status if isinstance(status, int) else 200, body, f"{found.ref} answers")
        return None

    def _cluster_name(self, place: Place, ref: BackendRef) -> str:
        if (ref.group, ref.kind) == BACKEND.key:
            permitted = may_refer(place.world, ref) is not False
            found = place.world.get(BACKEND, ref.namespace, ref.name) if permitted else None
            missing = place.world.missing(BACKEND, ref.namespace, ref.name)
            gone = found is None and missing in (Missing.GONE, Missing.NO_KIND)
            return BLACKHOLE if gone or not permitted else f"backend_{ref.namespace}_{ref.name}_0"
        item = resolve(place.world, ref)
        return BLACKHOLE if item.problem else f"kube_{ref.namespace}_{ref.name}_{ref.port}"

    def _mirrors(self, place: Place, match: Match) -> Iterable[WeightedCluster]:
        for index, item in enumerate(match.filters):
            settings = item.get("requestMirror")
            if item.get("type") == "RequestMirror" and isinstance(settings, Mapping):
                raw = settings.get("backendRef")
                part = f"{match.rule_part}.filters[{index}].requestMirror.backendRef"
                ref = backend_ref(match.route, raw if isinstance(raw, Mapping) else {}, part)
                yield WeightedCluster(self._cluster_name(place, ref), 1, origin=ref.origin)

    def l4_clusters(self, place: Place, route: Obj) -> tuple[WeightedCluster, ...] | None:
        rules = [Match(route, index, None, {}) for index in range(len(route.items("spec.rules")))]
        refs = [ref for match in rules for ref in match.backends if ref.weight > 0]
        return tuple(
            WeightedCluster(self._cluster_name(place, ref), ref.weight, origin=ref.origin) for ref in refs
        )

    def cluster(self, place: Place, name: str) -> Cluster | None:
        if found := _BACKEND.match(name):
            return _backend_cluster(place.world, name, *found.groups())
        found = _CLUSTER.match(name)
        if not found:
            return None
        namespace, owner, number = found.groups()
        service = place.world.get(kinds.SERVICE, namespace, owner)
        if service is None:
            missing = place.world.missing(kinds.SERVICE, namespace, owner)
            ref = Ref("", "Service", namespace, owner)
            unknown = None if missing is Missing.GONE else f"{ref} {missing.value}"
            return Cluster(name, "eds", service=ref, port=int(number), unknown=unknown) if unknown else None
        port = next((item for item in service_ports(service) if item.port == int(number)), None)
        if port is None:
            return None

        def make() -> tuple[Endpoint, ...]:
            return endpoints(place.world, service, port)

        made = Cluster(
            name=name,
            kind="eds",
            make_endpoints=make,
            service=service.ref,
            port=port.port,
            http2=speaks_http2(service, port) or None,
            unknown=None
            if service.text("spec.type") == "ExternalName"
            else endpoints_doubt(place.world, service),
            origins=(Origin(service.ref, f"spec.ports[{port.index}]"),),
        )
        return with_tls(made, backend_tls(place.world, service, port))


_DECIDES = ("extAuth", "extProc", "jwt", "jwtAuth", "apiKeyAuthentication", "basicAuth", "oauth2", "rbac")


def _policy_filters(place: Place, match: Match, listener: ListenerSpec) -> Iterable[HttpFilter]:
    """What TrafficPolicies that could refuse a request say of it: that they decide, and no more."""
    rule = match.route.text(f"{match.rule_part}.name")
    found = policies.applied(place.world, TRAFFIC_POLICY, listener, match.route, rule, merged=True)
    for item in match.filters:
        ref = item.get("extensionRef")
        if isinstance(ref, Mapping) and (ref.get("group"), ref.get("kind")) == TRAFFIC_POLICY.key:
            named = place.world.get(TRAFFIC_POLICY, match.route.namespace, str(ref.get("name") or ""))
            found = [named, *found] if named else found
    for policy in dict.fromkeys(found):
        for field in _DECIDES:
            if policy.mapping(f"spec.{field}"):
                origin = policies.origin_of(policy, f"spec.{field}")
                ruling = Ruling(Verdict.UNKNOWN, f"{field} of {policy.ref} decides", origin=origin)
                yield HttpFilter(field, partial(policies.fixed, ruling), origin, 110)
    namespaces = (match.route.namespace, listener.gateway.namespace)
    yield from policies.unread(place.world, (TRAFFIC_POLICY,), namespaces)


def _safe_name(name: str) -> str:
    """A Gateway's name as that of its Service; long ones are cut and end in a digest."""
    if len(name) <= 63:
        return name
    return f"{name[:50]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _family(listener: ListenerSpec) -> str:
    return listener.protocol


def _path(match: Match) -> tuple[str, str] | None:
    if not match.grpc:
        return match.path
    kind, service, method = grpc_method(match)
    if not service and not method:
        return None
    if kind == REGEX or not service or not method:
        any_part = "[^/]+"
        return (REGEX, f"/{service or any_part}/{method or any_part}")
    return (EXACT, f"/{service}/{method}")


def _compare_placed(one: Placed, other: Placed) -> int:
    return _compare(one.match, other.match)


def _compare(one: Match, other: Match) -> int:
    """Exact over regular expression over prefix; longer paths, except of regular expressions; a method;
    more headers; more query parameters."""
    order = {EXACT: 0, REGEX: 1, PREFIX: 2}
    mine, theirs = _path(one) or (PREFIX, "/"), _path(other) or (PREFIX, "/")
    if mine[0] != theirs[0]:
        return order.get(mine[0], 2) - order.get(theirs[0], 2)
    if mine[0] != REGEX and len(mine[1].encode()) != len(theirs[1].encode()):
        return len(theirs[1].encode()) - len(mine[1].encode())
    if bool(one.method) != bool(other.method):
        return -1 if one.method else 1
    if len(one.headers) != len(other.headers):
        return len(other.headers) - len(one.headers)
    return len(other.query) - len(one.query)


def _redirect(settings: Mapping[str, Any]) -> Redirect:
    scheme, port, status = settings.get("scheme"), settings.get("port"), settings.get("statusCode")
    modifier = path_modifier(settings)
    prefix = prefix_path(modifier)
    return Redirect(
        status=status if status in (301, 302, 303, 307, 308) else 302,
        scheme=str(scheme) if scheme else None,
        host=str(settings["hostname"]) if settings.get("hostname") else None,
        port=port if isinstance(port, int) else None,
        path=full_path(modifier),
        path_rewrite=None if prefix is None else PathRewrite("prefix", prefix),
    )


def _rewrite(settings: Mapping[str, Any], match: Match) -> PathRewrite | None:
    modifier = path_modifier(settings)
    full, prefix = full_path(modifier), prefix_path(modifier)
    if full is not None:
        return full_rewrite(full) if full else None
    if not prefix:
        return None
    path = _path(match)
    if prefix == "/" and path and path[0] != REGEX:
        return PathRewrite("regex", "/", f"^{path[1]}\\/*")
    return PathRewrite("prefix", prefix)


def _backend_cluster(world: World, name: str, namespace: str, owner: str) -> Cluster | None:
    """The hosts of a static Backend; other kinds of Backend lead out of the cluster."""
    backend = world.get(BACKEND, namespace, owner)
    if backend is None:
        return None
    found = tuple(
        Endpoint(
            str(item.get("host") or ""), int(item.get("port") or 0), hostname=str(item.get("host") or "")
        )
        for item in backend.maps("spec.static.hosts")
    )
    return Cluster(
        name=name,
        kind="dns" if found else "static",
        make_endpoints=lambda: found,
        service=backend.ref,
        external=True,
        unknown=None
        if found
        else f"{backend.ref} leads to {backend.text('spec.type') or 'something'} outside",
        origins=(Origin(backend.ref, "spec"),),
    )


PROVIDER = Kgateway()
DIALECT = Dialect("kgateway", kinds=KINDS, **wiring.hooks(PROVIDER))
