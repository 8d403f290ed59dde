"""Requests for a person: one line each with its hops, then who ended it and why."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from kgdiag.app import Answer
from kgdiag.report.escape import clean
from kgdiag.report.text import Page
from kgdiag.report.words import evidence_text, gap_text, named
from kgdiag.traffic.explain import place_of, status_words
from kgdiag.traffic.flags import FLAGS
from kgdiag.traffic.model import Cause, Ended, Explained, Requests, Seen, masked

_MARK = {
    Ended.ANSWERED: ("✓", "green"),
    Ended.REFUSED: ("✗", "bold red"),
    Ended.UNANSWERED: ("✗", "bold red"),
    Ended.UNKNOWN: ("?", "bold yellow"),
}
_ALIKE = 5  # requests that end alike and are shown in one group, in text; wide and the data formats have all
_OBJECTS = 4
_ROLES = {
    "gateway": "gateway",
    "sidecar-inbound": "sidecar, in",
    "sidecar-outbound": "sidecar, out",
    "proxy": "proxy",
}


def render_requests(
    answer: Answer, body: Requests, *, width: int = 80, color: bool = False, wide: bool = False
) -> str:
    """The requests as text; those that ended alike, for the same cause, stand together."""
    page = Page(width, color, wide)
    groups: dict[object, list[Explained]] = {}
    for one in body.requests:
        groups.setdefault((one.summary, tuple(cause.text for cause in one.causes), one.client), []).append(
            one
        )
    if len(body.requests) > 1:
        counts = [(ended, sum(one.ended is ended for one in body.requests)) for ended in Ended]
        words = ", ".join(f"{count} {ended}" for ended, count in counts if count)
        page.line(f"{len(body.requests)} requests: {words}", "bold")
    for at, group in enumerate(groups.values()):
        if at or len(body.requests) > 1:
            page.line()
        _group(page, group)
    if body.other_lines:
        page.line(f"{body.other_lines} other lines are no access log lines", "dim")
    for note in body.notes:
        page.line(f"· {clean(note)}", "dim")
    for text in dict.fromkeys(gap_text(read) for read in answer.incomplete):
        page.line(f"? not seen: {text}", "yellow")
    return page.text()


def _group(page: Page, group: Sequence[Explained]) -> None:
    first = group[0]
    shown = group if page.wide else group[:_ALIKE]
    for one in shown:
        _request(page, one)
    if len(group) > len(shown):
        page.line(f"… and {len(group) - len(shown)} more that ended alike (-o wide)", "dim", indent=2)
    page.line(clean(first.summary), "" if first.ended is Ended.ANSWERED else "bold", indent=2)
    for fact in first.client:
        page.line(f"client: {clean(fact)}", "dim", indent=4)
    for at, hop in enumerate(first.hops, 1):
        _hop(page, hop, at, author=first.author == at - 1)
    for cause in first.causes:
        _cause(page, cause)


def _request(page: Page, one: Explained) -> None:
    mark, style = _MARK[one.ended]
    line = Text(f"{mark} ", style=style)
    first = one.hops[0].line if one.hops else None
    if first and first.time:
        line.append(f"{first.time:%H:%M:%S}.{first.time.microsecond // 1000:03d} ", style="dim")
    what = f"{one.method} {one.authority}{masked(one.path)}".strip()
    line.append(f"{clean(what)} " if what else "TCP connection ")
    status = "no answer" if not one.status else status_words(first) if first else str(one.status)
    line.append(clean(status), style=style)
    if one.hops:
        line.append("  " + " → ".join(clean(text) for text in _way(one)), style="dim")
    page.line(line)


def _way(one: Explained) -> list[str]:
    """The proxies that the request passed, in short, and where the last one sent it."""
    out: list[str] = []
    for hop in one.hops:
        name = hop.proxy.name if hop.proxy else hop.line.proxy_hint or hop.line.proxy_ip or "?"
        port = f":{hop.line.local.port}" if hop.line.local and hop.role != "sidecar-outbound" else ""
        out.append(f"{name}{port}" if hop.role != "sidecar-outbound" else f"({name})")
    last = one.hops[-1]
    if last.role != "sidecar-inbound" and (place := place_of(last)):
        out.append(place)
    return out


def _hop(page: Page, hop: Seen, number: int, *, author: bool) -> None:
    line = hop.line
    text = Text(f"{number:>2} ", style="dim")
    who = named(hop.proxy) if hop.proxy else clean(line.proxy_hint or line.proxy_ip or "not known where")
    text.append(f"{_ROLES[hop.role]} ", style="cyan")
    text.append(who, style="bold" if author else "")
    if line.local:
        text.append(f" at {line.local}" if hop.role == "sidecar-outbound" else f" port {line.local.port}")
    text.append(f"  {clean(status_words(line))}", style="bold red" if _bad(hop) else "")
    text.append(f" {clean(line.details)}" if line.details else "", style="dim")
    page.line(text, indent=2, hang=3)
    parts = [
        part
        for part in (_where(hop), f"server name {clean(line.sni)}" if line.sni and page.wide else "")
        if part
    ]
    if page.wide:
        parts += [f"route {clean(line.route)}"] if line.route else []
        parts += [f"cluster {clean(line.cluster)}"] if line.cluster else []
        parts += [f"client {line.remote}"] if line.remote else []
        parts += [f"{line.duration} ms"] if line.duration is not None else []
        parts += [f"id {clean(line.request_id)}"] if line.request_id else []
    if parts:
        page.line(", ".join(parts), "dim", indent=7)
    if _bad(hop):
        for flag in line.flags:
            known = FLAGS.get(flag)
            page.line(
                f"{clean(flag)}: {known.name}, {known.meaning}" if known else clean(flag), "dim", indent=7
            )
        if not author:  # the summary has its words
            page.line(clean(hop.meaning), indent=7)
        if line.failure:
            page.line(f"transport: {clean(line.failure)}", "dim", indent=7)


def _bad(hop: Seen) -> bool:
    return bool(hop.line.flags) or (not hop.line.via_upstream and (hop.line.status or 0) >= 400)


def _where(hop: Seen) -> str:
    if hop.role == "sidecar-inbound":
        return f"to the application on port {hop.port}" if hop.port else ""
    place = place_of(hop)
    by = f" by {named(hop.route)}" if hop.route else ""
    return clean(f"to {place}") + by if place else by.strip()


def _cause(page: Page, cause: Cause) -> None:
    page.line(Text.assemble(("why: ", "bold"), clean(cause.text)), indent=2)
    for ref in cause.objects if page.wide else cause.objects[:_OBJECTS]:
        page.line(named(ref), indent=7)
    for fact in cause.evidence if page.wide else cause.evidence[:3]:
        page.line(evidence_text(fact), "dim", indent=7)
    if cause.fix:
        page.line(Text.assemble(("change: ", "bold green"), clean(cause.fix)), indent=2)
    for command in cause.verify if page.wide else cause.verify[:2]:
        page.raw(" " * 4 + clean(command.command), "cyan")
        page.line(f"# {clean(command.expect)}", "dim", indent=6)


def render_markdown(answer: Answer, body: Requests) -> str:
    """The same for an incident document."""
    out = [f"# {len(body.requests)} request{'s' if len(body.requests) != 1 else ''}", ""]
    for one in body.requests:
        what = f"{one.method} {one.authority}{masked(one.path)}".strip() or "TCP connection"
        out += [f"## {_MARK[one.ended][0]} {_md(what)}", "", _md(one.summary), ""]
        out += [f"- {_md(fact)}" for fact in one.client]
        if one.hops:
            out += ["| | proxy | port | status | details | to |", "|---|---|---|---|---|---|"]
        for at, hop in enumerate(one.hops, 1):
            who = named(hop.proxy) if hop.proxy else hop.line.proxy_hint or hop.line.proxy_ip
            port = str(hop.line.local.port) if hop.line.local else ""
            cells = [
                str(at),
                f"{_ROLES[hop.role]} {who}",
                port,
                status_words(hop.line),
                hop.line.details,
                _where(hop),
            ]
            out.append("| " + " | ".join(_md(cell) for cell in cells) + " |")
        out.append("")
        for cause in one.causes:
            out.append(f"**Why:** {_md(cause.text)}")
            out += [f"- {_md(named(ref))}" for ref in cause.objects]
            out += [f"- change: {_md(cause.fix)}"] if cause.fix else []
            out.append("")
    out += [f"- {_md(note)}" for note in body.notes]
    out += [f"- not seen: {_md(gap_text(read))}" for read in answer.incomplete]
    return "\n".join(out).rstrip() + "\n"


def _md(text: str) -> str:
    safe = clean(text)
    for char in "\\`*_[]<>|":
        safe = safe.replace(char, "\\" + char)
    return safe
