"""The paths of a trace as a Mermaid flowchart. Source of the escapes: mermaid.js.org/syntax/flowchart.

A node is an object with the fewest words of what it decides; what paths have in common at their beginning is
drawn once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kgdiag.app import Answer
from kgdiag.errors import UsageError
from kgdiag.model.trace import Hop, Result, Trace
from kgdiag.report.escape import clean
from kgdiag.report.way import told
from kgdiag.report.words import named, outcome_text

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
    edges: dict[tuple[str, str], float] = {}
    for number, path in enumerate(body.paths):
        before: str = "client"
        trail: list[object] = [path.entry]
        for hops in told(path.hops):
            trail.append((hops[0].object, *(hop.detail for hop in hops)))
            node = drawn.setdefault(tuple(trail), f"n{len(drawn)}")
            if not any(end == node for _, end in edges):
                lines.append(f'  {node}["{_stop(hops)}"]')
            edges[before, node] = edges.get((before, node), 0.0) + path.weight
            before = node
        end = f"end{number}"
        lines.append(f'  {end}(["{_label(outcome_text(path.outcome))}"])')
        lines.append(f"  style {end} {_STYLE[path.outcome.result]}")
        edges[before, end] = path.weight
    return "\n".join([*lines, *_arrows(edges)]) + "\n"


def _arrows(edges: Mapping[tuple[str, str], float]) -> Iterator[str]:
    """The arrows; where a way forks, with the share of each branch."""
    ways: dict[str, int] = {}
    for start, _ in edges:
        ways[start] = ways.get(start, 0) + 1
    for (start, end), weight in edges.items():
        share = f"|{weight * 100:.4g} %|" if ways[start] > 1 and weight < 0.9999 else ""
        yield f"  {start} -->{share} {end}"


def _stop(hops: Sequence[Hop]) -> str:
    words = [_label(named(hops[0].object))]
    words += [_label(hop.brief or hop.detail.removeprefix(f"{hop.object} ")) for hop in hops]
    return "<br/>".join(words)


def _label(text: object) -> str:
    """Text that can only be text within a quoted label, cut to one line."""
    safe = clean(text)
    safe = safe if len(safe) <= _WIDTH else safe[: _WIDTH - 1] + "…"
    return safe.translate(_ESCAPES)
