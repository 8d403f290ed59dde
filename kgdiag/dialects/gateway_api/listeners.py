"""Listeners of Gateways, lowered to the proxy that serves them.

Sources: gateway-api apis/v1/gateway_types.go (conflicts, hostname isolation, certificateRefs); for what the
implementations make of it see their dialects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kgdiag.dialects.gateway_api.attach import Attached, Attachment, attachments, candidates, routes_of
from kgdiag.dialects.gateway_api.grants import granted
from kgdiag.dialects.gateway_api.hostnames import covers, width
from kgdiag.dialects.gateway_api.provider import Place, Placed, Provider, implementation
from kgdiag.dialects.gateway_api.routes import matches_of
from kgdiag.dialects.gateway_api.spec import GROUP, ListenerSpec, hostnames_of, listeners_of
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.obj import Evidence, Obj, dig
from kgdiag.model.proxy import (
    ChainMatch,
    Excluded,
    FilterChain,
    Listener,
    Origin,
    Proxy,
    Route,
    RouteConfig,
    ServerTls,
    TcpConnections,
    TlsMode,
    VirtualHost,
)
from kgdiag.model.ref import Ref

INVALID_CERTIFICATE, REF_NOT_PERMITTED = "InvalidCertificateRef", "RefNotPermitted"


@dataclass(frozen=True)
class ListenerState:
    """Whether a listener is programmed. ``reason`` is the specification's, ``detail`` in words; ``doubt``
    says what could not be read of a listener that counts as programmed."""

    listener: ListenerSpec
    programmed: bool = True
    reason: str = ""
    detail: str = ""
    doubt: str = ""
    certificates: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class CertificateState:
    """One certificateRef of a listener. ``reason`` is "" where it is good or not known."""

    part: str
    secret: Ref
    reason: str = ""
    detail: str = ""
    doubt: str = ""
    evidence: tuple[Evidence, ...] = ()


def listener_states(world: World, gateway: Obj) -> tuple[ListenerState, ...]:
    """The listeners of one Gateway and what becomes of each, whoever programs it."""
    provider = implementation(world, gateway).provider or Provider()
    shared = provider.shared(world, gateway)
    return tuple(item for item in states(world, provider, shared) if item.listener.gateway.ref == gateway.ref)


def states(world: World, provider: Provider, gateways: Sequence[Obj]) -> tuple[ListenerState, ...]:
    """Every listener of the Gateways that share a proxy, in order, with what becomes of it."""
    key = ("listener states", provider.name, tuple(gateway.ref for gateway in gateways))
    return world.memo(key, lambda: tuple(_states(world, provider, gateways)))


def _states(world: World, provider: Provider, gateways: Sequence[Obj]) -> Iterable[ListenerState]:
    specs = [item for gateway in gateways for item in listeners_of(world, gateway)]
    own = [_own_state(world, provider, item) for item in specs]
    # Only listeners that are valid by themselves take part in conflicts.
    valid = [index for index, state in enumerate(own) if state.programmed or state.reason == "ResolvedRefs"]
    lost = provider.conflicts([specs[index] for index in valid])
    for at, reason in lost.items():
        index = valid[at]
        detail = (
            f"{specs[index].title} conflicts with another listener on port {specs[index].port} ({reason})"
        )
        own[index] = ListenerState(specs[index], False, reason, detail, evidence=(specs[index].evidence(),))
    return own


def _own_state(world: World, provider: Provider, listener: ListenerSpec) -> ListenerState:
    problem = provider.listener_problem(listener)
    if problem:
        return ListenerState(listener, False, "Invalid", problem, evidence=(listener.evidence(),))
    if listener.tls_mode != "Terminate" or listener.protocol not in ("HTTPS", "TLS"):
        return ListenerState(listener)
    found = certificates(world, listener)
    good = [item for item in found if not item.reason]
    if found and not good:
        refused = all(item.reason == REF_NOT_PERMITTED for item in found)
        reason = REF_NOT_PERMITTED if refused else INVALID_CERTIFICATE
        detail = f"{listener.title} has no usable certificate: {'; '.join(item.detail for item in found)}"
        proof = tuple(fact for item in found for fact in item.evidence)
        return ListenerState(listener, False, reason, detail, evidence=proof)
    doubt = "; ".join(item.doubt for item in good if item.doubt)
    names = tuple(f"{item.secret.namespace}/{item.secret.name}" for item in good)
    return ListenerState(listener, doubt=doubt, certificates=names, evidence=(listener.evidence("tls"),))


def certificates(world: World, listener: ListenerSpec) -> tuple[CertificateState, ...]:
    """The certificateRefs of a listener and whether each can be used."""
    refs = dig(listener.raw, "tls.certificateRefs", [])
    return tuple(
        _certificate(world, listener, raw, f"{listener.part}.tls.certificateRefs[{index}]")
        for index, raw in enumerate(refs if isinstance(refs, list) else ())
        if isinstance(raw, dict)
    )


def _certificate(world: World, listener: ListenerSpec, raw: dict[str, object], part: str) -> CertificateState:
    owner = listener.owner
    kind, name = str(raw.get("kind") or "Secret"), str(raw.get("name") or "")
    namespace = str(raw.get("namespace") or owner.namespace)
    ref = Ref(str(raw.get("group") or ""), kind, namespace, name)
    proof = (owner.evidence(part),)
    if (ref.group, kind) != ("", "Secret"):
        return CertificateState(
            part, ref, INVALID_CERTIFICATE, f"{part} is a {kind}, not a Secret", evidence=proof
        )
    allowed = granted(world, (GROUP, owner.kind.name, owner.namespace), ("", "Secret", namespace, name))
    if allowed is False:
        detail = (
            f"no ReferenceGrant in {namespace} lets {owner.kind.name}s of {owner.namespace} refer to {ref}"
        )
        return CertificateState(part, ref, REF_NOT_PERMITTED, detail, evidence=proof)
    doubt = f"the ReferenceGrants of {namespace} are not known" if allowed is None else ""
    secret = world.get(kinds.SECRET, namespace, name)
    if secret is None:
        missing = world.missing(kinds.SECRET, namespace, name)
        if missing is Missing.GONE and allowed:
            return CertificateState(part, ref, INVALID_CERTIFICATE, f"{ref} does not exist", evidence=proof)
        return CertificateState(part, ref, doubt=doubt or f"{ref} {missing.value}", evidence=proof)
    problem = _secret_problem(secret)
    if problem and allowed:
        return CertificateState(part, ref, INVALID_CERTIFICATE, f"{ref} {problem}", evidence=proof)
    return CertificateState(part, ref, doubt=doubt, evidence=(*proof, secret.evidence("type")))


def _secret_problem(secret: Obj) -> str:
    """What keeps a Secret from being a certificate; Secrets come with key names instead of values."""
    keys = set(secret.items("keys")) or {*secret.mapping("data"), *secret.mapping("stringData")}
    lacking = [name for name in ("tls.crt", "tls.key") if name not in keys]
    if lacking and not {"cert", "key"} <= keys:
        return f"has no {' and no '.join(lacking)}"
    problem = secret.text("certificate.problem")
    if problem:
        return f"has a certificate that cannot be used: {problem}"
    return ""


# -- proxies -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Port:
    """What of a proxy listens on one of its ports."""

    place: Place
    port: int
    states: tuple[ListenerState, ...]
    siblings: tuple[ListenerState, ...] = field(default=())


def proxy(place: Place, ref: Ref, *, unknown: str | None = None) -> Proxy:
    """The proxy of Gateways. ``ref`` is its pod, or the workload that would run it."""
    found = states(place.world, place.provider, place.gateways)

    def at(port: int) -> tuple[ListenerState, ...]:
        return tuple(item for item in found if place.provider.container_port(place, item.listener) == port)

    def listener_at(port: int) -> Listener | None:
        live = tuple(item for item in at(port) if item.programmed)
        return _listener(_Port(place, port, live, found)) if live else None

    def ports() -> list[int]:
        live = (place.provider.container_port(place, item.listener) for item in found if item.programmed)
        return sorted(set(live))

    return Proxy(
        pod=ref,
        role="gateway",
        dialect=place.provider.name,
        truth="intent",
        listener_at=listener_at,
        cluster=lambda name: place.provider.cluster(place, name),
        ports=ports,
        excluded_at=lambda port: tuple(_not_here(place, found, port)),
        identity=place.provider.identity(place),
        namespace=ref.namespace,
        unknown=unknown,
    )


def _not_here(place: Place, found: Sequence[ListenerState], port: int) -> Iterable[Excluded]:
    """The listeners that do not listen on a port of the pod, with the reason."""
    for item in found:
        own = place.provider.container_port(place, item.listener)
        where = f"{item.listener.part} ({item.listener.name})"
        if not item.programmed:
            yield Excluded(item.listener.owner.ref, where, item.detail, 0 if own == port else 2)
        elif own != port:
            shown = (
                f"{item.listener.port}"
                if own == item.listener.port
                else f"{item.listener.port}, {own} in the pod"
            )
            yield Excluded(item.listener.owner.ref, where, f"{item.listener.title} is on port {shown}", 1)


def _listener(port: _Port) -> Listener | None:
    live = port.states
    plain = [item for item in live if item.listener.protocol == "HTTP"]
    chains: list[FilterChain] = []
    for item in live:
        protocol = item.listener.protocol
        if protocol == "HTTPS":
            chains.append(_https_chain(port, item))
        elif protocol in ("TLS", "TCP"):
            chains += _l4_chains(port, item)
    default = _http_chain(port, plain) if plain else None
    if not chains and default is None:
        if not port.place.provider.keeps_port:
            return None
        chains.append(FilterChain("EmptyCluster", ChainMatch(), TcpConnections(), origin=_origin(live[0])))
    origins = tuple(
        Origin(item.listener.owner.ref, item.listener.part, (item.listener.evidence(),)) for item in live
    )
    return Listener(
        name=f"0.0.0.0:{port.port}",
        address="0.0.0.0",
        port=port.port,
        chains=tuple(chains),
        default_chain=default,
        origins=origins,
        excluded=(
            *_not_here(port.place, port.siblings, port.port),
            *(note for item in live for note in port.place.provider.notes(port.place, item.listener)),
        ),
    )


def _origin(item: ListenerState) -> Origin:
    return Origin(item.listener.owner.ref, item.listener.part, (item.listener.evidence(),))


def _http_chain(port: _Port, items: Sequence[ListenerState]) -> FilterChain:
    """Listeners without TLS share one chain: requests are told apart by their Host."""
    first = items[0]
    network = port.place.provider.connections(port.place, lambda: _route_config(port, items), first.listener)
    name = port.place.provider.route_config_name(first.listener)
    return FilterChain(name, ChainMatch(), network, origin=_origin(first))


def _https_chain(port: _Port, item: ListenerState) -> FilterChain:
    listener, place = item.listener, port.place
    network = place.provider.connections(place, lambda: _route_config(port, [item]), listener)
    name = port.place.provider.route_config_name(listener)
    return FilterChain(name, _sni(listener.hostname), network, _server_tls(place, item), _origin(item))


def _sni(*names: str) -> ChainMatch:
    wanted = tuple(name for name in names if name not in ("", "*"))
    return ChainMatch(server_names=wanted if len(wanted) == len(names) else ())


def _server_tls(place: Place, item: ListenerState) -> ServerTls:
    """TLS of a terminating listener; client certificates by the Gateway's frontend validation."""
    mode = TlsMode.TERMINATE
    gateway, port = item.listener.gateway, item.listener.port
    frontend = gateway.mapping("spec.tls.frontend")
    per_port = [entry for entry in gateway.maps("spec.tls.frontend.perPort") if entry.get("port") == port]
    settings = dig(per_port[0], "tls.validation") if per_port else dig(frontend, "default.validation")
    if settings:
        fallback = dig(settings, "mode") == "AllowInsecureFallback"
        mode = TlsMode.OPTIONAL_MUTUAL if fallback else TlsMode.MUTUAL
    option = dig(item.listener.raw, ("tls", "options", "gateway.istio.io/tls-terminate-mode"))
    mode = {
        "MUTUAL": TlsMode.MUTUAL,
        "OPTIONAL_MUTUAL": TlsMode.OPTIONAL_MUTUAL,
        "ISTIO_MUTUAL": TlsMode.MESH,
    }.get(str(option), place.provider.tls_mode(place, item.listener) or mode)
    return ServerTls(mode, item.certificates, doubt=item.doubt or None, evidence=item.evidence)


def _l4_chains(port: _Port, item: ListenerState) -> list[FilterChain]:
    """TLSRoutes by their server names, or the oldest TCPRoute."""
    place, listener = port.place, item.listener
    passthrough = listener.protocol == "TLS" and listener.tls_mode == "Passthrough"
    tls = ServerTls(TlsMode.NONE)
    if listener.protocol == "TLS":
        tls = ServerTls(TlsMode.PASSTHROUGH) if passthrough else _server_tls(place, item)
    out: list[FilterChain] = []
    taken: set[str] = set()
    for attached in routes_of(place.world, listener.gateway, listener):
        route = attached.route
        clusters = place.provider.l4_clusters(place, route)
        if clusters is None:
            continue
        names = attached.hostnames if route.kind == kinds.TLS_ROUTE else (listener.hostname or "*",)
        fresh = place.provider.same_names(names, taken)
        if not fresh:
            continue
        taken.update(fresh)
        origin = Origin(route.ref, "spec", (route.evidence("spec.rules"),))
        out.append(
            FilterChain(
                f"{route.namespace}/{route.name}", _sni(*fresh), TcpConnections(clusters), tls, origin
            )
        )
    return out


# -- virtual hosts -----------------------------------------------------------------------------------------


def _route_config(port: _Port, items: Sequence[ListenerState]) -> RouteConfig:
    place = port.place
    hosts: dict[str, list[tuple[ListenerSpec, Attached]]] = {}
    for item in items:
        for attached in routes_of(place.world, item.listener.gateway, item.listener):
            if place.provider.dropped(place, attached.route):
                continue
            for host in attached.hostnames:
                hosts.setdefault(host, []).append((item.listener, attached))
    made = tuple(
        _virtual_host(place, host, hosts[host], [item.listener for item in items])
        for host in sorted(hosts, key=width)
    )
    first = items[0].listener
    return RouteConfig(
        name=place.provider.route_config_name(first),
        virtual_hosts=made,
        origin=Origin(first.owner.ref, first.part, (first.evidence(),)),
        make_excluded=lambda: tuple(_excluded(place, [item.listener for item in items], None)),
        excluded_for=lambda host: tuple(_excluded(place, [item.listener for item in items], host)),
    )


def _virtual_host(
    place: Place, host: str, attached: list[tuple[ListenerSpec, Attached]], listeners: Sequence[ListenerSpec]
) -> VirtualHost:
    listener, first = attached[0]
    return VirtualHost(
        name=place.provider.virtual_host_name(listener, host),
        domains=(host,),
        make_routes=lambda: tuple(_routes(place, host, attached)),
        origin=Origin(first.route.ref, "spec.hostnames", (first.route.evidence("spec.hostnames"),)),
        make_excluded=lambda: tuple(_excluded(place, listeners, host)),
    )


def _routes(place: Place, host: str, attached: Sequence[tuple[ListenerSpec, Attached]]) -> Iterable[Route]:
    """The routes of a virtual host. A route that two parentRefs bring to one listener counts once."""
    found: list[Placed] = []
    seen: set[tuple[Ref, str, Ref]] = set()
    for listener, item in attached:
        key = (listener.owner.ref, listener.name, item.route.ref)
        if key not in seen:
            seen.add(key)
            found += [Placed(listener, match) for match in matches_of(item.route, item.doubt)]
    for one in place.provider.ordered(place, host, found):
        made = place.provider.lower(place, one.match, one.listener, host)
        if made is not None:
            yield made


def _excluded(place: Place, listeners: Sequence[ListenerSpec], host: str | None) -> Iterable[Excluded]:
    """Routes that name these Gateways and are not part of this route config, nearest misses first.

    With a host only those whose hostnames could mean it.
    """
    here = {listener.key for listener in listeners}
    gateways = dict.fromkeys(listener.gateway.ref for listener in listeners)
    found: list[Excluded] = []
    for gateway in place.gateways:
        if gateway.ref in gateways:
            for item in candidates(place.world, gateway):
                if host is None or _concerns(item.route, host):
                    found += _why_not_here(place, item, here)
    yield from sorted(found, key=lambda item: (item.nearness, item.ref, item.part))


def _concerns(route: Obj, host: str) -> bool:
    names = hostnames_of(route)
    return not names or any(covers(name, host) or covers(host, name) for name in names)


def _why_not_here(place: Place, item: Attachment, here: set[tuple[Ref, str]]) -> list[Excluded]:
    part = item.parent.part
    dropped = place.provider.dropped(place, item.route)
    if dropped:
        return [Excluded(item.route.ref, "spec.rules", dropped, 0)]
    mine = [said for said in item.admissions if said.listener.key in here]
    if any(said.accepted is not False for said in mine):
        return []
    taken = [said for said in item.admissions if said.accepted]
    if taken:
        names = ", ".join(said.listener.name for said in taken)
        return [Excluded(item.route.ref, part, f"it is attached to listener {names} instead", 1)]
    near = min(mine, key=lambda said: said.nearness, default=None)
    if near is None:
        return [Excluded(item.route.ref, part, item.detail, 4)]
    return [Excluded(item.route.ref, part, f"{near.reason}: {near.detail}", 1 + near.nearness)]


def gateway_problem(world: World, gateway: Obj) -> str | None:
    """Why a Gateway is served by no proxy at all."""
    found = implementation(world, gateway)
    return found.why if found.provider is None else None


def unattached(world: World, route: Obj) -> list[Attachment]:
    """The parentRefs of a route that no listener takes."""
    return [item for item in attachments(world, route) if item.accepted is False]
