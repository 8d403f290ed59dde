"""Not seen is not fine, and not a fault either: what cannot be read takes findings away and adds none."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from kgdiag.collect.files import Files, read_files
from kgdiag.graph.ask import ask
from kgdiag.graph.assumed import AssumedPods
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.kind import Kind
from kgdiag.model.read import Need, Origin, Read, Source, Status
from kgdiag.rules import catalogue
from kgdiag.rules.base import Scope
from kgdiag.rules.run import run

SCENARIOS = sorted((Path(__file__).parent.parent / "scenarios").glob("*/cluster.yaml"))


class WithoutRights:
    """A whole cluster of which one kind may not be read."""

    def __init__(self, inner: Source, kind: Kind) -> None:
        self._inner = inner
        self._kind = kind

    @property
    def origin(self) -> Origin:
        return Origin.FILES

    def read(self, needs: list[Need]) -> list[Read]:
        return [
            Read(need, Status.FORBIDDEN, message="forbidden") if need.kind == self._kind else read
            for need, read in zip(needs, self._inner.read(needs), strict=True)
        ]


def _findings(source: Source, files: Files) -> tuple[list[Finding], list[str]]:
    world = World(Origin.FILES, complete=True)
    world.documents = files.documents
    found, skipped = ask(source, world, lambda world: run(world, catalogue().values(), Scope()))
    return found, [item.reason for item in skipped]


def _faults(findings: Iterable[Finding]) -> set[tuple[str, str]]:
    return {(item.rule, str(item.object)) for item in findings if item.severity is not Severity.INFO}


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_forbidden_kinds_add_no_fault(path: Path) -> None:
    """For each kind that the scenario has, and some that it lacks."""
    files = read_files([str(path)], complete=True)
    whole = AssumedPods(files)
    known = _faults(_findings(whole, files)[0])
    for kind in dict.fromkeys(
        (*files.kinds, kinds.POD, kinds.SECRET, kinds.SERVICE_ENTRY, kinds.REFERENCE_GRANT)
    ):
        found, reasons = _findings(WithoutRights(whole, kind), files)
        assert _faults(found) - known == set(), kind
        assert not [reason for reason in reasons if "crashed" in reason], kind
