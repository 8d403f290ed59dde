"""A Service: which pods it really has, where its ports end, who answers there, who points at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kgdiag.dialects.core import owners
from kgdiag.dialects.istio.mesh import has_sidecar
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft
from kgdiag.explain.fronts import Front, Opening, front_of, own_port
from kgdiag.explain.words import (
    count,
    listed,
    many,
    named,
    names,
    pairs,
    pods_text,
    port_text,
    readiness,
    seen,
    target_text,
    workload_name,
)
from kgdiag.graph.core import (
    Address,
    ServicePort,
    addresses,
    cluster_name,
    containers,
    is_ready,
    pods_of,
    resolve_target,
    selector_of,
    service_ports,
)
from kgdiag.graph.relations import Linked
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Match
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj, parse_path
from kgdiag.model.read import Origin
from kgdiag.model.ref import Ref

KINDS = (kinds.SERVICE,)

_ROUTES = (
    kinds.SERVICE, kinds.VIRTUAL_SERVICE, kinds.ROUTE, kinds.INGRESS, kinds.HTTP_ROUTE, kinds.GRPC_ROUTE,
    kinds.TLS_ROUTE, kinds.TCP_ROUTE, kinds.BACKEND_TLS_POLICY, kinds.REFERENCE_GRANT,
)  # fmt: skip
_MADE_BY = (
    kinds.KNATIVE_INGRESS, kinds.SERVERLESS_SERVICE, kinds.INFERENCE_SERVICE, kinds.DOMAIN_MAPPING,
    kinds.INFERENCE_GRAPH,
)  # fmt: skip
_SERVED = 12  # routes that are named, each
_PROOFS = 8  # of those who lead here


def foresee(world: World, namespace: str, name: str) -> None:
    """What every Service needs: all Services (aliases, rivals), the pods beside it, who routes."""
    world.all(kinds.SERVICE, optional=True)
    world.all(kinds.SERVICE, namespace)
    world.all(kinds.POD, namespace)
    world.select(kinds.ENDPOINT_SLICE, namespace, {"kubernetes.io/service-name": name})
    world.all(kinds.VIRTUAL_SERVICE, optional=True)


@dataclass(frozen=True)
class Port:
    """One port of the Service with what is behind it."""

    port: ServicePort
    targets: tuple[int, ...]
    addresses: tuple[Address, ...]
    openings: tuple[Opening, ...]
    who: str

    @property
    def arrow(self) -> str:
        """``80 → 8081``."""
        where = "/".join(map(str, self.targets)) or str(self.port.target)
        return f"{self.port.port} → {where}"


def describe(context: Context, service: Obj, draft: Draft) -> None:
    """Fill the draft for a Service."""
    world = context.world
    foresee(world, service.namespace, service.name)
    if service.text("spec.type") == "ExternalName":
        _external(context, service, draft)
        return
    pods = pods_of(world, service)
    fronts = [front for pod in pods if (front := front_of(world, pod)) is not None]
    ports = [_port(context, service, port, pods, fronts) for port in service_ports(service)]
    draft.summary = _summary(context, service, pods, fronts, ports)
    _selector(context, service, pods, draft)
    _ports(service, pods, ports, draft)
    _listeners(fronts, draft)
    _down(context, service, pods, fronts, ports, draft)
    _up(context, service, pods, fronts, draft)
    _verify(context, service, pods, fronts, ports, draft)
    _notes(context, service, pods, fronts, ports, draft)


# -- ExternalName ----------------------------------------------------------------------------------------


def _external(context: Context, service: Obj, draft: Draft) -> None:
    host = service.text("spec.externalName")
    target = cluster_name(host.rstrip("."))
    if target is None:
        draft.summary = f"service {service.name} is a DNS alias of {host}: no pods, no port mapping"
    else:
        there = context.world.get(kinds.SERVICE, target[1], target[0], optional=True)
        where = f"Service {target[1]}/{target[0]}"
        ports = ", ".join(str(port.port) for port in service_ports(there)) if there else ""
        draft.summary = (
            f"service {service.name} is a DNS alias of {where}: no pods of its own; clients connect to "
            + (f"that one's ports ({ports}), with the host they asked for" if ports else "that one")
        )
        if there is not None:
            draft.link(context, "leads-to", there.ref, f"ports {ports}" if ports else "")
        else:
            draft.link(context, "leads-to", Ref("", "Service", target[1], target[0]), host)
    _up(context, service, [], [], draft)
    draft.note(
        "an ExternalName maps no ports and rewrites no Host: the target must listen on the client's port and "
        f"accept the host {service.name}.{service.namespace}.svc.cluster.local"
    )
    draft.prove(proof.shows(service, "spec.externalName"))


# -- ports -----------------------------------------------------------------------------------------------


def _port(
    context: Context, service: Obj, port: ServicePort, pods: Sequence[Obj], fronts: Sequence[Front]
) -> Port:
    found = tuple(addresses(context.world, service, port))
    numbers = {number for pod in pods if (number := resolve_target(pod, port)) is not None}
    numbers |= {item.port for item in found} if not pods else set()
    targets = tuple(sorted(numbers))
    openings: dict[tuple[Ref, str], Opening] = {}
    for front in fronts:
        for item in front.at(resolve_target(front.pod, port)):
            openings.setdefault((item.gateway, item.part), item)
    made = tuple(openings.values())
    return Port(port, targets, found, made, _who(context, port, pods, fronts, made, found))


def _who(
    context: Context, port: ServicePort, pods: Sequence[Obj], fronts: Sequence[Front],
    openings: Sequence[Opening], found: Sequence[Address],
) -> str:  # fmt: skip
    if openings:
        return "; ".join(_opening_text(item) for item in openings)
    if fronts:
        if all(own_port(front.pod, resolve_target(front.pod, port)) for front in fronts):
            return "the proxy itself (health, metrics)"
        unknown = next((front.unknown for front in fronts if front.unknown), "")
        return f"unknown: {unknown}" if unknown else "no listener: connections are refused"
    if not pods:
        behind = [context.world.find(item.pod) for item in found if item.pod is not None]
        apps = sorted({workload_name(pod) for pod in behind if pod is not None})
        return listed(apps) if apps else "" if found else "nobody"
    return _app(context.world, port, pods)


def _opening_text(item: Opening) -> str:
    said = f"Gateway {named(item.gateway)} ({item.title.rpartition(': ')[2]}"
    return said + (f", {item.tls})" if item.tls not in ("", "plain") else ")")


def _app(world: World, port: ServicePort, pods: Sequence[Obj]) -> str:
    ready = [pod for pod in pods if is_ready(pod)]
    first = (ready or list(pods))[0]
    number = resolve_target(first, port)
    owner = next(
        (
            str(item.get("name"))
            for item in containers(first)
            for declared in item.get("ports") or ()
            if isinstance(declared, dict) and declared.get("containerPort") == number
        ),
        "",
    )
    words = workload_name(first) + (f", container {owner}" if owner else "")
    if has_sidecar(world, first):
        words += ", through its sidecar"
    return words if ready else f"{words}: not ready"


def _ports(service: Obj, pods: Sequence[Obj], ports: Sequence[Port], draft: Draft) -> None:
    nodes = any(item.port.node_port for item in ports)
    rows = []
    for item in ports:
        ready = sum(one.ready for one in item.addresses)
        cells = [port_text(item.port), target_text(item.port, pods)]
        cells += [str(item.port.node_port or "")] if nodes else []
        rows.append((*cells, f"{ready}/{len(item.addresses)} ready", item.who))
    columns = ["port", "pods' port", *(["nodePort"] if nodes else []), "endpoints", "who answers there"]
    draft.table("Ports", columns, rows)


# -- verdict ---------------------------------------------------------------------------------------------


def _summary(
    context: Context, service: Obj, pods: Sequence[Obj], fronts: Sequence[Front], ports: Sequence[Port]
) -> str:
    name = f"service {service.name}"
    if not selector_of(service):
        found = {(item.ip, item.port) for port in ports for item in port.addresses}
        made = f"its {count(len(found), 'endpoint')} {many(len(found), 'is')} made by a controller or by hand"
        behind = {item.pod for port in ports for item in port.addresses if item.pod is not None}
        where = f" and {'leads' if len(found) == 1 else 'lead'} to {names(sorted(behind))}" if behind else ""
        return f"{name} has no selector; {made if found else 'it has no endpoints'}{where}"
    if not pods:
        gap = seen(context.world, kinds.POD, service.namespace)
        return f"{name} selects no pod{gap}: {', '.join(pairs(selector_of(service)))}"
    parts = [f"{name} selects {pods_text(pods)}"]
    if fronts:
        parts += _answers(ports)
        if meant := _as_meant(service, pods, ports):
            parts.append(meant)
    else:
        arrows = [item.arrow for item in ports]
        parts.append(f"{many(len(arrows), 'port')} {listed(arrows, 4)}" if arrows else "it has no ports")
    return "; ".join(parts)


def _answers(ports: Sequence[Port]) -> Iterator[str]:
    for item in ports:
        if item.openings:
            gateways = sorted({opening.gateway for opening in item.openings})
            routes = {bound.route for opening in item.openings for bound in opening.bound}
            bound = f" with {routes_text(routes)}" if routes else " with no routes"
            yield f"{item.arrow} is answered by Gateway {names(gateways)}{bound}"
    if not any(item.openings for item in ports):
        dead = [item for item in ports if item.who.startswith("no listener")]
        if dead:
            yield f"nothing listens behind {listed((item.arrow for item in dead), 4)}"


def routes_text(routes: Iterable[Ref]) -> str:
    """``2 VirtualServices``, ``1 HTTPRoute and 1 GRPCRoute``."""
    found: dict[str, int] = {}
    for route in sorted(routes):
        found[route.kind] = found.get(route.kind, 0) + 1
    return listed((count(number, kind) for kind, number in found.items()), 4) or "no route"


def _as_meant(service: Obj, pods: Sequence[Obj], ports: Sequence[Port]) -> str:
    """Kubeflow's overlay: Knative's Service and Gateway both patched to the pods of its own gateway.

    Source: kubeflow/manifests common/knative/knative-serving/overlays/gateways.
    """
    if service.name != "knative-local-gateway" or {workload_name(pod) for pod in pods} != {
        "cluster-local-gateway"
    }:
        return ""
    answering = {opening.gateway.name for item in ports for opening in item.openings}
    return "as Kubeflow means it" if "knative-local-gateway" in answering else ""


# -- tables ----------------------------------------------------------------------------------------------


def _selector(context: Context, service: Obj, pods: Sequence[Obj], draft: Draft) -> None:
    selector, world = selector_of(service), context.world
    if not selector:
        return
    rows = [
        (f"{key}={value}", _carry(world.select(kinds.POD, service.namespace, {key: value})))
        for key, value in selector.items()
    ]
    if len(selector) > 1:
        rows.append(("all of them", _carry(pods)))
    if selector.get("app") not in (None, service.name):
        known = world.select(kinds.POD, service.namespace, {"app": service.name})
        what = "and the selector does not ask for it"
        rows.append((f"app={service.name}", f"{_carry(known)}, {what}"))
    draft.table("Selector", ("label", f"pods in {service.namespace}"), rows)


def _carry(pods: Sequence[Obj]) -> str:
    return f"{count(len(pods), 'pod')}, {readiness(pods)}" if pods else "no pod carries it"


def _listeners(fronts: Sequence[Front], draft: Draft) -> None:
    """What these pods listen on, whoever leads there."""
    listeners_table(fronts, draft, "Listeners of these pods")


def listeners_table(fronts: Sequence[Front], draft: Draft, title: str) -> None:
    """What gateway pods listen on, and who decided it."""
    rows: dict[tuple[str, ...], None] = {}
    for front in fronts:
        for item in front.openings:
            where = f"not: {item.lost}" if item.lost else str(item.port)
            routes = routes_text(one.route for one in item.bound)
            rows.setdefault((where, named(item.gateway), item.title, item.tls, routes, item.decided))
    columns = ("listens on", "Gateway", "as", "TLS", "bound", "where it listens is decided by")
    draft.table(title, columns, rows)


# -- relations -------------------------------------------------------------------------------------------


def _down(
    context: Context, service: Obj, pods: Sequence[Obj], fronts: Sequence[Front], ports: Sequence[Port],
    draft: Draft,
) -> None:  # fmt: skip
    for pod in pods:
        draft.link(context, "selects", pod.ref)
    if not pods:
        behind = dict.fromkeys(one.pod for item in ports for one in item.addresses if one.pod is not None)
        for ref in behind:
            draft.link(context, "has-endpoint", ref)
    answered: dict[Ref, list[str]] = {}
    bound: dict[Ref, list[str]] = {}
    for item in ports:
        for opening in item.openings:
            answered.setdefault(opening.gateway, []).append(f"{item.arrow} ({opening.tls})")
            for one in opening.bound:
                words = f"on Gateway {named(opening.gateway)}: {listed(one.hosts)}"
                bound.setdefault(one.route, [])
                if words not in bound[one.route]:
                    bound[one.route].append(words)
    for gateway, arrows in answered.items():
        draft.link(context, "answered-by", gateway, ", ".join(dict.fromkeys(arrows)), look=False)
    for route, hosts in list(bound.items())[:_SERVED]:
        draft.link(context, "serves", route, "; ".join(hosts), look=False)
    if len(bound) > _SERVED:
        draft.note(f"{routes_text(list(bound)[_SERVED:])} more {many(2, 'is')} bound to its Gateways")


def _up(context: Context, service: Obj, pods: Sequence[Obj], fronts: Sequence[Front], draft: Draft) -> None:
    istio = any(front.dialect == "istio" for front in fronts)
    wanted = frozenset(_sources(context.world, service, pods, fronts))
    found = context.into(service, of=wanted)
    draft.relate(context, found, "up", look=False)
    if istio:
        context.world.all(kinds.AUTHORIZATION_POLICY, optional=True)
    for pod in pods[:1] if istio else ():
        policies = context.into(pod, of=frozenset((kinds.AUTHORIZATION_POLICY,)))
        for linked in policies:
            policy = context.world.find(linked.other, optional=True)
            action = policy.text("spec.action", "ALLOW") if policy else ""
            draft.link(context, "guarded-by", linked.other, f"{action}, on these pods", "up")
    for owner in owners(service):
        if owner.target not in {item.object for item in draft.relations}:
            draft.link(context, "owned-by", owner.target, "", "up", look=False)
    draft.prove(*(_prove_link(context, linked) for linked in found[:_PROOFS]))


def _sources(world: World, service: Obj, pods: Sequence[Obj], fronts: Sequence[Front]) -> Iterator[Kind]:
    """The kinds whose objects may well lead to this Service. Each costs a live cluster a request, so those
    that hardly ever lead to a Service of its sort are left out; files are looked through whole."""
    if world.origin is not Origin.LIVE:
        yield from (*_ROUTES, *_MADE_BY, kinds.CONFIG_MAP, kinds.DESTINATION_RULE, kinds.GATEWAY)
        return
    yield from (kinds.SERVICE, kinds.VIRTUAL_SERVICE)
    made = [*_makers(service)]
    yield from made
    openshift = any(
        item.namespace.startswith("openshift") for item in world.all(kinds.SERVICE, optional=True)
    )
    if fronts or not pods:
        if not fronts or any(front.dialect == "istio" for front in fronts):
            yield kinds.CONFIG_MAP
        if openshift:
            yield kinds.ROUTE
        if service.text("spec.type") != "LoadBalancer":
            yield kinds.INGRESS
        if not fronts:
            yield kinds.HTTP_ROUTE
        return
    yield from (kinds.DESTINATION_RULE, kinds.HTTP_ROUTE, kinds.INGRESS, kinds.ROUTE)
    if not made:
        yield kinds.GRPC_ROUTE


def _makers(service: Obj) -> Iterator[Kind]:
    """Kinds whose controllers make Services like this, by its labels and owners."""
    keys = (*service.labels, *selector_of(service))
    if any(key.startswith(("serving.knative.dev/", "networking.internal.knative.dev/")) for key in keys):
        yield from (kinds.KNATIVE_INGRESS, kinds.SERVERLESS_SERVICE)
    if _owned_by_model(service):
        yield kinds.INFERENCE_SERVICE


def _owned_by_model(service: Obj) -> bool:
    return any("kserve" in key for key in service.labels) or any(
        "kserve" in str(item.get("apiVersion")) for item in service.maps("metadata.ownerReferences")
    )


def _prove_link(context: Context, linked: Linked) -> Command | None:
    """That the object on the other end says what leads here."""
    obj = context.world.find(linked.other, optional=True)
    field = linked.link.field
    if obj is None or field.startswith("metadata.name"):
        return None
    if linked.other.kind == "ConfigMap":
        step = str(parse_path(field)[-1]).replace(".", "\\.")
        host = f"{linked.link.target.name}.{linked.link.target.namespace}.svc" if linked.link.target else ""
        return commands.get(
            kinds.CONFIG_MAP, obj.namespace, obj.name, jsonpath=f".data.{step}",
            expect=f"text with {host} in it", match=Match.CONTAINS, value=host,
        )  # fmt: skip
    return proof.shows(obj, field)


# -- proofs and notes ------------------------------------------------------------------------------------


def _verify(
    context: Context, service: Obj, pods: Sequence[Obj], fronts: Sequence[Front], ports: Sequence[Port],
    draft: Draft,
) -> None:  # fmt: skip
    selector, world = dict(selector_of(service)), context.world
    own: list[Command | None] = []
    if selector:
        own.append(proof.shows(service, "spec.selector"))
        own.append(
            proof.pods(service.namespace, selector, world.select(kinds.POD, service.namespace, selector))
        )
        if selector.get("app") not in (None, service.name):
            known = world.select(kinds.POD, service.namespace, {"app": service.name})
            own.append(proof.pods(service.namespace, {"app": service.name}, known))
    own.append(_prove_endpoints(world, service))
    own += [proof.shows(service, f"spec.ports[{item.port.index}].targetPort") for item in ports[:4]]
    pod = next((front.pod for front in fronts if front.dialect == "istio" and is_ready(front.pod)), None)
    for item in ports if pod is not None else ():
        for number in item.targets:
            if pod is not None and not item.who.startswith(("unknown", "the proxy itself")):
                own.append(proof.listens(pod, number, bool(item.openings)))
    for gateway in dict.fromkeys(opening.gateway for item in ports for opening in item.openings):
        found = world.find(gateway, optional=True)
        own.append(proof.shows(found, "spec.selector") if found and found.mapping("spec.selector") else None)
    draft.verify[:0] = [command for command in own if command is not None]


def _prove_endpoints(world: World, service: Obj) -> Command | None:
    """The readiness of every endpoint, in the order of the EndpointSlices."""
    labels = {"kubernetes.io/service-name": service.name}
    slices = world.select(kinds.ENDPOINT_SLICE, service.namespace, labels)
    if not slices:
        return None
    said = [
        str(conditions["ready"]).lower()
        for item in slices
        for endpoint in item.maps("endpoints")
        if isinstance(conditions := endpoint.get("conditions"), dict) and "ready" in conditions
    ]
    ready = said.count("true")
    return commands.get(
        kinds.ENDPOINT_SLICE, service.namespace, labels=labels,
        jsonpath=".items[*].endpoints[*].conditions.ready",
        expect=f"{count(ready, 'endpoint')} ready of {len(said)}", match=Match.EQUALS, value=" ".join(said),
    )  # fmt: skip


def _notes(
    context: Context, service: Obj, pods: Sequence[Obj], fronts: Sequence[Front], ports: Sequence[Port],
    draft: Draft,
) -> None:  # fmt: skip
    kind = service.text("spec.type", "ClusterIP")
    places = [
        str(item.get("ip") or item.get("hostname")) for item in service.maps("status.loadBalancer.ingress")
    ]
    if kind == "LoadBalancer" and places:
        draft.note(f"from outside it is reached at {listed(places)}")
    if service.text("spec.clusterIP") == "None":
        draft.note("it is headless: clients resolve it to the pods' own addresses and use the pods' ports")
    if service.text("spec.externalTrafficPolicy") == "Local":
        draft.note("externalTrafficPolicy Local: nodes without one of its pods drop traffic from outside")
    unread = next((front.unknown for front in fronts if front.unknown), "")
    if unread:
        draft.note(f"which listeners its pods have is not known: {unread}")
    for front in fronts[:1]:
        reached = {number for item in ports for number in item.targets}
        others = sorted({item.port for item in front.openings if not item.lost and item.port not in reached})
        if others:
            draft.note(f"these pods listen on {listed(map(str, others), 6)} too, where other Services lead")
    if context.world.origin is Origin.LIVE:
        left = "HTTPRoutes and DestinationRules" if fronts else "TLSRoutes and TCPRoutes"
        draft.note(f"{left} that name this Service were not looked for")
