"""Make ``kgdiag/model/schemas/GROUP.json``: the fields of the kinds that kgdiag reads.

    python scripts/make_schemas.py PATH...

The paths are CRD files or folders of them, of the projects in ``GROUPS`` (the CRDs of their latest releases);
Kubernetes' own kinds come from the models of the ``kubernetes`` package that is installed. Only names and
shapes of fields are taken. All versions of a kind are put together, and so are several CRDs of one kind (the
Gateway API has standard and experimental ones). A group that no path has keeps the file that it has.

Each file::

    {"kinds": {"VirtualService": {"versions": ["v1", …], "fields": TREE}}, "shared": [TREE…]}

with the trees of ``kgdiag/model/schema.py``.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import models

from kgdiag.model.schema import METADATA, crd_trees, merge

OUT = Path(__file__).parent.parent / "kgdiag" / "model" / "schemas"
GROUPS = (
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
    "gateway.networking.k8s.io",
    "gateway.networking.x-k8s.io",
    "gateway.envoyproxy.io",
    "serving.knative.dev",
    "networking.internal.knative.dev",
    "serving.kserve.io",
    "route.openshift.io",
    "maistra.io",
)
SKIP = ("LLMInferenceService", "LLMInferenceServiceConfig", "LocalModelNodeGroup")
"""Kinds whose fields kgdiag never looks at and which would make the files large."""
KUBERNETES = {
    "": "Namespace Node Pod Service Endpoints ConfigMap ServiceAccount",
    "apps": "Deployment ReplicaSet StatefulSet DaemonSet",
    "batch": "Job CronJob",
    "networking.k8s.io": "Ingress IngressClass NetworkPolicy",
    "discovery.k8s.io": "EndpointSlice",
    "autoscaling": "HorizontalPodAutoscaler",
    "policy": "PodDisruptionBudget",
    "rbac.authorization.k8s.io": "Role RoleBinding ClusterRole ClusterRoleBinding",
}
OF_VERSION = {"HorizontalPodAutoscaler": "V2"}
Kinds = dict[str, dict[str, Any]]


def main(paths: list[str]) -> None:
    """Write the files of every group that the paths have, and those of Kubernetes' own groups."""
    groups: dict[str, Kinds] = {}
    for path in map(Path, paths):
        for file in sorted(path.rglob("*.yaml")) if path.is_dir() else [path]:
            for document in yaml.load_all(file.read_text("utf-8"), Loader=yaml.CSafeLoader):
                if isinstance(document, dict) and document.get("kind") == "CustomResourceDefinition":
                    add(groups, document)
    for group, names in KUBERNETES.items():
        for name in names.split():
            version = OF_VERSION.get(name, "V1")
            fields = model(f"{version}{name}", ())
            groups.setdefault(group, {})[name] = {"versions": [version.lower()], "fields": fields}
    for group, kinds in sorted(groups.items()):
        write(group, kinds)


def add(groups: dict[str, Kinds], crd: dict[str, Any]) -> None:
    """Put one CRD's fields to what is there of its kind."""
    group, name = crd["spec"]["group"], crd["spec"]["names"]["kind"]
    if group not in GROUPS or name in SKIP:
        return
    for version, tree in crd_trees(crd):
        if not isinstance(tree, dict) or tree.get("spec") is True:
            continue
        entry = groups.setdefault(group, {}).setdefault(name, {"versions": [], "fields": {}})
        entry["versions"] = sorted({*entry["versions"], version})
        entry["fields"] = merge(entry["fields"], tree)


def model(name: str, above: tuple[str, ...]) -> Any:
    """The field tree of one of the Kubernetes client's models."""
    if name in above:
        return True  # JSON schemas hold themselves
    kind = getattr(models, name)
    return {
        key: typed(kind.openapi_types[attribute], (*above, name))
        for attribute, key in kind.attribute_map.items()
    }


def typed(name: str, above: tuple[str, ...]) -> Any:
    """The field tree of a type of the client: ``List[V1Container]``, ``Dict[str, str]``, ``str``."""
    lowered = name.lower()
    if name.endswith("ObjectMeta"):
        return METADATA
    if lowered.startswith("list["):
        return [typed(name[5:-1], above)]
    if lowered.startswith("dict["):
        return {"*": typed(name.partition(",")[2].strip()[:-1], above)}
    if name in ("str", "int", "bool", "float", "datetime", "bytes"):
        return None
    return model(name, above) if hasattr(models, name) else True


def write(group: str, kinds: Kinds) -> None:
    """One group's file, with what is there more than once written once."""
    for entry in kinds.values():
        for name in ("apiVersion", "kind", "metadata", "status"):
            entry["fields"].pop(name, None)
    counts: Counter[str] = Counter()
    for entry in kinds.values():
        count(entry["fields"], counts)
    numbers: dict[str, int] = {}
    shared: list[Any] = []
    packed = {
        name: {
            "versions": entry["versions"],
            "fields": pack(entry["fields"], counts, numbers, shared, top=True),
        }
        for name, entry in sorted(kinds.items())
    }
    text = json.dumps({"kinds": packed, "shared": shared}, separators=(",", ":"), sort_keys=True)
    path = OUT / f"{group or 'core'}.json"
    path.write_text(text + "\n", "utf-8")
    print(f"{path.name}: {len(kinds)} kinds, {len(text):,} bytes")


def key_of(tree: Any) -> str:
    return json.dumps(tree, sort_keys=True)


def count(tree: Any, counts: Counter[str]) -> None:
    """How often each subtree is there; what is inside of one already seen is not counted again."""
    if isinstance(tree, list):
        count(tree[0], counts)
    elif isinstance(tree, dict):
        key = key_of(tree)
        counts[key] += 1
        if counts[key] == 1:
            for inner in tree.values():
                count(inner, counts)


def pack(
    tree: Any, counts: Counter[str], numbers: dict[str, int], shared: list[Any], *, top: bool = False
) -> Any:
    """The tree with numbers for what is shared."""
    if isinstance(tree, list):
        return [pack(tree[0], counts, numbers, shared)]
    if not isinstance(tree, dict):
        return tree
    key = key_of(tree)
    if not top and counts[key] > 1 and len(key) > 12:
        if key not in numbers:
            packed = {name: pack(inner, counts, numbers, shared) for name, inner in tree.items()}
            numbers[key] = len(shared)
            shared.append(packed)
        return numbers[key]
    return {name: pack(inner, counts, numbers, shared) for name, inner in tree.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
