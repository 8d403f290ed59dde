"""VirtualServices by gateway and by host, and why one does not serve a host on a gateway.

Sources: istio pilot/pkg/model/push_context.go (initVirtualServices, VirtualServicesForGateway) and
virtualservice_controller.go (sorted by creation, name, namespace; delegates have no hosts).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from kgdiag.dialects.istio import hosts, ingress
from kgdiag.dialects.istio.mesh import Mesh, in_scope, visible
from kgdiag.dialects.istio.routes import MESH, export_to, gateways_of, hosts_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj

T = TypeVar("T")
_NEAR = 20  # hosts that differ in one label are looked for; more than these nobody reads


@dataclass(frozen=True)
class Index:
    """All VirtualServices with hosts, oldest first, by each gateway they name and by each host."""

    by_gateway: dict[str, list[Obj]] = field(default_factory=dict)
    by_host: dict[str, list[Obj]] = field(default_factory=dict)
    wildcards: list[str] = field(default_factory=list)
    hosts: dict[int, tuple[str, ...]] = field(default_factory=dict)  # by id of the VirtualService
    lasting: bool = True  # else it is made anew whenever anything more is read

    def naming(self, host: str) -> Iterator[Obj]:
        """The VirtualServices with a host that covers this one, the most specific host first."""
        seen: set[int] = set()
        names = [host, *(wild for wild in self.wildcards if wild != host and hosts.subset_of(host, wild))]
        for name in names:
            for one in self.by_host.get(name, ()):
                if id(one) not in seen:
                    seen.add(id(one))
                    yield one

    def near(self, host: str) -> Iterator[tuple[str, Obj]]:
        """VirtualServices with a host that is this one but for one label, or lacks the domain behind it."""
        labels = host.split(".")
        found = 0
        for name, owners in self.by_host.items():
            if name == host or not _near(labels, host, name):
                continue
            for one in owners:
                yield name, one
                found += 1
            if found >= _NEAR:
                return


def _near(labels: list[str], host: str, name: str) -> bool:
    if host.startswith(f"{name}.") or name.startswith(f"{host}."):
        return "." in name
    other = name.split(".")
    if len(other) != len(labels) or len(labels) < 2:
        return False
    return sum(one != two for one, two in zip(labels, other, strict=True)) == 1


def index_of(world: World, mesh: Mesh) -> Index:
    """The index of all VirtualServices that istiod sees. Reads them all."""
    found = world.all(kinds.VIRTUAL_SERVICE)
    _, made = ingress.generated(world, mesh)

    def build() -> Index:
        index = Index(lasting=not made)
        for one in sorted((*made, *in_scope(world, mesh, found)), key=lambda item: item.age_key):
            names = hosts_of(one, mesh)
            if not names:
                continue  # a delegate
            index.hosts[id(one)] = names
            for gateway in dict.fromkeys(gateways_of(one)):
                index.by_gateway.setdefault(gateway, []).append(one)
            for name in dict.fromkeys(name.lower() for name in names):
                index.by_host.setdefault(name, []).append(one)
        index.wildcards.extend(
            sorted((name for name in index.by_host if name.startswith("*")), key=hosts.specificity)
        )
        return index

    key = ("istio virtual services", mesh.control_plane, mesh.revision)
    return world.memo(key, build) if made else world.lasting(_used(mesh), (*key, *_of_mesh(mesh)), build)


def _used(mesh: Mesh) -> tuple[Kind, ...]:
    """What the index is made of, where no Ingress is part of it."""
    return (kinds.VIRTUAL_SERVICE, kinds.NAMESPACE) if mesh.discovery_selectors else (kinds.VIRTUAL_SERVICE,)


def _of_mesh(mesh: Mesh) -> tuple[object, ...]:
    """What of the mesh the index and the order depend on."""
    scoped = (str(mesh.discovery_selectors), mesh.members, mesh.ingress_controller_mode, mesh.ingress_class)
    return (mesh.domain, mesh.virtual_service_export_to, *scoped)


def kept(world: World, mesh: Mesh, index: Index, key: tuple[object, ...], make: Callable[[], T]) -> T:
    """A value derived from the index, kept as long as the index is."""
    if not index.lasting:
        return world.memo(key, make)
    return world.lasting(_used(mesh), (id(index), *key, *_of_mesh(mesh)), make)


def bound_to(world: World, mesh: Mesh, gateway: str, viewer: str) -> Sequence[Obj]:
    """The VirtualServices of a gateway that proxies of a namespace see, in istiod's order.

    First those that only the proxy's own namespace sees, then those exported to it, then those that
    everybody sees; each oldest first.
    """
    index = index_of(world, mesh)

    def order() -> Sequence[Obj]:
        ranked: tuple[list[Obj], list[Obj], list[Obj]] = ([], [], [])
        for one in index.by_gateway.get(gateway, ()):
            shown = export_to(one, mesh)
            if visible(shown, one.namespace, viewer):
                ranked[2 if "*" in shown else 0 if one.namespace == viewer else 1].append(one)
        return [one for group in ranked for one in group]

    return kept(world, mesh, index, ("istio bound", gateway, viewer), order)


def unbound_reason(
    virtual_service: Obj, gateways: Sequence[str], mesh: Mesh, existing: frozenset[str]
) -> tuple[int, str]:
    """Why a VirtualService is not bound to any of these gateways, with how near it is; "" where it is."""
    named = gateways_of(virtual_service)
    if any(name in gateways for name in named):
        return 0, ""
    wanted = ", ".join(gateways)
    if named == (MESH,):
        given = "" if virtual_service.items("spec.gateways") else ", since spec.gateways is not set"
        return 0, f"it is bound to sidecars (mesh) only{given}; this is gateway {wanted}"
    short = {name.partition("/")[2] for name in gateways}
    for name in named:
        owner, _, rest = name.partition("/")
        if rest in short:
            missing = "" if name in existing else ", which does not exist"
            declared = virtual_service.items("spec.gateways")
            written = rest if rest in declared else name
            own = " in its own namespace" if owner == virtual_service.namespace and written == rest else ""
            return 0, f"its gateway {written} means {name}{own}{missing}; this is gateway {wanted}"
    return 2, f"it is bound to {', '.join(named)}; this is gateway {wanted}"


def hidden_reason(virtual_service: Obj, mesh: Mesh, viewer: str) -> str:
    """Why proxies of a namespace do not see a VirtualService, "" where they do."""
    shown = export_to(virtual_service, mesh)
    if visible(shown, virtual_service.namespace, viewer):
        return ""
    where = ", ".join(shown)
    declared = "spec.exportTo" if virtual_service.items("spec.exportTo") else "the mesh's default exportTo"
    return f"{declared} [{where}] does not show it to the gateway pods in {viewer}"
