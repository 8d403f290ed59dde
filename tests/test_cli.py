"""The command line as a user meets it: help, errors, exit codes, streams, widths, hostile text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
EMBLEM = ["explain", "svc/knative-local-gateway", "-n", "istio-system", "-f", str(EXAMPLES / "kubeflow.yaml")]
BROKEN = [*EMBLEM[:-1], str(EXAMPLES / "kubeflow-half-patched.yaml")]


def kgdiag(*args: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run kgdiag as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "kgdiag", *args],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100", **env},
        check=False,
    )


def test_the_emblem_says_what_the_service_selects() -> None:
    run = kgdiag(*EMBLEM)
    assert run.returncode == 0, run.stderr
    first = run.stdout.splitlines()[:2]
    assert first[0] == "Service istio-system/knative-local-gateway"
    assert first[1].startswith("service knative-local-gateway selects cluster-local-gateway pods")
    assert "app=knative-local-gateway" in run.stdout
    assert run.stderr == ""


def test_the_broken_emblem_is_an_error() -> None:
    run = kgdiag(*BROKEN)
    assert run.returncode == 1
    assert "nothing listens on 8081" in run.stdout.replace("\n", " ").replace("    ", "")


@pytest.mark.parametrize("output", ["text", "wide", "json", "yaml", "markdown"])
def test_the_exit_code_is_the_same_in_every_format(output: str) -> None:
    assert kgdiag(*BROKEN, "-o", output).returncode == 1
    assert kgdiag(*BROKEN, "-o", output, "--fail-on", "never").returncode == 0
    assert kgdiag(*EMBLEM, "-o", output).returncode == 0
    assert kgdiag(*EMBLEM, "-o", output, "--fail-on", "info").returncode == 1


def test_same_input_same_bytes() -> None:
    runs = [kgdiag(*BROKEN, "-o", "json", PYTHONHASHSEED=str(seed)).stdout for seed in (1, 2)]
    assert runs[0] == runs[1] != ""


@pytest.mark.parametrize("width", [80, 140])
def test_lines_fit_the_terminal_but_for_commands(width: int) -> None:
    run = kgdiag(*BROKEN, COLUMNS=str(width))
    wide = [line for line in run.stdout.splitlines() if len(line) > width]
    assert all(line.lstrip().startswith(("kubectl", "istioctl", "curl")) for line in wide), wide


def test_a_pipe_gets_no_colour() -> None:
    assert "\x1b" not in kgdiag(*EMBLEM).stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["explain", "svc/nothing", "-n", "istio-system"], "no Service nothing in namespace istio-system"),
        (["explain", "svc/knative-local-gatewy", "-n", "istio-system"], "knative-local-gateway"),
        (["explain", "svc/knative-local-gateway"], "that name exists in namespace istio-system"),
        (["explain", "svcc/x"], "svc"),
        (["explain", "x"], "KIND/NAME"),
        (["rules", "KG999"], "KG999"),
        (["explain", "svc/x", "-o", "pdf"], "pdf"),
        (["explain", "svc/x", "--fail-on", "maybe"], "maybe"),
    ],
)
def test_wrong_usage_says_what_to_do(args: list[str], words: str) -> None:
    files = ["-f", str(EXAMPLES / "kubeflow.yaml")] if args[0] != "rules" else []
    run = kgdiag(*args, *files)
    assert run.returncode == 2
    assert words in run.stderr
    assert run.stdout == ""
    assert "Traceback" not in run.stderr


def test_options_of_a_cluster_do_not_go_with_files() -> None:
    run = kgdiag(*EMBLEM, "--context", "x")
    assert run.returncode == 2
    assert "--context" in run.stderr


def test_no_cluster_is_an_error_of_its_own(tmp_path: Path) -> None:
    run = kgdiag("explain", "svc/x", "--kubeconfig", str(tmp_path / "none"))
    assert run.returncode in (2, 3)
    assert str(tmp_path / "none") in run.stderr
    assert "Traceback" not in run.stderr


HOSTILE = """
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: default
  annotations: {note: "[red]x[/red]"}
spec:
  type: ExternalName
  externalName: "evil\\e[31m[bold]x[/bold]\\u202e\\nfake"
"""


@pytest.mark.parametrize("output", ["text", "wide", "json", "yaml", "markdown"])
def test_text_from_a_cluster_is_shown_and_not_obeyed(output: str) -> None:
    run = kgdiag("explain", "svc/web", "-f", "-", "-o", output, stdin=HOSTILE)
    assert run.returncode == 0, run.stderr
    assert "\x1b" not in run.stdout
    assert "\u202e" not in run.stdout
    assert "\nfake" not in run.stdout
    assert "bold" in run.stdout


def test_a_reader_that_stops_reading_is_no_crash() -> None:
    command = f"{sys.executable} -m kgdiag {' '.join(EMBLEM)} -o json | head -c 10"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in run.stderr
    assert "Exception" not in run.stderr


def test_the_json_has_the_contract_s_frame() -> None:
    document = json.loads(kgdiag(*BROKEN, "-o", "json").stdout)
    assert list(document)[:3] == ["apiVersion", "kind", "incomplete"]
    assert document["apiVersion"] == "kgdiag.dev/v1"
    assert document["kind"] == "Explanation"
    assert {"object", "summary", "relations", "findings", "verify"} <= set(document)
