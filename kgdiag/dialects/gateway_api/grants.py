"""ReferenceGrants: who may refer into another namespace.

Source: gateway-api apis/v1beta1/referencegrant_types.go: a grant lies in the namespace that is referred to,
all its ``from`` and all its ``to`` hold for each other, ``to.name`` empty is every name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj


def granted(
    world: World, source: tuple[str, str, str], target: tuple[str, str, str, str]
) -> bool | None:  # fmt: skip
    """Whether an object of ``source`` (group, kind, namespace) may refer to ``target`` (group, kind,
    namespace, name). None: the grants of the target's namespace could not be read, or files lack them.

    References within a namespace need no grant.
    """
    if source[2] == target[2]:
        return True
    if any(_grants(grant, source, target) for grant in world.all(kinds.REFERENCE_GRANT, target[2])):
        return True
    unknown = (Missing.UNREADABLE, Missing.NOT_IN_FILES)
    return None if world.missing(kinds.REFERENCE_GRANT, target[2]) in unknown else False


def granting(
    world: World, source: tuple[str, str, str], target: tuple[str, str, str, str]
) -> Obj | None:  # fmt: skip
    """The grant that allows a reference, None where there is none."""
    grants = world.all(kinds.REFERENCE_GRANT, target[2])
    return next((grant for grant in grants if _grants(grant, source, target)), None)


def _grants(grant: Obj, source: tuple[str, str, str], target: tuple[str, str, str, str]) -> bool:
    return any(_from(entry, source) for entry in grant.maps("spec.from")) and any(
        _to(entry, target) for entry in grant.maps("spec.to")
    )


def _from(entry: Mapping[str, Any], source: tuple[str, str, str]) -> bool:
    return (entry.get("group") or "", entry.get("kind"), entry.get("namespace")) == source


def _to(entry: Mapping[str, Any], target: tuple[str, str, str, str]) -> bool:
    if (entry.get("group") or "", entry.get("kind")) != target[:2]:
        return False
    return entry.get("name") in (None, "", target[3])
