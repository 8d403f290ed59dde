"""Lines of fields, found when they are asked for.

Most objects have no finding, so nothing is kept at load but the text of each document; the document that a
finding is about is read again, with positions.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from json import JSONDecoder
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from kgdiag.collect.scalars import Refused, compose, map_key
from kgdiag.model.obj import Path


class YamlText:
    """One YAML document; ``line`` is the line of the file that its text starts on, from 1."""

    __slots__ = ("_composed", "_root", "line", "text")

    def __init__(self, text: str, line: int) -> None:
        self.text = text
        self.line = line
        self._composed = False
        self._root: Node | None = None

    def line_of(self, path: Path) -> int:
        """The line of a field's key or a list's item, or of the nearest parent that is there."""
        if not self._composed:
            try:
                self._root = compose(self.text)
            except (yaml.YAMLError, RecursionError):
                self._root = None
            self._composed = True
        node, line = self._root, 0
        if node is None:
            return self.line
        line = node.start_mark.line
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            node, line = found
        return self.line + line


def _child(node: Node, step: str | int) -> tuple[Node, int] | None:
    """The node under a step, and the line that it is written on."""
    if isinstance(step, int):
        if isinstance(node, SequenceNode) and 0 <= step < len(node.value):
            item = node.value[step]
            return item, item.start_mark.line
        return None
    if not isinstance(node, MappingNode):
        return None
    # Backwards, since the later of two equal keys wins, and so does a merge over the keys before it.
    for key_node, value_node in reversed(node.value):
        try:
            key = map_key(key_node)
        except Refused:
            continue
        if key == step:
            return value_node, key_node.start_mark.line
        if key is None:
            sources = value_node.value if isinstance(value_node, SequenceNode) else [value_node]
            for source in sources:
                found = _child(source, step)
                if found is not None:
                    return found
    return None


_NEWLINE = re.compile("\n")
_SPACE = " \t\r\n"


class JsonText:
    """One JSON value that starts at an offset of a text; ``line`` is the line that the text starts on.

    Values that are not on the way are skipped by the C scanner of ``json``, so that a field in a list of a
    hundred megabytes is found in about the time that it takes to parse it once; the offsets of each container
    on the way are kept.
    """

    __slots__ = ("_inside", "_newlines", "line", "start", "text")

    def __init__(self, text: str, line: int, start: int) -> None:
        self.text = text
        self.line = line
        self.start = start
        self._inside: dict[int, dict[str | int, tuple[int, int]]] = {}
        self._newlines: array[int] | None = None

    def line_of(self, path: Path) -> int:
        """The line of a field's key or a list's item, or of the nearest parent that is there."""
        at = shown = self.start
        for step in path:
            found = self._children(at).get(step)
            if found is None:
                break
            shown, at = found
        if shown == self.start:
            return self.line + self.text.count("\n", 0, shown)
        if self._newlines is None:
            self._newlines = array("Q", (match.start() for match in _NEWLINE.finditer(self.text)))
        return self.line + bisect_left(self._newlines, shown)

    def _children(self, at: int) -> dict[str | int, tuple[int, int]]:
        """Key or index → (offset to show, offset of the value), for the container at an offset."""
        known = self._inside.get(at)
        if known is None:
            try:
                known = self._scan(at)
            except (ValueError, IndexError, RecursionError):
                known = {}
            self._inside[at] = known
        return known

    def _scan(self, at: int) -> dict[str | int, tuple[int, int]]:
        text, skip = self.text, JSONDecoder().raw_decode
        out: dict[str | int, tuple[int, int]] = {}
        opening, at = text[at], self._space(at + 1)
        while opening in "{[" and text[at] not in "}]":
            step: Any = len(out)
            shown = at
            if opening == "{":
                step, at = scanstring(text, at + 1, True)
                at = self._space(self._space(at) + 1)
            out[step] = (shown, at)
            at = self._space(skip(text, at)[1])
            if text[at] == ",":
                at = self._space(at + 1)
        return out

    def _space(self, at: int) -> int:
        while self.text[at] in _SPACE:
            at += 1
        return at
