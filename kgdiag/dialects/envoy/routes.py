"""Route configs of a dump. Source: envoy api/envoy/config/route/v3/route_components.proto."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from kgdiag.dialects.envoy.dump import reading
from kgdiag.dialects.envoy.match import route_match, string_match
from kgdiag.dialects.envoy.origin import origin_of
from kgdiag.model.obj import dig
from kgdiag.model.proxy import (
    Action,
    Cors,
    Direct,
    Fault,
    Forward,
    HeaderEdits,
    PathRewrite,
    Redirect,
    Route,
    RouteConfig,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)

Json = Mapping[str, Any]

_REDIRECTS = {"FOUND": 302, "SEE_OTHER": 303, "TEMPORARY_REDIRECT": 307, "PERMANENT_REDIRECT": 308}
_NOT_FOUND = {"NOT_FOUND": 404, "INTERNAL_SERVER_ERROR": 500}
_APPEND = {
    "ADD_IF_ABSENT": "add_if_absent",
    "OVERWRITE_IF_EXISTS_OR_ADD": "set",
    "OVERWRITE_IF_EXISTS": "set_if_present",
}


def route_config(raw: Json) -> RouteConfig:
    """A RouteConfiguration; routes are parsed when their virtual host is asked for."""
    own = _settings(raw)
    return RouteConfig(
        name=str(raw.get("name", "")),
        virtual_hosts=tuple(_virtual_host(item, own) for item in raw.get("virtual_hosts") or ()),
        ignore_port=raw.get("ignore_port_in_host_matching") is True,
        request_headers=edits(raw, "request"),
        response_headers=edits(raw, "response"),
        specific_last=raw.get("most_specific_header_mutations_wins") is True,
        unknown="a header picks its virtual host" if raw.get("vhost_header") else None,
    )


def _virtual_host(raw: Json, above: Json) -> VirtualHost:
    tls: dict[str, Literal["none", "all", "external"]] = {"ALL": "all", "EXTERNAL_ONLY": "external"}
    return VirtualHost(
        name=str(raw.get("name", "")),
        domains=tuple(str(domain) for domain in raw.get("domains") or ()),
        make_routes=lambda: _routes(raw, {**above, **_settings(raw)}),
        require_tls=tls.get(str(raw.get("require_tls")), "none"),
        origin=origin_of(raw),
        request_headers=edits(raw, "request"),
        response_headers=edits(raw, "response"),
    )


def _routes(host: Json, above: Json) -> tuple[Route, ...]:
    with reading(f"virtual host {host.get('name', '')}"):
        return _read_routes(host, above)


def _read_routes(host: Json, above: Json) -> tuple[Route, ...]:
    matcher = host.get("matcher")
    if isinstance(matcher, Mapping):
        unknown = RouteMatch(dynamic=("its matcher tree says so, which is not evaluated here",))
        return (Route(unknown, Direct(404), name="matcher"),)
    return tuple(_route(host, item, above) for item in host.get("routes") or ())


def _route(host: Json, raw: Json, above: Json) -> Route:
    config = {**above, **_settings(raw)}
    cors = {**_own(host, "cors"), **_own(raw, "cors")} or _config_of(config, "cors")
    return Route(
        match=route_match(raw.get("match") or {}),
        action=_action(raw),
        origin=origin_of(raw),
        name=str(raw.get("name") or ""),
        request_headers=edits(raw, "request"),
        response_headers=edits(raw, "response"),
        fault=fault(_config_of(config, "fault")),
        cors=_cors(cors),
        mirrors=tuple(
            WeightedCluster(str(item.get("cluster")))
            for item in dig(raw, "route.request_mirror_policies", [])
            if isinstance(item, Mapping) and item.get("cluster")
        ),
        overrides=config,
    )


def _settings(raw: Json) -> Json:
    """What one level has for the chain's filters, by their names."""
    found = raw.get("typed_per_filter_config")
    return found if isinstance(found, Mapping) else {}


def _own(raw: Json, name: str) -> Json:
    return _config_of(_settings(raw), name)


def _config_of(config: Json, name: str) -> Json:
    for key, value in config.items():
        if (key == f"envoy.filters.http.{name}" or key.endswith(f"/{name}")) and isinstance(value, Mapping):
            inner = value.get("config")
            return inner if isinstance(inner, Mapping) else value
    return {}


def _action(raw: Json) -> Action:
    if isinstance(raw.get("redirect"), Mapping):
        return _redirect(raw["redirect"])
    if isinstance(raw.get("direct_response"), Mapping):
        answer = raw["direct_response"]
        return Direct(int(answer.get("status", 200)), str(dig(answer, "body.inline_string", "")))
    route = raw.get("route")
    if isinstance(route, Mapping):
        return _forward(route)
    return Direct(404, reason="the route has no action that forwards")


def _forward(route: Json) -> Forward:
    clusters: tuple[WeightedCluster, ...] = ()
    if "cluster" in route:
        clusters = (WeightedCluster(str(route["cluster"]), 1),)
    elif isinstance(route.get("weighted_clusters"), Mapping):
        clusters = tuple(
            _weighted(item) for item in route["weighted_clusters"].get("clusters") or () if item.get("weight")
        )
    literal = route.get("host_rewrite_literal")
    header = route.get("host_rewrite_header")
    pattern = route.get("host_rewrite_path_regex")
    plugin = route.get("cluster_specifier_plugin") or route.get("inline_cluster_specifier_plugin")
    return Forward(
        clusters=clusters,
        host_rewrite=str(literal) if literal else None,
        auto_host=route.get("auto_host_rewrite") is True,
        path_rewrite=_rewrite(route),
        not_found=_NOT_FOUND.get(str(route.get("cluster_not_found_response_code")), 503),
        timeout=str(route["timeout"]) if "timeout" in route else None,
        retries=str(dig(route, "retry_policy.retry_on", "")) or None,
        upgrade=tuple(str(item.get("upgrade_type")) for item in route.get("upgrade_configs") or ()),
        host_header=str(header).lower() if header else None,
        host_regex=(str(dig(pattern, "pattern.regex", "")), str(pattern.get("substitution", "")))
        if isinstance(pattern, Mapping)
        else None,
        cluster_header=str(route["cluster_header"]).lower() if route.get("cluster_header") else None,
        dynamic="a cluster specifier plugin picks its cluster" if plugin else "",
    )


def _weighted(raw: Json) -> WeightedCluster:
    literal = raw.get("host_rewrite_literal")
    return WeightedCluster(
        cluster=str(raw.get("name", "")),
        weight=int(raw.get("weight", 0)),
        request_headers=edits(raw, "request"),
        response_headers=edits(raw, "response"),
        host_rewrite=str(literal) if literal else None,
        origin=origin_of(raw),
    )


def _rewrite(raw: Json) -> PathRewrite | None:
    if raw.get("prefix_rewrite"):
        return PathRewrite("prefix", str(raw["prefix_rewrite"]))
    if isinstance(raw.get("regex_rewrite"), Mapping):
        found = raw["regex_rewrite"]
        return PathRewrite("regex", str(found.get("substitution", "")), str(dig(found, "pattern.regex", "")))
    return None


def _redirect(raw: Json) -> Redirect:
    port = raw.get("port_redirect")
    return Redirect(
        status=_REDIRECTS.get(str(raw.get("response_code")), 301),
        scheme="https"
        if raw.get("https_redirect")
        else str(raw["scheme_redirect"])
        if raw.get("scheme_redirect")
        else None,
        host=str(raw["host_redirect"]) if raw.get("host_redirect") else None,
        port=int(port) if port else None,
        path=str(raw["path_redirect"]) if raw.get("path_redirect") else None,
        path_rewrite=_rewrite(raw),
        strip_query=raw.get("strip_query") is True,
    )


def edits(raw: Json, which: str) -> HeaderEdits:
    """``request_headers_to_add`` and ``…_to_remove`` of one level, or those of the response."""
    ops, kept = [], []
    for item in raw.get(f"{which}_headers_to_add") or ():
        name, value = str(dig(item, "header.key", "")).lower(), str(dig(item, "header.value", ""))
        how = _APPEND.get(str(item.get("append_action")), "add" if item.get("append") is not False else "set")
        if not value and item.get("keep_empty_value") is not True:
            continue
        ops.append((how, name, value))
        if item.get("keep_empty_value") is True:
            kept.append((how, name, value))
    if not ops and not raw.get(f"{which}_headers_to_remove"):
        return _NO_EDITS
    return HeaderEdits(
        tuple(ops),
        tuple(str(name).lower() for name in raw.get(f"{which}_headers_to_remove") or ()),
        frozenset(kept),
    )


_NO_EDITS = HeaderEdits()


def percent(raw: Any) -> float:
    """A FractionalPercent as a percentage; nothing given is none."""
    if not isinstance(raw, Mapping):
        return 0.0
    scale = {"TEN_THOUSAND": 100.0, "MILLION": 10_000.0}.get(str(raw.get("denominator")), 1.0)
    return float(raw.get("numerator", 0)) / scale


def fault(raw: Json) -> Fault | None:
    """An HTTPFault, None for an empty one."""
    if not raw:
        return None
    status = dig(raw, "abort.http_status")
    delay = dig(raw, "delay.fixed_delay")
    return Fault(
        abort_status=int(status) if status else None,
        abort_percent=percent(dig(raw, "abort.percentage")),
        delay=str(delay) if delay else None,
        delay_percent=percent(dig(raw, "delay.percentage")),
    )


def _cors(raw: Json) -> Cors | None:
    origins: Sequence[Any] = raw.get("allow_origin_string_match") or ()
    if not raw:
        return None
    credentials = raw.get("allow_credentials")
    return Cors(
        origins=tuple(string_match(item) for item in origins),
        methods=str(raw.get("allow_methods", "")),
        headers=str(raw.get("allow_headers", "")),
        expose=str(raw.get("expose_headers", "")),
        max_age=str(raw.get("max_age", "")),
        credentials=credentials if isinstance(credentials, bool) else None,
        answers_all=raw.get("forward_not_matching_preflights") is False,
    )
