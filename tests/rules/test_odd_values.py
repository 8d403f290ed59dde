"""Rules bear every value that a file can hold: fields of the wrong type count as missing."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kgdiag.collect.files import read_files
from kgdiag.errors import InputError
from kgdiag.graph.ask import ask
from kgdiag.graph.assumed import AssumedPods
from kgdiag.graph.world import World
from kgdiag.model.read import Origin
from kgdiag.rules import catalogue
from kgdiag.rules.base import Scope
from kgdiag.rules.run import run

SCENARIOS = sorted((Path(__file__).parent.parent / "scenarios").glob("*/cluster.yaml"))
ODD: tuple[Any, ...] = (None, 7, "word", [], {}, [None, 3, "x", {}], {"a": {"b": [1]}}, True)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value below ``spec`` and ``metadata.labels``."""
    items = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in items:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def _with(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(document)
    at = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return changed


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_no_rule_crashes(path: Path, tmp_path: Path) -> None:
    """Every field of every object, each with one odd value in turn (a different one for each field)."""
    documents = [item for item in yaml.safe_load_all(path.read_text()) if item]
    kept = ("apiVersion", "kind", "metadata")
    turn = 0
    for at, document in enumerate(documents):
        for where in _paths({key: value for key, value in document.items() if key not in kept}):
            turn += 1
            changed = [*documents[:at], _with(document, where, ODD[turn % len(ODD)]), *documents[at + 1 :]]
            crashed = _crashed(changed, tmp_path)
            assert not crashed, (document["kind"], where, ODD[turn % len(ODD)])


def _crashed(documents: list[Any], folder: Path) -> list[str]:
    file = folder / "odd.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    try:
        files = read_files([str(file)], complete=True)
    except InputError:
        return []  # no object at all: said as what it is
    world = World(Origin.FILES, complete=True)
    world.documents = files.documents
    _, skipped = ask(AssumedPods(files), world, lambda world: run(world, catalogue().values(), Scope()))
    return [item.reason for item in skipped if "crashed" in item.reason]
