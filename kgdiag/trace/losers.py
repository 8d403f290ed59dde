"""Why candidates lost at a hop: nearest misses first, and no more of them than a person reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.proxy import Excluded, FilterChain, Listener, Route, RouteConfig, VirtualHost
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Rejected, Request
from kgdiag.trace.envoy import find_virtual_host, without_port
from kgdiag.trace.match import miss
from kgdiag.trace.question import is_ip

MOST = 12
_MOST_HOSTS = 20_000


def nearest(candidates: Iterable[Rejected]) -> tuple[Rejected, ...]:
    """The candidates without repetition, nearest first; where some are cut the last one says how many."""
    unique: dict[tuple[Ref, str], Rejected] = {}
    for item in candidates:
        known = unique.setdefault((item.object, item.rule), item)
        if item.nearness < known.nearness:
            unique[item.object, item.rule] = item
    ordered = sorted(unique.values(), key=lambda item: item.nearness)
    if len(ordered) <= MOST:
        return tuple(ordered)
    kept = ordered[:MOST]
    last = kept[-1]
    more = len(ordered) - MOST
    kept[-1] = Rejected(last.object, last.rule, f"{last.reason}; and {more} more", last.nearness)
    return tuple(kept)


def hint(candidates: Sequence[Rejected]) -> str:
    """The nearest miss as the one thing to look at, "" where nothing came near."""
    near = [one for one in candidates if one.nearness <= 2]
    if not near:
        return ""
    rule = f" {near[0].rule}" if near[0].rule else ""
    return f"{near[0].object}{rule}: {near[0].reason}"


def no_host(at: Ref, host: str, config: RouteConfig) -> str:
    """What would give a Gateway a route for a host, where no object comes near."""
    if at.kind != "Gateway":
        return ""
    if is_ip(host) and (names := [one for one in nearest_hosts(config, host) if "*" not in one]):
        return f"send the Host that is meant, as in curl -H 'Host: {names[0]}'"
    if at.group == "networking.istio.io":
        return f"give a VirtualService the host {host} and {at.namespace}/{at.name} in spec.gateways"
    return f"attach an HTTPRoute with hostname {host} to {at}"


def excluded(items: Iterable[Excluded]) -> Iterator[Rejected]:
    """Candidates that never became part of the proxy's config."""
    for item in items:
        yield Rejected(item.ref, item.part, item.reason, item.nearness)


def earlier_routes(routes: Sequence[Route], winner: Route | None, request: Request) -> Iterator[Rejected]:
    """Routes before the winner with the condition that kept them out, and the ones behind it that would
    have matched had they come first."""
    won = False
    where = "an earlier route"
    for route in routes:
        if route is winner:
            won = True
            where = _part(route) or where
            continue
        if route.origin is None or (
            won and winner and route.origin.ref == _ref(winner) and route.origin.part == _part(winner)
        ):
            continue
        why = miss(route.match, request)
        if why is None and won:
            yield Rejected(route.origin.ref, route.origin.part, f"it matches too, but {where} comes first", 1)
        elif why is not None and not won:
            yield Rejected(route.origin.ref, route.origin.part, why.reason, why.rank)


def _part(route: Route) -> str:
    return route.origin.part if route.origin else ""


def _ref(route: Route) -> Ref | None:
    return route.origin.ref if route.origin else None


def other_hosts(config: RouteConfig, authority: str, chosen: VirtualHost | None) -> Iterator[Rejected]:
    """Virtual hosts whose domains nearly are the request's host."""
    host = without_port(authority.lower())
    for at, virtual_host in enumerate(config.virtual_hosts):
        if virtual_host is chosen or virtual_host.origin is None or at > _MOST_HOSTS:
            continue
        if chosen is not None and virtual_host.origin.ref.kind == "Service":
            continue  # every Service has its own hosts: that they are others is no news
        names = sorted((_distance(host, domain.lower()), domain) for domain in virtual_host.domains)
        near = names[0][0] if names else 9
        if near <= 4 or chosen is None:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            ref, part = virtual_host.origin.ref, virtual_host.origin.part
            reason = f"it is for Host {names[0][1] if names else 'none'}{more}, not {host}{_how(near)}"
            yield Rejected(ref, part, reason, min(near, 5))


def nearest_hosts(config: RouteConfig, host: str) -> list[str]:
    """The domains of a route config, the most like the host first."""
    names = (name for one in config.virtual_hosts[:_MOST_HOSTS] for name in one.domains)
    return sorted(dict.fromkeys(names), key=lambda name: (_distance(host, name.lower()), name))


def no_rule(at: Ref, request: Request) -> str:
    """What would give a host that is served a route, where no rule comes near."""
    return f"add a rule for {request.method} {request.path} to {at}, or ask for a path that it has"


def other_parents(world: World, at: Ref) -> Iterator[Rejected]:
    """Routes of the Gateway API that name a Gateway like this one in a namespace where there is none."""
    if (at.group, at.kind) != kinds.GATEWAY.key:
        return
    for kind in (kinds.HTTP_ROUTE, kinds.GRPC_ROUTE):
        for route in world.all(kind, optional=True):
            for index, parent in enumerate(route.maps("spec.parentRefs")):
                space = str(parent.get("namespace") or route.namespace)
                if parent.get("name") != at.name or space == at.namespace:
                    continue
                if world.get(kinds.GATEWAY, space, at.name, optional=True) is None:
                    reason = f"it names Gateway {space}/{at.name}, which does not exist; this is {at}"
                    yield Rejected(route.ref, f"spec.parentRefs[{index}]", reason, 1)


def _alike(one: str, other: str) -> bool:
    """Whether two labels are one name written differently."""
    return SequenceMatcher(None, one, other).ratio() >= 0.6


def _how(distance: int) -> str:
    return {
        0: ": the port in Host is compared",
        1: ": it differs in one label",
        2: ": labels at the end are missing",
    }.get(distance, "")


def _distance(host: str, domain: str) -> int:
    """0 to 4 for a near miss, 9 for none: one label differs, labels are missing, the same domain."""
    if without_port(domain) == host:
        return 0
    ours, theirs = host.split("."), domain.split(".")
    other = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]]
    same = len(ours) > 2 or ours[0] == theirs[0]
    if len(ours) == len(theirs) and len(other) == 1 and (same or _alike(*other[0])):
        return 1
    short, long = sorted((ours, theirs), key=len)
    if len(short) != len(long) and long[: len(short)] == short:
        return 2
    if len(short) > 2 and ours[-2:] == theirs[-2:]:
        return 3
    return 4 if ours[-1] == theirs[-1] and ours[0] == theirs[0] else 9


def other_chains(listener: Listener, chosen: FilterChain | None, sni: str | None) -> Iterator[Rejected]:
    """Filter chains of the listener that the connection did not get."""
    for chain in listener.chains:
        if chain is chosen or chain.origin is None:
            continue
        names = chain.match.server_names
        if names:
            near = min(_distance((sni or "").lower(), name.lower()) for name in names)
            sent = f"the client sends {sni}" if sni else "the client sends no server name"
            reason = f"server names are {', '.join(names[:3])}, {sent}"
            yield Rejected(chain.origin.ref, chain.origin.part, reason, min(near, 5))
        elif chain.match.transport:
            wanted = "TLS" if chain.match.transport == "tls" else "plaintext"
            yield Rejected(chain.origin.ref, chain.origin.part, f"it takes {wanted} connections only", 5)


def would_match(listener: Listener, request: Request) -> Ref | None:
    """The object of this listener that would take the request, were it sent here."""
    from kgdiag.model.proxy import HttpConnections

    for chain in listener.chains:
        if not isinstance(chain.network, HttpConnections):
            continue
        found = find_virtual_host(chain.network.route_config, request.authority)
        for route in found[0].routes if found else ():
            if miss(route.match, request) is None:
                return route.origin.ref if route.origin else None
    return None
