"""What one object is in its context. One module for each kind that has more to say than the generic one.

An explainer is a pure function of the World. Modules of this package that define ``KINDS`` and ``describe``
are found by being here; every other kind gets owners, references and conditions.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module

from kgdiag.dialects.base import Dialect
from kgdiag.explain.base import Context, Draft
from kgdiag.graph.world import World
from kgdiag.model.explanation import Explanation
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj

Describe = Callable[[Context, Obj, Draft], None]


@lru_cache(maxsize=1)
def explainers() -> dict[Kind, Describe]:
    """The explainer of each kind that has one of its own."""
    found: dict[Kind, Describe] = {}
    for info in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        for kind in getattr(module, "KINDS", ()):
            found[kind] = module.describe
    return found


def explain(world: World, obj: Obj, dialects: Sequence[Dialect]) -> Explanation:
    """The explanation of an object of the World."""
    from kgdiag.explain import generic

    context = Context(world, tuple(dialects))
    draft = Draft()
    describe = explainers().get(obj.kind, generic.describe)
    describe(context, obj, draft)
    draft.findings += context.findings_on(obj, draft.concerns)
    return draft.done(obj)
