"""What a YAML scalar or key becomes, as kubectl reads it.

kubectl converts YAML with sigs.k8s.io/yaml (go-yaml v2, YAML 1.1) to JSON. What a scalar becomes is decided
in goyaml.v2 ``resolve.go`` and sigs.k8s.io/yaml ``yaml.go`` (convertToJSONableObject); every case here was
compared with kubectl 1.34: ``yes`` is true, ``010`` is 8, ``12:30`` is a string, ``1.0`` is the integer 1.
"""

from __future__ import annotations

import base64
import binascii
import gc
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import lru_cache
from typing import Any

import yaml
from yaml.nodes import Node, ScalarNode

PLAIN, TEXT = "?", "!"
"""The tags that nodes get: plain scalars, and everything else that has no tag of its own."""

if yaml.__with_libyaml__:
    from yaml._yaml import CParser

    class Loader(CParser):
        """libyaml's composer without PyYAML's resolver, whose rules are not kubectl's."""

        def resolve(self, kind: type[Node], _value: str | None, implicit: Any) -> str:
            return PLAIN if kind is ScalarNode and implicit[0] else TEXT

        def descend_resolver(self, _node: Node | None, _index: Any) -> None: ...

        def ascend_resolver(self) -> None: ...

else:  # PyYAML without its extension: slower, the same answers
    from yaml.composer import Composer
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class Loader(Reader, Scanner, Parser, Composer):  # type: ignore[no-redef]
        def __init__(self, text: str) -> None:
            Reader.__init__(self, text)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)

        def resolve(self, kind: type[Node], _value: str | None, implicit: Any) -> str:
            return PLAIN if kind is ScalarNode and implicit[0] else TEXT

        def descend_resolver(self, _node: Node | None, _index: Any) -> None: ...

        def ascend_resolver(self) -> None: ...


class Refused(Exception):  # noqa: N818
    """A value that YAML allows and JSON, Kubernetes or kubectl does not; ``line`` counts from 0."""

    def __init__(self, node: Node, message: str) -> None:
        super().__init__(message)
        self.line = int(node.start_mark.line)


@contextmanager
def without_collector() -> Iterator[None]:
    """Python's cyclic garbage collector paused: it goes over the growing tree again and again.

    A list of 8,000 objects in one document takes ten times as long with it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def compose(text: str) -> Node | None:
    """The node tree of the first document in a text; None where it has none.

    Raises ``yaml.YAMLError``.
    """
    with without_collector():
        loader = Loader(text)
        return loader.get_node() if loader.check_node() else None


def map_key(node: Node) -> str | None:
    """A mapping's key as JSON has it; None for the merge key ``<<``."""
    if node.__class__ is not ScalarNode:
        raise Refused(node, "a key is a mapping or a list")
    if node.tag is TEXT:
        return str(node.value)
    value = plain(node.value) if node.tag is PLAIN else tagged(node)
    if value.__class__ is str:
        is_merge = value == "<<" and (node.tag is PLAIN or node.tag == _TAG + "merge")
        return None if is_merge else value
    if value is None:
        raise Refused(node, "a key is null")
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return _float_key(value)


def _float_key(value: float) -> str:
    """Go's ``strconv.FormatFloat(value, 'g', -1, 32)``, with YAML's names for what is not finite."""
    if value != value:
        return ".nan"
    try:
        single = struct.pack("f", value)
    except OverflowError:
        single = struct.pack("f", float("inf") if value > 0 else float("-inf"))
    value = struct.unpack("f", single)[0]
    if value in (float("inf"), float("-inf")):
        return ".inf" if value > 0 else "-.inf"
    for digits in range(9):
        text = f"{value:.{digits}e}"
        if struct.pack("f", float(text)) == single:
            break
    mantissa, _, exponent = text.partition("e")
    power = int(exponent)
    if -4 <= power < 6:
        plain_digits = max(len(mantissa.lstrip("-")) - 2, 0)
        return f"{value:.{max(plain_digits - power, 0)}f}"
    return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


_WORDS: dict[str, Any] = {
    word: value
    for value, group in {
        True: "y Y yes Yes YES true True TRUE on On ON",
        False: "n N no No NO false False FALSE off Off OFF",
        None: "~ null Null NULL",
        float("nan"): ".nan .NaN .NAN",
        float("inf"): ".inf .Inf .INF +.inf +.Inf +.INF",
        float("-inf"): "-.inf -.Inf -.INF",
    }.items()
    for word in group.split()
}
_WORDS[""] = None
_NUMERIC = frozenset("+-.0123456789")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([Tt ].*)?")


@lru_cache(maxsize=1 << 16)
def plain(text: str) -> Any:
    """What a plain scalar is: None, bool, int, float or the text itself (goyaml.v2 ``resolve``)."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    if text[0] == ".":  # only the float reader is asked, and underscores stay
        return _float(text, text)
    bare = text.replace("_", "")
    whole = _integer(bare)
    if whole is not None and -(1 << 63) <= whole < 1 << 64:
        return whole if whole < 1 << 63 else float(whole)
    return _float(bare, text)


_INTEGER = re.compile(
    r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))(?![\s\S])",
)


def _integer(text: str) -> int | None:
    """Go's ``strconv.ParseInt(text, 0, 64)``: prefixes 0x, 0b, 0o and the octal 0."""
    match = _INTEGER.match(text)
    if match is None or len(text) > 80:
        return None
    for digits, base in zip(match.groups()[1:], (16, 2, 8, 10), strict=True):
        if digits is not None:
            return -int(digits, base) if match[1] == "-" else int(digits, base)
    return None


def _float(bare: str, text: str) -> Any:
    if not _FLOAT.fullmatch(bare):
        return text
    value = float(bare)
    return text if value in (float("inf"), float("-inf")) else value


def number(value: float) -> int | float:
    """A JSON number as Kubernetes reads it: an integer wherever its digits are one of 64 bits."""
    if not value.is_integer() or abs(value) >= 1e19:
        return value
    whole = int(Decimal(repr(value)))  # the shortest digits, as Go writes them to JSON
    return whole if -(1 << 63) <= whole < 1 << 63 else value


_TAG = "tag:yaml.org,2002:"


def tagged(node: ScalarNode) -> Any:
    """A scalar with an explicit tag. Unknown and local tags leave the text as it is."""
    text, tag = node.value, node.tag.removeprefix(_TAG)
    if tag == "binary":
        try:
            return base64.b64decode(
                text.translate({9: None, 10: None, 13: None, 32: None}), validate=True
            ).decode("utf-8", "replace")
        except binascii.Error:
            raise Refused(node, "!!binary is not base64") from None
    if tag not in ("int", "float", "bool", "null"):
        return text
    value = plain(text)
    fits = {
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, (int, float)) and not isinstance(value, bool),
        "bool": isinstance(value, bool),
        "null": value is None,
    }
    if not fits[tag]:
        raise Refused(node, f"{text[:60]!r} is no !!{tag}")
    return float(value) if tag == "float" else value
