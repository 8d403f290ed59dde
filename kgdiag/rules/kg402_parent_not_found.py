"""parentRef that does not exist

## What it finds
A parentRef of a route to a Gateway (or ListenerSet) that does not exist, or to a listener name or port that
the Gateway does not have. Gateways of the same name in other namespaces are named: a parentRef without a
namespace means the route's own.

## Why it matters
The route is attached nowhere: its requests get 404. No controller owns a parent that does not exist, so the
route has no status for it at all: an empty `status.parents` is the symptom.

## How to prove it
`kubectl get gateways.gateway.networking.k8s.io -n NAMESPACE NAME` answers NotFound.

## How to fix it
Write the Gateway's namespace and name, and a `sectionName` that it has.

## What it does not report
Parents that are Services (mesh routes). In files that are not a whole cluster, a Gateway that is not in
them is a fact (info).
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.gateway_api.attach import NO_PARENT, Attachment, attachments
from kgdiag.graph.world import Missing, World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.patch import set_field
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import gone_or_unseen, listed, namesakes, near, prove_gone
from kgdiag.rules.kg401_reference_not_granted import GROUP, ROUTES


@rule(
    "KG402", "parent-not-found", Severity.ERROR, needs=(kinds.HTTP_ROUTE, kinds.GATEWAY),
    about=ROUTES, equivalents=("KIA1401",),
    reads=(kinds.GRPC_ROUTE, kinds.TCP_ROUTE, kinds.TLS_ROUTE, kinds.UDP_ROUTE),
    names=(kinds.GATEWAY_CLASS,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each parentRef that leads nowhere."""
    for kind in ROUTES:
        for route in scope.all(world, kind):
            for attachment in attachments(world, route):
                if attachment.mesh:
                    continue
                if attachment.gateway is None:
                    yield from _missing(self, world, route, attachment)
                elif attachment.admissions and all(
                    item.reason == NO_PARENT for item in attachment.admissions
                ):
                    yield _no_section(self, route, attachment)


def _missing(self: Rule, world: World, route: Obj, attachment: Attachment) -> Iterable[Finding]:
    parent = attachment.parent
    if (parent.group, parent.kind) != (GROUP, "Gateway"):
        if attachment.missing in (Missing.GONE, Missing.NO_KIND):
            yield self.finding(
                route.ref,
                f"parentRef {parent.ref} {attachment.missing.value}: the route is not attached there, 404",
                evidence=[route.evidence(parent.part)],
                fix=f"correct {parent.part}",
                verify=[commands.get(route.kind, route.namespace, route.name, expect="the route")],
            )
        return
    severity, words = gone_or_unseen(world, kinds.GATEWAY, parent.namespace, parent.name)
    if severity is None:
        return
    others = namesakes(world, kinds.GATEWAY, parent.name)
    meant = [f"{obj.namespace}/{obj.name}" for obj in others]
    if not meant:
        here = world.all(kinds.GATEWAY, parent.namespace, optional=True)
        meant = [f"{parent.namespace}/{name}" for name in near(parent.name, (obj.name for obj in here))]
    hint = f"; a Gateway of that name is in {listed(obj.namespace for obj in others)}" if others else ""
    hint = hint or (f"; did you mean {meant[0]}?" if meant else "")
    lost = ": the route is attached nowhere, its requests get 404" if severity is Severity.ERROR else ""
    yield self.finding(
        route.ref,
        f"parentRef {parent.namespace}/{parent.name} {words}{lost}{hint}",
        severity=severity,
        evidence=[route.evidence(parent.part)],
        fix=f"set namespace and name of {parent.part} to {meant[0].replace('/', ' and ')}"
        if meant
        else f"create Gateway {parent.namespace}/{parent.name}, or name an existing one",
        patch=set_field(route, f"{parent.part}.name", meant[0].partition("/")[2])
        if len(meant) == 1 and not others and severity is Severity.ERROR
        else None,
        follows=[("missing", parent.ref)],
        verify=[prove_gone(kinds.GATEWAY, parent.namespace, parent.name)]
        if severity is Severity.ERROR
        else [],
    )


def _no_section(self: Rule, route: Obj, attachment: Attachment) -> Finding:
    parent, gateway = attachment.parent, attachment.gateway
    assert gateway is not None
    names = [item.listener.name for item in attachment.admissions]
    ports = [str(item.listener.port) for item in attachment.admissions]
    asked = f"listener {parent.section}" if parent.section and parent.section not in names else ""
    if not asked and parent.section:
        asked = f"listener {parent.section} on port {parent.port}"
    asked = asked or f"a listener on port {parent.port}"
    field = f"{parent.part}.sectionName" if parent.section else f"{parent.part}.port"
    return self.finding(
        route.ref,
        f"parentRef asks for {asked}, and {gateway.ref} has {listed(names, 5)} (ports {listed(ports, 5)}): "
        "NoMatchingParent, its requests get 404",
        evidence=[route.evidence(field), gateway.evidence("spec.listeners")],
        fix=f"set {parent.part}.sectionName to {(near(parent.section, names) or names)[0]}",
        verify=[
            commands.get(
                kinds.GATEWAY, gateway.namespace, gateway.name, jsonpath=".spec.listeners[*].name",
                expect=f"the listeners {' '.join(names)}", match=Match.EQUALS, value=" ".join(names),
            )
        ],
    )  # fmt: skip
