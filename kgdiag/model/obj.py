"""A light view over the raw JSON of one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from kgdiag.model.kind import Kind
from kgdiag.model.ref import Ref

Path = tuple[str | int, ...]
T = TypeVar("T")


@lru_cache(maxsize=4096)
def parse_path(path: str) -> Path:
    """``spec.http[1].match`` → ``("spec", "http", 1, "match")``.

    A key that itself has dots stands in brackets: ``metadata.annotations['a.b/c']``.
    """
    steps: list[str | int] = []
    rest = path
    while rest:
        if rest[0] == "[":
            end = rest.find("]") if "]" in rest else len(rest)
            inner = rest[1:end]
            steps.append(int(inner) if inner.isdecimal() else inner.strip("'\""))
            rest = rest[end + 1 :]
        elif rest[0] == ".":
            rest = rest[1:]
        else:
            end = min((at for at in (rest.find("."), rest.find("[")) if at >= 0), default=len(rest))
            steps.append(rest[:end])
            rest = rest[end:]
    return tuple(steps)


def dig(value: Any, path: str | Path, default: Any = None) -> Any:
    """The value under a path of keys and indexes, ``default`` where a step is missing or null."""
    for step in parse_path(path) if isinstance(path, str) else path:
        if isinstance(step, int):
            if not isinstance(value, list) or step >= len(value):
                return default
            value = value[step]
        else:
            if type(value) is not dict and not isinstance(value, Mapping):  # nearly all are dicts
                return default
            value = value.get(step)
        if value is None:
            return default
    return value


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object was read: a file and the line its document starts on.

    ``locate`` finds the line of a field within the document when it is asked for, since positions are
    needed for the few objects that have findings and cost too much for all.
    """

    file: str
    line: int
    locate: Callable[[Path], int] | None = field(default=None, compare=False, repr=False)

    def at(self, path: Path) -> str:
        """``path:line`` of a field, or of the nearest parent that the document has."""
        return f"{self.file}:{self.locate(path) if self.locate else self.line}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One fact: this field of this object has this value.

    ``where`` is ``path:line``, the place of the object (then the field's line is looked for when ``file`` is
    asked for: most evidence is never shown), or None for live reads.
    """

    object: Ref
    field: str
    value: Any
    where: str | Place | None = None

    @property
    def file(self) -> str | None:
        """``path:line`` of the field, None for live reads."""
        if isinstance(self.where, Place):
            return self.where.at(parse_path(self.field))
        return self.where

    def to_json(self) -> dict[str, Any]:
        """The contract's EVIDENCE."""
        return {"object": self.object.to_json(), "field": self.field, "value": self.value, "file": self.file}


class Obj:
    """One object as the server or the file has it, with typed access to what all objects share.

    ``raw`` is never changed by anybody. Fields of the wrong type count as missing.
    """

    __slots__ = ("_once", "kind", "place", "raw", "ref")

    def __init__(self, kind: Kind, raw: Mapping[str, Any], place: Place | None = None) -> None:
        self._once: dict[Any, Any] | None = None
        self.kind = kind
        self.raw = raw
        self.place = place
        meta = raw.get("metadata")
        meta = meta if isinstance(meta, Mapping) else {}
        namespace = str(meta.get("namespace") or "") if kind.namespaced else ""
        self.ref = Ref(kind.group, kind.name, namespace, str(meta.get("name") or ""))

    def __repr__(self) -> str:
        return f"<{self.ref}>"

    def once(self, key: Any, make: Callable[[Obj], T]) -> T:
        """What is derived from this object alone, made once, since an object never changes."""
        if self._once is None:
            self._once = {}
        if key not in self._once:
            self._once[key] = make(self)
        return self._once[key]  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        return self.ref.name

    @property
    def namespace(self) -> str:
        return self.ref.namespace

    @property
    def api_version(self) -> str:
        return str(self.raw.get("apiVersion") or "")

    @property
    def labels(self) -> Mapping[str, str]:
        return self.mapping("metadata.labels")

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.mapping("metadata.annotations")

    @property
    def created(self) -> str:
        """RFC 3339 creation time, ``""`` where the object has none (files): then it is oldest."""
        return str(self.get("metadata.creationTimestamp", ""))

    @property
    def age_key(self) -> tuple[str, str, str]:
        """Oldest first, then name, then namespace: the order in which istiod takes configuration.

        Source: istio pilot/pkg/model/config.go sortByCreationComparator.
        """
        return (self.created, self.name, self.namespace)

    def get(self, path: str | Path, default: Any = None) -> Any:
        """The value of a field, ``default`` where it is missing or null."""
        return dig(self.raw, path, default)

    def mapping(self, path: str | Path) -> Mapping[str, Any]:
        """A field that is an object, ``{}`` where it is missing or something else."""
        value = dig(self.raw, path)
        return value if type(value) is dict or isinstance(value, Mapping) else {}

    def items(self, path: str | Path) -> Sequence[Any]:
        """A field that is a list, ``()`` where it is missing or something else."""
        value = dig(self.raw, path)
        return value if isinstance(value, list) else ()

    def maps(self, path: str | Path) -> list[Mapping[str, Any]]:
        """The objects in a field that is a list; entries of another type are left out."""
        found = self.items(path)
        return [item for item in found if type(item) is dict or isinstance(item, Mapping)]

    def text(self, path: str | Path, default: str = "") -> str:
        """A field that is a string (numbers and booleans are printed), ``default`` where it is missing."""
        value = self.get(path)
        if value is None or isinstance(value, (Mapping, list)):
            return default
        return str(value)

    def evidence(self, field_path: str, value: Any = ...) -> Evidence:
        """This object's field as evidence; its value is read unless it is given."""
        found = self.get(field_path) if value is ... else value
        return Evidence(self.ref, field_path, found, self.place)
