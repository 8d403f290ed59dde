"""What ``kgdiag check`` does: rules over a scope, what was accepted left out, mends shown as diffs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from kgdiag.app import Answer, Session, exit_code, locate
from kgdiag.collect import project
from kgdiag.collect.scalars import without_collector
from kgdiag.dialects import all_kinds
from kgdiag.graph import names
from kgdiag.graph.ask import ask
from kgdiag.graph.world import World
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Place
from kgdiag.model.patch import PatchType
from kgdiag.model.read import Need, Origin, Status
from kgdiag.model.report import GroupBy, Report, Skipped, Suppressed
from kgdiag.model.suppression import ANNOTATION, Baseline, Identity, Pattern, Suppression
from kgdiag.rules import catalogue, select_rules
from kgdiag.rules.base import Rule, Scope
from kgdiag.rules.run import findings_of, to_roots

Accepted = tuple[str, str]  # by whom, for what reason


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked of a check beside its scope.

    ``config`` is the project file, None to look for one, "" for none; ``today`` is for dates of expiry.
    """

    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    fail_on: Severity | None = Severity.ERROR
    min_severity: Severity = Severity.INFO
    group_by: GroupBy = GroupBy.OBJECT
    config: str | None = None
    baseline: str | None = None
    write_baseline: str | None = None
    today: date | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer, and words for standard error: always, and where somebody asked for more (``-v``)."""

    answer: Answer
    words: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What files say about a check, read before a cluster is asked: wrong ones end the run early."""

    rules: tuple[Rule, ...]
    suppressions: tuple[Suppression, ...]
    baseline: Baseline | None


def prepare(options: Options) -> Prepared:
    """Raises UsageError for rules that do not exist, InputError for files that are wrong."""
    rules = tuple(select_rules(options.only, options.skip))
    file = project.find_project_file() if options.config is None else options.config
    suppressions = project.read_suppressions(file, _rule_id, _pattern) if file else []
    baseline = project.read_baseline(options.baseline) if options.baseline else None
    return Prepared(rules, tuple(suppressions), baseline)


def check(session: Session, objects: Sequence[str], options: Options, prepared: Prepared) -> Checked:
    """Run the rules over the scope; raises UsageError or NotFoundError for the objects that were named."""
    scope = _scope(session, objects)
    rules = prepared.rules
    foresee(session)
    with without_collector():
        found, skipped = ask(session.source, session.world, lambda world: findings_of(world, rules, scope))
    today = options.today or datetime.now(tz=UTC).date()
    judge = _Judge(session.world, prepared, today)
    kept, suppressed = judge.sort(found)
    words: list[str] = list(judge.words)
    details: list[str] = []
    shown = [item for item in kept if item.severity.rank <= options.min_severity.rank]
    if options.write_baseline:
        project.write_baseline(Baseline.of(options.write_baseline, shown))
        words.append(f"{len(shown)} findings written to {options.write_baseline}")
        suppressed += [Suppressed(item, options.write_baseline, "in the baseline") for item in shown]
        shown = []
    details += judge.unused()
    details += [
        f"suppressed: {item.finding.rule} {item.finding.object}: {item.finding.message} "
        f"({item.by}: {item.reason})"
        for item in suppressed
    ]
    report = Report(
        tuple(_with_diff(session.world, item) for item in shown),
        tuple(skipped),
        tuple(suppressed),
        rules=tuple(rule.id for rule in rules),
        fail_on=options.fail_on,
        group_by=options.group_by,
    )
    world = session.world
    answer = Answer(report, tuple(world.gaps()), exit_code(world, report, options.fail_on))
    return Checked(answer, tuple(words), tuple(details))


def foresee(session: Session) -> None:
    """Read everything at once where reading costs nothing: in files every question that is asked again is
    asked of everything again. A live cluster is read as the questions come."""
    if session.world.origin is Origin.LIVE:
        return
    reads = session.source.read([Need(kind) for kind in session.kinds])
    session.world.add(read for read in reads if read.status is Status.OK)


def _scope(session: Session, objects: Sequence[str]) -> Scope:
    named = frozenset(locate(session, name).ref for name in objects)
    everywhere = session.all_namespaces or (
        session.world.origin is not Origin.LIVE and not session.explicit_namespace
    )
    return Scope(None if everywhere else frozenset((session.namespace,)), named)


# -- what was accepted ---------------------------------------------------------------------------------


class _Judge:
    """Sorts findings into those that stand and those that somebody accepted.

    The causes are found among what stands: an accepted consequence is not counted against its cause, and
    what follows from an accepted cause is accepted with it.
    """

    def __init__(self, world: World, prepared: Prepared, today: date) -> None:
        self._world = world
        self._today = today
        self._rules = {rule.id for rule in prepared.rules}
        self._entries = prepared.suppressions
        self._used: set[Suppression] = set()
        self._baseline = prepared.baseline
        self._left = Counter(prepared.baseline.known) if prepared.baseline else Counter()
        self._said: dict[str, None] = {}

    @property
    def words(self) -> list[str]:
        """What must be said of suppressions that do nothing."""
        return list(self._said)

    def sort(self, found: Iterable[Finding]) -> tuple[list[Finding], list[Suppressed]]:
        standing: list[Finding] = []
        accepted: dict[int, Accepted] = {}
        every = sorted(found, key=lambda finding: finding.sort_key)
        for item in every:
            if why := self._accepted(item):
                accepted[id(item)] = why
            else:
                standing.append(item)
        suppressed = [Suppressed(item, *accepted[id(item)]) for item in every if id(item) in accepted]
        with_them = {item.identity for item in to_roots(every)}
        roots = to_roots(standing)
        kept = []
        for item in roots:
            # What stands as a root only because its cause was accepted is accepted with it.
            if item.identity in with_them or not suppressed:
                if known := self._in_baseline(item):
                    suppressed.append(Suppressed(item, *known))
                else:
                    kept.append(item)
            else:
                suppressed.append(Suppressed(item, "its cause", "it follows from a finding that is accepted"))
        suppressed.sort(key=lambda item: item.finding.sort_key)
        return kept, suppressed

    def _accepted(self, finding: Finding) -> Accepted | None:
        return self._annotated(finding) or self._by_entry(finding)

    def _by_entry(self, finding: Finding) -> Accepted | None:
        for entry in self._entries:
            if not entry.matches(finding):
                continue
            self._used.add(entry)
            if entry.expired(self._today):
                self._say(f"{entry.by}: the suppression of {entry.rule} expired on {entry.expires}")
                continue
            return entry.by, entry.reason
        return None

    def _annotated(self, finding: Finding) -> Accepted | None:
        with self._world.only_read():
            obj = self._world.find(finding.object)
        text = obj.annotations.get(ANNOTATION) if obj else None
        for part in str(text or "").split(";"):
            word, _, reason = part.strip().partition(" ")
            if not word:
                continue
            rule = _rule_id(word.rstrip(":"))
            if rule is None:
                self._say(f"{finding.object}: {ANNOTATION}: no rule is called {word!r}")
            elif not reason.strip():
                self._say(f"{finding.object}: {ANNOTATION}: {word} has no reason, so it is not ignored")
            elif rule == finding.rule:
                return f"annotation {ANNOTATION} of {finding.object}", reason.strip()
        return None

    def _in_baseline(self, finding: Finding) -> Accepted | None:
        identity = Identity.of(finding)
        if self._baseline is None or not self._left[identity]:
            return None
        self._left[identity] -= 1
        return self._baseline.file, "in the baseline"

    def _say(self, text: str) -> None:
        self._said.setdefault(text)

    def unused(self) -> list[str]:
        """What no longer suppresses anything, of the rules that ran."""
        out = [
            f"{entry.by}: nothing to suppress: {entry.rule} finds nothing there"
            for entry in self._entries
            if entry not in self._used and entry.rule in self._rules
        ]
        mended = sum(count for identity, count in self._left.items() if identity.rule in self._rules)
        if self._baseline is not None and mended:
            out.append(f"{self._baseline.file}: {mended} findings of the baseline are no longer there")
        return out


def _rule_id(word: str) -> str | None:
    wanted = word.lower()
    return next((rule.id for rule in catalogue().values() if wanted in (rule.id.lower(), rule.name)), None)


def _pattern(text: str) -> Pattern:
    """``KIND/NAME[.NAMESPACE]`` with wildcards; raises ValueError where the kind is not known."""
    word, slash, name = text.partition("/")
    if not slash or not name:
        raise ValueError(f"{text!r} is not KIND/NAME or KIND/NAME.NAMESPACE")
    found = None if word == "*" else names.find_kinds(word, all_kinds())
    if found is not None and not found:
        raise ValueError(f"no kind is called {word!r}")
    head, dot, tail = name.rpartition(".")
    kinds = None if found is None else frozenset(kind.key for kind in found)
    return Pattern(text, kinds, head if dot else name, tail if dot else None)


# -- mends -------------------------------------------------------------------------------------------


def _with_diff(world: World, finding: Finding) -> Finding:
    """The finding with its patch as a diff of the file, where it has one."""
    patch = finding.patch
    if patch is None or world.origin is not Origin.FILES:
        return finding
    from kgdiag.collect.edits import diff_of

    on = finding.object if patch.type is PatchType.CREATE else patch.target
    with world.only_read():
        obj = world.find(on)
    if obj is None or not isinstance(obj.place, Place):
        return finding
    return replace(finding, patch=replace(patch, diff=diff_of(patch, obj.place)))


__all__ = ["Checked", "Options", "Prepared", "Skipped", "check", "prepare"]
