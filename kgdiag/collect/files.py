"""Objects from files: manifests, folders of them, standard input, kubectl's output, snapshots.

Everything is read at once and answered from memory. What cannot be used ends the run with an ``InputError``
that names ``file:line``; what is odd but usable is kept as a note. A file that is named on the command line
must be manifests throughout; a folder may hold other things, which are noted and left out.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path as FilePath
from typing import Any, BinaryIO

from kgdiag.collect.clean import clean
from kgdiag.collect.manifests import Document, Malformed, documents
from kgdiag.collect.scalars import without_collector
from kgdiag.collect.snapshot import MAGIC, Snapshot, is_snapshot, load_snapshot, snapshot_of
from kgdiag.errors import InputError
from kgdiag.model import schema, shape
from kgdiag.model.kind import Kind
from kgdiag.model.note import Note, NoteCode
from kgdiag.model.obj import Obj, Path, Place
from kgdiag.model.read import Need, Origin, Read, Status

MAX_FILE = 128 << 20
"""Bytes of one file or of standard input. A cluster with 10,000 pods prints about 100 MiB of JSON."""
MAX_TOTAL = 256 << 20
"""Bytes of all files together."""
SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "stdin"
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_LOOKS_LIKE_MANIFEST = re.compile(r'^[ \t-]*"?(?:apiVersion|kind)"?[ \t]*:', re.MULTILINE)
_TEMPLATE = re.compile(r"\{\{|\{%")


def read_files(
    paths: Sequence[str], *, complete: bool = False, stdin: BinaryIO | None = None, namespace: str = ""
) -> Files:
    """Read everything under the paths; ``-`` is standard input.

    ``namespace`` is where objects without one go (``default`` otherwise), as ``kubectl apply -n`` has it.
    ``complete`` says that the files are a whole cluster. Raises ``InputError``, and then nothing was read.
    """
    reader = _Reader(stdin)
    with without_collector():
        for path in paths:
            reader.add(path)
        return reader.files(complete, namespace)


# Reading


@dataclass(slots=True)
class _Entry:
    """One object as it was found, before its kind is known."""

    raw: dict[str, Any]
    place: Place
    prefix: Path
    repeated: list[tuple[int, Path]] = field(default_factory=list)


@dataclass(slots=True)
class _Reader:
    stdin: BinaryIO | None
    entries: list[_Entry] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    total: int = 0
    plain_inputs: int = 0
    documents: int = 0

    def add(self, path: str) -> None:
        """One ``-f``."""
        if not path:
            raise InputError("the name of a file or folder is empty", subject="-f")
        if path == "-":
            stream = self.stdin if self.stdin is not None else sys.stdin.buffer
            self._content(stream.read(MAX_FILE + 1), STDIN, named=True)
            return
        try:
            if FilePath(path).is_dir():
                self._folder(path)
            else:
                self._file(path, named=True)
        except FileNotFoundError:
            raise InputError("no such file or folder", subject=path) from None
        except OSError as error:
            raise InputError(
                f"cannot be read: {error.strerror or error}", subject=error.filename or path
            ) from None

    def _file(self, path: str, *, named: bool) -> None:
        with FilePath(path).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            # Pipes, as <(kubectl get …) makes them, have no size: they are read up to the limit.
            data = b"" if size > MAX_FILE else stream.read(MAX_FILE + 1)
        self._content(data, path, named=named, size=size)

    def _folder(self, folder: str) -> None:
        before = len(self.entries) + len(self.snapshots)
        found = 0
        for path in _manifest_files(folder, self.notes):
            found += 1
            self._file(path, named=False)
        if not found:
            raise InputError(
                "no manifests in this folder", hint=f"looked for {', '.join(SUFFIXES)}", subject=folder
            )
        if len(self.entries) + len(self.snapshots) == before:
            first = next((note for note in self.notes if note.file.startswith(folder)), None)
            hint = f"{first.place}: {first.message}" if first else ""
            raise InputError("no file of this folder holds a Kubernetes object", hint=hint, subject=folder)

    def _content(self, data: bytes, file: str, *, named: bool, size: int = 0) -> None:
        size = max(size, len(data))
        self.total += size
        if size > MAX_FILE:
            raise InputError(
                f"larger than {MAX_FILE >> 20} MiB",
                subject=file,
                hint="give fewer objects, or a kgdiag snapshot",
            )
        if self.total > MAX_TOTAL:
            raise InputError(
                f"all files together are larger than {MAX_TOTAL >> 20} MiB",
                subject=file,
                hint="give fewer objects, or a kgdiag snapshot",
            )
        if data.startswith(MAGIC):
            self.snapshots.append(load_snapshot(data, file))
            return
        self.plain_inputs += 1
        text = _decoded(data, file)
        try:
            found = list(documents(text))
        except Malformed as error:
            self._malformed(error, text, file, named)
            return
        self.documents += len(found)
        for document in found:
            self._document(document, file, named)

    def _malformed(self, error: Malformed, text: str, file: str, named: bool) -> None:
        template = _TEMPLATE.search(text) is not None
        if not named and template:
            self._note(NoteCode.TEMPLATE, file, error.line, "a template that was not rendered")
            return
        if not named and not _LOOKS_LIKE_MANIFEST.search(text):
            self._note(NoteCode.NOT_A_MANIFEST, file, error.line, f"not read: {error.message}")
            return
        hint = "this looks like a template: give what it renders to (helm template, kustomize build)"
        raise InputError(error.message, subject=f"{file}:{error.line}", hint=hint if template else "")

    def _document(self, document: Document, file: str, named: bool) -> None:
        if document.ignored:
            message = "kubectl does not read what follows here: only a line '---' separates documents"
            self._note(NoteCode.IGNORED, file, document.ignored, message)
        if isinstance(document.value, dict) and is_snapshot(document.value):
            self.snapshots.append(snapshot_of(document.value, file))
            self.plain_inputs -= 1
            return
        first = len(self.entries)
        self._value(document.value, document.locate, (), file, document.line, named)
        for line, path in document.repeated:
            for entry in self.entries[first:]:
                if path[: len(entry.prefix)] == entry.prefix:
                    entry.repeated.append((line, path[len(entry.prefix) :]))

    def _value(
        self,
        value: Any,
        locate: Callable[[Path], int],
        prefix: Path,
        file: str,
        line: int,
        named: bool,
        assumed: tuple[str, str] = ("", ""),
    ) -> None:
        """An object, or the objects in a list. ``assumed`` is what items of a typed list leave out."""
        trouble = _trouble(value, assumed)
        if trouble:
            path = (*prefix, *trouble[2])
            at = locate(path) if path else line
            if named:
                raise InputError(trouble[1], subject=f"{file}:{at}")
            self._note(trouble[0], file, at, trouble[1])
            return
        value.setdefault("apiVersion", assumed[0])
        value.setdefault("kind", assumed[1])
        api_version, kind = value["apiVersion"], value["kind"]
        if _is_list(value):
            item = (api_version, kind[:-4]) if kind != "List" else ("", "")
            for index, inner in enumerate(value.get("items") or ()):
                self._value(inner, locate, (*prefix, "items", index), file, line, named, item)
            return
        if api_version.startswith("kustomize.config.k8s.io/"):
            self._note(NoteCode.SKIPPED, file, line, "a kustomization: give what 'kubectl kustomize' prints")
            return
        if value.get("$patch") == "delete":
            self._note(
                NoteCode.SKIPPED, file, locate(prefix) if prefix else line, "a patch that deletes an object"
            )
            return
        finder = partial(_located, locate, prefix) if prefix else locate
        self.entries.append(_Entry(value, Place(file, line, finder), prefix))

    def _note(self, code: NoteCode, file: str, line: int, message: str) -> None:
        if code is NoteCode.NOT_A_MANIFEST and self.notes:
            last = self.notes[-1]
            if last.code is code and last.file == file:
                return  # one a file is enough
        self.notes.append(Note(code, file, line, message))

    # Objects

    def files(self, complete: bool, namespace: str) -> Files:
        """What was read, as a source."""
        home = namespace or next((s.namespace for s in self.snapshots if s.namespace), "") or "default"
        catalogue = _Kinds(entry.raw for entry in self.entries)
        objects: dict[Any, Obj] = {}
        for snapshot in self.snapshots:
            objects.update((obj.ref, obj) for obj in snapshot.objects)
        from_files: dict[Any, Obj] = {}
        defaulted = set()
        for entry in self.entries:
            kind = catalogue.kind(entry.raw)
            if kind.namespaced and not entry.raw["metadata"].get("namespace"):
                entry.raw["metadata"]["namespace"] = home
                defaulted.add(id(entry))
            raw = clean(entry.raw)
            obj = Obj(kind, raw, entry.place)
            self._about(obj, from_files.get(obj.ref), catalogue)
            self._misfits(obj, shape.fit(raw))
            self._repeated(obj, entry)
            from_files[obj.ref] = obj
        objects.update(from_files)
        only_snapshots = bool(self.snapshots) and not self.plain_inputs
        return Files(
            objects.values(),
            origin=Origin.SNAPSHOT if only_snapshots else Origin.FILES,
            notes=sorted(self.notes, key=lambda note: (note.file, note.line, note.code)),
            complete=complete or only_snapshots,
            default_namespace=home,
            snapshots=self.snapshots,
            blank=not self.documents and not self.snapshots,
        )

    def _about(self, obj: Obj, earlier: Obj | None, catalogue: _Kinds) -> None:
        assert obj.place is not None
        if earlier is not None and earlier.place is not None:
            before = earlier.place.at(())
            self._object_note(
                NoteCode.DUPLICATE_OBJECT,
                obj,
                f"{obj.ref} is there twice; this one wins over {before}",
                before,
            )
        unknown = schema.unknown_kind(obj.api_version, obj.kind.name)
        if unknown is not None and not catalogue.defines(obj.kind):
            self._object_note(NoteCode.UNKNOWN_KIND, obj, unknown.message, unknown.nearest)
        for section in ("labels", "annotations"):
            for key, value in obj.mapping(f"metadata.{section}").items():
                if not isinstance(value, str) and value is not None:
                    path = f"metadata.{section}[{key!r}]"
                    message = (
                        f"{path} is {_json_type(value)}, not a string: the API refuses the object; quote it"
                    )
                    self._object_note(NoteCode.NOT_TEXT, obj, message, path, ("metadata", section, key))

    def _misfits(self, obj: Obj, found: Sequence[shape.Misfit]) -> None:
        for path, what in found:
            if path[:2] in (("metadata", "labels"), ("metadata", "annotations")) and len(path) > 2:
                continue  # told as not being text
            text = schema.path_text(path)
            message = f"{text} is {what}: the API refuses the object, and here it counts as missing"
            self._object_note(NoteCode.WRONG_TYPE, obj, message, text, path)

    def _repeated(self, obj: Obj, entry: _Entry) -> None:
        for line, path in entry.repeated:
            text = schema.path_text(path)
            message = f"{text} is there twice in one mapping; the later value wins"
            about = (obj.api_version, obj.kind.name, obj.ref)
            self.notes.append(Note(NoteCode.DUPLICATE_KEY, entry.place.file, line, message, *about, text))

    def _object_note(self, code: NoteCode, obj: Obj, message: str, nearest: str, path: Path = ()) -> None:
        assert obj.place is not None
        file, _, line = obj.place.at(path).rpartition(":")
        self.notes.append(
            Note(code, file, int(line), message, obj.api_version, obj.kind.name, obj.ref, nearest)
        )


def _located(locate: Callable[[Path], int], prefix: Path, path: Path) -> int:
    return locate((*prefix, *path))


def _is_list(value: Mapping[str, Any]) -> bool:
    kind = value["kind"]
    return (
        bool(kind.endswith("List"))
        and isinstance(value.get("items", ()), (list, type(None), tuple))
        and (kind == "List" or "items" in value)
    )


_Trouble = tuple[NoteCode, str, Path]


def _trouble(value: Any, assumed: tuple[str, str]) -> _Trouble | None:
    """Why a document is no object that can be identified: code, words, and the field that says so."""
    if not isinstance(value, dict):
        message = f"not a Kubernetes object: {_json_type(value)} where a mapping should be"
        return NoteCode.NOT_A_MANIFEST, message, ()
    for name, default in (("apiVersion", assumed[0]), ("kind", assumed[1])):
        given = value.get(name, default)
        if not isinstance(given, str) or not given:
            return NoteCode.NOT_A_MANIFEST, f"not a Kubernetes object: no {name}", ()
    kind: str = value.get("kind", assumed[1])
    if kind == "List" and not isinstance(value.get("items"), (list, type(None))):
        message = f"items of this List is {_json_type(value['items'])}, not a list"
        return NoteCode.NOT_A_MANIFEST, message, ("items",)
    if kind == "List" or (kind.endswith("List") and isinstance(value.get("items"), list)):
        return None
    if value.get("apiVersion", "").startswith("kustomize.config.k8s.io/"):
        return None
    return _nameless(kind, value.get("metadata"))


def _nameless(kind: str, meta: Any) -> _Trouble | None:
    """Why an object has no identity."""
    if not isinstance(meta, dict):
        return NoteCode.NO_NAME, f"{kind} without metadata", ("metadata",)
    for name in ("name", "namespace"):
        given = meta.get(name)
        if given is not None and not isinstance(given, str):
            message = f"metadata.{name} of this {kind} is {_json_type(given)}, not a string; quote it"
            return NoteCode.NO_NAME, message, ("metadata", name)
    if not meta.get("name") and not meta.get("generateName"):
        return NoteCode.NO_NAME, f"{kind} without metadata.name", ("metadata",)
    return None


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else "a string"


def _decoded(data: bytes, file: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError("UTF-16 text; Kubernetes reads UTF-8", subject=file, hint="save the file as UTF-8")
    if b"\x00" in data:
        raise InputError("a binary file", subject=file)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError("not UTF-8 text", subject=f"{file}:{line}") from None


# Folders


def _manifest_files(folder: str, notes: list[Note]) -> Iterator[str]:
    """The files of a folder that may hold manifests, in one order; what is left out knowingly is noted."""

    def refuse(error: OSError) -> None:
        raise error

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        skipped = _kustomize_skips(root, names, notes)
        chart = "Chart.yaml" in names
        if chart:
            path = str(FilePath(root, "Chart.yaml"))
            notes.append(
                Note(
                    NoteCode.SKIPPED, path, 1, "a Helm chart: give what 'helm template' prints; crds/ is read"
                )
            )
            folders[:] = [name for name in folders if name not in ("templates", "charts")]
        for name in sorted(names):
            if name.startswith(".") or not name.endswith(SUFFIXES) or name in skipped:
                continue
            if chart and (name == "Chart.yaml" or name.startswith("values")):
                continue
            path = str(FilePath(root, name))
            if FilePath(path).is_file():
                yield path


def _kustomize_skips(root: str, names: Sequence[str], notes: list[Note]) -> set[str]:
    """The kustomization of a folder and its patches, which are no objects of their own."""
    name = next((name for name in _KUSTOMIZATIONS if name in names), None)
    if name is None:
        return set()
    path = str(FilePath(root, name))
    message = "a kustomization: its files are read without it; give what 'kubectl kustomize' prints"
    notes.append(Note(NoteCode.SKIPPED, path, 1, message))
    skips = {name}
    try:
        data = FilePath(path).read_bytes()
        values = (
            [document.value for document in documents(_decoded(data, path))] if len(data) < MAX_FILE else []
        )
    except Malformed as error:
        raise InputError(error.message, subject=f"{path}:{error.line}") from None
    for value in values:
        if not isinstance(value, dict):
            continue
        for section in (
            "patches",
            "patchesStrategicMerge",
            "patchesJson6902",
            "replacements",
            "transformers",
        ):
            for item in value.get(section) or ():
                target = item.get("path") if isinstance(item, dict) else item
                if isinstance(target, str):
                    skips.add(target.removeprefix("./"))
    return skips


# Kinds


class _Kinds:
    """What kind a document is: kgdiag's own kinds, the CRDs among the files, well-known kinds, a guess."""

    def __init__(self, raws: Iterable[Mapping[str, Any]]) -> None:
        self._known: dict[tuple[str, str], Kind] = {}
        self._defined: set[tuple[str, str]] = set()
        for raw in raws:
            if raw["kind"] == "CustomResourceDefinition":
                kind = _defined(raw)
                if kind is not None:
                    self._known.setdefault(kind.key, kind)
                    self._defined.add(kind.key)

    def defines(self, kind: Kind) -> bool:
        """Whether a CustomResourceDefinition among the files has this kind."""
        return kind.key in self._defined

    def kind(self, raw: Mapping[str, Any]) -> Kind:
        group, _, version = raw["apiVersion"].rpartition("/")
        key = (group, raw["kind"])
        kind = schema.known_kind(*key) or self._known.get(key)
        if kind is None:
            meta = raw["metadata"]
            namespaced = bool(meta.get("namespace")) or not raw["kind"].startswith("Cluster")
            kind = Kind(*key, schema.plural_of(raw["kind"]), (), (version,), namespaced)
            self._known[key] = kind
        return kind


def _defined(raw: Mapping[str, Any]) -> Kind | None:
    """The kind that a CustomResourceDefinition defines."""
    spec = raw.get("spec")
    names = spec.get("names") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(names, dict):
        return None
    versions = spec.get("versions")
    served = [
        str(item.get("name"))
        for item in (versions if isinstance(versions, list) else ())
        if isinstance(item, dict) and item.get("served") is not False
    ]
    short = names.get("shortNames")
    return Kind(
        str(spec.get("group") or ""),
        str(names.get("kind") or ""),
        str(names.get("plural") or ""),
        tuple(str(name) for name in short) if isinstance(short, list) else (),
        tuple(served) or ("v1",),
        spec.get("scope") != "Cluster",
    )


# Answering


class _Index:
    """The objects of one kind, sorted by namespace and name, with the indexes that needs ask for."""

    __slots__ = ("_labels", "by_name", "by_namespace", "objects")

    def __init__(self, objects: list[Obj]) -> None:
        self.objects = sorted(objects, key=lambda obj: (obj.namespace, obj.name))
        self.by_namespace: dict[str, list[Obj]] = {}
        self.by_name: dict[str, list[Obj]] = {}
        for obj in self.objects:
            self.by_namespace.setdefault(obj.namespace, []).append(obj)
            self.by_name.setdefault(obj.name, []).append(obj)
        self._labels: dict[tuple[str, str], list[Obj]] | None = None

    def labelled(self, label: tuple[str, str]) -> list[Obj]:
        """The objects with one label."""
        if self._labels is None:
            self._labels = {}
            for obj in self.objects:
                for item in obj.labels.items():
                    if isinstance(item[1], str):
                        self._labels.setdefault(item, []).append(obj)
        return self._labels.get(label, [])

    def find(self, need: Need) -> tuple[Obj, ...]:
        """The objects that a need asks for."""
        candidates = [self.objects]
        if need.namespace is not None:
            candidates.append(self.by_namespace.get(need.namespace, []))
        if need.name is not None:
            candidates.append(self.by_name.get(need.name, []))
        candidates += [self.labelled(label) for label in need.labels]
        fewest = min(candidates, key=len)
        if fewest is self.objects:
            return tuple(fewest)
        return tuple(
            obj
            for obj in fewest
            if (need.namespace is None or obj.namespace == need.namespace)
            and (need.name is None or obj.name == need.name)
            and all(obj.labels.get(key) == value for key, value in need.labels)
        )


class Files:
    """Objects of files and snapshots: a ``kgdiag.model.read.Source`` that answers from memory.

    ``documents`` are the notes, in the order of file and line. ``complete`` says that the files are a whole
    cluster, so that what is missing is missing. ``default_namespace`` is where objects without a namespace
    went. ``objects`` are all of them, sorted by kind, namespace and name. ``blank`` says that there was no
    document at all, not even an empty list. ``snapshots`` say when, with which
    server version and context each was written.
    """

    def __init__(
        self,
        objects: Iterable[Obj],
        *,
        origin: Origin = Origin.FILES,
        notes: Sequence[Note] = (),
        complete: bool = False,
        default_namespace: str = "default",
        snapshots: Sequence[Snapshot] = (),
        blank: bool = False,
    ) -> None:
        by_kind: dict[Kind, list[Obj]] = {}
        for obj in objects:
            by_kind.setdefault(obj.kind, []).append(obj)
        self._indexes = {kind: _Index(items) for kind, items in sorted(by_kind.items())}
        self._origin = origin
        self.documents = tuple(notes)
        self.complete = complete
        self.default_namespace = default_namespace
        self.snapshots = tuple(snapshots)
        self.blank = blank
        self._recorded: dict[Kind, list[Read]] = {}
        for snapshot in snapshots:
            for read in snapshot.reads:
                self._recorded.setdefault(read.need.kind, []).append(read)

    @property
    def origin(self) -> Origin:
        """SNAPSHOT where the only input is snapshots, else FILES."""
        return self._origin

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that have objects, sorted."""
        return tuple(self._indexes)

    @property
    def objects(self) -> tuple[Obj, ...]:
        return tuple(obj for index in self._indexes.values() for obj in index.objects)

    def read(self, needs: list[Need]) -> list[Read]:
        """Answer every need, in the order given. A kind that no file has is an ``ok`` read of nothing.

        What a snapshot's own reads could not get stays as they found it; what nobody had asked for when it
        was written is ``failed``.
        """
        return [self._read(need) for need in needs]

    def _read(self, need: Need) -> Read:
        index = self._indexes.get(need.kind)
        objects = index.find(need) if index else ()
        if self._origin is not Origin.SNAPSHOT and need.kind not in self._recorded:
            return Read(need, Status.OK, objects)
        status, message = self._status(need)
        if status is not Status.OK and self._origin is Origin.FILES and need.name is not None and objects:
            status, message = Status.OK, ""  # the files beside the snapshot have it
        return Read(need, status, objects, message)

    def _status(self, need: Need) -> tuple[Status, str]:
        covering = [read for read in self._recorded.get(need.kind, ()) if _covers(read.need, need)]
        known = [read for read in covering if read.status in (Status.OK, Status.ABSENT)]
        if known:
            return known[0].status, known[0].message
        if covering:
            return covering[0].status, covering[0].message
        if self._origin is Origin.FILES:
            return Status.OK, ""
        return Status.FAILED, "the snapshot does not have it: nobody asked for it when it was written"


def _covers(wide: Need, narrow: Need) -> bool:
    """Whether whoever has the one read has the other one as well."""
    return (
        wide.namespace in (None, narrow.namespace)
        and wide.name in (None, narrow.name)
        and set(wide.labels) <= set(narrow.labels)
    )
