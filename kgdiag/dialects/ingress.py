"""Ingress, whichever controller serves it. Source: kubernetes.io/docs, services-networking/ingress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kgdiag.dialects.base import Dialect
from kgdiag.graph.relations import Link, Relation
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref


def backends(ingress: Obj) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """(field, backend, what is asked for) of the default backend and of every path."""
    default = ingress.mapping("spec.defaultBackend")
    if default:
        yield "spec.defaultBackend", default, "everything else"
    for at, rule in enumerate(ingress.maps("spec.rules")):
        http = rule.get("http")
        paths = http.get("paths") if isinstance(http, Mapping) else None
        for number, path in enumerate(paths if isinstance(paths, list) else ()):
            if isinstance(path, Mapping) and isinstance(path.get("backend"), Mapping):
                asked = f"{rule.get('host') or '*'}{path.get('path') or '/'}"
                yield f"spec.rules[{at}].http.paths[{number}].backend", path["backend"], asked


def _routes_to(world: World, ingress: Obj) -> Iterator[Link]:
    for field, backend, asked in backends(ingress):
        service = backend.get("service")
        if isinstance(service, Mapping) and service.get("name"):
            port = service.get("port")
            port = port if isinstance(port, Mapping) else {}
            detail = f"{asked} → port {port.get('number') or port.get('name')}"
            yield Link(Ref("", "Service", ingress.namespace, str(service["name"])), field, detail)


def _of_class(world: World, ingress: Obj) -> Iterator[Link]:
    name = ingress.text("spec.ingressClassName") or ingress.text(
        ("metadata", "annotations", "kubernetes.io/ingress.class")
    )
    if name:
        yield Link(Ref("networking.k8s.io", "IngressClass", "", name), "spec.ingressClassName")


def _secrets(world: World, ingress: Obj) -> Iterator[Link]:
    for at, tls in enumerate(ingress.maps("spec.tls")):
        if tls.get("secretName"):
            hosts = ", ".join(str(host) for host in tls.get("hosts") or ())
            yield Link(
                Ref("", "Secret", ingress.namespace, str(tls["secretName"])),
                f"spec.tls[{at}].secretName",
                hosts,
            )


def _in_namespace(world: World, obj: Obj) -> list[Obj]:
    return world.all(kinds.INGRESS, obj.namespace)


RELATIONS = (
    Relation("routes-to", "routed-to-by", kinds.INGRESS, (kinds.SERVICE,), _routes_to, _in_namespace),
    Relation("of-class", "class-of", kinds.INGRESS, (kinds.INGRESS_CLASS,), _of_class),
    Relation("refers-to", "referred-to-by", kinds.INGRESS, (kinds.SECRET,), _secrets, _in_namespace),
)

DIALECT = Dialect("ingress", relations=RELATIONS)
