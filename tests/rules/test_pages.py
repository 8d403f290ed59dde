"""Every rule is documented in the fixed shape, under a name and an id of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kgdiag.rules import catalogue
from kgdiag.rules.base import Rule

ROOT = Path(__file__).parent.parent.parent
SECTIONS = [
    "What it finds",
    "Why it matters",
    "How to prove it",
    "How to fix it",
    "What it does not report",
]
RULES = list(catalogue().values())


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
def test_page(rule: Rule) -> None:
    """A title and the five sections, each with words in it."""
    assert rule.title and not rule.title.endswith(".")
    assert re.findall(r"^## (.+)$", rule.page, re.MULTILINE) == SECTIONS
    for section in re.split(r"^## .+$", rule.page, flags=re.MULTILINE)[1:]:
        assert section.strip()


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
def test_metadata(rule: Rule) -> None:
    """Ids and names are well formed, and equivalents are codes of istioctl or Kiali."""
    assert re.fullmatch(r"KG[0-79]\d\d", rule.id)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.name)
    assert all(re.fullmatch(r"IST0\d{3}|KIA\d{4}", code) for code in rule.equivalents)


def test_names_are_unique() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_file_is_named_after_the_rule() -> None:
    """kgNNN_….py holds the rule KGNNN and no other."""
    files = sorted(path.name[:5].upper() for path in (ROOT / "kgdiag" / "rules").glob("kg*.py"))
    assert files == sorted(catalogue())


def test_reference_is_current() -> None:
    """docs/rules.md is what the rules say now."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "make_rules_doc.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
