"""Object names as people type them: ``KIND/NAME[.NAMESPACE]`` and ``KIND.GROUP/NAME``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kgdiag.errors import NotFoundError, UsageError
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj

# Kinds that kubectl gives to the built-in group when only the kind is typed.
_BUILT_IN = ("", "apps", "networking.k8s.io")


@dataclass(frozen=True, slots=True)
class Asked:
    """A name as it was typed: the kinds that it may mean, and the (namespace, name) pairs, likely first."""

    text: str
    kinds: tuple[Kind, ...]
    places: tuple[tuple[str, str], ...]


def find_kinds(text: str, known: Iterable[Kind] = kinds.ALL) -> tuple[Kind, ...]:
    """The kinds that a word means: kind, plural or short name, with or without a group, in any case.

    A built-in kind wins over all others of its name, as with kubectl; kinds of other groups that share a
    name (Istio's and Gateway API's ``gateway``) all come back.
    """
    word, _, group = text.strip().lower().partition(".")
    found = [
        kind
        for kind in known
        if (word in (kind.name.lower(), kind.plural) or word in kind.short)
        and (not group or kind.group == group or kind.group.startswith(group + "."))
    ]
    if not group:
        if built_in := [kind for kind in found if kind.group in _BUILT_IN]:
            return (built_in[0],)
        if word == "gw":  # Istio's short name and, in newer releases, what people type for Gateway API's
            found += [kind for kind in (kinds.GATEWAY,) if kind not in found]
    return tuple(dict.fromkeys(found))


def parse(text: str, namespace: str, known: Sequence[Kind] = kinds.ALL) -> Asked:
    """``KIND/NAME[.NAMESPACE]``; raises UsageError where it is not one or the kind is not known.

    A name may hold dots itself: the whole is looked for first, then the part behind its last dot is taken
    for a namespace.
    """
    word, slash, name = text.strip().partition("/")
    if not slash or not word or not name:
        raise UsageError(
            "expected KIND/NAME, for example svc/knative-local-gateway",
            subject=repr(text),
            hint=_kind_hint(known),
        )
    meant = find_kinds(word, known)
    if not meant:
        words = [kind.name.lower() for kind in known] + [short for kind in known for short in kind.short]
        near = difflib.get_close_matches(word.lower().partition(".")[0], dict.fromkeys(words), 3)
        hint = f"did you mean {' or '.join(near)}?" if near else _kind_hint(known)
        raise UsageError(f"no kind is called {word!r} here", subject=repr(text), hint=hint)
    places = [(namespace, name)]
    head, dot, tail = name.rpartition(".")
    if dot and head and tail:
        places.append((tail, head))
    return Asked(text, meant, tuple(places))


def _kind_hint(known: Sequence[Kind]) -> str:
    words = sorted({kind.short[0] if kind.short else kind.name.lower() for kind in known})
    return "kinds: " + ", ".join(words)


def candidates(world: World, asked: Asked) -> list[Obj]:
    """The objects that a name means, in the order of likelihood; asks for them all at once."""
    found = [
        world.get(kind, namespace, name)
        for at, (namespace, name) in enumerate(asked.places)
        for kind in asked.kinds
        if kind.namespaced or not at  # what has no namespace has all of the name
    ]
    return [obj for obj in found if obj is not None]


def anywhere(world: World, asked: Asked) -> list[Obj]:
    """The objects of that name in any namespace (``-A``)."""
    name = asked.places[0][1]
    everyone = [obj for kind in asked.kinds for obj in world.all(kind)]
    whole = [obj for obj in everyone if obj.name == name]
    named = [obj for obj in everyone if (obj.namespace, obj.name) in asked.places[1:]]
    return whole or named


def choose(found: Sequence[Obj], asked: Asked) -> Obj:
    """The one object that is meant; raises UsageError where several kinds have one of that name."""
    first = found[0]
    rivals = [obj for obj in found if obj.name == first.name and obj.namespace == first.namespace]
    others = {obj.ref for obj in rivals} | ({obj.ref for obj in found} if len(asked.places) == 1 else set())
    if len(others) > 1:
        ways = " or ".join(
            f"{obj.kind.name.lower()}.{obj.kind.group}/{obj.name}"
            + (f".{obj.namespace}" if len({item.namespace for item in found}) > 1 else "")
            for obj in found
        )
        raise UsageError("several objects have this name", subject=asked.text, hint=f"say {ways}")
    return first


def not_found(world: World, asked: Asked) -> NotFoundError:
    """The error for a name that nothing has, with near names of the kind."""
    kind = asked.kinds[0]
    namespace, name = asked.places[-1] if kind.namespaced else asked.places[0]
    absent = [item for item in asked.kinds if world.absent(item)]
    if len(absent) == len(asked.kinds):
        return NotFoundError(
            f"the kind {kind} is not installed here",
            subject=asked.text,
            hint=f"kubectl api-resources | grep -i {kind.plural}",
        )
    everyone = [obj for item in asked.kinds for obj in world.all(item)]
    elsewhere = [obj for obj in everyone if obj.name == name and obj.namespace != namespace]
    here = [obj.name for obj in everyone if obj.namespace == namespace or not obj.kind.namespaced]
    near = difflib.get_close_matches(name, sorted(set(here)), 3, 0.6)
    hints = []
    if near:
        hints.append(f"near names: {', '.join(near)}")
    if elsewhere:
        hints.append(
            "that name exists in namespace " + ", ".join(sorted({obj.namespace for obj in elsewhere}))
        )
    if not hints and here:
        hints.append(f"{kind.name} objects there: {', '.join(sorted(set(here))[:8])}")
    where = f" in namespace {namespace}" if kind.namespaced else ""
    if kind.namespaced and len(asked.places) > 1 and kind != kinds.SERVICE:
        where += f", and no {asked.places[0][1]} in namespace {asked.places[0][0]}"
    if len({item.name for item in asked.kinds}) == 1 and not here and not elsewhere:
        others = [item for item in kinds.ALL if item.name == kind.name and item not in asked.kinds]
        there = [item for item in others if any(obj.name == name for obj in world.all(item, optional=True))]
        hints += [
            f"there is a {item.name} of {item.group or 'the core group'} of that name" for item in there
        ]
    return NotFoundError(f"no {kind.name} {name}{where}", subject=asked.text, hint="; ".join(hints))
