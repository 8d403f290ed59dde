"""What explainers share: the context they look at, the draft they write into, relations and readiness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kgdiag.dialects.base import Dialect
from kgdiag.graph import relations
from kgdiag.graph.core import is_ready
from kgdiag.graph.relations import Linked
from kgdiag.graph.world import Missing, World, kind_of
from kgdiag.model.explanation import Explanation, Relation, State, Table
from kgdiag.model.finding import Command, Finding, Severity
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Proxy
from kgdiag.model.read import Status
from kgdiag.model.ref import Ref

_STATES = {
    Missing.GONE: State.MISSING,
    Missing.NO_KIND: State.MISSING,
    Missing.NOT_IN_FILES: State.NOT_IN_FILES,
    Missing.UNREADABLE: State.UNREADABLE,
}

Direction = Literal["up", "down", "own"]


@dataclass(frozen=True, slots=True)
class Context:
    """The World and the dialects, with the questions that every explainer asks of them."""

    world: World
    dialects: tuple[Dialect, ...]

    def proxy_of(self, pod: Obj) -> Proxy | None:
        """The proxy that runs in a pod, None where it has none."""
        for dialect in self.dialects:
            if dialect.proxy_of is not None and (proxy := dialect.proxy_of(self.world, pod)):
                return proxy
        return None

    def state(self, ref: Ref, *, optional: bool = False) -> State:
        """Whether an object was seen. Kinds that kgdiag does not read count as seen: nothing is claimed."""
        kind = kind_of(ref)
        if kind is None or self.world.find(ref, optional=optional) is not None:
            return State.SEEN
        return _STATES[self.world.missing(kind, ref.namespace, ref.name)]

    def out(self, obj: Obj) -> list[Linked]:
        """What the object links to, of all dialects."""
        return list(relations.out_of(self.world, obj, self._relations()))

    def into(self, obj: Obj) -> list[Linked]:
        """What links to the object, of all dialects."""
        return list(relations.into(self.world, obj, self._relations()))

    def _relations(self) -> Iterable[relations.Relation]:
        return (relation for dialect in self.dialects for relation in dialect.relations)

    def findings_on(self, obj: Obj, concerns: Iterable[Ref]) -> list[Finding]:
        """The findings on the object and on what the explainer says concerns it."""
        from kgdiag.rules import catalogue
        from kgdiag.rules.base import Scope
        from kgdiag.rules.run import run

        objects = frozenset((obj.ref, *concerns))
        kinds = {(ref.group, ref.kind) for ref in objects}
        rules = [rule for rule in catalogue().values() if any(kind.key in kinds for kind in rule.about)]
        found, _ = run(self.world, rules, Scope(objects=objects))
        return found


@dataclass
class Draft:
    """An explanation being written. ``concerns`` are other objects whose findings belong here."""

    summary: str = ""
    tables: list[Table] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    verify: list[Command] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    concerns: list[Ref] = field(default_factory=list)

    def done(self, obj: Obj) -> Explanation:
        """The explanation, everything in a fixed order and nothing twice; what is broken is the summary."""
        findings = sorted(
            {item.identity: item for item in self.findings}.values(), key=lambda item: item.sort_key
        )
        broken = [item.message for item in findings if item.severity is Severity.ERROR]
        return Explanation(
            object=obj.ref,
            summary=broken[0] if broken else self.summary,
            tables=tuple(self.tables),
            relations=tuple(
                {(item.relation, item.object, item.detail): item for item in self.relations}.values()
            ),
            findings=tuple(findings),
            verify=tuple(dict.fromkeys(self.verify)),
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table; one without rows is left out."""
        made = tuple(tuple(str(cell) for cell in row) for row in rows)
        if made:
            self.tables.append(Table(title, tuple(columns), made))

    def relate(self, context: Context, links: Iterable[Linked], direction: Direction) -> None:
        """Add links as relations: ``down`` and ``own`` by their name, ``up`` by their inverse."""
        for linked in links:
            obj = context.world.find(linked.other)
            name = linked.relation.inverse if direction == "up" else linked.relation.name
            detail = "; ".join(part for part in (linked.link.detail, standing(obj)) if part)
            self.relations.append(
                Relation(name, linked.other, detail, direction, context.state(linked.other))
            )


def standing(obj: Obj | None) -> str:
    """In a word, how an object is: ready or not, for those that say so themselves."""
    if obj is None:
        return ""
    if obj.ref.kind == "Pod" and not obj.ref.group:
        return "ready" if is_ready(obj) else f"not ready: {pod_trouble(obj)}"
    if obj.ref.group == "apps":
        wanted, ready = obj.get("spec.replicas", 1), obj.get("status.readyReplicas", 0)
        return f"{ready}/{wanted} ready" if obj.mapping("status") else ""
    for condition in obj.maps("status.conditions"):
        if condition.get("type") == "Ready":
            reason = f": {condition.get('reason')}" if condition.get("reason") else ""
            return (
                "Ready" if condition.get("status") == "True" else f"Ready={condition.get('status')}{reason}"
            )
    return ""


def pod_trouble(pod: Obj) -> str:
    """Why a pod is not ready, as its own status has it."""
    for container in (*pod.maps("status.initContainerStatuses"), *pod.maps("status.containerStatuses")):
        state = container.get("state")
        waiting = state.get("waiting") if isinstance(state, dict) else None
        if isinstance(waiting, dict) and waiting.get("reason"):
            return f"container {container.get('name')} is waiting: {waiting['reason']}"
    for condition in pod.maps("status.conditions"):
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            return str(
                condition.get("message") or condition.get("reason") or "its Ready condition is not True"
            )
    return f"phase {pod.text('status.phase', 'unknown')}"


def readiness(pods: Sequence[Obj]) -> str:
    """``2/3 ready``."""
    return f"{sum(is_ready(pod) for pod in pods)}/{len(pods)} ready"


def conditions(obj: Obj) -> list[tuple[str, str, str, str]]:
    """(type, status, reason, message) of an object's conditions; those behind its spec are marked."""
    generation = obj.get("metadata.generation")
    rows = []
    for item in obj.maps("status.conditions"):
        observed = item.get("observedGeneration")
        stale = " (of an older generation)" if observed is not None and observed != generation else ""
        rows.append(
            (
                str(item.get("type") or ""),
                f"{item.get('status')}{stale}",
                str(item.get("reason") or ""),
                str(item.get("message") or ""),
            )
        )
    return rows


def unread(context: Context, kind: Kind, namespace: str | None = None) -> bool:
    """Whether a kind could not be read, so that nothing found means nothing."""
    return context.world.status(kind, namespace) in (Status.FORBIDDEN, Status.FAILED)
