"""Text for a person: the answer first, then what proves it; every line can be the last one read.

Commands stand on lines of their own, never wrapped, so that they can be copied.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from kgdiag.app import Answer
from kgdiag.model.explanation import Explanation, Relation, State, Table
from kgdiag.model.finding import Command, Finding, Severity
from kgdiag.model.report import GroupBy
from kgdiag.model.trace import Trace
from kgdiag.report.escape import clean
from kgdiag.report.words import evidence_text, gap_text, named, relation_words

_MARK = {
    Severity.ERROR: ("✗", "bold red"),
    Severity.WARNING: ("!", "bold yellow"),
    Severity.INFO: ("·", "cyan"),
}


def render(answer: Answer, *, width: int = 80, color: bool = False, wide: bool = False) -> str:
    """The answer as text of this width; ``wide`` shows evidence and all losers too."""
    page = Page(width, color, wide)
    body = answer.body
    if isinstance(body, Explanation):
        _explanation(page, body, answer)
    elif isinstance(body, Trace):
        from kgdiag.report.way import render_trace

        render_trace(page, body, answer)
    else:
        _report(page, answer)
    return page.text()


class Page:
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
        for at, part in enumerate(_wrapped(words, room, room - hang)):
            part.rstrip()
            part.pad_left(indent + (hang if at else 0))
            self.console.print(part, soft_wrap=True, no_wrap=True, overflow="ignore", crop=False)

    def raw(self, text: str, style: str = "") -> None:
        """A line that is never wrapped."""
        self.console.print(
            Text(text, style=style), soft_wrap=True, no_wrap=True, overflow="ignore", crop=False
        )

    def head(self, text: str) -> None:
        self.console.print()
        self.line(text, "bold")


def _wrapped(words: Text, first: int, others: int) -> list[Text]:
    """Lines of a text. No word is broken: a name that is longer than the line is still one to copy."""
    offsets, start, room = [], 0, first
    plain = words.plain
    for found in re.finditer(r"\S+\s*", plain):
        if cell_len(plain[start : found.end()].rstrip()) > room and found.start() > start:
            offsets.append(found.start())
            start, room = found.start(), others
    return list(words.divide(offsets)) if offsets else [words]


def _explanation(page: Page, body: Explanation, answer: Answer) -> None:
    page.line(named(body.object), "bold")
    page.line(clean(body.summary), _style(body.findings))
    for table in body.tables:
        _table(page, table)
    _relations(page, "Who leads here", [item for item in body.relations if item.direction == "up"])
    _relations(page, "Where it leads", [item for item in body.relations if item.direction == "down"])
    _relations(page, "What it is made of", [item for item in body.relations if item.direction == "own"])
    show_findings(page, body.findings)
    show_notes(page, body.notes)
    show_gaps(page, answer)
    shown = {command.argv for item in body.findings for command in item.verify}
    _commands(page, [command for command in body.verify if command.argv not in shown], "Verify")


def _style(findings: Iterable[Finding]) -> str:
    worst = min((item.severity.rank for item in findings), default=9)
    return {0: "red", 1: "yellow"}.get(worst, "green")


def _table(page: Page, table: Table) -> None:
    """Rows under their heads. Where not even the longest names fit beside each other, the last column stands
    below its row, and where the rest does not fit either, every cell on a line of its own."""
    if not table.rows:
        return
    page.head(clean(table.title))
    heads = [clean(column) for column in table.columns]
    rows = [[*(clean(cell) for cell in row), *[""] * (len(heads) - len(row))] for row in table.rows]
    for kept in (len(heads), len(heads) - 1):
        widths = _widths([heads[:kept], *(row[:kept] for row in rows)], page.width - 2)
        if kept and widths:
            _grid(page, heads, rows, widths)
            return
    for at, row in enumerate(rows):
        if at:
            page.console.print()
        for head, cell in zip(heads, row, strict=False):
            if cell:
                page.line(_told(head, cell), indent=2)


def _told(head: str, cell: str) -> Text:
    return Text.assemble((f"{head}: " if head else "", "dim"), cell)


def _grid(page: Page, heads: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
    """An aligned table of the first columns; what rows have besides stands below each."""
    kept = len(widths)
    for at, row in enumerate([heads, *rows]):
        cells = [_wrapped(Text(cell), width, width) for cell, width in zip(row, widths, strict=False)]
        for line in range(max(map(len, cells))):
            text = Text("  ")
            for cell, width in zip(cells, widths, strict=True):
                part = cell[line] if line < len(cell) else Text()
                part.rstrip()
                text.append_text(part).append(" " * (width - part.cell_len + 2))
            page.raw(text.plain, "" if at else "dim")
        for head, more in zip(heads[kept:], row[kept:], strict=False) if at else ():
            if more:
                page.line(_told(head, more), indent=6)


def _widths(rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """The width of each column, no word of which is broken; None where they do not fit."""
    columns = list(zip(*rows, strict=True))
    least = [
        max((cell_len(word) for cell in column for word in cell.split()), default=1) for column in columns
    ]
    wanted = [max(map(cell_len, column)) for column in columns]
    left = room - sum(least) - 2 * (len(columns) - 1)
    if left < 0:
        return None
    for at, most in enumerate(wanted):
        more = min(most - least[at], left)
        least[at] += more
        left -= more
    return least


def _relations(page: Page, title: str, relations: Sequence[Relation]) -> None:
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


def show_findings(
    page: Page, findings: Sequence[Finding], title: str = "Findings", *, objects: bool = False
) -> None:
    if not findings:
        return
    page.head(title)
    for item in findings:
        finding(page, item, on=named(item.object) if objects else "")


def finding(page: Page, item: Finding, *, on: str = "") -> None:
    """One finding: severity, rule, words; below it the proof, the mend and the commands."""
    mark, style = _MARK[item.severity]
    line = Text(f"{mark} {item.severity} {item.rule} ", style=style)
    line.append(f"{on}: " if on else "")
    line.append(clean(item.message), style="bold" if item.severity is Severity.ERROR else "")
    page.line(line, indent=2)
    for fact in item.evidence if page.wide else item.evidence[:4]:
        page.line(evidence_text(fact), "dim", indent=6)
    for consequence in item.consequences if page.wide else item.consequences[:3]:
        page.line(f"so: {clean(consequence)}", indent=6)
    if item.fix:
        page.line(Text.assemble(("fix: ", "green"), clean(item.fix)), indent=6)
    _patch(page, item)
    for command in item.verify:
        _command(page, command, 6)


def _patch(page: Page, item: Finding) -> None:
    """The mend to copy: a diff of the file, else the command that a person may run."""
    if item.patch is None:
        return
    if item.patch.diff is None:
        page.raw(f"      {clean(item.patch.command)}", "green")
        return
    for text in item.patch.diff.splitlines() if page.wide else ():
        page.raw(f"      {clean(text)}", "green")


def _command(page: Page, command: Command, indent: int) -> None:
    page.raw(" " * indent + clean(command.command), "cyan")
    page.line(f"# {clean(command.expect)}", "dim", indent=indent + 2)


def _commands(page: Page, commands: Sequence[Command], title: str) -> None:
    if not commands:
        return
    page.head(title)
    for command in commands:
        _command(page, command, 2)


def show_notes(page: Page, notes: Sequence[str]) -> None:
    if notes:
        page.head("Notes")
        for note in notes:
            page.line(f"· {clean(note)}", indent=2)


def show_gaps(page: Page, answer: Answer) -> None:
    gaps = list(dict.fromkeys(gap_text(read) for read in answer.incomplete))
    if gaps:
        page.head("Not seen")
        for text in gaps:
            page.line(f"? {text}", "yellow", indent=2)


def _report(page: Page, answer: Answer) -> None:
    findings = answer.body.findings
    counts = {severity: sum(item.severity is severity for item in findings) for severity in Severity}
    worst = _style(findings)
    words = [
        f"{number} {severity}{'s' if number != 1 else ''}" for severity, number in counts.items() if number
    ]
    accepted = len(getattr(answer.body, "suppressed", ()))
    hidden = f" ({accepted} suppressed: -v shows them)" if accepted else ""
    line = Text(", ".join(words) or "nothing found", "bold " + worst if findings else "bold green")
    page.line(line.append(hidden, "dim"))
    by_rule = getattr(answer.body, "group_by", None) == GroupBy.RULE
    groups: dict[str, list[Finding]] = {}
    for item in findings:
        group = f"{item.rule} {item.name}" if by_rule else named(item.object)
        groups.setdefault(group, []).append(item)
    for name, found in groups.items():
        show_findings(page, found, name, objects=by_rule)
    skipped = getattr(answer.body, "skipped", ())
    if skipped:
        page.head("Skipped")
        reasons: dict[str, list[str]] = {}
        for item in skipped:
            reasons.setdefault(item.reason, []).append(item.rule)
        for reason, ids in reasons.items():
            page.line(f"? {', '.join(ids)}: {clean(reason)}", "yellow", indent=2)
    show_gaps(page, answer)
