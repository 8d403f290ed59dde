"""Policies that implementations attach to Gateways and routes by target references.

Source: gateway-api apis/v1/policy_types.go and GEP-713; envoyproxy/gateway api/v1alpha1/policy_helpers.go and
kgateway-dev/kgateway api/v1alpha1/shared_types.go have the same shape of references.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from kgdiag.dialects.gateway_api.spec import GROUP, ListenerSpec, order_key
from kgdiag.graph.labels import matches
from kgdiag.graph.world import World
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import FilterRequest, HttpFilter, Origin, Ruling, Verdict


def _targets(policy: Obj) -> Iterator[Mapping[str, Any]]:
    yield from policy.maps("spec.targetRefs")
    single = policy.mapping("spec.targetRef")
    if single:
        yield single


def _names(policy: Obj, target: Obj, section: str) -> bool:
    """Whether a policy names an object as a whole (``section`` "") or one section of it."""
    for ref in _targets(policy):
        named = (ref.get("group", GROUP), ref.get("kind"), ref.get("name"))
        if named == (*target.kind.key, target.name) and str(ref.get("sectionName") or "") == section:
            return True
    if section:
        return False
    for selector in policy.maps("spec.targetSelectors"):
        kind = (selector.get("group", GROUP), selector.get("kind"))
        if kind == target.kind.key and matches(selector, target.labels):
            return True
    return False


def applied(
    world: World,
    kind: Kind,
    listener: ListenerSpec,
    route: Obj | None = None,
    rule: str = "",
    *,
    merged: bool = False,
) -> list[Obj]:
    """The policies of a kind that apply to a rule of a route on a listener, the most specific first: that
    one alone, unless it says that the next is merged into it, or ``merged`` says it of all."""
    levels: list[tuple[Obj, str]] = []
    if route is not None:
        levels += [(route, rule)] if rule else []
        levels.append((route, ""))
    levels += [(listener.gateway, listener.name), (listener.gateway, "")]
    found: list[Obj] = []
    for target, section in levels:
        policies = sorted(world.all(kind, target.namespace), key=order_key)
        policy = next((item for item in policies if _names(item, target, section)), None)
        if policy is None or policy in found:
            continue
        found.append(policy)
        if not merged and not policy.text("spec.mergeType"):
            break
    return found


def unread(world: World, kinds: Iterable[Kind], namespaces: Iterable[str]) -> Iterator[HttpFilter]:
    """A filter that says "unknown" for each kind of policy that could not be read."""
    for kind in kinds:
        for namespace in dict.fromkeys(namespaces):
            if not world.readable(kind, namespace):
                reason = f"the {kind.name} objects of {namespace} could not be read"
                yield HttpFilter(kind.name, partial(fixed, Ruling(Verdict.UNKNOWN, reason)))


def fixed(ruling: Ruling, _request: FilterRequest) -> Ruling:
    return ruling


def origin_of(policy: Obj, part: str) -> Origin:
    return Origin(policy.ref, part, (policy.evidence(part),))


def setting(policies: Iterable[Obj], part: str) -> tuple[Obj, Mapping[str, Any]] | None:
    """The first policy that has a setting, with the setting."""
    for policy in policies:
        value = policy.mapping(part)
        if value:
            return policy, value
    return None
