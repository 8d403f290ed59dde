"""What is worth knowing about a file that is not an object's own fault or merit: a document that is none,
an apiVersion that no server knows, two documents for one object.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kgdiag.model.ref import Ref


class NoteCode(StrEnum):
    """What a note is about."""

    NOT_A_MANIFEST = "not-a-manifest"  # YAML or JSON, but no Kubernetes object
    NO_NAME = "no-name"  # an object without metadata.name
    TEMPLATE = "template"  # an unrendered template, as Helm charts have them
    SKIPPED = "skipped"  # a file that is no manifest by its place: kustomization, patch
    UNKNOWN_KIND = "unknown-kind"  # no server knows this apiVersion and kind
    DUPLICATE_OBJECT = "duplicate-object"  # the same object twice: the later document wins
    DUPLICATE_KEY = "duplicate-key"  # the same key twice in one mapping: the later one wins
    NOT_TEXT = "not-text"  # a label or annotation whose value is no string: the API refuses the object
    WRONG_TYPE = "wrong-type"  # a list where its kind has a mapping, and so on: it counts as missing
    IGNORED = "ignored"  # text that kubectl does not read, as after ``...``


@dataclass(frozen=True, slots=True)
class Note:
    """One thing about one document of a file.

    ``line`` counts from 1. ``object`` is the object that the document is, where it is one. ``nearest`` is,
    for ``unknown-kind``, the ``apiVersion Kind`` that was probably meant, ``""`` where nothing is near; for
    ``duplicate-object`` the ``file:line`` of the document that loses; for ``duplicate-key``, ``not-text`` and
    ``wrong-type`` the field's path.
    """

    code: NoteCode
    file: str
    line: int
    message: str
    api_version: str = ""
    kind: str = ""
    object: Ref | None = None
    nearest: str = ""

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"
