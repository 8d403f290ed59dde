"""What a gateway implementation tells kgdiag: one Dialect each, listed in ``kgdiag.dialects.ALL``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kgdiag.graph.relations import Relation
from kgdiag.graph.world import World
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Proxy
from kgdiag.model.ref import Ref


@dataclass(frozen=True, slots=True)
class Dialect:
    """One implementation.

    ``kinds`` are kinds that only it knows. ``relations`` are the links of its objects. ``proxy_of`` gives
    the proxy that runs in a pod where this control plane programs it, else None; it must look at the pod
    alone (labels, containers) before it reads anything more.

    ``gateway_proxy`` gives the proxy that a Gateway object (Istio's or Gateway API's) of this implementation
    gets, where no pod of it is known (files without its data plane); None for Gateways of others.
    ``data_plane`` gives the Services that front a Gateway, existing or not, by the implementation's naming.
    """

    name: str
    kinds: tuple[Kind, ...] = ()
    relations: tuple[Relation, ...] = ()
    proxy_of: Callable[[World, Obj], Proxy | None] | None = None
    gateway_proxy: Callable[[World, Obj], Proxy | None] | None = None
    data_plane: Callable[[World, Obj], tuple[Ref, ...]] | None = None
