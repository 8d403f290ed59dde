"""Which services and VirtualServices a sidecar is told of: exportTo and the Sidecar resource.

Sources: istio pilot/pkg/model/sidecar.go (convertIstioListenerToWrapper, selectServices,
collectImportedServices), virtualservice.go (SelectVirtualServices), push_context.go (doGetSidecarScope,
initSidecarScopes, initVirtualServices).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kgdiag.dialects.istio.hosts import overlap, subset_of
from kgdiag.dialects.istio.mesh import Mesh, in_scope, is_gateway_pod, is_waypoint, resolve_host, visible
from kgdiag.dialects.istio.registry import Service, exported
from kgdiag.graph import labels
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

MESH = "mesh"


@dataclass(frozen=True, slots=True)
class Egress:
    """One ``spec.egress`` entry: hosts by namespace, ``*`` for every namespace; those to leave out."""

    hosts: Mapping[str, tuple[str, ...]]
    without: Mapping[str, tuple[str, ...]]
    port: int | None = None
    protocol: str = ""
    bind: str = ""
    capture: str = "DEFAULT"
    index: int = -1

    def imports(self, service: Service) -> bool:
        """Whether the entry shows this service (of its namespace, before one of several is chosen)."""
        for where in (service.namespace, "*"):
            if any(subset_of(service.host, host) for host in self.without.get(where, ())):
                return False
        if self.port is not None and service.port(self.port) is None:
            return False
        return any(
            subset_of(service.host, host)
            for where in (service.namespace, "*")
            for host in self.hosts.get(where, ())
        )

    def imports_name(self, namespace: str, host: str) -> bool:
        """Whether a name would be shown were it a service of this namespace: so aliases are chosen."""
        return any(
            subset_of(host, shown) for where in (namespace, "*") for shown in self.hosts.get(where, ())
        )

    def imports_route(self, namespace: str, hosts: Iterable[str]) -> bool:
        """Whether the entry shows a VirtualService of a namespace with these hosts."""
        wanted = (*self.hosts.get(namespace, ()), *self.hosts.get("*", ()))
        unwanted = (*self.without.get(namespace, ()), *self.without.get("*", ()))
        return any(
            any(overlap(host, shown) for shown in wanted)
            and not any(subset_of(host, hidden) for hidden in unwanted)
            for host in hosts
        )


EVERYTHING = Egress({"*": ("*",)}, {})


@dataclass(frozen=True, slots=True)
class Scope:
    """What one proxy is told of. ``sidecar`` is the Sidecar that limits it, None where none does."""

    namespace: str
    sidecar: Obj | None = None
    egress: tuple[Egress, ...] = (EVERYTHING,)
    outbound: str = "ALLOW_ANY"
    egress_proxy: Mapping[str, Any] | None = None
    losers: tuple[tuple[Obj, str], ...] = ()

    def egress_at(self, port: int) -> Egress | None:
        """The entry that decides for a port: the one with this port, else the one without a port."""
        for entry in self.egress:
            if entry.port is None or entry.port == port:
                return entry
        return None

    def shows(self, service: Service, entry: Egress | None = None) -> bool:
        """Whether the proxy is told of a service, by one entry or by any."""
        if not exported(service, self.namespace):
            return False
        entries = self.egress if entry is None else (entry,)
        return any(one.imports(service) for one in entries)


def scope_of(world: World, mesh: Mesh, pod: Obj) -> Scope:
    """The scope of a pod's proxy. Gateways and waypoints are told of all that is exported to them."""
    if is_gateway_pod(pod) or is_waypoint(pod):
        return Scope(pod.namespace, outbound=mesh.outbound)
    own = world.all(kinds.SIDECAR, pod.namespace)
    root = world.all(kinds.SIDECAR, mesh.root_namespace)
    chosen, losers = _choose(mesh, pod, own, root)
    if chosen is None:
        return Scope(pod.namespace, outbound=mesh.outbound)
    policy = chosen.mapping("spec.outboundTrafficPolicy")
    has_policy = chosen.get("spec.outboundTrafficPolicy") is not None
    proxy = policy.get("egressProxy")
    return Scope(
        namespace=pod.namespace,
        sidecar=chosen,
        egress=_egress(mesh, chosen, pod.namespace) or (EVERYTHING,),
        # an outboundTrafficPolicy without a mode is REGISTRY_ONLY, the enum's zero value
        outbound=str(policy.get("mode") or "REGISTRY_ONLY") if has_policy else mesh.outbound,
        egress_proxy=proxy if isinstance(proxy, Mapping) else None,
        losers=tuple(losers),
    )


def _choose(
    mesh: Mesh, pod: Obj, own: Sequence[Obj], root: Sequence[Obj]
) -> tuple[Obj | None, list[tuple[Obj, str]]]:
    """With a selector before without, oldest first; then the root namespace's without a selector."""
    ordered = sorted(own, key=lambda one: (_selector(one) is None, one.age_key))
    losers: list[tuple[Obj, str]] = []
    chosen: Obj | None = None
    for one in ordered:
        selector = _selector(one)
        if selector is not None and not labels.subset_of(selector, pod.labels):
            losers.append((one, "its workloadSelector does not select the pod"))
        elif chosen is None:
            chosen = one
        else:
            losers.append((one, f"{chosen.ref} is taken first"))
    general = sorted((one for one in root if _selector(one) is None), key=lambda one: one.age_key)
    if pod.namespace != mesh.root_namespace and general:
        if chosen is None:
            return general[0], losers
        losers.append((general[0], f"{chosen.ref} of the pod's own namespace stands before it"))
    return chosen, losers


def _selector(sidecar: Obj) -> Mapping[str, Any] | None:
    if sidecar.get("spec.workloadSelector") is None:
        return None
    return sidecar.mapping("spec.workloadSelector.labels")


def _egress(mesh: Mesh, sidecar: Obj, namespace: str) -> tuple[Egress, ...]:
    found = []
    takes_away = mesh.since(1, 31)  # before, a namespace ~… was one that nothing is in
    for index, raw in enumerate(sidecar.maps("spec.egress")):
        hosts: dict[str, tuple[str, ...]] = {}
        without: dict[str, tuple[str, ...]] = {}
        for item in raw.get("hosts") or ():
            where, slash, host = str(item).partition("/")
            if not slash:
                continue
            target = hosts
            if where.startswith("~") and takes_away:
                target, where = without, where[1:] or "*"
            where = namespace if where == "." else where
            target[where] = (*target.get(where, ()), host.lower())
        port = raw.get("port")
        port = port if isinstance(port, Mapping) else {}
        number = port.get("number")
        found.append(
            Egress(
                hosts,
                without,
                number if isinstance(number, int) else None,
                str(port.get("protocol") or "").upper(),
                str(raw.get("bind") or ""),
                str(raw.get("captureMode") or "DEFAULT"),
                index,
            )
        )
    return tuple(found)


# -- VirtualServices of the mesh gateway ---------------------------------------------------------------


def route_hosts(mesh: Mesh, route: Obj) -> list[str]:
    """The hosts of a VirtualService, short names completed, lower case."""
    return [
        resolve_host(host, route.namespace, mesh.domain).lower()
        for host in route.items("spec.hosts")
        if isinstance(host, str)
    ]


def bound_to_mesh(route: Obj) -> bool:
    """Whether a VirtualService is for sidecars: it names no gateway, or ``mesh`` among them."""
    gateways = route.items("spec.gateways")
    return not gateways or MESH in gateways


def export_rank(mesh: Mesh, route: Obj, viewer: str) -> int | None:
    """0 private, 1 exported to the viewer's namespace, 2 public: istiod's order; None where not visible."""
    export = tuple(str(item) for item in route.items("spec.exportTo")) or mesh.virtual_service_export_to
    if not visible(export, route.namespace, viewer):
        return None
    if not export or "*" in export:
        return 2
    return 0 if route.namespace == viewer else 1


def mesh_routes(world: World, mesh: Mesh, scope: Scope, entry: Egress) -> list[Obj]:
    """The VirtualServices that a sidecar is told of, in istiod's order. Reads them whole."""
    every = world.all(kinds.VIRTUAL_SERVICE)

    def select() -> list[Obj]:
        found = []
        for route in in_scope(world, mesh, every):
            rank = export_rank(mesh, route, scope.namespace)
            hosts = route_hosts(mesh, route)
            # a VirtualService without hosts is a delegate: it is only read through its root
            if rank is None or not hosts or not bound_to_mesh(route):
                continue
            if entry.imports_route(route.namespace, hosts):
                found.append((rank, route.age_key, route))
        return [route for _, _, route in sorted(found, key=lambda one: one[:2])]

    key = (
        "istio mesh routes",
        mesh.revision,
        scope.namespace,
        scope.sidecar and scope.sidecar.ref,
        entry.index,
    )
    return world.memo(key, select)


def destinations(mesh: Mesh, route: Obj) -> Iterator[tuple[str, int]]:
    """(host, port) that a VirtualService sends to; port 0 where it names none."""
    for kind in ("http", "tls", "tcp"):
        for entry in route.maps(("spec", kind)):
            parts = [*_maps(entry.get("route")), *_maps(entry.get("mirrors"))]
            if isinstance(entry.get("mirror"), Mapping):
                parts.append({"destination": entry["mirror"]})
            for part in parts:
                destination = part.get("destination")
                if isinstance(destination, Mapping) and destination.get("host"):
                    port = destination.get("port")
                    number = port.get("number") if isinstance(port, Mapping) else None
                    host = resolve_host(str(destination["host"]), route.namespace, mesh.domain)
                    yield host.lower(), number if isinstance(number, int) else 0


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
