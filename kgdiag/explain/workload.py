"""A Deployment, StatefulSet, DaemonSet or ReplicaSet: its pods, how they are, who leads to them."""

from __future__ import annotations

from kgdiag.dialects.core import owners
from kgdiag.dialects.istio.mesh import has_sidecar, is_proxy
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft, conditions, pod_trouble
from kgdiag.explain.fronts import front_of
from kgdiag.explain.pod import ports_to, role, under
from kgdiag.explain.service import listeners_table
from kgdiag.explain.words import count, listed, many, named, readiness, seen
from kgdiag.graph.core import is_assumed, is_ready, services_of
from kgdiag.graph.labels import matches
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

KINDS = (kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.REPLICA_SET)
_SHOWN = 8


def describe(context: Context, workload: Obj, draft: Draft) -> None:
    """Fill the draft for a workload."""
    world, selector = context.world, workload.mapping("spec.selector")
    labels = workload.mapping("spec.selector.matchLabels")
    found = world.select(kinds.POD, workload.namespace, labels) if labels else []
    pods = [pod for pod in found if matches(selector, pod.labels)]
    draft.summary = _summary(context, workload, pods)
    draft.table(
        "Pods", ("pod", "state", "node"),
        [
            (pod.name, "ready" if is_ready(pod) else f"not ready: {pod_trouble(pod)}",
             pod.text("spec.nodeName", "assumed from the template" if is_assumed(pod) else "-"))
            for pod in pods[:_SHOWN]
        ],
    )  # fmt: skip
    for link in owners(workload):
        draft.link(context, "owned-by", link.target, "", "up", look=False)
    if pods:
        first = pods[0]
        front = front_of(world, first)
        services = services_of(world, first)
        draft.table(
            "Services that lead to its pods", ("Service", "port → pod's port"),
            [(named(item.ref), ports_to(first, item)) for item in services],
        )  # fmt: skip
        if front is not None:
            listeners_table([front], draft, "Listeners of its pods")
            for gateway in front.gateways:
                draft.link(context, "programmed-by", gateway, "", "up", look=False)
        for service in services:
            draft.link(context, "selected-by", service.ref, ports_to(first, service), "up", look=False)
        under(context, first, draft)
        draft.prove(*(proof.shows(item, "spec.selector") for item in services[:4]))
    for pod in pods:
        draft.link(context, "runs", pod.ref)
    bad = [row for row in conditions(workload) if row[1].startswith("False") or row[0] == "ReplicaFailure"]
    draft.table("Conditions", ("condition", "status", "reason", "message"), bad)
    draft.verify[:0] = [
        command
        for command in (
            proof.shows(workload, "status.readyReplicas"),
            proof.shows(workload, "status.numberReady"),
            proof.pods(workload.namespace, labels, found) if labels else None,
        )
        if command is not None
    ]


def _summary(context: Context, workload: Obj, pods: list[Obj]) -> str:
    kind, world = workload.kind.name, context.world
    wanted = workload.get("spec.replicas", 1) if workload.kind != kinds.DAEMON_SET else None
    if not pods:
        if wanted == 0:
            return f"{kind} {workload.name} is scaled to 0: it has no pods"
        return f"{kind} {workload.name} has no pod{seen(world, kinds.POD, workload.namespace)}"
    services = services_of(world, pods[0])
    led = (
        f"{count(len(services), 'Service')} {'lead' if len(services) > 1 else 'leads'} to "
        f"{'it' if len(pods) == 1 else 'them'}"
        + (f": {listed(item.name for item in services)}" if services else "")
    )
    what = role(context, pods[0], front_of(world, pods[0]))
    if len(pods) > 1:
        what = f"of each: {what}"
    mixed = {is_proxy(pod) or has_sidecar(world, pod) for pod in pods}
    if len(mixed) > 1:
        without = sum(not is_proxy(pod) for pod in pods)
        what += f" ({without} of {len(pods)} {many(len(pods), 'pod')} without a sidecar)"
    return f"{kind} {workload.name} runs {count(len(pods), 'pod')} ({readiness(pods)}); {what}; {led}"
