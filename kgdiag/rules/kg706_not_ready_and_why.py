"""Knative or KServe object that is not ready, and why

## What it finds
An InferenceService, Knative Service, Route or internal Ingress whose Ready condition is False (or Unknown
for a known reason), reduced to the condition that blocks, with what it means: `Uninitialized` is the prober
that gets no answer from the gateway, `IngressNotConfigured` that no controller of the ingress class has
looked at it.

## Why it matters
Its URL is not served, or is served by the previous revision.

## How to prove it
`kubectl get ksvc,isvc,king -n NAMESPACE` and the condition's message.

## How to fix it
Follow the message to the object that blocks: the finding is on the lowest one that says no.

## What it does not report
Objects whose own parts say no already: one finding for a chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import mappings

_CHAIN = (kinds.KNATIVE_INGRESS, kinds.KNATIVE_REVISION, kinds.KNATIVE_ROUTE, kinds.KNATIVE_SERVICE,
          kinds.INFERENCE_SERVICE)  # fmt: skip
_MEANING = {
    "Uninitialized": "the prober of net-istio gets no answer for its host from the gateway: look for what "
    "answers its requests with 403, 302 or 404",
    "IngressNotConfigured": "no controller of its ingress class has looked at it",
    "NewObservedGenFailure": "its controller has not come round to it",
}


@rule(
    "KG706", "not-ready-and-why", Severity.WARNING, needs=(), about=_CHAIN,
    reads=(kinds.KNATIVE_INGRESS, kinds.KNATIVE_REVISION, kinds.KNATIVE_ROUTE,
           kinds.KNATIVE_SERVICE, kinds.INFERENCE_SERVICE),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each chain of objects, on its lowest one that says no."""
    said: set[tuple[str, str]] = set()
    for kind in _CHAIN:
        for obj in scope.all(world, kind):
            found = _blocking(obj)
            if found is None or (kind == kinds.KNATIVE_REVISION and not _used(world, obj)):
                continue
            key = (obj.namespace, _family(obj))
            if key in said:
                continue
            said.add(key)
            at, condition = found
            words = " ".join(str(condition.get("message") or "").split())[:200]
            reason = str(condition.get("reason") or "")
            meaning = f" ({_MEANING[reason]})" if reason in _MEANING else ""
            yield self.finding(
                obj.ref,
                f"{condition.get('type')} is {condition.get('status')}: {reason or 'no reason'}: "
                f"{words}{meaning}",
                evidence=[obj.evidence(f"status.conditions[{at}]")],
                fix=f"follow the message: kubectl describe {kind.resource} {obj.name} -n {obj.namespace}",
                verify=[
                    commands.get(
                        kind, obj.namespace, obj.name,
                        jsonpath='.status.conditions[?(@.type=="Ready")].status', expect="not True",
                        match=Match.LACKS, value="True",
                    )
                ],
            )  # fmt: skip


def _blocking(obj: Obj) -> tuple[int, Mapping[str, Any]] | None:
    """The condition that keeps an object from being ready: another one than Ready where there is one."""
    conditions = list(mappings(obj.get("status.conditions")))
    ready = [item for _, item in conditions if item.get("type") == "Ready"]
    if not ready or ready[0].get("status") == "True":
        return None
    failing = [(at, item) for at, item in conditions if item.get("status") == "False"]
    waiting = [
        (at, item)
        for at, item in conditions
        if item.get("status") == "Unknown" and item.get("reason") in _MEANING
    ]
    chosen = failing or waiting
    lower = [(at, item) for at, item in chosen if item.get("type") != "Ready"]
    return next(iter(lower or chosen), None)


def _family(obj: Obj) -> str:
    """What a chain shares: the name of its InferenceService, else of its Knative Service."""
    for key in ("serving.kserve.io/inferenceservice", "serving.knative.dev/service"):
        if obj.labels.get(key):
            return str(obj.labels[key])
    return obj.name


def _used(world: World, revision: Obj) -> bool:
    """Whether a Revision is the newest of its Configuration: old ones may stay as they are."""
    name = str(revision.labels.get("serving.knative.dev/configuration") or "")
    found = world.get(kinds.KNATIVE_CONFIGURATION, revision.namespace, name, optional=True)
    return found is None or found.text("status.latestCreatedRevisionName") in ("", revision.name)
