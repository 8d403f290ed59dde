"""One cause, one finding: consequences are listed under their cause, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kgdiag.model.finding import Finding, Severity
from kgdiag.model.ref import Ref
from kgdiag.rules.roots import to_roots
from tests.check.support import Run, case, report, written


def of(check: Run, folder: Path, name: str, *options: str) -> Any:
    found = case(name)
    return report(check, "-f", written(folder, found.text), *found.options, *options)


@pytest.mark.parametrize(
    ("name", "root", "caused"),
    [
        ("istio-storefront/no-destination-rule", "KG305", ["KG303", "KG303"]),
        ("kserve-istio/local-gateway-service-gone", "KG701", ["KG301", "KG702"]),
        ("kserve-istio/ingress-gateway-renamed", "KG701", ["KG201", "KG702"]),
        ("zero-trust/selector-typo", "KG601", ["KG602"]),
        ("zero-trust/app-without-allow", "KG601", ["KG602"]),
    ],
)
def test_a_consequence_is_listed_under_its_cause(
    check: Run, tmp_path: Path, name: str, root: str, caused: list[str]
) -> None:
    found = [item for item in of(check, tmp_path, name)["findings"] if item["severity"] != "info"]
    assert [item["rule"] for item in found] == [root]
    assert found[0]["severity"] == "error"
    assert [item["rule"] for item in found[0]["caused"]] == caused
    assert len(found[0]["consequences"]) >= len(caused)
    assert all(rule in " ".join(found[0]["consequences"]) for rule in caused)


def test_a_consequence_stands_for_itself_where_its_cause_is_not_looked_for(
    check: Run, tmp_path: Path
) -> None:
    name = "kserve-istio/local-gateway-service-gone"
    assert [item["rule"] for item in of(check, tmp_path, name, "--only", "KG301")["findings"]] == ["KG301"]
    assert "KG301" in {item["rule"] for item in of(check, tmp_path, name, "-n", "models")["findings"]}


def test_two_rules_without_their_objects_are_one_cause(check: Run, tmp_path: Path) -> None:
    """Two subsets of one host that no DestinationRule has, and none that was meant: one finding."""
    found = case("istio-storefront/no-destination-rule")
    text = found.text.replace("kind: DestinationRule", "kind: WasmPlugin").replace(
        "networking.istio.io/v1\nkind: WasmPlugin", "extensions.istio.io/v1alpha1\nkind: WasmPlugin"
    )
    document = report(check, "-f", written(tmp_path, text), "--complete", "--only", "KG303")
    assert [item["rule"] for item in document["findings"]] == ["KG303"]
    assert [item["rule"] for item in document["findings"][0]["caused"]] == ["KG303"]


def test_a_manifest_of_an_unknown_kind_is_what_others_miss(check: Run, tmp_path: Path) -> None:
    """The Gateway's apiVersion is misspelt, so the VirtualService has none: one finding, on the Gateway."""
    found = case("istio-storefront")
    head = "apiVersion: networking.istio.io/v1\nkind: Gateway\n"
    assert found.text.count(head) == 1
    text = found.text.replace(head, head.replace("networking", "nertworking"))
    document = report(check, "-f", written(tmp_path, text), "--complete", "--min-severity", "warning")
    assert [item["rule"] for item in document["findings"]] == ["KG001"]
    assert "KG201" in [item["rule"] for item in document["findings"][0]["caused"]]


def finding(rule: str, severity: Severity = Severity.ERROR, **parts: Any) -> Finding:
    return Finding(rule, rule.lower(), severity, Ref("", "Service", "a", rule), f"words of {rule}", **parts)


X = ("missing", Ref("", "Service", "a", "x"))
Y = ("missing", Ref("", "Service", "a", "y"))


def test_chains_end_at_the_first_cause() -> None:
    items = [
        finding("KG300", Severity.WARNING, causes=(X,)),
        finding("KG200", causes=(Y,), follows=(X,)),
        finding("KG100", follows=(Y,)),
    ]
    roots = to_roots(items)
    assert [item.rule for item in roots] == ["KG300"]
    assert roots[0].severity is Severity.ERROR
    assert {item.rule for item in roots[0].caused} == {"KG100", "KG200"}


def test_circles_keep_one() -> None:
    items = [finding("KG100", causes=(X,), follows=(Y,)), finding("KG200", causes=(Y,), follows=(X,))]
    for order in (items, items[::-1]):
        roots = to_roots(order)
        assert [item.rule for item in roots] == ["KG100"]
        assert [item.rule for item in roots[0].caused] == ["KG200"]


def test_nothing_is_lost_and_facts_stay() -> None:
    items = [finding("KG100", Severity.INFO, causes=(X,)), finding("KG200", follows=(X,))]
    assert [item.rule for item in to_roots(items)] == ["KG200", "KG100"]


def test_the_order_of_finding_does_not_matter() -> None:
    items = [finding(f"KG{at}00", causes=(X,) if at == 2 else (), follows=(X,)) for at in (1, 2, 3)]
    assert to_roots(items) == to_roots(items[::-1])
