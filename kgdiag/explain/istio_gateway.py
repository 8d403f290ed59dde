"""An Istio Gateway: the pods it opens ports on, where each server listens, who is bound to it."""

from __future__ import annotations

from collections.abc import Sequence

from kgdiag.dialects.istio import hosts
from kgdiag.dialects.istio.servers import Server, servers_of
from kgdiag.dialects.istio.tls import server_tls
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft
from kgdiag.explain.fronts import Front, Opening, front_of, tls_text
from kgdiag.explain.words import (
    count,
    labels_text,
    listed,
    many,
    named,
    pods_text,
    seen_anywhere,
    workload_name,
)
from kgdiag.graph.core import resolve_target, service_ports, services_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.rules.istio import by_gateway, gateway_pods

KINDS = (kinds.ISTIO_GATEWAY,)


def describe(context: Context, gateway: Obj, draft: Draft) -> None:
    """Fill the draft for an Istio Gateway."""
    world = context.world
    world.all(kinds.VIRTUAL_SERVICE)
    world.all(kinds.ISTIO_GATEWAY)
    pods = gateway_pods(world, gateway)
    bound = by_gateway(world).get(f"{gateway.namespace}/{gateway.name}", [])
    groups: dict[tuple[str, str], list[Obj]] = {}
    for pod in pods:
        groups.setdefault((pod.namespace, workload_name(pod)), []).append(pod)
    fronts = {key: front for key, group in groups.items() if (front := front_of(world, group[0]))}
    draft.summary = _summary(gateway, pods, list(fronts.values()), bound, world)
    for (namespace, name), front in fronts.items():
        title = "Servers" if len(fronts) == 1 else f"Servers on {name} pods in {namespace}"
        _servers(world, gateway, front, bound, draft, title)
    if not fronts:
        _undecided(gateway, draft)
    _bound(gateway, bound, draft, context)
    for linked in context.into(gateway, of=frozenset((kinds.CONFIG_MAP,))):
        draft.link(context, "referred-to-by", linked.other, linked.link.detail, "up", look=False)
    for pod in pods:
        draft.link(context, "programs", pod.ref)
    for service in {item.ref: item for pod in pods for item in services_of(world, pod)}.values():
        ports = _ports_to(world, service, pods, gateway)
        if ports:
            draft.link(context, "fronted-by", service.ref, ports, look=False)
    draft.relate(context, [link for link in context.out(gateway) if link.other.kind == "Secret"], "down")
    selector = gateway.mapping("spec.selector")
    draft.prove(proof.shows(gateway, "spec.selector"))
    if selector:
        every = world.select(kinds.POD, None, {str(key): str(value) for key, value in selector.items()})
        draft.prove(proof.pods(None, selector, every))
    for front in fronts.values():
        for opening in _mine(gateway, front):
            if not opening.lost:
                draft.prove(proof.listens(front.pod, opening.port, True))
    draft.prove(*(proof.shows(route, "spec.gateways") for route in bound[:4]))


def _mine(gateway: Obj, front: Front) -> list[Opening]:
    return [item for item in front.openings if item.gateway == gateway.ref]


def _summary(gateway: Obj, pods: list[Obj], fronts: list[Front], bound: list[Obj], world: World) -> str:
    name, routes = f"gateway {gateway.name}", count(len(bound), "VirtualService")
    binds = f"{routes} {many(len(bound), 'is')} bound to it"
    gap = seen_anywhere(world, kinds.VIRTUAL_SERVICE)
    if not bound:
        lost = "" if gap else ", so requests get 404"
        binds = f"no VirtualService{gap} is bound to it{lost}"
    if not pods:
        selector = labels_text(gateway.mapping("spec.selector"))
        unseen = seen_anywhere(world, kinds.POD)
        if not unseen:
            return f"{name} opens no port: no gateway pod has {selector or 'any label'}; {binds}"
        return f"{name} is for gateway pods with {selector or 'any label'}: none{unseen}; {binds}"
    mine = [item for front in fronts for item in _mine(gateway, front)]
    ports = sorted({item.port for item in mine if not item.lost})
    left = [item for item in mine if item.lost]
    opened = f"opens {listed(map(str, ports), 6)}" if ports else "opens no port"
    parts = [f"{name} {opened} on {pods_text(pods)}", binds]
    if left:
        parts.append(f"{count(len(left), 'server')} {many(len(left), 'is')} left out")
    return "; ".join(parts)


def _servers(
    world: World, gateway: Obj, front: Front, bound: Sequence[Obj], draft: Draft, title: str
) -> None:
    rows = []
    by_part = {server.part: server for server in servers_of(gateway)}
    for item in _mine(gateway, front):
        server = by_part[item.part]
        served = [route for route in bound if _serves(server, route)]
        rows.append(
            (
                item.title,
                f"not: {item.lost}" if item.lost else str(item.port),
                _reached(world, front.pod, item.port) if not item.lost else "-",
                listed(item.hosts, 4),
                _tls(world, front.pod, server),
                count(len(served), "VirtualService"),
                item.decided or "-",
            )
        )
    columns = ("server", "listens on", "reached through", "hosts", "TLS", "bound", "listens there by")
    draft.table(title, columns, rows)


def _undecided(gateway: Obj, draft: Draft) -> None:
    """The servers as they are written, where no pod says where they listen."""
    draft.table(
        "Servers", ("server", "hosts", "TLS"),
        [
            (f"{item.protocol} {item.number}", listed(item.hosts, 4), tls_text(item))
            for item in servers_of(gateway)
        ],
    )  # fmt: skip


def _serves(server: Server, route: Obj) -> bool:
    allowed = hosts.for_namespace(server.hosts, route.namespace)
    return any(hosts.overlap(str(host), name) for host in route.items("spec.hosts") for name in allowed)


def _tls(world: World, pod: Obj, server: Server) -> str:
    words = tls_text(server)
    if server.tls is None or server.http:
        return words
    found = server_tls(world, pod, server)
    if found.certificates:
        words += f" {listed(found.certificates)}"
    if found.problem:
        words += f": fails: {found.problem}"
    elif found.doubt:
        words += f" ({found.doubt})"
    return words


def _reached(world: World, pod: Obj, number: int) -> str:
    """The Service ports that end on a port of the pod."""
    parts = []
    for service in services_of(world, pod):
        for port in service_ports(service):
            if resolve_target(pod, port) == number:
                node = f", nodePort {port.node_port}" if port.node_port else ""
                parts.append(f"{named(service.ref)}:{port.port}{node}")
    return "; ".join(parts) or "no Service port"


def _ports_to(world: World, service: Obj, pods: Sequence[Obj], gateway: Obj) -> str:
    """``80 → 8080`` of the Service's ports that this Gateway answers."""
    found: dict[str, None] = {}
    for pod in pods:
        front = front_of(world, pod)
        ports = {item.port for item in _mine(gateway, front) if not item.lost} if front else set()
        for port in service_ports(service):
            number = resolve_target(pod, port)
            if number in ports:
                found.setdefault(f"{port.port} → {number}")
    return ", ".join(found)


def _bound(gateway: Obj, bound: Sequence[Obj], draft: Draft, context: Context) -> None:
    servers = servers_of(gateway)
    for route in bound:
        shown = [str(host) for host in route.items("spec.hosts")]
        served = [server for server in servers if _serves(server, route)]
        words = listed(shown, 4)
        if not served:
            words += ": none of these hosts is one of this Gateway's, so it serves none of them here"
        draft.link(context, "binds", route.ref, words, "up", look=False)
