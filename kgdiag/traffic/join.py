"""Lines of several proxies' logs, put together to requests.

Two things join lines: the request id, which proxies hand on, and the connection between two proxies, whose
both ends are logged (the upstream local address of one is the downstream remote address of the next). The
second is needed because a gateway makes a new id for what comes from outside, also where "outside" is itself:
a request that passes a gateway twice has two ids (envoy docs, http_conn_man/headers, x-request-id).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kgdiag.traffic.line import Address, Line

_SLACK = timedelta(milliseconds=2)  # times are cut to milliseconds
_EARLY = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Joined:
    """One request: its lines in the order of its way, and for each the index of the line before it (or None).

    A line without one before is the first, or one whose predecessor is not among the lines that were read.
    """

    lines: tuple[Line, ...]
    before: tuple[int | None, ...]

    @property
    def first(self) -> Line:
        return self.lines[0]

    def behind(self, at: int) -> list[int]:
        """The lines that follow one directly: several where it was tried again or goes to several places."""
        return [index for index, parent in enumerate(self.before) if parent == at]


def join(lines: Iterable[Line]) -> list[Joined]:
    """The requests of all lines, by the time (else the place) of their first line."""
    every = list(lines)
    before: dict[int, int] = {}
    _by_connection(every, before)
    _by_pod(every, before)
    groups = _groups(every, before)
    found = [_ordered(every, group, before) for group in groups]
    return sorted(found, key=lambda one: (one.first.time or _EARLY, one.first.number))


def _by_connection(lines: Sequence[Line], before: dict[int, int]) -> None:
    """The lines at both ends of one connection: A's own address and its endpoint are B's client and self."""
    ends: dict[tuple[Address, Address], list[int]] = {}
    for at, line in enumerate(lines):
        if line.remote and line.local and line.remote.port:
            ends.setdefault((line.remote, line.local), []).append(at)
    for at in sorted(range(len(lines)), key=lambda at: (lines[at].time or _EARLY, at)):
        line = lines[at]
        if not line.upstream_local or not line.upstream:
            continue
        there = ends.get((line.upstream_local, line.upstream), ())
        able = [
            one
            for one in there
            if one not in before and _may_follow(line, lines[one]) and not _cycle(before, at, one)
        ]
        if able:
            best = max(able, key=lambda one: (*_likeness(line, lines[one]), -abs(one - at)))
            before[best] = at


def _may_follow(line: Line, other: Line) -> bool:
    """Whether a line can be what came of another: connections are kept, so that many requests share one."""
    if line.method != other.method and line.method and other.method:
        return False
    if line.time and line.end and other.time:
        return line.time - _SLACK <= other.time <= line.end + _SLACK
    return True


def _likeness(line: Line, other: Line) -> tuple[float, ...]:
    close = -abs((other.time - line.time).total_seconds()) if line.time and other.time else 0.0
    return (
        float(line.request_id == other.request_id and bool(line.request_id)),
        float(line.path == other.path) + float(line.user_agent == other.user_agent),
        float(line.status == other.status or not line.via_upstream),
        close,
    )


def _by_pod(lines: Sequence[Line], before: dict[int, int]) -> None:
    """Lines of one id that no connection joins: a sidecar shows its client without the port, and what an
    application sends on begins in its own pod."""
    by_id: dict[str, list[int]] = {}
    for at, line in enumerate(lines):
        if line.request_id:
            by_id.setdefault(line.request_id, []).append(at)
    taken = set(before.values())
    for group in by_id.values():
        for at in group:
            if at in before:
                continue
            line = lines[at]
            able = [
                one
                for one in group
                if one != at and _leads_to(lines[one], line) and not _cycle(before, one, at)
            ]
            if able:
                best = max(able, key=lambda one: (one not in taken, *_likeness(lines[one], line)))
                before[at] = best
                taken.add(best)


def _leads_to(line: Line, other: Line) -> bool:
    if not _may_follow(line, other):
        return False
    if other.inbound:
        return not line.inbound and line.upstream is not None and line.upstream == other.local
    return (
        line.inbound
        and bool(other.proxy_ip)
        and line.proxy_ip == other.proxy_ip
        and line.local != other.local
    )


def _cycle(before: dict[int, int], start: int, wanted: int) -> bool:
    at: int | None = start
    while at is not None:
        if at == wanted:
            return True
        at = before.get(at)
    return False


def _groups(lines: Sequence[Line], before: dict[int, int]) -> list[list[int]]:
    """The lines of each request. Those of one id stay together, unless two of them are alike: a client that
    sends the same id twice has sent two requests."""
    root = {at: _root(before, at) for at in range(len(lines))}
    trees: dict[int, list[int]] = {}
    for at, top in root.items():
        trees.setdefault(top, []).append(at)
    by_id: dict[str, list[int]] = {}
    out: list[list[int]] = []
    for top, members in trees.items():
        name = lines[top].request_id
        if name:
            by_id.setdefault(name, []).append(top)
        else:
            out.append(members)
    for tops in by_id.values():
        places = [
            (lines[top].local, lines[top].proxy, lines[top].proxy_hint, lines[top].cluster) for top in tops
        ]
        known = any(lines[top].local for top in tops)
        if known and len(set(places)) < len(places):
            out += [trees[top] for top in tops]
        else:
            out.append([at for top in tops for at in trees[top]])
    return out


def _root(before: dict[int, int], at: int) -> int:
    while at in before:
        at = before[at]
    return at


def _ordered(lines: Sequence[Line], group: list[int], before: dict[int, int]) -> Joined:
    """By way, then by time, then the longer request (it waits for the shorter one), then as they came."""

    # A line behind another comes after it; who has none goes by time and duration.
    def key(at: int) -> tuple[datetime, int, int]:
        line = lines[at]
        return (line.time or _EARLY, -(line.duration or 0), at)

    order: list[int] = []
    children: dict[int | None, list[int]] = {}
    for at in sorted(group, key=key):
        children.setdefault(before.get(at), []).append(at)
    stack = list(reversed(children.get(None, [])))
    while stack:
        at = stack.pop()
        order.append(at)
        stack += reversed(children.get(at, []))
    place = {at: index for index, at in enumerate(order)}
    return Joined(
        tuple(lines[at] for at in order),
        tuple(place.get(before[at]) if at in before else None for at in order),
    )
