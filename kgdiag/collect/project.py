"""The files of a project about check: ``.kgdiag.yaml`` and baselines. Everything wrong in them is an error
with its line, since a suppression that does not do what it says hides what it should not.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kgdiag.collect.scalars import compose
from kgdiag.errors import InputError
from kgdiag.model.ref import Ref
from kgdiag.model.suppression import Baseline, Identity, Pattern, Suppression

PROJECT_FILE = ".kgdiag.yaml"
_ENTRY = ("rule", "object", "reason", "expires")


def find_project_file(start: str = ".") -> str | None:
    """The nearest ``.kgdiag.yaml`` of a folder and those above it, up to the root of its git repository."""
    folder = Path(start).absolute()
    for here in (folder, *folder.parents):
        if (here / PROJECT_FILE).is_file():
            return str(here / PROJECT_FILE) if here != folder else PROJECT_FILE
        if (here / ".git").exists():
            return None
    return None


def read_suppressions(
    file: str, rule_id: Callable[[str], str | None], pattern: Callable[[str], Pattern]
) -> list[Suppression]:
    """The entries of ``ignore`` in a project file; raises InputError with ``file:line``.

    ``rule_id`` gives the id for an id or a name, None where no rule has it; ``pattern`` reads an object
    pattern and raises ValueError.
    """
    root = _root(file)
    if root is None:
        return []
    found: list[Suppression] = []
    for key, value in _pairs(file, root, ("ignore",)):
        if not isinstance(value, SequenceNode):
            raise _bad(file, key, "ignore is a list of entries")
        found += [_entry(file, item, rule_id, pattern) for item in value.value]
    return found


def _entry(
    file: str, node: Node, rule_id: Callable[[str], str | None], pattern: Callable[[str], Pattern]
) -> Suppression:
    values: dict[str, str] = {}
    nodes: dict[str, Node] = {}
    for key, value in _pairs(file, node, _ENTRY):
        if not isinstance(value, ScalarNode) or not value.value.strip():
            raise _bad(file, value, f"{key.value} is a text")
        values[key.value], nodes[key.value] = value.value.strip(), value
    for name in ("rule", "reason"):
        if name not in values:
            raise _bad(file, node, f"an entry without {name}")
    rule = rule_id(values["rule"])
    if rule is None:
        raise _bad(file, nodes["rule"], f"no rule is called {values['rule']!r}")
    try:
        objects = pattern(values["object"]) if "object" in values else None
    except ValueError as error:
        raise _bad(file, nodes["object"], str(error)) from None
    try:
        expires = date.fromisoformat(values["expires"]) if "expires" in values else None
    except ValueError:
        raise _bad(file, nodes["expires"], "expires is a date, YYYY-MM-DD") from None
    by = f"{file}:{node.start_mark.line + 1}"
    return Suppression(rule, objects, values["reason"], by, expires)


def _root(file: str) -> Node | None:
    text = _text(file)
    try:
        return compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(
            f"not YAML: {error.problem or error.context}", subject=f"{file}:{mark.line + 1 if mark else 1}"
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"not YAML: {error}", subject=file) from None


def _pairs(file: str, node: Node, allowed: tuple[str, ...]) -> Iterator[tuple[ScalarNode, Node]]:
    """The keys and values of a mapping that may have these keys only, each once."""
    if not isinstance(node, MappingNode):
        raise _bad(file, node, f"expected a mapping with {', '.join(allowed)}")
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, ScalarNode) or key.value not in allowed:
            raise _bad(file, key, f"unknown key {key.value!r}; known: {', '.join(allowed)}")
        if key.value in seen:
            raise _bad(file, key, f"{key.value} is there twice")
        seen.add(key.value)
        yield key, value


def _bad(file: str, node: Node, message: str) -> InputError:
    return InputError(message, subject=f"{file}:{node.start_mark.line + 1}")


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError("no such file", subject=file) from None
    except UnicodeDecodeError:
        raise InputError("not UTF-8", subject=file) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", subject=file) from None


def read_baseline(file: str) -> Baseline:
    """A baseline that ``--write-baseline`` wrote; raises InputError with ``file:line``."""
    try:
        document = json.loads(_text(file))
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}", subject=f"{file}:{error.lineno}") from None
    if not _is_baseline(document):
        raise InputError("not a baseline of kgdiag", subject=f"{file}:1", hint="--write-baseline makes one")
    known: Counter[Identity] = Counter()
    for at, item in enumerate(document["findings"]):
        known[_identity(file, at, item)] += 1
    return Baseline(file, known)


def _is_baseline(document: Any) -> bool:
    return (
        isinstance(document, Mapping)
        and document.get("kind") == "Baseline"
        and document.get("apiVersion") == "kgdiag.dev/v1"
        and isinstance(document.get("findings"), list)
    )


def _identity(file: str, at: int, item: Any) -> Identity:
    parts: tuple[Any, ...] = ()
    try:
        ref = item["object"]
        parts = (item["rule"], item["key"], ref["group"], ref["kind"], ref["namespace"], ref["name"])
    except (KeyError, TypeError):
        pass
    if not parts or not all(isinstance(part, str) for part in parts):
        raise InputError(f"findings[{at}] has no rule, object and key", subject=f"{file}:1")
    return Identity(parts[0], Ref(*parts[2:]), parts[1])


def write_baseline(baseline: Baseline) -> None:
    """Write a baseline file, one entry a line; an existing file must be a baseline. Raises InputError."""
    path = Path(baseline.file)
    if path.exists():
        read_baseline(baseline.file)
    document = baseline.to_json()
    lines = [json.dumps(item, sort_keys=True) for item in document.pop("findings")]
    head = json.dumps(document)[:-1]
    body = ",\n  ".join(lines)
    text = f'{head}, "findings": [' + (f"\n  {body}\n]}}\n" if lines else "]}\n")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", subject=baseline.file) from None
