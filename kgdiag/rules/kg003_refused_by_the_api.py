"""Document that the API refuses or reads otherwise than it looks

## What it finds
A label or annotation in a file whose value is no string (`version: 1`, `enabled: true`), a field that is a
list, a mapping or a single value where its kind has another of these, and the same key twice in one mapping.

## Why it matters
The API refuses an object whose labels are not strings or whose fields have another type, so the cluster does
not have it. Of two keys of the same name the later one counts, and the earlier does nothing.

## How to prove it
`kubectl apply --dry-run=server -f FILE` refuses the document, or warns of the key.

## How to fix it
Quote the value; write the field as its kind has it (`kubectl explain KIND.spec.FIELD`); remove one of the
keys.

## What it does not report
The same object in two files: the later one is read, as kubectl would apply it.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.note import NoteCode
from kgdiag.model.obj import Evidence
from kgdiag.rules.base import Rule, Scope, rule

_FIXES = {
    NoteCode.NOT_TEXT: "quote the value of",
    NoteCode.WRONG_TYPE: "give the right type to",
    NoteCode.DUPLICATE_KEY: "remove one of the two",
}


@rule("KG003", "refused-by-the-api", Severity.WARNING, needs=(), about=())
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such place."""
    for note in world.documents:
        if note.code not in _FIXES or note.object is None:
            continue
        if scope.objects and note.object not in scope.objects:
            continue
        if scope.namespaces is not None and note.object.namespace not in scope.namespaces:
            continue
        yield self.finding(
            note.object,
            note.message,
            severity=Severity.WARNING if note.code is NoteCode.DUPLICATE_KEY else Severity.ERROR,
            evidence=[Evidence(note.object, note.nearest or "metadata", note.nearest, note.place)],
            fix=f"{_FIXES[note.code]} {note.nearest}",
        )
