"""The way of one request: paths of hops, each ending in an outcome. As the contract's Trace."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from kgdiag.model.finding import Command, Finding
from kgdiag.model.obj import Evidence
from kgdiag.model.ref import Ref

Truth = Literal["intent", "effect", "traffic"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it is on the wire at some hop.

    ``path`` is without the query, ``query`` without the ``?``. Header names are lower case and ``headers``
    lacks Host, which is ``authority`` (with the port, if one was sent). ``scheme`` is http, https, grpc,
    grpcs, tcp or tls: of the URL for the first hop, and what the hop before speaks later on.
    """

    scheme: str
    authority: str
    path: str = "/"
    query: str = ""
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    bare_query: bool = False  # a ``?`` with nothing behind it

    @property
    def host(self) -> str:
        """The authority without its port, lower case."""
        name = self.authority.lower()
        if name.startswith("["):
            return name.partition("]")[0][1:]
        head, colon, tail = name.rpartition(":")
        return head if colon and tail.isdigit() else name

    @property
    def target(self) -> str:
        """Path with query, as the request line has it."""
        return f"{self.path}?{self.query}" if self.query or self.bare_query else self.path

    @property
    def is_http(self) -> bool:
        return self.scheme not in ("tcp", "tls")

    @property
    def grpc(self) -> bool:
        return self.scheme in ("grpc", "grpcs")

    def header(self, name: str) -> str | None:
        """The value of a header; several are joined with commas, as Envoy joins them for matching."""
        wanted = name.lower()
        if wanted in (":authority", "host"):
            return self.authority
        if wanted == ":method":
            return self.method
        if wanted == ":path":
            return self.target
        values = [value for key, value in self.headers if key == wanted]
        return ",".join(values) if values else None

    def to_json(self) -> dict[str, Any]:
        """The request as a backend sees it, in the contract's shape."""
        headers: dict[str, list[str]] = {}
        for name, value in self.headers:
            headers.setdefault(name, []).append(value)
        return {"method": self.method, "host": self.authority, "path": self.target, "headers": headers}


class Act(StrEnum):
    """What a hop does."""

    ACCEPTS = "accepts"
    SELECTS = "selects"
    MATCHES = "matches"
    REWRITES = "rewrites"
    REDIRECTS = "redirects"
    ROUTES = "routes"
    FORWARDS = "forwards"
    REJECTS = "rejects"
    ANSWERS = "answers"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A candidate that did not win here, and the first condition that excluded it. Nearest misses first."""

    object: Ref
    rule: str
    reason: str
    nearness: int = 5

    def to_json(self) -> dict[str, Any]:
        return {"object": self.object.to_json(), "rule": self.rule, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Hop:
    """One decision on the way: which object decided, what, by which field.

    ``brief`` are the fewest words of ``detail`` that a person needs beside the object's name; "" where all
    of it is needed. JSON and ``-o wide`` have ``detail``.
    """

    object: Ref
    action: Act
    detail: str
    evidence: tuple[Evidence, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    truth: Truth = "intent"
    verify: tuple[Command, ...] = ()
    request: Request | None = None
    brief: str = ""

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "object": self.object.to_json(),
            "action": str(self.action),
            "detail": self.detail,
            "truth": self.truth,
            "evidence": [item.to_json() for item in self.evidence],
            "rejected": [item.to_json() for item in self.rejected],
            "verify": [item.to_json() for item in self.verify],
        }
        if self.request is not None:
            out["request"] = self.request.to_json()
        return out


class Result(StrEnum):
    """How a path ends."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    EXTERNAL = "external"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ResponseHeaders:
    """What a gateway does to the answer's headers.

    ``conditional`` are those for which it depends on whether the answer has them: (name, the values where it
    has not, the values where it has, whether its own values stay before those).
    """

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    conditional: tuple[tuple[str, tuple[str, ...], tuple[str, ...], bool], ...] = ()

    def to_json(self) -> dict[str, Any]:
        added: dict[str, str] = {}
        for name, value in self.add:
            added[name] = f"{added[name]},{value}" if name in added else value
        out: dict[str, Any] = {"set": dict(self.set), "add": added, "remove": list(self.remove)}
        if self.conditional:
            out["conditional"] = {
                name: {"absent": list(absent), "present": list(present), "keeps": keeps}
                for name, absent, present, keeps in self.conditional
            }
        return out


@dataclass(frozen=True, slots=True)
class Backend:
    """Through which Service and port a pod got the request."""

    service: Ref | None
    port: int | None
    subset: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "service": self.service.to_json() if self.service else None,
            "port": self.port,
            "subset": self.subset,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the client gets. ``blame`` is the object (and field) where a refused path ends: rules are run on
    it to say what to change. ``missing`` are kinds whose reading would settle an unknown outcome."""

    result: Result
    reason: str
    status: int | None = None
    flag: str | None = None
    location: str | None = None
    backend: Backend | None = None
    cluster: str | None = None
    pods: tuple[Ref, ...] = ()
    grpc_status: int | None = None
    response_headers: ResponseHeaders = ResponseHeaders()
    blame: tuple[Ref, ...] = ()
    fix: str = ""
    routeless: bool = False  # a proxy answered that has no route for the request either

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "result": str(self.result),
            "status": self.status,
            "flag": self.flag,
            "location": self.location,
            "backend": self.backend.to_json() if self.backend else None,
            "cluster": self.cluster,
            "pods": [pod.to_json() for pod in self.pods],
            "reason": self.reason,
            "response_headers": self.response_headers.to_json(),
        }
        if self.grpc_status is not None:
            out["grpc_status"] = self.grpc_status
        return out


@dataclass(frozen=True, slots=True)
class PathTaken:
    """One way from an entry to its outcome; the weights under one entry add up to 1."""

    entry: Ref
    weight: float
    hops: tuple[Hop, ...]
    outcome: Outcome

    def scaled(self, share: float) -> PathTaken:
        return replace(self, weight=self.weight * share)

    def to_json(self) -> dict[str, Any]:
        return {
            "entry": self.entry.to_json(),
            "weight": round(self.weight, 9),
            "hops": [hop.to_json() for hop in self.hops],
            "outcome": self.outcome.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Question:
    """What `kgdiag trace` was asked. ``port`` is the URL's own or its scheme's default.

    ``sni`` None sends no server name; ``client_cert`` is ``none``, ``mesh`` or a file's name.
    ``origin`` is ``--from`` and ``via`` ``--via`` as they were typed, "" where they were not.
    """

    url: str
    request: Request
    address: str
    port: int
    sni: str | None
    origin: str = ""
    via: str = ""
    client_cert: str = "none"
    namespace: str = "default"


@dataclass(frozen=True, slots=True)
class Trace:
    """All paths of one request, with the findings on the objects where they end.

    ``verify`` are commands that send the request, for people: nothing of kgdiag runs them.
    """

    question: Question
    paths: tuple[PathTaken, ...]
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str | None = field(default=None)
    verify: tuple[Command, ...] = ()

    def to_json(self) -> dict[str, Any]:
        asked = self.question
        headers: dict[str, str] = {}
        if asked.request.authority.lower() not in ("", _authority_of(asked.url)):
            headers["host"] = asked.request.authority
        for name, value in asked.request.headers:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        return {
            "kind": "Trace",
            "request": {
                "method": asked.request.method,
                "url": asked.url,
                "headers": headers,
                "from": asked.origin or "outside",
            },
            "paths": [path.to_json() for path in self.paths],
            "findings": [item.to_json() for item in self.findings],
            "notes": list(self.notes),
            "verify": [item.to_json() for item in self.verify],
        }


def _authority_of(url: str) -> str:
    """What a client sends as Host where nobody says otherwise: the URL's host, and a port but its default."""
    scheme, _, rest = url.lower().partition("://")
    netloc = re.split("[/?#]", rest, maxsplit=1)[0]
    return netloc.removesuffix(":443" if scheme in ("https", "grpcs", "tls") else ":80")
