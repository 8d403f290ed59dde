"""Write docs/rules.md from the rules themselves; ``--check`` only says whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path

from kgdiag.rules import catalogue
from kgdiag.rules.base import Rule

PAGE = Path(__file__).parent.parent / "docs" / "rules.md"
FAMILIES = {
    "0": "Documents",
    "1": "Services, pods and entries",
    "2": "Istio gateways and hosts",
    "3": "Routes and destinations",
    "4": "Gateway API",
    "5": "TLS and mTLS",
    "6": "Policies",
    "7": "Knative, KServe and OpenShift",
    "9": "Proxies, against what is declared",
}
HEAD = """# Rules

Made by `scripts/make_rules_doc.py` from the modules in `kgdiag/rules`; `kgdiag rules ID` prints one page.
"""


def render() -> str:
    """The whole reference: a table, then each rule's page."""
    rules = list(catalogue().values())
    lines = [HEAD, "| rule | name | severity | finds | istioctl, Kiali |", "| --- | --- | --- | --- | --- |"]
    lines += [_row(rule) for rule in rules]
    family = ""
    for rule in rules:
        if rule.id[2] != family:
            family = rule.id[2]
            lines += ["", f"# {FAMILIES[family]}"]
        lines += ["", *_page(rule)]
    return "\n".join(lines) + "\n"


def _row(rule: Rule) -> str:
    codes = ", ".join(rule.equivalents)
    return f"| [{rule.id}](#{_anchor(rule)}) | {rule.name} | {rule.severity} | {rule.title} | {codes} |"


def _heading(rule: Rule) -> str:
    return f"{rule.id} {rule.name}"


def _anchor(rule: Rule) -> str:
    return _heading(rule).lower().replace(" ", "-")


def _page(rule: Rule) -> list[str]:
    """A rule's page with its headings one level down."""
    title, _, body = rule.page.partition("\n")
    reads = ", ".join(kind.resource for kind in rule.needs) or "the files alone"
    facts = f"Severity: {rule.severity}. Reads: {reads}."
    if rule.equivalents:
        facts += f" Like {', '.join(rule.equivalents)}."
    return [f"## {_heading(rule)}", "", f"{title}.", "", facts, *body.replace("\n## ", "\n### ").splitlines()]


def main() -> int:
    """0 where the page is current (or was written), 1 where ``--check`` finds it is not."""
    text = render()
    if "--check" in sys.argv[1:]:
        current = PAGE.read_text() if PAGE.exists() else ""
        if current != text:
            sys.stderr.write(f"{PAGE.name} is not current: run python scripts/make_rules_doc.py\n")
            return 1
        return 0
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
