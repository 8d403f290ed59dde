"""A DestinationRule: for which host and whose requests, with which subsets, what it hides or is hidden by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kgdiag.dialects.istio.destination_rules import choose, export_of, host_of
from kgdiag.dialects.istio.mesh import Mesh, mesh_of
from kgdiag.dialects.istio.registry import Service
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft
from kgdiag.explain.words import absent, count, labels_text, listed, many, named, readiness
from kgdiag.graph.core import cluster_name, pods_of
from kgdiag.graph.labels import subset_of
from kgdiag.graph.world import Missing
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.rules.istio import services_named

KINDS = (kinds.DESTINATION_RULE,)


def describe(context: Context, rule: Obj, draft: Draft) -> None:
    """Fill the draft for a DestinationRule."""
    world, mesh = context.world, mesh_of(context.world)
    host = host_of(mesh, rule)
    if host.startswith("*"):
        world.all(kinds.POD, optional=True)  # one list, where rules ask for the pods of each Service
    services = [] if host.startswith("*") else services_named(world, mesh, host)
    whom = clients(mesh, rule)
    draft.summary = f"destination rule {rule.name} is for {_target(context, host, services)}; " + "; ".join(
        [f"it applies to {whom}", *_settings(rule)]
    )
    _subsets(context, rule, services, draft)
    _choices(context, mesh, rule, services, draft)
    draft.relate(context, context.into(rule), "up", look=False)
    draft.relate(context, context.out(rule), "down", look=len(services) > 0)
    draft.prove(proof.shows(rule, "spec.host"), proof.shows(rule, "spec.exportTo"))
    draft.prove(proof.shows(rule, "spec.trafficPolicy.tls"))
    for at, subset in enumerate(rule.maps("spec.subsets")[:4]):
        draft.prove(proof.shows(rule, f"spec.subsets[{at}].labels"))
        labels = subset.get("labels")
        for service in services[:1]:
            wanted = {
                **service.obj.mapping("spec.selector"),
                **(labels if isinstance(labels, Mapping) else {}),
            }
            if service.obj.kind == kinds.SERVICE and wanted:
                pods = world.select(kinds.POD, service.namespace, wanted)
                draft.prove(proof.pods(service.namespace, wanted, pods))


def _target(context: Context, host: str, services: list[Service]) -> str:
    if not host:
        return "no host"
    if host.startswith("*"):
        return f"every host in {host}"
    if services:
        return (
            f"{services[0].obj.ref} ({host})"
            if services[0].obj.kind != kinds.SERVICE
            else str(services[0].obj.ref)
        )
    known = cluster_name(host)
    missing = context.world.missing(kinds.SERVICE, known[1], known[0]) if known else Missing.GONE
    if known and missing is not Missing.GONE:
        return f"Service {known[1]}/{known[0]} ({absent(missing)})"
    return f"{host}, which no Service or ServiceEntry has"


def clients(mesh: Mesh, rule: Obj) -> str:
    """Whose requests a rule is for. Source: istio push_context.go destinationRule."""
    selector = rule.mapping("spec.workloadSelector.matchLabels")
    if selector:
        return f"requests of pods with {labels_text(selector)} in {rule.namespace}"
    export = export_of(rule) or frozenset(mesh.destination_rule_export_to)
    if export <= {".", rule.namespace}:
        return f"requests from namespace {rule.namespace} only"
    if "*" in export:
        return "requests from everywhere in the mesh, unless the client's namespace has a rule of its own"
    return f"requests from {listed(sorted(export))}"


def _settings(rule: Obj) -> list[str]:
    policy = rule.mapping("spec.trafficPolicy")
    found = []
    tls = policy.get("tls")
    if isinstance(tls, Mapping):
        mode = str(tls.get("mode") or "DISABLE (no mode is set)")
        found.append(f"clients speak {mode}")
    balancer = policy.get("loadBalancer")
    if isinstance(balancer, Mapping):
        how = balancer.get("simple") or next(iter(balancer), "")
        found.append(f"load balancing {how}")
    others = [key for key in policy if key not in ("tls", "loadBalancer")]
    if others:
        found.append(f"it sets {listed(sorted(others))}")
    subsets = rule.maps("spec.subsets")
    if subsets:
        found.append(f"{many(len(subsets), 'subset')} {listed(str(item.get('name')) for item in subsets)}")
    return found


def _subsets(context: Context, rule: Obj, services: list[Service], draft: Draft) -> None:
    rows = []
    for item in rule.maps("spec.subsets"):
        labels = item.get("labels")
        wanted: Mapping[str, Any] = labels if isinstance(labels, Mapping) else {}
        policy = item.get("trafficPolicy")
        extra = f"own policy: {listed(sorted(policy))}" if isinstance(policy, Mapping) else "-"
        rows.append(
            (str(item.get("name")), labels_text(wanted) or "all", _pods(context, services, wanted), extra)
        )
    draft.table("Subsets", ("subset", "labels", "pods", "settings"), rows)


def _pods(context: Context, services: list[Service], labels: Mapping[str, Any]) -> str:
    if not services or services[0].obj.kind != kinds.SERVICE:
        return "-"
    pods = [pod for pod in pods_of(context.world, services[0].obj) if subset_of(labels, pod.labels)]
    return f"{count(len(pods), 'pod')}, {readiness(pods)}" if pods else "no pod: requests get 503"


def _choices(context: Context, mesh: Mesh, rule: Obj, services: list[Service], draft: Draft) -> None:
    """Which rule clients of the two namespaces that matter take, where it is another one, and what loses."""
    if not services:
        return
    service = services[0]
    rows: list[tuple[str, str, str]] = []
    for client in dict.fromkeys((rule.namespace, service.namespace)):
        choice = choose(context.world, mesh, service, client, {})
        if choice.rule is None:
            continue
        taken = [obj.ref for obj in choice.rule.objs]
        mine = rule.ref in taken
        merged = [named(ref) for ref in taken if ref != rule.ref]
        words = "this one" if mine else f"DestinationRule {listed(map(named, taken))}"
        if mine and merged:
            words += f", merged with {listed(merged)}"
        lost = next((item.reason for item in choice.losers if item.ref == rule.ref), "")
        losers = [named(item.ref) for item in choice.losers if item.ref != rule.ref]
        why = f"this one loses: {lost}" if lost else f"hides {listed(losers)}" if mine and losers else "-"
        rows.append((client, words, why))
    draft.table("Which rule clients take", ("clients in", "rule", "why"), rows)
