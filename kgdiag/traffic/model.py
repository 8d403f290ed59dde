"""What is said of requests: as the contract's document of kind ``Requests``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kgdiag.model.finding import Command, Finding
from kgdiag.model.obj import Evidence
from kgdiag.model.ref import Ref
from kgdiag.traffic.flags import FLAGS
from kgdiag.traffic.line import Line

_SECRET = re.compile(
    r"([?&;](?:[a-z0-9_.-]*(?:token|secret|passw|key|sig|auth|session|jwt)[a-z0-9_.-]*|code)=)[^&;#]*", re.I
)


def masked(path: str) -> str:
    """A path whose query has ``***`` in the place of what may let somebody in (tokens, keys, signatures)."""
    return _SECRET.sub(r"\1***", path)


class Ended(StrEnum):
    """Who answered a request.

    ``answered``: the application (or whatever is behind the last proxy that logged it), with any status, or a
    proxy that was told to (a redirect, a direct response below 400). ``refused``: a proxy, with an error.
    ``unanswered``: nobody; the connection was closed. ``unknown``: what is missing stands in the summary.
    """

    ANSWERED = "answered"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as one proxy saw it. ``role`` is gateway, sidecar-inbound, sidecar-outbound or proxy (not
    known which); the REFs are None where the log does not lead to an object."""

    line: Line
    role: str
    meaning: str
    proxy: Ref | None = None
    service: Ref | None = None
    port: int | None = None
    subset: str = ""
    upstream: Ref | None = None
    route: Ref | None = None
    before: int | None = None

    def to_json(self) -> dict[str, Any]:
        line = self.line
        return {
            "proxy": _ref(self.proxy),
            "role": self.role,
            "listener": str(line.local) if line.local else None,
            "time": line.time.isoformat() if line.time else None,
            "duration_ms": line.duration,
            "status": line.status,
            "flags": [
                {"flag": flag, "name": FLAGS[flag].name, "meaning": FLAGS[flag].meaning}
                if flag in FLAGS
                else {"flag": flag, "name": "", "meaning": ""}
                for flag in line.flags
            ],
            "details": line.details or None,
            "transport_failure": line.failure or None,
            "meaning": self.meaning,
            "request_id": line.request_id or None,
            "method": line.method or None,
            "authority": line.authority or None,
            "path": masked(line.path) or None,
            "server_name": line.sni or None,
            "route": line.route or None,
            "route_object": _ref(self.route),
            "cluster": line.cluster or None,
            "service": _ref(self.service),
            "port": self.port,
            "subset": self.subset or None,
            "upstream": line.upstream_name or None,
            "upstream_pod": _ref(self.upstream),
            "downstream": str(line.remote) if line.remote else None,
            "after": self.before,
        }


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a request ended so, by the objects: what is declared explains it, or no longer does.

    ``objects`` are those that it names; the first is the one to look at.
    """

    text: str
    objects: tuple[Ref, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    fix: str = ""
    verify: tuple[Command, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "objects": [ref.to_json() for ref in self.objects],
            "evidence": [item.to_json() for item in self.evidence],
            "fix": self.fix,
            "verify": [item.to_json() for item in self.verify],
        }


@dataclass(frozen=True, slots=True)
class Explained:
    """One request: its hops in the order of its way, who ended it (``author``, the index of that hop), and
    why. ``client`` is what curl saw where its output was given."""

    hops: tuple[Seen, ...]
    ended: Ended
    summary: str
    author: int | None = None
    by: Ref | None = None
    causes: tuple[Cause, ...] = ()
    client: tuple[str, ...] = ()
    method: str = ""
    authority: str = ""
    path: str = ""
    status: int | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """Its request ids: several where a gateway made a new one."""
        return tuple(dict.fromkeys(hop.line.request_id for hop in self.hops if hop.line.request_id))

    def to_json(self) -> dict[str, Any]:
        return {
            "ids": list(self.ids),
            "method": self.method or None,
            "authority": self.authority or None,
            "path": masked(self.path) or None,
            "status": self.status,
            "ended": str(self.ended),
            "by": _ref(self.by),
            "author": self.author,
            "summary": self.summary,
            "hops": [hop.to_json() for hop in self.hops],
            "causes": [cause.to_json() for cause in self.causes],
            "client": list(self.client),
        }


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests that logs (or curl) tell of. ``other_lines`` were no access log lines."""

    requests: tuple[Explained, ...]
    other_lines: int = 0
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        counts = {str(ended): 0 for ended in Ended}
        for one in self.requests:
            counts[str(one.ended)] += 1
        return {
            "kind": "Requests",
            "requests": [one.to_json() for one in self.requests],
            "summary": counts,
            "other_lines": self.other_lines,
            "notes": list(self.notes),
            "findings": [item.to_json() for item in self.findings],
        }


def _ref(ref: Ref | None) -> dict[str, str] | None:
    return ref.to_json() if ref else None
