"""Running rules over a World."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from kgdiag.graph.world import World
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.note import NoteCode
from kgdiag.model.read import Status
from kgdiag.model.ref import Ref
from kgdiag.model.report import Skipped
from kgdiag.rules.base import Rule, Scope
from kgdiag.rules.roots import to_roots

__all__ = ["findings_of", "run", "to_roots"]


def run(world: World, rules: Iterable[Rule], scope: Scope) -> tuple[list[Finding], list[Skipped]]:
    """The findings in their one order, one for each cause, and the rules that could not be run."""
    found, skipped = findings_of(world, rules, scope)
    return to_roots(found), skipped


def findings_of(world: World, rules: Iterable[Rule], scope: Scope) -> tuple[list[Finding], list[Skipped]]:
    """All findings of the rules, consequences beside their causes, and the rules that could not be run.

    A rule is skipped where a kind that it needs could not be read. A rule that crashes is a fault of ours:
    it is listed as skipped, with the error, rather than taken for silence.
    """
    rules = list(rules)
    if scope.namespaces is None and not scope.objects:
        # All that the rules surely need, in one round, before any of them looks at a half-read world.
        for kind in sorted({kind for item in rules for kind in item.needs}):
            world.all(kind)
        if world.lacking:
            return [], []
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
            sure = _sure(world, finding)
            findings.setdefault((sure.rule, sure.object, sure.message), sure)
    return list(findings.values()), skipped


def _sure(world: World, finding: Finding) -> Finding:
    """A finding that rests on an object that files have several of is a fact, no fault.

    Files that are not a whole cluster often hold alternatives (samples, overlays), of which one is applied.
    """
    if world.complete or finding.severity is Severity.INFO or not world.documents:
        return finding
    several = world.memo("objects that files have several of", lambda: _several(world))
    if several.isdisjoint({finding.object, *(item.object for item in finding.evidence)}):
        return finding
    return replace(finding, severity=Severity.INFO)


def _several(world: World) -> frozenset[Ref]:
    return frozenset(
        note.object
        for note in world.documents
        if note.code is NoteCode.DUPLICATE_OBJECT and note.object is not None
    )


def _unreadable(world: World, item: Rule, scope: Scope) -> str:
    namespaces = [None] if scope.namespaces is None else sorted(scope.namespaces)
    for kind in item.needs:
        for namespace in namespaces:
            status = world.status(kind, namespace)
            if status in (Status.FORBIDDEN, Status.FAILED):
                where = f" in namespace {namespace}" if namespace and kind.namespaced else ""
                return f"{kind.resource}{where} could not be read ({status})"
    return ""
