"""What of the mesh's configuration decides where requests go.

Sources: istio.io/docs/reference/config/istio.mesh.v1alpha1; istio pilot/pkg/features (environment of istiod).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from kgdiag.graph.world import World
from kgdiag.model.obj import Obj


@dataclass(frozen=True)
class Mesh:
    """One istiod's mesh configuration and switches, with Istio's defaults.

    ``features`` is istiod's environment as declared; ``switch`` reads one. ``version`` is (major, minor) of
    istiod's image tag, None where it cannot be read (then the newest known rules hold).
    """

    root_namespace: str = "istio-system"
    revision: str = "default"
    trust_domain: str = "cluster.local"
    domain: str = "cluster.local"
    outbound: str = "ALLOW_ANY"
    virtual_service_export_to: tuple[str, ...] = ("*",)
    service_export_to: tuple[str, ...] = ("*",)
    destination_rule_export_to: tuple[str, ...] = ("*",)
    auto_mtls: bool = True
    extension_providers: tuple[str, ...] = ()
    discovery_selectors: tuple[Mapping[str, Any], ...] = ()
    ingress_class: str = "istio"
    ingress_service: str = "istio-ingressgateway"
    ingress_selector: str = "ingressgateway"
    ingress_controller_mode: str = "STRICT"
    access_log_file: str = ""
    version: tuple[int, int] | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)

    def switch(self, name: str, default: bool) -> bool:
        """A boolean of istiod's environment."""
        value = self.features.get(name)
        return default if value is None else value.strip().lower() in ("1", "t", "true")

    def since(self, major: int, minor: int) -> bool:
        """Whether this istiod is at least that version; an unknown one counts as new."""
        return self.version is None or self.version >= (major, minor)


def mesh_of(world: World, pod: Obj | None = None) -> Mesh:
    """The mesh that programs a pod's proxy (or the default one)."""
    return Mesh()


def resolve_host(short: str, namespace: str, domain: str = "cluster.local") -> str:
    """A host without a dot is a Service of the namespace; every other host stays as it is."""
    return short if "." in short or short == "*" else f"{short}.{namespace}.svc.{domain}"


def visible(export_to: Collection[str], owner_namespace: str, viewer_namespace: str) -> bool:
    """Whether ``exportTo`` shows an object of one namespace to proxies of another."""
    return True


def is_proxy(pod: Obj) -> bool:
    """Whether the pod runs an Istio proxy."""
    return False


def is_gateway_pod(pod: Obj) -> bool:
    """Whether the pod's Istio proxy is a gateway (``proxy router``), not a sidecar."""
    return False


def is_waypoint(pod: Obj) -> bool:
    """Whether the pod is an ambient waypoint."""
    return False


def has_sidecar(world: World, pod: Obj) -> bool:
    """Whether the pod has (or, for manifests, would be given) a sidecar."""
    return False
