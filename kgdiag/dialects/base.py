"""What a gateway implementation tells kgdiag: one Dialect each, listed in ``kgdiag.dialects.ALL``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kgdiag.graph.relations import Relation
from kgdiag.graph.world import World
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Proxy


@dataclass(frozen=True, slots=True)
class Dialect:
    """One implementation.

    ``kinds`` are kinds that only it knows. ``relations`` are the links of its objects. ``proxy_of`` gives
    the proxy that runs in a pod where this control plane programs it, else None; it must look at the pod
    alone (labels, containers) before it reads anything more.
    """

    name: str
    kinds: tuple[Kind, ...] = ()
    relations: tuple[Relation, ...] = ()
    proxy_of: Callable[[World, Obj], Proxy | None] | None = None
