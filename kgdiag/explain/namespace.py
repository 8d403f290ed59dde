"""A namespace: is it in the mesh, which policies are in force there, which Gateways take its routes."""

from __future__ import annotations

from collections.abc import Iterator

from kgdiag.dialects.gateway_api.spec import listeners_of
from kgdiag.dialects.istio.mesh import Mesh, discovered, is_gateway_pod, is_proxy, mesh_of
from kgdiag.dialects.istio.security import namespace_mode
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft
from kgdiag.explain.pod import policy_words
from kgdiag.explain.words import count, listed, named, readiness
from kgdiag.graph.labels import subset_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Match
from kgdiag.model.obj import Obj

KINDS = (kinds.NAMESPACE,)
_POLICIES = (
    kinds.PEER_AUTHENTICATION, kinds.AUTHORIZATION_POLICY, kinds.REQUEST_AUTHENTICATION, kinds.SIDECAR,
    kinds.NETWORK_POLICY,
)  # fmt: skip
_LABELS = (
    "istio-injection", "istio.io/rev", "istio.io/dataplane-mode", "istio.io/use-waypoint",
    "maistra.io/member-of", "pod-security.kubernetes.io/enforce",
)  # fmt: skip


def describe(context: Context, namespace: Obj, draft: Draft) -> None:
    """Fill the draft for a namespace."""
    world, name = context.world, namespace.name
    mesh = mesh_of(world)
    pods = world.all(kinds.POD, name)
    services = world.all(kinds.SERVICE, name)
    draft.summary = "; ".join(
        [
            f"namespace {name}: {membership(world, mesh, namespace)}",
            *_running(pods, services),
            *_mtls(world, mesh, name),
        ]
    )
    draft.table(
        "Labels that matter", ("label", "value"),
        [(key, str(namespace.labels[key])) for key in _LABELS if key in namespace.labels],
    )  # fmt: skip
    draft.table(
        "Policies in force", ("kind", "name", "for", "what it says"), list(_policies(world, mesh, name, pods))
    )
    draft.table(
        "Gateways that take its routes", ("Gateway", "listeners", "why"), list(_gateways(context, namespace))
    )
    for linked in context.into(namespace, of=frozenset((kinds.REFERENCE_GRANT, kinds.MESH_MEMBER_ROLL))):
        draft.link(context, linked.relation.inverse, linked.other, linked.link.detail, "up", look=False)
    for service in services:
        draft.link(context, "has", service.ref, service.text("spec.type", "ClusterIP"), "own", look=False)
    draft.prove(
        *(proof.shows(namespace, f"metadata.labels['{key}']") for key in _LABELS if key in namespace.labels)
    )
    if not namespace.labels.get("istio-injection"):
        draft.prove(
            commands.get(
                kinds.NAMESPACE, "", name, jsonpath=".metadata.labels.istio-injection",
                expect="nothing: the label is not set", match=Match.EQUALS, value="",
            )
        )  # fmt: skip
    if pods:
        draft.prove(
            commands.get(
                kinds.POD, name, names_only=True, expect=count(len(pods), "pod"), match=Match.LINES,
                value=str(len(pods)),
            )
        )  # fmt: skip


def membership(world: World, mesh: Mesh, namespace: Obj) -> str:
    """What the labels of a namespace make of new pods, in words.

    Source: istio.io/docs/setup/additional-setup/sidecar-injection: istio-injection wins over istio.io/rev.
    """
    labels = namespace.labels
    if not discovered(world, mesh, namespace.name):
        return "it is no part of the mesh (the member roll or discoverySelectors leave it out)"
    injection, revision = labels.get("istio-injection"), labels.get("istio.io/rev")
    if injection == "enabled":
        ignored = f" (istio.io/rev={revision} is ignored)" if revision else ""
        return f"new pods get a sidecar{ignored}"
    if injection is not None:
        return f"new pods get no sidecar (istio-injection={injection})"
    if revision:
        return f"new pods get a sidecar of revision {revision}"
    if labels.get("istio.io/dataplane-mode") == "ambient":
        waypoint = labels.get("istio.io/use-waypoint")
        return "its pods are in the ambient mesh" + (f", behind waypoint {waypoint}" if waypoint else "")
    if mesh.members is not None:
        return "it is a member of the mesh: pods that ask for it get a sidecar"
    return "new pods get no sidecar unless they ask for one"


def _running(pods: list[Obj], services: list[Obj]) -> Iterator[str]:
    sidecars = sum(is_proxy(pod) and not is_gateway_pod(pod) for pod in pods)
    gateways = sum(is_gateway_pod(pod) for pod in pods)
    words = f"{count(len(pods), 'pod')}" + (f" ({readiness(pods)})" if pods else "")
    words += f", {sidecars} with a sidecar" if sidecars else ""
    words += f", {gateways} of Istio gateways" if gateways else ""
    yield f"{words}, {count(len(services), 'Service')}"


def _mtls(world: World, mesh: Mesh, name: str) -> Iterator[str]:
    mode, origin = namespace_mode(world, mesh, name)
    if mode is not None and origin is not None:
        yield f"mTLS {mode} by {origin.ref}"


def _policies(world: World, mesh: Mesh, name: str, pods: list[Obj]) -> Iterator[tuple[str, str, str, str]]:
    for kind in _POLICIES:
        places = [name]
        if kind != kinds.NETWORK_POLICY and mesh.root_namespace != name:
            places.insert(0, mesh.root_namespace)
        for place in places:
            for policy in world.all(kind, place, optional=True):
                whom = _whom(policy)
                if place != name and (whom != "all" and kind == kinds.PEER_AUTHENTICATION):
                    continue
                if place != name and whom != "all" and not _any_pod(policy, pods):
                    continue
                scope = "the whole mesh" if place == mesh.root_namespace and whom == "all" else whom
                yield kind.name, named(policy.ref), scope, policy_words(policy)


def _any_pod(policy: Obj, pods: list[Obj]) -> bool:
    """Whether a policy of the root namespace with a selector is for one of these pods."""
    labels = policy.mapping("spec.selector.matchLabels") or policy.mapping("spec.workloadSelector.labels")
    return any(subset_of(labels, pod.labels) for pod in pods)


def _whom(policy: Obj) -> str:
    for path in ("spec.selector.matchLabels", "spec.workloadSelector.labels", "spec.podSelector.matchLabels"):
        labels = policy.mapping(path)
        if labels:
            return listed((f"{key}={value}" for key, value in labels.items()), 4)
    targets = policy.maps("spec.targetRefs")
    return listed(f"{item.get('kind')} {item.get('name')}" for item in targets) if targets else "all"


def _gateways(context: Context, namespace: Obj) -> Iterator[tuple[str, str, str]]:
    world = context.world
    for gateway in world.all(kinds.GATEWAY, optional=True):
        found = [item for item in listeners_of(world, gateway) if item.allows(world, namespace.name)]
        if found:
            why = sorted({item.namespaces_from for item in found})
            words = {"Same": "it lies here", "All": "it takes routes of all namespaces",
                     "Selector": "its labels match"}  # fmt: skip
            yield (
                named(gateway.ref),
                listed((item.name for item in found), 4),
                listed(words.get(item, item) for item in why),
            )
