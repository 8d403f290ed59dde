"""One safe mend of one object, as data: nothing here is ever applied by kgdiag."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj, parse_path
from kgdiag.model.ref import Ref


class PatchType(StrEnum):
    """How ``body`` changes the target."""

    MERGE = "merge"  # RFC 7386: an object that is merged into the target
    JSON = "json"  # RFC 6902: a list of operations
    CREATE = "create"  # the whole object, which does not exist yet


@dataclass(frozen=True, slots=True)
class Patch:
    """A mend that is safe by itself: the finding is gone, and nothing that works today stops.

    ``command`` is for a person to look at and to run; ``diff`` is the same edit of the file that the object
    was read from, None for live objects and for files that are no plain YAML.
    """

    type: PatchType
    target: Ref
    body: Any
    command: str
    diff: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The contract's PATCH."""
        return {
            "type": str(self.type),
            "target": self.target.to_json(),
            "patch": self.body,
            "command": self.command,
            "diff": self.diff,
        }


def set_field(obj: Obj, field: str, value: Any) -> Patch:
    """Set one field whose parents exist: a test that it still has its old value, then the new one.

    ``field`` is a path as evidence has it (``spec.http[0].route[0].destination.host``).
    """
    return set_fields(obj, {field: value})


def set_fields(obj: Obj, values: Mapping[str, Any]) -> Patch:
    """As ``set_field``, for several fields of one object."""
    operations: list[dict[str, Any]] = []
    for field, value in values.items():
        path = parse_path(field)
        pointer, old = _pointer(path), obj.get(path)
        if old is not None:
            operations.append({"op": "test", "path": pointer, "value": old})
        operations.append({"op": "add" if old is None else "replace", "path": pointer, "value": value})
    return _json(obj.kind, obj.ref, operations)


def move_field(obj: Obj, field: str, to: str) -> Patch:
    """Rename one field, its value as it is; the parents of the new name exist."""
    move = {"op": "move", "from": _pointer(parse_path(field)), "path": _pointer(parse_path(to))}
    return _json(obj.kind, obj.ref, [move])


def merge(obj: Obj, body: Mapping[str, Any]) -> Patch:
    """Merge fields into an object (RFC 7386), for what may not have the parents yet: labels."""
    return Patch(PatchType.MERGE, obj.ref, dict(body), _command(obj.kind, obj.ref, "merge", body))


def create(kind: Kind, manifest: Mapping[str, Any]) -> Patch:
    """Create an object that does not exist."""
    meta = manifest["metadata"]
    target = Ref(kind.group, kind.name, str(meta.get("namespace", "")), str(meta["name"]))
    text = json.dumps(manifest, separators=(",", ":"))
    command = f"printf %s {shlex.quote(text)} | kubectl create -f -"
    return Patch(PatchType.CREATE, target, dict(manifest), command)


def _json(kind: Kind, ref: Ref, operations: Sequence[Mapping[str, Any]]) -> Patch:
    body = [dict(item) for item in operations]
    return Patch(PatchType.JSON, ref, body, _command(kind, ref, "json", body))


def _command(kind: Kind, ref: Ref, how: str, body: Any) -> str:
    resource = kind.plural if not kind.group else kind.resource
    where = ("-n", ref.namespace) if ref.namespace else ()
    text = json.dumps(body, separators=(",", ":"))
    return shlex.join(("kubectl", "patch", resource, ref.name, *where, f"--type={how}", "-p", text))


def _pointer(path: Iterable[str | int]) -> str:
    """A path as RFC 6901 writes it."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def apply(patch: Patch, document: Any) -> Any:
    """The document with the patch; raises ValueError where it does not fit. The document stays as it is."""
    if patch.type is PatchType.CREATE:
        return patch.body
    if patch.type is PatchType.MERGE:
        return _merged(document, patch.body)
    for operation in patch.body:
        document = _operated(document, operation)
    return document


def _merged(value: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, Mapping):
        return change
    out = dict(value) if isinstance(value, Mapping) else {}
    for key, inner in change.items():
        if inner is None:
            out.pop(key, None)
        else:
            out[key] = _merged(out.get(key), inner)
    return out


def _operated(document: Any, operation: Mapping[str, Any]) -> Any:
    """One operation of RFC 6902, of those that patches here are made of."""
    path = _steps(operation["path"])
    match operation["op"]:
        case "test":
            if _found(document, path) != operation["value"]:
                raise ValueError(f"{operation['path']} has another value")
            return document
        case "add" | "replace":
            return _put(document, path, operation["value"])
        case "move":
            source = _steps(operation["from"])
            return _put(_removed(document, source), path, _found(document, source))
    raise ValueError(f"no operation {operation['op']}")


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _found(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError):
            raise ValueError(f"no {step}") from None
    return value


def _put(value: Any, path: Sequence[str], new: Any) -> Any:
    if not path:
        return new
    inner = _found(value, path[:1]) if len(path) > 1 else None
    return _with(value, path[0], _put(inner, path[1:], new))


def _removed(value: Any, path: Sequence[str]) -> Any:
    inner = _found(value, path[:1])
    if len(path) > 1:
        return _with(value, path[0], _removed(inner, path[1:]))
    if isinstance(value, list):
        return [item for at, item in enumerate(value) if at != int(path[0])]
    return {key: item for key, item in value.items() if key != path[0]}


def _with(value: Any, step: str, new: Any) -> Any:
    if isinstance(value, list):
        return [new if at == int(step) else item for at, item in enumerate(value)]
    if not isinstance(value, Mapping):
        raise ValueError(f"{step} has no place")
    return {**value, step: new}
