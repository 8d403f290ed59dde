"""What a question needs to read, and how each read ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj


class Status(StrEnum):
    """How a read ended. ``ok`` and ``absent`` are knowledge; ``forbidden`` and ``failed`` are gaps."""

    OK = "ok"
    ABSENT = "absent"
    FORBIDDEN = "forbidden"
    FAILED = "failed"


class Need(NamedTuple):
    """One read: a whole kind, a kind in one namespace, the objects with some labels, or one object by name.

    ``namespace`` None is every namespace (and the only value for cluster-scoped kinds); ``name`` None is a
    list; ``labels`` is an equality selector, sorted, and empty where all are wanted.
    """

    kind: Kind
    namespace: str | None = None
    name: str | None = None
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """How one read ended. An object that does not exist is an ``ok`` read of nothing.

    ``absent`` means that the server does not serve the kind (its CRD is not installed).
    """

    need: Need
    status: Status = Status.OK
    objects: tuple[Obj, ...] = field(default=(), repr=False)
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """The contract's READ, with what was asked for where it was less than the whole kind."""
        kind = self.need.kind
        out: dict[str, Any] = {
            "kind": kind.name,
            "group": kind.group,
            "status": str(self.status),
            "message": self.message,
        }
        if self.need.namespace is not None:
            out["namespace"] = self.need.namespace
        if self.need.name is not None:
            out["name"] = self.need.name
        if self.need.labels:
            out["selector"] = ",".join(f"{key}={value}" for key, value in self.need.labels)
        return out


class Origin(StrEnum):
    """Where objects come from, which decides what a missing one means."""

    LIVE = "live"
    SNAPSHOT = "snapshot"
    FILES = "files"


class Source(Protocol):
    """Whatever objects are read from: a live cluster, files, a snapshot."""

    @property
    def origin(self) -> Origin: ...

    def read(self, needs: list[Need]) -> list[Read]:
        """Answer every need, in the order given; never raises for a single need that fails."""
        ...
