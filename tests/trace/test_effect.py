"""Traces through what a proxy says of itself, and what is said where that is not what is declared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kgdiag.cli.commands import run
from kgdiag.rules import catalogue
from tests.trace.dumps import (
    HOST,
    ISTIOD,
    MANIFESTS,
    NS,
    POD,
    Dump,
    cluster,
    endpoint,
    meta,
    name,
    route,
    split,
)

Ask = Callable[..., Any]


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    def asked(
        dump: Dump | None, path: str = "/", truth: str = "both", text: str = MANIFESTS + ISTIOD, code: int = 0
    ) -> Any:
        file = tmp_path / "world.yaml"
        file.write_text(text + (dump.documents() if dump is not None else ""))
        url = f"http://{HOST}{path}"
        got = run(["trace", url, "--truth", truth, "-f", str(file), "--complete", "-o", "json"])
        out = capsys.readouterr()
        assert got == code, out
        return json.loads(out.out)

    return asked


def ends(document: Any) -> dict[str, float]:
    """Weight by what becomes of the request: the Service's name, or status and flag."""
    found: dict[str, float] = {}
    for path in document["paths"]:
        outcome = path["outcome"]
        backend = (outcome["backend"] or {}).get("service") or {}
        key = (
            backend.get("name", "")
            if outcome["result"] == "delivered"
            else f"{outcome['status']} {outcome['flag']}"
        )
        found[key] = found.get(key, 0) + path["weight"]
    return found


def truths(document: Any) -> list[tuple[str, str]]:
    return [(hop["action"], hop["truth"]) for hop in document["paths"][0]["hops"]]


def findings(document: Any) -> list[tuple[str, str, str]]:
    return [
        (one["rule"], one["severity"], f"{one['object']['kind']}/{one['object']['name']}")
        for one in document["findings"]
    ]


def words(document: Any, rule: str) -> str:
    return next(str(one["message"]) for one in document["findings"] if one["rule"] == rule)


# --- the walk ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("truth", ["effect", "both"])
def test_a_settled_proxy_does_what_is_declared(ask: Ask, truth: str) -> None:
    found = ask(Dump(), truth=truth)
    assert ends(found) == {"web": 0.75, "api": 0.25}
    assert findings(found) == [] and found["incomplete"] == []
    assert found["paths"][0]["outcome"]["pods"] == [
        {"group": "", "kind": "Pod", "namespace": "shop", "name": "web-1"}
    ]


def test_every_hop_says_by_which_truth(ask: Ask) -> None:
    assert truths(ask(Dump(), truth="effect")) == [
        ("selects", "intent"),
        ("accepts", "effect"),
        ("matches", "effect"),
        ("routes", "effect"),
        ("forwards", "effect"),
        ("answers", "intent"),
    ]


def test_the_proxy_decides_and_not_the_objects(ask: Ask) -> None:
    dump = Dump()
    dump.routes = [route("/", {"cluster": name("api")})]
    assert ends(ask(dump, truth="effect")) == {"api": 1.0}
    assert ends(ask(dump, truth="intent")) == {"web": 0.75, "api": 0.25}


def test_without_a_dump_the_way_goes_on_as_declared(ask: Ask) -> None:
    found = ask(None, truth="both")
    assert ends(found) == {"web": 0.75, "api": 0.25}
    assert {truth for _, truth in truths(found)} == {"intent"}
    assert any(POD in note for note in found["notes"])
    assert findings(found) == []


def test_intent_asks_no_proxy(ask: Ask) -> None:
    found = ask(Dump(), truth="intent")
    assert {truth for _, truth in truths(found)} == {"intent"}


def test_endpoints_that_the_proxy_found_sick_get_nothing(ask: Ask) -> None:
    dump = Dump()
    dump.endpoints["web"].append(endpoint("10.0.1.2"))
    host = {
        "address": {"socket_address": {"address": "10.0.1.1", "port_value": 8080}},
        "health_status": {"failed_outlier_check": True, "eds_health_status": "HEALTHY"},
    }
    dump.statuses = [{"name": name("web"), "host_statuses": [host]}]
    found = ask(dump, truth="effect")
    pods = {pod["name"] for path in found["paths"] for pod in path["outcome"]["pods"]}
    assert pods == {"api-1"}


# --- where they differ ------------------------------------------------------------------------------------


def test_a_route_that_the_proxy_does_not_have(ask: Ask) -> None:
    dump = Dump()
    dump.domains = ["other.example"]
    found = ask(dump, code=1)
    assert ends(found) == {"404 NR": 1.0}
    assert ("KG901", "error", "VirtualService/shop") in findings(found)
    assert "404 NR" in words(found, "KG901")
    commands = [one["command"] for item in found["findings"] for one in item["verify"]]
    assert f"istioctl proxy-status {POD}.{NS}" in commands


def test_a_cluster_that_the_proxy_does_not_have(ask: Ask) -> None:
    dump = Dump()
    dump.clusters = [cluster("web")]
    found = ask(dump, "/api", code=1)
    assert ends(found) == {"503 NC": 1.0}
    assert ("KG901", "error", "VirtualService/shop") in findings(found)


def test_a_listener_that_the_proxy_does_not_have(ask: Ask) -> None:
    dump = Dump()
    dump.listener["active_state"]["listener"]["address"]["socket_address"]["port_value"] = 9999  # type: ignore[index]
    found = ask(dump, code=1)
    assert ("KG901", "error", "VirtualService/shop") in findings(found)


def test_a_deleted_route_that_is_still_in_effect(ask: Ask) -> None:
    dump = Dump()
    dump.routes.insert(0, route("/", split(api=1), of="deleted"))
    found = ask(dump)
    assert ends(found) == {"api": 1.0}
    assert findings(found) == [("KG902", "warning", "VirtualService/deleted")]
    assert "does not exist" in words(found, "KG902")


def test_a_route_for_a_host_that_nobody_declares(ask: Ask) -> None:
    text = (MANIFESTS + ISTIOD).replace("hosts: [shop.example]", "hosts: [moved.example]")
    found = ask(Dump(), text=text)
    assert ends(found) == {"web": 0.75, "api": 0.25}
    assert findings(found) == [("KG902", "warning", "VirtualService/shop")]


@pytest.mark.parametrize(
    ("action", "what"),
    [
        (split(web=50, api=50), "weights"),
        ({"cluster": name("api")}, "cluster"),
        ({**split(web=75, api=25), "prefix_rewrite": "/old"}, "path"),
        ({**split(web=75, api=25), "host_rewrite_literal": "old.example"}, "host"),
    ],
)
def test_an_older_version_is_in_effect(ask: Ask, action: dict[str, Any], what: str) -> None:
    dump = Dump()
    dump.routes[1] = route("/", action)
    assert findings(ask(dump)) == [("KG903", "warning", "VirtualService/shop")], what


def test_another_order_of_routes(ask: Ask) -> None:
    dump = Dump()
    dump.routes.reverse()
    assert findings(ask(dump, "/api/x")) == [("KG903", "warning", "VirtualService/shop")]
    assert findings(ask(dump, "/else")) == []


def test_other_answers_of_a_route(ask: Ask) -> None:
    dump = Dump()
    dump.routes[1] |= {"response_headers_to_add": [{"header": {"key": "x-old", "value": "1"}}]}
    assert findings(ask(dump)) == [("KG903", "warning", "VirtualService/shop")]


def test_endpoints_that_no_slice_has(ask: Ask) -> None:
    dump = Dump()
    dump.endpoints["api"] = [endpoint("10.0.1.1")]
    found = ask(dump, "/api")
    assert findings(found) == [("KG904", "warning", "Service/api")]
    assert "shop/api-1" in words(found, "KG904") and "shop/web-1" in words(found, "KG904")


def test_a_cluster_that_has_lost_its_endpoints(ask: Ask) -> None:
    dump = Dump()
    dump.endpoints["api"] = []
    found = ask(dump, "/api", code=1)
    assert ends(found) == {"503 UH": 1.0}
    assert ("KG904", "error", "Service/api") in findings(found)


@pytest.mark.parametrize("truth", ["effect", "both"])
def test_what_the_proxy_refused(ask: Ask, truth: str) -> None:
    dump = Dump()
    dump.listener["error_state"] = {"details": "no argument for repetition operator: *"}
    found = ask(dump, truth=truth)
    assert findings(found) == [("KG905", "warning", f"Pod/{POD}")]
    assert "repetition operator" in words(found, "KG905")


def test_a_refusal_explains_a_difference(ask: Ask) -> None:
    dump = Dump()
    dump.listener["error_state"] = {"details": "bad regex"}
    dump.routes = []
    found = ask(dump, code=1)
    assert "refused listener 0.0.0.0_8080: bad regex" in words(found, "KG901")


def test_a_control_plane_that_is_gone_explains_a_difference(ask: Ask) -> None:
    dump = Dump()
    dump.routes[1] = route("/", split(api=1))
    assert "no istiod runs" in words(ask(dump, text=MANIFESTS), "KG903")
    assert findings(ask(Dump(), text=MANIFESTS)) == []


@pytest.mark.parametrize(
    ("sync", "said"),
    [
        ({"proxy": f"{POD}.{NS}", "route_sent": "b", "route_acked": "a"}, "sent route config"),
        ({"proxy": "someone.else"}, "not connected"),
        ({"proxy": f"{POD}.{NS}", "route_sent": "b", "route_acked": "b"}, ""),
    ],
)
def test_istiods_account_explains_a_difference(ask: Ask, sync: dict[str, Any], said: str) -> None:
    dump = Dump()
    dump.routes[1] = route("/", split(api=1))
    dump.sync = sync
    text = words(ask(dump), "KG903")
    assert said in text if said else "istiod" not in text


def test_a_proxy_that_has_lost_its_control_plane(ask: Ask) -> None:
    dump = Dump()
    dump.stats = [{"name": "control_plane.connected_state", "value": 0}]
    assert findings(ask(dump)) == [("KG906", "warning", f"Pod/{POD}")]


def test_entries_without_an_object_are_no_difference(ask: Ask) -> None:
    dump = Dump()
    for one in dump.routes:
        del one["metadata"]
    assert findings(ask(dump)) == []


def test_metadata_of_other_shapes_is_no_difference(ask: Ask) -> None:
    dump = Dump()
    dump.routes[0]["metadata"] = {"filter_metadata": {"istio": {"config": "/apis/x"}}}
    dump.routes[1]["metadata"] = meta("unheard-of", "shop", "x")
    found = ask(dump)
    assert [rule for rule, _, _ in findings(found)] in ([], ["KG903"])
    assert ends(found) == {"web": 0.75, "api": 0.25}


def test_every_rule_on_proxies_is_met_here() -> None:
    text = Path(__file__).read_text()
    assert all(f'("{one}", ' in text for one in catalogue() if one.startswith("KG90"))
