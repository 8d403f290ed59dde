"""What one object is in its context. One module for each kind that has more to say than the generic one.

An explainer is a pure function of the World. Modules of this package that define ``KINDS`` and ``describe``
are found by being here; every other kind gets owners, references and conditions.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from types import ModuleType

from kgdiag.dialects.base import Dialect
from kgdiag.explain.base import Context, Draft
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.explanation import Explanation
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.read import Origin

Describe = Callable[[Context, Obj, Draft], None]
Foresee = Callable[[World, str, str], None]


@lru_cache(maxsize=1)
def _modules() -> dict[Kind, ModuleType]:
    found: dict[Kind, ModuleType] = {}
    for info in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        for kind in getattr(module, "KINDS", ()):
            found[kind] = module
    return found


def explainers() -> dict[Kind, Describe]:
    """The explainer of each kind that has one of its own."""
    return {kind: module.describe for kind, module in _modules().items()}


def foresee(world: World, kind: Kind, namespace: str, name: str) -> None:
    """Ask for what the explanation of an object will need anyway, before the object itself is read."""
    module = _modules().get(kind)
    ask: Foresee | None = getattr(module, "foresee", None)
    if ask is not None:
        ask(world, namespace, name)


def explain(world: World, obj: Obj, dialects: Sequence[Dialect]) -> Explanation:
    """The explanation of an object of the World."""
    from kgdiag.explain import generic, proof

    lean = obj.kind == kinds.SERVICE and world.origin is Origin.LIVE
    context = Context(world, tuple(dialects), lean)
    draft = Draft()
    describe = explainers().get(obj.kind, generic.describe)
    describe(context, obj, draft)
    if not draft.verify:
        draft.prove(proof.exists(obj.kind, obj.namespace, obj.name))
    found, skipped = context.findings_on(obj, draft.concerns)
    draft.findings += found
    draft.notes += [f"not checked by {item.rule}: {item.reason}" for item in skipped]
    return draft.done(obj)
