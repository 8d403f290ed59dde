"""What tests of explanations share: an object of manifests explained, manifests as a cluster has them."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import yaml

from kgdiag.collect.files import read_files
from kgdiag.dialects import all_kinds, dialects
from kgdiag.explain import explain
from kgdiag.graph.ask import ask as asking
from kgdiag.graph.assumed import AssumedPods
from kgdiag.graph.world import World
from kgdiag.model.explanation import Explanation
from kgdiag.model.kind import Kind
from kgdiag.model.read import Origin

EXAMPLES = Path(__file__).parents[2] / "examples"


def explained(text: str, kind: Kind, name: str, namespace: str = "", *, complete: bool = True) -> Explanation:
    """The explanation of one object of manifests."""

    def ask(world: World) -> Explanation | None:
        obj = world.get(kind, namespace, name)
        return explain(world, obj, dialects()) if obj else None

    files = read_files(["-"], complete=complete, stdin=io.BytesIO(text.encode()))
    world = World(Origin.FILES, complete=complete)
    world.documents = tuple(files.documents)
    found = asking(AssumedPods(files), world, ask)
    assert found is not None, f"the manifests have no {kind.name} {namespace}/{name}"
    return found


def table(found: Explanation, title: str) -> list[dict[str, str]]:
    """The rows of a table by its columns."""
    made = next(item for item in found.tables if item.title == title)
    return [dict(zip(made.columns, row, strict=True)) for row in made.rows]


def up(found: Explanation) -> set[tuple[str, str]]:
    """Who leads here: (relation, object)."""
    return {(item.relation, str(item.object)) for item in found.relations if item.direction == "up"}


def down(found: Explanation) -> dict[str, str]:
    """Where it leads: the object and what is said of it."""
    return {str(item.object): item.detail for item in found.relations if item.direction == "down"}


def commands(found: Explanation) -> list[str]:
    return [item.command for item in found.verify]


def running(text: str) -> list[dict[str, Any]]:
    """The objects of manifests as a cluster has them: with pods of Deployments and EndpointSlices."""
    objects = [item for item in yaml.safe_load_all(text) if item]
    versions = {(kind.group, kind.name): kind.versions for kind in all_kinds()}
    for item in objects:
        group, _, version = item["apiVersion"].rpartition("/")
        assert version in versions[group, item["kind"]]
    pods = [_pod(item) for item in objects if item["kind"] == "Deployment"]
    services = [item for item in objects if item["kind"] == "Service"]
    return [*objects, *pods, *(_slice(item, pods) for item in services if item["spec"].get("selector"))]


def _pod(deployment: dict[str, Any]) -> dict[str, Any]:
    template = copy.deepcopy(deployment["spec"]["template"])
    meta = deployment["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": f"{meta['name']}-1", "namespace": meta["namespace"]},
        "spec": template["spec"],
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def _slice(service: dict[str, Any], pods: list[dict[str, Any]]) -> dict[str, Any]:
    meta, selector = service["metadata"], service["spec"]["selector"]
    mine = [
        pod
        for pod in pods
        if pod["metadata"]["namespace"] == meta["namespace"]
        and selector.items() <= pod["metadata"]["labels"].items()
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{meta['name']}-a",
            "namespace": meta["namespace"],
            "labels": {"kubernetes.io/service-name": meta["name"]},
        },
        "addressType": "IPv4",
        "ports": [
            {"name": port.get("name"), "port": port["targetPort"]} for port in service["spec"]["ports"]
        ],
        "endpoints": [
            {
                "addresses": [f"10.0.0.{at + 1}"],
                "conditions": {"ready": True},
                "targetRef": {
                    "kind": "Pod",
                    "name": pod["metadata"]["name"],
                    "namespace": meta["namespace"],
                },
            }
            for at, pod in enumerate(mine)
        ],
    }
