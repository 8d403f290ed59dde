"""What rules share: what a missing object means, near names, words for ports and labels, proofs.

Semantics of a control plane stand in its dialect; here is only how rules speak of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from kgdiag.graph.core import ServicePort, selector_of, service_ports
from kgdiag.graph.world import Missing, World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Match, Severity
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.read import Origin
from kgdiag.model.ref import Ref
from kgdiag.rules.base import Scope

CONTROLLED = ("Revision", "ServerlessService", "PodAutoscaler", "Ingress", "Route", "InferenceService")


def known(world: World, kind: Kind, namespace: str) -> bool:
    """Whether nothing found of a kind in a namespace means that there is nothing."""
    if _mixed(world, namespace):
        return False
    return world.missing(kind, namespace) in (Missing.GONE, Missing.NO_KIND)


def _mixed(world: World, namespace: str) -> bool:
    """Whether a namespace of files may hold things of several: objects without one are put into it, and
    nobody says that this is where all of them are applied."""
    return world.origin is Origin.FILES and not world.complete and namespace == "default"


def known_everywhere(world: World, kind: Kind) -> bool:
    """Whether nothing found of a kind in any namespace means that there is nothing."""
    return whole_cluster(world) and world.readable(kind)


def whole_cluster(world: World) -> bool:
    """Whether all that a cluster has can be seen: not so for files that nobody calls complete."""
    return world.complete or world.origin is not Origin.FILES


def gone_or_unseen(world: World, kind: Kind, namespace: str, name: str) -> tuple[Severity | None, str]:
    """What to say of a reference to an object that was not found: severity and the words of it.

    None says nothing: the object could not be read, and the reader is told so elsewhere.
    """
    match world.missing(kind, namespace, name):
        case Missing.GONE if _mixed(world, namespace):
            return Severity.INFO, "is not in these files"
        case Missing.GONE:
            return Severity.ERROR, "does not exist"
        case Missing.NO_KIND:
            return Severity.ERROR, f"cannot exist: the cluster does not have the kind {kind}"
        case Missing.NOT_IN_FILES:
            return Severity.INFO, "is not in these files"
    return None, ""


def near(name: str, candidates: Iterable[str], count: int = 1) -> list[str]:
    """The candidates nearest to a name, best first; nothing where none is near."""
    return get_close_matches(name, sorted({str(one) for one in candidates}), n=count, cutoff=0.75)


def namesakes(world: World, kind: Kind, name: str, *, but: str = "") -> list[Obj]:
    """Objects of this name in other namespaces, as far as all namespaces were read."""
    # Secrets and ConfigMaps are read by name alone: of them only those count that something else asked for.
    one_by_one = kind in (kinds.SECRET, kinds.CONFIG_MAP)
    everything = world.known(kind) if one_by_one else world.all(kind, optional=True)

    def index() -> dict[str, list[Obj]]:
        found: dict[str, list[Obj]] = {}
        for obj in everything:
            found.setdefault(obj.name, []).append(obj)
        return found

    by_name = world.memo(("namesakes", kind), index)
    return [obj for obj in by_name.get(name, ()) if obj.namespace != but]


def group_by(
    world: World, key: object, items: Sequence[Obj], keys: Callable[[Obj], Iterable[Any]]
) -> dict[Any, list[Obj]]:
    """Objects by each of their keys, as text; made once a World."""

    def collect() -> dict[Any, list[Obj]]:
        found: dict[Any, list[Obj]] = {}
        for item in items:
            for value in dict.fromkeys(str(key) for key in keys(item)):
                found.setdefault(value, []).append(item)
        return found

    return world.memo(key, collect)


def labels_text(labels: Mapping[str, Any]) -> str:
    """``app=web,tier=front``, as kubectl takes selectors."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def port_text(port: ServicePort) -> str:
    """``80→8081``, or ``80`` where the target is the same number."""
    return str(port.port) if port.target == port.port else f"{port.port}→{port.target}"


def ports_text(service: Obj) -> str:
    """All ports of a Service in its own order."""
    return ", ".join(
        port_text(port) + (f" ({port.name})" if port.name else "") for port in service_ports(service)
    )


def listed(words: Iterable[str], limit: int = 3) -> str:
    """``a, b and c``; more than the limit are counted."""
    names = list(dict.fromkeys(words))
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def texts(value: Any) -> list[str]:
    """The entries of a list as text; nothing where the value is no list."""
    return [str(item) for item in value] if isinstance(value, list) else []


def mappings(value: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The entries of a list that are objects, with their index."""
    for at, item in enumerate(value if isinstance(value, list) else ()):
        if type(item) is dict or isinstance(item, Mapping):
            yield at, item


def owned_by_controller(obj: Obj) -> bool:
    """Whether a controller of Knative or KServe keeps the object, so that a person cannot mend it there."""
    return any(owner.get("kind") in CONTROLLED for owner in obj.maps("metadata.ownerReferences"))


def workload_name(pod: Obj) -> str:
    """The name people know a pod by: its ``app`` label or the like, else its own name."""
    for key in ("app", "app.kubernetes.io/name", "k8s-app", "istio"):
        if value := pod.labels.get(key):
            return str(value)
    return pod.name


# -- proofs --------------------------------------------------------------------------------------------


def prove_selector(service: Obj) -> Command:
    """The Service's selector, as the API has it."""
    selector = dict(selector_of(service))
    return commands.get(
        kinds.SERVICE, service.namespace, service.name, jsonpath=".spec.selector",
        expect=f"the selector {labels_text(selector)}", match=Match.JSON,
        value=json.dumps(selector, separators=(",", ":")),
    )  # fmt: skip


def prove_no_pods(namespace: str, labels: Mapping[str, Any]) -> Command:
    """That no pod of the namespace has these labels."""
    wanted = {key: str(value) for key, value in labels.items()}
    return commands.get(
        kinds.POD, namespace, labels=wanted, names_only=True, expect="no pod", match=Match.EMPTY
    )


def prove_pods(namespace: str, labels: Mapping[str, Any], some: str) -> Command:
    """That this pod is among the pods with these labels."""
    wanted = {key: str(value) for key, value in labels.items()}
    return commands.get(
        kinds.POD, namespace, labels=wanted, names_only=True, expect=f"pods, pod/{some} among them",
        match=Match.CONTAINS, value=f"pod/{some}",
    )  # fmt: skip


def prove_gone(kind: Kind, namespace: str, name: str) -> Command:
    """That an object does not exist: kubectl says so on standard error."""
    return commands.get(
        kind, namespace, name, expect="NotFound", match=Match.CONTAINS, value="NotFound", names_only=True
    )


def prove_ports(service: Obj) -> Command:
    """The Service's port numbers."""
    numbers = " ".join(str(port.port) for port in service_ports(service))
    return commands.get(
        kinds.SERVICE, service.namespace, service.name, jsonpath=".spec.ports[*].port",
        expect=f"the ports {numbers}", match=Match.EQUALS, value=numbers,
    )  # fmt: skip


def prove_field(obj: Obj, jsonpath: str, value: str, expect: str) -> Command:
    """A text field of an object."""
    return commands.get(
        obj.kind, obj.namespace, obj.name, jsonpath=jsonpath, expect=expect, match=Match.EQUALS, value=value
    )


def prove_secret(secret: Obj) -> Command:
    """That a Secret exists, without its values."""
    return commands.get(
        kinds.SECRET, secret.namespace, secret.name, names_only=True, expect=f"secret/{secret.name}",
        match=Match.EQUALS, value=f"secret/{secret.name}",
    )  # fmt: skip


def prove_config(config: Obj, key: str) -> Command:
    """A key of a ConfigMap."""
    escaped = key.replace(".", "\\.")
    return commands.get(
        kinds.CONFIG_MAP, config.namespace, config.name, jsonpath=f".data.{escaped}",
        expect=f"the value of {key}", match=Match.ANY,
    )  # fmt: skip


def config_in_scope(world: World, scope: Scope, namespace: str, name: str) -> Obj | None:
    """A ConfigMap where the scope has it."""
    ref = Ref("", "ConfigMap", namespace, name)
    if scope.objects and ref not in scope.objects:
        return None
    if scope.namespaces is not None and namespace not in scope.namespaces:
        return None
    return world.get(kinds.CONFIG_MAP, namespace, name, optional=True)
