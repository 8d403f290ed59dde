"""Findings that somebody accepted: by an annotation, by the project's file, by a baseline."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase
from typing import Any

from kgdiag.model.finding import Finding
from kgdiag.model.ref import Ref

ANNOTATION = "kgdiag.dev/ignore"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Objects by kinds (group, kind; None for all) and wildcards; ``namespace`` None is every namespace."""

    text: str
    kinds: frozenset[tuple[str, str]] | None
    name: str
    namespace: str | None

    def matches(self, ref: Ref) -> bool:
        if self.kinds is not None and (ref.group, ref.kind) not in self.kinds:
            return False
        if self.namespace is None:
            # Without a namespace the whole may be a name with dots in it.
            return fnmatchcase(ref.name, self.name)
        whole = f"{self.name}.{self.namespace}"
        return (
            fnmatchcase(ref.name, self.name) and fnmatchcase(ref.namespace, self.namespace)
        ) or fnmatchcase(ref.name, whole)


@dataclass(frozen=True, slots=True)
class Suppression:
    """One rule accepted on some objects, with the reason; ``by`` is where it is written (``file:line``)."""

    rule: str
    objects: Pattern | None
    reason: str
    by: str
    expires: date | None = None

    def matches(self, finding: Finding) -> bool:
        return self.rule == finding.rule and (self.objects is None or self.objects.matches(finding.object))

    def expired(self, today: date) -> bool:
        """Whether the day that it holds to is over."""
        return self.expires is not None and today > self.expires


_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """What makes a finding the same one tomorrow: its rule, its object, and the field that is at fault with
    its plain value. Words, places in lists, line numbers and other objects may change.
    """

    rule: str
    object: Ref
    key: str

    @classmethod
    def of(cls, finding: Finding) -> Identity:
        own = next((item for item in finding.evidence if item.object == finding.object), None)
        if own is None:
            return cls(finding.rule, finding.object, "")
        key = _INDEX.sub("[]", own.field)
        if isinstance(own.value, (str, int, bool)):
            key += f"={own.value}"
        return cls(finding.rule, finding.object, key)

    def to_json(self) -> dict[str, Any]:
        return {"rule": self.rule, "object": self.object.to_json(), "key": self.key}


@dataclass(frozen=True, slots=True)
class Baseline:
    """Findings that were there already; the same identity counts as often as it stands in the file."""

    file: str
    known: Counter[Identity] = field(default_factory=Counter)

    @classmethod
    def of(cls, file: str, findings: Iterable[Finding]) -> Baseline:
        return cls(file, Counter(Identity.of(item) for item in findings))

    def to_json(self) -> dict[str, Any]:
        """The document of a baseline file, in a fixed order."""
        return {
            "apiVersion": "kgdiag.dev/v1",
            "kind": "Baseline",
            "findings": [identity.to_json() for identity in sorted(self.known.elements())],
        }
