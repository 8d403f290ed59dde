"""Any object: owners, what it links to, what links to it, its conditions."""

from __future__ import annotations

from kgdiag.dialects.core import owners
from kgdiag.explain.base import Context, Draft, conditions, standing
from kgdiag.model import commands
from kgdiag.model.explanation import Relation
from kgdiag.model.finding import Match
from kgdiag.model.obj import Obj


def describe(context: Context, obj: Obj, draft: Draft) -> None:
    """Fill the draft for a kind that has no explainer of its own."""
    related(context, obj, draft)
    said = standing(obj)
    bad = [row for row in conditions(obj) if row[1].startswith("False")]
    words = said or (f"{bad[0][0]}=False: {bad[0][2] or bad[0][3]}" if bad else "")
    draft.summary = f"{obj.kind.name} {obj.name}" + (f" is {words}" if words else " has no status of its own")
    draft.table("Conditions", ("condition", "status", "reason", "message"), conditions(obj))
    exists(obj, draft)


def related(context: Context, obj: Obj, draft: Draft) -> None:
    """Owners and links in both directions."""
    for link in owners(obj):
        state = context.state(link.target, optional=True)
        draft.relations.append(Relation("owned-by", link.target, link.detail, "up", state))
    draft.relate(context, context.into(obj), "up")
    draft.relate(context, context.out(obj), "down")


def exists(obj: Obj, draft: Draft) -> None:
    """The command that shows the object itself."""
    draft.verify.append(
        commands.get(
            obj.kind,
            obj.namespace,
            obj.name,
            names_only=True,
            expect=f"{obj.kind.name.lower()}, by its name",
            match=Match.CONTAINS,
            value=f"/{obj.name}",
        )
    )
