"""What `kgdiag check` found. As the contract's Report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kgdiag.model.finding import Finding, Severity


class GroupBy(StrEnum):
    """How a person reads the findings; data formats have them in their one order."""

    OBJECT = "object"
    RULE = "rule"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A rule that says nothing, and why."""

    rule: str
    reason: str

    def to_json(self) -> dict[str, str]:
        return {"rule": self.rule, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A finding that somebody accepted, where and why."""

    finding: Finding
    by: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {"finding": self.finding.to_json(), "by": self.by, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Report:
    """Findings in their one order, rules that could not be run, findings that were suppressed.

    ``rules`` are the ids of the rules that were asked for; ``fail_on`` says which findings fail a build,
    None for none. Both are for formats that show what passed.
    """

    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()
    rules: tuple[str, ...] = ()
    fail_on: Severity | None = Severity.ERROR
    group_by: GroupBy = GroupBy.OBJECT

    def fails(self, finding: Finding) -> bool:
        """Whether the finding makes the exit code 1."""
        return self.fail_on is not None and finding.severity.rank <= self.fail_on.rank

    def to_json(self) -> dict[str, Any]:
        counts = {str(severity): 0 for severity in Severity}
        for item in self.findings:
            counts[str(item.severity)] += 1
        return {
            "kind": "Report",
            "findings": [item.to_json() for item in self.findings],
            "skipped": [item.to_json() for item in self.skipped],
            "suppressed": [item.to_json() for item in self.suppressed],
            "summary": counts,
        }
