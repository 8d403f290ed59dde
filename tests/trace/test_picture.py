"""`kgdiag proxy`: one Envoy in one picture, from a dump in a file and from what a snapshot holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from kgdiag.cli.commands import run
from tests.trace.dumps import HOST, MANIFESTS, NS, POD, TYPE, Dump, name

SCHEMA = json.loads((files("kgdiag.report") / "schema.json").read_text())
Show = Callable[..., Any]
KEY = "MIIEvQIBADANBg-the-private-key"


@pytest.fixture
def show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Show:
    """Run `kgdiag proxy -f DUMP`; JSON unless ``output`` says otherwise."""

    def shown(dump: Any, *argv: str, output: str = "json", code: int = 0) -> Any:
        file = tmp_path / "dump.json"
        file.write_text(json.dumps(dump))
        got = run(["proxy", "-f", str(file), *argv, "-o", output])
        out = capsys.readouterr()
        assert got == code, out
        return json.loads(out.out) if output == "json" and code == 0 else out.out + out.err

    return shown


def test_everything_with_the_object_that_it_comes_from(show: Show) -> None:
    found = show(Dump().config())
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    assert found["kind"] == "Proxy" and found["object"]["name"] == POD
    assert [(one["port"], one["origin"]) for one in found["listeners"]] == [(8080, None)]
    host = found["route_configs"][0]["virtual_hosts"][0]
    assert host["domains"] == [HOST]
    assert [one["match"] for one in host["routes"]] == ["path prefix /api", "path prefix /"]
    assert host["routes"][0]["origin"]["name"] == "shop"
    assert host["routes"][0]["action"] == name("api")
    assert host["routes"][1]["action"] == f"{name('web')} (75), {name('api')} (25)"
    assert {one["name"]: one["service"]["name"] for one in found["clusters"]} == {
        name("web"): "web",
        name("api"): "api",
    }
    assert found["clusters"][0]["endpoints"][0]["address"] == "10.0.1.1"


@pytest.mark.parametrize(
    ("argv", "routes", "clusters"),
    [
        (["--path", "/api/x"], 2, ["api", "web"]),
        (["--path", "/other"], 1, ["web", "api"]),
        (["--host", HOST], 2, ["api", "web"]),
        (["--host", "nobody.example"], 0, []),
        (["--listener", "8080"], 2, ["api", "web"]),
        (["--listener", "1"], 0, []),
    ],
)
def test_narrowed(show: Show, argv: list[str], routes: int, clusters: list[str]) -> None:
    found = show(Dump().config(), *argv)
    hosts = [host for one in found["route_configs"] for host in one["virtual_hosts"]]
    assert sum(len(host["routes"]) for host in hosts) == routes
    assert [one["name"] for one in found["clusters"]] == [name(one) for one in clusters]


def test_text_says_where_entries_come_from(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    dump = Dump()
    del dump.routes[1]["metadata"]
    text = show(dump.config(), output="wide")
    assert "VirtualService shop/shop" in text and "no declared object" in text


def test_what_it_refused_and_what_it_lacks(show: Show) -> None:
    dump = Dump()
    dump.listener["error_state"] = {"details": "bad regex"}
    dump.clusters = dump.clusters[:1]
    found = show(dump.config(), "--host", HOST)
    assert found["rejected"] == [{"what": "listener 0.0.0.0_8080", "words": "bad regex"}]
    assert any(name("api") in note for note in found["notes"])


def test_no_secret_is_printed(show: Show) -> None:
    value = Dump().config()
    value["configs"][-1] = {
        "@type": f"{TYPE}.admin.v3.SecretsConfigDump",
        "dynamic_active_secrets": [
            {"name": "c", "secret": {"name": "c", "tls_certificate": {"private_key": {"inline_string": KEY}}}}
        ],
    }
    for output in ("json", "wide", "yaml", "markdown"):
        assert KEY not in str(show(value, output=output))


def test_hostile_names_are_not_obeyed(show: Show) -> None:
    dump = Dump()
    dump.domains = ["\x1b]0;owned\x07.example"]
    dump.routes[0]["name"] = "\u202egpj.exe"
    for output in ("json", "text", "wide", "markdown"):
        file = str(show(dump.config(), output=output))
        assert "\x1b" not in file and "\u202e" not in file


@pytest.mark.parametrize("value", [{}, [], {"a": 1}, "text", [{"x": 1}]])
def test_files_that_are_no_dump(show: Show, value: Any) -> None:
    assert "dump" in show(value, code=2) or "list" in show(value, code=2)


def test_a_list_of_one_kind_says_what_it_lacks(show: Show) -> None:
    clusters = [one["cluster"] for one in Dump().config()["configs"][3]["dynamic_active_clusters"]]
    found = show(clusters)
    assert len(found["clusters"]) == 2 and "the file has no listeners" in found["notes"]


def test_no_name_and_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxy"]) == 2
    assert "whose proxy" in capsys.readouterr().err


@pytest.mark.parametrize(
    "target",
    [POD, f"pod/{POD}", f"gateway.networking.istio.io/gw.{NS}", f"svc/edge.{NS}"],
)
def test_by_name_from_what_was_saved(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(MANIFESTS + Dump().documents())
    argv = ["proxy", target, "-n", NS, "-f", str(file), "--complete", "-o", "json"]
    assert run(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["via"] == "port-forward to port 15000"
    assert found["clusters"][0]["endpoints"][0]["pod"]["name"] == "web-1"


@pytest.mark.parametrize(("target", "code"), [("pod/web-1.shop", 2), ("nobody", 2), (POD, 3)])
def test_names_that_lead_to_no_config(
    target: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(MANIFESTS)
    assert run(["proxy", target, "-n", NS, "-f", str(file), "--complete"]) == code
    assert capsys.readouterr().err.startswith("kgdiag: ")
