"""What explainers share: the context they look at, the draft they write into, relations and readiness."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from kgdiag.dialects.base import Dialect
from kgdiag.graph import relations
from kgdiag.graph.core import is_ready
from kgdiag.graph.relations import Linked
from kgdiag.graph.world import Missing, World, kind_of
from kgdiag.model import kinds
from kgdiag.model.explanation import Explanation, Relation, State, Table
from kgdiag.model.finding import Command, Finding, Severity
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Proxy
from kgdiag.model.read import Origin
from kgdiag.model.ref import Ref
from kgdiag.model.report import Skipped

_STATES = {
    Missing.GONE: State.MISSING,
    Missing.NO_KIND: State.MISSING,
    Missing.NOT_IN_FILES: State.NOT_IN_FILES,
    Missing.UNREADABLE: State.UNREADABLE,
}

Direction = Literal["up", "down", "own"]


@dataclass(frozen=True, slots=True)
class Context:
    """The World and the dialects, with the questions that every explainer asks of them.

    ``lean`` keeps rules that read more than the explainer did from doing so.
    """

    world: World
    dialects: tuple[Dialect, ...]
    lean: bool = False

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

    def into(
        self, obj: Obj, *, of: Collection[Kind] | None = None, without: Collection[Kind] = ()
    ) -> list[Linked]:
        """What links to the object, of all dialects; ``of`` narrows it to objects of these kinds.

        Who leads here is asked of whole kinds, which costs a request each.
        """
        wanted = [
            replace(relation, optional=True)
            for relation in self._relations()
            if (of is None or relation.source in of) and relation.source not in without
        ]
        return list(relations.into(self.world, obj, wanted))

    def named(self, obj: Obj, *names: str) -> list[Linked]:
        """What links to the object by relations of these names."""
        wanted = [replace(item, optional=True) for item in self._relations() if item.name in names]
        return list(relations.into(self.world, obj, wanted))

    def _relations(self) -> Iterable[relations.Relation]:
        return (relation for dialect in self.dialects for relation in dialect.relations)

    def findings_on(self, obj: Obj, concerns: Iterable[Ref]) -> tuple[list[Finding], list[Skipped]]:
        """The findings on the object and on what the explainer says concerns it, and the rules that could
        not be run."""
        from kgdiag.rules import catalogue
        from kgdiag.rules.base import Scope
        from kgdiag.rules.run import run

        objects = frozenset((obj.ref, *concerns))
        scope = Scope(objects=objects)
        about = {(ref.group, ref.kind) for ref in objects}
        files = self.world.origin is Origin.FILES
        rules = [
            rule
            for rule in catalogue().values()
            if any(kind.key in about for kind in rule.about) or (files and rule.id in _ON_DOCUMENTS)
        ]
        if not self.lean:
            return run(self.world, rules, scope)
        found, skipped = run(self.world, [item for item in rules if _basic(item.needs)], scope)
        if self.world.lacking:
            return found, skipped  # asked again, with what is lacking
        unread: list[str] = []
        for item in rules:
            if _basic(item.needs):
                continue
            with self.world.only_read() as lacking:
                more, said = run(self.world, [item], scope)
            if lacking:
                unread.append(item.id)
            else:
                found, skipped = [*found, *more], [*skipped, *said]
        if unread:
            reason = f"it takes reading more: kgdiag check {obj.kind.plural}/{obj.name}"
            reason += f" -n {obj.namespace}" if obj.namespace else ""
            skipped.append(Skipped(", ".join(unread), reason))
        return found, skipped


_ON_DOCUMENTS = frozenset(("KG001", "KG002", "KG003"))  # rules on files, whatever kind they hold
_BASIC = frozenset((kinds.SERVICE, kinds.POD, kinds.ISTIO_GATEWAY))


def _basic(needs: Iterable[Kind]) -> bool:
    """Whether a rule reads no more than what a Service leads to."""
    return _BASIC.issuperset(needs)


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
        """The explanation, everything in a fixed order and nothing twice.

        An error on the object itself is the summary; one on what concerns it is added to it.
        """
        findings = sorted(
            {item.identity: item for item in self.findings}.values(), key=lambda item: item.sort_key
        )
        errors = [item for item in findings if item.severity is Severity.ERROR]
        broken = [item.message for item in errors if item.object == obj.ref]
        summary = broken[0] if broken else self.summary
        if errors and not broken:
            summary = f"{summary}; but {errors[0].object}: {errors[0].message}"
        return Explanation(
            object=obj.ref,
            summary=summary,
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

    def prove(self, *found: Command | None) -> None:
        """Add commands; None is nothing to prove."""
        self.verify += [command for command in found if command is not None]

    def note(self, text: str) -> None:
        self.notes.append(text)

    def relate(
        self, context: Context, links: Iterable[Linked], direction: Direction, *, look: bool = True
    ) -> None:
        """Add links as relations: ``down`` and ``own`` by their name, ``up`` by their inverse.

        Links of the same meaning between the same two objects become one. ``look`` reads what is on the
        other end of those that lead on, to say whether it is there and how it is.
        """
        found: dict[tuple[str, Ref], list[str]] = {}
        for linked in links:
            name = linked.relation.inverse if direction == "up" else linked.relation.name
            details = found.setdefault((name, linked.other), [])
            if linked.link.detail and linked.link.detail not in details:
                details.append(linked.link.detail)
        for (name, other), details in found.items():
            self.link(context, name, other, "; ".join(_few(details)), direction, look=look)

    def link(
        self, context: Context, name: str, other: Ref, detail: str = "", direction: Direction = "down", *,
        look: bool = True,
    ) -> None:  # fmt: skip
        """Add one relation, with the other object's own word on how it is."""
        state, how = State.SEEN, ""
        if look and direction != "up":
            kind = kind_of(other)
            obj = context.world.find(other, optional=True) if kind else None
            state, how = context.state(other, optional=True), standing(obj)
        words = "; ".join(part for part in (detail, how) if part)
        self.relations.append(Relation(name, other, words, direction, state))


def _few(details: Sequence[str]) -> list[str]:
    shown = list(details[:4])
    return [*shown, f"and {len(details) - 4} more"] if len(details) > 4 else shown


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
