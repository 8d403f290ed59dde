"""Ingress backend that does not exist

## What it finds
A backend of an Ingress whose Service does not exist in the Ingress's namespace, or lacks the port that is
named (by number or by name).

## Why it matters
The controller has no endpoints for the path: ingress-nginx answers 503, others 404 or 500.

## How to prove it
`kubectl describe ingress NAME -n NAMESPACE` says `<error: endpoints "…" not found>`.

## How to fix it
Write the Service's name and one of its ports. An Ingress never refers to another namespace.

## What it does not report
Backends that are a `resource`. In files that are not a whole cluster, a Service that is not in them is a
fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kgdiag.dialects.ingress import backends
from kgdiag.graph.core import service_ports
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.patch import set_field
from kgdiag.model.ref import Ref
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import gone_or_unseen, listed, namesakes, near, port_text, prove_gone, prove_ports


@rule(
    "KG110", "ingress-backend", Severity.ERROR, needs=(kinds.INGRESS, kinds.SERVICE), about=(kinds.INGRESS,)
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each backend that is not there."""
    for ingress in scope.all(world, kinds.INGRESS):
        done = set()
        for field, backend, asked in backends(ingress):
            service = backend.get("service")
            if not isinstance(service, Mapping) or not service.get("name"):
                continue
            name = str(service["name"])
            port = service.get("port")
            port = port if isinstance(port, Mapping) else {}
            key = (name, str(port.get("number")), str(port.get("name")))
            if key in done:
                continue
            done.add(key)
            found = world.get(kinds.SERVICE, ingress.namespace, name)
            if found is None:
                yield from _missing(self, world, ingress, field, name, asked)
            elif found.text("spec.type") != "ExternalName" and not _has(found, port):
                yield _no_port(self, ingress, field, found, port, asked)


def _missing(self: Rule, world: World, ingress: Obj, field: str, name: str, asked: str) -> Iterable[Finding]:
    severity, words = gone_or_unseen(world, kinds.SERVICE, ingress.namespace, name)
    if severity is None:
        return
    here = [obj.name for obj in world.all(kinds.SERVICE, ingress.namespace, optional=True)]
    guess = near(name, here)
    others = namesakes(world, kinds.SERVICE, name, but=ingress.namespace)
    hint = f"; did you mean {guess[0]}?" if guess else ""
    if not guess and others:
        hint = f"; one of that name is in {others[0].namespace}, where an Ingress cannot reach it"
    lost = f": {asked} gets 503" if severity is Severity.ERROR else ""
    yield self.finding(
        ingress.ref,
        f"backend Service {ingress.namespace}/{name} {words}{lost}{hint}",
        severity=severity,
        evidence=[ingress.evidence(f"{field}.service.name")],
        fix=f"set {field}.service.name to {guess[0]}"
        if guess
        else f"create Service {ingress.namespace}/{name}",
        patch=set_field(ingress, f"{field}.service.name", guess[0])
        if guess and severity is Severity.ERROR
        else None,
        follows=[("missing", Ref("", "Service", ingress.namespace, name))],
        verify=[prove_gone(kinds.SERVICE, ingress.namespace, name)] if severity is Severity.ERROR else [],
    )


def _has(service: Obj, port: Mapping[str, Any]) -> bool:
    ports = service_ports(service)
    if port.get("name"):
        return any(one.name == port["name"] for one in ports)
    return any(one.port == port.get("number") for one in ports)


def _no_port(
    self: Rule, ingress: Obj, field: str, service: Obj, port: Mapping[str, Any], asked: str
) -> Finding:
    ports = service_ports(service)
    wanted = port.get("name") or port.get("number")
    mapped = [one for one in ports if one.target == port.get("number")]
    hint = f"; {wanted} is the targetPort of port {mapped[0].port}" if mapped else ""
    right = (mapped or ports)[0].port if ports else "one of its ports"
    return self.finding(
        ingress.ref,
        f"backend {service.ref} has no port {wanted} (ports: {listed(map(port_text, ports), 6)}){hint}: "
        f"{asked} gets 503",
        evidence=[ingress.evidence(f"{field}.service.port"), service.evidence("spec.ports")],
        fix=f"set {field}.service.port.number to {right}",
        patch=set_field(ingress, f"{field}.service.port.number", right) if len(mapped) == 1 else None,
        verify=[prove_ports(service)],
    )
