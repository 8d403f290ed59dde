"""Knative Serving: what its objects and its configuration lead to.

Sources: knative/serving pkg/reconciler, knative-extensions/net-istio pkg/reconciler/ingress/config/istio.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from kgdiag.dialects.base import Dialect
from kgdiag.graph.core import cluster_name
from kgdiag.graph.relations import Link, Relation
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref

SYSTEM = "knative-serving"


@dataclass(frozen=True, slots=True)
class ConfiguredGateway:
    """One gateway of the ConfigMap config-istio: the Gateway, the Service in front of it and its field."""

    gateway: Ref
    service: Ref | None
    local: bool
    field: str
    value: str


def configured_gateways(config: Obj) -> list[ConfiguredGateway]:
    """The gateways of a ConfigMap ``config-istio``: old keys (``gateway.NS.NAME``) and new lists."""
    found: list[ConfiguredGateway] = []
    for key, value in sorted(config.mapping("data").items()):
        field = f"data['{key}']"
        if key in ("external-gateways", "local-gateways"):
            found += _listed(str(value), key == "local-gateways", field)
            continue
        prefix, _, rest = key.partition(".")
        if prefix in ("gateway", "local-gateway") and rest:
            namespace, dot, name = rest.partition(".")
            place = (namespace, name) if dot else (SYSTEM, namespace)
            gateway = Ref("networking.istio.io", "Gateway", *place)
            found.append(
                ConfiguredGateway(gateway, _service(str(value)), prefix == "local-gateway", field, str(value))
            )
    return found


def _listed(text: str, local: bool, field: str) -> list[ConfiguredGateway]:
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError:
        return []
    found = []
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and entry.get("name"):
            gateway = Ref(
                "networking.istio.io", "Gateway", str(entry.get("namespace") or SYSTEM), str(entry["name"])
            )
            service = str(entry.get("service") or "")
            found.append(ConfiguredGateway(gateway, _service(service), local, field, service))
    return found


def _service(host: str) -> Ref | None:
    named = cluster_name(host.strip().rstrip("."))
    return Ref("", "Service", named[1], named[0]) if named else None


def _config(world: World, obj: Obj) -> list[Obj]:
    found = world.get(kinds.CONFIG_MAP, SYSTEM, "config-istio", optional=True)
    return [found] if found else []


def _configures(world: World, config: Obj) -> Iterator[Link]:
    if config.name != "config-istio":
        return
    for item in configured_gateways(config):
        which = "local" if item.local else "external"
        yield Link(item.gateway, item.field, f"Knative's {which} gateway")
        if item.service:
            yield Link(item.service, item.field, f"Service of Knative's {which} gateway {item.gateway.name}")


def _route(world: World, service: Obj) -> Iterator[Link]:
    yield Link(Ref("serving.knative.dev", "Route", service.namespace, service.name), "metadata.name")
    yield Link(Ref("serving.knative.dev", "Configuration", service.namespace, service.name), "metadata.name")


def _ingress(world: World, route: Obj) -> Iterator[Link]:
    yield Link(
        Ref("networking.internal.knative.dev", "Ingress", route.namespace, route.name), "metadata.name"
    )


def _traffic(world: World, route: Obj) -> Iterator[Link]:
    for at, share in enumerate(route.maps("status.traffic")):
        if share.get("revisionName"):
            ref = Ref("serving.knative.dev", "Revision", route.namespace, str(share["revisionName"]))
            yield Link(ref, f"status.traffic[{at}]", f"{share.get('percent', 0)}%")


def _splits(world: World, ingress: Obj) -> Iterator[Link]:
    for at, rule in enumerate(ingress.maps("spec.rules")):
        hosts = ", ".join(str(host) for host in rule.get("hosts") or ())
        for number, split in _split_backends(rule):
            ref = Ref(
                "",
                "Service",
                str(split.get("serviceNamespace") or ingress.namespace),
                str(split.get("serviceName") or ""),
            )
            yield Link(
                ref, f"spec.rules[{at}].http.paths[{number}].splits", f"{hosts}: {split.get('percent', 100)}%"
            )


def _split_backends(rule: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    http = rule.get("http")
    paths = http.get("paths") if isinstance(http, Mapping) else None
    for number, path in enumerate(paths if isinstance(paths, list) else ()):
        splits = path.get("splits") if isinstance(path, Mapping) else None
        for split in splits if isinstance(splits, list) else ():
            if isinstance(split, Mapping):
                yield number, split


def _serverless(world: World, sks: Obj) -> Iterator[Link]:
    mode = sks.text("spec.mode", "Serve")
    public = sks.text("status.serviceName") or sks.name
    private = sks.text("status.privateServiceName") or f"{sks.name}-private"
    yield Link(Ref("", "Service", sks.namespace, public), "status.serviceName", f"public, mode {mode}")
    yield Link(Ref("", "Service", sks.namespace, private), "status.privateServiceName", "private")


def _revision(world: World, revision: Obj) -> Iterator[Link]:
    yield Link(Ref("apps", "Deployment", revision.namespace, f"{revision.name}-deployment"), "metadata.name")
    ref = Ref("networking.internal.knative.dev", "ServerlessService", revision.namespace, revision.name)
    yield Link(ref, "metadata.name")


def _revisions(world: World, configuration: Obj) -> Iterator[Link]:
    for field in ("status.latestReadyRevisionName", "status.latestCreatedRevisionName"):
        name = configuration.text(field)
        if name:
            yield Link(Ref("serving.knative.dev", "Revision", configuration.namespace, name), field)
            return


def _mapped(world: World, mapping: Obj) -> Iterator[Link]:
    target = mapping.mapping("spec.ref")
    if target.get("name"):
        group = str(target.get("apiVersion") or "").rpartition("/")[0]
        ref = Ref(
            group,
            str(target.get("kind") or "Service"),
            str(target.get("namespace") or mapping.namespace),
            str(target["name"]),
        )
        yield Link(ref, "spec.ref")


def _same_name(kind: Any) -> Any:
    def sources(world: World, obj: Obj) -> list[Obj]:
        found = world.get(kind, obj.namespace, obj.name, optional=True)
        return [found] if found else []

    return sources


def _serverless_of(world: World, service: Obj) -> list[Obj]:
    label = service.labels.get("networking.internal.knative.dev/serverlessservice")
    found = world.get(kinds.SERVERLESS_SERVICE, service.namespace, label, optional=True) if label else None
    return [found] if found else []


def _ingresses_of(world: World, service: Obj) -> list[Obj]:
    return world.all(kinds.KNATIVE_INGRESS, service.namespace, optional=True)


RELATIONS = (
    Relation(
        "refers-to",
        "referred-to-by",
        kinds.CONFIG_MAP,
        (kinds.SERVICE, kinds.ISTIO_GATEWAY),
        _configures,
        _config,
        optional=True,
    ),
    Relation(
        "makes",
        "made-by",
        kinds.KNATIVE_SERVICE,
        (kinds.KNATIVE_ROUTE, kinds.KNATIVE_CONFIGURATION),
        _route,
        _same_name(kinds.KNATIVE_SERVICE),
    ),
    Relation(
        "makes",
        "made-by",
        kinds.KNATIVE_ROUTE,
        (kinds.KNATIVE_INGRESS,),
        _ingress,
        _same_name(kinds.KNATIVE_ROUTE),
    ),
    Relation("routes-to", "routed-to-by", kinds.KNATIVE_ROUTE, (kinds.KNATIVE_REVISION,), _traffic),
    Relation("makes", "made-by", kinds.KNATIVE_CONFIGURATION, (kinds.KNATIVE_REVISION,), _revisions),
    Relation("routes-to", "routed-to-by", kinds.KNATIVE_INGRESS, (kinds.SERVICE,), _splits, _ingresses_of),
    Relation("makes", "made-by", kinds.SERVERLESS_SERVICE, (kinds.SERVICE,), _serverless, _serverless_of),
    Relation(
        "makes", "made-by", kinds.KNATIVE_REVISION, (kinds.DEPLOYMENT, kinds.SERVERLESS_SERVICE), _revision,
        _same_name(kinds.KNATIVE_REVISION),
    ),
    Relation("leads-to", "mapped-by", kinds.DOMAIN_MAPPING, (kinds.KNATIVE_SERVICE, kinds.SERVICE), _mapped),
)  # fmt: skip

DIALECT = Dialect("knative", relations=RELATIONS)
