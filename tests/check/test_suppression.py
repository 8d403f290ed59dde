"""What somebody accepted: annotation, project file, baseline; and what is wrong with such files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Evidence
from kgdiag.model.ref import Ref
from kgdiag.model.suppression import Identity
from tests.check.support import SHOP, Run, ids, report, written

FILE = ("-f", "cluster.yaml", "--complete")


def annotated(text: str) -> str:
    head = "kind: Service\nmetadata:\n"
    assert SHOP.count(head) == 1
    return SHOP.replace(head, f"{head}  annotations:\n    kgdiag.dev/ignore: {json.dumps(text)}\n")


# -- annotations --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "KG102 known, ticket 7",
        "KG101 none; KG102 known, ticket 7",
        "selector-matches-nothing: known, ticket 7",
    ],
)
def test_an_annotation_with_a_reason(check: Run, shop: Path, text: str) -> None:
    written(shop, annotated(text))
    document = report(check, *FILE)
    assert ids(document) == ["KG111"]
    assert [(item["finding"]["rule"], item["reason"]) for item in document["suppressed"]] == [
        ("KG102", "known, ticket 7")
    ]


@pytest.mark.parametrize(("text", "words"), [("KG102", "no reason"), ("KG999 why not", "KG999")])
def test_an_annotation_that_does_nothing_is_said(check: Run, shop: Path, text: str, words: str) -> None:
    written(shop, annotated(text))
    _, out, err = check(*FILE, "-o", "json")
    assert ids(json.loads(out)) == ["KG102", "KG111"]
    assert words in err
    assert check(*FILE, "-q")[2] == ""


def test_suppressed_findings_are_counted_and_shown_on_demand(check: Run, shop: Path) -> None:
    written(shop, annotated("KG102 known, ticket 7"))
    _, out, err = check(*FILE)
    assert "1 error (1 suppressed" in out
    assert err == ""
    _, _, err = check(*FILE, "-v")
    assert "KG102" in err
    assert "known, ticket 7" in err


def test_all_suppressed_is_sound(check: Run, shop: Path) -> None:
    written(shop, annotated("KG102 known"))
    assert check(*FILE, "--skip", "KG111")[0] == 0


# -- the project file ---------------------------------------------------------------------------------


def entry(**parts: str) -> str:
    lines = [f"{key}: {json.dumps(value)}" for key, value in parts.items()]
    return "ignore:\n  - " + "\n    ".join(lines) + "\n"


@pytest.mark.parametrize(
    "pattern",
    ["svc/web.shop", "Service/w*.sh?p", "service/web", "*/web.shop", "svc/*", "svc/web.*", "services/*.shop"],
)
def test_an_entry_of_the_project_file(check: Run, shop: Path, pattern: str) -> None:
    written(shop, entry(rule="KG102", object=pattern, reason="moving"), ".kgdiag.yaml")
    document = report(check, *FILE)
    assert ids(document) == ["KG111"]
    assert document["suppressed"][0]["by"] == ".kgdiag.yaml:2"


@pytest.mark.parametrize("pattern", ["svc/web.other", "ing/web.shop", "svc/we.shop"])
def test_an_entry_for_something_else(check: Run, shop: Path, pattern: str) -> None:
    written(shop, entry(rule="KG102", object=pattern, reason="moving"), ".kgdiag.yaml")
    assert ids(report(check, *FILE)) == ["KG102", "KG111"]
    assert "nothing to suppress" in check(*FILE, "-v")[2]


def test_the_file_is_found_from_a_folder_below_and_not_above_the_repository(
    check: Run, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(shop, entry(rule="KG102", reason="moving"), ".kgdiag.yaml")
    below = shop / "apps" / "web"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert ids(report(check, "-f", shop / "cluster.yaml", "--complete")) == ["KG111"]
    (shop / "apps" / ".git").mkdir()
    assert ids(report(check, "-f", shop / "cluster.yaml", "--complete")) == ["KG102", "KG111"]


def test_another_project_file(check: Run, shop: Path) -> None:
    written(shop, entry(rule="KG102", reason="moving"), "other.yaml")
    assert ids(report(check, *FILE, "--config", "other.yaml")) == ["KG111"]


@pytest.mark.parametrize(("day", "expected"), [("9999-12-31", ["KG111"]), ("2020-02-29", ["KG102", "KG111"])])
def test_expiry(check: Run, shop: Path, day: str, expected: list[str]) -> None:
    written(shop, entry(rule="KG102", reason="moving", expires=day), ".kgdiag.yaml")
    _, out, err = check(*FILE, "-o", "json")
    assert ids(json.loads(out)) == expected
    assert ("expired" in err) == (day == "2020-02-29")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (entry(rule="KG102"), 2, "reason"),
        (entry(rule="KG102", reason=" "), 3, "reason"),
        (entry(reason="x"), 2, "rule"),
        (entry(rule="KG999", reason="x"), 2, "KG999"),
        (entry(rule="KG102", object="web", reason="x"), 3, "KIND/NAME"),
        (entry(rule="KG102", object="nope/web", reason="x"), 3, "nope"),
        (entry(rule="KG102", reason="x", expires="soon"), 4, "YYYY-MM-DD"),
        (entry(rule="KG102", reason="x", until="2030-01-01"), 4, "until"),
        ("ignore: []\nignores: []\n", 2, "ignores"),
        ("ignore: []\nignore: []\n", 2, "twice"),
        ("ignore: KG102\n", 1, "list"),
        ("- KG102\n", 1, "mapping"),
        ("ignore:\n  - [KG102\n", 3, "YAML"),
    ],
)
def test_a_bad_project_file_is_an_error_with_its_line(
    check: Run, shop: Path, text: str, line: int, words: str
) -> None:
    written(shop, text, ".kgdiag.yaml")
    code, out, err = check(*FILE)
    assert (code, out) == (2, "")
    assert f".kgdiag.yaml:{line}: " in err
    assert words in err


def test_an_empty_project_file_says_nothing(check: Run, shop: Path) -> None:
    written(shop, "# nothing yet\n", ".kgdiag.yaml")
    assert ids(report(check, *FILE)) == ["KG102", "KG111"]


def test_a_project_file_that_is_not_there(check: Run, shop: Path) -> None:
    code, _, err = check(*FILE, "--config", "none.yaml")
    assert code == 2
    assert "none.yaml" in err


# -- baselines ----------------------------------------------------------------------------------------


def test_a_baseline_accepts_what_was_there(check: Run, shop: Path) -> None:
    code, out, err = check(*FILE, "--write-baseline", "base.json", "-o", "json")
    assert code == 0
    assert ids(json.loads(out)) == []
    assert "2 findings" in err
    document = report(check, *FILE, "--baseline", "base.json")
    assert ids(document) == []
    assert [item["finding"]["rule"] for item in document["suppressed"]] == ["KG102", "KG111"]
    assert check(*FILE, "--baseline", "base.json")[0] == 0


def test_a_baseline_bears_small_changes(check: Run, shop: Path) -> None:
    """Lines move, a pod gets another name, words differ; the fault is the same one."""
    check(*FILE, "--write-baseline", "base.json")
    written(shop, "# a line\n\n" + SHOP.replace("web-0", "web-7").replace("name: nginx}", "name: nginx-2}"))
    assert ids(report(check, *FILE, "--baseline", "base.json")) == []


def test_a_new_fault_is_new(check: Run, shop: Path) -> None:
    check(*FILE, "--write-baseline", "base.json")
    written(
        shop,
        SHOP.replace(
            "name: web\n                port: {number: 80}", "name: wob\n                port: {number: 80}"
        ),
    )
    assert ids(report(check, *FILE, "--baseline", "base.json")) == ["KG110"]


def test_another_value_at_fault_is_new(check: Run, shop: Path) -> None:
    check(*FILE, "--write-baseline", "base.json")
    written(shop, SHOP.replace("ngnix", "traefk"))
    assert ids(report(check, *FILE, "--baseline", "base.json")) == ["KG111"]


def test_what_was_mended_is_said_on_demand(check: Run, shop: Path) -> None:
    check(*FILE, "--write-baseline", "base.json")
    written(shop, SHOP.replace("wbe", "web"))
    assert (
        "1 findings of the baseline are no longer there" in check(*FILE, "--baseline", "base.json", "-v")[2]
    )


def test_a_baseline_is_written_the_same_twice_and_over_a_baseline_only(check: Run, shop: Path) -> None:
    check(*FILE, "--write-baseline", "base.json")
    first = (shop / "base.json").read_text()
    assert check(*FILE, "--write-baseline", "base.json")[0] == 0
    assert (shop / "base.json").read_text() == first
    code, _, err = check(*FILE, "--write-baseline", "cluster.yaml")
    assert code == 2
    assert "cluster.yaml" in err
    assert (shop / "cluster.yaml").read_text() == SHOP


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{}", 1),
        ('{"apiVersion": "kgdiag.dev/v1", "kind": "Baseline", "findings": [{}]}', 1),
        ('{"apiVersion": "kgdiag.dev/v1",\n oops}', 2),
        ("[1]", 1),
    ],
)
def test_a_bad_baseline_is_an_error_with_its_line(check: Run, shop: Path, text: str, line: int) -> None:
    written(shop, text, "base.json")
    code, out, err = check(*FILE, "--baseline", "base.json")
    assert (code, out) == (2, "")
    assert f"base.json:{line}: " in err


def test_a_baseline_that_is_not_there(check: Run, shop: Path) -> None:
    assert check(*FILE, "--baseline", "none.json")[0] == 2


def test_the_same_identity_counts_as_often_as_it_stands_in_the_baseline() -> None:
    """Two destinations of one VirtualService with the same fault are told apart by their value only."""
    on = Ref("networking.istio.io", "VirtualService", "a", "x")

    def finding(at: int, host: str) -> Finding:
        fact = Evidence(on, f"spec.http[{at}].route[0].destination.host", host)
        return Finding("KG301", "destination-not-found", Severity.ERROR, on, f"words {at}", (fact,))

    assert Identity.of(finding(0, "web")) == Identity.of(finding(3, "web"))
    assert Identity.of(finding(0, "web")) != Identity.of(finding(0, "api"))


# -- causes and consequences --------------------------------------------------------------------------


def test_what_follows_from_an_accepted_cause_is_accepted_with_it(
    check: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.check.support import case

    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    found = case("zero-trust/selector-typo")
    written(tmp_path, found.text)
    written(tmp_path, entry(rule="KG601", reason="trial"), ".kgdiag.yaml")
    document = report(check, *FILE)
    assert ids(document) == []
    assert {item["finding"]["rule"] for item in document["suppressed"]} == {"KG601", "KG602"}


def test_an_accepted_consequence_leaves_its_cause(
    check: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.check.support import case

    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    found = case("zero-trust/selector-typo")
    written(tmp_path, found.text)
    written(tmp_path, entry(rule="KG602", reason="closed on purpose"), ".kgdiag.yaml")
    document = report(check, *FILE)
    assert [(item["rule"], item["severity"], item["caused"]) for item in document["findings"]] == [
        ("KG601", "warning", [])
    ]
