"""A patch as an edit of the YAML that the object was read from: comments and order stay as they are.

The edited text is read again and must be what the patch makes of the document; where it is not (aliases,
merge keys, styles that are not handled), there is no diff rather than a wrong one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from difflib import unified_diff
from functools import partial
from pathlib import Path as FilePath
from pathlib import PurePath
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kgdiag.collect.positions import YamlText
from kgdiag.collect.scalars import Refused, compose, map_key
from kgdiag.model.obj import Path, Place
from kgdiag.model.patch import Patch, PatchType, apply

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_Edit = tuple[int, int, str]  # from, to, new text


def diff_of(patch: Patch, place: Place) -> str | None:
    """A unified diff of the file at ``place`` (of the object, or for a new one of the object that needs it);
    None where the file is no plain YAML.
    """
    if patch.type is PatchType.CREATE:
        return _new_file(patch, place)
    source, prefix = _source(place)
    if source is None:
        return None
    try:
        before, start = _whole(place.file, source)
        changed = _changed(source.text, patch, prefix)
    except (OSError, ValueError, Refused, yaml.YAMLError, RecursionError):
        return None
    after = before[:start] + changed + before[start + len(source.text) :]
    name = _shown(place.file)
    return "".join(unified_diff(_lines(before), _lines(after), f"a/{name}", f"b/{name}"))


def _shown(file: str) -> str:
    """A path from the working folder where it is inside, as `git apply` and `patch -p1` want it."""
    path = os.path.relpath(file)
    return PurePath(file if path.startswith("..") else path).as_posix().lstrip("/")


def _whole(file: str, source: YamlText) -> tuple[str, int]:
    """The file's text and where the document starts in it; raises ValueError where it is not there.

    The lines around the document belong to the diff: without them tools take its end for the file's.
    """
    text = FilePath(file).read_bytes().decode()
    start = 0
    for _ in range(source.line - 1):
        start = text.index("\n", start) + 1
    if text[start : start + len(source.text)] != source.text:
        raise ValueError("another text")
    return text, start


def _source(place: Place) -> tuple[YamlText | None, Path]:
    """The document's text, and where the object is in it (items of a List)."""
    locate, prefix = place.locate, ()
    if isinstance(locate, partial):
        locate, prefix = locate.args[0], locate.args[1]
    owner = getattr(locate, "__self__", None)
    return (owner if isinstance(owner, YamlText) else None), prefix


def _changed(text: str, patch: Patch, prefix: Path) -> str:
    root = compose(text)
    if root is None:
        raise ValueError("no document")
    for step in prefix:
        root = _child(root, str(step))
    edits = _merges(text, root, patch.body) if patch.type is PatchType.MERGE else []
    if patch.type is PatchType.JSON:
        for operation in patch.body:
            edits += _operation(text, root, operation)
    changed = text
    for start, end, new in sorted(edits, reverse=True):
        changed = changed[:start] + new + changed[end:]
    if _value(changed, prefix) != apply(patch, _value(text, prefix)):
        raise ValueError("the edit is not what the patch says")
    return changed


def _value(text: str, prefix: Path) -> Any:
    value = yaml.safe_load(text)
    for step in prefix:
        value = value[step]
    return value


def _operation(text: str, root: Node, operation: Mapping[str, Any]) -> list[_Edit]:
    steps = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    if operation["op"] == "test":
        return []
    parent = root
    for step in steps[:-1]:
        parent = _child(parent, step)
    if operation["op"] == "move":
        source = [part.replace("~1", "/").replace("~0", "~") for part in operation["from"].split("/")[1:]]
        if source[:-1] != steps[:-1]:
            raise ValueError("a move to another parent")
        return [_over(text, _key(parent, source[-1]), steps[-1])]
    return [_set(text, parent, steps[-1], operation["value"])]


def _merges(text: str, node: Node, change: Mapping[str, Any]) -> list[_Edit]:
    edits: list[_Edit] = []
    for key, value in change.items():
        try:
            child = _child(node, key)
        except ValueError:
            child = None
        if isinstance(value, Mapping) and isinstance(child, MappingNode):
            edits += _merges(text, child, value)
        else:
            edits.append(_set(text, node, key, value))
    return edits


def _set(text: str, parent: Node, key: str, value: Any) -> _Edit:
    """Replace a scalar, or add a key as the first of its mapping."""
    try:
        child = _child(parent, key)
    except ValueError:
        return _added(text, parent, key, value)
    if not isinstance(child, ScalarNode):
        raise ValueError("no scalar")
    return _over(text, child, value)


def _added(text: str, parent: Node, key: str, value: Any) -> _Edit:
    if not isinstance(parent, MappingNode):
        raise ValueError("no mapping")
    entry = f"{_scalar(key)}: {_scalar(value)}"
    if parent.flow_style:
        at = _offset(text, parent.start_mark) + 1
        return (at, at, entry + (", " if parent.value else ""))
    first = parent.value[0][0].start_mark
    at = _offset(text, first)
    return (at, at, f"{entry}\n{' ' * first.column}")


def _over(text: str, node: Node, value: Any) -> _Edit:
    return (_offset(text, node.start_mark), _offset(text, node.end_mark), _scalar(value))


def _scalar(value: Any) -> str:
    """A value in flow style, plain where that reads back as the same."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value, ensure_ascii=True)


def _offset(text: str, mark: Any) -> int:
    at = 0
    for _ in range(mark.line):
        at = text.index("\n", at) + 1
    return at + int(mark.column)


def _child(node: Node | None, step: str) -> Node:
    if isinstance(node, SequenceNode) and step.isdigit() and int(step) < len(node.value):
        return node.value[int(step)]  # type: ignore[no-any-return]
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if map_key(key) == step:
                return value  # type: ignore[no-any-return]
    raise ValueError(f"no {step}")


def _key(node: Node, step: str) -> Node:
    if isinstance(node, MappingNode):
        for key, _ in node.value:
            if map_key(key) == step:
                return key  # type: ignore[no-any-return]
    raise ValueError(f"no {step}")


def _lines(text: str) -> list[str]:
    """Lines with their ends; a last one without is marked as diffs do."""
    lines = text.split("\n")
    last = [f"{lines[-1]}\n\\ No newline at end of file\n"] if lines[-1] else []
    return [line + "\n" for line in lines[:-1]] + last


def _new_file(patch: Patch, place: Place) -> str:
    target = patch.target
    name = f"{target.kind.lower()}-{target.name}.yaml"
    file = _shown(str(PurePath(place.file).parent / name))
    text = yaml.safe_dump(patch.body, sort_keys=False)
    return "".join(unified_diff([], _lines(text), "/dev/null", f"b/{file}"))
