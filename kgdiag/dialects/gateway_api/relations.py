"""How Gateway API objects relate."""

from __future__ import annotations

from kgdiag.graph.relations import Relation

RELATIONS: tuple[Relation, ...] = ()
