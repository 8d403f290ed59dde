"""Gateways, their listeners and routes, read with the defaults that the API server fills in.

Source: gateway-api apis/v1 (gateway_types.go, httproute_types.go, shared_types.go) and the defaults of its
CRDs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kgdiag.dialects.gateway_api.hostnames import normal
from kgdiag.graph.labels import matches
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Evidence, Obj, dig
from kgdiag.model.ref import Ref

GROUP = "gateway.networking.k8s.io"
NAMESPACE_NAME = "kubernetes.io/metadata.name"

ROUTE_KINDS = (kinds.HTTP_ROUTE, kinds.GRPC_ROUTE, kinds.TLS_ROUTE, kinds.TCP_ROUTE, kinds.UDP_ROUTE)
_OF_PROTOCOL: dict[str, tuple[Kind, ...]] = {
    "HTTP": (kinds.HTTP_ROUTE, kinds.GRPC_ROUTE),
    "HTTPS": (kinds.HTTP_ROUTE, kinds.GRPC_ROUTE),
    "TLS": (kinds.TLS_ROUTE,),
    "TCP": (kinds.TCP_ROUTE,),
    "UDP": (kinds.UDP_ROUTE,),
}


@dataclass(frozen=True)
class ListenerSpec:
    """One listener of a Gateway, its own or of a ListenerSet. ``hostname`` "" is every hostname."""

    gateway: Obj
    owner: Obj
    part: str  # "spec.listeners[0]"
    name: str
    port: int
    protocol: str
    hostname: str
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def key(self) -> tuple[Ref, str]:
        """Its identity: who declares it, and its name there."""
        return (self.owner.ref, self.name)

    @property
    def tls_mode(self) -> str:
        """``Terminate`` or ``Passthrough``, "" without TLS."""
        tls = self.raw.get("tls")
        if not isinstance(tls, Mapping):
            return ""
        return str(tls.get("mode") or "Terminate")

    @property
    def title(self) -> str:
        return f"listener {self.name}"

    def evidence(self, below: str = "") -> Evidence:
        """The listener, or a field of it."""
        return self.owner.evidence(f"{self.part}.{below}" if below else self.part)

    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of routes that may attach: what its protocol carries, as ``allowedRoutes`` narrows it."""
        able = _OF_PROTOCOL.get(self.protocol, ())
        if self.protocol == "TLS" and self.tls_mode == "Terminate":
            able = (kinds.TLS_ROUTE, kinds.TCP_ROUTE)
        wanted = dig(self.raw, "allowedRoutes.kinds")
        if not isinstance(wanted, list) or not wanted:
            return able
        named = {
            (str(item.get("group") or GROUP), str(item.get("kind")))
            for item in wanted
            if isinstance(item, Mapping)
        }
        return tuple(kind for kind in able if kind.key in named)

    @property
    def namespaces_from(self) -> str:
        """``Same``, ``All``, ``Selector`` or ``None``."""
        return str(dig(self.raw, "allowedRoutes.namespaces.from", "Same"))

    def allows(self, world: World, namespace: str) -> bool | None:
        """Whether routes of a namespace may attach; None: its labels could not be read."""
        selector = dig(self.raw, "allowedRoutes.namespaces.selector")
        return _allows(world, self.namespaces_from, selector, self.owner, namespace)


def _allows(world: World, how: str, selector: Any, owner: Obj, namespace: str) -> bool | None:
    if how == "Same":
        return namespace == owner.namespace
    if how != "Selector":
        return how == "All"
    if not isinstance(selector, Mapping):
        return False
    found = world.get(kinds.NAMESPACE, "", namespace)
    labels = {**(found.labels if found else {}), NAMESPACE_NAME: namespace}
    if found is None and not _by_name(selector):
        return None
    return matches(selector, labels)


def _by_name(selector: Mapping[str, Any]) -> bool:
    """Whether a selector asks for nothing but the namespace's name, which needs no reading."""
    keys = set(dig(selector, "matchLabels", {}))
    for item in dig(selector, "matchExpressions", []):
        keys.add(item.get("key") if isinstance(item, Mapping) else None)
    return keys <= {NAMESPACE_NAME}


def listeners_of(world: World, gateway: Obj) -> tuple[ListenerSpec, ...]:
    """The listeners of a Gateway in their order, then those of the ListenerSets that it admits, oldest
    set first."""

    def collect() -> tuple[ListenerSpec, ...]:
        found = list(_listeners(gateway, gateway))
        for owner in _listener_sets(world, gateway):
            found += _listeners(gateway, owner)
        return tuple(found)

    return world.memo(("gateway listeners", gateway.ref), collect)


def _listeners(gateway: Obj, owner: Obj) -> Iterator[ListenerSpec]:
    for index, raw in enumerate(owner.items("spec.listeners")):
        if not isinstance(raw, Mapping):
            continue
        port = raw.get("port")
        yield ListenerSpec(
            gateway=gateway,
            owner=owner,
            part=f"spec.listeners[{index}]",
            name=str(raw.get("name") or ""),
            port=port if isinstance(port, int) else 0,
            protocol=str(raw.get("protocol") or ""),
            hostname="".join(normal([raw.get("hostname")])),
            raw=raw,
        )


def _listener_sets(world: World, gateway: Obj) -> list[Obj]:
    """ListenerSets that name the Gateway and that its ``allowedListeners`` admit (none by default)."""
    how = gateway.text("spec.allowedListeners.namespaces.from", "None")
    if how == "None":
        return []
    where = gateway.namespace if how == "Same" else None
    selector = gateway.get("spec.allowedListeners.namespaces.selector")
    sets = [item for kind in (kinds.LISTENER_SET, kinds.XLISTENER_SET) for item in world.all(kind, where)]
    admitted = [
        item
        for item in sets
        if item.text("spec.parentRef.name") == gateway.name
        and item.text("spec.parentRef.namespace", item.namespace) == gateway.namespace
        and _allows(world, how, selector, gateway, item.namespace)
    ]
    return sorted(admitted, key=lambda item: (item.created, item.namespace, item.name))


@dataclass(frozen=True, slots=True)
class ParentRef:
    """One of a route's parentRefs with its defaults."""

    index: int
    group: str
    kind: str
    namespace: str
    name: str
    section: str
    port: int | None

    @property
    def part(self) -> str:
        return f"spec.parentRefs[{self.index}]"

    @property
    def ref(self) -> Ref:
        return Ref(self.group, self.kind, self.namespace, self.name)


def parent_refs(route: Obj) -> list[ParentRef]:
    """The parentRefs of a route; entries without a name are left out."""
    out = []
    for index, raw in enumerate(route.items("spec.parentRefs")):
        if not isinstance(raw, Mapping) or not raw.get("name"):
            continue
        port = raw.get("port")
        out.append(
            ParentRef(
                index=index,
                group=GROUP if raw.get("group") is None else str(raw["group"]),
                kind=str(raw.get("kind") or "Gateway"),
                namespace=str(raw.get("namespace") or route.namespace),
                name=str(raw["name"]),
                section=str(raw.get("sectionName") or ""),
                port=port if isinstance(port, int) else None,
            )
        )
    return out


def hostnames_of(route: Obj) -> tuple[str, ...]:
    """The hostnames of a route, lower case; none is every hostname."""
    return normal(route.items("spec.hostnames"))


def order_key(obj: Obj) -> tuple[str, str, str]:
    """Oldest first, then by namespace and name: who wins a tie."""
    return (obj.created, obj.namespace, obj.name)
