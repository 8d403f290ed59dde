"""JSON and YAML: the contract's documents."""

from __future__ import annotations

import json

from kgdiag.app import Answer


def render_json(answer: Answer) -> str:
    """The document, indented; every character that a terminal could obey is escaped."""
    return json.dumps(answer.to_json(), indent=2, ensure_ascii=True, default=str) + "\n"


def render_yaml(answer: Answer) -> str:
    """The same document as YAML."""
    import yaml

    plain = json.loads(json.dumps(answer.to_json(), default=str))
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=False, width=4096))
