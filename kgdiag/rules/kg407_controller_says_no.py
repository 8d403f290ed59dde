"""Controller that refuses what is declared

## What it finds
A condition in the status of a Gateway, listener or route by which its controller says no (Accepted,
Programmed or ResolvedRefs False; Conflicted True), where kgdiag itself finds nothing wrong. Conditions
about an older generation than the object's are named as such.

## Why it matters
The controller knows its own limits: what it does not accept is not in the proxy. And what it accepted may
since have changed: a status about an older generation says nothing of the present one.

## How to prove it
`kubectl get KIND NAME -n NAMESPACE -o jsonpath='{.status}'`.

## How to fix it
Read the message: it names the field.

## What it does not report
Conditions that repeat what another rule has found on the same object, addresses that are pending (KG109),
and objects without any status.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kgdiag.dialects.gateway_api.attach import attachments
from kgdiag.dialects.gateway_api.backends import backend_refs, resolve
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import mappings
from kgdiag.rules.kg401_reference_not_granted import ROUTES

_NO = {("Accepted", "False"), ("Programmed", "False"), ("ResolvedRefs", "False"), ("Conflicted", "True")}
_PENDING = {"AddressNotAssigned", "Pending", "NoResources"}


@rule(
    "KG407", "controller-says-no", Severity.WARNING, needs=(kinds.GATEWAY, kinds.HTTP_ROUTE),
    about=(kinds.GATEWAY, *ROUTES), equivalents=("IST0171",),
    reads=(kinds.GRPC_ROUTE, kinds.TCP_ROUTE, kinds.TLS_ROUTE, kinds.UDP_ROUTE),
    names=(kinds.GATEWAY_CLASS,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each condition that says no and that nothing else explains."""
    for kind in (kinds.GATEWAY, *ROUTES):
        for obj in scope.all(world, kind):
            for field, who, condition in _conditions(obj):
                if (condition.get("type"), condition.get("status")) not in _NO:
                    continue
                if condition.get("reason") in _PENDING or _explained(world, obj, str(condition.get("type"))):
                    continue
                yield _finding(self, obj, field, who, condition)


def _finding(self: Rule, obj: Obj, field: str, who: str, condition: Mapping[str, Any]) -> Finding:
    seen, now = condition.get("observedGeneration"), obj.get("metadata.generation")
    old = isinstance(seen, int) and isinstance(now, int) and seen < now
    words = " ".join(str(condition.get("message") or "").split())[:200]
    stale = f" (about generation {seen}, the object is at {now})" if old else ""
    kind, status = str(condition.get("type")), str(condition.get("status"))
    return self.finding(
        obj.ref,
        f"{kind}={status} ({condition.get('reason')}) says {who}: {words}{stale}",
        severity=Severity.INFO if old else Severity.WARNING,
        evidence=[obj.evidence(field)],
        fix=f"mend what the controller names: {words}",
        follows=[("no controller", obj.ref), ("listener left out", obj.ref)],
        verify=[
            commands.get(
                obj.kind, obj.namespace, obj.name, jsonpath=".status", expect=f"{kind} {status}",
                match=Match.CONTAINS, value=str(condition.get("reason")),
            )
        ],
    )  # fmt: skip


def _conditions(obj: Obj) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(field, who wrote it, condition) of a Gateway, its listeners, or a route's parents."""
    for at, condition in mappings(obj.get("status.conditions")):
        yield f"status.conditions[{at}]", "its controller", condition
    for number, listener in mappings(obj.get("status.listeners")):
        for at, condition in mappings(listener.get("conditions")):
            yield (
                f"status.listeners[{number}].conditions[{at}]",
                f"listener {listener.get('name')}",
                condition,
            )
    for number, parent in mappings(obj.get("status.parents")):
        for at, condition in mappings(parent.get("conditions")):
            who = str(parent.get("controllerName") or "its controller")
            yield f"status.parents[{number}].conditions[{at}]", who, condition


def _explained(world: World, obj: Obj, kind: str) -> bool:
    """Whether the rules on attachment and references say the same of a route already."""
    if obj.kind == kinds.GATEWAY:
        return kind in ("ResolvedRefs", "Programmed") and bool(obj.items("status.listeners")) and _by_tls(obj)
    if kind == "Accepted":
        return any(item.accepted is not True for item in attachments(world, obj))
    return any(
        not resolve(world, ref).valid or resolve(world, ref).doubt
        for number, _ in enumerate(obj.items("spec.rules"))
        for ref in backend_refs(obj, number)
    )


def _by_tls(gateway: Obj) -> bool:
    return any(isinstance(listener.get("tls"), Mapping) for listener in gateway.maps("spec.listeners"))
