"""Words that explainers share: counts, names, ports, labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kgdiag.graph.core import ServicePort, is_assumed, is_ready, resolve_target
from kgdiag.graph.world import Missing, World
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref
from kgdiag.rules.common import known_everywhere, labels_text, listed, workload_name

__all__ = [
    "absent", "count", "known_as", "labels_text", "listed", "many", "named", "names", "pods_text",
    "port_text", "readiness", "seen", "seen_anywhere", "target_text", "workload_name",
]  # fmt: skip

_IRREGULAR = {"is": "are", "was": "were", "has": "have", "does": "do"}


def many(number: int, word: str) -> str:
    """The word, in the plural where it has to be."""
    if number in (0, 1):
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}{'es' if word.endswith(('s', 'x', 'ch')) else 's'}"


def count(number: int, word: str) -> str:
    """``1 pod``, ``2 pods``, ``no pod``."""
    return f"no {word}" if number == 0 else f"{number} {many(number, word)}"


def readiness(pods: Sequence[Obj]) -> str:
    """``2/3 ready``; pods that only files imply are said to be assumed."""
    known = "assumed ready" if pods and all(is_assumed(pod) for pod in pods) else "ready"
    return f"{sum(is_ready(pod) for pod in pods)}/{len(pods)} {known}"


def pods_text(pods: Sequence[Obj]) -> str:
    """``cluster-local-gateway pods (1/1 ready)``, or the several names that the pods have."""
    if not pods:
        return "no pod"
    kinds = sorted({known_as(pod) for pod in pods})
    return f"{listed(kinds)} {many(2, 'pod')} ({readiness(pods)})"


def known_as(pod: Obj) -> str:
    """The name that people know a pod by: its app label or the like, else its workload's."""
    name = workload_name(pod)
    if name != pod.name:
        return name
    for owner in pod.maps("metadata.ownerReferences"):
        above = str(owner.get("name") or "")
        if above:
            return above.rpartition("-")[0] if owner.get("kind") == "ReplicaSet" and "-" in above else above
    return name


_ABSENT = {
    Missing.GONE: "does not exist",
    Missing.NOT_IN_FILES: "is not in these files",
    Missing.UNREADABLE: "could not be read",
    Missing.NO_KIND: "does not exist: its kind is not installed",
}


def absent(missing: Missing) -> str:
    """What an object does that was not found: ``does not exist``."""
    return _ABSENT[missing]


def seen(world: World, kind: Kind, namespace: str) -> str:
    """What to add to "no pod" where more may exist than was read."""
    missing = world.missing(kind, namespace)
    if missing is Missing.UNREADABLE:
        return " that can be seen"
    return " in these files" if missing is Missing.NOT_IN_FILES else ""


def seen_anywhere(world: World, kind: Kind) -> str:
    """As ``seen``, for objects of all namespaces."""
    if not world.readable(kind):
        return " that can be seen"
    return "" if known_everywhere(world, kind) else " in these files"


def named(ref: Ref) -> str:
    """``namespace/name``, the name alone for what has no namespace."""
    return f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name


def names(objects: Iterable[Obj | Ref], limit: int = 3) -> str:
    """``a/b, a/c and 2 more``."""
    return listed((named(item.ref if isinstance(item, Obj) else item) for item in objects), limit)


def port_text(port: ServicePort) -> str:
    """``80 http2``, the name left out where there is none."""
    return f"{port.port} {port.name}".rstrip()


def target_text(port: ServicePort, pods: Sequence[Obj]) -> str:
    """``→ 8081``; a named port with the numbers that it has on the pods."""
    if isinstance(port.target, int):
        return f"→ {port.target}"
    numbers = sorted({number for pod in pods if (number := resolve_target(pod, port)) is not None})
    if not pods:
        return f"→ {port.target}"
    found = "/".join(map(str, numbers)) or "no container port has this name"
    return f"→ {port.target} = {found}"


def pairs(labels: Mapping[str, object]) -> list[str]:
    """``key=value`` of each label."""
    return [f"{key}={value}" for key, value in labels.items()]
