"""Clusters of an Istio proxy: what a name such as ``outbound|80|v1|reviews.prod.svc.cluster.local`` sends to.

Sources: istio pilot/pkg/networking/core/cluster.go (buildOutboundClusters, convertResolution),
cluster_builder.go (buildCluster, buildSubsetCluster, applyDestinationRule), cluster_tls.go
(buildUpstreamTLSSettings), pilot/pkg/model/push_context.go (BestEffortInferServiceMTLSMode),
pilot/pkg/xds/endpoints/{endpoint_builder,mtls_checker}.go,
pilot/pkg/serviceregistry/{kube/controller,serviceentry}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kgdiag.dialects.gateway_api.backends import BackendTls, backend_tls
from kgdiag.dialects.istio import destination_rules as rules
from kgdiag.dialects.istio import registry, security
from kgdiag.dialects.istio.mesh import Mesh, has_sidecar, is_gateway_pod, is_waypoint
from kgdiag.dialects.istio.registry import Port, Resolution, Service
from kgdiag.dialects.istio.scope import Scope, destinations, mesh_routes, scope_of
from kgdiag.graph import labels as selectors
from kgdiag.graph.core import Address, addresses, is_ready, pods_of, selector_of
from kgdiag.graph.core import cluster_name as split_name
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import ClientTls, Cluster, Endpoint, Excluded, Health, Origin
from kgdiag.model.read import Need
from kgdiag.model.read import Origin as Source
from kgdiag.model.ref import Ref

PASSTHROUGH, BLACK_HOLE, INBOUND_PASSTHROUGH = (
    "PassthroughCluster",
    "BlackHoleCluster",
    "InboundPassthroughCluster",
)
TLS_MODE = "security.istio.io/tlsMode"

_MODES = {
    "DISABLE": ClientTls.PLAIN,
    "SIMPLE": ClientTls.SIMPLE,
    "MUTUAL": ClientTls.MUTUAL,
    "ISTIO_MUTUAL": ClientTls.MESH,
}


def cluster(world: World, mesh: Mesh, proxy_pod: Obj, name: str) -> Cluster | None:
    """A cluster of a pod's proxy; None where the proxy does not know it, which ``why_unknown`` explains."""
    match name:
        case "PassthroughCluster":
            return None if is_gateway_pod(proxy_pod) else Cluster(name, "original_dst")
        case "BlackHoleCluster":
            return Cluster(name, "blackhole")
        case "InboundPassthroughCluster" | "InboundPassthroughClusterIpv4":
            return Cluster(name, "original_dst")
    direction, port, subset, host = _parse(name)
    if direction == "inbound":
        return _inbound(proxy_pod, name, port)
    if direction != "outbound":
        return None
    found = _locate(world, mesh, proxy_pod, host, port, subset)
    if isinstance(found, _Nowhere):
        return _unseen(name, found) if found.doubt else None
    return _outbound(world, mesh, proxy_pod, name, found)


def why_unknown(world: World, mesh: Mesh, proxy_pod: Obj, name: str) -> tuple[Excluded, ...]:
    """Why a proxy does not know a cluster: the host, port or subset that is missing, and near misses."""
    direction, port, subset, host = _parse(name)
    if direction != "outbound":
        return ()
    found = _locate(world, mesh, proxy_pod, host, port, subset)
    return found.reasons if isinstance(found, _Nowhere) else ()


def _parse(name: str) -> tuple[str, int, str, str]:
    """(direction, port, subset, host) of a cluster's name; also of the DNAT form ``outbound_.80_._.host``."""
    parts = name.split("|", 3) if "|" in name else name.split("_.", 3)
    if len(parts) != 4 or not parts[1].isdigit():
        return "", 0, "", ""
    return parts[0], int(parts[1]), parts[2], parts[3]


# -- which service -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    service: Service
    port: Port
    choice: rules.Choice
    subset: rules.Setting | None
    subset_name: str


@dataclass(frozen=True, slots=True)
class _Nowhere:
    """Why there is no such cluster; ``doubt`` where what was read does not settle that."""

    reasons: tuple[Excluded, ...] = ()
    doubt: str = ""
    service: Ref | None = None
    port: int | None = None
    subset: str | None = None


def service_ref(host: str, mesh: Mesh) -> Ref:
    """The Service that a host names, existing or not; of other hosts the ServiceEntry kind stands in."""
    name = split_name(host, mesh.domain)
    if name:
        return Ref("", "Service", name[1], name[0])
    return Ref(kinds.SERVICE_ENTRY.group, kinds.SERVICE_ENTRY.name, "", host)


def known_service(world: World, mesh: Mesh, pod: Obj, host: str, port: int) -> Service | None:
    """The service that a pod's proxy knows by a host, with the given port where several entries share it."""
    scope = scope_of(world, mesh, pod)
    visible = [one for one in registry.named(world, mesh, host) if _told(world, mesh, pod, scope, one, port)]
    if not visible:
        return None
    gateway = _is_gateway(pod)
    ordered = sorted(
        visible, key=lambda one: (not gateway and one.namespace != pod.namespace, not one.kubernetes, one.age)
    )
    first = ordered[0]
    if first.kubernetes or first.port(port):
        return first
    # ServiceEntries of one namespace that share a host are one service with all their ports
    mates = [
        one for one in ordered if one.namespace == first.namespace and one.resolution is first.resolution
    ]
    return next((one for one in mates if one.port(port)), first)


def _told(world: World, mesh: Mesh, pod: Obj, scope: Scope, service: Service, port: int) -> bool:
    if not registry.exported(service, pod.namespace):
        return False
    if scope.sidecar is None or any(
        entry.port in (None, port) and scope.shows(service, entry) for entry in scope.egress
    ):
        return True
    # what a VirtualService that is shown sends to is shown with it
    return any(
        host == service.host and number in (0, port)
        for entry in scope.egress
        for route in mesh_routes(world, mesh, scope, entry)
        for host, number in destinations(mesh, route)
    )


def _locate(world: World, mesh: Mesh, pod: Obj, host: str, number: int, subset: str) -> _Found | _Nowhere:
    service = known_service(world, mesh, pod, host, number)
    ref = service_ref(host, mesh)
    if service is None:
        return replace(_no_service(world, mesh, pod, host), service=ref, port=number, subset=subset or None)
    ref = service.obj.ref
    port = service.port(number)
    if service.resolution is Resolution.ALIAS:
        reason = f"it is ExternalName {service.alias_of}: an alias, which has no cluster of its own"
        return _Nowhere((Excluded(ref, "spec.externalName", reason, 0),), "", ref, number)
    if port is None or port.protocol == "UDP":
        ports = ", ".join(str(one.number) for one in service.ports if one.protocol != "UDP") or "none"
        reason = f"it has no port {number}; its ports are {ports}{_target_hint(service, number)}"
        return _Nowhere((Excluded(ref, "spec.ports", reason, 0),), "", ref, number)
    choice = rules.choose(world, mesh, service, pod.namespace, pod.labels)
    if not subset:
        return _Found(service, port, choice, None, "")
    chosen = choice.rule.subset(subset) if choice.rule else None
    if chosen is None:
        return _no_subset(world, mesh, service, choice, subset, number, pod)
    return _Found(service, port, choice, chosen, subset)


def _target_hint(service: Service, number: int) -> str:
    for port in service.ports:
        if port.service_port is not None and port.service_port.target == number:
            return f" ({number} is the targetPort of port {port.number})"
    return ""


def _no_service(world: World, mesh: Mesh, pod: Obj, host: str) -> _Nowhere:
    ref = service_ref(host, mesh)
    found = registry.named(world, mesh, host)
    if found:
        return _Nowhere(tuple(_hidden(world, mesh, pod, one) for one in found))
    name = split_name(host, mesh.domain) if host.endswith(f".svc.{mesh.domain}") else None
    if name:
        missing = world.missing(kinds.SERVICE, name[1], name[0])
        if missing in (Missing.UNREADABLE, Missing.NOT_IN_FILES):
            return _Nowhere(
                doubt=f"{ref} {'could not be read' if missing is Missing.UNREADABLE else missing.value}"
            )
        if _failed(world, Need(kinds.SERVICE_ENTRY)):
            return _Nowhere(doubt="ServiceEntries could not be read")
        existing = world.get(kinds.SERVICE, name[1], name[0])
        if existing is not None:
            reason = f"istiod does not read namespace {name[1]} (discoverySelectors or member roll)"
            return _Nowhere((Excluded(ref, "metadata.namespace", reason, 0),))
        return _Nowhere(
            (Excluded(ref, "", "there is no such Service and no ServiceEntry with this host", 0),)
        )
    if _failed(world, Need(kinds.SERVICE_ENTRY)):
        return _Nowhere(doubt="ServiceEntries could not be read")
    if world.origin is Source.FILES and not world.complete:
        return _Nowhere(doubt=f"no ServiceEntry for host {host} is in these files")
    return _Nowhere(
        (Excluded(ref, "", f"no Service or ServiceEntry has host {host}{_literal(host, mesh)}", 0),)
    )


def _literal(host: str, mesh: Mesh) -> str:
    """Why a host such as ``reviews.prod`` is nobody's: a name with a dot is not completed."""
    parts = host.split(".")
    if host.startswith("*") or len(parts) > 3 or (len(parts) == 3 and parts[2] != "svc"):
        return ""
    if len(parts) < 2:
        return ""
    meant = f"{parts[0]}.{parts[1]}.svc.{mesh.domain}"
    return f" (a name with a dot is taken as it is; the Service would be {meant})"


def _hidden(world: World, mesh: Mesh, pod: Obj, service: Service) -> Excluded:
    if not registry.exported(service, pod.namespace):
        part = f"metadata.annotations['{registry.EXPORT_TO}']" if service.kubernetes else "spec.exportTo"
        shown = ", ".join(service.export_to)
        return Excluded(
            service.obj.ref, part, f"it is exported to {shown}, not to namespace {pod.namespace}", 0
        )
    scope = scope_of(world, mesh, pod)
    sidecar = scope.sidecar.ref if scope.sidecar else "no Sidecar"
    return Excluded(service.obj.ref, "", f"egress hosts of {sidecar} do not show it to pod {pod.name}", 0)


def _no_subset(
    world: World, mesh: Mesh, service: Service, choice: rules.Choice, subset: str, number: int, pod: Obj
) -> _Nowhere:
    ref = service.obj.ref
    doubt = _rules_unread(world, mesh, pod, service)
    if choice.rule is None:
        reason = f"no DestinationRule applies to {service.host}, so there is no subset {subset}"
        reasons = [Excluded(ref, "", reason, 0)]
    else:
        names = ", ".join(choice.rule.subset_names) or "none"
        winner = choice.rule.objs[0]
        reason = f"it applies to {service.host}, and its subsets are {names}: there is no {subset}"
        reasons = [Excluded(winner.ref, "spec.subsets", reason, 0)]
    return _Nowhere((*reasons, *choice.losers), doubt, ref, number, subset)


def _rules_unread(world: World, mesh: Mesh, pod: Obj, service: Service) -> str:
    for namespace in dict.fromkeys((pod.namespace, service.namespace, mesh.root_namespace)):
        if not world.readable(kinds.DESTINATION_RULE, namespace):
            return f"DestinationRules of namespace {namespace} could not be read"
    return ""


def _failed(world: World, need: Need) -> bool:
    """Whether this very read was refused or failed."""
    return any(read.need == need for read in world.gaps())


def _unseen(name: str, nowhere: _Nowhere) -> Cluster:
    return Cluster(
        name, "eds", service=nowhere.service, port=nowhere.port, subset=nowhere.subset, unknown=nowhere.doubt
    )


# -- the clusters --------------------------------------------------------------------------------------


def _inbound(pod: Obj, name: str, port: int) -> Cluster:
    """The application behind a sidecar, at the pod's own address (127.0.0.6 is only the source)."""
    address = pod.text("status.podIP")
    endpoint = Endpoint(address, port, pod.ref, labels=tuple(sorted(pod.labels.items())))
    return Cluster(name, "static", make_endpoints=lambda: (endpoint,), port=port)


def _outbound(world: World, mesh: Mesh, pod: Obj, name: str, found: _Found) -> Cluster | None:
    service, port = found.service, found.port
    source = _Endpoints(world, mesh, pod, found)
    passthrough = _passthrough(pod, found)
    instances = source.all()
    kind = "original_dst" if passthrough else "dns" if service.resolution is Resolution.DNS else "eds"
    if service.resolution is Resolution.DYNAMIC_DNS:
        kind = "original_dst"  # the proxy resolves the name that the request asks for
    if kind == "dns" and not instances:
        return None  # istiod makes no DNS cluster without a name to resolve
    dnat = "|" not in name
    tls, sni, tls_origin = (
        (ClientTls.PLAIN, None, None) if dnat else _tls(world, mesh, pod, found, passthrough, instances)
    )
    return Cluster(
        name=name,
        kind=kind,  # type: ignore[arg-type]
        make_endpoints=lambda: tuple(instances),
        tls=tls,
        sni=sni,
        service=service.obj.ref,
        port=port.number,
        subset=found.subset_name or None,
        external=service.external,
        http2=True if port.http2 else False if port.http else None,
        unknown=_rules_unread(world, mesh, pod, service) or source.doubt(instances) or None,
        origins=tuple(_origins(found, tls_origin)),
        make_excluded=lambda: (*found.choice.losers, *source.left_out()),
        upstream_protocol=port.protocol,
    )


def _passthrough(pod: Obj, found: _Found) -> bool:
    """Whether the cluster sends to the address the client meant; gateways never do for headless Services."""
    balancer = rules.setting_of(found.choice.rule, found.port.number, found.subset_name, "loadBalancer")
    if balancer is not None and balancer.value.get("simple") == "PASSTHROUGH":
        return True
    return found.service.resolution is Resolution.PASSTHROUGH and not _is_gateway(pod)


def _origins(found: _Found, tls: Origin | None) -> Iterator[Origin]:
    service, port = found.service, found.port
    part = f"spec.ports[{port.index}]"
    yield Origin(service.obj.ref, part, (service.obj.evidence(part),))
    rule = found.choice.rule
    if rule is None:
        if tls:
            yield tls
        return
    for obj in rule.objs:
        evidence = [obj.evidence("spec.host")]
        part = "spec"
        if tls is not None and tls.ref == obj.ref:
            part, evidence = tls.part, [*evidence, *tls.evidence]
        if found.subset is not None and found.subset.obj is obj:
            evidence.append(obj.evidence(f"{found.subset.part}.labels"))
            part = found.subset.part if part == "spec" else part
        yield Origin(obj.ref, part, tuple(evidence))
    if tls is not None and all(tls.ref != obj.ref for obj in rule.objs):
        yield tls


def _is_gateway(pod: Obj) -> bool:
    return is_gateway_pod(pod) or is_waypoint(pod)


def _backend_tls(world: World, mesh: Mesh, pod: Obj, found: _Found) -> BackendTls | None:
    """The BackendTLSPolicy that counts here: istiod makes a rule of it in the Service's own namespace.

    So a rule of the client's namespace goes before it, and it goes before wildcards and the root namespace.
    Source: istio pilot/pkg/config/kube/gateway/backend_policies.go.
    """
    service, port, rule = found.service, found.port.service_port, found.choice.rule
    supported = mesh.since(1, 28) or mesh.switch("PILOT_ENABLE_ALPHA_GATEWAY_API", False)
    if port is None or not service.kubernetes or not supported:
        return None
    if rule is not None:
        where = rule.objs[0].namespace
        if where == pod.namespace and where != service.namespace:
            return None
    return backend_tls(world, service.obj, port)


def _tls(
    world: World, mesh: Mesh, pod: Obj, found: _Found, passthrough: bool, instances: Sequence[Endpoint]
) -> tuple[ClientTls, str | None, Origin | None]:
    """What the cluster speaks, by the DestinationRule, else by auto mTLS; the SNI and what decided."""
    service, port = found.service, found.port
    mesh_sni = f"outbound_.{port.number}_.{found.subset_name}_.{service.host}"
    setting = rules.setting_of(found.choice.rule, port.number, found.subset_name, "tls")
    if setting is None and (backend := _backend_tls(world, mesh, pod, found)) is not None:
        mode_of = ClientTls.PLAIN if backend.problem and not _is_gateway(pod) else ClientTls.SIMPLE
        return mode_of, backend.sni or None, backend.origin
    if setting is not None:
        mode = str(setting.value.get("mode") or "DISABLE")
        secret = str(setting.value.get("credentialName") or "")
        selected = found.choice.rule is not None and found.choice.rule.selector is not None
        if mode in ("SIMPLE", "MUTUAL") and secret and not secret.startswith("configmap://"):
            # sidecars may not read Secrets, so that istiod gives them no TLS at all
            mode = mode if selected or _is_gateway(pod) else "DISABLE"
        tls = _MODES.get(mode, ClientTls.PLAIN)
        field = f"{setting.part}.mode" if "mode" in setting.value else setting.part
        origin = Origin(setting.obj.ref, setting.part, (setting.obj.evidence(field),))
        own = str(setting.value.get("sni") or "") or None
        return tls, own or (mesh_sni if tls is ClientTls.MESH else None), origin
    if service.external or not mesh.auto_mtls:
        return ClientTls.PLAIN, None, None
    headless = service.resolution is Resolution.PASSTHROUGH or passthrough
    if headless and not (instances and all(one.tls or _labelled(one) for one in instances)):
        return ClientTls.PLAIN, None, None  # the mesh's TLS only where every endpoint has a sidecar
    mode_found, policy = security.namespace_mode(world, mesh, service.namespace)
    if mode_found == security.DISABLE:
        return ClientTls.PLAIN, None, policy
    return (ClientTls.MESH if passthrough else ClientTls.AUTO), mesh_sni, None


def _labelled(endpoint: Endpoint) -> bool:
    return dict(endpoint.labels).get(TLS_MODE) == "istio"


# -- endpoints -----------------------------------------------------------------------------------------


def tls_mode(world: World, pod: Obj) -> bool:
    """Whether a pod says that it takes the mesh's TLS: the label that injection sets on sidecar pods.

    Pods of manifests get it when they are made, so those that would be injected count as labelled.
    """
    label = pod.labels.get(TLS_MODE)
    if label is not None:
        return label == "istio"
    return world.origin is Source.FILES and has_sidecar(world, pod)


@dataclass(frozen=True, slots=True)
class _Endpoints:
    """The endpoints of one cluster, and those that are left out with the reason."""

    world: World
    mesh: Mesh
    pod: Obj
    found: _Found

    def all(self) -> list[Endpoint]:
        return [endpoint for endpoint, why in self._judged() if not why]

    def left_out(self) -> Iterator[Excluded]:
        for endpoint, why in self._judged():
            if why and endpoint.pod is not None:
                yield Excluded(endpoint.pod, "", why, 1)

    def doubt(self, instances: Sequence[Endpoint]) -> str:
        """Why the endpoints may be others than these."""
        service = self.found.service
        if not service.kubernetes or service.resolution is Resolution.DNS:
            return ""
        slices = (("kubernetes.io/service-name", service.obj.name),)
        if _failed(self.world, Need(kinds.ENDPOINT_SLICE, service.namespace, None, slices)):
            return f"EndpointSlices of {service.obj.ref} could not be read"
        if self._pods_unread() and any(one.pod is not None or one.address for one in instances):
            return f"the pods of {service.obj.ref} could not be read, and their labels decide"
        if not instances and self.world.origin is Source.FILES and not self.world.whole(service.namespace):
            return f"no pod of {service.obj.ref} is in these files"
        return ""

    def _pods_unread(self) -> bool:
        service = self.found.service.obj
        wanted = tuple(sorted((str(key), str(value)) for key, value in selector_of(service).items()))
        return bool(wanted) and _failed(self.world, Need(kinds.POD, service.namespace, None, wanted))

    def _judged(self) -> list[tuple[Endpoint, str]]:
        made = self._of_service() if self.found.service.kubernetes else self._of_entry()
        return [
            (self._with_tls(endpoint, pod), why or self._not_in_subset(endpoint))
            for endpoint, pod, why in made
        ]

    def _not_in_subset(self, endpoint: Endpoint) -> str:
        subset = self.found.subset
        wanted = subset.value.get("labels") if subset else None
        if (
            not subset
            or not isinstance(wanted, Mapping)
            or selectors.subset_of(wanted, dict(endpoint.labels))
        ):
            return ""
        pairs = ", ".join(f"{key}={value}" for key, value in wanted.items())
        return f"its labels do not have {pairs} of subset {self.found.subset_name}"

    def _with_tls(self, endpoint: Endpoint, pod: Obj | None) -> Endpoint:
        mode = rules.endpoint_tls(self.found.choice.rule, self.found.port.number, self.found.subset_name)
        if mode is not None:
            return replace(endpoint, tls=mode == "ISTIO_MUTUAL")
        if pod is None:
            return replace(endpoint, tls=_labelled(endpoint))
        if not tls_mode(self.world, pod):
            return endpoint
        demanded, _ = security.peer_mode(self.world, self.mesh, pod, endpoint.port)
        return replace(endpoint, tls=demanded != security.DISABLE)

    # -- of Kubernetes Services ----------------------------------------------------------------------

    def _of_service(self) -> Iterator[tuple[Endpoint, Obj | None, str]]:
        service, port = self.found.service, self.found.port
        if service.resolution is Resolution.DNS:  # ExternalName before it was an alias
            name = service.obj.text("spec.externalName")
            yield Endpoint(name, port.number, hostname=name), None, ""
            return
        if port.service_port is None:
            return
        pods = {pod.ref: pod for pod in pods_of(self.world, service.obj)}
        for address in addresses(self.world, service.obj, port.service_port):
            pod = self._pod_of(pods, address)
            health, why = self._health(address)
            labels = tuple(sorted((str(k), str(v)) for k, v in pod.labels.items())) if pod else ()
            made = Endpoint(
                address.ip, address.port, address.pod or (pod.ref if pod else None), health, address.assumed,
                labels=labels,
            )  # fmt: skip
            yield made, pod, why or self._elsewhere(address)
        yield from self._of_workloads(service.namespace, selector_of(service.obj))

    def _pod_of(self, pods: Mapping[Ref, Obj], address: Address) -> Obj | None:
        if address.pod is not None:
            known = pods.get(address.pod)
            return known or self.world.get(kinds.POD, address.pod.namespace, address.pod.name)
        if not address.ip:
            return None
        for pod in pods.values():
            if pod.text("status.podIP") == address.ip:
                return pod
        # endpoints made by hand: istiod finds the pod by its address wherever it is
        return pod_by_address(self.world, address.ip)

    def _health(self, address: Address) -> tuple[Health, str]:
        if address.ready:
            return Health.HEALTHY, ""
        if address.terminating and address.serving:
            return Health.DRAINING, "it is shutting down"
        if self._sends_unhealthy():
            return Health.UNHEALTHY, ""
        return (
            Health.UNHEALTHY,
            f"it is not ready ({address.why_not})" if address.why_not else "it is not ready",
        )

    def _sends_unhealthy(self) -> bool:
        """Whether the proxy is told of endpoints that are not ready; it never sends requests to them."""
        mesh, found = self.mesh, self.found
        if mesh.switch("PILOT_SEND_UNHEALTHY_ENDPOINTS", False) or found.service.obj.text(
            "spec.trafficDistribution"
        ):
            return True
        number, subset = found.port.number, found.subset_name
        outlier = rules.setting_of(found.choice.rule, number, subset, "outlierDetection")
        least = outlier.value.get("minHealthPercent") if outlier else None
        by_default = mesh.since(1, 31) and mesh.switch("PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS", True)
        return by_default and not (isinstance(least, int) and least > 0)

    def _elsewhere(self, address: Address) -> str:
        node = self.pod.text("spec.nodeName")
        local = self.found.service.obj.text("spec.internalTrafficPolicy") == "Local"
        if local and node and address.node and address.node != node:
            return f"internalTrafficPolicy Local: it runs on node {address.node}, the proxy on {node}"
        return ""

    # -- of ServiceEntries ---------------------------------------------------------------------------

    def _of_entry(self) -> Iterator[tuple[Endpoint, Obj | None, str]]:
        service, port = self.found.service, self.found.port
        entry = service.obj
        declared = entry.maps("spec.endpoints")
        selector = entry.mapping("spec.workloadSelector.labels")
        if not declared and not selector and service.resolution is Resolution.DNS:
            yield Endpoint(service.host, port.target or port.number, hostname=service.host), None, ""
        for raw in declared:
            yield self._workload(raw, raw.get("labels")), None, ""
        if selector:
            for pod in self.world.select(kinds.POD, service.namespace, selector):
                labels = tuple(sorted((str(k), str(v)) for k, v in pod.labels.items()))
                made = Endpoint(pod.text("status.podIP"), port.target or port.number, pod.ref, labels=labels)
                yield made, pod, "" if is_ready(pod) else "its Ready condition is not True"
            yield from self._of_workloads(service.namespace, selector)

    def _of_workloads(
        self, namespace: str, selector: Mapping[str, Any]
    ) -> Iterator[tuple[Endpoint, Obj | None, str]]:
        """WorkloadEntries that a selector selects by their labels."""
        if not selector or self.world.absent(kinds.WORKLOAD_ENTRY):
            return
        for entry in self.world.all(kinds.WORKLOAD_ENTRY, namespace, optional=True):
            labels = {**entry.mapping("spec.labels"), **entry.labels}
            if selectors.subset_of(selector, labels):
                yield self._workload(entry.mapping("spec"), labels), None, ""

    def _workload(self, raw: Mapping[str, Any], labels: Any) -> Endpoint:
        port = self.found.port
        named = raw.get("ports")
        number = named.get(port.name) if isinstance(named, Mapping) else None
        if not isinstance(number, int):
            target = port.service_port.target if port.service_port else port.target
            number = target if isinstance(target, int) and target else port.number
        given = {str(k): str(v) for k, v in labels.items()} if isinstance(labels, Mapping) else {}
        if raw.get("serviceAccount"):
            given.setdefault(TLS_MODE, "istio")
        address = str(raw.get("address") or "")
        hostname = "" if registry.is_ip(address) else address
        return Endpoint(address, number, hostname=hostname, labels=tuple(sorted(given.items())))


def pod_by_address(world: World, address: str) -> Obj | None:
    """The pod with an address. Reads every pod, so it is the last thing to ask: after all narrower reads."""
    if world.lacking:
        return None
    pods = world.all(kinds.POD)

    def index() -> dict[str, Obj]:
        found: dict[str, Obj] = {}
        for pod in pods:
            if pod.get("spec.hostNetwork") is True:
                continue
            for ip in (pod.text("status.podIP"), *(str(one.get("ip")) for one in pod.maps("status.podIPs"))):
                if ip:
                    found.setdefault(ip, pod)
        return found

    return world.memo("pods by address", index).get(address)
