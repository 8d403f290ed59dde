"""What `kgdiag explain` says of one object. As the contract's Explanation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from kgdiag.model.finding import Command, Finding
from kgdiag.model.obj import Evidence
from kgdiag.model.ref import Ref


class State(StrEnum):
    """Whether the other end of a relation was seen."""

    SEEN = "seen"
    MISSING = "missing"  # it does not exist
    NOT_IN_FILES = "not in these files"
    UNREADABLE = "could not be read"


@dataclass(frozen=True, slots=True)
class Relation:
    """One relation of the explained object. ``direction`` is ``up`` for who leads here, ``down`` for where
    it leads, ``own`` for what it is made of."""

    relation: str
    object: Ref
    detail: str
    direction: Literal["up", "down", "own"] = "down"
    state: State = State.SEEN
    evidence: tuple[Evidence, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "relation": self.relation,
            "object": self.object.to_json(),
            "detail": self.detail,
            "direction": self.direction,
            "state": str(self.state),
        }


@dataclass(frozen=True, slots=True)
class Table:
    """A small table of facts: a title, column names and rows of words."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, "columns": list(self.columns), "rows": [list(row) for row in self.rows]}


@dataclass(frozen=True, slots=True)
class Explanation:
    """``summary`` is the verdict in one line; everything below it is for who wants to know more."""

    object: Ref
    summary: str
    tables: tuple[Table, ...] = ()
    relations: tuple[Relation, ...] = ()
    findings: tuple[Finding, ...] = ()
    verify: tuple[Command, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "Explanation",
            "object": self.object.to_json(),
            "summary": self.summary,
            "tables": [table.to_json() for table in self.tables],
            "relations": [item.to_json() for item in self.relations],
            "findings": [item.to_json() for item in self.findings],
            "verify": [item.to_json() for item in self.verify],
            "notes": list(self.notes),
        }
