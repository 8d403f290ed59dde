"""SARIF 2.1.0, as code scanning reads it: each finding on the line of the manifest that is at fault.

Format: OASIS Static Analysis Results Interchange Format (SARIF) Version 2.1.0, errata 01.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from kgdiag import __version__
from kgdiag.app import Answer
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.report import Report, Suppressed
from kgdiag.model.suppression import Identity
from kgdiag.report.escape import clean
from kgdiag.report.words import evidence_text, gap_text
from kgdiag.rules import catalogue
from kgdiag.rules.base import Rule

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVEL = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_NO_FILE = ("stdin", "-")


def render_sarif(answer: Answer, report: Report) -> str:
    """The report as one SARIF run."""
    ids = _rule_ids(report)
    index = {rule_id: at for at, rule_id in enumerate(ids)}
    results = [_result(item, index) for item in report.findings]
    results += [_suppressed(item, index) for item in report.suppressed]
    run = {
        "tool": {"driver": _driver(ids)},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(answer, report)],
        "results": results,
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def _rule_ids(report: Report) -> list[str]:
    used = {item.rule for item in report.findings} | {item.finding.rule for item in report.suppressed}
    return sorted({*report.rules, *used, *(item.rule for item in report.skipped)} & set(catalogue()))


def _driver(ids: list[str]) -> dict[str, Any]:
    return {
        "name": "kgdiag",
        "version": __version__,
        "semanticVersion": __version__,
        "informationUri": "https://kgdiag.dev",
        "rules": [_rule(catalogue()[rule_id]) for rule_id in ids],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(part.capitalize() for part in rule.name.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": _section(rule.page, "What it finds") or rule.title},
        "help": {"text": rule.page, "markdown": rule.page},
        "helpUri": rule.docs,
        "defaultConfiguration": {"level": _LEVEL[rule.severity]},
        "properties": {"tags": ["kubernetes", "gateway", *rule.equivalents]},
    }


def _section(page: str, title: str) -> str:
    """The text under one heading of a page."""
    _, _, rest = page.partition(f"## {title}\n")
    return " ".join(rest.partition("\n## ")[0].split())


def _result(finding: Finding, index: dict[str, int]) -> dict[str, Any]:
    text = f"{finding.object}: {finding.message}"
    text += "".join(f"\nso: {consequence}" for consequence in finding.consequences)
    text += f"\nfix: {finding.fix}" if finding.fix else ""
    own = [_location(finding, file) for file in _files(finding, own=True)[:1]]
    related = [place for item in finding.evidence if (place := _related(item.file, evidence_text(item)))]
    found: dict[str, Any] = {
        "ruleId": finding.rule,
        "level": _LEVEL[finding.severity],
        "message": {"text": _safe(text)},
        "locations": own or [{"logicalLocations": [_logical(finding)]}],
        "partialFingerprints": {"kgdiagIdentity/v1": _fingerprint(finding)},
        "properties": {
            "object": finding.object.to_json(),
            "equivalents": list(finding.equivalents),
            "verify": [clean(command.command) for command in finding.verify],
        },
    }
    if finding.rule in index:
        found["ruleIndex"] = index[finding.rule]
    if related:
        found["relatedLocations"] = [{"id": at, **place} for at, place in enumerate(related)]
    return found


def _suppressed(item: Suppressed, index: dict[str, int]) -> dict[str, Any]:
    inside = item.by.startswith("annotation ")
    suppression = {"kind": "inSource" if inside else "external", "justification": _safe(item.reason)}
    return {**_result(item.finding, index), "suppressions": [suppression]}


def _files(finding: Finding, *, own: bool) -> list[str]:
    """``file:line`` of the evidence, that of the object itself first."""
    facts = [item for item in finding.evidence if item.object == finding.object] if own else []
    return [file for item in (*facts, *finding.evidence) if (file := item.file)]


def _location(finding: Finding, file: str) -> dict[str, Any]:
    place = _physical(file)
    logical = {"logicalLocations": [_logical(finding)]}
    return {"physicalLocation": place, **logical} if place else logical


def _related(file: str | None, words: str) -> dict[str, Any] | None:
    place = _physical(file) if file else None
    return {"physicalLocation": place, "message": {"text": _safe(words)}} if place else None


def _physical(where: str) -> dict[str, Any] | None:
    """``path:line`` as a location, its path relative to the working folder where it is inside."""
    file, _, line = where.rpartition(":")
    if not file or file in _NO_FILE or not line.isdigit():
        return None
    artifact: dict[str, Any] = {"uri": _uri(file)}
    if not artifact["uri"].startswith("file:"):
        artifact["uriBaseId"] = "%SRCROOT%"
    return {"artifactLocation": artifact, "region": {"startLine": max(1, int(line))}}


def _uri(file: str) -> str:
    path = os.path.relpath(file)
    if path.startswith(".."):
        return PurePath(os.path.realpath(file)).as_uri()
    return quote(PurePath(path).as_posix())


def _logical(finding: Finding) -> dict[str, Any]:
    ref = finding.object
    path = "/".join(part for part in (ref.group, ref.kind, ref.namespace, ref.name) if part)
    return {"name": clean(ref.name), "fullyQualifiedName": clean(path), "kind": "resource"}


def _fingerprint(finding: Finding) -> str:
    """Stays the same while words, lines and other objects change; see ``Identity``."""
    text = json.dumps(Identity.of(finding).to_json(), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _invocation(answer: Answer, report: Report) -> dict[str, Any]:
    """What could not be looked at: it must not pass for silence."""
    notes = [
        {
            "level": "warning",
            "message": {"text": _safe(f"{item.rule} was skipped: {item.reason}")},
            "associatedRule": {"id": item.rule},
        }
        for item in report.skipped
    ]
    notes += [
        {"level": "warning", "message": {"text": _safe(f"not seen: {gap_text(read)}")}}
        for read in answer.incomplete
    ]
    return {
        "executionSuccessful": answer.code in (0, 1),
        "exitCode": answer.code,
        "toolExecutionNotifications": notes,
    }


def _safe(text: str) -> str:
    """Several lines of text, each without what a terminal or a page would obey."""
    return "\n".join(clean(line) for line in text.split("\n"))
