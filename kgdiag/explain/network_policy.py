"""A NetworkPolicy: the pods it isolates and what it lets through, if the network plugin enforces it.

Source: kubernetes.io/docs/concepts/services-networking/network-policies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft
from kgdiag.explain.words import count, labels_text, listed, pods_text, seen
from kgdiag.graph.labels import matches
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

KINDS = (kinds.NETWORK_POLICY,)


def describe(context: Context, policy: Obj, draft: Draft) -> None:
    """Fill the draft for a NetworkPolicy."""
    world, selector = context.world, policy.mapping("spec.podSelector")
    labels = policy.mapping("spec.podSelector.matchLabels")
    found = world.select(kinds.POD, policy.namespace, {str(key): str(val) for key, val in labels.items()})
    pods = [pod for pod in found if matches(selector, pod.labels)]
    whom = _selector(selector) or "all pods"
    directions = types(policy)
    gap = "" if pods else seen(world, kinds.POD, policy.namespace)
    draft.summary = (
        f"network policy {policy.name} isolates {whom} of {policy.namespace}: {pods_text(pods)}{gap}; "
        + "; ".join(_direction(policy, item) for item in directions)
        + " (if the network plugin enforces policies)"
    )
    for item in directions:
        draft.table(f"{item} allowed", ("peer", "pods' ports"), list(_rows(policy, item)))
    for pod in pods:
        draft.link(context, "applies-to", pod.ref)
    others = [
        other
        for other in world.all(kinds.NETWORK_POLICY, policy.namespace, optional=True)
        if other.ref != policy.ref and pods and matches(other.mapping("spec.podSelector"), pods[0].labels)
    ]
    if others:
        draft.note(
            f"what any of its neighbours allows is allowed too: {listed(item.name for item in others)}"
        )
    draft.note("ports are the pods' own, after the Service's translation; answers need no rule")
    draft.prove(proof.shows(policy, "spec.podSelector"))
    if labels and not selector.get("matchExpressions"):
        draft.prove(proof.pods(policy.namespace, labels, found))
    for item in directions:
        draft.prove(proof.shows(policy, f"spec.{item.lower()}"))


def types(policy: Obj) -> list[str]:
    """The directions that a policy isolates: Ingress always unless it says otherwise, Egress with rules."""
    given = [str(item) for item in policy.items("spec.policyTypes")]
    return given or (["Ingress", "Egress"] if policy.items("spec.egress") else ["Ingress"])


def _direction(policy: Obj, item: str) -> str:
    rules = policy.maps(f"spec.{item.lower()}")
    way = "into them" if item == "Ingress" else "out of them"
    if not rules:
        return f"it lets nothing {way}"
    if any(not rule for rule in policy.items(f"spec.{item.lower()}")):
        return f"it lets everything {way}"
    return f"it lets through {count(len(rules), 'rule')} {way}"


def _rows(policy: Obj, item: str) -> Iterator[tuple[str, str]]:
    key = "from" if item == "Ingress" else "to"
    rules = policy.maps(f"spec.{item.lower()}")
    if not rules:
        yield "nobody", "none"
    for rule in rules:
        peers = [peer for peer in rule.get(key) or () if isinstance(peer, Mapping)]
        ports = [port for port in rule.get("ports") or () if isinstance(port, Mapping)]
        for peer in peers or [{}]:
            yield _peer(peer, policy.namespace), _ports(ports)


def _peer(peer: Mapping[str, Any], namespace: str) -> str:
    if not peer:
        return "everybody"
    block = peer.get("ipBlock")
    if isinstance(block, Mapping):
        out = f" without {listed(map(str, block['except']))}" if block.get("except") else ""
        return f"addresses {block.get('cidr')}{out}"
    pods, spaces = peer.get("podSelector"), peer.get("namespaceSelector")
    who = (_selector(pods) or "all pods") if isinstance(pods, Mapping) else "all pods"
    if isinstance(spaces, Mapping):
        return f"{who} in " + (
            f"namespaces with {labels}" if (labels := _selector(spaces)[10:]) else "all namespaces"
        )
    return f"{who} of {namespace}"


def _selector(selector: Mapping[str, Any]) -> str:
    """``pods with app=web``, "" for everything."""
    parts = []
    labels = selector.get("matchLabels")
    if isinstance(labels, Mapping) and labels:
        parts.append(labels_text(labels))
    for item in selector.get("matchExpressions") or ():
        if isinstance(item, Mapping):
            values = f" ({', '.join(map(str, item['values']))})" if item.get("values") else ""
            parts.append(f"{item.get('key')} {item.get('operator')}{values}")
    return f"pods with {' and '.join(parts)}" if parts else ""


def _ports(ports: Sequence[Mapping[str, Any]]) -> str:
    words = []
    for port in ports:
        end = f"-{port['endPort']}" if port.get("endPort") else ""
        protocol = f"/{port['protocol']}" if port.get("protocol", "TCP") != "TCP" else ""
        words.append(f"{port.get('port', 'all')}{end}{protocol}")
    return listed(words, 8) or "all"
