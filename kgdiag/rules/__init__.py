"""The catalogue of rules: one file a rule, found by being here."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module

from kgdiag.errors import UsageError
from kgdiag.rules.base import Rule


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Rule]:
    """Every rule by its id, sorted. Raises ValueError where two files claim one id."""
    found: dict[str, Rule] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name.startswith("kg")):
        for value in vars(import_module(f"{__name__}.{module}")).values():
            if not isinstance(value, Rule):
                continue
            if value.id in found:
                raise ValueError(f"{module}: the rule id {value.id} is taken")
            found[value.id] = value
    return dict(sorted(found.items()))


def select_rules(only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[Rule]:
    """The rules that ``--only`` and ``--skip`` leave, by id or name; raises UsageError for unknown ones."""
    every = catalogue()
    by_word = {word.lower(): item for item in every.values() for word in (item.id, item.name)}
    for option, words in (("--only", only), ("--skip", skip)):
        for word in words:
            if word.lower() not in by_word:
                raise UsageError(
                    f"no rule is called {word!r}", subject=option, hint="kgdiag rules lists them"
                )
    chosen = [by_word[word.lower()] for word in only] if only else list(every.values())
    unwanted = {by_word[word.lower()].id for word in skip}
    return sorted((item for item in chosen if item.id not in unwanted), key=lambda item: item.id)
