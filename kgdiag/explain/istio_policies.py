"""Istio's policies (PeerAuthentication, AuthorizationPolicy, …): for which workloads, saying what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kgdiag.dialects.istio.mesh import Mesh, has_sidecar, is_proxy, mesh_of
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft
from kgdiag.explain.pod import policy_words
from kgdiag.explain.words import count, labels_text, listed, many, pods_text, seen
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

KINDS = (
    kinds.PEER_AUTHENTICATION, kinds.AUTHORIZATION_POLICY, kinds.REQUEST_AUTHENTICATION, kinds.SIDECAR,
    kinds.ENVOY_FILTER,
)  # fmt: skip
_TITLES = {
    "PeerAuthentication": "peer authentication",
    "AuthorizationPolicy": "authorization policy",
    "RequestAuthentication": "request authentication",
    "Sidecar": "sidecar",
    "EnvoyFilter": "Envoy filter",
}


def describe(context: Context, policy: Obj, draft: Draft) -> None:
    """Fill the draft for a policy of Istio."""
    world, mesh = context.world, mesh_of(context.world)
    pods, where = _workloads(world, mesh, policy)
    title = f"{_TITLES[policy.kind.name]} {policy.name}"
    draft.summary = f"{title}: {policy_words(policy)}; for {where}" + _which(world, policy, pods)
    _rules(policy, draft)
    for pod in pods or ():
        draft.link(
            context, "applies-to", pod.ref, "" if _proxied(world, pod) else "no proxy: it has no effect"
        )
    draft.relate(context, [link for link in context.out(policy) if link.other.kind != "Pod"], "down")
    if policy.kind == kinds.PEER_AUTHENTICATION:
        draft.note(
            "it says what these workloads accept; what their clients send is decided by DestinationRules "
            "and, without one, by whether the endpoint has a proxy"
        )
    if policy.kind == kinds.AUTHORIZATION_POLICY:
        _order(context, policy, pods, draft)
    if policy.kind == kinds.REQUEST_AUTHENTICATION:
        draft.note("requests without a token pass; an AuthorizationPolicy with requestPrincipals demands one")
    draft.prove(proof.shows(policy, "spec.selector"), proof.shows(policy, "spec.workloadSelector"))
    for path in (
        "spec.mtls.mode",
        "spec.action",
        "spec.rules",
        "spec.jwtRules",
        "spec.egress",
        "spec.targetRefs",
    ):
        draft.prove(proof.shows(policy, path, expect="" if path in _SHORT else "as written"))
    labels = selector_of(policy)
    if labels:
        space = None if _everywhere(mesh, policy) else policy.namespace
        draft.prove(proof.pods(space, labels, world.select(kinds.POD, space, labels)))
    if not draft.verify:
        draft.prove(proof.exists(policy.kind, policy.namespace, policy.name))


_SHORT = ("spec.mtls.mode", "spec.action")


def selector_of(policy: Obj) -> dict[str, str]:
    """The labels of the workloads that a policy is for."""
    found = policy.mapping("spec.selector.matchLabels") or policy.mapping("spec.workloadSelector.labels")
    return {str(key): str(value) for key, value in found.items()}


def _everywhere(mesh: Mesh, policy: Obj) -> bool:
    """Whether the policy's selector looks at all namespaces; PeerAuthentications with one never do."""
    return policy.namespace == mesh.root_namespace and policy.kind != kinds.PEER_AUTHENTICATION


def _workloads(world: World, mesh: Mesh, policy: Obj) -> tuple[list[Obj] | None, str]:
    """(pods, words); None where they are too many to be read: the whole mesh."""
    targets = policy.maps("spec.targetRefs") or [policy.mapping("spec.targetRef")]
    named = [f"{item.get('kind')} {item.get('name')}" for item in targets if item.get("name")]
    if named:
        return None, listed(named)
    labels = selector_of(policy)
    if not labels:
        if policy.namespace == mesh.root_namespace:
            return None, f"the whole mesh ({policy.namespace} is its root namespace)"
        return world.all(kinds.POD, policy.namespace), f"all workloads of namespace {policy.namespace}"
    if _everywhere(mesh, policy):
        return (
            world.select(kinds.POD, None, labels),
            f"workloads with {labels_text(labels)} in all namespaces "
            f"({policy.namespace} is the root namespace)",
        )
    found = world.select(kinds.POD, policy.namespace, labels)
    return found, f"workloads with {labels_text(labels)} in {policy.namespace}"


def _proxied(world: World, pod: Obj) -> bool:
    return is_proxy(pod) or has_sidecar(world, pod)


def _which(world: World, policy: Obj, pods: Sequence[Obj] | None) -> str:
    if pods is None:
        return ""
    if not pods:
        return f", which is no pod{seen(world, kinds.POD, policy.namespace)}"
    bare = [pod for pod in pods if not _proxied(world, pod)]
    words = f": {pods_text(pods)}"
    if bare:
        has = many(len(bare), "has")
        words += f"; {len(bare)} of {count(len(pods), 'pod')} {has} no proxy, where it does nothing"
    return words


def _rules(policy: Obj, draft: Draft) -> None:
    match policy.kind.name:
        case "AuthorizationPolicy":
            action = policy.text("spec.action", "ALLOW")
            rows = [
                (f"{at}", *(_any(part) for part in _rule(rule)))
                for at, rule in enumerate(policy.maps("spec.rules"))
            ]
            draft.table(f"{action} where one rule holds", ("#", "from", "to", "when"), rows)
            if not rows and action == "ALLOW":
                draft.note(
                    "an ALLOW policy without rules allows nothing: only other ALLOW policies let through"
                )
        case "PeerAuthentication":
            rows = [("all other ports", policy.text("spec.mtls.mode", "as inherited"))]
            ports = policy.mapping("spec.portLevelMtls")
            rows += [
                (f"port {port}", str(value.get("mode") or "as inherited"))
                for port, value in sorted(ports.items(), key=lambda item: str(item[0]))
                if isinstance(value, Mapping)
            ]
            draft.table("mTLS", ("pods' port", "mode"), rows)
        case "RequestAuthentication":
            rows = []
            for rule in policy.maps("spec.jwtRules"):
                places = [
                    str(item.get("name")) for item in rule.get("fromHeaders") or () if isinstance(item, dict)
                ]
                places += [f"?{item}" for item in rule.get("fromParams") or ()]
                keys = str(
                    rule.get("jwksUri") or ("in the policy" if rule.get("jwks") else "found by the issuer")
                )
                rows.append((str(rule.get("issuer")), keys, listed(places) or "Authorization: Bearer"))
            draft.table("Tokens", ("issuer", "keys", "looked for in"), rows)
        case "Sidecar":
            rows = []
            for egress in policy.maps("spec.egress"):
                port = egress.get("port")
                number = port.get("number") if isinstance(port, Mapping) else None
                hosts = [str(host) for host in egress.get("hosts") or ()]
                rows.append((str(number or "all ports"), listed(hosts, 8)))
            draft.table("What its proxies know", ("port", "hosts (namespace/host)"), rows)
            mode = policy.text("spec.outboundTrafficPolicy.mode")
            if mode:
                draft.note(f"all other destinations: {mode}")
        case "EnvoyFilter":
            rows = [
                (str(item.get("applyTo")), str((item.get("match") or {}).get("context") or "ANY"),
                 str((item.get("patch") or {}).get("operation")))
                for item in policy.maps("spec.configPatches")
            ]  # fmt: skip
            draft.table("Patches", ("applies to", "where", "how"), rows)


def _any(words: Iterator[str]) -> str:
    return " or ".join(words) or "any"


def _rule(rule: Mapping[str, Any]) -> tuple[Iterator[str], Iterator[str], Iterator[str]]:
    """The parts of a rule in words: sources, operations, conditions."""
    return (
        _sides(rule.get("from"), "source"),
        _sides(rule.get("to"), "operation"),
        _whens(rule.get("when")),
    )


def _sides(entries: Any, key: str) -> Iterator[str]:
    for entry in entries if isinstance(entries, list) else ():
        fields = entry.get(key) if isinstance(entry, Mapping) else None
        if isinstance(fields, Mapping):
            yield (
                " and ".join(
                    f"{_field(name)} {listed(map(str, values), 4)}"
                    for name, values in fields.items()
                    if isinstance(values, list) and values
                )
                or "any"
            )


def _field(name: str) -> str:
    """``notPaths`` reads "not paths"."""
    return f"not {name[3:4].lower()}{name[4:]}" if name.startswith("not") else name


def _whens(entries: Any) -> Iterator[str]:
    words = []
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping):
            for name, how in (("values", "is"), ("notValues", "is not")):
                if isinstance(entry.get(name), list):
                    words.append(f"{entry.get('key')} {how} {listed(map(str, entry[name]), 4)}")
    if words:
        yield " and ".join(words)


def _order(context: Context, policy: Obj, pods: Sequence[Obj] | None, draft: Draft) -> None:
    """The other AuthorizationPolicies on the first of its workloads: one denies, or none allows."""
    for pod in (pods or ())[:1]:
        others = [
            link.other
            for link in context.into(pod, of=frozenset((kinds.AUTHORIZATION_POLICY,)))
            if link.other != policy.ref
        ]
        if others:
            draft.note(
                f"on {pod.name} it stands beside {listed(f'{ref.namespace}/{ref.name}' for ref in others)}: "
                "CUSTOM and DENY come first; where ALLOW policies exist, one of them must let a request in"
            )
