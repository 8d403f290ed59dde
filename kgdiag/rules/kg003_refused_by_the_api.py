"""Document that the API refuses or reads otherwise than it looks

## What it finds
A label or annotation in a file whose value is no string (`version: 1`, `enabled: true`), and the same key
twice in one mapping.

## Why it matters
The API refuses an object whose labels are not strings, so the cluster does not have it. Of two keys of the
same name the later one counts, and the earlier does nothing.

## How to prove it
`kubectl apply --dry-run=server -f FILE` refuses the document, or warns of the key.

## How to fix it
Quote the value; remove one of the keys.

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


@rule("KG003", "refused-by-the-api", Severity.WARNING, needs=(), about=())
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such place."""
    for note in world.documents:
        if note.code not in (NoteCode.NOT_TEXT, NoteCode.DUPLICATE_KEY) or note.object is None:
            continue
        if scope.objects and note.object not in scope.objects:
            continue
        if scope.namespaces is not None and note.object.namespace not in scope.namespaces:
            continue
        text = note.code is NoteCode.NOT_TEXT
        yield self.finding(
            note.object,
            note.message,
            severity=Severity.ERROR if text else Severity.WARNING,
            evidence=[Evidence(note.object, note.nearest or "metadata", note.nearest, note.place)],
            fix=f"quote the value of {note.nearest}" if text else f"remove one of the two {note.nearest}",
        )
