"""One cause, one finding: what follows from another finding is listed under that one.

Rules say which faults a finding is about and which faults would explain it (``Finding.causes``, ``follows``).
Only what is reported can explain: with ``--only`` or outside of the scope a consequence stands for itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from kgdiag.model.finding import Fault, Finding, Severity


def to_roots(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that nothing else explains, in their one order, with their consequences in words.

    A root is as severe as the worst of its consequences: that is what it does. Facts (info) neither explain
    nor are explained by faults, since nothing has to be mended.
    """
    ordered = sorted(findings, key=lambda finding: finding.sort_key)
    about: dict[Fault, list[int]] = {}
    for at, item in enumerate(ordered):
        if item.severity is not Severity.INFO:
            for fault in item.causes:
                about.setdefault(fault, []).append(at)
    explained = {
        at: found for at in range(len(ordered)) if (found := _explanation(ordered, about, at)) is not None
    }
    under: dict[int, list[Finding]] = {}
    for at in explained:
        if (root := _root(explained, at)) is not None and root != at:
            under.setdefault(root, []).append(ordered[at])
    gone = {id(item) for items in under.values() for item in items}
    roots = [_with(item, under.get(at, [])) for at, item in enumerate(ordered) if id(item) not in gone]
    return sorted(roots, key=lambda finding: finding.sort_key)


def _explanation(ordered: list[Finding], about: dict[Fault, list[int]], at: int) -> int | None:
    """The first other finding that is about something that this one follows from."""
    if ordered[at].severity is Severity.INFO:
        return None
    return next(
        (other for fault in ordered[at].follows for other in about.get(fault, ()) if other != at), None
    )


def _root(explained: dict[int, int], at: int) -> int | None:
    """The end of the chain of explanations; of a circle, its first member."""
    seen: list[int] = []
    while at in explained:
        if at in seen:
            return min(seen[seen.index(at) :])
        seen.append(at)
        at = explained[at]
    return at


def _with(root: Finding, consequences: list[Finding]) -> Finding:
    if not consequences:
        return root
    caused = [inner for item in consequences for inner in (item, *item.caused)]
    words = [f"{item.object}: {item.message} ({item.rule})" for item in caused]
    worst = min((root, *consequences), key=lambda item: item.severity.rank).severity
    return replace(
        root,
        severity=worst,
        consequences=(*root.consequences, *words),
        caused=(*root.caused, *caused),
    )
