"""What of the mesh decides where requests go: its configuration, istiod's switches, which pods have a proxy.

Sources: istio.io/docs/reference/config/istio.mesh.v1alpha1; istio pilot/pkg/features (istiod's environment),
pkg/kube/inject/inject.go (injectRequired) and manifests/charts/istio-control/istio-discovery/templates/
mutatingwebhook.yaml (who is injected), pilot/pkg/model/config.go (ResolveShortnameToFQDN),
pkg/kube/namespace/filter.go (discoverySelectors); maistra/istio-operator for OpenShift Service Mesh 2.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import yaml

from kgdiag.graph.core import containers, is_assumed
from kgdiag.graph.labels import matches
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.read import Origin

PROXY_CONTAINER = "istio-proxy"
DEFAULT_ROOT = "istio-system"
_IGNORED_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "local-path-storage")
_VERSION = re.compile(r"(?:^|[:/-])v?(\d+)\.(\d+)(?:[.-]|$)")
_DISCOVERY = re.compile(r"([a-z0-9.-]+?)\.([a-z0-9-]+)\.svc(?:[.:]|$)")

# OpenShift Service Mesh 2 carries its own version; which Istio it is: Red Hat's release notes.
_MAISTRA = {(2, 0): (1, 6), (2, 1): (1, 9), (2, 2): (1, 12), (2, 3): (1, 14), (2, 4): (1, 16),
            (2, 5): (1, 18), (2, 6): (1, 20)}  # fmt: skip


@dataclass(frozen=True)
class Mesh:
    """One istiod's mesh configuration and switches, with Istio's defaults.

    ``features`` is istiod's environment as declared; ``switch`` reads one. ``version`` is (major, minor) of
    Istio, None where it cannot be told (then the newest known rules hold). ``members`` are the namespaces of
    OpenShift Service Mesh's member roll, None where there is none. ``assumed`` says that no configuration was
    found and Istio's defaults stand in.
    """

    root_namespace: str = DEFAULT_ROOT
    control_plane: str = DEFAULT_ROOT
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
    ingress_selector: str = ""
    ingress_controller_mode: str = "STRICT"
    access_log_file: str = ""
    version: tuple[int, int] | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)
    members: frozenset[str] | None = None
    assumed: bool = False

    def switch(self, name: str, default: bool) -> bool:
        """A boolean of istiod's environment."""
        value = self.features.get(name)
        return default if value is None else value.strip().lower() in ("1", "t", "true")

    def since(self, major: int, minor: int) -> bool:
        """Whether this istiod is at least that version; an unknown one counts as new."""
        return self.version is None or self.version >= (major, minor)


def mesh_of(world: World, pod: Obj | None = None) -> Mesh:
    """The mesh that programs a pod's proxy (or the default one).

    Reads narrowly: ConfigMaps by name, istiod's Deployment by label, in the control plane's namespace.
    """
    if pod is not None:
        return world.memo(("mesh of", pod.ref), lambda: _mesh_of(world, pod))
    return world.memo("mesh of no pod", lambda: _mesh_of(world, None))


def _mesh_of(world: World, pod: Obj | None) -> Mesh:
    namespace, revision = _control_plane(pod)
    proxy = _proxy_version(pod)
    config = _config_map(world, namespace, revision)
    istiod = _istiod(world, namespace, revision)
    roll = _roll(world, namespace, istiod)
    return world.memo(
        ("istio mesh", namespace, revision, proxy),
        lambda: _mesh(namespace, revision, proxy, config, istiod, roll),
    )


def _control_plane(pod: Obj | None) -> tuple[str, str]:
    """(namespace, revision) of the istiod that the pod's proxy names, else Istio's defaults."""
    if pod is None:
        return DEFAULT_ROOT, "default"
    revision = pod.labels.get("istio.io/rev") or pod.annotations.get("istio.io/rev") or "default"
    env = proxy_env(pod)
    found = _DISCOVERY.search(env.get("CA_ADDR", "") or _discovery_address(env.get("PROXY_CONFIG", "")))
    return (found[2] if found else DEFAULT_ROOT), str(revision)


def _discovery_address(proxy_config: str) -> str:
    found = re.search(r'"?discoveryAddress"?\s*:\s*"?([^",}\s]+)', proxy_config)
    return found[1] if found else ""


def _config_map(world: World, namespace: str, revision: str) -> Obj | None:
    plain = world.get(kinds.CONFIG_MAP, namespace, "istio", optional=True)
    if revision == "default":
        return plain
    return world.get(kinds.CONFIG_MAP, namespace, f"istio-{revision}", optional=True) or plain


def _roll(world: World, namespace: str, istiod: Obj | None) -> Obj | None:
    """The member roll, which only OpenShift Service Mesh has; another's istiod needs no reading."""
    if world.pending(kinds.DEPLOYMENT, namespace, {"app": "istiod"}):
        return None
    live = world.origin is Origin.LIVE
    if live and istiod is not None and not any("maistra" in key for key in istiod.labels):
        return None
    return world.get(kinds.MESH_MEMBER_ROLL, namespace, "default", optional=True)


def _istiod(world: World, namespace: str, revision: str) -> Obj | None:
    """istiod's Deployment; where the pods beside it were read anyway, what its pod says of itself."""
    if world.origin is Origin.LIVE and world.has(kinds.POD, namespace):
        running = world.select(kinds.POD, namespace, {"app": "istiod"})
        same = [pod for pod in running if pod.labels.get("istio.io/rev", "default") == revision]
        for pod in same or running:
            return Obj(
                kinds.DEPLOYMENT,
                {"metadata": pod.raw.get("metadata"), "spec": {"template": {"spec": pod.raw.get("spec")}}},
            )
    found = world.select(kinds.DEPLOYMENT, namespace, {"app": "istiod"}, optional=True)
    same = [item for item in found if item.labels.get("istio.io/rev", "default") == revision]
    return next(iter(same or found), None)


def _mesh(
    namespace: str, revision: str, proxy: tuple[int, int] | None, config: Obj | None, istiod: Obj | None,
    roll: Obj | None,
) -> Mesh:  # fmt: skip
    raw = _parse(config.text(("data", "mesh"))) if config else {}
    features = _environment(istiod, "discovery")
    providers = raw.get("extensionProviders")
    selectors = raw.get("discoverySelectors")
    defaults = Mesh()
    policy = raw.get("outboundTrafficPolicy")
    mode = str(policy.get("mode") or "") if isinstance(policy, Mapping) else ""
    auto = raw.get("enableAutoMtls")
    return Mesh(
        root_namespace=str(raw.get("rootNamespace") or namespace),
        control_plane=namespace,
        revision=revision,
        trust_domain=str(raw.get("trustDomain") or defaults.trust_domain),
        outbound=mode or defaults.outbound,
        virtual_service_export_to=_export_to(raw.get("defaultVirtualServiceExportTo")),
        service_export_to=_export_to(raw.get("defaultServiceExportTo")),
        destination_rule_export_to=_export_to(raw.get("defaultDestinationRuleExportTo")),
        auto_mtls=auto if isinstance(auto, bool) else True,
        extension_providers=tuple(
            str(item["name"]) for item in _maps(providers) if isinstance(item.get("name"), str)
        ),
        discovery_selectors=tuple(_maps(selectors)),
        ingress_class=str(raw.get("ingressClass") or defaults.ingress_class),
        ingress_service=str(raw.get("ingressService") or defaults.ingress_service),
        ingress_selector=str(raw.get("ingressSelector") or ""),
        ingress_controller_mode=str(raw.get("ingressControllerMode") or defaults.ingress_controller_mode),
        access_log_file=str(raw.get("accessLogFile") or ""),
        # A member roll is of OpenShift Service Mesh 2, whose newest release is Istio 1.20.
        version=_istiod_version(istiod) or proxy or (None if roll is None else (1, 20)),
        features=features,
        raw=raw,
        members=_members(namespace, roll),
        assumed=config is None,
    )


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _export_to(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) and value else ("*",)


def _parse(text: str) -> Mapping[str, Any]:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, Mapping) else {}


def _environment(workload: Obj | None, container: str) -> dict[str, str]:
    if workload is None:
        return {}
    found = [item for item in workload.maps("spec.template.spec.containers") if item.get("name") == container]
    return _env_of(found[0]) if found else {}


def _env_of(container: Mapping[str, Any]) -> dict[str, str]:
    return {
        str(item.get("name")): str(item["value"]) for item in _maps(container.get("env")) if "value" in item
    }


def _istiod_version(istiod: Obj | None) -> tuple[int, int] | None:
    if istiod is None:
        return None
    images = [str(item.get("image") or "") for item in istiod.maps("spec.template.spec.containers")]
    tags = [image.rpartition("/")[2].partition("@")[0].partition(":")[2] for image in images]
    labels = (str(istiod.labels.get(key) or "") for key in ("maistra-version", "operator.istio.io/version"))
    declared = (*labels, *tags)
    return next((number for number in map(_number, declared) if number), None)


def _proxy_version(pod: Obj | None) -> tuple[int, int] | None:
    """The version of the pod's own proxy, which stands in where istiod cannot be seen."""
    if pod is None:
        return None
    maistra = _number(str(pod.labels.get("maistra-version") or ""))
    if maistra:
        return maistra
    container = proxy_container(pod)
    image = str(container.get("image") or "") if container else ""
    return _number(image.rpartition("/")[2].partition("@")[0].partition(":")[2])


def _number(text: str) -> tuple[int, int] | None:
    """(major, minor) of Istio in a version or tag; 2.x is OpenShift Service Mesh's own numbering."""
    found = _VERSION.search(text)
    number = (int(found[1]), int(found[2])) if found else None
    return _MAISTRA.get(number, number) if number else None


def _members(namespace: str, roll: Obj | None) -> frozenset[str] | None:
    if roll is None:
        return None
    named = (*roll.items("spec.members"), *roll.items("status.members"))
    return frozenset({namespace, *(str(item) for item in named if item != "*")})


def discovered(world: World, mesh: Mesh, namespace: str) -> bool:
    """Whether istiod looks at a namespace: ``discoverySelectors`` or the member roll may leave it out.

    A namespace whose labels are not known counts as looked at.
    """
    if mesh.members is not None and namespace not in mesh.members:
        return False
    if not mesh.discovery_selectors:
        return True
    known = world.get(kinds.NAMESPACE, "", namespace, optional=True)
    if known is None:
        return True
    labels = {"kubernetes.io/metadata.name": namespace, **known.labels}
    return any(matches(selector, labels) for selector in mesh.discovery_selectors)


def in_scope(world: World, mesh: Mesh, objects: Iterable[Obj]) -> list[Obj]:
    """The objects of namespaces that istiod looks at."""
    if mesh.members is None and not mesh.discovery_selectors:
        return list(objects)
    verdicts: dict[str, bool] = {}
    kept = []
    for obj in objects:
        if obj.namespace not in verdicts:
            verdicts[obj.namespace] = discovered(world, mesh, obj.namespace)
        if verdicts[obj.namespace]:
            kept.append(obj)
    return kept


# -- names ---------------------------------------------------------------------------------------------


def resolve_host(short: str, namespace: str, domain: str = "cluster.local") -> str:
    """A host without a dot is a Service of the namespace; every other host stays as it is."""
    if not short or "." in short or short == "*" or _is_address(short):
        return short
    return f"{short}.{namespace}.svc.{domain}"


def _is_address(text: str) -> bool:
    if ":" not in text:
        return False  # IPv4 has dots
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def visible(export_to: Collection[str], owner_namespace: str, viewer_namespace: str) -> bool:
    """Whether ``exportTo`` shows an object of one namespace to proxies of another.

    ``export_to`` is the object's own list or, where it has none, the mesh's default; empty is everywhere.
    """
    if not export_to or "*" in export_to:
        return True
    if "~" in export_to:
        return False
    return viewer_namespace in {owner_namespace if item == "." else item for item in export_to}


def principal(mesh: Mesh, pod: Obj) -> str:
    """The SPIFFE identity, without its scheme, that a pod's proxy presents."""
    account = pod.text("spec.serviceAccountName") or pod.text("spec.serviceAccount") or "default"
    return f"{mesh.trust_domain}/ns/{pod.namespace}/sa/{account}"


# -- which pods have a proxy ---------------------------------------------------------------------------


def proxy_container(pod: Obj) -> Mapping[str, Any] | None:
    """The pod's Istio proxy: a container, or an init container that keeps running (native sidecar)."""
    return pod.once("Istio proxy", _proxy_container_of)


def _proxy_container_of(pod: Obj) -> Mapping[str, Any] | None:
    return next((item for item in containers(pod) if item.get("name") == PROXY_CONTAINER), None)


def proxy_env(pod: Obj) -> dict[str, str]:
    """The environment of the pod's Istio proxy that is written out."""
    container = proxy_container(pod)
    return _env_of(container) if container else {}


def _role(pod: Obj) -> str:
    """``router``, ``sidecar``, ``waypoint`` or "" without a proxy.

    The gateway chart's pods, before they are injected, say it by an annotation instead of arguments.
    """
    return pod.once("role of the Istio proxy", _role_of)


def _role_of(pod: Obj) -> str:
    container = proxy_container(pod)
    if container is None:
        return ""
    arguments = container.get("args")
    words = [str(item) for item in arguments] if isinstance(arguments, list) else []
    for role in ("router", "waypoint", "sidecar"):
        if role in words:
            return role
    templates = str(pod.annotations.get("inject.istio.io/templates") or "").split(",")
    if "gateway" in (item.strip() for item in templates):
        return "router"
    return "sidecar"


def is_proxy(pod: Obj) -> bool:
    """Whether the pod runs an Istio proxy."""
    return proxy_container(pod) is not None


def is_gateway_pod(pod: Obj) -> bool:
    """Whether the pod's Istio proxy is a gateway (``proxy router``), not a sidecar."""
    return _role(pod) == "router"


def is_waypoint(pod: Obj) -> bool:
    """Whether the pod is an ambient waypoint."""
    return _role(pod) == "waypoint"


def has_sidecar(world: World, pod: Obj) -> bool:
    """Whether the pod has (or, for manifests, would be given) a sidecar."""
    role = _role(pod)
    if role:
        return role == "sidecar"
    if world.origin is Origin.FILES and _never_ran(pod):
        return would_inject(world, pod)
    return False


def _never_ran(pod: Obj) -> bool:
    """A manifest: nobody has admitted it, so what injection adds cannot be there yet."""
    return is_assumed(pod) or not (pod.text("spec.nodeName") or pod.text("status.phase"))


def would_inject(world: World, pod: Obj) -> bool:
    """Whether the injection webhook would give this pod a sidecar, by the labels of pod and namespace."""
    if pod.get("spec.hostNetwork") is True or pod.namespace in _IGNORED_NAMESPACES:
        return False
    namespace = world.get(kinds.NAMESPACE, "", pod.namespace, optional=True)
    mine = str(pod.labels.get("sidecar.istio.io/inject") or "").lower()
    noted = str(pod.annotations.get("sidecar.istio.io/inject") or "").lower()
    if _is_member(world, pod):  # OpenShift Service Mesh 2 asks the pod alone
        return (mine or noted) == "true"
    if not _webhook_matches(namespace.labels if namespace else {}, pod.labels, mine):
        return False
    return (mine or noted or "true") not in ("false", "0", "no", "n", "off")


def _webhook_matches(namespace: Mapping[str, str], pod: Mapping[str, str], mine: str) -> bool:
    enabled, revision = namespace.get("istio-injection"), namespace.get("istio.io/rev")
    if enabled is not None:
        return enabled == "enabled" and mine != "false"
    if revision is not None:
        return mine != "false"
    return mine == "true" or (mine != "false" and "istio.io/rev" in pod)


def _is_member(world: World, pod: Obj) -> bool:
    roll = world.get(kinds.MESH_MEMBER_ROLL, DEFAULT_ROOT, "default", optional=True)
    members = _members(DEFAULT_ROOT, roll)
    return members is not None and pod.namespace in members
