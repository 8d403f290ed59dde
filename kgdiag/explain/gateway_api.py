"""Gateways and GatewayClasses of the Gateway API: who programs them, where they listen, what is attached."""

from __future__ import annotations

from collections.abc import Sequence

from kgdiag.dialects.gateway_api.attach import Attachment, candidates
from kgdiag.dialects.gateway_api.listeners import ListenerState, listener_states
from kgdiag.dialects.gateway_api.provider import DataPlane, Implementation, implementation, providers
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft, conditions
from kgdiag.explain.fronts import Opening, gateway_openings
from kgdiag.explain.service import routes_text
from kgdiag.explain.words import count, listed, many, names, pods_text, port_text
from kgdiag.graph.core import resolve_target, service_ports
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

KINDS = (kinds.GATEWAY, kinds.GATEWAY_CLASS)


def describe(context: Context, obj: Obj, draft: Draft) -> None:
    """Fill the draft for a Gateway or a GatewayClass."""
    if obj.kind == kinds.GATEWAY_CLASS:
        _class(context, obj, draft)
    else:
        _gateway(context, obj, draft)


# -- GatewayClass ----------------------------------------------------------------------------------------


def _class(context: Context, klass: Obj, draft: Draft) -> None:
    controller = klass.text("spec.controllerName")
    known = next((item for item in providers() if controller in item.controllers), None)
    gateways = [
        item for item in context.world.all(kinds.GATEWAY) if item.text("spec.gatewayClassName") == klass.name
    ]
    accepted = _condition(klass, "Accepted")
    said = f"; its status says Accepted={accepted}" if accepted else "; no controller has written its status"
    who = (
        f"{known.title} ({controller})"
        if known
        else f"the controller {controller or 'that it does not name'}"
    )
    draft.summary = (
        f"gateway class {klass.name} is programmed by {who}{said if klass.raw.get('status') else ''}; "
        f"{count(len(gateways), 'Gateway')} {many(len(gateways), 'is')} of this class"
    )
    for gateway in gateways:
        draft.link(context, "class-of", gateway.ref, "", "up", look=False)
    parameters = klass.mapping("spec.parametersRef")
    if parameters.get("name"):
        where = f"{parameters.get('namespace')}/" if parameters.get("namespace") else ""
        draft.note(f"its parameters are {parameters.get('kind')} {where}{parameters['name']}")
    draft.table("Conditions", ("condition", "status", "reason", "message"), conditions(klass))
    draft.prove(proof.shows(klass, "spec.controllerName"), proof.condition(klass, "Accepted"))


def _condition(obj: Obj, kind: str) -> str:
    return next(
        (str(item.get("status")) for item in obj.maps("status.conditions") if item.get("type") == kind), ""
    )


# -- Gateway ---------------------------------------------------------------------------------------------


def _gateway(context: Context, gateway: Obj, draft: Draft) -> None:
    world = context.world
    found = implementation(world, gateway)
    provider = found.provider
    plane = provider.data_plane(world, gateway) if provider else None
    states = listener_states(world, gateway)
    pod = next(iter(plane.pods), None) if plane else None
    openings = {}
    if provider is not None:
        openings = {item.part: item for item in gateway_openings(world, provider, gateway, pod)}
    asking = candidates(world, gateway)
    draft.summary = _summary(gateway, found, plane, states, openings, asking)
    _listeners(context, gateway, plane, states, openings, draft)
    _attached(context, asking, draft)
    _status(gateway, states, draft)
    _plane(context, gateway, plane, draft)
    class_name = gateway.text("spec.gatewayClassName")
    draft.relate(
        context,
        [link for link in context.out(gateway) if link.other.kind in ("GatewayClass", "Secret", "ConfigMap")],
        "down",
    )
    others = (kinds.AUTHORIZATION_POLICY, kinds.LISTENER_SET, kinds.XLISTENER_SET, kinds.CONFIG_MAP)
    draft.relate(context, context.into(gateway, of=frozenset(others)), "up", look=False)
    draft.prove(proof.shows(gateway, "spec.gatewayClassName"))
    if found.klass is not None:
        draft.prove(proof.shows(found.klass, "spec.controllerName"))
    elif found.provider is None and not found.doubt:
        draft.prove(proof.gone(kinds.GATEWAY_CLASS, "", class_name))
    draft.prove(proof.shows(gateway, "spec.listeners", expect="the listeners, as written"))
    draft.prove(proof.condition(gateway, "Accepted"), proof.condition(gateway, "Programmed"))
    if pod is not None:
        labels = {"gateway.networking.k8s.io/gateway-name": gateway.name}
        draft.prove(proof.ready(pod))
        if labels.items() <= pod.labels.items():
            mine = world.select(kinds.POD, pod.namespace, labels)
            draft.prove(proof.pods(pod.namespace, labels, mine))


def _summary(
    gateway: Obj, found: Implementation, plane: DataPlane | None, states: Sequence[ListenerState],
    openings: dict[str, Opening], asking: Sequence[Attachment],
) -> str:  # fmt: skip
    name = f"gateway {gateway.name}"
    if found.provider is None:
        return f"{name} is programmed by nobody that is known: {found.why}"
    parts = [f"{name} is programmed by {found.provider.title}"]
    if plane is not None:
        pods = pods_text(plane.pods) if plane.pods else f"{plane.workload}, no pod of which is seen"
        through = f", reached through Service {names(plane.services)}" if plane.services else ""
        parts.append(f"its data plane is {pods}{through}")
    on = [item for item in states if item.programmed]
    off = [item for item in states if not item.programmed]
    routes = {one.route for item in openings.values() for one in item.bound}
    ports = listed(
        (f"{item.listener.name} ({item.listener.protocol} {item.listener.port})" for item in on), 4
    )
    if on:
        parts.append(f"{many(len(on), 'listener')} {ports} with {routes_text(routes)}")
    if off:
        parts.append(
            f"{many(len(off), 'listener')} {listed(item.listener.name for item in off)} "
            f"{many(len(off), 'is')} not programmed"
        )
    refused = [item for item in asking if item.accepted is False]
    if refused:
        parts.append(f"{count(len(refused), 'route')} {many(len(refused), 'is')} not attached")
    return "; ".join(parts)


def _listeners(
    context: Context, gateway: Obj, plane: DataPlane | None, states: Sequence[ListenerState],
    openings: dict[str, Opening], draft: Draft,
) -> None:  # fmt: skip
    rows = []
    for state in states:
        listener, opening = state.listener, openings.get(state.listener.part)
        where = str(opening.port) if opening else "?"
        if not state.programmed:
            where = f"not: {state.reason}: {state.detail}"
        tls = listener.tls_mode + (f" {listed(state.certificates)}" if state.certificates else "")
        rows.append(
            (
                f"{listener.name} {listener.protocol} {listener.port}",
                listener.hostname or "*",
                where,
                _through(context, plane, opening.port if opening else None),
                (tls or "plain") + (f" ({state.doubt})" if state.doubt else ""),
                {"Same": gateway.namespace, "All": "all namespaces", "Selector": "by label"}.get(
                    listener.namespaces_from, listener.namespaces_from
                ),
                routes_text(one.route for one in opening.bound) if opening else "-",
            )
        )
    columns = ("listener", "host", "pods' port", "Service port", "TLS", "routes from", "attached")
    draft.table("Listeners", columns, rows)


def _through(context: Context, plane: DataPlane | None, number: int | None) -> str:
    found = []
    for ref in plane.services if plane else ():
        service = context.world.get(kinds.SERVICE, ref.namespace, ref.name)
        for port in service_ports(service) if service and plane else ():
            pod = next(iter(plane.pods), None) if plane else None
            target = resolve_target(pod, port) if pod is not None else port.target
            if target == number:
                node = f" (nodePort {port.node_port})" if port.node_port else ""
                found.append(f"{port_text(port)}{node}")
    return ", ".join(found) or "-"


def _attached(context: Context, asking: Sequence[Attachment], draft: Draft) -> None:
    for item in asking:
        listeners = [said.listener.name for said in item.admissions if said.accepted]
        hosts = list(
            dict.fromkeys(host for said in item.admissions if said.accepted for host in said.hostnames)
        )
        if item.accepted:
            words = f"{many(len(listeners), 'listener')} {listed(listeners)}, {listed(hosts, 3)}"
        else:
            words = (
                f"{'not attached' if item.accepted is False else 'not known'}: {item.reason}: {item.detail}"
            )
        draft.link(
            context, "attaches" if item.accepted else "asks-for", item.route.ref, words, "up", look=False
        )


def _plane(context: Context, gateway: Obj, plane: DataPlane | None, draft: Draft) -> None:
    if plane is None:
        return
    for ref in plane.services:
        service = context.world.get(kinds.SERVICE, ref.namespace, ref.name)
        places = [
            str(item.get("ip") or item.get("hostname"))
            for item in (service.maps("status.loadBalancer.ingress") if service else ())
        ]
        kind = service.text("spec.type", "ClusterIP") if service else ""
        words = f"{kind}{f', address {listed(places)}' if places else ''}"
        if kind == "LoadBalancer" and not places:
            words += ", no address yet"
        draft.link(context, "fronted-by", ref, words)
    draft.link(context, "runs-in", plane.workload)
    for pod in plane.pods:
        draft.link(context, "programs", pod.ref)


def _status(gateway: Obj, states: Sequence[ListenerState], draft: Draft) -> None:
    """The status as its controller wrote it; a listener whose state is another than computed is marked."""
    draft.table("Conditions", ("condition", "status", "reason", "message"), conditions(gateway))
    said = {str(item.get("name")): item for item in gateway.maps("status.listeners")}
    rows = []
    for state in states:
        status = said.get(state.listener.name)
        if status is None:
            continue
        entries = status.get("conditions")
        bad = [
            f"{item.get('type')}={item.get('status')} {item.get('reason')}"
            for item in (entries if isinstance(entries, list) else ())
            if isinstance(item, dict)
            and (item.get("status") == "False") != (item.get("type") == "Conflicted")
        ]
        computed = "programmed" if state.programmed else f"not programmed: {state.reason}"
        differs = bool(bad) == state.programmed
        attached = status.get("attachedRoutes", 0)
        rows.append(
            (
                state.listener.name,
                listed(bad, 4) or "all good",
                f"{attached}",
                computed + (" (differs)" if differs else ""),
            )
        )
    draft.table("Listeners' status", ("listener", "status says", "attachedRoutes", "computed here"), rows)
    addresses = [str(item.get("value")) for item in gateway.maps("status.addresses")]
    if addresses:
        draft.note(f"its status names {many(len(addresses), 'address')} {listed(addresses)}")


def programmed_by(context: Context, gateway: Obj) -> str:
    """Who programs a Gateway, in a word."""
    found = implementation(context.world, gateway)
    return found.provider.title if found.provider else found.why
