"""Text for a person: the answer first, then what proves it; every line can be the last one read.

Commands stand on lines of their own, never wrapped, so that they can be copied.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from kgdiag.app import Answer
from kgdiag.model.explanation import Explanation, Relation, State, Table
from kgdiag.model.finding import Command, Finding, Severity
from kgdiag.model.trace import Hop, PathTaken, Result, Trace
from kgdiag.report.escape import clean
from kgdiag.report.words import (
    FLAGS,
    evidence_text,
    gap_text,
    named,
    outcome_line,
    relation_words,
    share_text,
    verdict,
)

_MARK = {
    Severity.ERROR: ("✗", "bold red"),
    Severity.WARNING: ("!", "bold yellow"),
    Severity.INFO: ("·", "cyan"),
}
_RESULT = {
    Result.DELIVERED: ("✓", "bold green"),
    Result.REFUSED: ("✗", "bold red"),
    Result.EXTERNAL: ("→", "bold cyan"),
    Result.UNKNOWN: ("?", "bold yellow"),
}
_LOSERS = 3  # of each hop, in text; wide and the data formats have all


def render(answer: Answer, *, width: int = 80, color: bool = False, wide: bool = False) -> str:
    """The answer as text of this width; ``wide`` shows evidence and all losers too."""
    page = _Page(width, color, wide)
    body = answer.body
    if isinstance(body, Explanation):
        _explanation(page, body, answer)
    elif isinstance(body, Trace):
        _trace(page, body, answer)
    else:
        _report(page, answer)
    return page.text()


class _Page:
    """A console that writes into memory."""

    def __init__(self, width: int, color: bool, wide: bool) -> None:
        self.wide = wide
        self.width = width
        self._out = io.StringIO()
        self.console = Console(
            file=self._out,
            width=width,
            force_terminal=color,
            color_system="standard" if color else None,
            no_color=not color,
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
        )

    def text(self) -> str:
        lines = [line.rstrip() for line in self._out.getvalue().split("\n")]
        return "\n".join(lines).rstrip("\n") + "\n"

    def line(self, text: str | Text = "", style: str = "", indent: int = 0, hang: int = 2) -> None:
        """A line that wraps with its continuation indented by ``hang`` more."""
        words = text if isinstance(text, Text) else Text(text, style=style)
        room = max(self.width - indent, 24)
        lines = words.wrap(self.console, room - hang) if len(words) > room else [words]
        for at, part in enumerate(lines):
            part.rstrip()
            self.console.print(Padding(part, (0, 0, 0, indent + (hang if at else 0))), soft_wrap=False)

    def raw(self, text: str, style: str = "") -> None:
        """A line that is never wrapped."""
        self.console.print(
            Text(text, style=style), soft_wrap=True, no_wrap=True, overflow="ignore", crop=False
        )

    def head(self, text: str) -> None:
        self.console.print()
        self.line(text, "bold")


def _explanation(page: _Page, body: Explanation, answer: Answer) -> None:
    page.line(named(body.object), "bold")
    page.line(clean(body.summary), _style(body.findings))
    for table in body.tables:
        _table(page, table)
    _relations(page, "Who leads here", [item for item in body.relations if item.direction == "up"])
    _relations(page, "Where it leads", [item for item in body.relations if item.direction == "down"])
    _relations(page, "What it is made of", [item for item in body.relations if item.direction == "own"])
    _findings(page, body.findings)
    _notes(page, body.notes)
    _gaps(page, answer)
    shown = {command.argv for item in body.findings for command in item.verify}
    _commands(page, [command for command in body.verify if command.argv not in shown], "Verify")


def _style(findings: Iterable[Finding]) -> str:
    worst = min((item.severity.rank for item in findings), default=9)
    return {0: "red", 1: "yellow"}.get(worst, "green")


def _table(page: _Page, table: Table) -> None:
    if not table.rows:
        return
    page.head(clean(table.title))
    grid = RichTable(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim", pad_edge=False)
    last = len(table.columns) - 1
    for at, column in enumerate(table.columns):
        grid.add_column(clean(column), overflow="fold", ratio=1 if at == last else None)
    for row in table.rows:
        grid.add_row(*(Text(clean(cell)) for cell in row))
    page.console.print(Padding(grid, (0, 0, 0, 2)))


def _relations(page: _Page, title: str, relations: Sequence[Relation]) -> None:
    if not relations:
        return
    page.head(title)
    limit = len(relations) if page.wide else 24
    for item in relations[:limit]:
        words, name = clean(relation_words(item)), named(item.object)
        before = "" if item.direction == "up" else f"{words} "
        line = Text(before, style="dim")
        line.append(name, style="" if item.state is State.SEEN else "bold red")
        if not before:
            line.append(f" {words}", style="dim")
        if item.state is not State.SEEN:
            line.append(f" ({item.state})", style="red" if item.state is State.MISSING else "yellow")
        if item.detail:
            line.append(f": {clean(item.detail)}")
        page.line(line, indent=2)
    if len(relations) > limit:
        page.line(f"… and {len(relations) - limit} more (-o wide)", "dim", indent=2)


def _findings(page: _Page, findings: Sequence[Finding], title: str = "Findings") -> None:
    if not findings:
        return
    page.head(title)
    for item in findings:
        finding(page, item)


def finding(page: _Page, item: Finding) -> None:
    """One finding: severity, rule, words; below it the proof, the mend and the commands."""
    mark, style = _MARK[item.severity]
    line = Text(f"{mark} {item.severity} {item.rule} ", style=style)
    line.append(clean(item.message), style="bold" if item.severity is Severity.ERROR else "")
    page.line(line, indent=2)
    for fact in item.evidence if page.wide else item.evidence[:4]:
        page.line(evidence_text(fact), "dim", indent=6)
    for consequence in item.consequences if page.wide else item.consequences[:3]:
        page.line(f"so: {clean(consequence)}", indent=6)
    if item.fix:
        page.line(Text.assemble(("fix: ", "green"), clean(item.fix)), indent=6)
    for command in item.verify:
        _command(page, command, 6)


def _command(page: _Page, command: Command, indent: int) -> None:
    page.raw(" " * indent + clean(command.command), "cyan")
    page.line(f"# {clean(command.expect)}", "dim", indent=indent + 2)


def _commands(page: _Page, commands: Sequence[Command], title: str) -> None:
    if not commands:
        return
    page.head(title)
    for command in commands:
        _command(page, command, 2)


def _notes(page: _Page, notes: Sequence[str]) -> None:
    if notes:
        page.head("Notes")
        for note in notes:
            page.line(f"· {clean(note)}", indent=2)


def _gaps(page: _Page, answer: Answer) -> None:
    gaps = list(dict.fromkeys(gap_text(read) for read in answer.incomplete))
    if gaps:
        page.head("Not seen")
        for text in gaps:
            page.line(f"? {text}", "yellow", indent=2)


def _trace(page: _Page, body: Trace, answer: Answer) -> None:
    asked = body.question
    mark, style = _RESULT[_worst(body)]
    page.line(Text.assemble((f"{mark} ", style), (verdict(body), style)))
    origin = asked.origin or "outside"
    via = f", via {asked.via}" if asked.via else ""
    page.line(f"{clean(asked.request.method)} {clean(asked.url)} from {clean(origin)}{clean(via)}", "dim")
    errors = [item for item in body.findings if item.severity is not Severity.INFO]
    fix = next((item.fix for item in errors if item.fix), "") or next(
        (path.outcome.fix for path in body.paths if path.outcome.fix), ""
    )
    if fix:
        page.line(Text.assemble(("change: ", "bold green"), clean(fix)))
    for number, path in enumerate(body.paths, 1):
        _path(page, path, number, len(body.paths))
    _findings(page, body.findings)
    _notes(page, body.notes)
    _gaps(page, answer)
    commands = list(
        dict.fromkeys(command for path in body.paths for hop in path.hops for command in hop.verify)
    )
    _commands(page, commands, "Verify")


def _worst(body: Trace) -> Result:
    order = (Result.REFUSED, Result.UNKNOWN, Result.EXTERNAL, Result.DELIVERED)
    found = {path.outcome.result for path in body.paths}
    return next((result for result in order if result in found), Result.UNKNOWN)


def _path(page: _Page, path: PathTaken, number: int, of: int) -> None:
    share = share_text(path)
    title = f"Path {number} of {of}" if of > 1 else "Path"
    page.head(f"{title}{f' ({share})' if share else ''}: through {named(path.entry)}")
    outcome = path.outcome
    for at, hop in enumerate(path.hops, 1):
        # Where a path fails, the proof belongs to the answer; on the way there it is for who asks (-o wide).
        _hop(
            page,
            hop,
            at,
            proof=page.wide or (at == len(path.hops) and outcome.result is not Result.DELIVERED),
        )
    mark, style = _RESULT[outcome.result]
    line = Text(f"{mark} {outcome_line(outcome)}", style=style)
    if outcome.pods:
        shown = ", ".join(clean(f"{pod.namespace}/{pod.name}") for pod in outcome.pods[:3])
        more = f" and {len(outcome.pods) - 3} more" if len(outcome.pods) > 3 else ""
        line.append(f" to {'pods' if len(outcome.pods) > 1 else 'pod'} {shown}{more}")
    if outcome.flag in FLAGS:
        line.append(f" [{outcome.flag}: {FLAGS[outcome.flag]}]", style="dim")
    page.line(line, indent=2)


def _hop(page: _Page, hop: Hop, number: int, *, proof: bool) -> None:
    line = Text(f"{number:>2} ", style="dim")
    line.append(named(hop.object), style="bold")
    line.append(f" {hop.action}", style="cyan")
    if hop.truth != "intent":
        line.append(f" [{hop.truth}]", style="magenta")
    line.append(f"  {clean(hop.detail)}")
    page.line(line, indent=1, hang=3)
    for fact in hop.evidence if proof else ():
        page.line(evidence_text(fact), "dim", indent=6)
    shown = hop.rejected if page.wide else hop.rejected[:_LOSERS]
    for loser in shown:
        part = f" {clean(loser.rule)}" if loser.rule else ""
        page.line(
            Text.assemble(("lost ", "yellow"), f"{named(loser.object)}{part}: {clean(loser.reason)}"),
            indent=6,
        )
    if len(hop.rejected) > len(shown):
        page.line(f"… {len(hop.rejected) - len(shown)} more lost (-o wide)", "dim", indent=6)


def _report(page: _Page, answer: Answer) -> None:
    findings = answer.body.findings
    counts = {severity: sum(item.severity is severity for item in findings) for severity in Severity}
    worst = _style(findings)
    words = [
        f"{number} {severity}{'s' if number != 1 else ''}" for severity, number in counts.items() if number
    ]
    page.line(", ".join(words) if words else "nothing found", "bold " + worst if findings else "bold green")
    by_object: dict[str, list[Finding]] = {}
    for item in findings:
        by_object.setdefault(named(item.object), []).append(item)
    for name, found in by_object.items():
        _findings(page, found, name)
    skipped = getattr(answer.body, "skipped", ())
    if skipped:
        page.head("Skipped")
        reasons: dict[str, list[str]] = {}
        for item in skipped:
            reasons.setdefault(item.reason, []).append(item.rule)
        for reason, ids in reasons.items():
            page.line(f"? {', '.join(ids)}: {clean(reason)}", "yellow", indent=2)
    _gaps(page, answer)
