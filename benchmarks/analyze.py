"""`kgdiag check` beside the real `istioctl analyze`: what each finds; prints Markdown tables, judges nothing.

    python benchmarks/analyze.py --scenarios             # the scenarios of the tests, as files
    python benchmarks/analyze.py --files DIR [DIR …]     # folders of manifests
    python benchmarks/analyze.py --live                  # the current cluster (KUBECONFIG), all namespaces

Needs istioctl on PATH. A row is one object that either of them names. A code of istioctl is `same` where a
finding of kgdiag on the object has it among its equivalents, `caused` where kgdiag lists it under another
finding, `other` where kgdiag names the object for something else, `only` where it does not.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Name = tuple[str, str]  # kind, namespace/name


@dataclass
class Seen:
    """What the two say of one object: rules with severity and equivalents; codes with level."""

    rules: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    caused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)

    def verdict(self, code: str) -> str:
        """How kgdiag stands to one code of istioctl."""
        if any(code in equivalents for _, equivalents in self.rules.values()):
            return "same"
        if any(code in equivalents for equivalents in self.caused.values()):
            return "caused"
        return "other" if self.rules or self.caused else "only"


def compare(kgdiag: list[str], istioctl: list[str]) -> dict[Name, Seen]:
    """Both over the same input, by object."""
    found: dict[Name, Seen] = {}
    for item in json.loads(_run([sys.executable, "-m", "kgdiag", "check", "-o", "json", *kgdiag]))[
        "findings"
    ]:
        seen = found.setdefault(_name(item["object"]), Seen())
        seen.rules[item["rule"]] = (item["severity"], tuple(item["equivalents"]))
        for other in item["caused"]:
            found.setdefault(_name(other["object"]), Seen()).caused[other["rule"]] = tuple(
                other["equivalents"]
            )
    for item in _messages(_run(["istioctl", "analyze", "-o", "json", *istioctl])):
        kind, _, name = re.sub(r" ?\(.*\)$", "", str(item.get("origin") or "")).partition(" ")
        name = name or kind
        found.setdefault((kind, name), Seen()).codes[item["code"]] = item["level"]
    return found


def _messages(text: str) -> list[dict[str, Any]]:
    start = text.find("[")
    if start < 0:
        raise SystemExit(f"istioctl analyze gave no answer: {text[:200]}")
    return json.loads(text[start:]) or []


def _run(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout or "{}"


def _name(ref: dict[str, str]) -> Name:
    return ref["kind"], f"{ref['namespace']}/{ref['name']}" if ref["namespace"] else ref["name"]


def rows(title: str, found: dict[Name, Seen], counts: Counter[str]) -> Iterator[str]:
    """A table row for each object that either of them warns of; facts (info) are left out."""
    for (kind, name), seen in sorted(found.items()):
        rules = {rule: severity for rule, (severity, _) in seen.rules.items() if severity != "info"}
        codes = {code: level for code, level in seen.codes.items() if level != "Info"}
        if not rules and not codes:
            continue
        ours = ", ".join(f"{rule} {severity}" for rule, severity in sorted(rules.items()))
        ours += "".join(f", {rule} (under its cause)" for rule in sorted(seen.caused))
        theirs = [f"{code} {level.lower()} ({seen.verdict(code)})" for code, level in sorted(codes.items())]
        for code in codes:
            counts[f"istioctl: {seen.verdict(code)}"] += 1
        answered = {code for rule in rules for code in seen.rules[rule][1]} & set(codes)
        if rules and not answered:
            counts["kgdiag only"] += 1
        yield f"| {title} | {kind} {name} | {ours.lstrip(', ') or '–'} | {', '.join(theirs) or '–'} |"


def scenarios(folder: Path) -> Iterator[tuple[str, dict[Name, Seen]]]:
    sys.path.insert(0, str(ROOT))
    from tests.test_scenarios import cases

    for case in cases():
        path = folder / "cluster.yaml"
        path.write_text(case.text)
        yield case.name, files([str(path)], case.options)


def files(paths: Iterable[str], options: Iterable[str] = ()) -> dict[Name, Seen]:
    named = list(paths)
    ours = [word for path in named for word in ("-f", path)]
    return compare(["-A", *options, *ours], ["--use-kube=false", "-A", *named])


def asked(given: argparse.Namespace, folder: Path) -> Iterator[tuple[str, dict[Name, Seen]]]:
    if given.scenarios:
        yield from scenarios(folder)
    for path in given.files:
        yield Path(path).name, files([path])
    if given.live:
        yield "live", compare(["-A"], ["-A"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenarios", action="store_true")
    parser.add_argument("--files", nargs="+", metavar="DIR", default=[])
    parser.add_argument("--live", action="store_true")
    given = parser.parse_args()
    counts: Counter[str] = Counter()
    print("| input | object | kgdiag check | istioctl analyze |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        for title, seen in asked(given, Path(name)):
            for row in rows(title, seen, counts):
                print(row, flush=True)
    print("\n| difference | objects and codes |\n| --- | --- |")
    for what, count in sorted(counts.items()):
        print(f"| {what} | {count} |")


if __name__ == "__main__":
    main()
