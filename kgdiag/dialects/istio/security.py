"""PeerAuthentication, RequestAuthentication and AuthorizationPolicy, lowered to verdicts on one request.

Sources: istio pilot/pkg/security/authn/policy_applier.go (ComposePeerAuthentication,
convertToEnvoyJwtConfig), pilot/pkg/security/authz/builder/builder.go, pilot/pkg/model/authorization.go,
policyattachment.go; what an AuthorizationPolicy's rules mean is in ``authorization.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from kgdiag.dialects.istio import authorization as authz
from kgdiag.dialects.istio import jwt
from kgdiag.dialects.istio.mesh import Mesh, is_gateway_pod, is_waypoint
from kgdiag.graph import labels
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import FilterRequest, HttpFilter, Origin, Ruling, Verdict
from kgdiag.model.ref import Ref

STRICT, PERMISSIVE, DISABLE = "STRICT", "PERMISSIVE", "DISABLE"
_GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"

# order of the filters in a chain
_JWT, _CUSTOM, _DENY, _ALLOW = range(4)


# -- PeerAuthentication --------------------------------------------------------------------------------


def peer_mode(world: World, mesh: Mesh, pod: Obj, port: int) -> tuple[str, Origin | None]:
    """The mTLS mode that a workload demands on one of its ports, and the policy that says so.

    ``port`` is the port of the pod, never of a Service. Without any policy the mode is PERMISSIVE.
    """
    policies = _peer_policies(world, mesh, pod.namespace)
    mesh_wide = _oldest(
        one for one in policies if one.namespace == mesh.root_namespace and not _selector(one)
    )
    namespaced = _oldest(
        one for one in policies if one.namespace != mesh.root_namespace and not _selector(one)
    )
    workload = _oldest(
        one
        for one in policies
        if one.namespace != mesh.root_namespace
        and _selector(one)
        and labels.subset_of(_selector(one), pod.labels)
    )
    mode, origin = PERMISSIVE, None
    for policy in (mesh_wide, namespaced, workload):
        if policy is not None and (found := _mode(policy.mapping("spec.mtls"))):
            mode, origin = found, _origin(policy, "spec.mtls.mode", found)
    if workload is not None:
        per_port = workload.mapping("spec.portLevelMtls")
        for key, value in per_port.items():
            found = _mode(value) if isinstance(value, Mapping) else None
            if str(key) == str(port) and found:
                part = f"spec.portLevelMtls['{key}'].mode"
                return found, _origin(workload, part, found)
    return mode, origin


def namespace_mode(world: World, mesh: Mesh, namespace: str) -> tuple[str | None, Origin | None]:
    """The mode of the namespace or the mesh alone, None where no policy says: what clients go by first.

    Source: istio pilot/pkg/model/push_context.go BestEffortInferServiceMTLSMode.
    """
    policies = [one for one in _peer_policies(world, mesh, namespace) if not _selector(one)]
    mesh_wide = _oldest(one for one in policies if one.namespace == mesh.root_namespace)
    mode: str | None = None
    origin: Origin | None = None
    if mesh_wide is not None:
        mode = _mode(mesh_wide.mapping("spec.mtls")) or PERMISSIVE
        origin = _origin(mesh_wide, "spec.mtls.mode", mode)
    own = _oldest(one for one in policies if one.namespace != mesh.root_namespace)
    if own is not None:
        found = _mode(own.mapping("spec.mtls"))
        mode = found or mode or PERMISSIVE
        origin = _origin(own, "spec.mtls.mode", mode) if found or origin is None else origin
    return mode, origin


def _peer_policies(world: World, mesh: Mesh, namespace: str) -> list[Obj]:
    return _policies(world, mesh, kinds.PEER_AUTHENTICATION, namespace)


def _policies(world: World, mesh: Mesh, kind: Kind, namespace: str) -> list[Obj]:
    """A kind's policies of the root and of one namespace, oldest first."""
    found = list(world.all(kind, mesh.root_namespace))
    if namespace != mesh.root_namespace:
        found += world.all(kind, namespace)
    return sorted(found, key=lambda one: one.age_key)


def _oldest(policies: Iterable[Obj]) -> Obj | None:
    return next(iter(policies), None)


def _selector(policy: Obj) -> Mapping[str, Any]:
    return policy.mapping("spec.selector.matchLabels")


def _mode(mtls: Mapping[str, Any]) -> str | None:
    mode = str(mtls.get("mode") or "UNSET")
    return mode if mode in (STRICT, PERMISSIVE, DISABLE) else None


def _origin(policy: Obj, part: str, value: Any = ...) -> Origin:
    return Origin(policy.ref, part, (policy.evidence(part, value),))


# -- filters of a chain --------------------------------------------------------------------------------


def filters(
    world: World, mesh: Mesh, pod: Obj, *, port: int | None, gateway: Ref | None = None
) -> tuple[HttpFilter, ...]:
    """What judges requests (and, on TCP chains, connections) that a workload's proxy accepts.

    ``port`` is the pod's port where it is one chain's, None where one chain serves many: the request's own
    ``local_port`` decides then. ``gateway`` is the Gateway API Gateway that the pod serves, whose policies
    may be attached by ``targetRefs``.
    """
    found = list(_unreadable(world, mesh, pod))
    tokens = _attached(world, mesh, pod, kinds.REQUEST_AUTHENTICATION, gateway)
    policies = _attached(world, mesh, pod, kinds.AUTHORIZATION_POLICY, gateway)
    rules = [(one, at, rule) for one in tokens for at, rule in enumerate(one.maps("spec.jwtRules"))]
    if rules:
        found.append(HttpFilter("jwt", partial(jwt.judge, rules), _whole(rules[0][0]), _JWT))
    place = authz.Place(
        mesh=mesh, address=pod.text("status.podIP") or None, tokens=jwt.locations(rules), port=port,
        sidecar=not _is_edge(pod, gateway),
    )  # fmt: skip
    custom = [one for one in policies if _action(one) == "CUSTOM"]
    if custom:
        found.append(
            HttpFilter("ext_authz", partial(_judge_custom, place, custom), _whole(custom[0]), _CUSTOM)
        )
    deny = [one for one in policies if _action(one) == "DENY" and not _dry_run(one)]
    if deny:
        found.append(HttpFilter("rbac", partial(_judge_deny, place, deny), _whole(deny[0]), _DENY))
    allow = [one for one in policies if _action(one) == "ALLOW" and not _dry_run(one)]
    if allow:
        found.append(HttpFilter("rbac", partial(_judge_allow, place, allow), _whole(allow[0]), _ALLOW))
    return tuple(sorted(found, key=lambda one: one.stage))


def attached_policies(world: World, mesh: Mesh, pod: Obj, gateway: Ref | None = None) -> list[Obj]:
    """The AuthorizationPolicies that apply to a workload, root namespace first, oldest first."""
    return _attached(world, mesh, pod, kinds.AUTHORIZATION_POLICY, gateway)


def _is_edge(pod: Obj, gateway: Ref | None) -> bool:
    return gateway is not None or is_gateway_pod(pod)


def _whole(policy: Obj) -> Origin:
    return Origin(policy.ref, "spec")


def _action(policy: Obj) -> str:
    return policy.text("spec.action", "ALLOW")


def _dry_run(policy: Obj) -> bool:
    return policy.annotations.get("istio.io/dry-run", "").lower() in ("1", "t", "true")


def _attached(world: World, mesh: Mesh, pod: Obj, kind: Kind, gateway: Ref | None) -> list[Obj]:
    found = _policies(world, mesh, kind, pod.namespace)
    ordered = sorted(found, key=lambda one: one.namespace != mesh.root_namespace)
    return [one for one in ordered if _attaches(mesh, pod, one, gateway)]


def _attaches(mesh: Mesh, pod: Obj, policy: Obj, gateway: Ref | None) -> bool:
    """Whether a policy of the root or the pod's namespace is attached to the pod's proxy."""
    targets = policy.maps("spec.targetRefs") or (
        [policy.mapping("spec.targetRef")] if policy.mapping("spec.targetRef") else []
    )
    name = gateway.name if gateway else pod.labels.get(_GATEWAY_LABEL)
    if name is None:
        return not targets and labels.subset_of(_selector(policy), pod.labels)
    if not targets:
        by_selector = mesh.switch("ENABLE_SELECTOR_BASED_K8S_GATEWAY_POLICY", True)
        return not is_waypoint(pod) and by_selector and labels.subset_of(_selector(policy), pod.labels)
    return any(_targets(mesh, pod, policy, target, str(name)) for target in targets)


def _targets(mesh: Mesh, pod: Obj, policy: Obj, target: Mapping[str, Any], gateway: str) -> bool:
    group, kind, name = (str(target.get(key) or "") for key in ("group", "kind", "name"))
    if kind == "GatewayClass" and is_waypoint(pod):
        return policy.namespace == mesh.root_namespace and name == "istio-waypoint"
    if policy.namespace != pod.namespace or str(target.get("namespace") or pod.namespace) != pod.namespace:
        return False
    return group == kinds.GATEWAY.group and kind == "Gateway" and name == gateway


def _unreadable(world: World, mesh: Mesh, pod: Obj) -> Iterable[HttpFilter]:
    """A filter that says "unknown" where policies could not be read: not seen is not fine."""
    for kind in (kinds.REQUEST_AUTHENTICATION, kinds.AUTHORIZATION_POLICY):
        for namespace in dict.fromkeys((mesh.root_namespace, pod.namespace)):
            if not world.readable(kind, namespace):
                yield undecided(f"{kind.name}s of namespace {namespace} could not be read")


def undecided(reason: str) -> HttpFilter:
    """A filter that cannot say."""
    return HttpFilter("unread", partial(_constant, Ruling(Verdict.UNKNOWN, reason, status=None)), None, _JWT)


def _constant(ruling: Ruling, _request: FilterRequest) -> Ruling:
    return ruling


# -- verdicts ------------------------------------------------------------------------------------------


def _denied(request: FilterRequest, reason: str, policy: Obj, part: str) -> Ruling:
    return Ruling(
        Verdict.DENY,
        reason,
        403 if request.http else None,
        Origin(policy.ref, part),
        evidence=(policy.evidence(part),),
    )


def _judge_deny(place: authz.Place, policies: Sequence[Obj], request: FilterRequest) -> Ruling:
    doubts: list[tuple[authz.Rule, authz.Outcome]] = []
    for rule in authz.rules(place, policies, request.http, allow=False):
        outcome = rule.judge(request)
        if outcome.holds:
            return _denied(request, f"{rule.title} denies: {outcome.text}", rule.policy, rule.part)
        if outcome.holds is None:
            doubts.append((rule, outcome))
    if doubts:
        return _unknown(doubts, "would deny")
    return Ruling(Verdict.ALLOW, "no DENY policy matches", None)


def _judge_allow(place: authz.Place, policies: Sequence[Obj], request: FilterRequest) -> Ruling:
    doubts: list[tuple[authz.Rule, authz.Outcome]] = []
    failed: list[tuple[authz.Rule, authz.Outcome]] = []
    for rule in authz.rules(place, policies, request.http, allow=True):
        outcome = rule.judge(request)
        if outcome.holds:
            origin = Origin(rule.policy.ref, rule.part)
            return Ruling(Verdict.ALLOW, f"{rule.title} allows: {outcome.text}", None, origin)
        (doubts if outcome.holds is None else failed).append((rule, outcome))
    if doubts:
        return _unknown(doubts, "allows, and nothing else does,")
    return _nothing_allows(place, policies, failed, request)


def _nothing_allows(
    place: authz.Place,
    policies: Sequence[Obj],
    failed: Sequence[tuple[authz.Rule, authz.Outcome]],
    request: FilterRequest,
) -> Ruling:
    """Why nothing allows the request: the policy without rules, or the rule that came nearest."""
    empty = [one for one in policies if not one.items("spec.rules")]
    nearest = min(failed, key=lambda one: one[1].misses, default=None)
    miss = f"; the nearest, {nearest[0].title}, fails on {nearest[1].text}" if nearest else ""
    if empty:
        policy = empty[0]
        root = ", root namespace" if policy.namespace == place.mesh.root_namespace else ""
        reason = (
            f"{policy.ref} allows nothing (ALLOW without rules{root}) and no other ALLOW policy matches{miss}"
        )
        return _denied(request, reason, policy, "spec")
    policy = nearest[0].policy if nearest else policies[0]
    names = ", ".join(dict.fromkeys(str(one.ref) for one in policies))
    if nearest is None:
        reason = f"{names} applies, and none of its rules can hold on a TCP connection: nothing is allowed"
    else:
        reason = f"no rule of the ALLOW policies ({names}) matches{miss}"
    return _denied(request, reason, policy, nearest[0].part if nearest else "spec.rules")


def _unknown(doubts: Sequence[tuple[authz.Rule, authz.Outcome]], what: str) -> Ruling:
    rule, outcome = doubts[0]
    return Ruling(
        Verdict.UNKNOWN,
        f"{rule.title} {what} if {outcome.text}",
        None,
        Origin(rule.policy.ref, rule.part),
        evidence=(rule.policy.evidence(rule.part),),
    )


def _judge_custom(place: authz.Place, policies: Sequence[Obj], request: FilterRequest) -> Ruling:
    """CUSTOM: an external authorizer decides where a rule matches; a provider that is not there denies."""
    mesh = place.mesh
    providers = dict.fromkeys(one.text("spec.provider.name") for one in policies)
    several = len(providers) > 1 and not mesh.switch("PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS", False)
    doubts: list[tuple[authz.Rule, authz.Outcome]] = []
    for rule in authz.rules(place, policies, request.http, allow=False):
        name = rule.policy.text("spec.provider.name")
        known = name in mesh.extension_providers
        if known and not several and not request.http and _http_only(mesh, name):
            continue
        outcome = rule.judge(request)
        if outcome.holds is False:
            continue
        if outcome.holds is None:
            doubts.append((rule, outcome))
        elif several or (not known and mesh.raw):
            why = (
                f"several providers ({', '.join(providers)}) on one workload"
                if several
                else f"provider {name} is not among meshConfig.extensionProviders"
            )
            return _denied(
                request, f"{rule.title} matches, and {why}: denied", rule.policy, "spec.provider.name"
            )
        else:
            return Ruling(
                Verdict.UNKNOWN,
                f"{rule.title} matches: the external authorizer {name} decides",
                None,
                Origin(rule.policy.ref, rule.part),
                evidence=(rule.policy.evidence("spec.provider.name"),),
            )
    if doubts:
        return _unknown(doubts, "asks its external authorizer")
    return Ruling(Verdict.ALLOW, "no CUSTOM policy matches", None)


def _http_only(mesh: Mesh, name: str) -> bool:
    providers = mesh.raw.get("extensionProviders")
    for one in providers if isinstance(providers, list) else ():
        if isinstance(one, Mapping) and one.get("name") == name:
            return "envoyExtAuthzHttp" in one
    return False
