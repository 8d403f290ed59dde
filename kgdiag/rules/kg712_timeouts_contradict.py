"""Timeouts along a path that contradict each other

## What it finds
- A VirtualService or HTTPRoute whose time for one try is longer than its time for all of them.
- An OpenShift Route (30 s where it says nothing) or a VirtualService that gives up before the timeout which
  the Knative Service or InferenceService behind it was given.
- A Knative Service with a longer timeout than `max-revision-timeout-seconds` in config-defaults allows.

## Why it matters
The smallest timeout on the path counts: the answer is 504 (by the gateway or by the router) while the model
still works, and the longer setting looks as if it were in force. Beyond Knative's maximum the revision is
refused.

## How to prove it
The two fields that are named.

## How to fix it
Raise the smaller one, or lower the other.

## What it does not report
Timeouts that nobody set on the longer side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.knative import SYSTEM
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj, dig
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import mappings, owned_by_controller
from kgdiag.rules.istio import destinations

_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|µs|ms|s|m|h|d)")
_HAPROXY = "haproxy.router.openshift.io/timeout"
_MAXIMUM = "max-revision-timeout-seconds"


@rule(
    "KG712", "timeouts-contradict", Severity.WARNING, needs=(kinds.VIRTUAL_SERVICE,),
    about=(kinds.VIRTUAL_SERVICE, kinds.HTTP_ROUTE, kinds.ROUTE, kinds.KNATIVE_SERVICE),
    reads=(kinds.HTTP_ROUTE, kinds.ROUTE, kinds.KNATIVE_SERVICE, kinds.INFERENCE_SERVICE, *MESH_READS),
    names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each pair."""
    slow = _slow(world)
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        yield from _tries(self, route, "spec.http", "timeout", "retries.perTryTimeout")
        if slow and not owned_by_controller(route):
            yield from _gives_up(self, world, route, slow)
    for route in scope.all(world, kinds.HTTP_ROUTE):
        yield from _tries(self, route, "spec.rules", "timeouts.request", "timeouts.backendRequest")
    for route in scope.all(world, kinds.ROUTE):
        for obj, field, limit in slow.values():
            host = obj.text("status.url").partition("://")[2].partition("/")[0]
            own = seconds(route.annotations.get(_HAPROXY) or "30s")
            if host and route.text("spec.host") == host and own is not None and own < limit:
                said = f"annotation {_HAPROXY}" if _HAPROXY in route.annotations else "the router's default"
                yield _finding(
                    self, route, "spec.host", f"the router gives up after {own:g} s ({said})", obj, field,
                    limit, f"annotate it with {_HAPROXY}={limit:g}s",
                )  # fmt: skip
    yield from _beyond(self, world, scope)


def seconds(text: object) -> float | None:
    """A duration of Go or HAProxy in seconds, None where it is none; a bare number is milliseconds there."""
    value = str(text or "").strip()
    if not value or _PART.sub("", value):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))


def _slow(world: World) -> dict[str, tuple[Obj, str, float]]:
    """What was given a timeout of its own, by the name of its Knative Service in the cluster."""
    found = {}
    for obj in world.all(kinds.KNATIVE_SERVICE, optional=True):
        limit = obj.get("spec.template.spec.timeoutSeconds")
        if isinstance(limit, int):
            found[f"{obj.name}.{obj.namespace}"] = (obj, "spec.template.spec.timeoutSeconds", float(limit))
    for obj in world.all(kinds.INFERENCE_SERVICE, optional=True):
        limit = obj.get("spec.predictor.timeout")
        if isinstance(limit, int):
            found[f"{obj.name}-predictor.{obj.namespace}"] = (obj, "spec.predictor.timeout", float(limit))
    return found


def _tries(self: Rule, route: Obj, path: str, whole: str, one: str) -> Iterator[Finding]:
    for at, entry in mappings(route.get(path)):
        total, single = seconds(dig(entry, whole)), seconds(dig(entry, one))
        if total is None or single is None or not 0 < total < single:
            continue
        field = f"{path}[{at}].{one}"
        yield self.finding(
            route.ref,
            f"{field} is {single:g} s, and {path}[{at}].{whole} ends the request after {total:g} s: no try "
            "gets its time, and none is repeated after a slow one",
            evidence=[route.evidence(field), route.evidence(f"{path}[{at}].{whole}")],
            fix=f"set {field} below {total:g} s, or raise {whole}",
            verify=[
                commands.get(
                    route.kind, route.namespace, route.name, jsonpath=f".{field}",
                    expect=str(dig(entry, one)), match=Match.EQUALS, value=str(dig(entry, one)),
                )
            ],
        )  # fmt: skip


def _gives_up(
    self: Rule, world: World, route: Obj, slow: dict[str, tuple[Obj, str, float]]
) -> Iterator[Finding]:
    mesh = mesh_of(world)
    suffix = f".svc.{mesh.domain}"
    for destination in destinations(mesh, route):
        entry = destination.part.partition("].")[0] + "]"
        own = seconds(route.get(f"{entry}.timeout"))
        found = slow.get(destination.full.removesuffix(suffix))
        if found is None or own is None or not 0 < own < found[2]:
            continue
        yield _finding(
            self, route, f"{entry}.timeout", f"{entry}.timeout is {own:g} s", found[0], found[1], found[2],
            f"raise {entry}.timeout to {found[2]:g}s",
        )  # fmt: skip


def _finding(
    self: Rule, route: Obj, field: str, words: str, obj: Obj, limit_field: str, limit: float, fix: str
) -> Finding:
    return self.finding(
        route.ref,
        f"{words}, and {obj.ref} behind it has {limit:g} s ({limit_field}): longer requests get 504 here",
        evidence=[route.evidence(field), obj.evidence(limit_field)],
        fix=fix,
        verify=[
            commands.get(
                obj.kind, obj.namespace, obj.name, jsonpath=f".{limit_field}", expect=f"{limit:g}",
                match=Match.EQUALS, value=f"{limit:g}",
            )
        ],
    )  # fmt: skip


def _beyond(self: Rule, world: World, scope: Scope) -> Iterator[Finding]:
    """Knative Services with a timeout that the configuration does not allow."""
    asked = [
        (obj, limit)
        for obj in scope.all(world, kinds.KNATIVE_SERVICE)
        if isinstance(limit := obj.get("spec.template.spec.timeoutSeconds"), int)
    ]
    config = world.get(kinds.CONFIG_MAP, SYSTEM, "config-defaults", optional=True) if asked else None
    if config is None:
        return
    text = config.text(("data", _MAXIMUM), "600")
    maximum = int(text) if text.isdigit() else 600
    for obj, limit in asked:
        if limit > maximum:
            yield self.finding(
                obj.ref,
                f"spec.template.spec.timeoutSeconds is {limit}, and {config.ref} allows {maximum} "
                f"({_MAXIMUM}): Knative refuses the revision",
                evidence=[obj.evidence("spec.template.spec.timeoutSeconds"), config.evidence("data")],
                fix=f"raise {_MAXIMUM} in {config.ref}, or lower the timeout",
                verify=[
                    commands.get(
                        kinds.KNATIVE_SERVICE, obj.namespace, obj.name,
                        jsonpath=".spec.template.spec.timeoutSeconds", expect=str(limit),
                        match=Match.EQUALS, value=str(limit),
                    )
                ],
            )  # fmt: skip
