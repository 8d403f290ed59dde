"""Files hold anything: every question bears every value, in every format, and shows what it may not obey.

The scenarios' manifests with fields of another type, taken away or doubled, and with text that terminals,
Markdown, HTML and XML would obey. ``KGDIAG_ODD`` is how many variants are made of each scenario.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.dom import minidom

import jsonschema
import pytest
import yaml

from kgdiag import app, checking
from kgdiag.app import Answer, Session
from kgdiag.collect.files import read_files
from kgdiag.dialects import all_kinds
from kgdiag.errors import KgdiagError
from kgdiag.graph.assumed import AssumedPods
from kgdiag.graph.world import World
from kgdiag.report import FORMATS, render
from kgdiag.trace.question import parse_question

ROOT = Path(__file__).parent
SCENARIOS = sorted((ROOT / "scenarios").glob("*/cluster.yaml"))
KINDS = {"Report": "report", "Explanation": "explanation", "Trace": "trace"}
DEFS = json.loads((ROOT.parent / "kgdiag/report/schema.json").read_text())["$defs"]
VARIANTS = int(os.environ.get("KGDIAG_ODD", "4"))
EVIL = "\x1b[31m[bold]e[/bold]\x07\u202e`|<script>&\"'\n```\n# x\u2028{{}}%s\U0001f600"
ODD: tuple[Any, ...] = (
    None, 7, -1, 1.5, "word", "", [], {}, [None], [[]], [{}], {"a": {"b": [1]}}, True, 10**30, {"": ""}, "*",
    "*.", "a/b/c", ":", ".", "99999", "-5", "[::1]", "(", "**", "null", "10%", float("nan"), "x" * 300,
)  # fmt: skip
KEPT = {("apiVersion",), ("kind",), ("metadata",), ("metadata", "name"), ("metadata", "namespace")}
URLS = ("http://{}/a?x=1", "grpc://{}/pkg.Service/Call", "tls://{}", "tcp://{}:5432", "http://{}:8080/")


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def _parent(document: Any, path: tuple[Any, ...]) -> Any:
    for step in path[:-1]:
        document = document[step]
    return document


def _odd(documents: list[Any], chance: random.Random) -> list[Any]:
    documents = copy.deepcopy(documents)
    for _ in range(chance.choice((1, 1, 2, 4))):
        document, path = chance.choice(
            [(one, path) for one in documents for path in _paths(one) if path not in KEPT]
        )
        at = _parent(document, path)
        if chance.random() < 0.8:
            at[path[-1]] = copy.deepcopy(chance.choice(ODD))
        elif isinstance(at, list):
            at.append(copy.deepcopy(at[path[-1]]))
        else:
            del at[path[-1]]
    return documents


def _evil(documents: list[Any], chance: random.Random) -> list[Any]:
    documents = copy.deepcopy(documents)
    for document in documents:
        for path in list(_paths(document)):
            at = _parent(document, path)
            if path[-1] not in ("kind", "apiVersion") and isinstance(at[path[-1]], str):
                at[path[-1]] += EVIL if chance.random() < 0.15 else ""
    return documents


def _hosts(documents: list[Any]) -> list[str]:
    found = {
        str(_parent(document, path)[path[-1]]).replace("*", "www")
        for document in documents
        for path in _paths(document)
        if "host" in str(path[-2:]).lower() and "." in str(_parent(document, path)[path[-1]])
    }
    return sorted(host for host in found if re.fullmatch("[a-z0-9.-]+", host)) or ["x.example.com"]


def _answers(documents: list[Any], hosts: list[str], chance: random.Random) -> Iterator[tuple[str, Answer]]:
    complete = chance.random() < 0.5
    data = yaml.safe_dump_all(documents, allow_unicode=True).encode()
    try:
        files = read_files(["-"], complete=complete, stdin=io.BytesIO(data))
    except KgdiagError:
        return
    world = World(files.origin, complete=complete, home=("default",))
    world.documents = tuple(files.documents)
    session = Session(AssumedPods(files), world, "default", all_kinds(), False, True)
    options = checking.Options()
    yield "check", checking.check(session, [], options, checking.prepare(options)).answer
    for obj in chance.sample(files.objects, min(4, len(files.objects))):
        word = f"{obj.kind.name}.{obj.kind.group}" if obj.kind.group else obj.kind.name
        try:
            yield f"explain {obj.ref}", app.explain(session, f"{word}/{obj.name}", fail_on=None)
        except KgdiagError:
            continue  # two of one name, or a name that is none
    for _ in range(3):
        url = chance.choice(URLS).format(chance.choice(hosts))
        question = parse_question(url, origin=chance.choice(("", "ns/default")), namespace="default")
        yield f"trace {url}", app.trace(session, question, fail_on=None)


def _shown(answer: Answer) -> Iterator[tuple[str, str]]:
    for output in FORMATS:
        try:
            yield output, render(answer, output)
        except KgdiagError:
            continue  # no format of this answer


@pytest.mark.parametrize("variant", range(VARIANTS))
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_nothing_trips_over_odd_values(path: Path, variant: int) -> None:
    chance = random.Random(f"{path.parent.name} {variant}")
    documents = [item for item in yaml.safe_load_all(path.read_text()) if item]
    for what, answer in _answers(_odd(documents, chance), _hosts(documents), chance):
        found = json.loads(render(answer, "json"))
        schema = {**DEFS[KINDS[found["kind"]]], "$defs": DEFS}
        jsonschema.Draft202012Validator(schema).validate(found)
        crashed = [item for item in found.get("skipped", ()) if "crashed" in item["reason"]]
        assert not crashed, what
        assert render(answer, "text")


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_text_of_files_is_shown_and_never_obeyed(path: Path) -> None:
    chance = random.Random(path.parent.name)
    documents = [item for item in yaml.safe_load_all(path.read_text()) if item]
    for what, answer in _answers(_evil(documents, chance), _hosts(documents), chance):
        for output, text in _shown(answer):
            obeyed = [char for char in text if (char < " " and char != "\n") or "\x7f" <= char < "\xa0"]
            assert not obeyed, (what, output)
            assert not {"\u202e", "\u2028"} & set(text), (what, output)
            if output == "junit":
                minidom.parseString(text)
            elif output == "mermaid":
                assert "<script>" not in text
            elif output == "markdown":
                assert "<script>" not in _outside_of_code(text).replace("\\<script", "")


def _outside_of_code(text: str) -> str:
    """Markdown without its fenced code, fences as CommonMark has them."""
    fence, lines = "", []
    for line in text.split("\n"):
        found = re.match(" {0,3}(`{3,})", line)
        if found and not fence:
            fence = found[1]
        elif found and len(found[1]) >= len(fence) and line.strip() == found[1]:
            fence = ""
        elif not fence:
            lines.append(line)
    assert not fence
    return "\n".join(lines)
