"""Temporary: see below."""

from __future__ import annotations

from dataclasses import dataclass

from kgdiag.model import kinds
from kgdiag.model.kind import Kind


@dataclass(frozen=True, slots=True)
class Unknown:
    message: str
    nearest: str


_BY_KEY = {kind.key: kind for kind in kinds.ALL}


def known_kind(group: str, kind: str) -> Kind | None:
    return _BY_KEY.get((group, kind))


def plural_of(kind: str) -> str:
    """The plural that most definitions give a kind."""
    name = kind.lower()
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch", "sh")) else f"{name}s"


def unknown_kind(api_version: str, kind: str) -> Unknown | None:
    return None
