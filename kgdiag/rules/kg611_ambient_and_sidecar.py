"""Workload between ambient mesh and sidecars

## What it finds
- Pods with a sidecar whose namespace or own label asks for the ambient mesh.
- `istio.io/use-waypoint` on a Namespace, Service or pods that are not in the ambient mesh.

## Why it matters
A pod with a sidecar is not captured by ztunnel and does not use a waypoint; a waypoint outside of the ambient
mesh is used by nobody there: its routes and policies do not apply.

## How to prove it
`kubectl get ns NAME --show-labels`; the pod's containers, and its annotation
`ambient.istio.io/redirection`.

## How to fix it
Remove the injection and restart the pods, or take the ambient label away.

## What it does not report
Gateways and waypoints. Namespaces whose labels are not known. Namespaces with both labels (KG607).
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import has_sidecar, is_proxy
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.ambient import MODE, USE_WAYPOINT, ambient, in_ambient
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.trace.network import workload


@rule(
    "KG611", "ambient-and-sidecar", Severity.WARNING, needs=(kinds.NAMESPACE, kinds.POD),
    about=(kinds.POD, kinds.SERVICE, kinds.NAMESPACE),
    equivalents=("KIA1312", "KIA1314", "KIA1315", "KIA1316"),
    reads=(kinds.SERVICE,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each workload, Namespace and Service."""
    yield from _sidecars(self, world, scope)
    for namespace in scope.all(world, kinds.NAMESPACE):
        value = namespace.labels.get(USE_WAYPOINT)
        if not value or value == "none" or ambient(world, namespace.name):
            continue
        if not any(in_ambient(world, pod) for pod in world.all(kinds.POD, namespace.name)):
            yield _unused(self, namespace, str(value))
    for service in scope.all(world, kinds.SERVICE):
        value = service.labels.get(USE_WAYPOINT)
        if not value or value == "none" or world.get(kinds.NAMESPACE, "", service.namespace) is None:
            continue
        pods = world.select(kinds.POD, service.namespace, service.mapping("spec.selector"))
        own = [pod for pod in pods if in_ambient(world, pod)]
        if not ambient(world, service.namespace) and not own and service.mapping("spec.selector"):
            yield _unused(self, service, str(value))


def _sidecars(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    done = set()
    for pod in scope.all(world, kinds.POD):
        asked = pod.labels.get(MODE) == "ambient"
        if not (asked or (ambient(world, pod.namespace) and pod.labels.get(MODE) != "none")):
            continue
        namespace = world.get(kinds.NAMESPACE, "", pod.namespace)
        both = namespace is not None and (
            namespace.labels.get("istio-injection") == "enabled" or "istio.io/rev" in namespace.labels
        )
        key = (pod.namespace, workload(pod))
        if key in done or (both and not asked) or not has_sidecar(world, pod):
            continue
        done.add(key)
        where = "its own label" if asked else f"the label of namespace {pod.namespace}"
        labelled = pod.labels.get("sidecar.istio.io/inject") == "true"
        code = "KIA1315" if asked and is_proxy(pod) else "KIA1314" if labelled and asked else "KIA1316"
        yield self.finding(
            pod.ref,
            f"{workload(pod)} has a sidecar, and {where} asks for the ambient mesh: it is not captured by "
            "ztunnel, and policies of a waypoint do not apply to it",
            evidence=[pod.evidence("metadata.labels")],
            fix=f"take the sidecar away (sidecar.istio.io/inject) and restart it, or label it {MODE}=none",
            equivalents=(code,),
            verify=[
                commands.get(
                    kinds.NAMESPACE, "", pod.namespace, jsonpath=r".metadata.labels.istio\.io/dataplane-mode",
                    expect="ambient", match=Match.EQUALS, value="ambient",
                )
                if not asked
                else commands.get(
                    kinds.POD, pod.namespace, labels={MODE: "ambient"}, names_only=True, expect="the pods",
                    match=Match.ANY,
                )
            ],
        )  # fmt: skip


def _unused(self: Rule, obj: Obj, waypoint: str) -> Finding:
    return self.finding(
        obj.ref,
        f"{USE_WAYPOINT} is {waypoint}, and {'it' if obj.kind == kinds.NAMESPACE else 'its pods'} "
        f"{'is' if obj.kind == kinds.NAMESPACE else 'are'} not in the ambient mesh: clients there do not use "
        "the waypoint",
        evidence=[obj.evidence("metadata.labels")],
        fix=f"kubectl label ns {obj.namespace or obj.name} {MODE}=ambient",
        equivalents=("KIA1312",),
        verify=[
            commands.get(
                obj.kind, obj.namespace, obj.name, jsonpath=r".metadata.labels.istio\.io/use-waypoint",
                expect=waypoint, match=Match.EQUALS, value=waypoint,
            )
        ],
    )  # fmt: skip
