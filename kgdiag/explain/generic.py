"""Any object: owners, what it links to, what links to it, its conditions."""

from __future__ import annotations

from kgdiag.dialects.core import owners
from kgdiag.explain.base import Context, Draft, conditions, standing
from kgdiag.explain.words import count, listed
from kgdiag.model import commands
from kgdiag.model.explanation import Relation
from kgdiag.model.finding import Match
from kgdiag.model.note import NoteCode
from kgdiag.model.obj import Obj


def describe(context: Context, obj: Obj, draft: Draft) -> None:
    """Fill the draft for a kind that has no explainer of its own."""
    related(context, obj, draft)
    unknown = any(
        note.code is NoteCode.UNKNOWN_KIND and note.object == obj.ref for note in context.world.documents
    )
    how = (
        f"is of a kind that no server knows: {obj.api_version} {obj.kind.name}"
        if unknown
        else _how(obj, draft)
    )
    draft.summary = f"{obj.kind.name} {obj.name} {how}"
    draft.table("Conditions", ("condition", "status", "reason", "message"), conditions(obj))
    if unknown:
        said = "the server doesn't have a resource type"
        draft.prove(commands.get(obj.kind, obj.namespace, expect=said, match=Match.CONTAINS, value=said))
    else:
        exists(obj, draft)


def _how(obj: Obj, draft: Draft) -> str:
    """In a few words: what its conditions say, else how it is connected."""
    said = standing(obj)
    if said:
        return f"is {said}" if said == "Ready" else f"says {said}"
    rows = conditions(obj)
    bad = [row for row in rows if row[1].startswith("False")]
    if bad:
        return f"says {bad[0][0]}=False: {bad[0][2] or bad[0][3]}"
    if rows:
        return f"says {listed((f'{row[0]}={row[1]}' for row in rows), 4)}"
    up = [item for item in draft.relations if item.direction == "up" and item.relation != "owned-by"]
    down = [item for item in draft.relations if item.direction == "down"]
    parts = [f"{count(len(up), 'object')} {'refer' if len(up) > 1 else 'refers'} to it"] if up else []
    if down:
        parts.append(f"it refers to {listed((str(item.object) for item in down), 3)}")
    return "exists" + (f"; {'; '.join(parts)}" if parts else "")


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
