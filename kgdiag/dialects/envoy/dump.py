"""The parts of a config dump, whoever printed it.

Understood: ``/config_dump?include_eds`` of any Envoy; what ``istioctl proxy-config all|listeners|routes|
clusters|endpoints|secrets -o json`` prints; ``egctl config envoy-proxy all -o json`` (namespace → pod →
dump).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kgdiag.model.obj import dig

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Dump:
    """An Envoy's config by name. ``rejected`` are resources that it was sent and refused, with its words.

    ``missing`` names the parts that the input does not have (a dump of listeners only has no routes).
    """

    node: str = ""
    listeners: Sequence[Json] = ()
    routes: Mapping[str, Json] = field(default_factory=dict)
    clusters: Mapping[str, Json] = field(default_factory=dict)
    endpoints: Mapping[str, Json] = field(default_factory=dict)
    secrets: Mapping[str, Json] = field(default_factory=dict)
    warming_secrets: frozenset[str] = frozenset()
    rejected: tuple[tuple[str, str], ...] = ()
    missing: frozenset[str] = frozenset()
    bootstrap: Json = field(default_factory=dict)


def dumps_of(value: Any) -> list[tuple[str, Dump]]:
    """Every dump in a parsed file, with the name that the file gives it (``namespace/pod`` or "").

    Raises ValueError where the value is none of the known shapes, MalformedError where it is one of them and
    broken.
    """
    with reading("the dump"):
        return _dumps_of(value)


def _dumps_of(value: Any) -> list[tuple[str, Dump]]:
    if isinstance(value, Mapping) and isinstance(value.get("configs"), list):
        return [("", _of_configs(value["configs"]))]
    if isinstance(value, Mapping) and any(key in value for key in _SECRETS):
        return [("", _of_secrets(value))]
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        return [("", _of_list(value))]
    if isinstance(value, Mapping):
        found = list(_nested(value, ""))
        if found:
            return found
    raise ValueError(
        "no Envoy config dump: neither configs, nor a list of listeners, routes, clusters or endpoints"
    )


def _nested(value: Json, name: str) -> Iterator[tuple[str, Dump]]:
    for key, inner in value.items():
        if not isinstance(inner, Mapping):
            continue
        path = f"{name}/{key}".strip("/")
        if isinstance(inner.get("configs"), list):
            yield path, _of_configs(inner["configs"])
        else:
            yield from _nested(inner, path)


_SECRETS = ("dynamicActiveSecrets", "dynamic_active_secrets", "dynamicWarmingSecrets", "static_secrets")
# What ``/config_dump?resource=…`` prints one by one: the part and the list of it that each belongs to.
_SINGLE = {
    "StaticListener": ("ListenersConfigDump", "static_listeners"),
    "DynamicListener": ("ListenersConfigDump", "dynamic_listeners"),
    "StaticRouteConfig": ("RoutesConfigDump", "static_route_configs"),
    "DynamicRouteConfig": ("RoutesConfigDump", "dynamic_route_configs"),
    "StaticCluster": ("ClustersConfigDump", "static_clusters"),
    "DynamicCluster": ("ClustersConfigDump", "dynamic_active_clusters"),
    "StaticEndpointConfig": ("EndpointsConfigDump", "static_endpoint_configs"),
    "DynamicEndpointConfig": ("EndpointsConfigDump", "dynamic_endpoint_configs"),
    "StaticSecret": ("SecretsConfigDump", "static_secrets"),
    "DynamicSecret": ("SecretsConfigDump", "dynamic_active_secrets"),
}


class MalformedError(ValueError):
    """A part of a dump that is not shaped as Envoy's API has it."""


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Says what part of a dump it is whose shape cannot be read; raises MalformedError."""
    try:
        yield
    except MalformedError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalformedError(f"{what} is not shaped as Envoy has it: {error}") from error


def _parts(configs: Sequence[Any]) -> dict[str, Json]:
    """The parts of a dump by their types; single resources are gathered into the part that they are of."""
    parts: dict[str, Any] = {}
    for item in configs:
        if not isinstance(item, Mapping):
            continue
        kind = str(item.get("@type", "")).rpartition(".")[2]
        if kind in _SINGLE:
            part, key = _SINGLE[kind]
            parts.setdefault(part, {}).setdefault(key, []).append(item)
        elif any(
            key.startswith(("dynamicActive", "dynamicListeners", "dynamicRoute", "dynamicEndpoint"))
            for key in item
        ):
            parts[kind] = snake(item)
        else:
            parts[kind] = item
    return parts


def _of_secrets(value: Json) -> Dump:
    """What ``istioctl proxy-config secrets -o json`` prints."""
    part = snake(value)
    return Dump(
        secrets=_named(_configs(part, "secrets", "secret", dynamic="dynamic_active_secrets"), "name"),
        warming_secrets=frozenset(
            str(item.get("name")) for item in _maps(part.get("dynamic_warming_secrets"))
        ),
        missing=frozenset(part for part in _PARTS if part != "secrets"),
    )


def _of_configs(configs: Sequence[Any]) -> Dump:
    parts = _parts(configs)
    listeners, rejected = _listeners(parts.get("ListenersConfigDump", {}))
    routes = parts.get("RoutesConfigDump", {})
    clusters = parts.get("ClustersConfigDump", {})
    endpoints = parts.get("EndpointsConfigDump", {})
    secrets = parts.get("SecretsConfigDump", {})
    bootstrap = dig(parts.get("BootstrapConfigDump", {}), "bootstrap", {})
    wanted = {
        "listeners": "ListenersConfigDump",
        "routes": "RoutesConfigDump",
        "clusters": "ClustersConfigDump",
        "endpoints": "EndpointsConfigDump",
        "secrets": "SecretsConfigDump",
    }
    return Dump(
        node=str(dig(bootstrap, "node.id", "")),
        listeners=listeners,
        routes=_named(_configs(routes, "route_configs", "route_config"), "name"),
        clusters=_named(_configs(clusters, "clusters", "cluster", dynamic="dynamic_active_clusters"), "name"),
        endpoints=_named(_configs(endpoints, "endpoint_configs", "endpoint_config"), "cluster_name"),
        secrets=_named(_configs(secrets, "secrets", "secret", dynamic="dynamic_active_secrets"), "name"),
        warming_secrets=frozenset(
            str(item.get("name")) for item in _maps(secrets.get("dynamic_warming_secrets"))
        ),
        rejected=tuple(rejected + _errors(routes) + _errors(clusters) + _errors(secrets)),
        missing=frozenset(part for part, kind in wanted.items() if kind not in parts),
        bootstrap=bootstrap,
    )


def _configs(part: Json, plural: str, single: str, *, dynamic: str = "") -> Iterator[Json]:
    for key in (f"static_{plural}", dynamic or f"dynamic_{plural}"):
        for item in _maps(part.get(key)):
            inner = item.get(single)
            if isinstance(inner, Mapping):
                yield {"name": item["name"], **inner} if "name" in item else inner


def _listeners(part: Json) -> tuple[list[Json], list[tuple[str, str]]]:
    found = [
        item["listener"]
        for item in _maps(part.get("static_listeners"))
        if isinstance(item.get("listener"), Mapping)
    ]
    rejected = []
    for item in _maps(part.get("dynamic_listeners")):
        inner = dig(item, "active_state.listener")
        if isinstance(inner, Mapping):
            found.append(inner)
        details = dig(item, "error_state.details")
        if details:
            rejected.append((f"listener {item.get('name')}", str(details)))
    return found, rejected


def _errors(part: Json) -> list[tuple[str, str]]:
    return [
        (
            f"{key.removeprefix('dynamic_')} {item.get('name', '')}".strip(),
            str(dig(item, "error_state.details")),
        )
        for key in part
        if key.startswith("dynamic_")
        for item in _maps(part.get(key))
        if dig(item, "error_state.details")
    ]


_PARTS = ("listeners", "routes", "clusters", "endpoints", "secrets")


def _of_list(items: Sequence[Json]) -> Dump:
    """A bare list as istioctl prints single kinds; its camel case is folded to the dump's snake case."""
    plain: list[Any] = [snake(item) for item in items]
    first = plain[0]
    kind = (
        "routes"
        if "virtual_hosts" in first
        else "listeners"
        if "filter_chains" in first or "address" in first
        else "endpoints"
        if "host_statuses" in first or "cluster_name" in first
        else "clusters"
        if "name" in first
        else ""
    )
    if not kind:
        raise ValueError("a list of something that is neither listeners, routes, clusters nor endpoints")
    missing = frozenset(part for part in _PARTS if part != kind)
    if kind == "listeners":
        return Dump(listeners=plain, missing=missing)
    if kind == "routes":
        return Dump(routes=_named(plain, "name"), missing=missing)
    if kind == "clusters":
        return Dump(clusters=_named(plain, "name"), missing=missing)
    return Dump(endpoints=_named([_host_statuses(item) for item in plain], "cluster_name"), missing=missing)


def _host_statuses(item: Json) -> Json:
    """An entry of ``istioctl proxy-config endpoints -o json`` (``/clusters?format=json``) as endpoints."""
    if "host_statuses" not in item:
        return item
    endpoints = [
        {
            "endpoint": {"address": host.get("address")},
            "health_status": dig(host, "health_status.eds_health_status", "HEALTHY"),
        }
        for host in _maps(item.get("host_statuses"))
    ]
    return {"cluster_name": item.get("name"), "endpoints": [{"lb_endpoints": endpoints}]}


def snake(value: Any) -> Any:
    """Keys in camel case as the dump has them in snake case; type names and metadata are left alone."""
    if isinstance(value, Mapping):
        return {
            _snake(key): inner if key in ("filterMetadata", "filter_metadata") else snake(inner)
            for key, inner in value.items()
        } | ({"filter_metadata": value["filterMetadata"]} if "filterMetadata" in value else {})
    if isinstance(value, list):
        return [snake(item) for item in value]
    return value


def _snake(key: str) -> str:
    if key.startswith("@") or not any(char.isupper() for char in key) or "." in key or "|" in key:
        return key
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in key).lstrip("_")


def _named(items: Sequence[Json] | Iterator[Json], key: str) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for item in items:
        found[str(item.get(key) or "")] = item
    return found


def _maps(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
