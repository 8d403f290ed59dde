"""Patches mend: applied to the scenario they belong to, the finding is gone and no new one comes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kgdiag.collect.edits import diff_of
from kgdiag.collect.files import read_files
from kgdiag.model.patch import Patch, PatchType, apply, merge, move_field, set_field
from kgdiag.model.ref import Ref
from tests.check.support import Run, report, written
from tests.test_scenarios import Case, cases


def patched(text: str, finding: Any) -> str:
    """The manifests with the finding's patch applied to the object that it names."""
    target, given = finding["patch"]["target"], finding["patch"]
    patch = Patch(PatchType(given["type"]), Ref(**target), given["patch"], given["command"])
    documents = [item for item in yaml.safe_load_all(text) if item]
    if patch.type is PatchType.CREATE:
        return yaml.safe_dump_all([*documents, patch.body], sort_keys=False)
    hits = 0
    for at, document in enumerate(documents):
        meta = document["metadata"]
        group = document["apiVersion"].rpartition("/")[0]
        here = (group, document["kind"], meta.get("namespace", target["namespace"]), meta["name"])
        if here == (target["group"], target["kind"], target["namespace"], target["name"]):
            documents[at] = apply(patch, document)
            hits += 1
    assert hits == 1, target
    return yaml.safe_dump_all(documents, sort_keys=False)


def sorted_text(documents: list[Any]) -> list[str]:
    return sorted(json.dumps(item, sort_keys=True) for item in documents)


def identity(finding: Any) -> tuple[Any, ...]:
    return (finding["rule"], tuple(finding["object"].values()), finding["message"])


def mendable() -> list[Case]:
    return [item for item in cases() if any(" info " not in line for line in item.expect.get("check", ()))]


@pytest.mark.parametrize("found", mendable(), ids=lambda item: item.name)
def test_a_patch_mends_and_breaks_nothing(check: Run, tmp_path: Path, found: Case) -> None:
    before = report(check, "-f", written(tmp_path, found.text), *found.options)["findings"]
    # What the scenario has without this variant's fault may come to light once the fault is mended.
    base = next(item for item in cases() if item.name == found.name.partition("/")[0])
    known = report(check, "-f", written(tmp_path, base.text, "base.yaml"), *base.options)["findings"]
    for finding in before:
        if finding["patch"] is None:
            continue
        path = written(tmp_path, patched(found.text, finding), "mended.yaml")
        after = report(check, "-f", path, *found.options)["findings"]
        assert identity(finding) not in {identity(item) for item in after}, finding["patch"]
        left = {identity(item) for item in after if item["severity"] != "info"}
        assert left <= {identity(item) for item in (*before, *known)}, finding["patch"]


@pytest.mark.parametrize("found", mendable(), ids=lambda item: item.name)
def test_the_diff_is_the_same_mend(
    check: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Case
) -> None:
    """`git apply` takes the diff, comments and order stay, and the mended file is as the patch has it."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    monkeypatch.chdir(tmp_path)
    written(tmp_path, found.text)
    for finding in report(check, "-f", "cluster.yaml", *found.options)["findings"]:
        patch = finding["patch"]
        if patch is None or patch["diff"] is None:
            continue
        folder = tmp_path / "applied"
        folder.mkdir()
        written(folder, found.text)
        subprocess.run(["git", "apply", "-p1", "-"], input=patch["diff"], text=True, cwd=folder, check=True)
        texts = [path.read_text() for path in sorted(folder.iterdir())]
        mended = [item for text in texts for item in yaml.safe_load_all(text) if item]
        expected = [item for item in yaml.safe_load_all(patched(found.text, finding)) if item]
        assert sorted_text(mended) == sorted_text(expected)
        shutil.rmtree(folder)


def test_enough_rules_have_a_patch(check: Run, tmp_path: Path) -> None:
    """Each of these rules has a scenario whose finding carries its patch, most with a diff."""
    seen: dict[str, bool] = {}
    for found in mendable():
        for item in report(check, "-f", written(tmp_path, found.text), *found.options)["findings"]:
            if item["patch"]:
                seen[item["rule"]] = seen.get(item["rule"], False) or item["patch"]["diff"] is not None
    assert {
        "KG102", "KG104", "KG107", "KG108", "KG110", "KG111", "KG201", "KG301", "KG302", "KG401", "KG404",
        "KG704",
    } <= set(seen)  # fmt: skip
    assert all(seen[rule] for rule in ("KG102", "KG104", "KG108", "KG201", "KG301", "KG401"))


OBJECTS = """\
# a comment that stays
apiVersion: v1
kind: Service
metadata: {name: a, namespace: x}
spec:
  selector:
    app: web   # why
    'tier': "front"
  ports:
    - port: 80
      targetPort: http
    - {port: 81, targetPort: 8081}
---
apiVersion: v1
kind: Service
metadata:
  name: b
  namespace: x
  labels: {}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Service
    metadata: {name: c, namespace: x}
    spec:
      type: ClusterIP
"""


def objects(folder: Path) -> dict[str, Any]:
    source = read_files([str(written(folder, OBJECTS))])
    return {obj.name: obj for obj in source.objects}


@pytest.mark.parametrize(
    ("name", "make", "removed", "added"),
    [
        ("a", lambda o: set_field(o, "spec.selector['app']", "api"),
         "    app: web   # why", "    app: api   # why"),
        ("a", lambda o: set_field(o, "spec.selector['tier']", "yes"),
         "    'tier': \"front\"", "    'tier': \"yes\""),
        ("a", lambda o: set_field(o, "spec.ports[0].targetPort", 8080),
         "      targetPort: http", "      targetPort: 8080"),
        ("a", lambda o: set_field(o, "spec.ports[1].targetPort", "http"),
         "    - {port: 81, targetPort: 8081}", "    - {port: 81, targetPort: http}"),
        ("a", lambda o: set_field(o, "spec.ports[1].name", "x"),
         "    - {port: 81, targetPort: 8081}", "    - {name: x, port: 81, targetPort: 8081}"),
        ("a", lambda o: move_field(o, "spec.selector.app", "spec.selector.run"),
         "    app: web   # why", "    run: web   # why"),
        ("b", lambda o: merge(o, {"metadata": {"labels": {"a.b/c": "true"}}}),
         "  labels: {}", '  labels: {a.b/c: "true"}'),
        ("c", lambda o: set_field(o, "spec.type", "NodePort"),
         "      type: ClusterIP", "      type: NodePort"),
    ],
)  # fmt: skip
def test_edits_change_one_line(tmp_path: Path, name: str, make: Any, removed: str, added: str) -> None:
    obj = objects(tmp_path)[name]
    diff = diff_of(make(obj), obj.place)
    assert diff is not None
    changes = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changes == [f"-{removed}", f"+{added}"]


def test_labels_where_there_are_none(tmp_path: Path) -> None:
    obj = objects(tmp_path)["c"]
    diff = diff_of(merge(obj, {"metadata": {"labels": {"x": "1"}}}), obj.place)
    assert diff is not None
    assert '+    metadata: {labels: {"x": "1"}, name: c, namespace: x}' in diff


def test_no_diff_rather_than_a_wrong_one(tmp_path: Path) -> None:
    """The value is an anchor that another field refers to: an edit there would change both."""
    text = OBJECTS.replace("app: web   # why", "app: &value web").replace("'tier': \"front\"", "tier: *value")
    source = read_files([str(written(tmp_path, text))])
    obj = next(item for item in source.objects if item.name == "a")
    assert obj.place is not None
    assert diff_of(set_field(obj, "spec.selector['app']", "api"), obj.place) is None


def test_no_diff_of_a_file_that_changed_meanwhile(tmp_path: Path) -> None:
    obj = objects(tmp_path)["a"]
    written(tmp_path, "# rewritten\n" + OBJECTS)
    assert diff_of(set_field(obj, "spec.selector['app']", "api"), obj.place) is None


def test_json_files_have_the_command_only(check: Run, tmp_path: Path) -> None:
    found = next(item for item in cases() if item.name == "ingress-wiki/class-typo")
    documents = [item for item in yaml.safe_load_all(found.text) if item]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    path = written(tmp_path, text, "cluster.json")
    patch = report(check, "-f", path, "--complete")["findings"][0]["patch"]
    assert patch["diff"] is None
    assert patch["command"].startswith(
        "kubectl patch ingresses.networking.k8s.io wiki -n docs --type=json -p "
    )


def test_a_patch_tests_what_it_replaces(tmp_path: Path) -> None:
    obj = objects(tmp_path)["a"]
    patch = set_field(obj, "spec.selector['app']", "api")
    with pytest.raises(ValueError, match="/spec/selector/app"):
        apply(patch, {"spec": {"selector": {"app": "changed meanwhile"}}})


def test_text_shows_a_mend_to_copy(check: Run, tmp_path: Path) -> None:
    found = next(item for item in cases() if item.name == "ingress-wiki/class-typo")
    path = written(tmp_path, found.text)
    assert "+  ingressClassName: nginx" in check("-f", path, "--complete", "-o", "wide")[1]
    assert "+  ingressClassName: nginx" in check("-f", path, "--complete", "-o", "markdown")[1]
