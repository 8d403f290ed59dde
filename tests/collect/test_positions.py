"""Lines of fields, in YAML and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgdiag.collect.manifests import documents
from kgdiag.model.obj import Path, parse_path

YAML = """\
# a comment
---
# another
apiVersion: v1
kind: Service
metadata:
  name: x
  labels: {a: b,
    c: d}
  yes: no
common: &common
  shared: 1
spec:
  <<: *common
  ports:
  - port: 80
    name: http
  -
    port: 81
  selector:
    app.kubernetes.io/name: web
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", 4),
        ("kind", 5),
        ("metadata.labels.c", 9),
        ("metadata.true", 10),
        ("spec.shared", 12),
        ("spec.ports[0]", 16),
        ("spec.ports[0].name", 17),
        ("spec.ports[1].port", 19),
        ("spec.selector['app.kubernetes.io/name']", 21),
        ("spec.ports[7].port", 15),  # missing: the nearest parent
        ("spec.nothing.here", 13),
        ("kind.of.scalar", 5),
    ],
)
def test_lines_in_yaml(path: str, line: int) -> None:
    (document,) = documents(YAML)
    assert document.locate(parse_path(path)) == line


def test_the_key_that_wins_is_the_one_that_is_shown() -> None:
    (document,) = documents("a: 1\nb: 1\na: 2\n")
    assert document.locate(("a",)) == 3


def test_lines_in_json() -> None:
    text = '\n{"items": [\n {"a": {"b\\n": [1,\n 2]}},\n {}, {"a":\n "}]{[,"\n}]\n, "z": null }'
    text += '\n{"z": [],\n"y": 1}'
    first, second = documents(text)
    found = {
        path: first.locate(path)
        for path in ((), ("items", 0, "a", "b\n", 1), ("items", 1), ("items", 2, "a"), ("z",), ("no",))
    }
    assert list(found.values()) == [2, 4, 5, 5, 8, 2]
    assert (second.locate(()), second.locate(("z", 0)), second.locate(("y",))) == (9, 9, 10)


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=15,
)


def paths(value: Any, path: Path = ()) -> list[Path]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in paths(item, (*path, key)))]


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), VALUES, min_size=1))
def test_json_printed_a_value_a_line_has_a_line_for_every_path(data: dict[str, Any]) -> None:
    """With one value a line, the order of lines is the order of a walk."""
    text = json.dumps(data, indent=1)
    (document,) = documents(text)
    lines = [document.locate(path) for path in paths(data)]
    assert lines == sorted(set(lines))
    assert lines[0] == 1
