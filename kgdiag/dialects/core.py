"""How the built-in kinds relate: Services, pods, workloads, NetworkPolicies, names that lead elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kgdiag.dialects.base import Dialect
from kgdiag.graph.core import addresses, cluster_name, pods_of, service_ports, services_of
from kgdiag.graph.labels import matches
from kgdiag.graph.relations import Link, Relation
from kgdiag.graph.world import World, kind_of
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref

WORKLOADS = (kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.DAEMON_SET)


def _selects(world: World, service: Obj) -> Iterator[Link]:
    for pod in pods_of(world, service):
        yield Link(pod.ref, "spec.selector")


def _leads_to(world: World, service: Obj) -> Iterator[Link]:
    """An ExternalName that is another Service's DNS name."""
    if service.text("spec.type") != "ExternalName":
        return
    host = service.text("spec.externalName")
    named = cluster_name(host.rstrip("."))
    if named:
        yield Link(Ref("", "Service", named[1], named[0]), "spec.externalName", f"ExternalName {host}")


def _by_hand(world: World, service: Obj) -> Iterator[Link]:
    """Pods of endpoints that no selector makes."""
    if service.mapping("spec.selector") or service.text("spec.type") == "ExternalName":
        return
    seen: dict[Ref, None] = {}
    for port in service_ports(service):
        for address in addresses(world, service, port):
            if address.pod:
                seen.setdefault(address.pod)
    for pod in seen:
        yield Link(pod, "endpoints", "an endpoint without a selector")


def _owned(world: World, obj: Obj) -> Iterator[Link]:
    yield from owners(obj)


def owners(obj: Obj) -> Iterator[Link]:
    """The owner references of an object."""
    for index, owner in enumerate(obj.maps("metadata.ownerReferences")):
        group = str(owner.get("apiVersion") or "").rpartition("/")[0]
        kind, name = str(owner.get("kind") or ""), str(owner.get("name") or "")
        if kind and name:
            yield Link(owner_ref(group, kind, obj.namespace, name), f"metadata.ownerReferences[{index}]")


def owner_ref(group: str, kind: str, namespace: str, name: str) -> Ref:
    """Who an owner reference names: an object of the same namespace, or one that has none."""
    known = kind_of(Ref(group, kind, namespace, name))
    everywhere = (known is not None and not known.namespaced) or kind in ("Node", "APIService")
    return Ref(group, kind, "" if everywhere else namespace, name)


def _runs(world: World, workload: Obj) -> Iterator[Link]:
    labels = workload.mapping("spec.selector.matchLabels")
    if not labels:
        return
    for pod in world.select(kinds.POD, workload.namespace, labels):
        yield Link(pod.ref, "spec.selector.matchLabels")


def _workloads_of(kind: Kind) -> Callable[[World, Obj], Iterable[Obj]]:
    def sources(world: World, pod: Obj) -> Iterable[Obj]:
        return [
            item
            for item in world.all(kind, pod.namespace)
            if matches(item.mapping("spec.selector"), pod.labels) and item.mapping("spec.selector")
        ]

    return sources


def _applies(world: World, policy: Obj) -> Iterator[Link]:
    labels = policy.mapping("spec.podSelector.matchLabels")
    for pod in world.select(kinds.POD, policy.namespace, labels):
        if matches(policy.mapping("spec.podSelector"), pod.labels):
            yield Link(pod.ref, "spec.podSelector")


def _policies_of(world: World, pod: Obj) -> Iterable[Obj]:
    return world.all(kinds.NETWORK_POLICY, pod.namespace, optional=True)


def _runs_relation(kind: Kind) -> Relation:
    return Relation("runs", "run-by", kind, (kinds.POD,), _runs, _workloads_of(kind))


RELATIONS = (
    Relation("selects", "selected-by", kinds.SERVICE, (kinds.POD,), _selects, services_of),
    Relation("has-endpoint", "endpoint-of", kinds.SERVICE, (kinds.POD,), _by_hand, lambda world, pod: ()),
    Relation("leads-to", "alias", kinds.SERVICE, (kinds.SERVICE,), _leads_to),
    *(_runs_relation(kind) for kind in WORKLOADS),
    Relation(
        "applies-to",
        "restricted-by",
        kinds.NETWORK_POLICY,
        (kinds.POD,),
        _applies,
        _policies_of,
        optional=True,
    ),
)

DIALECT = Dialect("kubernetes", relations=RELATIONS)
