"""The catalogue of rules and the page of one rule."""

from __future__ import annotations

import difflib
import json
import textwrap
from collections.abc import Iterable

from kgdiag.errors import UsageError
from kgdiag.rules import catalogue
from kgdiag.rules.base import Rule


def render_catalogue(rule_id: str = "", output: str = "text", *, width: int = 0) -> str:
    """All rules, or one rule's page; raises UsageError where no rule has that id or name.

    ``width`` breaks the lines of the list for a terminal; 0 keeps a rule on its line, for grep.
    """
    if output not in ("text", "wide", "json", "yaml", "markdown"):
        raise UsageError(f"{output} is no format of rules", subject="-o", hint="text, markdown, json or yaml")
    rules = catalogue()
    chosen = _find(rules, rule_id) if rule_id else None
    if output in ("json", "yaml"):
        return _document(chosen, rules.values(), output)
    if chosen is not None:
        return page(chosen)
    if output == "markdown":
        head = ["| rule | severity | name | finds |", "| --- | --- | --- | --- |"]
        rows = [f"| {item.id} | {item.severity} | {item.name} | {item.title} |" for item in rules.values()]
        return "\n".join([*head, *rows]) + "\n"
    room = max((len(item.name) for item in rules.values()), default=0)
    lines = [f"{item.id}  {item.severity:<8} {item.name:<{room}}  {item.title}" for item in rules.values()]
    if width:
        hang = " " * (17 + room if width > 60 + room else 7)
        lines = [textwrap.fill(line, width, subsequent_indent=hang, break_on_hyphens=False) for line in lines]
    return "\n".join(lines) + "\n"


def _find(rules: dict[str, Rule], word: str) -> Rule:
    for item in rules.values():
        if word.lower() in (item.id.lower(), item.name.lower()):
            return item
    near = difflib.get_close_matches(word.upper(), rules, 3)
    raise UsageError(
        f"no rule is called {word!r}", hint=f"near: {', '.join(near)}" if near else "kgdiag rules lists them"
    )


def _document(chosen: Rule | None, rules: Iterable[Rule], output: str) -> str:
    document: dict[str, object] = {"apiVersion": "kgdiag.dev/v1"}
    if chosen is not None:
        document |= {"kind": "Rule", "incomplete": [], **_json(chosen), "page": chosen.page}
    else:
        document |= {"kind": "Rules", "incomplete": [], "rules": [_json(item) for item in rules]}
    if output == "json":
        return json.dumps(document, indent=2) + "\n"
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False, width=4096))


def page(item: Rule) -> str:
    """The page of one rule as Markdown, which reads well as it is."""
    lines = [f"# {item.id} {item.name} ({item.severity})", "", item.page, ""]
    if item.equivalents:
        lines += ["## Equivalents", "", ", ".join(item.equivalents), ""]
    needs = ", ".join(kind.resource for kind in item.needs)
    return "\n".join([*lines, "## Reads", "", needs]) + "\n"


def _json(item: Rule) -> dict[str, object]:
    return {
        "id": item.id,
        "name": item.name,
        "severity": str(item.severity),
        "title": item.title,
        "needs": [kind.resource for kind in item.needs],
        "equivalents": list(item.equivalents),
        "docs": item.docs,
    }
