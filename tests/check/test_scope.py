"""Which rules run over what, what is shown, and what it does to the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.check.support import Run, ids, report

FILE = ("-f", "cluster.yaml", "--complete")


def test_everything_that_is_wrong(check: Run, shop: Path) -> None:
    assert ids(report(check, *FILE)) == ["KG102", "KG111"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--only", "KG102,KG111"], ["KG102", "KG111"]),
        (["--only", "KG102", "--only", "ingress-class"], ["KG102", "KG111"]),
        (["--only", "kg111"], ["KG111"]),
        (["--skip", "selector-matches-nothing"], ["KG111"]),
        (["--skip", "KG102, KG111"], []),
        (["svc/web.shop"], ["KG102"]),
        (["ing/web.shop", "svc/web.shop"], ["KG102", "KG111"]),
        (["-n", "other"], []),
        (["-n", "shop"], ["KG102", "KG111"]),
    ],
)
def test_rules_and_scope(check: Run, shop: Path, options: list[str], expected: list[str]) -> None:
    assert ids(report(check, *FILE, *options)) == expected


def test_a_rule_that_does_not_exist(check: Run, shop: Path) -> None:
    code, out, err = check(*FILE, "--only", "KG102,KG999")
    assert (code, out) == (2, "")
    assert "KG999" in err


WATCHED = "tests/scenarios/single-model-serving/cluster.yaml"


@pytest.mark.parametrize(
    ("severity", "expected"),
    [("info", {"error", "info"}), ("warning", {"error"}), ("error", {"error"})],
)
def test_min_severity_shows_less(check: Run, severity: str, expected: set[str]) -> None:
    root = Path(__file__).parents[2]
    found = report(check, "-f", root / WATCHED, "--complete", "--min-severity", severity)
    assert {item["severity"] for item in found["findings"]} == expected


@pytest.mark.parametrize(("fail_on", "code"), [("error", 1), ("warning", 1), ("info", 1), ("never", 0)])
def test_fail_on(check: Run, shop: Path, fail_on: str, code: int) -> None:
    assert check(*FILE, "--fail-on", fail_on)[0] == code


@pytest.mark.parametrize("output", ["text", "wide", "json", "yaml", "markdown", "sarif", "junit"])
def test_the_exit_code_is_the_same_in_every_format(check: Run, shop: Path, output: str) -> None:
    assert check(*FILE, "-o", output)[0] == 1
    assert check(*FILE, "-o", output, "--fail-on", "never")[0] == 0
    assert check(*FILE, "-o", output, "--skip", "KG102,KG111")[0] == 0


def test_groups_most_severe_first(check: Run) -> None:
    root = Path(__file__).parents[2]
    _, by_object, _ = check("-f", root / WATCHED, "--complete")
    _, by_rule, _ = check("-f", root / WATCHED, "--complete", "--group-by", "rule")
    heads = [line for line in by_object.splitlines()[1:] if line and not line.startswith(" ")]
    assert heads[0] == "DestinationRule istio-system/default"
    heads = [line for line in by_rule.splitlines()[1:] if line and not line.startswith(" ")]
    assert heads[0].startswith("KG504 ")
    assert heads[1:] == sorted(heads[1:])
    assert "KG504 DestinationRule istio-system/default: " in " ".join(by_rule.split())


def test_sarif_is_a_format_of_check_only(capsys: pytest.CaptureFixture[str], shop: Path) -> None:
    from kgdiag.cli.commands import run

    assert run(["explain", "svc/web.shop", *FILE, "-o", "sarif"]) == 2
    assert "check" in capsys.readouterr().err
