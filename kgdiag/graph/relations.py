"""Relations between objects, as data.

A dialect declares ``Relation``s; ``out_of`` and ``into`` walk them for any object. References to what does
not exist are links like all others: whether the target is there is asked when it matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from kgdiag.graph.world import World
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref


@dataclass(frozen=True, slots=True)
class Link:
    """One link of an object: to what, by which field, and what is worth saying of it."""

    target: Ref
    field: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """All links of one kind of meaning. ``name`` reads "source NAME target", ``inverse`` the other way.

    ``links`` is a pure function of the World. ``sources_of`` answers from the target's side with the few
    objects that could link to it (a label query, a namespace); None looks at every object of the kind.
    """

    name: str
    inverse: str
    source: Kind
    targets: tuple[Kind, ...]
    links: Callable[[World, Obj], Iterable[Link]]
    sources_of: Callable[[World, Obj], Iterable[Obj]] | None = None
    optional: bool = False  # a failed read of the sources takes nothing from a verdict


@dataclass(frozen=True, slots=True)
class Linked:
    """A link seen from one end: the relation, the object on the other end and the link itself."""

    relation: Relation
    other: Ref
    link: Link


def out_of(world: World, obj: Obj, relations: Iterable[Relation]) -> Iterator[Linked]:
    """What the object links to, in the relations' order."""
    for relation in relations:
        if relation.source == obj.kind:
            for link in relation.links(world, obj):
                yield Linked(relation, link.target, link)


def into(world: World, obj: Obj, relations: Iterable[Relation]) -> Iterator[Linked]:
    """What links to the object, in the relations' order, then by namespace and name."""
    for relation in relations:
        if obj.kind not in relation.targets:
            continue
        if relation.sources_of is not None:
            sources = relation.sources_of(world, obj)
            yield from (
                Linked(relation, source.ref, link)
                for source in sources
                for link in relation.links(world, source)
                if link.target == obj.ref
            )
        else:
            for source, link in _by_target(world, relation).get(obj.ref, ()):
                yield Linked(relation, source, link)


def _by_target(world: World, relation: Relation) -> dict[Ref, list[tuple[Ref, Link]]]:
    """The links of a whole kind by their targets, made once: linear in what was read."""
    sources = world.all(relation.source, optional=relation.optional)

    def collect() -> dict[Ref, list[tuple[Ref, Link]]]:
        found: dict[Ref, list[tuple[Ref, Link]]] = {}
        for source in sources:
            for link in relation.links(world, source):
                found.setdefault(link.target, []).append((source.ref, link))
        return found

    return world.memo(("into", relation.source, relation.links, relation.targets), collect)
