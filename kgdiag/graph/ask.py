"""Asking a question of a source: read what it lacks, ask again, until nothing is lacking."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kgdiag.graph.world import World
from kgdiag.model.read import Read, Source, Status

T = TypeVar("T")

_ROUNDS = 60  # a way of many hops reads a few objects a hop; more than this is a question that never settles


def ask(source: Source, world: World, question: Callable[[World], T]) -> T:
    """The answer to a question, once the world lacks nothing that the question asks for.

    A need that cannot be read ends as a read of its own (forbidden, failed), so the loop always ends.
    """
    for _ in range(_ROUNDS):
        answer = question(world)
        needs = world.lacking
        if not needs:
            return answer
        world.add(source.read(needs))
    world.add(Read(need, Status.FAILED, message="the question reads without end") for need in world.lacking)
    return question(world)
