"""Snapshots: what was read comes back, with how it was read, and nothing more."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kgdiag.collect.files import Files, read_files
from kgdiag.collect.snapshot import save_snapshot
from kgdiag.errors import InputError
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.read import Need, Origin, Read, Status

NOON = datetime(2025, 1, 31, 12, tzinfo=UTC)
POD, SERVICE, GATEWAY, SECRET = kinds.POD, kinds.SERVICE, kinds.ISTIO_GATEWAY, kinds.SECRET


def pod(namespace: str, name: str, **more: Any) -> Obj:
    return Obj(POD, {"metadata": {"namespace": namespace, "name": name, "labels": {"app": name}, **more}})


READS = [
    Read(Need(POD, "b"), Status.OK, (pod("b", "p2"), pod("b", "p1"))),
    Read(Need(POD, "b", None, (("app", "p1"),)), Status.OK, (pod("b", "p1"),)),
    Read(Need(POD, "c"), Status.FORBIDDEN, (), "no right to list pods in c"),
    Read(Need(POD), Status.FORBIDDEN, (), "no right to list pods"),
    Read(Need(SERVICE), Status.FAILED, (), "503"),
    Read(Need(GATEWAY), Status.ABSENT, (), "not installed"),
]


def saved(tmp_path: Path, reads: list[Read] | None = None) -> str:
    path = tmp_path / "x.kgdiag"
    save_snapshot(
        path, READS if reads is None else reads, server_version="v1.34.4", namespace="b", created=NOON
    )
    return str(path)


def answer(source: Files, *need: Any) -> tuple[Status, str, list[str]]:
    (read,) = source.read([Need(*need)])
    return read.status, read.message, [obj.name for obj in read.objects]


def test_what_was_read_comes_back(tmp_path: Path) -> None:
    source = read_files([saved(tmp_path)])
    assert source.origin is Origin.SNAPSHOT
    assert source.complete
    assert source.default_namespace == "b"
    assert [(it.created, it.server_version) for it in source.snapshots] == [
        ("2025-01-31T12:00:00Z", "v1.34.4")
    ]
    assert answer(source, POD, "b") == (Status.OK, "", ["p1", "p2"])
    assert answer(source, POD, "b", "p2") == (Status.OK, "", ["p2"])
    assert answer(source, POD, "b", "nobody") == (Status.OK, "", [])
    assert answer(source, POD, "b", None, (("app", "p1"), ("x", "y"))) == (Status.OK, "", [])
    assert answer(source, POD, "c") == (Status.FORBIDDEN, "no right to list pods in c", [])
    assert answer(source, POD, "d", "x") == (Status.FORBIDDEN, "no right to list pods", [])
    assert answer(source, POD)[0] is Status.FORBIDDEN
    assert answer(source, SERVICE, "b", "web") == (Status.FAILED, "503", [])
    assert answer(source, GATEWAY, "b") == (Status.ABSENT, "not installed", [])
    assert source.objects[0].raw["kind"] == "Pod"
    assert source.objects[0].api_version == "v1"


def test_what_nobody_read_is_not_known(tmp_path: Path) -> None:
    status, message, _ = answer(read_files([saved(tmp_path)]), kinds.NETWORK_POLICY)
    assert status is Status.FAILED
    assert "snapshot" in message


def test_files_beside_a_snapshot_win_over_it(tmp_path: Path) -> None:
    manifest = tmp_path / "new.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p1, namespace: b, labels: {new: 'yes'}}\n"
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
    )
    source = read_files([saved(tmp_path), str(manifest)])
    assert source.origin is Origin.FILES
    assert answer(source, POD, "b", None, (("new", "yes"),)) == (Status.OK, "", ["p1"])
    assert answer(source, POD, "c")[0] is Status.FORBIDDEN
    assert answer(source, SERVICE, "b", "web") == (Status.OK, "", ["web"])
    assert answer(source, SERVICE)[0] is Status.FAILED
    assert answer(source, kinds.INGRESS) == (Status.OK, "", [])
    assert source.documents == ()


def test_no_secrets_and_no_leftovers_are_written(tmp_path: Path) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "hunter2"}}
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"}
    reads = [
        Read(Need(SECRET), Status.OK, (Obj(SECRET, secret),)),
        Read(Need(POD), Status.OK, (pod("b", "p", managedFields=["hunter2"], annotations=applied),)),
    ]
    path = saved(tmp_path, reads)
    text = gzip.decompress(Path(path).read_bytes()).decode()
    assert "hunter2" not in text
    assert json.loads(text)["created"] == "2025-01-31T12:00:00Z"
    assert "stringData" in secret  # what was handed over is as it was
    assert answer(read_files([path]), SECRET)[2] == ["s"]
    assert Path(path).stat().st_mode & 0o077 == 0


def test_the_same_reads_make_the_same_bytes(tmp_path: Path) -> None:
    first = Path(saved(tmp_path)).read_bytes()
    assert Path(saved(tmp_path)).read_bytes() == first


def test_nothing_is_written_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "x.kgdiag"
    path.write_text("old")
    broken = Obj(POD, {"metadata": {"name": "p", "when": object()}})
    with pytest.raises(TypeError):
        save_snapshot(path, [Read(Need(POD), Status.OK, (broken,))])
    assert path.read_text() == "old"
    for target in (tmp_path, tmp_path / "no" / "such" / "folder"):
        with pytest.raises(InputError, match="cannot be written"):
            save_snapshot(target, READS)
    assert [found.name for found in tmp_path.iterdir()] == ["x.kgdiag"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"apiVersion": "kgdiag.dev/v9"}, "a snapshot of version"),
        ({"reads": [{"kind": 99}]}, "a damaged snapshot"),
        ({"objects": [[0, {"metadata": 3}]]}, "a damaged snapshot"),
        ({"objects": 3}, "a damaged snapshot"),
        ({"kinds": [{}]}, "a damaged snapshot"),
        ({"kind": "Report"}, "no kgdiag snapshot"),
    ],
)
def test_damaged_snapshots(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = Path(saved(tmp_path))
    document = json.loads(gzip.decompress(path.read_bytes())) | change
    path.write_bytes(gzip.compress(json.dumps(document).encode()))
    with pytest.raises(InputError, match=message):
        read_files([str(path)])


def test_a_snapshot_that_somebody_unpacked(tmp_path: Path) -> None:
    path = Path(saved(tmp_path))
    plain = tmp_path / "x.json"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    assert read_files([str(plain)]).origin is Origin.SNAPSHOT
