"""Every scenario through the front door: manifests in, the command's JSON out, held against what was written.

A scenario is a folder with ``cluster.yaml`` and ``expect.yaml``:

    options: [--complete]        # for all commands of this scenario
    healthy: true                # check must be silent at warning and above
    check:                       # every finding, nothing else: RULE SEVERITY KIND NAMESPACE/NAME: words of it
      - "KG102 error Service shop/web: no pod in shop has app=web"
    explain:                     # any number of questions; trace likewise
      - {args: [svc/web, -n, shop], exit: 1, contains: [...], lacks: [...], json: {object.name: web}}
    variants:                    # the same manifests with edits: one fault each, or its mend
      typo:
        story: what happened
        edits: [{from: "app: web", to: "app: wbe"}]
        check: [...]

All rules run on all scenarios, so a finding that nobody wrote down is a false alarm and fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from kgdiag.cli.commands import run
from kgdiag.model.obj import dig
from kgdiag.rules import catalogue

FOLDER = Path(__file__).parent / "scenarios"
LINE = re.compile(r"(KG\d{3}) (error|warning|info) (\S+) (\S+?)(?:: (.+))?", re.DOTALL)


@dataclass(frozen=True)
class Case:
    """One scenario or one variant of it; ``text`` is its manifests."""

    name: str
    text: str
    expect: Mapping[str, Any]
    options: tuple[str, ...]

    @property
    def severities(self) -> set[str]:
        return {match[2] for line in self.expect.get("check", ()) if (match := LINE.fullmatch(line))}

    @property
    def rules(self) -> set[str]:
        return {line.partition(" ")[0] for line in self.expect.get("check", ())}


@lru_cache(maxsize=1)
def cases() -> tuple[Case, ...]:
    return tuple(case for expect in sorted(FOLDER.glob("*/expect.yaml")) for case in _of(expect.parent))


def _of(folder: Path) -> Iterator[Case]:
    text = (folder / "cluster.yaml").read_text()
    expect = yaml.safe_load((folder / "expect.yaml").read_text())
    options = tuple(expect.get("options", ()))
    yield Case(folder.name, text, expect, options)
    for name, variant in (expect.get("variants") or {}).items():
        changed = text
        for edit in variant["edits"]:
            assert edit["from"] in changed, f"{folder.name}/{name}: nothing to edit: {edit['from']!r}"
            changed = changed.replace(edit["from"], edit["to"])
        own = tuple(variant["options"]) if "options" in variant else options
        yield Case(f"{folder.name}/{name}", changed, variant, own)


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run one command over a case's manifests: (exit code, standard output)."""

    def asked(case: Case, *argv: str) -> tuple[int, str]:
        path = tmp_path / "cluster.yaml"
        path.write_text(case.text)
        code = run([*argv, "-f", str(path), *case.options])
        return code, capsys.readouterr().out

    return asked


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_check(case: Case, ask: Any) -> None:
    """Exactly the expected findings, and the exit code that they make."""
    code, out = ask(case, "check", "-A", "-o", "json")
    report = json.loads(out)
    found = [
        f"{item['rule']} {item['severity']} {_name(item['object'])}: {item['message']}"
        for item in report["findings"]
    ]
    crashed = [item for item in report["skipped"] if "crashed" in item["reason"]]
    assert not crashed
    missing, unexpected = [], list(found)
    for line in case.expect.get("check", ()):
        match = LINE.fullmatch(line)
        assert match, f"not a finding: {line}"
        head = f"{match[1]} {match[2]} {match[3]} {match[4]}: "
        hit = next((item for item in unexpected if item.startswith(head) and (match[5] or "") in item), None)
        if hit is None:
            missing.append(line)
        else:
            unexpected.remove(hit)
    assert (missing, unexpected) == ([], [])
    assert code == (1 if any(" error " in item for item in found) else 0)
    if case.expect.get("healthy"):
        assert case.severities <= {"info"}


def _name(ref: Mapping[str, str]) -> str:
    place = f"{ref['namespace']}/" if ref["namespace"] else ""
    return f"{ref['kind']} {place}{ref['name']}"


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_findings_are_usable(case: Case, ask: Any) -> None:
    """What is wrong comes with evidence, a mend and a command that proves it."""
    _, out = ask(case, "check", "-A", "-o", "json")
    for item in json.loads(out)["findings"]:
        assert item["evidence"], item["message"]
        assert all(fact["file"] for fact in item["evidence"]), item["message"]
        if item["severity"] != "info":
            assert item["fix"], item["message"]
            assert item["verify"] or item["rule"].startswith("KG0"), item["message"]


QUESTIONS = [
    (case, command, question)
    for case in cases()
    for command in ("explain", "trace")
    for question in case.expect.get(command, ())
]


@pytest.mark.parametrize(
    ("case", "command", "question"),
    QUESTIONS,
    ids=[f"{case.name} {cmd} {q['args'][0]}" for case, cmd, q in QUESTIONS],
)
def test_question(case: Case, command: str, question: Mapping[str, Any], ask: Any) -> None:
    """explain and trace answer as written."""
    args = [str(arg) for arg in question["args"]]
    code, text = ask(case, command, *args)
    text = " ".join(text.split())  # where lines break is no part of an answer
    for words in question.get("contains", ()):
        assert words in text
    for words in question.get("lacks", ()):
        assert words not in text
    if "exit" in question:
        assert code == question["exit"]
    if question.get("json"):
        _, out = ask(case, command, *args, "-o", "json")
        document = json.loads(out)
        for path, value in question["json"].items():
            assert dig(document, path) == value, path


def test_every_folder_is_a_scenario() -> None:
    assert [
        path for path in FOLDER.glob("*/cluster.yaml") if not (path.parent / "expect.yaml").exists()
    ] == []


def test_every_rule_fires_in_a_scenario() -> None:
    expected = set().union(*(case.rules for case in cases()))
    by_trace = {one for one in catalogue() if one.startswith("KG9")}  # they take a request: tests/trace
    assert set(catalogue()) - expected - by_trace == set()


def test_every_expected_rule_exists() -> None:
    expected = set().union(*(case.rules for case in cases()))
    assert expected - set(catalogue()) == set()


def test_every_fault_has_a_healthy_twin() -> None:
    """The scenario itself or one of its variants is without warnings: the same world, mended."""
    for folder in {case.name.partition("/")[0] for case in cases()}:
        family = [case for case in cases() if case.name.partition("/")[0] == folder]
        assert any(case.severities <= {"info"} for case in family), folder
