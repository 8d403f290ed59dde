"""JUnit XML, as CI systems read it: every finding a test case, and every rule that found nothing.

What makes the exit code 1 is a failure; a rule that could not be run is skipped; what could not be read is
an error.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

from kgdiag.app import Answer
from kgdiag.model.finding import Finding
from kgdiag.model.report import Report
from kgdiag.report.escape import clean
from kgdiag.report.words import evidence_text, gap_text, named
from kgdiag.rules import catalogue

# What XML 1.0 has no way to write (section 2.2) and ``clean`` leaves.
_NO_XML = re.compile("[\ufffe\uffff]")


def render_junit(answer: Answer, report: Report) -> str:
    """The report as one test suite."""
    cases = [_case(item, report) for item in report.findings]
    cases += [_accepted(item.finding, f"{item.by}: {item.reason}") for item in report.suppressed]
    cases += [_skipped(item.rule, item.reason) for item in report.skipped]
    cases += [_unread(gap_text(read)) for read in answer.incomplete]
    spoken = {item.rule for item in report.findings} | {item.finding.rule for item in report.suppressed}
    spoken |= {item.rule for item in report.skipped}
    cases += [_passed(rule_id) for rule_id in report.rules if rule_id not in spoken]
    counts = {
        "tests": len(cases),
        "failures": sum(report.fails(item) for item in report.findings),
        "errors": len(answer.incomplete),
        "skipped": len(report.skipped) + len(report.suppressed),
    }
    numbers = " ".join(f'{name}="{count}"' for name, count in counts.items())
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="kgdiag" {numbers}>',
        f'<testsuite name="kgdiag check" {numbers}>',
        *cases,
        "</testsuite>",
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _case(finding: Finding, report: Report) -> str:
    if report.fails(finding):
        kind = _attribute(f"{finding.severity} {finding.rule}")
        message = _attribute(finding.message)
        inner = f"<failure type={kind} message={message}>{_text(_details(finding))}</failure>"
    else:
        inner = f"<system-out>{_text(_details(finding))}</system-out>"
    return _testcase(finding, inner)


def _accepted(finding: Finding, why: str) -> str:
    return _testcase(finding, f"<skipped message={_attribute(f'suppressed: {why}')}/>")


def _testcase(finding: Finding, inner: str) -> str:
    name = f"{named(finding.object)}: {finding.message}"
    place = next(
        (item.file for item in finding.evidence if item.object == finding.object and item.file), None
    )
    file, _, line = (place or "").rpartition(":")
    where = f" file={_attribute(file)} line={_attribute(line)}" if file else ""
    head = (
        f"<testcase classname={_attribute(f'{finding.rule} {finding.name}')} name={_attribute(name)}{where}>"
    )
    return f"{head}{inner}</testcase>"


def _details(finding: Finding) -> str:
    lines = [f"{finding.severity} {finding.rule} {finding.name}: {clean(finding.message)}"]
    lines += [evidence_text(item) for item in finding.evidence]
    lines += [f"so: {clean(text)}" for text in finding.consequences]
    lines += [f"fix: {clean(finding.fix)}"] if finding.fix else []
    lines += [f"$ {clean(command.command)}" for command in finding.verify]
    return "\n".join([*lines, finding.docs])


def _skipped(rule_id: str, reason: str) -> str:
    head = f"<testcase classname={_attribute(_full(rule_id))} name={_attribute(rule_id)}>"
    return f"{head}<skipped message={_attribute(reason)}/></testcase>"


def _unread(text: str) -> str:
    message = _attribute(f"could not be read: {text}")
    return f'<testcase classname="reading" name={_attribute(text)}><error message={message}/></testcase>'


def _passed(rule_id: str) -> str:
    return f"<testcase classname={_attribute(_full(rule_id))} name={_attribute(rule_id)}/>"


def _full(rule_id: str) -> str:
    rule = catalogue().get(rule_id)
    return f"{rule_id} {rule.name}" if rule else rule_id


def _attribute(text: str) -> str:
    return quoteattr(_NO_XML.sub("?", clean(text)))


def _text(text: str) -> str:
    """Text whose lines are clean already."""
    return escape(_NO_XML.sub("?", text))
