"""Snapshots: one compressed file with all that a cluster answered, to be asked again without the cluster.

The file is gzip'd JSON::

    {"apiVersion": "kgdiag.dev/v1", "kind": "Snapshot",
     "created": "2025-01-31T12:00:00Z", "kgdiag": "0.1.0",    # when, and by which kgdiag
     "server": {"version": "v1.34.4"},
     "context": "prod", "namespace": "default",               # the kubeconfig's
     "kinds": [{"group", "name", "plural", "short", "versions", "namespaced"}],
     "reads": [{"kind": 0, "status": "ok", "message": "",     # index into kinds
                "namespace": null, "name": null, "labels": []}],
     "objects": [[0, {…}]]}                                    # index into kinds, the object

Objects are as the collectors give them: without Secret values, managedFields and last-applied annotations.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import tempfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from kgdiag import __version__
from kgdiag.collect.clean import clean
from kgdiag.errors import InputError
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.read import Need, Read, Status

MAGIC = b"\x1f\x8b"
MAX_UNPACKED = 1 << 30
"""Bytes of JSON that a snapshot may unpack to."""
API_VERSION, KIND = "kgdiag.dev/v1", "Snapshot"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot file holds. ``reads`` have their status and message, and no objects."""

    objects: tuple[Obj, ...]
    reads: tuple[Read, ...]
    created: str = ""
    server_version: str = ""
    context: str = ""
    namespace: str = ""


def save_snapshot(
    path: str | os.PathLike[str],
    reads: Iterable[Read],
    *,
    server_version: str = "",
    context: str = "",
    namespace: str = "default",
    created: datetime | None = None,
) -> int:
    """Write a snapshot of these reads, whole or not at all; returns the number of objects in it.

    A file that was there is replaced only once the new one is complete. ``created`` is now unless given.
    Raises ``InputError`` where the file cannot be written.
    """
    document, count = _document(reads)
    document |= {
        "created": (created or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "kgdiag": __version__,
        "server": {"version": server_version},
        "context": context,
        "namespace": namespace,
    }
    data = gzip.compress(orjson.dumps(document, option=orjson.OPT_SORT_KEYS), compresslevel=6, mtime=0)
    try:
        _write(Path(path), data)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", subject=str(path)) from None
    return count


def _document(reads: Iterable[Read]) -> tuple[dict[str, Any], int]:
    numbers: dict[Kind, int] = {}
    objects: dict[tuple[int, str, str], dict[str, Any]] = {}
    recorded = []
    for read in reads:
        need = read.need
        number = numbers.setdefault(need.kind, len(numbers))
        recorded.append(
            {
                "kind": number,
                "status": str(read.status),
                "message": read.message,
                "namespace": need.namespace,
                "name": need.name,
                "labels": [list(label) for label in need.labels],
            }
        )
        for obj in read.objects:
            key = (number, obj.namespace, obj.name)
            if key not in objects:
                objects[key] = _own(obj)
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "kinds": [
            {
                "group": kind.group,
                "name": kind.name,
                "plural": kind.plural,
                "short": list(kind.short),
                "versions": list(kind.versions),
                "namespaced": kind.namespaced,
            }
            for kind in numbers
        ],
        "reads": recorded,
        "objects": [
            [number, raw] for (number, _, _), raw in sorted(objects.items(), key=lambda item: item[0])
        ],
    }
    return document, len(objects)


def _own(obj: Obj) -> dict[str, Any]:
    """The object's JSON once more, cleaned, so that nothing is written that a collector let through."""
    raw = dict(obj.raw)
    version = obj.kind.versions[0]
    raw["apiVersion"] = obj.api_version or (f"{obj.kind.group}/{version}" if obj.kind.group else version)
    raw["kind"] = obj.kind.name
    meta = raw.get("metadata")
    if isinstance(meta, Mapping):
        raw["metadata"] = dict(meta)
    return clean(raw)


def _write(path: Path, data: bytes) -> None:
    """Write beside the target and rename, which is atomic within one file system."""
    if path.is_dir():
        raise IsADirectoryError(21, "is a folder", str(path))
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # A cluster's configuration is nobody else's business: the mode stays 0600, as mkstemp made it.
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def load_snapshot(data: bytes, file: str) -> Snapshot:
    """Read a compressed snapshot. Raises ``InputError`` for anything else."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(data, MAX_UNPACKED)
    except zlib.error:
        raise InputError("a damaged gzip file", subject=file) from None
    if unpacker.unconsumed_tail:
        raise InputError(f"unpacks to more than {MAX_UNPACKED >> 20} MiB", subject=file)
    if not unpacker.eof:
        raise InputError("the gzip file ends too early: it is damaged or incomplete", subject=file)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict) or not is_snapshot(value):
        raise InputError(
            "compressed, but no kgdiag snapshot", subject=file, hint="unpack it first if it holds manifests"
        )
    return snapshot_of(value, file)


def is_snapshot(value: Mapping[str, Any]) -> bool:
    """Whether a JSON document says that it is a snapshot."""
    return value.get("kind") == KIND and str(value.get("apiVersion")).startswith("kgdiag.dev/")


def snapshot_of(value: Mapping[str, Any], file: str) -> Snapshot:
    """A snapshot from its JSON. Raises ``InputError`` where it is of another version or damaged."""
    if value["apiVersion"] != API_VERSION:
        raise InputError(
            f"a snapshot of version {value['apiVersion']!r}; this kgdiag reads {API_VERSION!r}", subject=file
        )
    try:
        kinds = [_kind(item) for item in value["kinds"]]
        objects = tuple(_object(kinds[number], raw) for number, raw in value["objects"])
        reads = tuple(_read(kinds, item) for item in value["reads"])
        server = value.get("server") or {}
        return Snapshot(
            objects,
            reads,
            str(value.get("created") or ""),
            str(server.get("version") or ""),
            str(value.get("context") or ""),
            str(value.get("namespace") or ""),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise InputError("a damaged snapshot", subject=file) from None


def _kind(item: Mapping[str, Any]) -> Kind:
    return Kind(
        _text(item["group"]),
        _text(item["name"]),
        _text(item["plural"]),
        _texts(item["short"]),
        _texts(item["versions"]) or ("v1",),
        item["namespaced"] is True,
    )


def _object(kind: Kind, raw: Any) -> Obj:
    if not isinstance(raw, dict) or not isinstance(raw.get("metadata"), dict):
        raise TypeError
    return Obj(kind, clean(raw))


def _read(kinds: Sequence[Kind], item: Mapping[str, Any]) -> Read:
    namespace, name = item["namespace"], item["name"]
    need = Need(
        kinds[item["kind"]],
        None if namespace is None else _text(namespace),
        None if name is None else _text(name),
        tuple((_text(key), _text(value)) for key, value in item["labels"]),
    )
    return Read(need, Status(item["status"]), (), _text(item["message"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in value)
