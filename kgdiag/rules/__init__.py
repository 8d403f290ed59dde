"""The catalogue of rules: one file a rule, found by being here."""

from __future__ import annotations

import pkgutil
from functools import lru_cache
from importlib import import_module

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
