"""Which routes attach to which listeners, and why the others do not.

Source: gateway-api apis/v1/shared_types.go (ParentReference, RouteConditionReason) and gateway_types.go
(AllowedRoutes). The reasons are the specification's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kgdiag.dialects.gateway_api.grants import granted, granting
from kgdiag.dialects.gateway_api.provider import Provider, implementation
from kgdiag.dialects.gateway_api.spec import (
    GROUP,
    ROUTE_KINDS,
    ListenerSpec,
    ParentRef,
    hostnames_of,
    listeners_of,
    order_key,
    parent_refs,
)
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref

__all__ = [
    "Admission",
    "Attached",
    "Attachment",
    "attachments",
    "candidates",
    "granted",
    "granting",
    "routes_of",
]

ACCEPTED = "Accepted"
NO_PARENT = "NoMatchingParent"
NOT_ALLOWED = "NotAllowedByListeners"
NO_HOSTNAME = "NoMatchingListenerHostname"
_NEARNESS = {ACCEPTED: 0, NO_HOSTNAME: 1, NOT_ALLOWED: 2, NO_PARENT: 4}


@dataclass(frozen=True)
class Admission:
    """What one listener says to one parentRef. ``accepted`` None: what decides it could not be read.

    ``hostnames`` are those that the route gets there; ``field`` is the route's or listener's field that
    decided.
    """

    listener: ListenerSpec
    accepted: bool | None
    reason: str
    detail: str
    hostnames: tuple[str, ...] = ()

    @property
    def nearness(self) -> int:
        """0 for accepted, more the farther it is from being so."""
        return _NEARNESS.get(self.reason, 5)


@dataclass(frozen=True)
class Attachment:
    """One parentRef of a route, and what becomes of it.

    ``gateway`` is None where the parent is missing, of another kind, or could not be read (``missing`` says
    which). ``provider`` is None where nobody known programs the Gateway.
    """

    route: Obj
    parent: ParentRef
    gateway: Obj | None = None
    missing: Missing | None = None
    provider: Provider | None = None
    admissions: tuple[Admission, ...] = ()
    mesh: bool = False  # the parent is a Service: routes of a mesh, not of a gateway
    why: str = field(default="")

    @property
    def accepted(self) -> bool | None:
        """Whether some listener takes the route; None where it cannot be known."""
        said = [item.accepted for item in self.admissions]
        if any(said):
            return True
        unknown = self.missing in (Missing.UNREADABLE, Missing.NOT_IN_FILES)
        return None if None in said or unknown else False

    @property
    def nearest(self) -> Admission | None:
        """The listener that came nearest to taking the route."""
        return min(self.admissions, key=lambda item: item.nearness, default=None)

    @property
    def reason(self) -> str:
        """The specification's reason, as the status would have it; "" where no controller writes one."""
        nearest = self.nearest
        return nearest.reason if nearest else NO_PARENT if self.gateway else ""

    @property
    def detail(self) -> str:
        if self.why:
            return self.why
        nearest = self.nearest
        return nearest.detail if nearest else f"{self.parent.ref} has no listeners"


@dataclass(frozen=True)
class Attached:
    """A route on a listener, with the hostnames that it has there. ``doubt`` says what is not known."""

    route: Obj
    hostnames: tuple[str, ...]
    parent: ParentRef
    doubt: str = ""


def attachments(world: World, route: Obj) -> tuple[Attachment, ...]:
    """What becomes of each parentRef of a route."""
    return tuple(_attachment(world, route, parent) for parent in parent_refs(route))


def _attachment(world: World, route: Obj, parent: ParentRef) -> Attachment:
    if (parent.group, parent.kind) in (("", "Service"), ("networking.istio.io", "ServiceEntry")):
        return Attachment(route, parent, mesh=True, why=f"{parent.ref} is the parent of mesh routes")
    owner = _owner(world, parent)
    if owner is None:
        return Attachment(route, parent, why=f"{parent.kind} is no kind of parent that routes attach to")
    if isinstance(owner, Missing):
        return Attachment(route, parent, missing=owner, why=f"{parent.ref} {owner.value}")
    gateway = _gateway_of(world, owner)
    if gateway is None:
        return Attachment(route, parent, missing=Missing.GONE, why=f"the Gateway of {parent.ref} is missing")
    provider = implementation(world, gateway).provider
    listeners = listeners_of(world, gateway)
    said = tuple(
        _admission(world, provider, route, parent, listener, listeners)
        for listener in listeners
        if listener.owner.ref == owner.ref
    )
    return Attachment(route, parent, gateway, None, provider, said)


def _owner(world: World, parent: ParentRef) -> Obj | Missing | None:
    for kind in (kinds.GATEWAY, kinds.LISTENER_SET, kinds.XLISTENER_SET):
        if kind.key == (parent.group, parent.kind):
            found = world.get(kind, parent.namespace, parent.name)
            return found or world.missing(kind, parent.namespace, parent.name)
    return None


def _gateway_of(world: World, owner: Obj) -> Obj | None:
    if owner.kind == kinds.GATEWAY:
        return owner
    namespace = owner.text("spec.parentRef.namespace", owner.namespace)
    return world.get(kinds.GATEWAY, namespace, owner.text("spec.parentRef.name"))


def _admission(
    world: World,
    provider: Provider | None,
    route: Obj,
    parent: ParentRef,
    listener: ListenerSpec,
    siblings: tuple[ListenerSpec, ...],
) -> Admission:
    def no(reason: str, detail: str, accepted: bool | None = False) -> Admission:
        return Admission(listener, accepted, reason, detail)

    if parent.section and parent.section != listener.name:
        return no(NO_PARENT, f"its parentRef asks for listener {parent.section}")
    if parent.port is not None and parent.port != listener.port:
        return no(
            NO_PARENT, f"its parentRef asks for port {parent.port}, {listener.title} has {listener.port}"
        )
    if route.kind not in listener.kinds():
        able = " and ".join(kind.name for kind in listener.kinds()) or "no kind of route"
        return no(NOT_ALLOWED, f"{listener.title} ({listener.protocol}) takes {able}, not {route.kind.name}")
    allowed = listener.allows(world, route.namespace)
    if allowed is False:
        how = listener.namespaces_from
        takes = f"only routes of its own namespace {listener.owner.namespace}" if how == "Same" else (
            "no routes" if how == "None" else "only routes of namespaces that its selector matches"
        )  # fmt: skip
        return no(NOT_ALLOWED, f"{listener.title} takes {takes}, not of {route.namespace}")
    names = hostnames_of(route)
    tcp = route.kind in (kinds.TCP_ROUTE, kinds.UDP_ROUTE)
    hosts = ("*",) if tcp else (provider or Provider()).hosts(listener, siblings, names)
    if not hosts:
        return no(NO_HOSTNAME, f"none of its hostnames ({', '.join(names)}) is one of {_hostname(listener)}")
    if allowed is None:
        detail = f"the labels of namespace {route.namespace} are not known, which {listener.title} selects by"
        return Admission(listener, None, ACCEPTED, detail, hosts)
    return Admission(listener, True, ACCEPTED, f"attached to {listener.title}", hosts)


def _hostname(listener: ListenerSpec) -> str:
    return f"{listener.title} (hostname {listener.hostname or 'any'})"


# -- from the listener's side ------------------------------------------------------------------------------


def routes_of(world: World, gateway: Obj, listener: ListenerSpec) -> list[Attached]:
    """The routes on a listener: of each kind the oldest first, a route once for each parentRef that leads
    there. Routes whose admission is not known are in it, with the doubt."""
    provider = implementation(world, gateway).provider
    siblings = listeners_of(world, gateway)
    key = ("routes of listener", gateway.ref, listener.key, provider.name if provider else "")
    # all that admission looks at
    used = (*listener.kinds(), kinds.NAMESPACE, kinds.GATEWAY, kinds.LISTENER_SET, kinds.XLISTENER_SET)
    return world.lasting(used, key, lambda: list(_routes_of(world, provider, listener, siblings)))


def _routes_of(
    world: World, provider: Provider | None, listener: ListenerSpec, siblings: tuple[ListenerSpec, ...]
) -> Iterable[Attached]:
    for kind in listener.kinds():
        where = _namespaces(listener)
        for route, parent in _by_parent(world, kind, where).get(listener.owner.ref, ()):
            said = _admission(world, provider, route, parent, listener, siblings)
            if said.accepted is not False:
                yield Attached(route, said.hostnames, parent, "" if said.accepted else said.detail)


def _namespaces(listener: ListenerSpec) -> str | None:
    """The only namespace whose routes can attach, None where there are several."""
    return listener.owner.namespace if listener.namespaces_from == "Same" else None


def _by_parent(
    world: World, kind: Kind, namespace: str | None, *, optional: bool = False
) -> dict[Ref, list[tuple[Obj, ParentRef]]]:
    """Routes of a kind by the parents that they name, oldest first; made once for what was read."""
    routes = world.all(kind, namespace, optional=optional)

    def collect() -> dict[Ref, list[tuple[Obj, ParentRef]]]:
        found: dict[Ref, list[tuple[Obj, ParentRef]]] = {}
        for route in sorted(routes, key=order_key):
            for parent in parent_refs(route):
                found.setdefault(parent.ref, []).append((route, parent))
        return found

    return world.lasting((kind,), ("routes by parent", kind, namespace), collect)


def candidates(world: World, gateway: Obj) -> list[Attachment]:
    """Every parentRef of any route that names the Gateway or one of its ListenerSets, accepted or not.

    Looks into all namespaces, since routes of namespaces that may not attach are what people ask about.
    """
    return world.memo(("candidates", gateway.ref), lambda: _candidates(world, gateway))


def _candidates(world: World, gateway: Obj) -> list[Attachment]:
    owners = dict.fromkeys([gateway.ref, *(item.owner.ref for item in listeners_of(world, gateway))])
    out = []
    for kind in ROUTE_KINDS[:4]:
        by_parent = _by_parent(world, kind, None, optional=True)
        for owner in owners:
            out += [_attachment(world, route, parent) for route, parent in by_parent.get(owner, ())]
    return out


def is_gateway(ref: Ref) -> bool:
    """Whether a reference names a Gateway of the Gateway API."""
    return (ref.group, ref.kind) == (GROUP, "Gateway")
