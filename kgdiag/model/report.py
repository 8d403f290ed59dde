"""What `kgdiag check` found. As the contract's Report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kgdiag.model.finding import Finding, Severity


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
    """Findings in their one order, rules that could not be run, findings that were suppressed."""

    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()

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
