"""Running rules over a World."""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model.finding import Finding
from kgdiag.model.read import Status
from kgdiag.model.ref import Ref
from kgdiag.model.report import Skipped
from kgdiag.rules.base import Rule, Scope


def run(world: World, rules: Iterable[Rule], scope: Scope) -> tuple[list[Finding], list[Skipped]]:
    """The findings of the rules in their one order, and the rules that could not be run.

    A rule is skipped where a kind that it needs could not be read. A rule that crashes is a fault of ours:
    it is listed as skipped, with the error, rather than taken for silence.
    """
    findings: dict[tuple[str, Ref, str], Finding] = {}
    skipped: list[Skipped] = []
    for item in rules:
        try:
            found = list(item.check(world, scope))
        except Exception as error:
            skipped.append(Skipped(item.id, f"crashed: {type(error).__name__}: {error}"))
            continue
        if reason := _unreadable(world, item, scope):
            skipped.append(Skipped(item.id, reason))
        for finding in found:
            findings.setdefault((finding.rule, finding.object, finding.message), finding)
    return sorted(findings.values(), key=lambda finding: finding.sort_key), skipped


def _unreadable(world: World, item: Rule, scope: Scope) -> str:
    namespaces = [None] if scope.namespaces is None else sorted(scope.namespaces)
    for kind in item.needs:
        for namespace in namespaces:
            status = world.status(kind, namespace)
            if status in (Status.FORBIDDEN, Status.FAILED):
                where = f" in namespace {namespace}" if namespace and kind.namespaced else ""
                return f"{kind.resource}{where} could not be read ({status})"
    return ""
