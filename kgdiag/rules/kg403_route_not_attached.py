"""Route that no listener takes

## What it finds
A route whose parentRef leads to listeners that all refuse it: the namespace is not allowed
(`allowedRoutes`, where nothing said means the Gateway's own namespace), the kind of route is not, or no
hostname is shared. The nearest listener and its condition are named.

## Why it matters
The route is not served: its requests get 404 (Accepted=False with NotAllowedByListeners or
NoMatchingListenerHostname in the route's status).

## How to prove it
The route's `status.parents[*].conditions`, and the listener's `allowedRoutes` and `hostname`.

## How to fix it
Widen the listener's `allowedRoutes.namespaces`, move the route, or give it a hostname of the listener.

## What it does not report
Routes with another parentRef to the same Gateway that is accepted. Namespaces whose labels are not known.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.gateway_api.attach import (
    NO_HOSTNAME,
    NO_PARENT,
    NOT_ALLOWED,
    Admission,
    Attachment,
    attachments,
)
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.kg401_reference_not_granted import ROUTES


@rule(
    "KG403", "route-not-attached", Severity.ERROR, needs=(kinds.HTTP_ROUTE, kinds.GATEWAY), about=ROUTES,
    reads=(kinds.GRPC_ROUTE, kinds.TCP_ROUTE, kinds.TLS_ROUTE, kinds.UDP_ROUTE),
    names=(kinds.GATEWAY_CLASS,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each parentRef that every listener refuses."""
    for kind in ROUTES:
        for route in scope.all(world, kind):
            found = attachments(world, route)
            taken = {item.gateway.ref for item in found if item.gateway is not None and item.accepted}
            for attachment in found:
                nearest = attachment.nearest
                if attachment.gateway is None or nearest is None or nearest.reason == NO_PARENT:
                    continue
                if attachment.accepted is False and attachment.gateway.ref not in taken:
                    yield _finding(self, route, attachment, nearest)


def _finding(self: Rule, route: Obj, attachment: Attachment, nearest: Admission) -> Finding:
    listener, gateway = nearest.listener, attachment.gateway
    assert gateway is not None
    return self.finding(
        route.ref,
        f"{gateway.ref} does not take it ({nearest.reason}): {nearest.detail}; its requests get 404",
        evidence=[route.evidence(_field(route, nearest)), listener.evidence(_listener_field(nearest))],
        fix=_fix(route, nearest),
        verify=[
            commands.get(
                kinds.GATEWAY, gateway.namespace, gateway.name,
                jsonpath=f'.spec.listeners[?(@.name=="{listener.name}")].hostname',
                expect=f"the hostname {listener.hostname or 'of none: any'}", match=Match.EQUALS,
                value=listener.hostname,
            )
            if nearest.reason == NO_HOSTNAME
            else commands.get(
                kinds.GATEWAY, gateway.namespace, gateway.name,
                jsonpath=f'.spec.listeners[?(@.name=="{listener.name}")].allowedRoutes.namespaces.from',
                expect=f"{listener.namespaces_from} (nothing means Same)", match=Match.ANY,
            )
        ],
    )  # fmt: skip


def _field(route: Obj, nearest: Admission) -> str:
    return "spec.hostnames" if nearest.reason == NO_HOSTNAME else "metadata.namespace"


def _listener_field(nearest: Admission) -> str:
    if nearest.reason == NO_HOSTNAME:
        return "hostname"
    return "allowedRoutes"


def _fix(route: Obj, nearest: Admission) -> str:
    listener = nearest.listener
    if nearest.reason == NO_HOSTNAME:
        return f"give the route a hostname within {listener.hostname}, or widen {listener.part}.hostname"
    if nearest.reason == NOT_ALLOWED and route.kind not in listener.kinds():
        return f"attach it to a listener whose protocol carries {route.kind.name}s"
    selector = (
        f"{{from: Selector, selector: {{matchLabels: {{kubernetes.io/metadata.name: {route.namespace}}}}}}}"
    )
    return (
        f"set {listener.part}.allowedRoutes.namespaces of {listener.owner.ref} to {selector}, "
        f"or move the route to {listener.owner.namespace}"
    )
