"""How Istio's objects relate: what a Gateway opens, what a VirtualService is bound to and routes to, whom a
policy is for.

Sources: istio.io/docs/reference/config; pilot/pkg/model/push_context.go (mergeGateways, destinationRule),
pilot/pkg/model/policyattachment.go (selectors, targetRefs; the root namespace stands for the mesh).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from kgdiag.dialects.istio import hosts
from kgdiag.dialects.istio.mesh import Mesh, is_gateway_pod, mesh_of, resolve_host
from kgdiag.dialects.istio.routes import MESH, gateway_name, hosts_of
from kgdiag.dialects.istio.servers import servers_of
from kgdiag.dialects.istio.tls import credential_names, secret_ref
from kgdiag.graph.core import cluster_name, services_of
from kgdiag.graph.labels import SelectorIndex, subset_of
from kgdiag.graph.relations import Link, Relation
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref

DOMAIN = "cluster.local"

# -- Gateways --------------------------------------------------------------------------------------------


def gateway_pods(world: World, gateway: Obj) -> list[Obj]:
    """The gateway pods that a Gateway programs, of every namespace unless istiod is told otherwise."""
    selector = {str(key): str(value) for key, value in gateway.mapping("spec.selector").items()}
    found = world.select(kinds.POD, None, selector)
    return [
        pod
        for pod in found
        if is_gateway_pod(pod)
        and (
            pod.namespace == gateway.namespace
            or not mesh_of(world, pod).switch("PILOT_SCOPE_GATEWAY_TO_NAMESPACE", False)
        )
    ]


def front_services(world: World, gateway: Obj) -> list[Obj]:
    """The Services in front of the pods that a Gateway programs, sorted by namespace and name."""
    found: dict[Ref, Obj] = {}
    for pod in gateway_pods(world, gateway):
        for service in services_of(world, pod):
            found.setdefault(service.ref, service)
    return [found[ref] for ref in sorted(found)]


def _programs(world: World, gateway: Obj) -> Iterator[Link]:
    servers = ", ".join(f"{server.protocol} {server.number}" for server in servers_of(gateway))
    for pod in gateway_pods(world, gateway):
        yield Link(pod.ref, "spec.selector", servers)


def _gateways_of(world: World, pod: Obj) -> list[Obj]:
    if not is_gateway_pod(pod):
        return []
    found = world.all(kinds.ISTIO_GATEWAY)
    index = world.memo(
        "istio gateways by selector",
        lambda: SelectorIndex(((one, one.mapping("spec.selector")) for one in found), empty_matches=True),
    )
    return index.matching(pod.labels)


def _fronted(world: World, gateway: Obj) -> Iterator[Link]:
    numbers = [server.number for server in servers_of(gateway)]
    for service in front_services(world, gateway):
        ports = [
            f"{port.get('port')}→{port.get('targetPort', port.get('port'))}"
            for port in service.maps("spec.ports")
            if port.get("port") in numbers
        ]
        yield Link(service.ref, "spec.selector", ", ".join(ports))


def _fronts(world: World, service: Obj) -> Iterable[Obj]:
    """The Gateways that program the pods behind a Service."""
    selector = service.mapping("spec.selector")
    if not selector:
        return []
    pods = world.select(kinds.POD, service.namespace, {str(key): str(val) for key, val in selector.items()})
    found: dict[Ref, Obj] = {}
    for pod in pods:
        for gateway in _gateways_of(world, pod):
            found.setdefault(gateway.ref, gateway)
    return [found[ref] for ref in sorted(found)]


def _secrets(world: World, gateway: Obj) -> Iterator[Link]:
    """Certificates are looked for where the gateway pods are, not where the Gateway is."""
    wanted = [(server, name) for server in servers_of(gateway) for name in credential_names(server.tls or {})]
    if not wanted:
        return
    places = sorted({pod.namespace for pod in gateway_pods(world, gateway)}) or [
        mesh_of(world).root_namespace
    ]
    for server, name in wanted:
        for namespace in places:
            ref = secret_ref(name, namespace)
            if ref is not None:
                yield Link(ref, f"{server.part}.tls.credentialName", ", ".join(server.names))


# -- VirtualServices -------------------------------------------------------------------------------------


def _bound(world: World, route: Obj) -> Iterator[Link]:
    for at, written in enumerate(route.items("spec.gateways")):
        name = gateway_name(str(written), route.namespace)
        if name != MESH:
            namespace, _, short = name.partition("/")
            target = Ref(kinds.ISTIO_GATEWAY.group, kinds.ISTIO_GATEWAY.name, namespace, short)
            yield Link(
                target, f"spec.gateways[{at}]", ", ".join(str(host) for host in route.items("spec.hosts"))
            )


def _delegates(world: World, route: Obj) -> Iterator[Link]:
    for at, entry in enumerate(route.maps("spec.http")):
        delegate = entry.get("delegate")
        if isinstance(delegate, Mapping) and delegate.get("name"):
            namespace = str(delegate.get("namespace") or route.namespace)
            target = Ref(
                kinds.VIRTUAL_SERVICE.group, kinds.VIRTUAL_SERVICE.name, namespace, str(delegate["name"])
            )
            yield Link(target, f"spec.http[{at}].delegate")


@dataclass(frozen=True, slots=True)
class _Destination:
    field: str
    host: str
    detail: str
    subset: str


def _destinations(route: Obj) -> Iterator[_Destination]:
    for kind in ("http", "tls", "tcp"):
        for at, entry in enumerate(route.items(f"spec.{kind}")):
            if isinstance(entry, Mapping):
                yield from _of_entry(route, f"spec.{kind}[{at}]", entry)


def _of_entry(route: Obj, part: str, entry: Mapping[str, Any]) -> Iterator[_Destination]:
    listed = entry.get("route")
    several = isinstance(listed, list) and len(listed) > 1
    for at, item in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(item, Mapping):
            weight = item.get("weight")
            share = f"weight {weight}" if isinstance(weight, int) and several else ""
            yield from _destination(route, f"{part}.route[{at}].destination", item.get("destination"), share)
    yield from _destination(route, f"{part}.mirror", entry.get("mirror"), "mirror")
    mirrors = entry.get("mirrors")
    for at, item in enumerate(mirrors if isinstance(mirrors, list) else ()):
        if isinstance(item, Mapping):
            where = f"{part}.mirrors[{at}].destination"
            yield from _destination(route, where, item.get("destination"), "mirror")


def _destination(route: Obj, field: str, raw: Any, share: str) -> Iterator[_Destination]:
    if not isinstance(raw, Mapping) or not raw.get("host"):
        return
    port = raw.get("port")
    number = port.get("number") if isinstance(port, Mapping) else None
    subset = str(raw.get("subset") or "")
    words = (f"port {number}" if number else "", f"subset {subset}" if subset else "", share)
    host = resolve_host(str(raw["host"]), route.namespace, DOMAIN)
    yield _Destination(field, host, ", ".join(word for word in words if word), subset)


def _routes_to(world: World, route: Obj) -> Iterator[Link]:
    for found in _destinations(route):
        target = _service_ref(found.host)
        if target is not None:
            yield Link(target, found.field, found.detail)


def _routes_outside(world: World, route: Obj) -> Iterator[Link]:
    """Destinations that are hosts of ServiceEntries."""
    outside = [found for found in _destinations(route) if _service_ref(found.host) is None]
    if not outside:
        return
    owners = _entries_by_host(world)
    for found in outside:
        for entry in owners.get(found.host.lower(), ()):
            yield Link(entry.ref, found.field, found.host)


def _entries_by_host(world: World) -> Mapping[str, list[Obj]]:
    entries = world.all(kinds.SERVICE_ENTRY)

    def collect() -> dict[str, list[Obj]]:
        found: dict[str, list[Obj]] = {}
        for entry in entries:
            for host in entry.items("spec.hosts"):
                found.setdefault(str(host).lower(), []).append(entry)
        return found

    return world.memo("istio service entries by host", collect)


def _service_ref(host: str) -> Ref | None:
    named = cluster_name(host, DOMAIN) if host.endswith(f".svc.{DOMAIN}") else None
    return Ref("", "Service", named[1], named[0]) if named else None


def _subsets(world: World, route: Obj) -> Iterator[Link]:
    """The DestinationRules of a destination's host, where it asks for a subset of it."""
    asked = [found for found in _destinations(route) if found.subset]
    if not asked:
        return
    by_host = _rules_by_host(world)
    for found in asked:
        for rule in by_host.get(found.host, ()):
            names = {str(item.get("name")) for item in rule.maps("spec.subsets")}
            has = "" if found.subset in names else ", which it does not define"
            yield Link(rule.ref, f"{found.field}.subset", f"subset {found.subset}{has}")


def _rules_by_host(world: World) -> Mapping[str, list[Obj]]:
    rules = world.all(kinds.DESTINATION_RULE)

    def collect() -> dict[str, list[Obj]]:
        found: dict[str, list[Obj]] = {}
        for rule in rules:
            found.setdefault(_rule_host(rule), []).append(rule)
        return found

    return world.memo("istio destination rules by host", collect)


def _rule_host(rule: Obj) -> str:
    return resolve_host(rule.text("spec.host"), rule.namespace, DOMAIN)


def _names(world: World, route: Obj) -> Iterator[Link]:
    """The Services whose requests in the mesh a VirtualService changes: its hosts are theirs."""
    bound = [str(item) for item in route.items("spec.gateways")]
    if bound and MESH not in bound:
        return
    for at, host in enumerate(hosts_of(route, Mesh(domain=DOMAIN))):
        target = _service_ref(host)
        if target is not None:
            yield Link(target, f"spec.hosts[{at}]", "for requests from sidecars")


# -- DestinationRules, ServiceEntries --------------------------------------------------------------------


def _configures(world: World, rule: Obj) -> Iterator[Link]:
    host = _rule_host(rule)
    subsets = ", ".join(str(item.get("name")) for item in rule.maps("spec.subsets"))
    detail = f"subsets {subsets}" if subsets else ""
    if not host.startswith("*"):
        target = _service_ref(host)
        if target is not None:
            yield Link(target, "spec.host", detail)
        return
    for service in world.all(kinds.SERVICE):
        if hosts.subset_of(f"{service.name}.{service.namespace}.svc.{DOMAIN}", host):
            yield Link(service.ref, "spec.host", detail)


def _rules_of(world: World, service: Obj) -> Iterable[Obj]:
    name = f"{service.name}.{service.namespace}.svc.{DOMAIN}"
    return [one for one in world.all(kinds.DESTINATION_RULE) if hosts.subset_of(name, _rule_host(one))]


def _entry_selects(world: World, entry: Obj) -> Iterator[Link]:
    labels = _text_labels(entry.mapping("spec.workloadSelector.labels"))
    if not labels:
        return
    for kind in (kinds.POD, kinds.WORKLOAD_ENTRY):
        for item in world.select(kind, entry.namespace, labels, optional=kind is kinds.WORKLOAD_ENTRY):
            yield Link(item.ref, "spec.workloadSelector")


# -- policies --------------------------------------------------------------------------------------------


def _text_labels(raw: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in raw.items()}


def _applies(path: str, mesh_wide: bool, world: World, policy: Obj) -> Iterator[Link]:
    """Pods of the policy's namespace, of all namespaces for a selector in the root namespace.

    A policy without a selector in the root namespace is for the mesh: its namespace stands for it, so that
    nobody reads every pod.
    """
    yield from _targets(policy)
    labels = _text_labels(policy.mapping(path))
    root = policy.namespace == mesh_of(world).root_namespace
    if _target_refs(policy):
        return
    if root and not labels:
        yield Link(Ref("", "Namespace", "", policy.namespace), "metadata.namespace", "the whole mesh")
        return
    where = None if root and mesh_wide else policy.namespace
    for pod in world.select(kinds.POD, where, labels):
        yield Link(pod.ref, path.rpartition(".")[0] if labels else "metadata.namespace")


def _target_refs(policy: Obj) -> list[tuple[str, Mapping[str, Any]]]:
    found = [(f"spec.targetRefs[{at}]", one) for at, one in enumerate(policy.maps("spec.targetRefs"))]
    single = policy.mapping("spec.targetRef")
    return [*found, ("spec.targetRef", single)] if single else found


def _targets(policy: Obj) -> Iterator[Link]:
    for field, raw in _target_refs(policy):
        group, kind, name = (
            str(raw.get("group") or ""),
            str(raw.get("kind") or ""),
            str(raw.get("name") or ""),
        )
        namespace = "" if kind == "GatewayClass" else str(raw.get("namespace") or policy.namespace)
        if kind and name:
            yield Link(Ref("" if group == "core" else group, kind, namespace, name), field)


def _policies_of(kind: Kind, path: str, mesh_wide: bool) -> Callable[[World, Obj], Iterable[Obj]]:
    def sources(world: World, target: Obj) -> Iterable[Obj]:
        root = mesh_of(world).root_namespace
        if target.kind == kinds.NAMESPACE:
            return world.all(kind, root, optional=True) if target.name == root else []
        places = dict.fromkeys((target.namespace, root)) if mesh_wide else (target.namespace,)
        found = [one for place in places for one in world.all(kind, place, optional=True)]
        if target.kind != kinds.POD:
            return [one for one in found if _target_refs(one)]
        return [one for one in found if subset_of(one.mapping(path), target.labels)]

    return sources


def _policy(kind: Kind, path: str, inverse: str, *, mesh_wide: bool = True) -> Relation:
    targets = (kinds.POD, kinds.NAMESPACE, kinds.GATEWAY, kinds.SERVICE, kinds.SERVICE_ENTRY)
    return Relation(
        "applies-to",
        inverse,
        kind,
        targets,
        partial(_applies, path, mesh_wide),
        _policies_of(kind, path, mesh_wide),
        optional=True,
    )


_LABELS, _WORKLOAD = "spec.selector.matchLabels", "spec.workloadSelector.labels"
RELATIONS: tuple[Relation, ...] = (
    Relation("programs", "programmed-by", kinds.ISTIO_GATEWAY, (kinds.POD,), _programs, _gateways_of),
    Relation("fronted-by", "fronts", kinds.ISTIO_GATEWAY, (kinds.SERVICE,), _fronted, _fronts),
    Relation("refers-to", "certificate-of", kinds.ISTIO_GATEWAY, (kinds.SECRET,), _secrets),
    Relation("bound-to", "binds", kinds.VIRTUAL_SERVICE, (kinds.ISTIO_GATEWAY,), _bound),
    Relation("delegates-to", "delegate-of", kinds.VIRTUAL_SERVICE, (kinds.VIRTUAL_SERVICE,), _delegates),
    Relation("routes-to", "routed-from", kinds.VIRTUAL_SERVICE, (kinds.SERVICE,), _routes_to),
    Relation("routes-to", "routed-from", kinds.VIRTUAL_SERVICE, (kinds.SERVICE_ENTRY,), _routes_outside),
    Relation("uses-subset-of", "subset-used-by", kinds.VIRTUAL_SERVICE, (kinds.DESTINATION_RULE,), _subsets),
    Relation("reroutes", "rerouted-by", kinds.VIRTUAL_SERVICE, (kinds.SERVICE,), _names),
    Relation("configures", "configured-by", kinds.DESTINATION_RULE, (kinds.SERVICE,), _configures, _rules_of),
    Relation(
        "selects",
        "selected-by",
        kinds.SERVICE_ENTRY,
        (kinds.POD, kinds.WORKLOAD_ENTRY),
        _entry_selects,
        lambda world, item: world.all(kinds.SERVICE_ENTRY, item.namespace),
    ),
    _policy(kinds.SIDECAR, _WORKLOAD, "scoped-by"),
    _policy(kinds.PEER_AUTHENTICATION, _LABELS, "secured-by", mesh_wide=False),
    _policy(kinds.AUTHORIZATION_POLICY, _LABELS, "guarded-by"),
    _policy(kinds.REQUEST_AUTHENTICATION, _LABELS, "guarded-by"),
    _policy(kinds.ENVOY_FILTER, _WORKLOAD, "patched-by"),
)
