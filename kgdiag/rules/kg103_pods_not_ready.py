"""None of a Service's pods is ready

## What it finds
A Service whose selected pods are all not ready, with the reason that the cluster gives for the first of
them: a waiting container, a pod that cannot be scheduled, a failing readiness probe. Where only some pods
are not ready it says so as a fact.

## Why it matters
Pods that are not ready get no requests: a client of the cluster IP is refused the connection, an Envoy
answers 503 with flag UH.

## How to prove it
`kubectl get pods -n NAMESPACE -l SELECTOR` shows 0/1 under READY; the EndpointSlice has `ready: false`.

## How to fix it
Read the reason: an image that cannot be pulled, a crash (look at `kubectl logs --previous`), a readiness
probe that asks the wrong port or path.

## What it does not report
Services with `publishNotReadyAddresses`, pods that files only imply, and pods that have finished.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.core import is_assumed, is_ready, pods_of, selector_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import prove_pods, prove_selector


@rule(
    "KG103", "pods-not-ready", Severity.ERROR, needs=(kinds.SERVICE, kinds.POD), about=(kinds.SERVICE,)
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Service with pods that are not ready."""
    for service in scope.all(world, kinds.SERVICE):
        if service.get("spec.publishNotReadyAddresses") is True:
            continue
        pods = [pod for pod in pods_of(world, service) if not is_assumed(pod)]
        waiting = [pod for pod in pods if not is_ready(pod)]
        if not waiting:
            continue
        none_left = len(waiting) == len(pods)
        first = waiting[0]
        why = reason_of(first)
        message = (
            f"none of its {len(pods)} pods is ready: {first.name}: {why}; "
            "connections are refused (503 UH through an Envoy)"
            if none_left
            else f"{len(pods) - len(waiting)} of {len(pods)} pods are ready; {first.name}: {why}"
        )
        yield self.finding(
            service.ref,
            message,
            severity=Severity.ERROR if none_left else Severity.INFO,
            evidence=[service.evidence("spec.selector"), first.evidence("status.conditions")],
            fix=_fix(first, why),
            verify=[
                prove_selector(service),
                prove_pods(service.namespace, selector_of(service), first.name),
                commands.get(
                    kinds.POD, first.namespace, first.name,
                    jsonpath='.status.conditions[?(@.type=="Ready")].status',
                    expect="not True", match=Match.LACKS, value="True",
                ),
            ],
        )  # fmt: skip


def reason_of(pod: Obj) -> str:
    """Why a pod is not ready, in the cluster's own words."""
    if pod.get("metadata.deletionTimestamp"):
        return "it is being deleted"
    for status in (*pod.maps("status.initContainerStatuses"), *pod.maps("status.containerStatuses")):
        state = status.get("state")
        waiting = state.get("waiting") if isinstance(state, dict) else None
        if isinstance(waiting, dict) and waiting.get("reason") not in (None, "PodInitializing"):
            return f"container {status.get('name')} is waiting: {waiting['reason']}"
        ended = state.get("terminated") if isinstance(state, dict) else None
        if isinstance(ended, dict) and ended.get("exitCode"):
            return f"container {status.get('name')} ended with exit code {ended['exitCode']}"
    for condition in pod.maps("status.conditions"):
        if condition.get("type") in ("PodScheduled", "Ready") and condition.get("status") != "True":
            words = condition.get("message") or condition.get("reason") or "its Ready condition is not True"
            return " ".join(str(words).split())[:160]
    return "its Ready condition is not True"


def _fix(pod: Obj, why: str) -> str:
    where = f"-n {pod.namespace} {pod.name}"
    if "ImagePull" in why or "ErrImage" in why:
        return f"correct the image of pod {pod.name}: kubectl describe pod {where} says which pull failed"
    if "CrashLoop" in why or "exit code" in why:
        return f"read why it ends: kubectl logs {where} --previous"
    return f"read the pod's events: kubectl describe pod {where}"
