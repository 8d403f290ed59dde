"""apiVersion or kind that no server knows

## What it finds
A document in files whose apiVersion and kind no API server can have: a misspelt group, a kind in a group
that does not have it, a version that was removed. The nearest real one is named.

## Why it matters
`kubectl apply` answers `no matches for kind …` and creates nothing, or, of several documents, all but
this one: the rest then refers to an object that does not exist.

## How to prove it
`kubectl apply --dry-run=server -f FILE` refuses the document.

## How to fix it
Write the apiVersion and kind that are named.

## What it does not report
Groups that kgdiag does not know: they may be somebody's own definitions.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.note import Note, NoteCode
from kgdiag.model.obj import Evidence
from kgdiag.model.ref import Ref
from kgdiag.rules.base import Rule, Scope, rule


@rule("KG001", "unknown-kind", Severity.ERROR, needs=(), about=())
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each document of an unknown kind."""
    for note in world.documents:
        if note.code is not NoteCode.UNKNOWN_KIND or (scope.objects and note.object not in scope.objects):
            continue
        on = note.object or Ref(note.api_version.rpartition("/")[0], note.kind, "", "")
        if scope.namespaces is not None and on.namespace not in scope.namespaces:
            continue
        yield self.finding(
            on,
            f"no matches for kind {note.kind} in {note.api_version}: {note.message}",
            evidence=[_evidence(note, on)],
            fix=f"write apiVersion and kind as {note.nearest}"
            if note.nearest
            else "correct apiVersion and kind",
            causes=[("missing", meant)] if (meant := _meant(note, on)) else [],
        )


def _meant(note: Note, on: Ref) -> Ref | None:
    """The object that the document was to be, which others may refer to."""
    version, _, kind = note.nearest.partition(" ")
    return Ref(version.rpartition("/")[0], kind, on.namespace, on.name) if kind else None


def _evidence(note: Note, on: Ref) -> Evidence:
    return Evidence(on, "apiVersion", note.api_version, note.place)
