"""KServe: what its configuration points at, and what an InferenceService is made of.

Sources: kserve/kserve pkg/apis/serving/v1beta1/configmap.go, pkg/controller/v1beta1/inferenceservice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kgdiag.dialects.base import Dialect
from kgdiag.graph.core import cluster_name
from kgdiag.graph.relations import Link, Relation
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref

CONFIG = "inferenceservice-config"
_NAMESPACES = ("kserve", "kubeflow", "redhat-ods-applications", "opendatahub")
_ISTIO = "networking.istio.io"


@dataclass(frozen=True, slots=True)
class IngressConfig:
    """The key ``ingress`` of the ConfigMap; ``problem`` says why ``values`` is empty."""

    config: Obj
    values: Mapping[str, Any]
    problem: str = ""


def config_map(world: World) -> Obj | None:
    """The ConfigMap inferenceservice-config, wherever KServe is installed; its usual namespaces first."""
    found = {obj.namespace: obj for obj in world.named(kinds.CONFIG_MAP, CONFIG, optional=True)}
    usual = [found[namespace] for namespace in _NAMESPACES if namespace in found]
    return next(iter((*usual, *found.values())), None)


def ingress_config(config: Obj) -> IngressConfig:
    """What KServe is told about gateways."""
    text = config.text(("data", "ingress"))
    if not text:
        return IngressConfig(config, {}, "it has no key ingress")
    try:
        values = json.loads(text)
    except ValueError as error:
        return IngressConfig(config, {}, f"its key ingress is no JSON: {error}")
    if not isinstance(values, dict):
        return IngressConfig(config, {}, "its key ingress is no JSON object")
    return IngressConfig(config, values)


def _configures(world: World, config: Obj) -> Iterator[Link]:
    if config.name != CONFIG:
        return
    values = ingress_config(config).values
    for key in ("localGatewayService", "knativeLocalGatewayService"):
        named = cluster_name(str(values.get(key) or "").rstrip("."))
        if named:
            yield Link(Ref("", "Service", named[1], named[0]), "data.ingress", key)
    for key, group in (
        ("ingressGateway", _ISTIO),
        ("localGateway", _ISTIO),
        ("kserveIngressGateway", "gateway.networking.k8s.io"),
    ):
        namespace, slash, name = str(values.get(key) or "").partition("/")
        if slash and name:
            yield Link(Ref(group, "Gateway", namespace, name), "data.ingress", key)


def _config(world: World, obj: Obj) -> list[Obj]:
    found = config_map(world)
    return [found] if found else []


def component_names(isvc: Obj) -> list[tuple[str, str]]:
    """(component, name of its Service or Knative Service) of an InferenceService."""
    found = []
    for component in ("predictor", "transformer", "explainer"):
        spec = isvc.get(f"spec.{component}")
        if isinstance(spec, Mapping):
            middle = (
                f"-{spec['name']}" if component == "predictor" and isinstance(spec.get("name"), str) else ""
            )
            found.append((component, f"{isvc.name}{middle}-{component}"))
    return found


def _made(world: World, isvc: Obj) -> Iterator[Link]:
    for component, name in component_names(isvc):
        if world.get(kinds.KNATIVE_SERVICE, isvc.namespace, name, optional=True):
            yield Link(
                Ref("serving.knative.dev", "Service", isvc.namespace, name), f"spec.{component}", component
            )
        if world.get(kinds.SERVICE, isvc.namespace, name):
            yield Link(Ref("", "Service", isvc.namespace, name), f"spec.{component}", component)
        if world.get(kinds.DEPLOYMENT, isvc.namespace, name, optional=True):
            yield Link(Ref("apps", "Deployment", isvc.namespace, name), f"spec.{component}", component)
    if world.get(kinds.SERVICE, isvc.namespace, isvc.name):
        yield Link(Ref("", "Service", isvc.namespace, isvc.name), "metadata.name", "its in-cluster name")
    if world.get(kinds.VIRTUAL_SERVICE, isvc.namespace, isvc.name, optional=True):
        yield Link(Ref(_ISTIO, "VirtualService", isvc.namespace, isvc.name), "metadata.name", "its hosts")
    if world.get(kinds.HTTP_ROUTE, isvc.namespace, isvc.name, optional=True):
        ref = Ref("gateway.networking.k8s.io", "HTTPRoute", isvc.namespace, isvc.name)
        yield Link(ref, "metadata.name", "its hosts")
    if world.get(kinds.INGRESS, isvc.namespace, isvc.name, optional=True):
        yield Link(
            Ref("networking.k8s.io", "Ingress", isvc.namespace, isvc.name), "metadata.name", "its hosts"
        )


def _of_service(world: World, obj: Obj) -> list[Obj]:
    label = obj.labels.get("serving.kserve.io/inferenceservice") or next(
        (
            str(owner.get("name"))
            for owner in obj.maps("metadata.ownerReferences")
            if owner.get("kind") == "InferenceService"
        ),
        "",
    )
    found = world.get(kinds.INFERENCE_SERVICE, obj.namespace, label, optional=True) if label else None
    return [found] if found else []


RELATIONS = (
    Relation(
        "refers-to",
        "referred-to-by",
        kinds.CONFIG_MAP,
        (kinds.SERVICE, kinds.ISTIO_GATEWAY, kinds.GATEWAY),
        _configures,
        _config,
        optional=True,
    ),
    Relation(
        "makes",
        "made-by",
        kinds.INFERENCE_SERVICE,
        (
            kinds.KNATIVE_SERVICE, kinds.SERVICE, kinds.DEPLOYMENT, kinds.VIRTUAL_SERVICE, kinds.HTTP_ROUTE,
            kinds.INGRESS,
        ),
        _made,
        _of_service,
    ),
)  # fmt: skip

DIALECT = Dialect("kserve", relations=RELATIONS)
