"""A config dump as Envoy's admin interface prints it, read piece by piece.

Envoy indents its dump by one space for each level. A line break cannot stand within a JSON string, so the
lines that open and close a list's entries cut the text without parsing it: of thousands of clusters a trace
parses the few that it meets. Source: envoy source/server/admin/config_dump_handler.cc
(MessageUtil::getJsonStringFromMessage, pretty-printed).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from kgdiag.dialects.envoy.dump import Dump, dumps_of, reading

Json = Mapping[str, Any]
_HEAD, _TAIL = b'{\n "configs": [\n  {\n', b"\n  }\n ]\n}"
_NEXT_PART = re.compile(rb"\n  \},\n  \{\n")
_NEXT_ENTRY = re.compile(rb"\n    \},\n    \{\n")
_LIST = re.compile(rb'^   "(\w+)": \[\n    \{\n', re.MULTILINE)
_TYPE = re.compile(rb'   "@type": "[\w./]*\.(\w+)"')
# Parts that are many entries: the lists of them that count, the entry's own object and its name.
_PARTS = {
    b"ClustersConfigDump": ("clusters", (b"static_clusters", b"dynamic_active_clusters"), "cluster", b"name"),
    b"RoutesConfigDump": (
        "routes",
        (b"static_route_configs", b"dynamic_route_configs"),
        "route_config",
        b"name",
    ),
    b"EndpointsConfigDump": (
        "endpoints",
        (b"static_endpoint_configs", b"dynamic_endpoint_configs"),
        "endpoint_config",
        b"cluster_name",
    ),
}
Span = tuple[int, int]


def printed_dump(data: bytes) -> Dump | None:
    """The dump, with its clusters, routes and endpoints parsed when they are asked for.

    None where the text is not as Envoy prints it. Raises MalformedError for parts that are no JSON.
    """
    end = len(data.rstrip())
    if not data.startswith(_HEAD) or not data.endswith(_TAIL, 0, end):
        return None
    whole: list[Any] = []
    lazy: dict[str, Mapping[str, Json]] = {}
    rejected: list[tuple[str, str]] = []
    for span in _pieces(data, (len(_HEAD), end - len(_TAIL)), _NEXT_PART):
        kind = _TYPE.match(data, *span)
        part = _PARTS.get(kind[1]) if kind else None
        if kind is None or part is None:
            with reading("the dump"):
                whole.append(_parsed(data, span))
            continue
        name, keys, inner, key = part
        lists = {found[1]: _list(data, found.end(), span[1]) for found in _LIST.finditer(data, *span)}
        lazy[name] = _Entries(data, [one for wanted in keys for one in lists.get(wanted, ())], inner, key)
        rejected += [one for spans in lists.values() for one in _errors(data, spans)]
        whole.append({"@type": kind[1].decode()})
    if not whole:
        return None
    _, dump = dumps_of({"configs": whole})[0]
    return Dump(
        node=dump.node,
        listeners=dump.listeners,
        routes=lazy.get("routes", {}),
        clusters=lazy.get("clusters", {}),
        endpoints=lazy.get("endpoints", {}),
        secrets=dump.secrets,
        warming_secrets=dump.warming_secrets,
        rejected=(*dump.rejected, *rejected),
        missing=dump.missing,
        bootstrap=dump.bootstrap,
    )


def _pieces(data: bytes, span: Span, between: re.Pattern[bytes]) -> Iterator[Span]:
    start, end = span
    for found in between.finditer(data, start, end):
        yield start, found.start()
        start = found.end()
    yield start, end


def _list(data: bytes, start: int, end: int) -> list[Span]:
    """The entries of a list, from behind the line that opens the first one."""
    close = data.find(b"\n    }\n   ]", start, end)
    return list(_pieces(data, (start, close if close >= 0 else end), _NEXT_ENTRY))


def _parsed(data: bytes, span: Span) -> Any:
    return orjson.loads(b"{\n" + data[span[0] : span[1]] + b"\n}")


def _errors(data: bytes, spans: list[Span]) -> Iterator[tuple[str, str]]:
    for span in spans:
        if data.find(b'\n     "error_state": {', *span) < 0:
            continue
        with reading("an error of the dump"):
            entry = _parsed(data, span)
        details = (entry.get("error_state") or {}).get("details")
        if details:
            yield str(entry.get("name", "")), str(details)


class _Entries(Mapping[str, Json]):
    """Entries by their names, each parsed at its first use."""

    def __init__(self, data: bytes, spans: list[Span], inner: str, key: bytes) -> None:
        self._data = data
        self._inner = inner
        self._made: dict[str, Json] = {}
        named = re.compile(rb'^      "' + key + rb'": ("(?:[^"\\]|\\.)*")', re.MULTILINE)
        self._spans: dict[str, Span] = {}
        for span in spans:
            found = named.search(data, *span)
            self._spans[orjson.loads(found[1]) if found else ""] = span

    def __getitem__(self, name: str) -> Json:
        if name not in self._made:
            span = self._spans[name]
            with reading(f"{self._inner} {name}"):
                self._made[name] = _parsed(self._data, span)[self._inner]
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)

    def __contains__(self, name: object) -> bool:
        return name in self._spans
