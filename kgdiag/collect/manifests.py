"""Text to values, as kubectl reads it.

kubectl splits a file at lines that start with ``---`` (k8s.io/apimachinery ``pkg/util/yaml`` YAMLReader),
reads the first YAML document of every part, or JSON values where a part starts with ``{``, and nothing that
comes after ``...``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from json import JSONDecoder
from typing import Any

import orjson
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kgdiag.collect.positions import JsonText, YamlText
from kgdiag.collect.scalars import PLAIN, TEXT, Loader, Refused, map_key, number, plain, tagged
from kgdiag.model.obj import Path

MAX_VALUES = 1_000_000
"""Values that a document with aliases may expand to. go-yaml's limit is a share of 0.99 in 400,000."""


class Malformed(Exception):  # noqa: N818 -- reads as what happened
    """A document that cannot be read. ``line`` counts from 1 in the file."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(slots=True)
class Document:
    """One document: its value, the line that its root starts on, and what finds lines within it.

    ``repeated`` are the keys that one mapping has twice: (line of the later one, path). ``ignored`` is the
    line of what follows the document without a ``---`` and is therefore not read, 0 where nothing does.
    """

    value: Any
    line: int
    locate: Callable[[Path], int]
    text: str
    repeated: list[tuple[int, Path]] = field(default_factory=list)
    ignored: int = 0


_SEPARATOR = re.compile(r"^---([^\n]*)\n?", re.MULTILINE)


def documents(text: str) -> Iterator[Document]:
    """The documents of a file, in order; empty ones are left out.

    Raises ``Malformed`` when it comes to a document that kubectl would not read either.
    """
    start, line = 0, 1
    for match in _SEPARATOR.finditer(text):
        yield from _part(text[start : match.start()], line)
        line += text.count("\n", start, match.start())
        rest = match[1].strip()
        if rest and not rest.startswith("#"):
            raise Malformed(line, f"content after the document separator: {rest[:60]!r}")
        line += match[0].count("\n")
        start = match.end()
    yield from _part(text[start:], line)


def _part(text: str, line: int) -> Iterator[Document]:
    text = text.removeprefix("\ufeff")
    if not text or text.isspace():
        return
    if text.lstrip()[:1] == "{" and (parts := _json(text, line)) is not None:
        yield from parts
        return
    document = _yaml(text, line)
    if document is not None and document.value is not None:
        yield document


# JSON

_FLOATS = re.compile(r"\d(?:\.0+\b|[eE])")


def _json(text: str, line: int) -> list[Document] | None:
    """The JSON values that a text is made of; None where it is not JSON (YAML's flow style looks alike)."""
    try:
        parts, values = [text], [orjson.loads(text)]
    except orjson.JSONDecodeError:
        try:
            parts = list(_json_parts(text))
            values = [orjson.loads(part) for part in parts]
        except (ValueError, RecursionError):
            return None
    out = []
    for part, value in zip(parts, values, strict=True):
        start = _skip(part, 0)
        where = JsonText(part, line, start)
        value = _whole(value) if _FLOATS.search(part) else value
        out.append(Document(value, where.line_of(()), where.line_of, part))
        line += part.count("\n")
    return out


def _json_parts(text: str) -> Iterator[str]:
    """JSON values that stand one after the other, each with the space before it. Raises ``ValueError``."""
    decoder, at = JSONDecoder(), 0
    while (start := _skip(text, at)) < len(text):
        _, end = decoder.raw_decode(text, start)
        yield text[at:end]
        at = end


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _whole(value: Any) -> Any:
    """JSON has one kind of number: Kubernetes reads ``1.0`` and ``1e3`` as integers."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return number(value) if isinstance(value, float) else value


# YAML


def _yaml(text: str, line: int) -> Document | None:
    repeated: list[Node] = []
    ignored = 0
    try:
        loader = Loader(text)
        node = loader.get_node() if loader.check_node() else None
        if node is None:
            return None
        if "\n..." in text or getattr(
            node, "flow_style", False
        ):  # a block that goes on to the end leaves nothing over
            ignored = _ignored(loader, text)
        if "*" in text and _expanded(node, {}) > MAX_VALUES:
            raise Malformed(line + node.start_mark.line, f"aliases expand to more than {MAX_VALUES:,} values")
        value = _construct(node, repeated)
    except yaml.YAMLError as error:
        raise Malformed(line + error_line(error, text), words(error)) from None
    except Refused as error:
        raise Malformed(line + error.line, str(error)) from None
    except RecursionError:
        raise Malformed(line, "nested too deeply") from None
    where = YamlText(text, line)
    return Document(
        value,
        line + node.start_mark.line,
        where.line_of,
        text,
        _places(node, line, {id(key) for key in repeated}) if repeated else [],
        line + ignored if ignored else 0,
    )


def _ignored(loader: Any, text: str) -> int:
    """The line (from 0) of what follows the first document without a ``---`` line; 0 where nothing does."""
    try:
        more = loader.get_node() if loader.check_node() else None
    except yaml.YAMLError as error:
        return error_line(error, text)
    return int(more.start_mark.line) if more is not None else 0


def error_line(error: yaml.YAMLError, text: str) -> int:
    """The line that an error names, from 0 within the text."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return int(mark.line)
    position = getattr(error, "position", None)
    return text.encode()[:position].count(b"\n") if isinstance(position, int) else 0


def words(error: yaml.YAMLError) -> str:
    """What went wrong, on one line and without the parser's excerpt of the text."""
    if isinstance(error, yaml.MarkedYAMLError):
        return " ".join(part for part in (error.context, error.problem) if part)
    reason = getattr(error, "reason", None)
    return str(reason or error).splitlines()[0]


def _expanded(node: Node, memo: dict[int, int]) -> int:
    """How many values a node stands for with its aliases written out; cheap, since nodes are shared."""
    known = memo.get(id(node))
    if known is not None:
        if known < 0:
            raise Refused(node, "an anchor's value contains itself")
        return known
    memo[id(node)] = -1
    size = 1
    if isinstance(node, MappingNode):
        size += sum(_expanded(key, memo) + _expanded(value, memo) for key, value in node.value)
    elif isinstance(node, SequenceNode):
        size += sum(_expanded(item, memo) for item in node.value)
    memo[id(node)] = size
    return size


def _construct(node: Node, repeated: list[Node]) -> Any:
    if isinstance(node, ScalarNode):
        tag = node.tag
        if tag is TEXT:
            return node.value
        value = plain(node.value) if tag is PLAIN else tagged(node)
        if value.__class__ is float:
            if value - value != 0:  # infinite, or not a number
                raise Refused(node, f"JSON has no number {node.value}")
            return number(value)
        return value
    if isinstance(node, SequenceNode):
        return [_construct(item, repeated) for item in node.value]
    out: dict[str, Any] = {}
    merged = False
    for key_node, value_node in node.value:
        key = map_key(key_node)
        if key is None:
            merged = True
            _merge(out, value_node, repeated)
            continue
        if key in out and not merged:
            repeated.append(key_node)
        out[key] = _construct(value_node, repeated)
    return out


def _places(node: Node, line: int, keys: set[int], path: Path = ()) -> list[tuple[int, Path]]:
    """(line, path) of the key nodes with these ids, each once."""
    out = []
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            out += _places(item, line, keys, (*path, index))
    elif isinstance(node, MappingNode):
        for key_node, value in node.value:
            here = (*path, map_key(key_node) or "<<")
            if id(key_node) in keys:
                keys.discard(id(key_node))  # an alias leads here again
                out.append((line + key_node.start_mark.line, here))
            out += _places(value, line, keys, here)
    return out


def _merge(out: dict[str, Any], node: Node, repeated: list[Node]) -> None:
    """``<<``: in the order of the mapping, so that it overrides the keys before it (as go-yaml has it)."""
    if isinstance(node, MappingNode):
        out.update(_construct(node, repeated))
        return
    if not isinstance(node, SequenceNode) or not all(isinstance(item, MappingNode) for item in node.value):
        raise Refused(node, "<< takes a mapping or a list of mappings")
    for item in reversed(node.value):
        out.update(_construct(item, repeated))
