"""Ingresses and IngressClasses: who serves them, where each host and path leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kgdiag.dialects.ingress import backends
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft
from kgdiag.explain.ends import End, end_of
from kgdiag.explain.words import absent, count, listed, many
from kgdiag.graph.world import Missing
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

KINDS = (kinds.INGRESS, kinds.INGRESS_CLASS)
_LEGACY = ("metadata", "annotations", "kubernetes.io/ingress.class")
_DEFAULT = "ingressclass.kubernetes.io/is-default-class"


def describe(context: Context, obj: Obj, draft: Draft) -> None:
    """Fill the draft for an Ingress or an IngressClass."""
    if obj.kind == kinds.INGRESS_CLASS:
        _class(context, obj, draft)
    else:
        _ingress(context, obj, draft)


def _ingress(context: Context, ingress: Obj, draft: Draft) -> None:
    rows, ends = [], []
    for field, backend, asked in backends(ingress):
        end = _end(context, ingress, backend)
        how = ingress.text(f"{field.rpartition('.')[0]}.pathType") if field != "spec.defaultBackend" else ""
        ends.append(end)
        rows.append((asked, how or "-", end.words))
        draft.prove(proof.shows(ingress, f"{field}.service"))
    hosts = list(dict.fromkeys(str(rule.get("host") or "every host") for rule in ingress.maps("spec.rules")))
    bad = [end for end in ends if not end.good]
    parts = [f"ingress {ingress.name} is for {listed(hosts) or 'every host'}", _served(context, ingress)]
    if ends:
        parts.append(f"requests go to {listed(end.words for end in ends)}")
    if bad:
        parts.append(f"{count(len(bad), 'backend')} {'lead' if len(bad) > 1 else 'leads'} nowhere")
    draft.summary = "; ".join(parts)
    draft.table("Paths", ("host and path", "type", "leads to"), rows)
    addresses = _addresses(ingress)
    draft.note(
        f"its address is {listed(addresses)}" if addresses else "no controller has given it an address yet"
    )
    draft.relate(context, context.out(ingress), "down")
    draft.relate(context, context.into(ingress), "up", look=False)
    draft.verify[:0] = [
        command
        for command in (
            proof.shows(ingress, "spec.ingressClassName"), proof.shows(ingress, "status.loadBalancer.ingress")
        )
        if command is not None
    ]  # fmt: skip


def _end(context: Context, ingress: Obj, backend: Mapping[str, Any]) -> End:
    service = backend.get("service")
    if isinstance(service, Mapping) and service.get("name"):
        port = service.get("port")
        port = port if isinstance(port, Mapping) else {}
        return end_of(
            context, ingress.namespace, str(service["name"]), port.get("number") or port.get("name")
        )
    if backend.get("serviceName"):  # networking.k8s.io/v1beta1
        return end_of(context, ingress.namespace, str(backend["serviceName"]), backend.get("servicePort"))
    resource = backend.get("resource")
    name = f"{resource.get('kind')} {resource.get('name')}" if isinstance(resource, Mapping) else "nothing"
    return End(name, isinstance(resource, Mapping))


def _addresses(ingress: Obj) -> list[str]:
    return [
        str(item.get("ip") or item.get("hostname")) for item in ingress.maps("status.loadBalancer.ingress")
    ]


def _served(context: Context, ingress: Obj) -> str:
    """By which class, and which controller that means."""
    world, name = context.world, ingress.text("spec.ingressClassName")
    if not name and (legacy := ingress.text(_LEGACY)):
        return f"its class is {legacy} (by annotation)"
    if not name:
        default = [
            item for item in world.all(kinds.INGRESS_CLASS) if item.annotations.get(_DEFAULT) == "true"
        ]
        if default:
            return f"its class is {default[0].name}, the default ({default[0].text('spec.controller')})"
        return "it names no class"
    found = world.get(kinds.INGRESS_CLASS, "", name)
    if found is not None:
        return f"its class is {name} ({found.text('spec.controller')})"
    missing = world.missing(kinds.INGRESS_CLASS, "", name)
    lost = ", so no controller serves it" if missing is Missing.GONE else ""
    return f"its class {name} {absent(missing)}{lost}"


def _class(context: Context, klass: Obj, draft: Draft) -> None:
    users = [
        item
        for item in context.world.all(kinds.INGRESS)
        if klass.name in (item.text("spec.ingressClassName"), item.text(_LEGACY))
    ]
    default = ", the default class" if klass.annotations.get(_DEFAULT) == "true" else ""
    draft.summary = (
        f"ingress class {klass.name}{default} is served by {klass.text('spec.controller', 'no controller')}; "
        f"{count(len(users), 'Ingress')} {many(len(users), 'is')} of this class"
    )
    for user in users:
        draft.link(context, "class-of", user.ref, "", "up", look=False)
    draft.prove(proof.shows(klass, "spec.controller"))
