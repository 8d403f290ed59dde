"""A trace as text: what the client gets, the one thing to change, then the way as one tells it.

Hops of one object that follow each other are told as one. ``-o wide`` has every fact and every loser; text
has what a person reads first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from kgdiag.app import Answer
from kgdiag.model.finding import Command, Finding, Match, Severity
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Act, Hop, PathTaken, Rejected, Result, Trace
from kgdiag.report.escape import clean
from kgdiag.report.words import (
    FLAGS,
    evidence_text,
    named,
    outcome_line,
    outcome_text,
    share_text,
    verdict,
)

if TYPE_CHECKING:
    from kgdiag.report.text import Page

_RESULT = {
    Result.DELIVERED: ("✓", "bold green"),
    Result.REFUSED: ("✗", "bold red"),
    Result.EXTERNAL: ("→", "bold cyan"),
    Result.UNKNOWN: ("?", "bold yellow"),
}
_NEAR = 1  # losers this near are worth a line where another one won
_FAILED_NEAR = 4  # and this near where none did
_LOSERS = 3
_PODS = 3
_PENDING = "(EXTERNAL-IP pending)"  # nothing of the way matters before this


def render_trace(page: Page, body: Trace, answer: Answer) -> None:
    """The whole answer of a trace."""
    from kgdiag.report.text import show_findings, show_gaps, show_notes

    _head(page, body)
    numbers: dict[Command, str] = {}
    before: list[list[Hop]] = []
    for number, path in enumerate(body.paths, 1):
        before = _path(page, path, number, len(body.paths), numbers, before)
    show_findings(page, body.findings)
    show_notes(page, [note for note in body.notes if _PENDING not in note])
    show_gaps(page, answer)
    _verify(page, body, numbers)


def _head(page: Page, body: Trace) -> None:
    asked = body.question
    mark, style = _RESULT[_worst(body)]
    page.line(Text.assemble((f"{mark} ", style), (verdict(body), style)))
    origin = asked.origin or "outside"
    via = f", via {asked.via}" if asked.via else ""
    page.line(f"{clean(asked.request.method)} {clean(asked.url)} from {clean(origin)}{clean(via)}", "dim")
    for note in body.notes:
        if _PENDING in note:
            page.line(Text.assemble(("but: ", "bold yellow"), clean(note)))
    first = _first(body)
    if first is not None:
        page.line(Text.assemble(("why: ", "bold"), f"{named(first.object)}: {clean(first.message)}"))
    fix = first.fix if first is not None else ""
    fix = fix or next((path.outcome.fix for path in body.paths if path.outcome.fix), "")
    if fix:
        page.line(Text.assemble(("change: ", "bold green"), clean(fix)))


def _first(body: Trace) -> Finding | None:
    """The finding that says why: an error where the way ends, or a warning about this very request."""
    asked = body.question.request
    for item in body.findings:
        about = asked.path != "/" and re.search(rf"{re.escape(asked.path)}(?![\w/:.-])", item.message)
        delivered = all(path.outcome.result is Result.DELIVERED for path in body.paths)
        if item.severity is Severity.ERROR or (item.severity is Severity.WARNING and (about or delivered)):
            return item
    return None


def _worst(body: Trace) -> Result:
    order = (Result.REFUSED, Result.UNKNOWN, Result.EXTERNAL, Result.DELIVERED)
    found = {path.outcome.result for path in body.paths}
    return next((result for result in order if result in found), Result.UNKNOWN)


# -- paths ---------------------------------------------------------------------------------------------


def _path(
    page: Page,
    path: PathTaken,
    number: int,
    of: int,
    numbers: dict[Command, str],
    before: list[list[Hop]],
) -> list[list[Hop]]:
    """One path; what it has in common with the one ``before`` it at the beginning is not told again."""
    share = share_text(path)
    title = f"Path {number} of {of}" if of > 1 else "Path"
    page.head(f"{title}{f' ({share})' if share else ''}: through {named(path.entry)}")
    delivered = path.outcome.result is Result.DELIVERED
    stops = told(path.hops)
    common = 0 if page.wide else _common(before, stops)
    if common:
        words = "hop 1" if common == 1 else f"hops 1 to {common}"
        page.line(f" · {words} as in path {number - 1}", "dim", indent=1)
    for at, hops in enumerate(stops[common:], common + 1):
        failing = at == len(stops) and not delivered
        mark = f"{number}.{at}" if of > 1 else str(at)
        _stop(page, hops, at, failing)
        for hop in hops:
            for command in hop.verify:
                numbers.setdefault(command, mark)
    _outcome(page, path, alone=of == 1)
    return stops


def _common(before: list[list[Hop]], stops: list[list[Hop]]) -> int:
    """How many stops two paths share at the beginning; the last one is always told."""
    count = 0
    for one, other in zip(before, stops[:-1], strict=False):
        if one != other:
            break
        count += 1
    return count


def told(hops: Sequence[Hop]) -> list[list[Hop]]:
    """Hops in groups of one object each."""
    groups: list[list[Hop]] = []
    for hop in hops:
        if groups and groups[-1][-1].object == hop.object and groups[-1][-1].truth == hop.truth:
            groups[-1].append(hop)
        else:
            groups.append([hop])
    return groups


def _stop(page: Page, hops: Sequence[Hop], number: int, failing: bool) -> None:
    """One object on the way, with what it decides."""
    line = Text(f"{number:>2} ", style="dim")
    line.append(named(hops[0].object), style="bold")
    if hops[0].truth != "intent":
        line.append(f" [{hops[0].truth}]", style="magenta")
    page.line(line, indent=1, hang=3)
    for at, hop in enumerate(hops):
        last = failing and at == len(hops) - 1
        words = hop.detail if page.wide else hop.brief or hop.detail.removeprefix(f"{hop.object} ")
        before = f"{hop.action}: " if page.wide else ""
        style = "red" if last and hop.action is Act.REJECTS else ""
        page.line(Text.assemble((before, "cyan"), (clean(words), style)), indent=5)
        facts = hop.evidence if page.wide else [one for one in hop.evidence if last and one.value is not None]
        for text in dict.fromkeys(evidence_text(fact) for fact in facts):
            page.line(text, "dim", indent=7)
        _losers(page, hop, last)


def _losers(page: Page, hop: Hop, failing: bool) -> None:
    shown = hop.rejected if page.wide else _worth(hop, failing)
    for loser in shown:
        part = f" {clean(loser.rule)}" if loser.rule else ""
        words = f"{named(loser.object)}{part}: {clean(loser.reason)}"
        page.line(Text.assemble(("lost ", "yellow"), words), indent=7)
    hidden = len(hop.rejected) - len(shown)
    if failing and hidden > 0:
        page.line(f"… {hidden} more lost (-o wide)", "dim", indent=7)


def _worth(hop: Hop, failing: bool) -> list[Rejected]:
    """The losers that are worth reading: near ones, each object once."""
    limit = _FAILED_NEAR if failing else _NEAR
    near = [one for one in hop.rejected if one.nearness <= limit]
    if not failing:  # what is for other pods is no news where one is found
        near = [one for one in near if not one.reason.startswith(("its labels do not", "its selector asks"))]
    if not failing:  # of the winner itself only what is hidden behind its own rules
        near = [one for one in near if one.object != hop.object or "matches too" in one.reason]
    unique: dict[Ref, Rejected] = {}
    for one in near:
        unique.setdefault(one.object, one)
    return list(unique.values())[: _LOSERS if failing else _LOSERS - 1]


def _outcome(page: Page, path: PathTaken, *, alone: bool) -> None:
    outcome = path.outcome
    mark, style = _RESULT[outcome.result]
    told = bool(path.hops) and path.hops[-1].detail == outcome.reason
    words = outcome_text(outcome) if alone or told else outcome_line(outcome)
    line = Text(f"{mark} {words}", style=style)
    if outcome.pods:
        shown = ", ".join(clean(f"{pod.namespace}/{pod.name}") for pod in outcome.pods[:_PODS])
        more = f" and {len(outcome.pods) - _PODS} more" if len(outcome.pods) > _PODS else ""
        line.append(f" to {'pods' if len(outcome.pods) > 1 else 'pod'} {shown}{more}")
    if outcome.flag in FLAGS:
        line.append(f" ({FLAGS[outcome.flag]})", style="dim")
    page.line(line, indent=1)


def _telling(numbers: dict[Command, str]) -> dict[Command, str]:
    """Without commands that show no more than that something is there."""
    return {
        command: number
        for command, number in numbers.items()
        if (command.match is not Match.ANY or command.argv[0] != "kubectl") and "clusters" not in command.argv
    }


# -- commands ------------------------------------------------------------------------------------------


def _verify(page: Page, body: Trace, numbers: dict[Command, str]) -> None:
    if not numbers and not body.verify:
        return
    page.head("Verify")
    for command, number in numbers.items() if page.wide else _telling(numbers).items():
        page.raw(f"  {clean(command.command)}", "cyan")
        page.line(f"# hop {number}: {clean(command.expect)}", "dim", indent=4)
    for command in body.verify:
        page.raw(f"  {clean(command.command)}", "cyan")
        page.line(f"# {clean(command.expect)}", "dim", indent=4)
