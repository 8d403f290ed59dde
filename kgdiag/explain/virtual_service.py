"""A VirtualService: where it is bound, which hosts it serves there, where each of its routes leads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kgdiag.dialects.istio import hosts
from kgdiag.dialects.istio.destination_rules import choose
from kgdiag.dialects.istio.mesh import Mesh, mesh_of
from kgdiag.dialects.istio.registry import of_service
from kgdiag.dialects.istio.routes import MESH, gateways_of, hosts_of
from kgdiag.dialects.istio.servers import servers_of
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft
from kgdiag.explain.words import absent, count, listed, many, named, readiness, seen_anywhere
from kgdiag.graph.core import addresses, pods_of, service_ports
from kgdiag.graph.labels import subset_of
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.rules.istio import Destination, destinations, find_gateway, gateway_pods, services_named

KINDS = (kinds.VIRTUAL_SERVICE,)


def describe(context: Context, route: Obj, draft: Draft) -> None:
    """Fill the draft for a VirtualService."""
    world, mesh = context.world, mesh_of(context.world)
    _gateways(context, route, mesh, draft)
    found = list(destinations(mesh, route))
    said = {item.part: _destination(world, mesh, route, item) for item in found}
    _routes(route, said, draft)
    draft.summary = _summary(world, route, mesh, found, said)
    draft.relate(context, context.into(route, without=(kinds.VIRTUAL_SERVICE,)), "up", look=False)
    delegates = context.into(route, of=frozenset((kinds.VIRTUAL_SERVICE,)))
    draft.relate(context, delegates, "up", look=False)
    draft.relate(context, context.out(route), "down")
    draft.prove(proof.shows(route, "spec.gateways"), proof.shows(route, "spec.hosts"))
    for item in found[:4]:
        draft.prove(proof.shows(route, item.part))
        for service in services_named(world, mesh, item.full)[:1]:
            ref = service.obj.ref
            draft.prove(proof.exists(service.obj.kind, ref.namespace, ref.name))


def _summary(
    world: World, route: Obj, mesh: Mesh, found: Sequence[Destination], said: Mapping[str, tuple[str, bool]]
) -> str:
    name = f"virtual service {route.name}"
    shown = hosts_of(route, mesh)
    if not shown:
        return f"{name} has no hosts: it is a delegate, served where another VirtualService names it"
    bound = [item for item in gateways_of(route) if item != MESH]
    missing = [item for item in bound if find_gateway(world, item) is None]
    where = f"on {many(len(bound), 'Gateway')} {listed(bound)}" if bound else ""
    if MESH in gateways_of(route):
        where += f"{' and ' if where else ''}for clients in the mesh"
    parts = [f"{name} serves {listed(shown)} {where}"]
    if missing:
        gone = [item for item in missing if _is_gone(world, item)]
        verb = "do" if len(missing) > 1 else "does"
        parts.append(
            f"{listed(missing)} {verb} not exist" if gone == missing else f"{listed(missing)} not seen here"
        )
    targets = list(dict.fromkeys(_target(item) for item in found))
    broken = [item for item in found if not said[item.part][1]]
    if targets:
        lost = f"; {listed(dict.fromkeys(map(_target, broken)))} leads nowhere" if broken else ""
        parts.append(f"requests go to {listed(targets)}{lost}")
    elif route.maps("spec.http") or route.maps("spec.tcp") or route.maps("spec.tls"):
        parts.append("it answers or redirects by itself")
    else:
        parts.append("it has no routes, so its hosts get 404")
    return "; ".join(parts)


def _is_gone(world: World, name: str) -> bool:
    namespace, _, rest = name.partition("/")
    return world.missing(kinds.ISTIO_GATEWAY, namespace, rest) is Missing.GONE


def _target(item: Destination) -> str:
    port = f":{item.port}" if item.port is not None else ""
    subset = f" subset {item.subset}" if item.subset else ""
    return f"{_short(item.full)}{port}{subset}"


def _short(host: str) -> str:
    return host.removesuffix(".svc.cluster.local") if host.endswith(".svc.cluster.local") else host


# -- where it is bound -----------------------------------------------------------------------------------


def _gateways(context: Context, route: Obj, mesh: Mesh, draft: Draft) -> None:
    """For every host and gateway: the servers that have the host."""
    world = context.world
    rows: list[tuple[str, ...]] = []
    for name in gateways_of(route):
        if name == MESH:
            rows.append(("mesh", "all sidecars that see it", listed(hosts_of(route, mesh), 4)))
            continue
        gateway = find_gateway(world, name)
        if gateway is None:
            namespace, _, rest = name.partition("/")
            rows.append((name, absent(world.missing(kinds.ISTIO_GATEWAY, namespace, rest)), "-"))
            continue
        pods = gateway_pods(world, gateway)
        where = f"{count(len(pods), 'gateway pod')}, {readiness(pods)}" if pods else "no gateway pod"
        for host in hosts_of(route, mesh):
            rows.append((name, where, f"{host}: {_covering(gateway, route, host)}"))
    draft.table("Hosts", ("gateway", "pods", "host: server"), rows)


def _covering(gateway: Obj, route: Obj, host: str) -> str:
    found = []
    for server in servers_of(gateway):
        allowed = hosts.for_namespace(server.hosts, route.namespace)
        if any(hosts.overlap(host, name) for name in allowed):
            found.append(f"{server.protocol} {server.number}")
    return ", ".join(found) or "no server has it"


# -- routes ----------------------------------------------------------------------------------------------


def _routes(route: Obj, said: Mapping[str, tuple[str, bool]], draft: Draft) -> None:
    for kind in ("http", "tls", "tcp"):
        rows: list[tuple[str, ...]] = []
        closed = ""
        for at, entry in enumerate(route.maps(f"spec.{kind}")):
            part = f"spec.{kind}[{at}]"
            matches = [item for item in entry.get("match") or () if isinstance(item, Mapping)]
            words = " or ".join(match_words(item) for item in matches) or "everything"
            leads = "; ".join(_leads(part, entry, said)) or "nowhere"
            rows.append((f"{at}", words + (f" (never: {closed})" if closed else ""), leads))
            if not closed and (not matches or any(not item for item in matches)):
                closed = f"{at} takes everything before it"
        draft.table(f"{kind} routes, tried in this order", ("#", "matches", "leads to"), rows)


def _leads(part: str, entry: Mapping[str, Any], said: Mapping[str, tuple[str, bool]]) -> Iterator[str]:
    redirect, direct, delegate = entry.get("redirect"), entry.get("directResponse"), entry.get("delegate")
    if isinstance(redirect, Mapping):
        target = f"{redirect.get('scheme') or ''}{'://' if redirect.get('scheme') else ''}"
        target += f"{redirect.get('authority') or ''}{redirect.get('uri') or ''}"
        yield f"redirect {redirect.get('redirectCode', 301)} to {target or 'the same place'}"
    if isinstance(direct, Mapping):
        yield f"answer {direct.get('status')}"
    if isinstance(delegate, Mapping):
        yield f"VirtualService {delegate.get('namespace') or ''}/{delegate.get('name')}"
    listed_routes = entry.get("route")
    items = listed_routes if isinstance(listed_routes, list) else []
    for number, item in enumerate(items):
        words = said.get(f"{part}.route[{number}].destination")
        if words is not None:
            weight = item.get("weight") if isinstance(item, Mapping) else None
            yield (f"{weight}% " if isinstance(weight, int) and len(items) > 1 else "") + words[0]
    if f"{part}.mirror" in said:
        yield f"mirrored to {said[f'{part}.mirror'][0]}"
    changes = list(_changes(entry))
    if changes:
        yield f"with {listed(changes, 5)}"


def _changes(entry: Mapping[str, Any]) -> Iterator[str]:
    rewrite = entry.get("rewrite")
    if isinstance(rewrite, Mapping):
        yield "rewrite " + ", ".join(
            f"{key} {value}" for key, value in rewrite.items() if isinstance(value, str)
        )
    headers = entry.get("headers")
    request = headers.get("request") if isinstance(headers, Mapping) else None
    if isinstance(request, Mapping):
        for how in ("set", "add"):
            values = request.get(how)
            for key, value in values.items() if isinstance(values, Mapping) else ():
                yield f"{how} {key}: {value}"
    for key in ("timeout", "fault", "retries", "corsPolicy"):
        if entry.get(key):
            yield f"{key} {entry[key]}" if key == "timeout" else key


def match_words(match: Mapping[str, Any]) -> str:
    """``path prefix /api and method GET``: one match of a route."""
    parts = []
    for key, name in (("uri", "path"), ("authority", "host"), ("method", "method"), ("scheme", "scheme")):
        if isinstance(match.get(key), Mapping):
            parts.append(f"{name} {_string(match[key])}")
    for key, name in (("headers", "header"), ("queryParams", "query"), ("withoutHeaders", "not header")):
        values = match.get(key)
        for field, value in values.items() if isinstance(values, Mapping) else ():
            parts.append(f"{name} {field} {_string(value) if value else 'present'}".rstrip())
    for key, name in (("sniHosts", "SNI"), ("gateways", "on"), ("destinationSubnets", "to")):
        if isinstance(match.get(key), list):
            parts.append(f"{name} {listed(map(str, match[key]))}")
    if match.get("port"):
        parts.append(f"port {match['port']}")
    if match.get("sourceNamespace"):
        parts.append(f"from namespace {match['sourceNamespace']}")
    if isinstance(match.get("sourceLabels"), Mapping):
        parts.append("from pods with " + ",".join(f"{k}={v}" for k, v in match["sourceLabels"].items()))
    return " and ".join(parts) or "everything"


def _string(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ""
    for how in ("exact", "prefix", "regex"):
        if how in value:
            return f"{'' if how == 'exact' else how + ' '}{value[how]}"
    return "present"


def _destination(world: World, mesh: Mesh, route: Obj, item: Destination) -> tuple[str, bool]:
    """(words, whether it leads somewhere) of one destination."""
    name = _target(item)
    services = services_named(world, mesh, item.full)
    if not services:
        if item.full.endswith(f".svc.{mesh.domain}"):
            short, _, rest = item.full.partition(".")
            missing = world.missing(kinds.SERVICE, rest.partition(".")[0], short)
            return f"{name}: {absent(missing)}", missing is not Missing.GONE
        gap = seen_anywhere(world, kinds.SERVICE_ENTRY)
        return f"{name}: no Service or ServiceEntry{gap} has this host", bool(gap)
    service = services[0].obj
    if service.kind != kinds.SERVICE:
        return f"{name} (ServiceEntry {named(service.ref)})", True
    if item.subset:
        return _subset(world, mesh, route, item, service, name)
    ports = service_ports(service)
    if item.port is not None and ports and all(port.port != item.port for port in ports):
        return f"{name}: the Service has no port {item.port}", False
    if service.text("spec.type") == "ExternalName":
        return f"{name}: an alias of {service.text('spec.externalName')}", True
    port = next((one for one in ports if one.port == item.port), ports[0] if ports else None)
    found = addresses(world, service, port) if port else []
    return f"{name} ({sum(one.ready for one in found)}/{len(found)} ready)", True


def _subset(
    world: World, mesh: Mesh, route: Obj, item: Destination, service: Obj, name: str
) -> tuple[str, bool]:
    rule = choose(world, mesh, of_service(mesh, service), route.namespace, {}).rule
    subset = rule.subset(item.subset) if rule is not None else None
    if rule is None or subset is None:
        if not world.readable(kinds.DESTINATION_RULE):
            return f"{name}: DestinationRules could not be read", True
        gap = seen_anywhere(world, kinds.DESTINATION_RULE)
        return f"{name}: no DestinationRule{gap} defines subset {item.subset}", bool(gap)
    labels = subset.value.get("labels")
    wanted = labels if isinstance(labels, Mapping) else {}
    pods = [pod for pod in pods_of(world, service) if subset_of(wanted, pod.labels)]
    return f"{name} ({readiness(pods)}, by {subset.obj.ref})", True
