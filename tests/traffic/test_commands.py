"""The command line of explain-log: formats, exit codes, hostile text. Without a cluster."""

from __future__ import annotations

import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kgdiag.accesslogs import Filter, statuses
from kgdiag.cli.commands import run
from kgdiag.errors import UsageError
from kgdiag.traffic.formats import read_lines
from kgdiag.traffic.join import join
from tests.traffic.test_curl import ENDS, HEAD
from tests.traffic.test_explain import CLUSTER, PRESS, line
from tests.traffic.test_formats import EG_LINE, ISTIO_LINE, WRAPPED

SCHEMA = json.loads((files("kgdiag.report") / "schema.json").read_text())
BAD = line("/x", "404 NR route_not_found", host="other.example")
LOST = line("/x", "0 NR filter_chain_not_found")


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs explain-log on a text without any cluster; gives the code, standard output and standard error."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "cluster.yaml").write_text(CLUSTER)

    def call(text: str, *arguments: str, cluster: bool = False) -> tuple[int, str, str]:
        file = tmp_path / "lines"
        file.write_text(text)
        where = ["-f", str(tmp_path / "cluster.yaml"), "--complete"] if cluster else []
        code = run(["explain-log", str(file), *where, *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (ISTIO_LINE, 0),
        (ISTIO_LINE.replace(" 200 -", " 500 -"), 0),
        (BAD, 1),
        (LOST, 1),
        (EG_LINE, 1),
        (f"{ISTIO_LINE}\n{BAD}", 1),
        (HEAD + ENDS[0][1], 1),
        (HEAD + ENDS[1][1], 0),
        (HEAD + ENDS[10][1], 3),
    ],
)
def test_exit_codes(shell: Any, text: str, code: int) -> None:
    assert shell(text, "--offline")[0] == code
    assert shell(text, "--offline", "-o", "json")[0] == code


def test_fail_on_never(shell: Any) -> None:
    assert shell(BAD, "--offline", "--fail-on", "never")[0] == 0


@pytest.mark.parametrize("text", [ISTIO_LINE, BAD, LOST, EG_LINE, WRAPPED, HEAD + ENDS[0][1]])
@pytest.mark.parametrize("cluster", [False, True])
def test_documents_follow_the_schema(shell: Any, text: str, cluster: bool) -> None:
    _, out, err = shell(text, "-o", "json", *([] if cluster else ["--offline"]), cluster=cluster)
    document = json.loads(out)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert (document["apiVersion"], document["kind"], err) == ("kgdiag.dev/v1", "Requests", "")


def test_the_schema_can_fail(shell: Any) -> None:
    document = json.loads(shell(BAD, "-o", "json", "--offline")[1])
    document["requests"][0]["ended"] = "well"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


def test_text_is_one_line_a_request_with_its_hops(shell: Any) -> None:
    _, out, _ = shell(WRAPPED, "--offline")
    assert "10.9.0.43:8443 → 10.9.0.43:8081 → 10.9.0.44:8012" in " ".join(out.split())
    assert "400 from the application of 10.9.2.13: every proxy passed the request on" in " ".join(out.split())
    assert "2 other lines are no access log lines" in out


def test_objects_of_files_are_named(shell: Any) -> None:
    code, out, _ = shell(BAD, cluster=True)
    assert code == 1
    assert "Gateway edge/web" in out
    assert "other.example" in out


@pytest.mark.parametrize("output", ["text", "wide", "json", "yaml", "markdown"])
def test_hostile_text_is_shown_and_not_obeyed(shell: Any, output: str) -> None:
    hostile = (
        BAD.replace('"curl"', '"\x1b[31mcurl"')
        .replace("/x", "/x\x1b]0;owned\x07\u202e")
        .replace("other.example", "o\x1b[2Jther.example")
    )
    _, out, _ = shell(hostile, "--offline", "-o", output)
    assert not {"\x1b", "\x07", "\u202e"} & set(out)
    assert "owned" in out


@pytest.mark.parametrize("output", ["text", "wide", "json", "yaml", "markdown"])
def test_secrets_are_masked(shell: Any, output: str) -> None:
    for text in (HEAD + ENDS[0][1], BAD.replace("/x", "/x?access_token=abc&a=1&X-Amz-Signature=abc")):
        _, out, _ = shell(text, "--offline", "-o", output)
        assert "SECRET" not in out
        assert "abc" not in out


def test_a_custom_format(shell: Any) -> None:
    format = "%RESPONSE_CODE%;%RESPONSE_FLAGS%;%REQ(:AUTHORITY)%"
    assert shell("503;UH;a.example", "--offline")[0] == 2
    code, out, _ = shell("503;UH;a.example", "--offline", "--format", format)
    assert code == 1
    assert "no healthy endpoint" in out


def test_the_format_of_the_mesh_is_found_in_its_configuration(shell: Any, tmp_path: Path) -> None:
    mesh = json.dumps({"accessLogFormat": "%RESPONSE_CODE%;%RESPONSE_FLAGS%;%REQ(:AUTHORITY)%\n"})
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
    }
    (tmp_path / "mesh.json").write_text(json.dumps({**config, "data": {"mesh": mesh}}))
    code, out, _ = shell("503;UH;a.example", "-f", str(tmp_path / "mesh.json"))
    assert code == 1
    assert "a.example" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--offline"], "nothing of interest"),
        (["--offline", "--format", "%DURATION%"], ISTIO_LINE),
        (["--offline", "-o", "mermaid"], ISTIO_LINE),
        (["--offline", "-o", "sarif"], ISTIO_LINE),
    ],
)
def test_wrong_usage(shell: Any, arguments: list[str], text: str) -> None:
    code, out, err = shell(text, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("kgdiag: ")


def test_without_a_cluster_names_are_taken_from_the_lines(shell: Any) -> None:
    code, out, err = shell(BAD)
    assert code == 1
    assert "no cluster was asked" in err
    assert "404 NR" in out


def test_a_cluster_that_was_named_must_be_there(shell: Any, tmp_path: Path) -> None:
    code, out, _ = shell(BAD, "--kubeconfig", str(tmp_path / "other"))
    assert (code, out) == (2, "")


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Pasted:
        buffer = io.BytesIO(BAD.encode() + b"\n\xff\xfe\n")

    monkeypatch.setattr("sys.stdin", Pasted())
    assert run(["explain-log", "--offline", "-q"]) == 1
    assert "other.example" in capsys.readouterr().out


def test_logs_need_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    assert run(["logs", "gw", "-f", str(tmp_path / "cluster.yaml")]) == 2
    assert "explain-log" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["explain-log", "logs"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Exit code" in out and "Example" in out


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (Filter(), True),
        (Filter(request_id="id-1"), True),
        (Filter(request_id="id"), False),
        (Filter(host="FRUIT.orchard.example"), True),
        (Filter(host="orchard.example"), False),
        (Filter(path="/pre"), True),
        (Filter(path="/other"), False),
        (Filter(status=("503",)), True),
        (Filter(status=("5xx",)), True),
        (Filter(status=("4xx", "200")), False),
        (Filter(host="fruit.orchard.example", status=("404",)), False),
    ],
)
def test_filters(wanted: Filter, matches: bool) -> None:
    text = line(
        "/press",
        "503 - via_upstream",
        cluster=PRESS,
        upstream="10.9.0.11:8080",
        host="fruit.orchard.example:80",
    )
    (joined,) = join(read_lines(text)[0])
    assert wanted.wants(joined) is matches


def test_statuses() -> None:
    assert statuses("503, 5XX,0") == ("503", "5xx", "0")
    for wrong in ("50", "abc", "5x", "9xx", "503;404"):
        with pytest.raises(UsageError):
            statuses(wrong)
