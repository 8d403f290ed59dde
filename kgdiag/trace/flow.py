"""What moves along a way: a request on a connection, and the branches that come of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from kgdiag.model.obj import Obj
from kgdiag.model.proxy import HeaderEdits, Peer
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Backend, Hop, Outcome, Request, ResponseHeaders, Result
from kgdiag.trace.envoy import Hello

Failure = Literal["refused", "reset", "tls", "timeout"]


@dataclass(frozen=True, slots=True)
class Front:
    """Who waits for the answer of this connection: the client itself, or a proxy that answers for it.

    ``http`` says that it makes an HTTP answer of a failed connection, ``cut`` that a TCP proxy lies between
    it and the failure: then all failures look like a connection that was closed.
    """

    name: Literal["client", "envoy", "haproxy", "nginx"] = "client"
    http: bool = False
    cut: bool = False

    def answer(self, failure: Failure) -> tuple[int | None, str | None]:
        """(status, flag) of what the client gets when the connection fails like this.

        Sources: envoy docs, access log response flags (UF, UC); haproxy configuration, option redispatch and
        the 502/503 of section 1.3; nginx ngx_http_upstream_module.
        """
        if not self.http:
            return None, None
        if self.name == "envoy":
            if failure == "reset" or self.cut:
                return 503, "UC"
            return 503, "UF"
        if self.name == "haproxy":
            return (502 if failure == "reset" or self.cut else 503), None
        return (504 if failure == "timeout" else 502), None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client connects to: a Service's port, a pod's port, or a host outside of the cluster."""

    host: str
    port: int
    address: str
    service: Obj | None = None
    pod: Obj | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """A request on a connection.

    ``layers`` are its layers of TLS, outermost first. ``source`` is the pod that opened the connection.
    ``response`` are the edits that proxies passed so far make to the answer, innermost first. ``seen`` holds
    what was passed, to know a loop by.
    """

    request: Request
    layers: tuple[Hello, ...] = ()
    source: Obj | None = None
    peer: Peer = field(default_factory=Peer)
    front: Front = Front()
    cluster: str | None = None
    backend: Backend | None = None
    response: tuple[HeaderEdits, ...] = ()
    seen: frozenset[object] = frozenset()
    depth: int = 0
    target: Target | None = None
    mapped: bool = True  # the port number was meant for the pod, and not for a Service that maps none
    forwarded: str | None = None  # X-Forwarded-Proto as the last Envoy set it
    suspects: tuple[Ref, ...] = ()  # the objects that sent this connection on, as the last proxy did it
    declared: str = ""  # what the Service port that leads here says that it speaks: http, tls or nothing

    def to(self, **changes: object) -> Flow:
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Branch:
    """One way on from some place, with its share."""

    weight: float
    hops: tuple[Hop, ...]
    outcome: Outcome

    def behind(self, *hops: Hop) -> Branch:
        return replace(self, hops=(*hops, *self.hops))

    def scaled(self, share: float) -> Branch:
        return replace(self, weight=self.weight * share)


def behind(hops: Sequence[Hop], branches: Iterable[Branch]) -> list[Branch]:
    """The branches with these hops before them."""
    return [branch.behind(*hops) for branch in branches]


def blaming(objects: Sequence[Ref], branches: Iterable[Branch]) -> list[Branch]:
    """The branches with objects that have to do with how they end, besides those that decided it."""
    return [
        replace(one, outcome=replace(one.outcome, blame=(*one.outcome.blame, *objects))) for one in branches
    ]


def scaled(share: float, branches: Iterable[Branch]) -> list[Branch]:
    """The branches with a share of their weights."""
    return [branch.scaled(share) for branch in branches]


def merged(branches: Iterable[Branch]) -> list[Branch]:
    """Branches of one set of endpoints, with those made one that differ in nothing but their pods.

    What is delivered counts as the same where pods get the same request by the same kind of way; of what is
    not, reasons and losers have to agree too.
    """
    found: dict[object, Branch] = {}
    for branch in branches:
        key = _likeness(branch)
        other = found.get(key)
        if other is None:
            found[key] = branch
        else:
            pods = tuple(dict.fromkeys((*other.outcome.pods, *branch.outcome.pods)))
            outcome = replace(other.outcome, pods=pods)
            found[key] = replace(other, weight=other.weight + branch.weight, outcome=outcome)
    return list(found.values())


def _likeness(branch: Branch) -> object:
    if branch.outcome.result is Result.DELIVERED:
        actions = tuple(hop.action for hop in branch.hops)
        last = branch.hops[-1].request if branch.hops else None
        return actions, last, replace(branch.outcome, pods=(), reason="", blame=())
    hops = tuple(
        (_who(hop.object), hop.action, "" if _is_pod(hop.object) else hop.detail, hop.rejected)
        for hop in branch.hops
    )
    blame = tuple(_who(ref) for ref in branch.outcome.blame)
    return hops, replace(branch.outcome, pods=(), reason=_what(branch), blame=blame, fix="")


def _what(branch: Branch) -> str:
    """The reason, unless it speaks of a pod by name."""
    last = branch.hops[-1].object if branch.hops else None
    return "" if last is not None and _is_pod(last) else branch.outcome.reason


def _is_pod(ref: Ref) -> bool:
    return (ref.group, ref.kind) == ("", "Pod")


def _who(ref: Ref) -> Ref:
    return Ref("", "Pod", ref.namespace, "") if _is_pod(ref) else ref


def response_headers(levels: Iterable[HeaderEdits]) -> ResponseHeaders:
    """What all edits together do to an answer, whose own headers are not known.

    Each header is followed twice, as one that the answer has and as one that it lacks.
    """
    ways: dict[str, _Header] = {}
    for level in levels:
        for name in level.remove:
            ways.setdefault(name.lower(), _Header()).overwrite(())
        before = {name: (bool(way.absent), way.keeps or bool(way.present)) for name, way in ways.items()}
        for pass_ in (("set", "set_if_present"), ("add", "add_if_absent")):
            for op in level.ops:
                how, name, value = op[0], op[1].lower(), op[2]
                if how not in pass_ or (not value and op not in level.keep_empty):
                    continue
                way = ways.setdefault(name, _Header())
                way.apply(how, value, before.get(name, (False, True)))
    found = sorted(ways.items())
    steady = [(name, way) for name, way in found if way.absent == way.present]
    return ResponseHeaders(
        set=tuple((name, way.present[0]) for name, way in steady if not way.keeps and way.present),
        add=tuple(
            (name, value) for name, way in steady for value in (way.present if way.keeps else way.present[1:])
        ),
        remove=tuple(name for name, way in steady if not way.keeps and not way.present),
        conditional=tuple(
            (name, way.absent, way.present, way.keeps) for name, way in found if way.absent != way.present
        ),
    )


@dataclass
class _Header:
    """A header of an answer: its values where the answer lacks it, and where it has it (behind its own values
    while ``keeps``)."""

    absent: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    keeps: bool = True

    def overwrite(self, values: tuple[str, ...]) -> None:
        self.absent, self.present, self.keeps = values, values, False

    def apply(self, how: str, value: str, had: tuple[bool, bool]) -> None:
        """``had``: whether the header was there before this level, in both cases."""
        if how == "set" or (how == "set_if_present" and had == (True, True)):
            self.overwrite((value,))
        elif how == "set_if_present":
            if had[0]:
                self.absent = (value,)
            if had[1]:
                self.present, self.keeps = (value,), False
        else:
            if how == "add" or not had[0]:
                self.absent = (*self.absent, value)
            if how == "add" or not had[1]:
                self.present = (*self.present, value)


@dataclass
class Notes:
    """Remarks that belong to no hop, each once, in the order in which they came up."""

    texts: dict[str, None] = field(default_factory=dict)

    def add(self, text: str) -> None:
        self.texts.setdefault(text)

    def taken(self, start: int) -> list[str]:
        """The remarks from the one with this number on, which are taken out."""
        found = list(self.texts)[start:]
        for text in found:
            del self.texts[text]
        return found


__all__ = [
    "Branch",
    "Failure",
    "Flow",
    "Front",
    "Notes",
    "Outcome",
    "Result",
    "Target",
    "behind",
    "blaming",
    "merged",
    "response_headers",
    "scaled",
]
