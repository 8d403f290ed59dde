"""VirtualService routes, lowered to the neutral proxy model as istiod does.

Sources: istio pilot/pkg/networking/core/route/route.go (TranslateRoute, TranslateRouteMatch,
applyHTTPRouteDestination, ApplyRedirect, GetDestinationCluster, SortVHostRoutes),
pilot/pkg/model/virtualservice.go (short names, delegates), pilot/pkg/networking/core/gateway.go
(l4SingleMatch) and tls.go (matchTCP).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from kgdiag.dialects.istio import registry
from kgdiag.dialects.istio.generated import excluded as lost
from kgdiag.dialects.istio.generated import origin as origin_of
from kgdiag.dialects.istio.mesh import Mesh, resolve_host, visible
from kgdiag.graph.labels import subset_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import (
    Action,
    Cors,
    Direct,
    Excluded,
    Fault,
    Forward,
    HeaderEdits,
    How,
    PathRewrite,
    Redirect,
    Route,
    RouteMatch,
    StringMatch,
    ValueMatch,
    WeightedCluster,
)

MESH = "mesh"
SEMANTICS = "internal.istio.io/route-semantics"  # "ingress" or "gateway" on what istiod itself generates
_CLAIMS = "@request.auth.claims"
_REDIRECTS = (301, 302, 303, 307, 308)
DEFAULT_RETRIES = "2 on connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"


def cluster_key(host: str, port: int, subset: str = "") -> str:
    """istiod's name of an outbound cluster."""
    return f"outbound|{port}|{subset}|{host}"


@dataclass(frozen=True)
class RouteContext:
    """For which proxy and gateway routes are made.

    ``gateway`` is ``mesh`` or ``namespace/name``. ``server_port`` is the Gateway's ``server.port.number`` or,
    for ``mesh``, the Service port of the listener. ``tls`` says that the server has TLS settings, which
    decides the default port of redirects. ``service_of`` finds a destination host's service for a
    VirtualService; the default looks in the VirtualService's namespace, then at what the proxy may see.
    """

    world: World
    mesh: Mesh
    gateway: str
    server_port: int
    proxy_namespace: str
    proxy_labels: Mapping[str, str] = field(default_factory=dict)
    proxy_pod: Obj | None = None
    tls: bool = False
    service_of: Callable[[Obj, str], registry.Service | None] | None = None
    cluster_name: Callable[[str, int, str], str] = cluster_key

    def service(self, virtual_service: Obj, host: str) -> registry.Service | None:
        """The service behind a destination host, None where the mesh knows none."""
        if self.service_of is not None:
            return self.service_of(virtual_service, host)
        found = registry.named(self.world, self.mesh, host)
        seen = [one for one in found if registry.exported(one, self.proxy_namespace)]
        own = [one for one in seen if one.namespace == virtual_service.namespace]
        return next(iter(own or seen), None)


# -- a VirtualService with its short names resolved and its delegates merged ---------------------------


def gateway_name(name: str, namespace: str) -> str:
    """A name in ``gateways`` as ``namespace/name``; ``mesh`` stays.

    Short names are the VirtualService's own namespace; ``name.namespace.svc…`` is the form of old.
    Source: istio pilot/pkg/model/config.go resolveGatewayName.
    """
    if name == MESH:
        return name
    owner, slash, rest = name.partition("/")
    if slash:
        return f"{namespace}/{rest}" if owner == "." else name
    short, dot, rest = name.partition(".")
    return f"{rest.partition('.')[0]}/{short}" if dot else f"{namespace}/{name}"


def gateways_of(virtual_service: Obj) -> tuple[str, ...]:
    """The gateways that a VirtualService is bound to, resolved; ``("mesh",)`` where it names none."""
    return virtual_service.once("gateways", _gateways_of)


def _gateways_of(virtual_service: Obj) -> tuple[str, ...]:
    named = [str(item) for item in virtual_service.items("spec.gateways")]
    if virtual_service.annotations.get(SEMANTICS) == "gateway":
        return tuple(named) or (MESH,)
    return tuple(gateway_name(name, virtual_service.namespace) for name in named) or (MESH,)


def hosts_of(virtual_service: Obj, mesh: Mesh) -> tuple[str, ...]:
    """The hosts of a VirtualService with its short names resolved; none for a delegate."""
    named = (str(item) for item in virtual_service.items("spec.hosts"))
    if virtual_service.annotations.get(SEMANTICS) == "gateway":
        return tuple(named)
    return tuple(resolve_host(name, virtual_service.namespace, mesh.domain) for name in named)


def export_to(virtual_service: Obj, mesh: Mesh) -> tuple[str, ...]:
    """``exportTo`` with the mesh's default."""
    return (
        tuple(str(item) for item in virtual_service.items("spec.exportTo")) or mesh.virtual_service_export_to
    )


@dataclass(frozen=True)
class Entry:
    """One ``http`` entry: ``raw`` has inherited fields and resolved names, ``owner`` and ``part`` say where
    it stands, ``matches`` are its conditions with the part each comes from (none: every request)."""

    owner: Obj
    part: str
    raw: Mapping[str, Any]
    matches: tuple[tuple[str, Mapping[str, Any]], ...]
    dropped: str = ""  # why istiod makes nothing of it


def entries(context: RouteContext, virtual_service: Obj) -> tuple[Entry, ...]:
    """The ``http`` entries in order, delegates in the place of their roots."""
    return tuple(_entries(context, virtual_service))


def _entries(context: RouteContext, virtual_service: Obj) -> Iterator[Entry]:
    for index, raw in enumerate(virtual_service.items("spec.http")):
        if not isinstance(raw, Mapping):
            continue
        entry = _entry(virtual_service, f"spec.http[{index}]", raw, context.mesh.domain)
        delegate = raw.get("delegate")
        if isinstance(delegate, Mapping) and not virtual_service.annotations.get(SEMANTICS):
            yield from _delegated(context, virtual_service, entry, delegate)
        else:
            yield entry


def _entry(owner: Obj, part: str, raw: Mapping[str, Any], domain: str) -> Entry:
    conditions = raw.get("match")
    found = conditions if isinstance(conditions, list) else []
    matches = tuple(
        (f"{part}.match[{at}]", _resolved_match(item, owner.namespace))
        for at, item in enumerate(found)
        if isinstance(item, Mapping)
    )
    return Entry(owner, part, _resolved(raw, owner, domain), matches)


def _resolved_match(raw: Mapping[str, Any], namespace: str) -> Mapping[str, Any]:
    named = raw.get("gateways")
    if not isinstance(named, list):
        return raw
    return {**raw, "gateways": [gateway_name(str(name), namespace) for name in named]}


def _resolved(raw: Mapping[str, Any], owner: Obj, domain: str) -> Mapping[str, Any]:
    """An entry with the short host names of its destinations resolved."""
    if owner.annotations.get(SEMANTICS) == "gateway":
        return raw

    def destination(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {**value, "host": resolve_host(str(value.get("host") or ""), owner.namespace, domain)}

    out = dict(raw)
    for key in ("route", "mirrors"):
        if isinstance(raw.get(key), list):
            out[key] = [
                {**item, "destination": destination(item.get("destination"))}
                if isinstance(item, Mapping)
                else item
                for item in raw[key]
            ]
    if "mirror" in raw:
        out["mirror"] = destination(raw["mirror"])
    return out


_INHERITED = (
    "rewrite", "directResponse", "timeout", "retries", "fault", "mirror", "mirrorPercent", "mirrorPercentage",
    "corsPolicy", "mirrors", "headers",
)  # fmt: skip


def _delegated(
    context: RouteContext, root: Obj, entry: Entry, delegate: Mapping[str, Any]
) -> Iterator[Entry]:
    """The delegate's entries merged with the root's; one level, as istiod does."""
    namespace = str(delegate.get("namespace") or root.namespace)
    name = str(delegate.get("name") or "")
    target = context.world.get(kinds.VIRTUAL_SERVICE, namespace, name)
    why = ""
    if target is None:
        why = f"delegate VirtualService {namespace}/{name} does not exist"
    elif target.items("spec.hosts"):
        why = f"delegate VirtualService {namespace}/{name} has hosts of its own, so it is no delegate"
    elif not visible(export_to(target, context.mesh), namespace, root.namespace):
        why = f"delegate VirtualService {namespace}/{name} is not exported to {root.namespace}"
    if target is None or why:
        yield replace(entry, dropped=why)
        return
    for index, raw in enumerate(target.items("spec.http")):
        if isinstance(raw, Mapping):
            yield _merged(
                entry, _entry(target, f"spec.http[{index}]", raw, context.mesh.domain), context, root
            )


def _merged(root: Entry, leaf: Entry, context: RouteContext, owner: Obj) -> Entry:
    matches, conflict = _merged_matches(root.matches, leaf.matches)
    raw = dict(leaf.raw)
    raw.pop("delegate", None)
    for key in _INHERITED:
        if raw.get(key) is None and root.raw.get(key) is not None:
            raw[key] = root.raw[key]
    names = [str(one["name"]) for one in (root.raw, leaf.raw) if one.get("name")]
    raw["name"] = "-".join(names)
    dropped = (
        f"its match does not lie within that of {owner.ref} {root.part}, which delegates to it"
        if conflict
        else ""
    )
    return Entry(leaf.owner, leaf.part, raw, matches, dropped)


Matches = tuple[tuple[str, Mapping[str, Any]], ...]


def _merged_matches(root: Matches, leaf: Matches) -> tuple[Matches, bool]:
    """Each match of the delegate with each match of the root that it lies within."""
    if not root:
        return leaf, False
    if not leaf:
        return root, False
    out: list[tuple[str, Mapping[str, Any]]] = []
    for part, inner in leaf:
        found = [(part, _merged_match(outer, inner)) for _, outer in root if not _conflict(outer, inner)]
        if not found:
            return (), True
        out += found
    return tuple(out), False


def _merged_match(root: Mapping[str, Any], leaf: Mapping[str, Any]) -> Mapping[str, Any]:
    out = dict(leaf)
    names = [str(one["name"]) for one in (root, leaf) if one.get("name")]
    if names:
        out["name"] = "-".join(names)
    for key in ("uri", "scheme", "method", "authority"):
        if _string(out.get(key)) is None and _string(root.get(key)) is not None:
            out[key] = root[key]
    for key in ("headers", "withoutHeaders", "queryParams", "sourceLabels"):
        merged = {**_mapping(root.get(key)), **_mapping(leaf.get(key))}
        if merged:
            out[key] = merged
    for key in ("port", "sourceNamespace", "gateways"):
        if not out.get(key) and root.get(key):
            out[key] = root[key]
    return out


def _conflict(root: Mapping[str, Any], leaf: Mapping[str, Any]) -> bool:
    """Whether a delegate's match does not lie within its root's. Source: virtualservice.go hasConflict."""
    if any(
        _string_conflict(root.get(key), leaf.get(key)) for key in ("uri", "scheme", "method", "authority")
    ):
        return True
    for key in ("headers", "withoutHeaders", "queryParams"):
        outer, inner = _mapping(root.get(key)), _mapping(leaf.get(key))
        if any(_string_conflict(outer.get(name), value) for name, value in inner.items()):
            return True
    if bool(root.get("ignoreUriCase")) != bool(leaf.get("ignoreUriCase")):
        return True
    if root.get("port") and leaf.get("port") and root["port"] != leaf["port"]:
        return True
    if root.get("sourceNamespace") and leaf.get("sourceNamespace") != root["sourceNamespace"]:
        return True
    outer, inner = _mapping(root.get("sourceLabels")), _mapping(leaf.get("sourceLabels"))
    if any(name in outer and outer[name] != value for name, value in inner.items()):
        return True
    outer_gateways, inner_gateways = root.get("gateways"), leaf.get("gateways")
    if not isinstance(outer_gateways, list) or not isinstance(inner_gateways, list):
        return False
    return bool(outer_gateways and inner_gateways) and not set(inner_gateways) <= set(outer_gateways)


def _string_conflict(root: Any, leaf: Any) -> bool:
    outer, inner = _string(root), _string(leaf)
    if outer is None or inner is None:
        return False
    if "regex" in (outer[0], inner[0]):
        return True
    if outer[0] == "exact":
        return inner != outer
    return not inner[1].startswith(outer[1])


def _string(raw: Any) -> tuple[str, str] | None:
    """(kind, value) of a StringMatch, None where nothing is set."""
    if not isinstance(raw, Mapping):
        return None
    for key in ("exact", "prefix", "regex"):
        if raw.get(key) is not None:
            return key, str(raw[key])
    return None


_NOTHING: Mapping[str, Any] = {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if type(value) is dict or isinstance(value, Mapping) else _NOTHING


# -- which entries a proxy gets ------------------------------------------------------------------------


def _misfit(context: RouteContext, match: Mapping[str, Any]) -> str:
    """Why a match is not for this proxy, ``""`` where it is. Source: route.go sourceMatchHTTP."""
    port = match.get("port")
    if port and port != context.server_port:
        return f"it matches port {port}, this is port {context.server_port}"
    gateways = match.get("gateways")
    if gateways and isinstance(gateways, list):
        return (
            ""
            if context.gateway in gateways
            else f"it matches gateways {', '.join(gateways)}, this is {context.gateway}"
        )
    wanted = _mapping(match.get("sourceLabels"))
    if not subset_of(wanted, context.proxy_labels):
        labels = ", ".join(f"{key}={value}" for key, value in wanted.items())
        return f"it matches sources with labels {labels}, which this proxy does not have"
    namespace = match.get("sourceNamespace")
    if namespace and namespace != context.proxy_namespace:
        return f"it matches sources in namespace {namespace}, this proxy is in {context.proxy_namespace}"
    return ""


def any_route(context: RouteContext, virtual_service: Obj) -> bool:
    """Whether a VirtualService gives this proxy a route at all: else it claims no virtual host.

    Cheap: asked for every VirtualService of a gateway, so names are resolved where they matter alone.
    """
    for raw in virtual_service.maps("spec.http"):
        if isinstance(raw.get("delegate"), Mapping):
            return _any_entry(context, virtual_service)
        conditions = raw.get("match")
        if not conditions or not isinstance(conditions, list):
            return True
        for match in conditions:
            if isinstance(match, Mapping) and not _misfit(
                context, _resolved_match(match, virtual_service.namespace)
            ):
                return True
    return False


def _any_entry(context: RouteContext, virtual_service: Obj) -> bool:
    return any(
        not entry.matches or any(not _misfit(context, match) for _, match in entry.matches)
        for entry in entries(context, virtual_service)
        if not entry.dropped
    )


def http_routes(context: RouteContext, virtual_service: Obj) -> tuple[Route, ...]:
    """The routes of a VirtualService's ``http``, in order, for this proxy."""
    return lowered(context, virtual_service)[0]


def http_excluded(context: RouteContext, virtual_service: Obj) -> tuple[Excluded, ...]:
    """The entries of ``http`` that gave no route here, and why."""
    return lowered(context, virtual_service)[1]


def lowered(context: RouteContext, virtual_service: Obj) -> tuple[tuple[Route, ...], tuple[Excluded, ...]]:
    """Routes up to the first that takes every request, and what gave none: what comes after it, too."""
    routes: list[Route] = []
    excluded: list[Excluded] = []
    last = ""
    for entry in entries(context, virtual_service):
        if last:
            reason = f"{last} before it takes every request"
            excluded.append(lost(entry.owner, entry.part, reason, 2))
            continue
        if entry.dropped:
            excluded.append(lost(entry.owner, entry.part, entry.dropped, 1))
            continue
        for part, match in entry.matches or ((entry.part, {}),):
            if last:
                excluded.append(lost(entry.owner, part, f"{last} before it takes every request", 2))
                continue
            misfit = _misfit(context, match)
            made = misfit or _route(context, virtual_service, entry, part, match)
            if isinstance(made, str):
                excluded.append(lost(entry.owner, part, made, 1))
                continue
            routes.append(made)
            if is_catch_all(made):
                last = part
        if not entry.matches:
            last = entry.part
    return tuple(routes), tuple(excluded)


def is_catch_all(route: Route) -> bool:
    """Whether a route takes every request. Source: route.go IsCatchAllRoute."""
    match = route.match
    if match.headers or match.query or match.dynamic:
        return False
    if match.path is None:
        return True
    how, value = match.path.how, match.path.value
    return (how in (How.PREFIX, How.PATH_PREFIX) and value == "/") or (how is How.REGEX and value == ".*")


def catch_all_last(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Routes of several VirtualServices in one virtual host: those that take every request go last."""
    made = list(routes)
    return (*(one for one in made if not is_catch_all(one)), *(one for one in made if is_catch_all(one)))


# -- one route -----------------------------------------------------------------------------------------


def _route(
    context: RouteContext, virtual_service: Obj, entry: Entry, part: str, match: Mapping[str, Any]
) -> Route | str:
    """The route of one match, or why Envoy or istiod takes none."""
    raw = entry.raw
    action = _action(context, virtual_service, entry, match)
    if isinstance(action, str):
        return action
    request, response, _ = _header_edits(raw.get("headers"))
    destinations = _destinations(raw)
    if isinstance(action, Forward) and len(destinations) == 1:
        # A single destination's edits are appended to the route's own: one list, applied in order.
        more_request, more_response, _ = _header_edits(destinations[0][1].get("headers"))
        request, response = _joined(request, more_request), _joined(response, more_response)
    name = str(raw.get("name") or "")
    return Route(
        match=route_match(match, path_elements=bool(virtual_service.annotations.get(SEMANTICS))),
        action=action,
        origin=origin_of(entry.owner, part),
        name=f"{name}.{match['name']}" if match.get("name") else name,
        request_headers=request,
        response_headers=response,
        fault=_fault(raw.get("fault")),
        cors=_cors(raw.get("corsPolicy")),
        mirrors=_mirrors(context, virtual_service, entry) if isinstance(action, Forward) else (),
    )


def _action(
    context: RouteContext, virtual_service: Obj, entry: Entry, match: Mapping[str, Any]
) -> Action | str:
    raw = entry.raw
    if isinstance(raw.get("redirect"), Mapping):
        return _redirect(context, raw["redirect"])
    if isinstance(raw.get("directResponse"), Mapping):
        return _direct(raw["directResponse"])
    return _forward(context, virtual_service, entry, match)


def _redirect(context: RouteContext, raw: Mapping[str, Any]) -> Redirect | str:
    code = raw.get("redirectCode") or 301
    if code not in _REDIRECTS:
        return f"redirectCode {code} is none that Envoy can send"
    scheme = str(raw.get("scheme") or "")
    port: int | None = None
    if raw.get("derivePort") == "FROM_REQUEST_PORT":
        port = context.server_port
    elif isinstance(raw.get("port"), int):
        port = raw["port"]
    speaks = scheme or ("https" if context.tls else "http")
    if (port, speaks) in ((80, "http"), (443, "https")):
        port = None
    prefix = raw.get("prefixRewrite")
    return Redirect(
        status=code,
        scheme=scheme or None,
        host=str(raw["authority"]) if raw.get("authority") else None,
        port=port or None,
        path=str(raw["uri"]) if raw.get("uri") and not prefix else None,
        path_rewrite=PathRewrite("prefix", str(prefix)) if prefix else None,
    )


def _direct(raw: Mapping[str, Any]) -> Direct:
    status = raw.get("status")
    body = _mapping(raw.get("body"))
    return Direct(status if isinstance(status, int) else 200, str(body.get("string") or ""))


def _destinations(raw: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    found = raw.get("route")
    return (
        [(at, item) for at, item in enumerate(found or ()) if isinstance(item, Mapping)]
        if isinstance(found, list)
        else []
    )


def _forward(
    context: RouteContext, virtual_service: Obj, entry: Entry, match: Mapping[str, Any]
) -> Forward | str:
    raw = entry.raw
    destinations = _destinations(raw)
    if not destinations:
        return "it has no route, redirect or directResponse"
    clusters = _clusters(context, virtual_service, entry, destinations)
    if not clusters:
        return "the weights of all its destinations are 0"
    rewrite = _mapping(raw.get("rewrite"))
    _, _, authority = _header_edits(raw.get("headers"))
    authority = str(rewrite.get("authority") or "") or authority
    if len(destinations) == 1 and not authority:
        _, _, authority = _header_edits(destinations[0][1].get("headers"))
    gateway_api = virtual_service.annotations.get(SEMANTICS) == "gateway"
    return Forward(
        clusters=clusters,
        host_rewrite=authority or None,
        path_rewrite=_path_rewrite(rewrite, match, gateway_api),
        not_found=500 if gateway_api else 503,
        timeout=_duration(raw.get("timeout")),
        retries=_retries(context.mesh, raw.get("retries")),
    )


def _clusters(
    context: RouteContext,
    virtual_service: Obj,
    entry: Entry,
    destinations: list[tuple[int, Mapping[str, Any]]],
) -> tuple[WeightedCluster, ...]:
    """A single destination's weight is ignored; of several, those without a weight get nothing."""
    single = len(destinations) == 1
    out = []
    for at, item in destinations:
        weight = item.get("weight")
        weight = weight if isinstance(weight, int) else 0
        if not single and weight == 0:
            continue
        request, response, authority = _header_edits(item.get("headers"))
        out.append(
            WeightedCluster(
                cluster=destination_cluster(context, virtual_service, _mapping(item.get("destination"))),
                weight=1 if single else weight,
                request_headers=HeaderEdits() if single else request,
                response_headers=HeaderEdits() if single else response,
                host_rewrite=None if single else authority or None,
                origin=origin_of(entry.owner, f"{entry.part}.route[{at}].destination"),
            )
        )
    return tuple(out)


def destination_cluster(context: RouteContext, virtual_service: Obj, destination: Mapping[str, Any]) -> str:
    """The cluster of a destination whose host is resolved already.

    Without a port it is the service's only one; a service with several, or an unknown one, is asked for the
    port that the request came in on. An ExternalName leads to what it is an alias of.
    Source: route.go GetDestinationCluster.
    """
    host = str(destination.get("host") or "")
    if not host:
        return "UnknownService"
    service = context.service(virtual_service, host)
    number = _mapping(destination.get("port")).get("number")
    if isinstance(number, str) and number.isdigit():
        number = int(number)
    if not isinstance(number, int):
        only = service.ports[0].number if service and len(service.ports) == 1 else None
        number = only or context.server_port
    if service and service.alias_of:
        host = service.alias_of
    return context.cluster_name(host, number, str(destination.get("subset") or ""))


def _mirrors(context: RouteContext, virtual_service: Obj, entry: Entry) -> tuple[WeightedCluster, ...]:
    raw = entry.raw
    out = []
    if isinstance(raw.get("mirror"), Mapping):
        percent = _percentage(raw.get("mirrorPercentage"), raw.get("mirrorPercent"))
        out.append(("mirror", raw["mirror"], percent))
    for at, item in enumerate(raw["mirrors"]) if isinstance(raw.get("mirrors"), list) else ():
        if isinstance(item, Mapping) and isinstance(item.get("destination"), Mapping):
            out.append((f"mirrors[{at}]", item["destination"], _percentage(item.get("percentage"), None)))
    return tuple(
        WeightedCluster(
            destination_cluster(context, virtual_service, destination),
            weight=max(1, round(percent)),
            origin=origin_of(entry.owner, f"{entry.part}.{part}"),
        )
        for part, destination, percent in out
        if percent > 0
    )


def _percentage(percentage: Any, integer: Any) -> float:
    """A mirror's share in percent; everything is mirrored where nothing is said."""
    if isinstance(percentage, Mapping):
        return _number(percentage.get("value"))
    return _number(integer) if integer is not None else 100.0


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


def _path_rewrite(
    rewrite: Mapping[str, Any], match: Mapping[str, Any], gateway_api: bool
) -> PathRewrite | None:
    regex = rewrite.get("uriRegexRewrite")
    if isinstance(regex, Mapping):
        return PathRewrite("regex", str(regex.get("rewrite") or ""), str(regex.get("match") or ""))
    uri = str(rewrite.get("uri") or "")
    if not uri:
        return None
    if gateway_api and uri == "/":
        prefix = (_string(match.get("uri")) or ("", ""))[1].removesuffix("/")
        return PathRewrite("regex", r"/\2", f"^{re.escape(prefix)}(/?)(.*)")
    return PathRewrite("prefix", uri)


def _duration(value: Any) -> str | None:
    """A timeout as declared; none where it is off (Istio's default)."""
    return value if isinstance(value, str) and value.strip("0.hmsµun ") else None


def _retries(mesh: Mesh, raw: Any) -> str | None:
    """Retries in words. Source: route/retry/retry.go ConvertPolicy."""
    policy = raw if isinstance(raw, Mapping) else mesh.raw.get("defaultHttpRetryPolicy")
    if not isinstance(policy, Mapping):
        return DEFAULT_RETRIES
    attempts = policy.get("attempts")
    if not isinstance(attempts, int) or attempts <= 0:
        return None
    on = str(policy.get("retryOn") or DEFAULT_RETRIES.partition(" on ")[2])
    per_try = policy.get("perTryTimeout")
    return f"{attempts} on {on}" + (f", {per_try} each" if per_try else "")


# -- headers, faults, CORS -----------------------------------------------------------------------------


_NO_EDITS = HeaderEdits()


def _header_edits(raw: Any) -> tuple[HeaderEdits, HeaderEdits, str]:
    """(request edits, response edits, new authority): Host cannot be edited, it is rewritten instead.

    ``set`` comes before ``add``, each by name. Source: route.go TranslateHeadersOperations.
    """
    headers = _mapping(raw)
    if not headers:
        return _NO_EDITS, _NO_EDITS, ""
    request, response = _mapping(headers.get("request")), _mapping(headers.get("response"))
    authority = ""
    for key in ("add", "set"):
        for name, value in sorted(_mapping(request.get(key)).items()):
            if name.lower() in (":authority", "host") and value:
                authority = str(value)
    return _edits(request), _edits(response), authority


def _edits(raw: Mapping[str, Any]) -> HeaderEdits:
    if not raw:
        return HeaderEdits()
    ops = tuple(
        (how, name.lower(), str(value))
        for how in ("set", "add")
        for name, value in sorted(_mapping(raw.get(how)).items())
        if not _internal(name)
    )
    removed = raw.get("remove")
    names = [str(name).lower() for name in removed] if isinstance(removed, list) else []
    return HeaderEdits(ops, tuple(name for name in names if not _internal(name)))


def _internal(name: str) -> bool:
    return name.startswith(":") or name.lower() == "host"


def _joined(one: HeaderEdits, other: HeaderEdits) -> HeaderEdits:
    return HeaderEdits((*one.ops, *other.ops), (*one.remove, *other.remove))


def _fault(raw: Any) -> Fault | None:
    """Faults without a percentage hit nobody. A gRPC status is answered over HTTP 200."""
    if not isinstance(raw, Mapping):
        return None
    abort, delay = _mapping(raw.get("abort")), _mapping(raw.get("delay"))
    status = abort.get("httpStatus")
    if status is None and abort.get("grpcStatus") is not None:
        status = 200
    fixed = delay.get("fixedDelay")
    if not isinstance(status, int) and not fixed:
        return None
    percent = delay.get("percentage")
    return Fault(
        abort_status=status if isinstance(status, int) else None,
        abort_percent=_number(_mapping(abort.get("percentage")).get("value")),
        delay=str(fixed) if fixed else None,
        delay_percent=_number(_mapping(percent).get("value"))
        if isinstance(percent, Mapping)
        else _number(delay.get("percent")),
    )


def _cors(raw: Any) -> Cors | None:
    if not isinstance(raw, Mapping):
        return None
    if isinstance(raw.get("allowOrigins"), list):
        origins = [_string_match(item) for item in raw["allowOrigins"]]
    else:
        old = raw.get("allowOrigin")
        origins = [StringMatch(How.EXACT, str(item)) for item in old] if isinstance(old, list) else []
    credentials = raw.get("allowCredentials")

    def joined(key: str) -> str:
        value = raw.get(key)
        return ",".join(str(item) for item in value) if isinstance(value, list) else ""

    return Cors(
        origins=tuple(item for item in origins if item is not None),
        methods=joined("allowMethods"),
        headers=joined("allowHeaders"),
        expose=joined("exposeHeaders"),
        max_age=_seconds(raw.get("maxAge")),
        credentials=credentials if isinstance(credentials, bool) else None,
    )


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 0.000001, "µs": 0.000001, "ns": 0.000000001}


def _seconds(duration: Any) -> str:
    """A Go duration (``1h30m``) in whole seconds, "" where it is none."""
    found = re.findall(r"(\d+(?:\.\d*)?)(ms|us|µs|ns|h|m|s)", str(duration or ""))
    return str(int(sum(float(number) * _UNITS[unit] for number, unit in found))) if found else ""


# -- matches -------------------------------------------------------------------------------------------


def route_match(raw: Mapping[str, Any], *, path_elements: bool = False) -> RouteMatch:
    """All conditions of one ``match``.

    ``path_elements`` compares prefixes by whole path elements, which is so for what istiod makes of Ingress
    and Gateway API, never for a VirtualService.
    """
    headers: list[ValueMatch] = []
    dynamic: list[str] = []
    for key, invert in (("headers", False), ("withoutHeaders", True)):
        for name, value in _mapping(raw.get(key)).items():
            claim = claim_of(name)
            if claim:
                dynamic.append(f"{'no ' if invert else ''}JWT claim {claim} {_words(value)}".rstrip())
            else:
                headers.append(_value_match(name.lower(), value, invert))
    for name, key in ((":method", "method"), (":authority", "authority"), (":scheme", "scheme")):
        if isinstance(raw.get(key), Mapping):
            headers.append(_value_match(name, raw[key], False))
    return RouteMatch(
        path=_path(raw, path_elements),
        headers=tuple(headers),
        query=tuple(
            _value_match(name, value, False) for name, value in _mapping(raw.get("queryParams")).items()
        ),
        dynamic=tuple(dynamic),
    )


def claim_of(header: str) -> str:
    """The JWT claim that a header name stands for, ``""`` for a real header. Source: pkg/jwt/routing.go."""
    if not header.lower().startswith(_CLAIMS):
        return ""
    rest = header[len(_CLAIMS) :]
    if rest.startswith(".") and len(rest) > 1:
        return rest[1:]
    if rest.startswith("[") and rest.endswith("]") and len(rest) > 2:
        return rest[1:-1].replace("][", ".")
    return ""


def _words(value: Any) -> str:
    found = _string(value)
    return f"{found[0]} {found[1]}" if found else ""


def _path(raw: Mapping[str, Any], path_elements: bool) -> StringMatch:
    found = _string(raw.get("uri"))
    if found is None:
        return StringMatch(How.PREFIX, "/", bool(raw.get("ignoreUriCase")))
    kind, value = found
    if kind == "regex":
        return _regex(value)
    ignore = raw.get("ignoreUriCase") is True
    if kind == "prefix" and path_elements and value != "/":
        return StringMatch(How.PATH_PREFIX, value.removesuffix("/"), ignore)
    return StringMatch(How.PREFIX if kind == "prefix" else How.EXACT, value, ignore)


def _value_match(name: str, raw: Any, invert: bool) -> ValueMatch:
    """Without a value, or with the regex ``*``, presence is asked for; a missing header that must not match
    counts as an empty one. Source: route.go translateHeaderMatch, canBeConvertedToPresentMatch."""
    match = _string_match(raw)
    return ValueMatch(name, match, invert, missing_is_empty=invert and match is not None)


def _string_match(raw: Any) -> StringMatch | None:
    found = _string(raw)
    if found is None or found == ("regex", "*"):
        return None
    kind, value = found
    if kind == "regex":
        return _regex(value)
    return StringMatch(How.PREFIX if kind == "prefix" else How.EXACT, value)


def _regex(pattern: str) -> StringMatch:
    """Istio's webhook refuses what is not RE2; where it got in, Envoy refuses the config that has it."""
    return StringMatch(How.REGEX if valid_regex(pattern) else How.INVALID, pattern)


@lru_cache(maxsize=4096)
def valid_regex(pattern: str) -> bool:
    """Whether Envoy's regex engine, RE2, takes the pattern."""
    import re2  # only what has a regex pays for the library

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error:
        return False
    return True


# -- TLS and TCP routes --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class L4Route:
    """One ``tls`` or ``tcp`` match with its clusters; ``sni_hosts`` is empty for ``tcp``."""

    part: str
    sni_hosts: tuple[str, ...]
    subnets: tuple[str, ...]
    clusters: tuple[WeightedCluster, ...]


def tls_routes(context: RouteContext, virtual_service: Obj) -> tuple[L4Route, ...]:
    """The ``tls`` routes that apply to this proxy, one for each match; without a match there is none."""
    return tuple(_l4_routes(context, virtual_service, "tls"))


def tcp_routes(context: RouteContext, virtual_service: Obj) -> tuple[L4Route, ...]:
    """The ``tcp`` routes that apply to this proxy, one for each match, one for an entry without."""
    return tuple(_l4_routes(context, virtual_service, "tcp"))


def _l4_routes(context: RouteContext, virtual_service: Obj, kind: str) -> Iterator[L4Route]:
    """Gateways look at port and gateways alone (gateway.go), sidecars at sources too (tls.go)."""
    for index, raw in enumerate(virtual_service.items(f"spec.{kind}")):
        if not isinstance(raw, Mapping):
            continue
        part = f"spec.{kind}[{index}]"
        conditions = raw.get("match")
        found = (
            [item for item in conditions if isinstance(item, Mapping)] if isinstance(conditions, list) else []
        )
        matches = [(f"{part}.match[{at}]", item) for at, item in enumerate(found)]
        if not matches and kind == "tcp":
            matches = [(part, {})]
        clusters: tuple[WeightedCluster, ...] | None = None
        for where, item in matches:
            match = _resolved_match(item, virtual_service.namespace)
            if _l4_misfit(context, match):
                continue
            if clusters is None:
                entry = _entry(virtual_service, part, raw, context.mesh.domain)
                clusters = _l4_clusters(context, virtual_service, entry)
            if clusters:
                yield L4Route(
                    where,
                    _texts(match.get("sniHosts")),
                    _texts(match.get("destinationSubnets")),
                    clusters,
                )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _l4_misfit(context: RouteContext, match: Mapping[str, Any]) -> bool:
    if match.get("port") and match["port"] != context.server_port:
        return True
    gateways = match.get("gateways")
    if gateways and isinstance(gateways, list) and context.gateway not in gateways:
        return True
    if context.gateway != MESH:
        return False
    if not subset_of(_mapping(match.get("sourceLabels")), context.proxy_labels):
        return True
    namespace = match.get("sourceNamespace")
    return bool(namespace) and namespace != context.proxy_namespace


def _l4_clusters(context: RouteContext, virtual_service: Obj, entry: Entry) -> tuple[WeightedCluster, ...]:
    return _clusters(context, virtual_service, entry, _destinations(entry.raw))
