"""Files as a source: what is read, from where, what is noted, what ends the run."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kgdiag.collect import files as files_module
from kgdiag.collect.files import Files, read_files
from kgdiag.errors import InputError
from kgdiag.model import kinds
from kgdiag.model.note import NoteCode
from kgdiag.model.read import Need, Origin, Status

SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: web
  labels: {app: web}
spec:
  ports:
  - port: 80
"""
GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: infra}
spec:
  selector: {istio: x}
"""
Write = Callable[[str, str | bytes], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file below a folder that is the current one; returns its name as given."""
    monkeypatch.chdir(tmp_path)

    def put(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return put


def names(source: Files) -> list[str]:
    return [str(obj.ref) for obj in source.objects]


def notes(source: Files) -> list[tuple[NoteCode, str]]:
    return [(note.code, note.place) for note in source.documents]


def trouble(*paths: str) -> str:
    with pytest.raises(InputError) as caught:
        read_files(paths)
    assert caught.value.exit_code == 2
    return str(caught.value)


# Inputs


def test_documents_lists_and_standard_input(write: Write) -> None:
    pods = {
        "apiVersion": "v1",
        "kind": "PodList",
        "items": [{"metadata": {"name": "p1"}}, {"metadata": {"name": "p2"}}],
    }
    inner = {"apiVersion": "v1", "kind": "List", "items": [pods]}
    outer = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [inner, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}],
    }
    source = read_files(
        [write("a.yaml", f"{SERVICE}---\n{GATEWAY}"), write("list.json", json.dumps(outer, indent=1)), "-"],
        stdin=io.BytesIO(
            b"apiVersion: v1\nkind: List\nitems:\n\n- apiVersion: v1\n  kind: ConfigMap\n"
            b"  metadata:\n    name: c\n"
        ),
    )
    assert names(source) == [
        "ConfigMap default/c",
        "Node n",
        "Pod default/p1",
        "Pod default/p2",
        "Service default/web",
        "Gateway infra/gw",
    ]
    by_name = {obj.name: obj for obj in source.objects}
    assert by_name["web"].evidence("spec.ports[0].port").file == "a.yaml:8"
    assert by_name["gw"].evidence("spec.selector").file == "a.yaml:14"
    assert by_name["c"].evidence("metadata.name").file == "stdin:8"
    assert by_name["p2"].api_version == "v1"
    lines = (Path("list.json").read_text()).splitlines()
    file, line = (by_name["p2"].evidence("metadata.name").file or "").split(":")
    assert (file, lines[int(line) - 1].strip()) == ("list.json", '"name": "p2"')
    assert source.origin is Origin.FILES
    assert not source.complete
    assert source.documents == ()


def test_where_objects_without_a_namespace_go(write: Write) -> None:
    path = write("a.yaml", f"{SERVICE}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: nn}}\n")
    assert names(read_files([path])) == ["Namespace nn", "Service default/web"]
    source = read_files([path], namespace="prod", complete=True)
    assert names(source) == ["Namespace nn", "Service prod/web"]
    assert source.default_namespace == "prod"
    assert source.complete


def test_a_kind_of_ones_own_is_as_its_definition_says(write: Write) -> None:
    crd = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: foxes.gateway.kgateway.dev}
spec:
  group: gateway.kgateway.dev
  scope: Cluster
  names: {kind: Gateway, plural: foxes, shortNames: [fx]}
  versions: [{name: v1, served: true}, {name: v0, served: false}]
"""
    fox = "apiVersion: gateway.kgateway.dev/v1\nkind: Gateway\nmetadata: {name: f}\n"
    alien = "apiVersion: acme.example/v1\nkind: Policy\nmetadata: {name: p}\n"
    source = read_files([write("a.yaml", f"{fox}---\n{crd}---\n{alien}")])
    fox_kind = next(kind for kind in source.kinds if kind.group == "gateway.kgateway.dev")
    assert (fox_kind.plural, fox_kind.short, fox_kind.versions, fox_kind.namespaced) == (
        "foxes",
        ("fx",),
        ("v1",),
        False,
    )
    assert "Policy default/p" in names(source)
    assert source.documents == ()


def test_folders(write: Write) -> None:
    write("all/b/svc.yml", SERVICE)
    write("all/a.json", json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}))
    write("all/.hidden/x.yaml", "{{{")
    write("all/.x.yaml", "{{{")
    write("all/notes.txt", "hello")
    write("all/values.yaml", "replicas: 1\n---\nimage: x\n")
    write("all/broken-values.yaml", "a: [\n")
    write("all/tpl.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: {{ .Name }}}\n")
    write("all/kind.yaml", "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n")
    write("all/chart/Chart.yaml", "name: c\n")
    write("all/chart/values.yaml", "a: {{ }}")
    write("all/chart/templates/x.yaml", "a: {{ }}")
    write("all/chart/crds/x.yaml", GATEWAY)
    write(
        "all/k/kustomization.yaml",
        "resources: [r.yaml]\npatches:\n- path: ./p.yaml\npatchesStrategicMerge: [q.yaml]\n",
    )
    write("all/k/p.yaml", SERVICE)
    write("all/k/q.yaml", SERVICE)
    write("all/k/del.yaml", f"{SERVICE}$patch: delete\n")
    os.mkfifo("all/pipe.yaml")
    source = read_files(["all"])
    assert names(source) == ["Pod default/p", "Service default/web", "Gateway infra/gw"]
    assert notes(source) == [
        (NoteCode.NOT_A_MANIFEST, "all/broken-values.yaml:2"),
        (NoteCode.SKIPPED, "all/chart/Chart.yaml:1"),
        (NoteCode.SKIPPED, "all/k/del.yaml:1"),
        (NoteCode.SKIPPED, "all/k/kustomization.yaml:1"),
        (NoteCode.NO_NAME, "all/kind.yaml:1"),
        (NoteCode.TEMPLATE, "all/tpl.yaml:3"),
        (NoteCode.NOT_A_MANIFEST, "all/values.yaml:1"),
    ]


# Notes


def test_the_later_of_two_documents_wins(write: Write) -> None:
    other = SERVICE.replace("80", "81")
    source = read_files([write("a.yaml", SERVICE), write("b.yaml", f"# hi\n{other}")])
    (service,) = source.objects
    assert service.get("spec.ports[0].port") == 81
    (note,) = source.documents
    assert (note.code, note.place, note.nearest) == (NoteCode.DUPLICATE_OBJECT, "b.yaml:2", "a.yaml:1")
    assert note.object == service.ref


def test_odd_documents_are_noted(write: Write) -> None:
    text = GATEWAY.replace("networking", "nertowkring").replace("infra}", "infra,\n  labels: {v: 1, on: x}}")
    text += "...\nkind: lost\n---\na: &a x\n".partition("a: &a")[0]
    text += SERVICE.replace("spec:", "spec: {}\nspec:")
    source = read_files([write("a.yaml", text)])
    found = {note.code: note for note in source.documents}
    assert {code: note.place for code, note in found.items()} == {
        NoteCode.UNKNOWN_KIND: "a.yaml:1",
        NoteCode.NOT_TEXT: "a.yaml:4",
        NoteCode.IGNORED: "a.yaml:8",
        NoteCode.DUPLICATE_KEY: "a.yaml:16",
    }
    twice = found[NoteCode.DUPLICATE_KEY]
    assert (twice.nearest, twice.object and twice.object.name) == ("spec", "web")
    unknown = found[NoteCode.UNKNOWN_KIND]
    assert unknown.nearest == "networking.istio.io/v1 Gateway"
    assert (unknown.api_version, unknown.kind) == ("nertowkring.istio.io/v1", "Gateway")
    assert unknown.object is not None
    assert unknown.object.name == "gw"


def test_what_has_another_type_counts_as_missing_and_is_told(write: Write) -> None:
    text = """\
apiVersion: v1
kind: Service
metadata:
  name: web
  labels: [app]
spec:
  selector: {app: web, tier: {a: b}}
  ports: [7, {port: 80, name: [x]}]
  type: null
status:
  loadBalancer: {ingress: 7}
  conditions: [{type: Ready, status: {}}]
"""
    source = read_files([write("a.yaml", text)])
    (service,) = source.objects
    assert service.raw["spec"] == {"selector": {"app": "web"}, "ports": [{"port": 80}], "type": None}
    assert service.raw["metadata"] == {"name": "web", "namespace": "default"}
    assert service.raw["status"] == {"loadBalancer": {}, "conditions": [{"type": "Ready"}]}
    assert {note.code for note in source.documents} == {NoteCode.WRONG_TYPE}
    assert [(note.line, note.nearest) for note in source.documents] == [
        (5, "metadata.labels"),
        (7, "spec.selector.tier"),
        (8, "spec.ports[0]"),
        (8, "spec.ports[1].name"),
        (11, "status.loadBalancer.ingress"),
        (12, "status.conditions[0].status"),
    ]


def test_nothing_secret_stays(write: Write) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "s",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"},
        },
        "stringData": {"password": "hunter2"},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "managedFields": [{"manager": "x"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2", "a": "b"},
        },
    }
    source = read_files(
        [write("a.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": [secret, pod]}))]
    )
    found = {obj.name: obj for obj in source.objects}
    assert "hunter2" not in str([obj.raw for obj in source.objects])
    assert found["s"].get("keys") == ["password"]
    assert found["p"].raw["metadata"] == {"name": "p", "annotations": {"a": "b"}, "namespace": "default"}


def test_a_key_twice_in_a_list_is_told_of_its_object(write: Write) -> None:
    items = "".join(
        f"- {SERVICE.replace('web', name)}".replace("\n", "\n  ").rstrip(" ") for name in ("a", "b")
    )
    text = f"apiVersion: v1\nkind: List\nitems:\n{items}  spec: {{}}\n"
    (note,) = read_files([write("a.yaml", text)]).documents
    assert (note.code, note.place, note.nearest) == (NoteCode.DUPLICATE_KEY, "a.yaml:20", "spec")
    assert note.object is not None
    assert note.object.name == "b"


# What ends the run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n spec: x\n", "x.yaml:5: "),
        ("a: 1\n", "x.yaml:1: not a Kubernetes object: no apiVersion"),
        ("kind: Pod\nmetadata: {name: a}\n", "x.yaml:1: not a Kubernetes object: no apiVersion"),
        ("apiVersion: v1\nkind: 3\nmetadata: {name: a}\n", "x.yaml:1: not a Kubernetes object: no kind"),
        ("- a\n", "x.yaml:1: not a Kubernetes object: a list where a mapping should be"),
        ("hello", "x.yaml:1: not a Kubernetes object: a string where a mapping should be"),
        ("\n---\n\napiVersion: v1\nkind: Pod\n", "x.yaml:4: Pod without metadata"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}\n", "x.yaml:3: Pod without metadata.name"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: y\n",
            "x.yaml:4: metadata.name of this Pod is the boolean true",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: 12}\n",
            "x.yaml:3: metadata.namespace of this Pod is",
        ),
        (
            '{"apiVersion":"v1","kind":"List","items":[\n{"apiVersion":"v1","kind":"Pod"},\n3]}',
            "x.yaml:2: Pod without",
        ),
        (
            "apiVersion: v1\nkind: List\nitems: 1.5\n",
            "x.yaml:3: items of this List is the number 1.5, not a list",
        ),
        ("a: {{ x }}\n", "x.yaml:1: "),
        (b"apiVersion: v1\nkind: \xff\n", "x.yaml:2: not UTF-8 text"),
        (bytes(range(256)), "x.yaml: a binary file"),
        ("apiVersion: v1\n".encode("utf-16"), "x.yaml: UTF-16 text"),
        (gzip.compress(SERVICE.encode(), mtime=0), "x.yaml: compressed, but no kgdiag snapshot"),
        (gzip.compress(SERVICE.encode(), mtime=0)[:-9], "x.yaml: the gzip file ends too early"),
        (b"\x1f\x8bnonsense", "x.yaml: a damaged gzip file"),
    ],
)
def test_bad_files(write: Write, content: str | bytes, message: str) -> None:
    assert trouble(write("x.yaml", content)).startswith(message)


def test_an_empty_file_is_nothing(write: Write) -> None:
    assert read_files([write("x.yaml", "# nothing\n---\n")]).objects == ()


def test_bad_paths(write: Write) -> None:
    assert trouble("missing.yaml") == "missing.yaml: no such file or folder"
    write("docs/readme.md", "hello")
    assert trouble("docs").startswith("docs: no manifests in this folder")
    write("other/a.yaml", "a: 1\n")
    assert trouble("other").splitlines() == [
        "other: no file of this folder holds a Kubernetes object",
        "other/a.yaml:1: not a Kubernetes object: no apiVersion",
    ]
    write("broken/a.yaml", "apiVersion: v1\nkind: [\n")
    assert trouble("broken").startswith("broken/a.yaml:3: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(write: Write) -> None:
    Path(write("x.yaml", SERVICE)).chmod(0)
    assert trouble("x.yaml") == "x.yaml: cannot be read: Permission denied"


def test_sizes(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(write("huge.yaml", "")).open("wb") as stream:
        stream.truncate(200 << 20)
    assert trouble("huge.yaml").startswith("huge.yaml: larger than 128 MiB")
    monkeypatch.setattr(files_module, "MAX_TOTAL", 300)
    path = write("x.yaml", SERVICE)
    assert trouble(*[path] * 4).startswith("x.yaml: all files together are larger than")


# Answers


def test_reads(write: Write) -> None:
    pods = "".join(
        "---\napiVersion: v1\nkind: Pod\n"
        f"metadata: {{name: p{n}, namespace: ns{n % 2}, labels: {{app: a{n % 3}, x: 'y'}}}}\n"
        for n in reversed(range(6))
    )
    source = read_files([write("x.yaml", pods)])

    def found(*need: object) -> list[str]:
        (read,) = source.read([Need(*need)])  # type: ignore[arg-type]
        assert read.status is Status.OK
        return [f"{obj.namespace}/{obj.name}" for obj in read.objects]

    pod = kinds.POD
    assert found(pod) == ["ns0/p0", "ns0/p2", "ns0/p4", "ns1/p1", "ns1/p3", "ns1/p5"]
    assert found(pod, "ns1") == ["ns1/p1", "ns1/p3", "ns1/p5"]
    assert found(pod, "ns1", "p3") == ["ns1/p3"]
    assert found(pod, "ns1", "p2") == []
    assert found(pod, None, None, (("app", "a1"),)) == ["ns0/p4", "ns1/p1"]
    assert found(pod, "ns0", None, (("app", "a1"), ("x", "y"))) == ["ns0/p4"]
    assert found(pod, "ns0", None, (("app", "a1"), ("x", "z"))) == []
    assert found(kinds.HTTP_ROUTE) == []
