"""Envoy Gateway: Gateway API by one Envoy fleet for each Gateway (or each class, when merged).

Sources, all of envoyproxy/gateway: internal/infrastructure/kubernetes/proxy/resource.go and
internal/utils/misc.go (names, labels), internal/gatewayapi/{route,listener,validate,filters,helpers,sort}.go
(what is programmed), internal/xds/translator/{route,listener,translator,cluster}.go (how Envoy gets it).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from kgdiag.dialects import envoy_gateway_policies as policies
from kgdiag.dialects.base import Dialect
from kgdiag.dialects.envoy_gateway_policies import (
    BACKEND_TRAFFIC_POLICY,
    CLIENT_TRAFFIC_POLICY,
    EXTENSION_POLICY,
    PATCH_POLICY,
    SECURITY_POLICY,
)
from kgdiag.dialects.gateway_api import wiring
from kgdiag.dialects.gateway_api.backends import (
    UNSUPPORTED,
    Backend,
    BackendRef,
    backend_ref,
    backend_refs,
    backend_tls,
    endpoints,
    endpoints_doubt,
    may_refer,
    resolve,
    speaks_http2,
    with_tls,
)
from kgdiag.dialects.gateway_api.hostnames import intersect
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
    is_re2,
    path_match,
    path_modifier,
    prefix_path,
    quote,
    refused,
    route_match,
)
from kgdiag.dialects.gateway_api.spec import ListenerSpec, order_key
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import (
    Action,
    Cluster,
    Direct,
    Endpoint,
    Excluded,
    Forward,
    HeaderEdits,
    Health,
    How,
    HttpConnections,
    HttpFilter,
    Origin,
    PathRewrite,
    Redirect,
    Route,
    RouteConfig,
    RouteMatch,
    StringMatch,
    TlsMode,
    ValueMatch,
    WeightedCluster,
)
from kgdiag.model.ref import Ref

_GROUP = "gateway.envoyproxy.io"
_V = ("v1alpha1",)
ENVOY_PROXY = Kind(_GROUP, "EnvoyProxy", "envoyproxies", ("eproxy",), _V)
BACKEND = Kind(_GROUP, "Backend", "backends", ("be",), _V)
ROUTE_FILTER = Kind(_GROUP, "HTTPRouteFilter", "httproutefilters", ("hrf",), _V)

KINDS = (
    ENVOY_PROXY,
    BACKEND,
    ROUTE_FILTER,
    SECURITY_POLICY,
    CLIENT_TRAFFIC_POLICY,
    BACKEND_TRAFFIC_POLICY,
    EXTENSION_POLICY,
    PATCH_POLICY,
)

SYSTEM = "envoy-gateway-system"
_OWNER_NAME, _OWNER_NAMESPACE = f"{_GROUP}/owning-gateway-name", f"{_GROUP}/owning-gateway-namespace"
_OWNER_CLASS = f"{_GROUP}/owning-gatewayclass"
_PRIVILEGED, _SHIFT = 1024, 10000
INVALID = "invalid-backend-cluster"
_SLASHES: dict[str, Literal["keep", "reject", "redirect", "decode"]] = {
    "KeepUnchanged": "keep",
    "RejectRequest": "reject",
    "UnescapeAndForward": "decode",
}
_CLUSTER = re.compile(r"^(http|grpc|tls|tcp)route/([^/]+)/([^/]+)/rule/(\d+)/(backend|mirror)/(\d+)$")
_ROUTE_KIND = {
    "http": kinds.HTTP_ROUTE,
    "grpc": kinds.GRPC_ROUTE,
    "tls": kinds.TLS_ROUTE,
    "tcp": kinds.TCP_ROUTE,
}
# Regular expressions that stand for any gRPC service and method.
_ANY_SERVICE, _ANY_METHOD = r"(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*", r"[A-Za-z_][A-Za-z_0-9]*"


def data_plane_name(key: str) -> str:
    """The name of a data plane: of ``namespace/name`` of its Gateway, or of its class where merged."""
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    plain = key.replace("/", "-")
    if len(plain) > 48:
        plain = plain[:48].removesuffix("-")
    return f"envoy-{plain}-{digest}"


class EnvoyGateway(Provider):
    """How Envoy Gateway differs from the specification, and what it leaves open."""

    name = "envoy-gateway"
    title = "Envoy Gateway"
    controllers = ("gateway.envoyproxy.io/gatewayclass-controller",)
    classes = ("eg", "envoy-gateway", "envoy")
    keeps_port = True

    # -- the proxies -----------------------------------------------------------------------------------

    def data_plane(self, world: World, gateway: Obj) -> DataPlane | None:
        klass = gateway.text("spec.gatewayClassName")
        merged = self._merged(world, gateway)
        labels = {_OWNER_CLASS: klass} if merged else {
            _OWNER_NAME: gateway.name, _OWNER_NAMESPACE: gateway.namespace
        }  # fmt: skip
        name = data_plane_name(klass if merged else f"{gateway.namespace}/{gateway.name}")
        found = world.select(kinds.SERVICE, None, labels, optional=True)
        namespace = found[0].namespace if found else SYSTEM
        pods = tuple(world.select(kinds.POD, None, labels, optional=True))
        services = tuple(item.ref for item in found) or (Ref("", "Service", namespace, name),)
        workload = Ref("apps", "Deployment", namespace, found[0].name if found else name)
        first = found[0] if found else None
        return DataPlane(workload, services, pods, namespace, workload.name, first)

    def gateways_of(self, world: World, pod: Obj) -> tuple[Ref, ...] | None:
        labels = pod.labels
        if klass := labels.get(_OWNER_CLASS):
            members = self._of_class(world, klass)
            return tuple(gateway.ref for gateway in members)
        name, namespace = labels.get(_OWNER_NAME), labels.get(_OWNER_NAMESPACE)
        if not name or not namespace or labels.get("app.kubernetes.io/component", "proxy") != "proxy":
            return None
        return (Ref(kinds.GATEWAY.group, "Gateway", namespace, name),)

    def shared(self, world: World, gateway: Obj) -> tuple[Obj, ...]:
        if not self._merged(world, gateway):
            return (gateway,)
        return self._of_class(world, gateway.text("spec.gatewayClassName"))

    def _of_class(self, world: World, klass: str) -> tuple[Obj, ...]:
        members = [item for item in world.all(kinds.GATEWAY) if item.text("spec.gatewayClassName") == klass]
        return tuple(sorted(members, key=order_key))

    def _merged(self, world: World, gateway: Obj) -> bool:
        found = self._class_proxy(world, gateway)
        return found is not None and found.get("spec.mergeGateways") is True

    def _class_proxy(self, world: World, gateway: Obj) -> Obj | None:
        """The EnvoyProxy that the class's ``parametersRef`` names."""
        klass = implementation(world, gateway).klass
        if klass is None or klass.text("spec.parametersRef.kind") != "EnvoyProxy":
            return None
        namespace = klass.text("spec.parametersRef.namespace", SYSTEM)
        return world.get(ENVOY_PROXY, namespace, klass.text("spec.parametersRef.name"), optional=True)

    def envoy_proxy(self, world: World, gateway: Obj) -> Obj | None:
        """The EnvoyProxy of a Gateway: its own, else its class's."""
        own = gateway.mapping("spec.infrastructure.parametersRef")
        if own.get("kind") == "EnvoyProxy":
            return world.get(ENVOY_PROXY, gateway.namespace, str(own.get("name") or ""), optional=True)
        return self._class_proxy(world, gateway)

    def container_port(self, place: Place, listener: ListenerSpec) -> int:
        settings = self.envoy_proxy(place.world, listener.gateway)
        keeps = settings is not None and settings.get(
            "spec.provider.kubernetes.useListenerPortAsContainerPort"
        )
        return listener.port if keeps or listener.port >= _PRIVILEGED else listener.port + _SHIFT

    # -- listeners -------------------------------------------------------------------------------------

    def conflicts(self, listeners: Sequence[ListenerSpec]) -> dict[int, str]:
        lost: dict[int, str] = {}
        for port in dict.fromkeys(item.port for item in listeners):
            here = [
                index for index, item in enumerate(listeners) if item.port == port and item.protocol != "UDP"
            ]
            _protocol_conflicts(listeners, here, lost)
            named = [index for index in here if listeners[index].protocol != "TCP" and index not in lost]
            for hostname in {listeners[index].hostname for index in named}:
                same = [index for index in named if listeners[index].hostname == hostname]
                _keep_one(listeners, same, "HostnameConflict", lost)
            tcp = [index for index in here if listeners[index].protocol == "TCP" and index not in lost]
            lost |= dict.fromkeys(tcp[1:], "ProtocolConflict")
        return lost

    def listener_problem(self, listener: ListenerSpec) -> str | None:
        protocol, mode = listener.protocol, listener.tls_mode
        refs = (listener.raw.get("tls") or {}).get("certificateRefs") if mode else None
        title = listener.title
        if protocol not in ("HTTP", "HTTPS", "TLS", "TCP", "UDP"):
            return f"{title} has protocol {protocol}, which {self.title} does not serve"
        wanted = ((listener.raw.get("allowedRoutes") or {}).get("kinds")) or []
        if len(wanted) > len(listener.kinds()):
            return f"{title} allows a kind of route that {protocol} does not carry"
        if protocol in ("HTTP", "TCP", "UDP"):
            if mode:
                return f"{title} has tls, which {protocol} does not take"
            return f"{title} has a hostname, which {protocol} does not take" if (
                listener.hostname and protocol != "HTTP"
            ) else None  # fmt: skip
        if not mode:
            return f"{title} has no tls"
        if protocol == "HTTPS" and mode != "Terminate":
            return f"{title} has TLS mode {mode}, HTTPS takes Terminate only"
        if mode == "Terminate" and not refs:
            return f"{title} names no certificate"
        if mode == "Passthrough" and refs:
            return f"{title} names certificates, which Passthrough does not take"
        return None

    def hosts(
        self, listener: ListenerSpec, siblings: Sequence[ListenerSpec], names: Sequence[str]
    ) -> tuple[str, ...]:
        """Only names that are literally another listener's are left to it."""
        if not names:
            return intersect(listener.hostname, names)
        others = {
            item.hostname
            for item in siblings
            if item is not listener and item.port == listener.port and item.hostname
        }
        return tuple(name for name in intersect(listener.hostname, names) if name not in others)

    # -- routes ----------------------------------------------------------------------------------------

    def ordered(self, place: Place, host: str, found: list[Placed]) -> list[Placed]:
        every = [item for one in found for item in _with_preflight(one)]
        return sorted(every, key=lambda one: tuple(-value for value in _rank(one.match)))

    def connections(
        self, place: Place, make: Callable[[], RouteConfig], listener: ListenerSpec
    ) -> HttpConnections:
        policy = self.client_policy(place, listener)
        merge = not (policy and policy.get("spec.path.disableMergeSlashes"))
        action = policy.text("spec.path.escapedSlashesAction", "UnescapeAndRedirect") if policy else ""
        slashes = _SLASHES.get(action, "redirect")
        filters = self.filters(place, listener)
        return HttpConnections(make, filters, merge_slashes=merge, escaped_slashes=slashes)

    def lower(self, place: Place, match: Match, listener: ListenerSpec, host: str) -> Route | None:
        if _bad_regex(match.route, match.rule):
            return None
        path, extra = _path(match)
        index = -1 if match.index is None else match.index
        name = f"{_prefix(match.route)}/rule/{match.rule}/match/{index}/{host.replace('.', '_')}"
        name += "/cors-preflight" if match.preflight else ""
        test = route_match(match, path_match(path), (*extra, *(_PREFLIGHT if match.preflight else ())))
        return LateRoute(test, name, match, lambda: self._whole(place, match, listener, test, name))

    def _whole(
        self, place: Place, match: Match, listener: ListenerSpec, test: RouteMatch, name: str
    ) -> Route:  # fmt: skip
        action = self._action(place, match, listener, _extension(place.world, match))
        security = self._policies(place, SECURITY_POLICY, match, listener)
        return Route(
            match=test,
            action=action,
            origin=match.origin,
            name=name,
            request_headers=header_edits(match.filter("RequestHeaderModifier"), ("add", "set"), once=True),
            response_headers=header_edits(match.filter("ResponseHeaderModifier"), ("add", "set"), once=True),
            cors=cors(match.filter("CORS")) or policies.security_cors(security),
            fault=policies.fault(self._policies(place, BACKEND_TRAFFIC_POLICY, match, listener)),
            mirrors=tuple(_mirrors(match)) if isinstance(action, Forward) else (),
            filters=self.route_filters(place, match, listener),
        )

    def _policies(self, place: Place, kind: Kind, match: Match, listener: ListenerSpec) -> list[Obj]:
        rule = match.route.text(f"{match.rule_part}.name")
        return policies.applied(place.world, kind, listener, match.route, rule)

    def route_filters(self, place: Place, match: Match, listener: ListenerSpec) -> tuple[HttpFilter, ...]:
        """What policies add to a route; policies of a Gateway come to each of its routes."""
        found = [
            *policies.security(self._policies(place, SECURITY_POLICY, match, listener)),
            *policies.extensions(self._policies(place, EXTENSION_POLICY, match, listener)),
            *policies.rate_limits(self._policies(place, BACKEND_TRAFFIC_POLICY, match, listener)),
            *policies.unread(
                place.world,
                (SECURITY_POLICY, EXTENSION_POLICY),
                (match.route.namespace, listener.gateway.namespace),
            ),
        ]
        return tuple(sorted(found, key=lambda one: one.stage))

    def client_policy(self, place: Place, listener: ListenerSpec) -> Obj | None:
        """The ClientTrafficPolicy of a listener."""
        found = policies.applied(place.world, CLIENT_TRAFFIC_POLICY, listener)
        return found[0] if found else None

    def tls_mode(self, place: Place, listener: ListenerSpec) -> TlsMode | None:
        policy = self.client_policy(place, listener)
        if policy is None or policy.get("spec.tls.clientValidation") is None:
            return None
        optional = policy.get("spec.tls.clientValidation.optional") is True
        return TlsMode.OPTIONAL_MUTUAL if optional else TlsMode.MUTUAL

    def notes(self, place: Place, listener: ListenerSpec) -> Iterable[Excluded]:
        for policy in place.world.all(PATCH_POLICY, listener.gateway.namespace, optional=True):
            target = policy.mapping("spec.targetRef")
            if target.get("name") in (listener.gateway.name, listener.gateway.text("spec.gatewayClassName")):
                reason = "it patches the proxy's configuration, which kgdiag does not follow"
                yield Excluded(policy.ref, "spec.jsonPatches", reason, 6)

    def _action(
        self, place: Place, match: Match, listener: ListenerSpec, extension: Obj | str | None
    ) -> Action:
        problem = self._filter_problem(place, match, extension)
        if problem:
            return refused(500, problem)
        if isinstance(extension, Obj) and extension.mapping("spec.directResponse"):
            status = extension.get("spec.directResponse.statusCode")
            body = extension.text("spec.directResponse.body.inline")
            return Direct(status if isinstance(status, int) else 200, body, f"{extension.ref} answers")
        redirect = match.filter("RequestRedirect")
        if redirect is not None:
            return _redirect(redirect, match, listener)
        return self._forward(place, match, extension if isinstance(extension, Obj) else None)

    def _filter_problem(self, place: Place, match: Match, extension: Obj | str | None) -> str | None:
        if isinstance(extension, str):
            return extension
        able = {"RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"}
        if not match.grpc:
            able |= {"RequestRedirect", "URLRewrite", "CORS"}
        for index, item in enumerate(match.filters):
            if item.get("type") not in able:
                return (
                    f"{match.rule_part}.filters[{index}] has type {item.get('type')}, which is not supported"
                )
            if bad := _header_problem(item):
                return f"{match.rule_part}.filters[{index}]: {bad}"
            if item.get("type") == "RequestMirror":
                found = self.resolve(place, _mirror_ref(match, index, item))
                if found.problem:
                    return f"{match.rule_part}.filters[{index}]: {found.detail}"
        return None

    def resolve(self, place: Place, ref: BackendRef) -> Backend:
        """What a backendRef leads to, with the kinds and limits of this implementation."""
        bad = _backend_filter_problem(ref)
        if bad:
            return Backend(ref, UNSUPPORTED, bad)
        if (ref.group, ref.kind) == BACKEND.key:
            return self._backend_kind(place, ref)
        found = resolve(place.world, ref)
        if (
            found.service is not None
            and found.service.text("spec.type") == "ExternalName"
            and not found.problem
        ):
            detail = f"{ref.ref} is of type ExternalName, which {self.title} does not route to"
            return Backend(ref, UNSUPPORTED, detail, service=found.service)
        if found.service and found.port and not found.problem:
            tls = backend_tls(place.world, found.service, found.port)
            if tls and tls.problem:
                return replace(found, problem="InvalidBackendTLS", detail=f"{tls.policy.ref}: {tls.problem}")
        return found

    def _backend_kind(self, place: Place, ref: BackendRef) -> Backend:
        permitted = may_refer(place.world, ref)
        if permitted is False:
            return Backend(
                ref, "RefNotPermitted", f"no ReferenceGrant in {ref.namespace} lets it refer to {ref.ref}"
            )
        found = place.world.get(BACKEND, ref.namespace, ref.name)
        if found is None:
            missing = place.world.missing(BACKEND, ref.namespace, ref.name)
            if missing in (Missing.GONE, Missing.NO_KIND):
                return Backend(ref, "BackendNotFound", f"{ref.ref} does not exist")
            return Backend(ref, doubt=f"{ref.ref} {missing.value}")
        enabled = _backends_enabled(place.world)
        if enabled is False:
            return Backend(ref, UNSUPPORTED, "Backends are not enabled in Envoy Gateway's configuration")
        doubt = "" if enabled else "whether Envoy Gateway has Backends enabled is not known"
        return Backend(ref, doubt=doubt, service=found)

    def _forward(self, place: Place, match: Match, extension: Obj | None) -> Action:
        counted = [self.resolve(place, ref) for ref in match.backends]
        errors = [item for item in counted if item.problem]
        counted = [item for item in counted if item.ref.weight > 0]
        empty = [item for item in counted if item.valid and self._no_endpoints(place, item)]
        valid = [item for item in counted if item.valid and item not in empty]
        if not valid:
            return _nothing(match, errors, empty)
        timeout, retries = _times(match)
        rewrite = match.filter("URLRewrite") or {}
        return Forward(
            clusters=tuple(self._clusters(place, match, counted, valid, empty)),
            host_rewrite=str(rewrite["hostname"]) if rewrite.get("hostname") else _host_of(extension),
            path_rewrite=_rewrite(rewrite, match, extension),
            not_found=503 if empty else 500,
            timeout=timeout,
            retries=retries,
            upgrade=("websocket",) if not match.grpc else (),
        )

    def _no_endpoints(self, place: Place, item: Backend) -> bool:
        """Whether a valid backend has no endpoint at all; endpoints that are not ready count."""
        if item.doubt or item.port is None or item.service is None:
            return False
        if self.routes_to_service(place, item.ref.route) and item.service.text("spec.clusterIP") != "None":
            return False
        if endpoints(place.world, item.service, item.port, unready=True):
            return False
        return endpoints_doubt(place.world, item.service) is None

    def routes_to_service(self, place: Place, route: Obj) -> bool:
        """Whether the proxy sends to ClusterIPs instead of to pods."""
        settings = self.envoy_proxy(place.world, place.gateways[0]) if place.gateways else None
        return settings is not None and settings.text("spec.routingType") == "Service"

    def _clusters(
        self, place: Place, match: Match, counted: list[Backend], valid: list[Backend], empty: list[Backend]
    ) -> Iterable[WeightedCluster]:
        pooled = len(valid) == len(counted) and not any(item.ref.filters for item in valid)
        weights = [item.ref.weight for item in valid]
        if pooled and len(valid) > 1:
            weights = self._pooled_weights(place, valid)
        for item in counted:
            if item not in valid:
                yield WeightedCluster(INVALID, item.ref.weight, origin=_blamed(item))
        for item, weight in zip(valid, weights, strict=True):
            if not weight:
                continue
            yield WeightedCluster(
                cluster=f"{_prefix(match.route)}/rule/{match.rule}/backend/{item.ref.index}",
                weight=weight,
                request_headers=_backend_edits(item.ref, "requestHeaderModifier"),
                response_headers=_backend_edits(item.ref, "responseHeaderModifier"),
                host_rewrite=_backend_host(item.ref),
                origin=item.ref.origin,
            )

    def _pooled_weights(self, place: Place, valid: list[Backend]) -> list[int]:
        """Weights of backends that share one cluster.

        Envoy picks among those with a ready endpoint; where none of all has one, it is in panic and sends
        to any endpoint alike. Measured with Envoy Gateway 1.9.1: endpoints that are not ready are draining
        to Envoy, and do not count for its panic threshold.
        """
        counts: list[tuple[int, int]] = []
        for item in valid:
            found = self._endpoints(place, item)
            counts.append((sum(1 for one in found if one.health is Health.HEALTHY), len(found)))
        if not any(good for good, _ in counts):
            return [all_ or item.ref.weight for item, (_, all_) in zip(valid, counts, strict=True)]
        return [
            item.ref.weight if good or not all_ else 0
            for item, (good, all_) in zip(valid, counts, strict=True)
        ]

    def _endpoints(self, place: Place, item: Backend) -> tuple[Endpoint, ...]:
        if item.service is None or item.port is None:
            return ()
        return endpoints(place.world, item.service, item.port, unready=True)

    # -- clusters --------------------------------------------------------------------------------------

    def cluster(self, place: Place, name: str) -> Cluster | None:
        parsed = _CLUSTER.match(name)
        if parsed is None:
            return None
        kind, namespace, owner, rule, what, index = parsed.groups()
        route = place.world.get(_ROUTE_KIND[kind], namespace, owner)
        if route is None:
            return None
        ref = _ref_of(route, int(rule), what, int(index))
        if ref is None:
            return None
        item = self.resolve(place, ref)
        if item.problem:
            return None
        return self._cluster_of(place, item, _real_name(route, ref, name, self._is_pooled(place, ref, what)))

    def _is_pooled(self, place: Place, ref: BackendRef, what: str) -> bool:
        if what == "mirror":
            return False
        refs = [item for item in backend_refs(ref.route, ref.rule) if item.weight > 0]
        found = [self.resolve(place, item) for item in refs]
        lacking = any(not item.valid or self._no_endpoints(place, item) for item in found)
        return not lacking and not any(item.filters for item in refs)

    def _cluster_of(self, place: Place, item: Backend, name: str) -> Cluster:
        ref = item.ref
        origins = (ref.origin,)
        if item.doubt:
            return Cluster(name, "eds", service=ref.ref, port=ref.port, unknown=item.doubt, origins=origins)
        if item.service is not None and item.service.kind == BACKEND:
            return _backend_cluster(item.service, name, ref)
        assert item.service is not None and item.port is not None
        service, port = item.service, item.port
        by_ip = self.routes_to_service(place, ref.route) and service.text("spec.clusterIP") != "None"
        unknown = None if by_ip else endpoints_doubt(place.world, service)

        def make() -> tuple[Endpoint, ...]:
            if by_ip:
                return (Endpoint(service.text("spec.clusterIP"), port.port),)
            return self._endpoints(place, item)

        made = Cluster(
            name=name,
            kind="static" if by_ip else "eds",
            make_endpoints=make,
            service=service.ref,
            port=port.port,
            http2=speaks_http2(ref.route, port) or None,
            panic=True,
            unknown=unknown,
            origins=(*origins, Origin(service.ref, f"spec.ports[{port.index}]")),
        )
        return with_tls(made, backend_tls(place.world, service, port))

    def l4_clusters(self, place: Place, route: Obj) -> tuple[WeightedCluster, ...] | None:
        out = []
        for rule in range(len(route.items("spec.rules"))):
            for ref in backend_refs(route, rule):
                item = self.resolve(place, ref)
                if ref.weight > 0 and item.valid and not self._no_endpoints(place, item):
                    name = f"{_prefix(route)}/rule/{rule}/backend/{ref.index}"
                    out.append(WeightedCluster(name, ref.weight, origin=ref.origin))
        return tuple(out)


def _protocol_conflicts(listeners: Sequence[ListenerSpec], here: list[int], lost: dict[int, str]) -> None:
    """Protocols of one port: HTTPS and TLS agree, a Gateway's own listeners win over those of its sets, and
    where its own disagree all lose."""

    def protocol(index: int) -> str:
        return "TLS" if listeners[index].protocol == "HTTPS" else listeners[index].protocol

    if len({protocol(index) for index in here}) < 2:
        return
    own = {protocol(index) for index in here if listeners[index].owner.kind == kinds.GATEWAY}
    if len(own) > 1:
        lost |= dict.fromkeys(here, "ProtocolConflict")
        return
    winner = next(iter(own), protocol(here[0]))
    lost |= dict.fromkeys([index for index in here if protocol(index) != winner], "ProtocolConflict")


def _keep_one(listeners: Sequence[ListenerSpec], same: list[int], reason: str, lost: dict[int, str]) -> None:
    """Of listeners that claim the same, a Gateway's only one wins, else none of its own, else the first."""
    if len(same) < 2:
        return
    own = [index for index in same if listeners[index].owner.kind == kinds.GATEWAY]
    keeps = own if len(own) == 1 else [] if own else same[:1]
    lost |= dict.fromkeys([index for index in same if index not in keeps], reason)


# -- matches -----------------------------------------------------------------------------------------------


def _path(match: Match) -> tuple[tuple[str, str] | None, tuple[ValueMatch, ...]]:
    """The path that Envoy Gateway matches, and header conditions that a gRPC method needs besides."""
    if not match.grpc:
        return match.path, ()
    kind, service, method = grpc_method(match)
    if not service and not method:
        return None, ()
    if kind == REGEX:
        return (REGEX, f"/{service or _ANY_SERVICE}/{method or _ANY_METHOD}"), ()
    if service and method:
        return (EXACT, f"/{service}/{method}"), ()
    if method:
        return None, (ValueMatch(":path", StringMatch(How.SUFFIX, f"/{method}")),)
    return (PREFIX, f"/{service}"), ()


def _rank(match: Match) -> tuple[int, int, int, int, int, int]:
    """Exact over regular expression over prefix, then longer paths, more headers (the method is one), more
    exact ones, more query parameters, more exact ones."""
    path, extra = _path(match)
    kind, value = path or (PREFIX, "/")
    length = 0 if (kind, value) == (PREFIX, "/") else len(value.encode())
    method = bool(match.method) or match.preflight
    headers = len(match.headers) + method + len(extra) + 2 * match.preflight
    exact = sum(1 for item in match.headers if item.get("type") != REGEX) + method
    query = match.query
    exact_query = sum(1 for item in query if item.get("type") != REGEX)
    return {EXACT: 2, REGEX: 1}.get(kind, 0), length, headers, exact, len(query), exact_query


_PREFLIGHT = (
    ValueMatch(":method", StringMatch(How.EXACT, "OPTIONS")),
    ValueMatch("origin", StringMatch(How.REGEX, ".*")),
    ValueMatch("access-control-request-method", StringMatch(How.REGEX, ".*")),
)


def _with_preflight(one: Placed) -> Iterable[Placed]:
    """A match with a CORS filter and a method gets a route for its preflights beside it."""
    yield one
    match = one.match
    if match.filter("CORS") is not None and match.method not in ("", "OPTIONS"):
        raw = {key: value for key, value in match.raw.items() if key != "method"}
        yield Placed(one.listener, replace(match, raw=raw, preflight=True))


def _bad_regex(route: Obj, rule: int) -> bool:
    """Whether a rule has a pattern that is not RE2: the whole rule is then left out."""
    for raw in route.maps(f"spec.rules[{rule}].matches"):
        match = Match(route, rule, 0, raw)
        path, _ = _path(match)
        tests = [item.get("value") for item in (*match.headers, *match.query) if item.get("type") == REGEX]
        if path and path[0] == REGEX:
            tests.append(path[1])
        if not all(is_re2(str(test)) for test in tests):
            return True
    return False


def _prefix(route: Obj) -> str:
    return f"{route.kind.name.lower()}/{route.namespace}/{route.name}"


# -- filters -----------------------------------------------------------------------------------------------


def _extension(world: World, match: Match) -> Obj | str | None:
    """The HTTPRouteFilter of a rule, or why its ExtensionRef is not usable."""
    for index, item in enumerate(match.filters):
        if item.get("type") != "ExtensionRef":
            continue
        where = f"{match.rule_part}.filters[{index}]"
        ref = item.get("extensionRef")
        if not isinstance(ref, Mapping) or (ref.get("group"), ref.get("kind")) != ROUTE_FILTER.key:
            named = ref.get("kind") if isinstance(ref, Mapping) else None
            return f"{where} refers to a {named}, which is no filter of Envoy Gateway"
        found = world.get(ROUTE_FILTER, match.route.namespace, str(ref.get("name") or ""))
        return found or f"{where}: HTTPRouteFilter {match.route.namespace}/{ref.get('name')} does not exist"
    return None


def _mirror_ref(match: Match, index: int, item: Mapping[str, Any]) -> BackendRef:
    settings = item.get("requestMirror")
    raw = settings.get("backendRef") if isinstance(settings, Mapping) else None
    part = f"{match.rule_part}.filters[{index}].requestMirror.backendRef"
    return backend_ref(match.route, raw if isinstance(raw, Mapping) else {}, part, match.rule, index)


def _mirrors(match: Match) -> Iterable[WeightedCluster]:
    for index, item in enumerate(match.filters):
        if item.get("type") == "RequestMirror":
            ref = _mirror_ref(match, index, item)
            yield WeightedCluster(
                f"{_prefix(match.route)}/rule/{match.rule}/mirror/{index}", 1, origin=ref.origin
            )


def _ref_of(route: Obj, rule: int, what: str, index: int) -> BackendRef | None:
    if what == "mirror":
        filters = route.items(f"spec.rules[{rule}].filters")
        if index < len(filters) and isinstance(filters[index], Mapping):
            return _mirror_ref(Match(route, rule, None, {}), index, filters[index])
        return None
    return next((ref for ref in backend_refs(route, rule) if ref.index == index), None)


def _real_name(route: Obj, ref: BackendRef, key: str, pooled: bool) -> str:
    """Envoy's name of a cluster: all valid backends of a rule share one."""
    if route.kind in (kinds.TLS_ROUTE, kinds.TCP_ROUTE):
        return f"{_prefix(route)}/rule/-1"
    if "/mirror/" in key:
        return f"{_prefix(route)}/rule/{ref.rule}-mirror-{ref.index}"
    return f"{_prefix(route)}/rule/{ref.rule}" if pooled else key


_HEADER_VALUE = re.compile(r"[!-~]+([\t ]?[!-~]+)*")


def _header_problem(item: Mapping[str, Any]) -> str:
    """Why a header modifier is refused: Host cannot be edited, nor be values without printable text."""
    for field in ("requestHeaderModifier", "responseHeaderModifier"):
        settings = item.get(field)
        if not isinstance(settings, Mapping):
            continue
        removed = settings.get("remove")
        names = [str(name) for name in removed] if isinstance(removed, list) else []
        for how in ("add", "set"):
            for entry in settings.get(how) or ():
                if isinstance(entry, Mapping):
                    names.append(str(entry.get("name") or ""))
                    if not _HEADER_VALUE.fullmatch(str(entry.get("value", ""))):
                        return f"the value of header {names[-1]} is not one that can be set"
        for name in names:
            if name.lower() == "host" or ":" in name or "/" in name:
                return f"header {name} cannot be edited; URLRewrite changes the Host"
    return ""


def _redirect(settings: Mapping[str, Any], match: Match, listener: ListenerSpec) -> Redirect:
    scheme, port = settings.get("scheme"), settings.get("port")
    if not isinstance(port, int):
        port = {"http": 80, "https": 443}.get(str(scheme).lower(), listener.port)
    modifier = path_modifier(settings)
    prefix = prefix_path(modifier)
    status = settings.get("statusCode")
    return Redirect(
        status=status if isinstance(status, int) else 302,
        scheme=str(scheme) if scheme else None,
        host=str(settings["hostname"]) if settings.get("hostname") else None,
        port=port if port not in (80, 443) else None,
        path=full_path(modifier),
        path_rewrite=None if prefix is None else _slash_free(match, prefix) or PathRewrite("prefix", prefix),
    )


def _slash_free(match: Match, value: str) -> PathRewrite | None:
    """How Envoy Gateway removes a prefix without leaving ``//``: the prefix as it is written, and slashes."""
    if value in ("", "/") and match.path and match.path[0] == PREFIX:
        return PathRewrite("regex", "/", f"^{quote(match.path[1])}\\/*")
    return None


def _rewrite(settings: Mapping[str, Any], match: Match, extension: Obj | None) -> PathRewrite | None:
    modifier = path_modifier(settings)
    full, prefix = full_path(modifier), prefix_path(modifier)
    if full is not None:
        return full_rewrite(full)
    if prefix is not None:
        return _slash_free(match, prefix) or PathRewrite("prefix", prefix.removesuffix("/"))
    pattern = extension.mapping("spec.urlRewrite.path.replaceRegexMatch") if extension else {}
    if pattern:
        return PathRewrite("regex", str(pattern.get("substitution", "")), str(pattern.get("pattern", "")))
    return None


def _host_of(extension: Obj | None) -> str | None:
    """A host rewrite of an HTTPRouteFilter that is a plain name."""
    return extension.text("spec.urlRewrite.hostname.name") or None if extension else None


def _times(match: Match) -> tuple[str | None, str | None]:
    """Timeout and retries of a rule. ``backendRequest`` is the timeout where there are no retries."""
    times = match.route.mapping(f"{match.rule_part}.timeouts")
    retry = match.route.mapping(f"{match.rule_part}.retry")
    timeout = times.get("request")
    if times.get("backendRequest") and not retry:
        timeout = times["backendRequest"]
    retries = f"{retry.get('attempts', 2)} attempts" if retry else None
    return (str(timeout) if timeout else None), retries


# -- backends ----------------------------------------------------------------------------------------------


def _backend_filter_problem(ref: BackendRef) -> str:
    able = {"RequestHeaderModifier", "ResponseHeaderModifier"}
    if ref.route.kind == kinds.HTTP_ROUTE:
        able |= {"ExtensionRef", "URLRewrite"}
    for index, item in enumerate(ref.filters):
        kind = item.get("type")
        if kind not in able:
            return f"{ref.part}.filters[{index}] has type {kind}, which backendRefs do not take"
        rewrite = item.get("urlRewrite")
        if kind == "URLRewrite" and isinstance(rewrite, Mapping) and rewrite.get("path"):
            return f"{ref.part}.filters[{index}] rewrites the path, which backendRefs cannot"
    return ""


def _backend_edits(ref: BackendRef, key: str) -> HeaderEdits:
    settings = next((item[key] for item in ref.filters if isinstance(item.get(key), Mapping)), None)
    return header_edits(settings, ("add", "set"), once=True)


def _backend_host(ref: BackendRef) -> str | None:
    for item in ref.filters:
        rewrite = item.get("urlRewrite")
        if isinstance(rewrite, Mapping) and rewrite.get("hostname"):
            return str(rewrite["hostname"])
    return None


def _blamed(item: Backend) -> Origin:
    return item.ref.origin


def _nothing(match: Match, errors: list[Backend], empty: list[Backend]) -> Direct:
    """What a rule without any backend that could serve answers."""
    if errors:
        return refused(500, "; ".join(item.detail for item in errors))
    if empty:
        return refused(503, "; ".join(f"{item.ref.ref} has no endpoints" for item in empty))
    return refused(500, f"{match.rule_part} has no backend with a weight above 0")


def _backend_cluster(backend: Obj, name: str, ref: BackendRef) -> Cluster:
    """A Backend's cluster: IP addresses or host names."""
    found: list[Endpoint] = []
    dns = False
    for item in backend.maps("spec.endpoints"):
        for key in ("ip", "fqdn"):
            place = item.get(key)
            if isinstance(place, Mapping):
                address = str(place.get("address") or place.get("hostname") or "")
                dns = dns or key == "fqdn"
                found.append(Endpoint(address, int(place.get("port") or 0), hostname=address if dns else ""))
    unknown = (
        "it is resolved by the request's own host" if backend.text("spec.type") == "DynamicResolver" else None
    )
    endpoints_ = tuple(found)
    return Cluster(
        name=name,
        kind="dns" if dns else "static",
        make_endpoints=lambda: endpoints_,
        service=backend.ref,
        port=found[0].port if found else None,
        external=True,
        unknown=unknown,
        origins=(ref.origin, Origin(backend.ref, "spec.endpoints")),
    )


def _backends_enabled(world: World) -> bool | None:
    """Whether Envoy Gateway's configuration enables Backends (``extensionApis.enableBackend``)."""
    config = world.get(kinds.CONFIG_MAP, SYSTEM, "envoy-gateway-config", optional=True)
    if config is None:
        return None
    return (
        re.search(r"^\s*enableBackend:\s*true\b", config.text(("data", "envoy-gateway.yaml")), re.M)
        is not None
    )


PROVIDER = EnvoyGateway()
DIALECT = Dialect("envoy-gateway", kinds=KINDS, **wiring.hooks(PROVIDER))
