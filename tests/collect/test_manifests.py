"""Documents and scalars against what kubectl 1.34.4 printed for them.

The tables were taken with ``kubectl patch --local --type=merge -p '{}' -o json -f -``; where kubectl is there
the last test asks it again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgdiag.collect.manifests import Malformed, documents
from kgdiag.collect.scalars import plain

HEAD = "apiVersion: foo.io/v1\nkind: Bar\nmetadata: {name: x}\n"
SCALARS = {
    "yes": True,
    "Yes": True,
    "YES": True,
    "no": False,
    "No": False,
    "NO": False,
    "on": True,
    "On": True,
    "ON": True,
    "off": False,
    "Off": False,
    "OFF": False,
    "y": True,
    "Y": True,
    "n": False,
    "N": False,
    "true": True,
    "True": True,
    "TRUE": True,
    "tRUE": "tRUE",
    "false": False,
    "False": False,
    "FALSE": False,
    "fALSE": "fALSE",
    "null": None,
    "Null": None,
    "NULL": None,
    "nULL": "nULL",
    "~": None,
    "0": 0,
    "00": 0,
    "010": 8,
    "-010": -8,
    "+010": 8,
    "08": 8,
    "09": 9,
    "0o10": 8,
    "-0o10": -8,
    "0O10": 8,
    "0x1F": 31,
    "0X1F": 31,
    "-0x1f": -31,
    "+0x1f": 31,
    "0b101": 5,
    "0B101": 5,
    "-0b101": -5,
    "+0b101": 5,
    "1_000": 1000,
    "1__0": 10,
    "_1": "_1",
    "0_7": 7,
    "0x_1": 1,
    "+1": 1,
    "-1": -1,
    "+0": 0,
    "-0": 0,
    "1.": 1,
    ".5": 0.5,
    "-.5": -0.5,
    "+.5": 0.5,
    ".": ".",
    "1.5": 1.5,
    "+1.5": 1.5,
    "-1.5": -1.5,
    "1e3": 1000,
    "1E3": 1000,
    "1e+3": 1000,
    "1e-3": 0.001,
    "1.5e3": 1500,
    "1.5e+3": 1500,
    "1.e+3": 1000,
    "1e+30": 1e30,
    "1e400": "1e400",
    "1e+400": "1e+400",
    ".5e+3": 500,
    ".e3": ".e3",
    "1.0": 1,
    "100.0": 100,
    "1e+2": 100,
    "123456789012345678": 123456789012345678,
    "9223372036854775807": 9223372036854775807,
    "9223372036854775808": 9223372036854776000,
    "-9223372036854775808": -9223372036854775808,
    "-9223372036854775809": -9223372036854776000,
    "18446744073709551615": 18446744073709552000,
    "18446744073709551616": 18446744073709552000,
    "1.2.3": "1.2.3",
    "12:30": "12:30",
    "12:30:45": "12:30:45",
    "190:20:30": "190:20:30",
    "1:2": "1:2",
    "2024-01-01": "2024-01-01",
    "2024-01-01T00:00:00Z": "2024-01-01T00:00:00Z",
    "2001-12-14t21:59:43.10-05:00": "2001-12-14t21:59:43.10-05:00",
    "2024-1-1": "2024-1-1",
    ".nan_": ".nan_",
    "1_0.5": 10.5,
    "0.1_2": 0.12,
    "1e5": 100000,
    "12e03": 12000,
    "0e0": 0,
    "0x": "0x",
    "0xG": "0xG",
    "0b2": "0b2",
    "0o8": "0o8",
    "0o": "0o",
    "0b": "0b",
    "1_": 1,
    "+-": "+-",
    "++1": "++1",
    "1a": "1a",
    "1e": "1e",
    "0777": 511,
    "0778": 778,
    "0.0": 0,
    "-0.0": 0,
    "+.e": "+.e",
    "1.7976931348623157e+308": 1.7976931348623157e308,
    "5e-324": 5e-324,
    "1e-7": 1e-07,
    "0.000001": 1e-06,
    "123.456": 123.456,
    "3.0e+2": 300,
    "infinity": "infinity",
    "inf": "inf",
    "nan": "nan",
    "Inf": "Inf",
    "NaN": "NaN",
    "+inf": "+inf",
    "-inf": "-inf",
    "0x1p4": "0x1p4",
    "0x1.8p1": "0x1.8p1",
    ".1_": ".1_",
    "._1": "._1",
    ".inf1": ".inf1",
    "=": "=",
    "<<": "<<",
    "1,000": "1,000",
    "10%": "10%",
    "0.10": 0.1,
    "007.5": 7.5,
    "00.5": 0.5,
    "1e1_0": 10000000000,
    "'yes'": "yes",
    '"1"': "1",
    "!!str 1": "1",
    "!!str yes": "yes",
    "!!int '1'": 1,
    "!!int 1": 1,
    "!!float 1": 1,
    "!!bool yes": True,
    "!!bool 'yes'": True,
    "!!binary aGk=": "hi",
    "!!null ''": None,
    "!!foo x": "x",
    "!foo 1": "1",
    "!!float 1.5": 1.5,
    "!!timestamp 2024-01-01": "2024-01-01",
    "!!set {a}": {"a": None},
    "!!str": "",
    "!!str null": "null",
    "!!float '1.5'": 1.5,
    "!!int '010'": 8,
}
REFUSED = (
    ".inf",
    ".Inf",
    "-.inf",
    ".nan",
    "!!int x",
    "!!bool 1",
    "!!null x",
    "!!binary '!!'",
)


def value(text: str) -> Any:
    """The value of ``data`` in the first document."""
    return next(documents(HEAD + text)).value["data"]


def refused(text: str) -> Malformed:
    with pytest.raises(Malformed) as caught:
        list(documents(text))
    return caught.value


@pytest.mark.parametrize("text", SCALARS)
def test_scalars_are_what_kubectl_makes_of_them(text: str) -> None:
    found, expected = value(f"data:\n- {text}\n")[0], SCALARS[text]
    if isinstance(expected, int) and not -(1 << 63) <= expected < 1 << 63:
        expected = float(expected)  # Go prints large floats without "e"
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("text", REFUSED)
def test_scalars_that_kubectl_refuses(text: str) -> None:
    assert refused(f"{HEAD}data:\n- {text}\n").line == 5


def test_keys_are_what_kubectl_makes_of_them() -> None:
    keys = """data:
  yes: 1
  off: 2
  1.5: 3
  010: 4
  1e3: 5
  2001-01-01: 6
  0x1F: 7
  100000000.0: 8
  1e21: 9
  0.00001: 10
  -0.0: 11
  123456789.5: 12
  .1: 13
  16777217.0: 14
  !!str 010: 15
  !!binary aGk=: 16
  .inf: 17
  1: 18
  1.0: 19
"""
    assert value(keys) == {
        "true": 1,
        "false": 2,
        "1.5": 3,
        "8": 4,
        "1000": 5,
        "2001-01-01": 6,
        "31": 7,
        "1e+08": 8,
        "1e+21": 9,
        "1e-05": 10,
        "-0": 11,
        "1.2345679e+08": 12,
        "0.1": 13,
        "1.6777216e+07": 14,
        "010": 15,
        "hi": 16,
        ".inf": 17,
        "1": 19,
    }


BASE = "b: &b {a: 1, b: 2}\nc: &c {a: 9, z: 1}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data:\n  <<: *b\n  b: 3\n", {"a": 1, "b": 3}),
        ("data:\n  b: 3\n  <<: *b\n", {"a": 1, "b": 2}),  # go-yaml merges in place
        ("data:\n  <<: [*b, *c]\n  b: 3\n", {"a": 1, "b": 3, "z": 1}),
        ("data:\n  <<: *b\n  <<: *c\n", {"a": 9, "b": 2, "z": 1}),
        ("data:\n  '<<': *b\n", {"<<": {"a": 1, "b": 2}}),
        ("data:\n  !!str <<: *b\n", {"<<": {"a": 1, "b": 2}}),
        ("data:\n  <<: {q: 1}\n", {"q": 1}),
        ("data: [no , 'no', no#x]\n", [False, "no", "no#x"]),
        ("data: {a:1, b: }\n", {"a:1": None, "b": None}),
        ("data: a\n  yes\n", "a yes"),
        ("data: |\n  yes\n", "yes\n"),
        ('data: "\\x07\\e"\n', "\x07\x1b"),
        ("data: !foo {a: 1}\n", {"a": 1}),
        ("data: !!set {a}\n", {"a": None}),
    ],
)
def test_merges_and_shapes(text: str, expected: Any) -> None:
    assert value(BASE + text) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("data: {null: 1}\n", 4),
        ("data: {[a]: 1}\n", 4),
        ("data: {{a: b}: 1}\n", 4),
        ("data:\n  <<: 3\n", 5),
        ("data:\n  <<: [1]\n", 5),
        ("data:\n\ta: 1\n", 5),
        ("data: @x\n", 4),
        ("data: a\x07b\n", 4),
        ("data: *nobody\n", 4),
        ("data: &a [*a]\n", 4),
        ("--- {a: b}\n", 4),
        ("---x: 1\n", 4),
        ("data: " + "[" * 5000, 4),
        ("data: " + "[" * 980 + "]" * 980 + "\n", 1),
    ],
)
def test_what_kubectl_refuses_names_its_line(text: str, line: int) -> None:
    error = refused(HEAD + text)
    assert error.line == line
    assert "\n" not in error.message


def test_aliases_that_expand_to_millions_are_refused_at_once() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    assert "aliases" in refused(bomb).message


def test_documents_are_split_as_kubectl_splits_them() -> None:
    text = (
        "\ufeff# first\n---\n"
        + HEAD.replace("x}", "a}")
        + "--- # second\n\ufeff\n"
        + HEAD.replace("x}", "b}")
    )
    text += "...\nkind: Ignored\n---\n---\nnull\n---\n{kind: flow}\n---\n" + '{"kind": "j1"}\n{"kind": "j2",}'
    found = list(documents(text.replace("\n", "\r\n")))[:2] + list(documents(text))[2:]
    assert [document.line for document in found] == [3, 8, 17, 19]
    assert [document.ignored for document in found] == [0, 12, 0, 20]
    assert found[2].value == {"kind": "flow"}


def test_json_values_one_after_the_other() -> None:
    found = list(
        documents('\n{"a": 1.0, "b": 1e3, "c": 1.5}\n{"a": "\\ud83d\\ude00"}{"a": 2}\n---\n{"a": 3,}')
    )
    assert [document.value for document in found] == [
        {"a": 1, "b": 1000, "c": 1.5},
        {"a": "\U0001f600"},
        {"a": 2},
        {"a": 3},
    ]
    assert [document.line for document in found] == [2, 3, 3, 5]
    assert isinstance(found[0].value["a"], int)


def test_the_later_of_two_keys_wins_and_is_told() -> None:
    (document,) = documents("a: 1\nb:\n- {}\n- &x\n  c: 1\n  c: 2\na: 3\nd: *x\n")
    assert document.value == {"a": 3, "b": [{}, {"c": 2}], "d": {"c": 2}}
    assert document.repeated == [(6, ("b", 1, "c")), (7, ("a",))]


@settings(deadline=None)
@given(st.text(max_size=20))
def test_a_plain_scalar_never_breaks(text: str) -> None:
    found = plain(text)
    assert found is None or isinstance(found, (bool, int, float, str))
    if isinstance(found, str):
        assert found == text


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_json_is_read_as_it_is(data: Any) -> None:
    (document,) = documents(json.dumps({"data": data}))
    assert document.value == {"data": data}


def test_pyyaml_without_its_extension_says_the_same() -> None:
    program = """
import json, sys, yaml
yaml.__with_libyaml__ = False
from kgdiag.collect.manifests import documents
print(json.dumps([[d.value, d.line, d.locate(("data", 1))] for d in documents(sys.stdin.read())]))
"""
    text = HEAD + "data:\n" + "".join(f"- {scalar}\n" for scalar in SCALARS)
    done = subprocess.run(
        [sys.executable, "-c", program], input=text, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [[document.value, 1, 6] for document in documents(text)]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kubectl_still_says_so() -> None:
    text = HEAD + "data:\n" + "".join(f"- {scalar}\n" for scalar in SCALARS)
    command = ["kubectl", "patch", "--local", "--type=merge", "-p", "{}", "-o", "json", "-f", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)["data"] == list(SCALARS.values())
