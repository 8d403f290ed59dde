"""What does not change the world changes no finding: the order of documents, and unrelated objects."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kgdiag.collect.files import read_files
from kgdiag.graph.ask import ask
from kgdiag.graph.assumed import AssumedPods
from kgdiag.graph.world import World
from kgdiag.model.read import Origin
from kgdiag.rules import catalogue
from kgdiag.rules.base import Scope
from kgdiag.rules.run import run
from tests.test_scenarios import Case, cases

UNRELATED = """
apiVersion: v1
kind: Namespace
metadata: {name: zz-unrelated}
---
apiVersion: v1
kind: Service
metadata: {name: clock, namespace: zz-unrelated}
spec: {selector: {app: clock}, ports: [{port: 1234}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: clock, namespace: zz-unrelated}
spec:
  selector: {matchLabels: {app: clock}}
  template:
    metadata: {labels: {app: clock}}
    spec: {containers: [{name: clock, image: registry.example.com/clock, ports: [{containerPort: 1234}]}]}
"""


def _findings(text: str, path: Path) -> set[tuple[str, str, str, str]]:
    path.write_text(text)
    files = read_files([str(path)], complete=True)
    world = World(Origin.FILES, complete=True)
    world.documents = files.documents
    found, _ = ask(AssumedPods(files), world, lambda world: run(world, catalogue().values(), Scope()))
    return {(item.rule, str(item.severity), str(item.object), item.message) for item in found}


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_order_of_documents(case: Case, tmp_path: Path) -> None:
    documents = [item for item in yaml.safe_load_all(case.text) if item]
    forth = _findings(yaml.safe_dump_all(documents), tmp_path / "cluster.yaml")
    back = _findings(yaml.safe_dump_all(documents[::-1]), tmp_path / "cluster.yaml")
    assert back == forth


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_unrelated_objects(case: Case, tmp_path: Path) -> None:
    alone = _findings(case.text, tmp_path / "cluster.yaml")
    beside = _findings(f"{case.text}\n---{UNRELATED}", tmp_path / "cluster.yaml")
    assert beside == alone
