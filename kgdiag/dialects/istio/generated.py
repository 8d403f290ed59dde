"""Objects that istiod makes of others (a Gateway and VirtualServices of an Ingress), which nobody declared.

They carry where they come from, so that hops and losers name what a person can edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kgdiag.model.kind import Kind
from kgdiag.model.obj import Evidence, Obj
from kgdiag.model.proxy import Excluded, Origin
from kgdiag.model.ref import Ref


class Generated(Obj):
    """An object made of ``source``; ``parts`` maps its fields to the source's, the longest prefix wins."""

    __slots__ = ("parts", "source")

    def __init__(
        self, kind: Kind, raw: Mapping[str, Any], source: Obj, parts: Mapping[str, tuple[Obj, str]]
    ) -> None:
        super().__init__(kind, raw)
        self.source = source
        self.parts = parts

    def of(self, part: str) -> tuple[Obj, str]:
        """The declared object and its field that a field of this one comes from."""
        found = [key for key in self.parts if part == key or part.startswith((f"{key}.", f"{key}["))]
        return self.parts[max(found, key=len)] if found else (self.source, "spec")

    def evidence(self, field_path: str, value: Any = ...) -> Evidence:
        source, part = self.of(field_path)
        return source.evidence(part)


def declared(obj: Obj, part: str) -> tuple[Ref, str]:
    """The object that a person wrote, and the part of it: ``obj`` itself unless istiod made it."""
    if isinstance(obj, Generated):
        source, where = obj.of(part)
        return source.ref, where
    return obj.ref, part


def origin(obj: Obj, part: str, *evidence: Evidence) -> Origin:
    """Where an entry comes from; the part is its evidence where none is given."""
    return Origin(*declared(obj, part), evidence or (obj.evidence(part),))


def excluded(obj: Obj, part: str, reason: str, nearness: int) -> Excluded:
    """A candidate that lost, as the object that a person wrote."""
    return Excluded(*declared(obj, part), reason, nearness)
