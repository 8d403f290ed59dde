"""What tests share: a World of manifests, through the real file collector."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeVar

from kgdiag.collect.files import read_files
from kgdiag.graph.ask import ask
from kgdiag.graph.world import World
from kgdiag.model.read import Origin

T = TypeVar("T")


def answer(text: str, question: Callable[[World], T], *, complete: bool = True) -> T:
    """The answer to a question about manifests given as YAML text."""
    source = read_files(["-"], complete=complete, stdin=io.BytesIO(text.encode()))
    return ask(source, World(Origin.FILES, complete=complete), question)
