"""Markdown, for an incident document or a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kgdiag.app import Answer
from kgdiag.model.explanation import Explanation, State, Table
from kgdiag.model.finding import Command, Finding
from kgdiag.model.trace import Trace
from kgdiag.report.escape import clean
from kgdiag.report.words import (
    evidence_text,
    gap_text,
    named,
    outcome_text,
    relation_words,
    share_text,
    verdict,
)

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!])")


def md(text: object) -> str:
    """Text with everything that Markdown or HTML would obey escaped."""
    return _SPECIAL.sub(r"\\\1", clean(text)).replace("&", "&amp;")


def render(answer: Answer) -> str:
    """The answer as a Markdown document."""
    body = answer.body
    lines: list[str] = []
    if isinstance(body, Explanation):
        lines += [f"# {md(named(body.object))}", "", f"**{md(body.summary)}**", ""]
        for table in body.tables:
            lines += _table(table)
        lines += _relations(body)
        lines += _findings(body.findings)
        lines += _list("Notes", (md(note) for note in body.notes))
        lines += _gaps(answer)
        lines += _commands("Verify", body.verify)
    elif isinstance(body, Trace):
        lines += _trace(body)
        lines += _findings(body.findings)
        lines += _list("Notes", (md(note) for note in body.notes))
        lines += _gaps(answer)
        commands = dict.fromkeys(
            command for path in body.paths for hop in path.hops for command in hop.verify
        )
        lines += _commands("Verify", tuple(commands))
    else:
        lines += ["# kgdiag check", ""]
        lines += _findings(body.findings) or ["Nothing found.", ""]
        skipped = getattr(body, "skipped", ())
        accepted = getattr(body, "suppressed", ())
        lines += _list(
            "Suppressed",
            (f"{item.finding.rule} {md(named(item.finding.object))}: {md(item.reason)}" for item in accepted),
        )
        lines += _list("Skipped", (f"{item.rule}: {md(item.reason)}" for item in skipped))
        lines += _gaps(answer)
    return "\n".join(lines).rstrip() + "\n"


def _table(table: Table) -> list[str]:
    if not table.rows:
        return []
    head = "| " + " | ".join(md(column) or " " for column in table.columns) + " |"
    rows = ["| " + " | ".join(md(cell) for cell in row) + " |" for row in table.rows]
    return [f"## {md(table.title)}", "", head, "|" + " --- |" * len(table.columns), *rows, ""]


def _relations(body: Explanation) -> list[str]:
    lines: list[str] = []
    for title, direction in (
        ("Who leads here", "up"),
        ("Where it leads", "down"),
        ("What it is made of", "own"),
    ):
        found = [item for item in body.relations if item.direction == direction]
        texts = []
        for item in found:
            state = "" if item.state is State.SEEN else f" (**{item.state}**)"
            detail = f": {md(item.detail)}" if item.detail else ""
            words, name = md(relation_words(item)), md(named(item.object))
            texts.append(f"{name} {words}{detail}" if direction == "up" else f"{words} {name}{state}{detail}")
        lines += _list(title, texts)
    return lines


def _list(title: str, items: Iterable[str]) -> list[str]:
    found = list(items)
    return [f"## {title}", "", *(f"- {item}" for item in found), ""] if found else []


def _findings(findings: Sequence[Finding]) -> list[str]:
    lines: list[str] = ["## Findings", ""] if findings else []
    for item in findings:
        lines += [f"### {item.severity}: {item.rule} {md(item.name)}", "", md(item.message), ""]
        lines += [f"On {md(named(item.object))}.", ""]
        lines += [f"- {md(evidence_text(fact))}" for fact in item.evidence]
        lines += [f"- so: {md(text)}" for text in item.consequences]
        lines += [f"- **fix:** {md(item.fix)}"] if item.fix else []
        lines.append("")
        lines += _patch(item)
        lines += _commands("", item.verify)
    return lines


def _patch(item: Finding) -> list[str]:
    if item.patch is None:
        return []
    lines = [clean(line) for line in (item.patch.diff or item.patch.command).splitlines()]
    return [*_fenced("diff" if item.patch.diff else "sh", lines), ""]


def _fenced(language: str, lines: Sequence[str]) -> list[str]:
    """A code block that no line of it can end (CommonMark, fenced code blocks)."""
    longest = max((len(run) for line in lines for run in re.findall("`{3,}", line)), default=2)
    fence = "`" * (longest + 1)
    return [f"{fence}{language}", *lines, fence]


def _commands(title: str, commands: Sequence[Command]) -> list[str]:
    if not commands:
        return []
    lines = [f"## {title}", ""] if title else []
    block = [text for one in commands for text in (clean(one.command), f"# {clean(one.expect)}")]
    return [*lines, *_fenced("sh", block), ""]


def _gaps(answer: Answer) -> list[str]:
    return _list("Not seen", dict.fromkeys(md(gap_text(read)) for read in answer.incomplete))


def _trace(body: Trace) -> list[str]:
    asked = body.question
    lines = [f"# {md(asked.request.method)} {md(asked.url)}", "", f"**{md(verdict(body))}**", ""]
    for number, path in enumerate(body.paths, 1):
        share = share_text(path)
        lines += [f"## Path {number}{f' ({share})' if share else ''}: through {md(named(path.entry))}", ""]
        for at, hop in enumerate(path.hops, 1):
            lines.append(f"{at}. **{md(named(hop.object))}** {hop.action}: {md(hop.detail)}")
            lines += [f"   - {md(evidence_text(fact))}" for fact in hop.evidence]
            lines += [
                f"   - lost: {md(named(loser.object))} {md(loser.rule)}: {md(loser.reason)}"
                for loser in hop.rejected
            ]
        lines += ["", f"**{md(outcome_text(path.outcome))}**: {md(path.outcome.reason)}", ""]
    return lines
