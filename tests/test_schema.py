"""The JSON documents against the schema in the package."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.yaml"))
SCHEMA = json.loads((files("kgdiag.report") / "schema.json").read_text())
COMMANDS = [
    ["explain", "svc/knative-local-gateway", "-n", "istio-system"],
    ["explain", "gateway/knative-local-gateway", "-n", "knative-serving"],
    ["explain", "vs/iris", "-n", "models"],
    ["explain", "svc/iris", "-n", "models"],
    ["check", "-A"],
    ["trace", "http://iris.models.example.com/v1/models"],
    ["trace", "http://iris.models.example.com/v1/models", "--via", "svc/istio-ingressgateway.istio-system"],
]


def document(args: list[str], file: Path) -> Any:
    run = subprocess.run(
        [sys.executable, "-m", "kgdiag", *args, "-f", str(file), "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("args", COMMANDS, ids=lambda args: " ".join(args[:2]))
def test_documents_are_valid(args: list[str], file: Path) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(document(args, file))


def test_the_schema_can_fail() -> None:
    found = document(COMMANDS[0], EXAMPLES[0])
    found["findings"][0]["severity"] = "bad"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(found)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
