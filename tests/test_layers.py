"""The architecture's promises: data flows one way, I/O in collect, printing in cli, lazy imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kgdiag

ROOT = Path(kgdiag.__file__).parent
# A layer imports itself and the layers before it. ``errors`` belongs to all.
LAYERS = (
    "errors", "model", "collect", "graph", "dialects", "trace", "rules", "explain", "traffic", "app",
    "checking", "proxying", "accesslogs", "probing", "report", "cli",
)  # fmt: skip
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in LAYERS)
# Only these may touch files, sockets or processes.
IO_MODULES = {"socket", "ssl", "subprocess", "urllib3", "requests", "kubernetes", "http", "tempfile", "gzip"}
OWN_DATA = {"model/schema.py"}  # reads the package's own tables
IO_CALLS = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "glob", "rglob", "iterdir"}


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func
            yield (
                name.id
                if isinstance(name, ast.Name)
                else name.attr
                if isinstance(name, ast.Attribute)
                else ""
            )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_flow_one_way(path: Path) -> None:
    allowed = LAYERS[: LAYERS.index(layer_of(path)) + 1]
    inner = {name.split(".")[1] for name in imports(path) if name.startswith("kgdiag.")}
    assert {name for name in inner if name in LAYERS} <= set(allowed)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_collect_does_io_and_only_cli_prints(path: Path) -> None:
    layer = layer_of(path)
    if layer != "collect":
        assert not {name.split(".")[0] for name in imports(path)} & IO_MODULES
        if str(path.relative_to(ROOT)) not in OWN_DATA:
            assert not set(calls(path)) & (IO_CALLS - ({"open"} if layer == "cli" else set()))
    if layer != "cli":
        assert "print" not in set(calls(path)) or layer == "report"


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; sys.stderr.write(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in run.stderr.split()}


def test_the_command_line_loads_nothing_that_it_does_not_need() -> None:
    code = "from kgdiag.cli.commands import run\nassert run(['--help']) == 0"
    assert not loaded_by(code) & {
        "kubernetes",
        "rich",
        "yaml",
        "orjson",
        "re2",
        "cryptography",
        "urllib3",
        "tenacity",
    }


def test_reading_files_loads_no_cluster_client(tmp_path: Path) -> None:
    (tmp_path / "ns.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
    argv = ["explain", "ns/a", "-f", str(tmp_path), "-o", "json"]
    code = f"from kgdiag.cli.commands import run\nassert run({argv!r}) == 0"
    assert not loaded_by(code) & {"kubernetes", "rich", "urllib3"}
