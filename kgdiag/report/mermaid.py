"""The paths of a trace as a Mermaid flowchart. Source of the escapes: mermaid.js.org/syntax/flowchart.

A node is an object with the fewest words of what it decides; what paths have in common at their beginning is
drawn once.
"""

from __future__ import annotations

from collections.abc import Sequence

from kgdiag.app import Answer
from kgdiag.errors import UsageError
from kgdiag.model.trace import Hop, Result, Trace
from kgdiag.report.escape import clean
from kgdiag.report.way import told
from kgdiag.report.words import named, outcome_text, share_text

_STYLE = {
    Result.DELIVERED: "stroke:#2a2",
    Result.REFUSED: "stroke:#c22",
    Result.EXTERNAL: "stroke:#28c",
    Result.UNKNOWN: "stroke:#c90,stroke-dasharray:4",
}
_WIDTH = 72  # characters of one line of a label
_ESCAPES = {ord(char): f"#{ord(char)};" for char in '#&"<>`|[](){};\\'}


def render(answer: Answer) -> str:
    """A flowchart from the client to each outcome; raises UsageError for anything but a trace."""
    body = answer.body
    if not isinstance(body, Trace):
        raise UsageError("mermaid draws traces", subject="-o mermaid", hint="kgdiag trace URL -o mermaid")
    lines = ["flowchart TD", f'  client(["{_label(body.question.origin or "outside")}"])']
    drawn: dict[tuple[object, ...], str] = {}
    for number, path in enumerate(body.paths):
        before: str = "client"
        trail: list[object] = [path.entry]
        share = f"|{_label(share_text(path))}|" if share_text(path) else ""
        for hops in told(path.hops):
            trail.append((hops[0].object, *(hop.detail for hop in hops)))
            key = tuple(trail)
            if key in drawn:
                before = drawn[key]
                continue
            node = drawn[key] = f"n{len(drawn)}"
            lines.append(f'  {node}["{_stop(hops)}"]')
            lines.append(f"  {before} -->{share} {node}")
            before, share = node, ""
        end = f"end{number}"
        lines.append(f'  {end}(["{_label(outcome_text(path.outcome))}"])')
        lines.append(f"  {before} -->{share} {end}")
        lines.append(f"  style {end} {_STYLE[path.outcome.result]}")
    return "\n".join(lines) + "\n"


def _stop(hops: Sequence[Hop]) -> str:
    words = [_label(named(hops[0].object))]
    words += [_label(hop.brief or hop.detail.removeprefix(f"{hop.object} ")) for hop in hops]
    return "<br/>".join(words)


def _label(text: object) -> str:
    """Text that can only be text within a quoted label, cut to one line."""
    safe = clean(text)
    safe = safe if len(safe) <= _WIDTH else safe[: _WIDTH - 1] + "…"
    return safe.translate(_ESCAPES)
