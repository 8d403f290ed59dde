"""A finding: what is wrong (or worth knowing), on which object, proven by what."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kgdiag.model.obj import Evidence
from kgdiag.model.patch import Patch
from kgdiag.model.ref import Ref


class Severity(StrEnum):
    """``error``: requests fail now; ``warning``: some fail or will; ``info``: a fact, nothing to mend."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the most severe."""
        return {"error": 0, "warning": 1, "info": 2}[self.value]


class Match(StrEnum):
    """How the output of a verification command is held against what was promised."""

    EQUALS = "equals"  # the output, without the newline at its end, is the value
    JSON = "json"  # the output parses as JSON equal to the value's JSON
    CONTAINS = "contains"  # the value stands somewhere in standard output or standard error
    LACKS = "lacks"  # the value stands nowhere in standard output
    EMPTY = "empty"  # nothing on standard output ("No resources found" goes to standard error)
    LINES = "lines"  # that many lines that are not empty
    ANY = "any"  # prints something


@dataclass(frozen=True, slots=True)
class Command:
    """A read-only command that proves a claim, and what it prints where the claim holds.

    ``match`` and ``value`` make the expectation checkable by a machine; ``expect`` says it to a person.
    """

    argv: tuple[str, ...]
    expect: str
    match: Match = Match.ANY
    value: str = ""

    @property
    def command(self) -> str:
        """The command as it is pasted into a shell."""
        return shlex.join(self.argv)

    def to_json(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "expect": self.expect,
            "match": {"how": str(self.match), "value": self.value},
        }


# A fault that findings share: what is wrong (``missing``, ``selects-nothing``, …) and with which object.
Fault = tuple[str, Ref]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding, as the contract's FINDING. Rules build it; nothing else decides severity or words.

    ``causes`` are the faults that this finding is about, ``follows`` those that would explain it: where
    another finding is about one of them, this one is a consequence and is listed under that one
    (``caused``, and in words in ``consequences``).
    """

    rule: str
    name: str
    severity: Severity
    object: Ref
    message: str
    evidence: tuple[Evidence, ...] = ()
    fix: str = ""
    verify: tuple[Command, ...] = ()
    equivalents: tuple[str, ...] = ()
    docs: str = ""
    consequences: tuple[str, ...] = ()
    patch: Patch | None = None
    caused: tuple[Finding, ...] = ()
    causes: tuple[Fault, ...] = ()
    follows: tuple[Fault, ...] = ()

    @property
    def identity(self) -> tuple[str, Ref, str]:
        """Two findings that share it are one: rule, object and words."""
        return (self.rule, self.object, self.message)

    @property
    def sort_key(self) -> tuple[int, str, Ref, str]:
        """Most severe first, then by rule, object and words: the one order of findings."""
        return (self.severity.rank, self.rule, self.object, self.message)

    def brief(self) -> dict[str, Any]:
        """What a finding says, without its proof."""
        return {
            "rule": self.rule,
            "name": self.name,
            "severity": str(self.severity),
            "object": self.object.to_json(),
            "message": self.message,
            "equivalents": list(self.equivalents),
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "name": self.name,
            "severity": str(self.severity),
            "object": self.object.to_json(),
            "message": self.message,
            "evidence": [item.to_json() for item in self.evidence],
            "fix": self.fix,
            "verify": [item.to_json() for item in self.verify],
            "equivalents": list(self.equivalents),
            "docs": self.docs,
            "consequences": list(self.consequences),
            "caused": [item.brief() for item in self.caused],
            "patch": self.patch.to_json() if self.patch else None,
        }
