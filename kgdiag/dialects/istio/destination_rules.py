"""Which DestinationRule applies to a service for a client, and what it says of a port and subset.

Sources: istio pilot/pkg/model/push_context.go (destinationRule, setDestinationRules), destination_rule.go
(mergeDestinationRule), config.go (MostSpecificHostMatch), sidecar.go (DestinationRule);
pilot/pkg/networking/util/util.go (GetPortLevelTrafficPolicy, MergeSubsetTrafficPolicy);
pilot/pkg/xds/endpoints/mtls_checker.go (tlsModeForDestinationRule).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kgdiag.dialects.istio.hosts import specificity, subset_of
from kgdiag.dialects.istio.mesh import Mesh, in_scope, resolve_host
from kgdiag.dialects.istio.registry import Service
from kgdiag.graph import labels as selectors
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Excluded
from kgdiag.model.read import Origin as Source

_PRIVATE = frozenset({"."})


@dataclass(frozen=True, slots=True)
class Setting:
    """A part of a rule with where it stands: ``spec.subsets[1].trafficPolicy`` of one object."""

    obj: Obj
    part: str
    value: Mapping[str, Any]


@dataclass(slots=True)
class Rule:
    """DestinationRules of one host in one namespace, merged as istiod merges them."""

    host: str
    objs: list[Obj]
    export: frozenset[str]
    selector: Mapping[str, Any] | None
    policy: Setting | None
    subsets: list[Setting] = field(default_factory=list)

    def subset(self, name: str) -> Setting | None:
        return next((one for one in self.subsets if one.value.get("name") == name), None)

    @property
    def subset_names(self) -> list[str]:
        return [str(one.value.get("name") or "") for one in self.subsets]


@dataclass(frozen=True, slots=True)
class Choice:
    """The rule that applies, None where none does, and why every other candidate does not."""

    rule: Rule | None
    losers: tuple[Excluded, ...] = ()


def candidates(world: World, mesh: Mesh, client: str, service: str) -> list[Obj]:
    """Rules that could apply: of the client's, the service's and the root namespace (others never do).

    Files and snapshots are looked through whole, so that rules elsewhere can be named as losers.
    """
    if world.origin is not Source.LIVE:
        return in_scope(world, mesh, world.all(kinds.DESTINATION_RULE))
    namespaces = dict.fromkeys(one for one in (client, service, mesh.root_namespace) if one)
    found = [rule for one in namespaces for rule in world.all(kinds.DESTINATION_RULE, one)]
    return in_scope(world, mesh, found)


def choose(world: World, mesh: Mesh, service: Service, client: str, labels: Mapping[str, str]) -> Choice:
    """The DestinationRule that a proxy of namespace ``client`` with these labels uses for a service."""
    everyone = candidates(world, mesh, client, service.namespace)
    rule, place = _pick(mesh, everyone, service, client, labels)
    return Choice(rule, tuple(_losers(mesh, everyone, rule, place, service, client)))


def applied(
    world: World, mesh: Mesh, service: Service, client: str, labels: Mapping[str, str]
) -> Rule | None:
    """The rule of ``choose`` without its losers, for who asks of many services; found by namespace."""
    everyone = candidates(world, mesh, client, service.namespace)
    places = dict.fromkeys((client, service.namespace, mesh.root_namespace))

    def group() -> dict[str, list[Obj]]:
        found: dict[str, list[Obj]] = {}
        for one in everyone:
            found.setdefault(one.namespace, []).append(one)
        return found

    if world.origin is Source.LIVE:
        return _pick(mesh, everyone, service, client, labels)[0]
    by_namespace = world.memo(("destination rules by namespace", mesh.revision, mesh.control_plane), group)
    near = [one for place in places for one in by_namespace.get(place, ())]
    return _pick(mesh, near, service, client, labels)[0]


def _pick(
    mesh: Mesh, everyone: Sequence[Obj], service: Service, client: str, labels: Mapping[str, str]
) -> tuple[Rule | None, str]:
    root = mesh.root_namespace
    own = _of(everyone, client)
    local = own if client != root else [one for one in own if _private(mesh, one)]
    found = _most_specific(_merged(mesh, local), service.host)
    if found:
        return _for_labels(found, client, labels), "the client's namespace"
    for namespace, place in ((service.namespace, "the service's namespace"), (root, "the root namespace")):
        shown = [one for one in _of(everyone, namespace) if not _private(mesh, one)]
        found = [
            rule
            for rule in _most_specific(_merged(mesh, shown), service.host)
            if not rule.export or "*" in rule.export or client in rule.export
        ]
        if found:
            return _for_labels(found, client, labels), place
    return None, ""


def _of(everyone: Iterable[Obj], namespace: str) -> list[Obj]:
    """Rules of a namespace, those with a workloadSelector first, then oldest first."""
    found = [one for one in everyone if one.namespace == namespace]
    return sorted(found, key=lambda one: (_selector(one) is None, one.age_key))


def _selector(obj: Obj) -> Mapping[str, Any] | None:
    if obj.get("spec.workloadSelector") is None:
        return None
    return obj.mapping("spec.workloadSelector.matchLabels")


def export_of(obj: Obj) -> frozenset[str]:
    """``exportTo`` as written; a rule with a workloadSelector never leaves its namespace."""
    if _selector(obj) is not None:
        return _PRIVATE
    return frozenset(str(item) for item in obj.items("spec.exportTo"))


def _private(mesh: Mesh, obj: Obj) -> bool:
    export = export_of(obj)
    if not export:
        return "." in mesh.destination_rule_export_to
    return export in (_PRIVATE, frozenset({obj.namespace}))


def host_of(mesh: Mesh, obj: Obj) -> str:
    """The rule's host with a short name completed by the rule's own namespace."""
    return resolve_host(obj.text("spec.host"), obj.namespace, mesh.domain)


def _merged(mesh: Mesh, rules: Iterable[Obj]) -> dict[str, list[Rule]]:
    by_host: dict[str, list[Rule]] = {}
    enhanced = mesh.since(1, 21) and mesh.switch("ENABLE_ENHANCED_DESTINATIONRULE_MERGE", True)
    for obj in rules:
        host = host_of(mesh, obj)
        if not host:
            continue
        known = by_host.setdefault(host, [])
        if not known or _merge_into(known, obj, enhanced):
            known.append(_rule(host, obj))
    return by_host


def _rule(host: str, obj: Obj) -> Rule:
    return Rule(host, [obj], export_of(obj), _selector(obj), _policy(obj), _subsets(obj))


def _policy(obj: Obj) -> Setting | None:
    if obj.get("spec.trafficPolicy") is None:
        return None
    return Setting(obj, "spec.trafficPolicy", obj.mapping("spec.trafficPolicy"))


def _subsets(obj: Obj) -> list[Setting]:
    raw = obj.items("spec.subsets")
    return [
        Setting(obj, f"spec.subsets[{at}]", item) for at, item in enumerate(raw) if isinstance(item, Mapping)
    ]


def _merge_into(known: list[Rule], obj: Obj, enhanced: bool) -> bool:
    """Merge a rule into those of the same host; whether it also stands on its own."""
    export, selector = export_of(obj), _selector(obj)
    alone = True
    for rule in known:
        if enhanced:
            if export == rule.export:
                alone = False
            elif rule.export and export >= rule.export:
                alone = True
            else:
                alone = True
                continue
        both = selector is not None and rule.selector is not None
        neither = selector is None and rule.selector is None
        same = dict(selector or {}) == dict(rule.selector or {})
        if both and not same:
            alone = True
            continue
        if neither or (both and same):
            alone = False
        rule.objs.append(obj)
        names = set(rule.subset_names)
        rule.subsets.extend(one for one in _subsets(obj) if str(one.value.get("name") or "") not in names)
        rule.policy = rule.policy or _policy(obj)
    return alone


def _most_specific(rules: Mapping[str, list[Rule]], host: str) -> list[Rule]:
    fitting = [one for one in rules if subset_of(host, one)]
    return rules[min(fitting, key=specificity)] if fitting else []


def _for_labels(rules: Sequence[Rule], client: str, labels: Mapping[str, str]) -> Rule | None:
    """The rule whose workloadSelector selects the client, else the last without one."""
    for rule in rules:
        if (
            rule.selector is not None
            and rule.objs[0].namespace == client
            and selectors.subset_of(rule.selector, labels)
        ):
            return rule
    general = [rule for rule in rules if rule.selector is None]
    return general[-1] if general else None


# -- losers --------------------------------------------------------------------------------------------


def _losers(
    mesh: Mesh, everyone: Iterable[Obj], rule: Rule | None, place: str, service: Service, client: str
) -> Iterable[Excluded]:
    taken = {obj.ref for obj in rule.objs} if rule else set()
    for obj in everyone:
        if obj.ref in taken:
            continue
        found = _reason(mesh, obj, rule, place, service, client)
        if found:
            reason, part, nearness = found
            yield Excluded(obj.ref, part, reason, nearness)


def _reason(
    mesh: Mesh, obj: Obj, rule: Rule | None, place: str, service: Service, client: str
) -> tuple[str, str, int] | None:
    host, written = host_of(mesh, obj), obj.text("spec.host")
    if not subset_of(service.host, host):
        return _host_differs(written, host, service)
    if obj.namespace not in (client, service.namespace, mesh.root_namespace):
        return (
            f"it lies in namespace {obj.namespace}; only rules of the client's ({client}), the service's "
            f"({service.namespace}) and the root namespace ({mesh.root_namespace}) apply",
            "metadata.namespace",
            2,
        )
    if _selector(obj) is not None and (obj.namespace != client or rule is None or host == rule.host):
        return "its workloadSelector does not select the client", "spec.workloadSelector", 1
    export = export_of(obj)
    if obj.namespace != client and export and not export & {"*", client}:
        return f"exportTo {', '.join(sorted(export))} does not name namespace {client}", "spec.exportTo", 1
    if rule is None:
        return None
    winner = rule.objs[0]
    if obj.namespace != winner.namespace:
        return f"{winner.ref} of {place} is taken, and rules of other places are not looked at", "", 3
    if host != rule.host:
        return (
            f"host {written} is less specific than {rule.host} of {winner.ref}, which hides it entirely: "
            "rules of different hosts are not merged",
            "spec.host",
            1,
        )
    return f"{winner.ref} of the same host is taken", "spec.host", 2


def _host_differs(written: str, host: str, service: Service) -> tuple[str, str, int] | None:
    """Rules that were perhaps meant for this service: the same first label, another host."""
    if (
        host.startswith("*")
        or not service.kubernetes
        or host.partition(".")[0] != service.host.partition(".")[0]
    ):
        return None
    shown = f"{written}, which is {host}," if written != host else host
    return f"host {shown} is not {service.host}", "spec.host", 2


# -- what the rule says --------------------------------------------------------------------------------


def _for_port(setting: Setting | None, port: int) -> tuple[Setting | None, bool]:
    """The policy of a port: ``portLevelSettings`` replaces the whole policy. Whether it did."""
    if setting is None:
        return None, False
    for at, raw in enumerate(setting.value.get("portLevelSettings") or ()):
        if isinstance(raw, Mapping) and _port_number(raw) == port:
            return Setting(setting.obj, f"{setting.part}.portLevelSettings[{at}]", raw), True
    return setting, False


def _port_number(raw: Mapping[str, Any]) -> int | None:
    port = raw.get("port")
    number = port.get("number") if isinstance(port, Mapping) else None
    return number if isinstance(number, int) else None


def _subset_policy(subset: Setting | None) -> Setting | None:
    policy = subset.value.get("trafficPolicy") if subset else None
    return (
        Setting(subset.obj, f"{subset.part}.trafficPolicy", policy)
        if subset and isinstance(policy, Mapping)
        else None
    )


def _field(setting: Setting | None, name: str) -> Setting | None:
    value = setting.value.get(name) if setting else None
    return (
        Setting(setting.obj, f"{setting.part}.{name}", value)
        if setting and isinstance(value, Mapping)
        else None
    )


def setting_of(rule: Rule | None, port: int, subset: str, name: str) -> Setting | None:
    """One field of the traffic policy (``tls``, ``loadBalancer``) for a port and subset."""
    if rule is None:
        return None
    general = _field(_for_port(rule.policy, port)[0], name)
    policy = _subset_policy(rule.subset(subset)) if subset else None
    if policy is None:
        return general
    own, replaced = _for_port(policy, port)
    found = _field(own, name)
    return found if found or replaced else general


def endpoint_tls(rule: Rule | None, port: int, subset: str) -> str | None:
    """The TLS mode that endpoints are labelled by, None where each endpoint decides.

    Unlike the cluster's TLS, a ``portLevelSettings`` without ``tls`` leaves the general mode in place.
    """
    if rule is None:
        return None
    if not subset:
        return _endpoint_mode(rule.policy, port)
    chosen = rule.subset(subset)
    if chosen is None:
        return None
    return _endpoint_mode(_subset_policy(chosen), port) or _endpoint_mode(rule.policy, port)


def _endpoint_mode(policy: Setting | None, port: int) -> str | None:
    general = _field(policy, "tls")
    special, replaced = _for_port(policy, port)
    found = (_field(special, "tls") if replaced else None) or general
    return str(found.value.get("mode") or "DISABLE") if found else None
