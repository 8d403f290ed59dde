"""The paths of a trace as a Mermaid flowchart. Source of the escapes: mermaid.js.org/syntax/flowchart."""

from __future__ import annotations

from kgdiag.app import Answer
from kgdiag.errors import UsageError
from kgdiag.model.trace import Result, Trace
from kgdiag.report.escape import clean
from kgdiag.report.words import named, outcome_text, share_text

_STYLE = {
    Result.DELIVERED: "stroke:#2a2",
    Result.REFUSED: "stroke:#c22",
    Result.EXTERNAL: "stroke:#28c",
    Result.UNKNOWN: "stroke:#c90,stroke-dasharray:4",
}


def render(answer: Answer) -> str:
    """A flowchart from the client to each outcome; raises UsageError for anything but a trace."""
    body = answer.body
    if not isinstance(body, Trace):
        raise UsageError("mermaid draws traces", subject="-o mermaid", hint="kgdiag trace URL -o mermaid")
    lines = ["flowchart LR", f'  client(["{_label(body.question.origin or "outside")}"])']
    for number, path in enumerate(body.paths):
        before, arrow = "client", f"-->|{_label(share_text(path))}|" if share_text(path) else "-->"
        for at, hop in enumerate(path.hops):
            node = f"p{number}h{at}"
            lines.append(
                f'  {node}["{_label(named(hop.object))}<br/>{_label(hop.action)}: {_label(hop.detail)}"]'
            )
            lines.append(f"  {before} {arrow} {node}")
            before, arrow = node, "-->"
        end = f"p{number}end"
        words = f"{outcome_text(path.outcome)}<br/>{_label(path.outcome.reason)}"
        lines.append(f'  {end}(["{words if path.outcome.location is None else _label(words)}"])')
        lines.append(f"  {before} {arrow} {end}")
        lines.append(f"  style {end} {_STYLE[path.outcome.result]}")
    return "\n".join(lines) + "\n"


def _label(text: object) -> str:
    """Text that can only be text within a quoted label."""
    safe = clean(text)
    for char in '#&"<>`|[](){};\\':
        safe = safe.replace(char, f"#{ord(char)};") if char != "#" else safe.replace("#", "#35;")
    return safe
