"""A Service: which pods it really has, where its ports end, who answers there, who points at it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from kgdiag.explain.base import Context, Draft, readiness
from kgdiag.explain.generic import related
from kgdiag.graph.core import (
    ServicePort,
    addresses,
    cluster_name,
    is_ready,
    pods_of,
    resolve_target,
    selector_of,
    service_ports,
)
from kgdiag.graph.relations import into
from kgdiag.model import commands, kinds
from kgdiag.model.explanation import Relation
from kgdiag.model.finding import Match
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Listener, Proxy
from kgdiag.model.ref import Ref

KINDS = (kinds.SERVICE,)
_NAME_LABELS = ("app", "app.kubernetes.io/name", "istio", "k8s-app")


def describe(context: Context, service: Obj, draft: Draft) -> None:
    """Fill the draft for a Service."""
    if service.text("spec.type") == "ExternalName":
        _external(context, service, draft)
        return
    pods = pods_of(context.world, service)
    proxies = _proxies(context, pods)
    draft.summary = _summary(context, service, pods, proxies)
    _selector(context, service, pods, draft)
    _ports(context, service, pods, proxies, draft)
    related(context, service, draft)
    _gateways(context, service, pods, proxies, draft)
    _verify(service, pods, draft)


def _external(context: Context, service: Obj, draft: Draft) -> None:
    host = service.text("spec.externalName")
    named = cluster_name(host.rstrip("."))
    kind = "another name for the Service" if named else "a DNS alias of"
    draft.summary = f"service {service.name} is {kind} {host}: DNS only, no pods, no port mapping"
    related(context, service, draft)
    draft.notes.append(
        "an ExternalName maps no ports and rewrites no Host: the target must listen on the client's port and "
        f"accept the host {service.name}.{service.namespace}.svc.cluster.local"
    )
    draft.verify.append(
        commands.get(
            kinds.SERVICE, service.namespace, service.name, jsonpath=".spec.externalName",
            expect=host, match=Match.EQUALS, value=host,
        )
    )  # fmt: skip


def _proxies(context: Context, pods: Sequence[Obj]) -> dict[Ref, Proxy]:
    """The gateway proxies among the pods."""
    found = {}
    for pod in pods:
        proxy = context.proxy_of(pod)
        if proxy is not None and proxy.role != "sidecar":
            found[pod.ref] = proxy
    return found


def owner_name(pod: Obj) -> str:
    """The name that people know a pod by: its app label, its workload, else its own."""
    for label in _NAME_LABELS:
        if pod.labels.get(label):
            return str(pod.labels[label])
    for owner in pod.maps("metadata.ownerReferences"):
        if owner.get("name"):
            name = str(owner["name"])
            return name.rpartition("-")[0] if owner.get("kind") == "ReplicaSet" and "-" in name else name
    return pod.name


def pods_text(pods: Sequence[Obj]) -> str:
    """``cluster-local-gateway pods (1/1 ready)``, or the several names that the pods have."""
    names = sorted({owner_name(pod) for pod in pods})
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{shown} pods ({readiness(pods)})"


def _summary(context: Context, service: Obj, pods: Sequence[Obj], proxies: Mapping[Ref, Proxy]) -> str:
    name = f"service {service.name}"
    if not selector_of(service):
        made = sum(len(addresses(context.world, service, port)) for port in service_ports(service))
        return f"{name} has no selector; its {made} endpoints are made by a controller or by hand"
    if not pods:
        return f"{name} selects no pod: {_labels(selector_of(service))}"
    parts = [f"{name} selects {pods_text(pods)}"]
    for port in service_ports(service):
        answering = list(_answering(service, port, pods, proxies))
        if proxies and answering:
            who = ", ".join(sorted({f"{ref.namespace}/{ref.name}" for _, ref in answering}))
            parts.append(f"{port.port} → {answering[0][0].port} is answered by Gateway {who}")
    return "; ".join(parts[:3])


def _labels(labels: Mapping[str, object]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _selector(context: Context, service: Obj, pods: Sequence[Obj], draft: Draft) -> None:
    selector = selector_of(service)
    rows = []
    for key, value in selector.items():
        rows.append((f"{key}={value}", f"{len(pods)} pods, {readiness(pods)}" if pods else "selects no pod"))
    own = {key: service.name for key in ("app",) if selector.get(key) not in (None, service.name)}
    for key, value in own.items():
        known = context.world.select(kinds.POD, service.namespace, {key: value})
        what = (
            f"{len(known)} pods, none of them asked for"
            if known
            else "no pod carries it; the selector does not ask for it"
        )
        rows.append((f"{key}={value}", what))
    draft.table("Selector", ("label", "pods"), rows)


def _ports(
    context: Context, service: Obj, pods: Sequence[Obj], proxies: Mapping[Ref, Proxy], draft: Draft
) -> None:
    rows = []
    for port in service_ports(service):
        found = addresses(context.world, service, port)
        ready = sum(item.ready for item in found)
        answering = list(_answering(service, port, pods, proxies))
        rows.append(
            (
                f"{port.port}" + (f" {port.name}" if port.name else ""),
                _target(port, pods),
                f"{ready}/{len(found)} ready",
                _who(answering, port, pods, proxies),
            )
        )
    draft.table("Ports", ("port", "target", "endpoints", "who answers there"), rows)


def _target(port: ServicePort, pods: Sequence[Obj]) -> str:
    if isinstance(port.target, int):
        return f"→ {port.target}" + (f" (nodePort {port.node_port})" if port.node_port else "")
    numbers = sorted({resolve_target(pod, port) or 0 for pod in pods})
    shown = "/".join(str(number) for number in numbers if number) or "no container port has this name"
    return f"→ {port.target} = {shown}"


def _answering(
    service: Obj, port: ServicePort, pods: Sequence[Obj], proxies: Mapping[Ref, Proxy]
) -> Iterator[tuple[Listener, Ref]]:
    """The listeners on the port's target and the declared objects that open them, each once."""
    seen: set[Ref] = set()
    for pod in pods:
        proxy, number = proxies.get(pod.ref), resolve_target(pod, port)
        listener = proxy.listener_at(number) if proxy and number else None
        for origin in listener.origins if listener else ():
            if listener is not None and origin.ref not in seen:
                seen.add(origin.ref)
                yield listener, origin.ref


def _who(
    answering: Sequence[tuple[Listener, Ref]],
    port: ServicePort,
    pods: Sequence[Obj],
    proxies: Mapping[Ref, Proxy],
) -> str:
    if answering:
        return ", ".join(f"{ref.kind} {ref.namespace}/{ref.name}" for _, ref in answering)
    if proxies:
        unknown = next((proxy.unknown for proxy in proxies.values() if proxy.unknown), None)
        return f"unknown: {unknown}" if unknown else "no listener: connections are refused"
    ready = [pod for pod in pods if is_ready(pod)]
    return f"{owner_name(ready[0])}" if ready else "nobody is ready" if pods else "nobody"


def _gateways(
    context: Context, service: Obj, pods: Sequence[Obj], proxies: Mapping[Ref, Proxy], draft: Draft
) -> None:
    """The Gateways that the Service leads to and what is bound to each."""
    seen: dict[Ref, list[int]] = {}
    for port in service_ports(service):
        for listener, ref in _answering(service, port, pods, proxies):
            seen.setdefault(ref, []).append(listener.port)
    for ref, ports in seen.items():
        gateway = context.world.find(ref)
        bound = _bound(context, gateway) if gateway else []
        words = f"listens on {', '.join(map(str, ports))} of these pods; {len(bound)} bound to it"
        draft.relations.append(Relation("answered-by", ref, words, "down", context.state(ref)))
        draft.concerns.append(ref)
        for source, detail in bound:
            draft.relations.append(Relation("serves", source, f"bound to {ref.name}{detail}", "down"))


def _bound(context: Context, gateway: Obj) -> list[tuple[Ref, str]]:
    found: dict[Ref, str] = {}
    wanted = [
        relation
        for dialect in context.dialects
        for relation in dialect.relations
        if relation.name in ("bound-to", "attached-to")
    ]
    for linked in into(context.world, gateway, wanted):
        found.setdefault(linked.other, f": {linked.link.detail}" if linked.link.detail else "")
    return list(found.items())


def _verify(service: Obj, pods: Sequence[Obj], draft: Draft) -> None:
    selector = dict(selector_of(service))
    if not selector:
        return
    draft.verify.append(
        commands.get(
            kinds.SERVICE, service.namespace, service.name, jsonpath=".spec.selector",
            expect=json.dumps(selector), match=Match.JSON, value=json.dumps(selector),
        )
    )  # fmt: skip
    app = selector.get("app")
    if app not in (None, service.name):
        draft.verify.append(
            commands.get(
                kinds.POD, service.namespace, labels={"app": service.name}, names_only=True,
                expect=f"nothing: no pod carries app={service.name}", match=Match.EMPTY,
            )
        )  # fmt: skip
    if pods:
        draft.verify.append(
            commands.get(
                kinds.POD, service.namespace, labels={key: str(value) for key, value in selector.items()},
                names_only=True, expect=f"{len(pods)} pods", match=Match.LINES, value=str(len(pods)),
            )
        )  # fmt: skip
