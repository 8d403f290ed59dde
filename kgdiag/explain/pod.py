"""A pod: whose it is, who leads to it, what listens in it, which policies it is under."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kgdiag.dialects.core import owners
from kgdiag.dialects.istio import security
from kgdiag.dialects.istio.mesh import Mesh, has_sidecar, is_proxy, is_waypoint, mesh_of
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft, conditions, pod_trouble
from kgdiag.explain.fronts import Front, front_of
from kgdiag.explain.service import listeners_table
from kgdiag.explain.words import count, labels_text, listed, named, names, port_text
from kgdiag.graph.core import (
    ASSUMED,
    containers,
    is_assumed,
    is_ready,
    resolve_target,
    selector_of,
    service_ports,
    services_of,
)
from kgdiag.model import kinds
from kgdiag.model.finding import Command
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref

KINDS = (kinds.POD,)

POLICIES = (
    kinds.PEER_AUTHENTICATION, kinds.AUTHORIZATION_POLICY, kinds.REQUEST_AUTHENTICATION, kinds.SIDECAR,
    kinds.ENVOY_FILTER, kinds.NETWORK_POLICY,
)  # fmt: skip
_LEADING = (kinds.SERVICE, kinds.SERVICE_ENTRY)


def describe(context: Context, pod: Obj, draft: Draft) -> None:
    """Fill the draft for a pod."""
    world = context.world
    services = services_of(world, pod)
    front = front_of(world, pod)
    chain = _owners(context, pod)
    draft.summary = "; ".join(_summary(context, pod, front, chain, services))
    _containers(pod, services, draft)
    if front is not None:
        listeners_table([front], draft, "Listeners")
    if not is_ready(pod):
        rows = [row for row in conditions(pod) if not row[1].startswith("True")]
        draft.table("Conditions", ("condition", "status", "reason", "message"), rows)
    for ref in chain:
        draft.link(context, "owned-by", ref, "", "up", look=False)
    for service in services:
        draft.link(context, "selected-by", service.ref, ports_to(pod, service), "up", look=False)
    for gateway in front.gateways if front else ():
        draft.link(context, "programmed-by", gateway, "", "up", look=False)
    under(context, pod, draft)
    draft.prove(proof.ready(pod), proof.shows(pod, "metadata.labels"))
    draft.prove(*(proof.shows(service, "spec.selector") for service in services[:4]))
    if front is not None and front.dialect == "istio":
        draft.prove(*_listening(pod, front))


def _listening(pod: Obj, front: Front) -> Iterator[Command]:
    for port in sorted({item.port for item in front.openings if not item.lost})[:6]:
        yield proof.listens(pod, port, True)


def _summary(
    context: Context, pod: Obj, front: Front | None, chain: Sequence[Ref], services: Sequence[Obj]
) -> Iterator[str]:
    owner = f" of {chain[-1].kind} {chain[-1].name}" if chain else ""
    if is_assumed(pod):
        owner = f" of {pod.annotations[ASSUMED]} (assumed: files hold its template, not the pod)"
    how = "is ready" if is_ready(pod) else f"is not ready: {pod_trouble(pod)}"
    if pod.text("status.phase") in ("Succeeded", "Failed"):
        how = f"has finished ({pod.text('status.phase')})"
    yield f"pod {pod.name}{owner} {how}"
    yield role(context, pod, front)
    verb = "select" if len(services) > 1 else "selects"
    which = f": {listed((item.name for item in services), 4)}" if services else ""
    yield f"{count(len(services), 'Service')} {verb} it{which}"


def role(context: Context, pod: Obj, front: Front | None) -> str:
    """What of a gateway or mesh the pod is, in words."""
    if front is not None:
        maker = "an Istio gateway" if front.dialect == "istio" else "the data plane of a Gateway"
        ports = sorted({item.port for item in front.openings if not item.lost})
        where = f"listens on {listed(map(str, ports), 6)}" if ports else "no Gateway opens a port on it"
        if front.unknown:
            where = f"what it listens on is not known ({front.unknown})"
        whose = f" for {names(front.gateways)}" if front.gateways and ports else ""
        return f"it is {maker}: {where}{whose}"
    if pod.labels.get("app") == "ztunnel":
        return "it is the node proxy of the ambient mesh (ztunnel)"
    if is_waypoint(pod):
        return "it is a waypoint of the ambient mesh"
    if has_sidecar(context.world, pod):
        mesh = mesh_of(context.world, pod)
        return f"it has a sidecar, which takes {_mtls(context, mesh, pod)}"
    if pod.labels.get("istio.io/dataplane-mode") == "ambient" or (
        pod.annotations.get("ambient.istio.io/redirection") == "enabled"
    ):
        return "it is in the ambient mesh, without a sidecar"
    return "it has no sidecar"


def _mtls(context: Context, mesh: Mesh, pod: Obj) -> str:
    modes = {security.peer_mode(context.world, mesh, pod, port)[0] for port in ports_of(pod) or [0]}
    said = {
        security.STRICT: "mTLS only (STRICT)",
        security.PERMISSIVE: "mTLS and plaintext (PERMISSIVE)",
        security.DISABLE: "plaintext only (DISABLE)",
    }
    if len(modes) == 1:
        return said[modes.pop()]
    return "mTLS by port: " + ", ".join(
        f"{port} {security.peer_mode(context.world, mesh, pod, port)[0]}" for port in ports_of(pod)
    )


def ports_of(pod: Obj) -> list[int]:
    """The container ports of a pod, without those of its Istio proxy."""
    found = {
        declared["containerPort"]
        for item in containers(pod)
        if item.get("name") != "istio-proxy"
        for declared in item.get("ports") or ()
        if isinstance(declared, dict) and isinstance(declared.get("containerPort"), int)
    }
    return sorted(found)


def ports_to(pod: Obj, service: Obj) -> str:
    """``80 http → 8080``: the ports of a Service that end in the pod."""
    parts = []
    for port in service_ports(service):
        number = resolve_target(pod, port)
        parts.append(
            f"{port_text(port)} → {number if number is not None else f'{port.target}: no such port'}"
        )
    return ", ".join(parts)


def _containers(pod: Obj, services: Sequence[Obj], draft: Draft) -> None:
    states = {
        str(item.get("name")): item
        for key in ("status.containerStatuses", "status.initContainerStatuses")
        for item in pod.maps(key)
    }
    rows = []
    for item in containers(pod):
        name = str(item.get("name") or "")
        state = states.get(name)
        how = "" if state is None else "ready" if state.get("ready") else "not ready"
        restarts = state.get("restartCount") if state else None
        how += f", {count(restarts, 'restart')}" if isinstance(restarts, int) and restarts else ""
        ports = [
            f"{declared.get('containerPort')}" + (f" {declared['name']}" if declared.get("name") else "")
            for declared in item.get("ports") or ()
            if isinstance(declared, dict)
        ]
        rows.append((name, how or "-", ", ".join(ports) or "declares none", str(item.get("image") or "")))
    draft.table("Containers", ("container", "state", "ports", "image"), rows)
    draft.table(
        "Services that lead to it", ("Service", "port → pod's port", "selector"),
        [
            (named(item.ref), ports_to(pod, item), labels_text(selector_of(item)))
            for item in services
        ],
    )  # fmt: skip


def _owners(context: Context, pod: Obj) -> list[Ref]:
    """Who owns the pod, up to the Deployment."""
    chain: list[Ref] = []
    for link in owners(pod):
        chain.append(link.target)
        if link.target.kind == "ReplicaSet":
            replicas = context.world.get(kinds.REPLICA_SET, pod.namespace, link.target.name, optional=True)
            chain += [above.target for above in owners(replicas)] if replicas else []
    return chain


def under(context: Context, pod: Obj, draft: Draft) -> None:
    """The policies that are in force on a pod, as a table and as relations."""
    found = context.into(pod, of=frozenset(POLICIES))
    rows = []
    for linked in found:
        policy = context.world.find(linked.other, optional=True)
        words = policy_words(policy) if policy is not None else ""
        draft.link(context, linked.relation.inverse, linked.other, words, "up", look=False)
        rows.append((linked.other.kind, named(linked.other), words))
    if is_proxy(pod) or has_sidecar(context.world, pod):
        mesh = mesh_of(context.world, pod)
        root = mesh.root_namespace
        for kind in (*POLICIES[:4],):
            for policy in context.world.all(kind, root, optional=True) if pod.namespace != root else ():
                if policy.get("spec.selector") is None and policy.get("spec.workloadSelector") is None:
                    rows.append((kind.name, named(policy.ref), f"{policy_words(policy)} (whole mesh)"))
    draft.table("Policies in force", ("kind", "name", "what it says"), list(dict.fromkeys(rows)))


def policy_words(policy: Obj) -> str:
    """One line on what a policy says."""
    match policy.kind.name:
        case "PeerAuthentication":
            mode = policy.text("spec.mtls.mode", "unset")
            ports = policy.mapping("spec.portLevelMtls")
            extra = ", ".join(
                f"{port} {value.get('mode')}" for port, value in ports.items() if isinstance(value, dict)
            )
            return f"mTLS {mode}" + (f"; port {extra}" if extra else "")
        case "AuthorizationPolicy":
            action, rules = policy.text("spec.action", "ALLOW"), len(policy.maps("spec.rules"))
            if not rules:
                return {"ALLOW": "allows nothing", "DENY": "denies nothing"}.get(
                    action, f"{action}: no rules"
                )
            if any(not rule for rule in policy.maps("spec.rules")):
                return f"{action} everything"
            return f"{action}, {count(rules, 'rule')}"
        case "RequestAuthentication":
            issuers = [str(rule.get("issuer")) for rule in policy.maps("spec.jwtRules")]
            return f"verifies tokens of {listed(issuers)}" if issuers else "verifies no tokens"
        case "Sidecar":
            hosts = [str(host) for egress in policy.maps("spec.egress") for host in egress.get("hosts") or ()]
            return f"its proxies know only {listed(hosts, 5)}" if hosts else "egress as the mesh has it"
        case "NetworkPolicy":
            types = policy.items("spec.policyTypes") or ["Ingress"]
            return f"limits {listed(str(item).lower() for item in types)} (if enforced)"
        case "EnvoyFilter":
            return count(len(policy.maps("spec.configPatches")), "patch")
    return ""
