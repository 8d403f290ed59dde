"""Chains of objects that controllers make of each other: where each link stands, and which one blocks.

Sources: knative/serving pkg/reconciler (names of what is made), kserve/kserve pkg/controller/v1beta1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kgdiag.explain.base import Context, Draft, standing
from kgdiag.explain.words import absent, readiness
from kgdiag.graph.world import Missing
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.read import Origin
from kgdiag.model.ref import Ref

_WORKLOADS = ("Deployment", "StatefulSet")


@dataclass(frozen=True)
class Step:
    """One link. ``depth`` orders blame: the deepest link that says no is the one that blocks."""

    ref: Ref
    obj: Obj | None
    missing: Missing | None
    what: str
    depth: int
    expected: bool = True  # whether its controller always makes it

    @property
    def state(self) -> str:
        """Its own word, or that it is not there."""
        if self.obj is None:
            return absent(self.missing) if self.missing else ""
        said = standing(self.obj)
        worst = _worst(self.obj)
        return f"{said}: {worst}" if worst and "Ready=" in said else said or "exists"

    @property
    def blocks(self) -> bool:
        """Whether it is known to be the reason, or a reason, why nothing works."""
        if self.obj is None:
            return self.expected and self.missing is Missing.GONE
        if self.ref.kind in _WORKLOADS:
            wanted, status = self.obj.get("spec.replicas", 1), self.obj.mapping("status")
            return bool(status) and bool(wanted) and not status.get("readyReplicas")
        said = standing(self.obj)
        return said.startswith("Ready=")


def _worst(obj: Obj) -> str:
    """The condition below Ready that says no, with its reason and message."""
    for status in ("False", "Unknown"):
        for item in obj.maps("status.conditions"):
            if item.get("status") == status and item.get("type") != "Ready":
                text = str(item.get("message") or item.get("reason") or "")
                return f"{item.get('type')}={status}, {' '.join(text.split())[:160]}"
    return ""


def step(
    context: Context, kind: Kind, namespace: str, name: str, what: str, depth: int, *, expected: bool = True
) -> Step:
    """One link by its kind and name."""
    obj = context.world.get(kind, namespace, name, optional=True)
    ref = Ref(kind.group, kind.name, namespace if kind.namespaced else "", name)
    missing = None if obj else context.world.missing(kind, namespace, name)
    if missing is Missing.GONE and context.world.origin is Origin.FILES:
        missing = Missing.NOT_IN_FILES  # what controllers make is seldom written down
    return Step(ref, obj, missing, what, depth, expected)


def knative(context: Context, namespace: str, name: str, depth: int = 0) -> Iterator[Step]:
    """What Knative makes of a Service: Configuration, Revision, Deployment; Route, KIngress and the rest."""
    yield step(context, kinds.KNATIVE_SERVICE, namespace, name, "what is deployed", depth)
    configuration = step(context, kinds.KNATIVE_CONFIGURATION, namespace, name, "its template", depth + 4)
    yield configuration
    revision = ""
    if configuration.obj is not None:
        revision = configuration.obj.text("status.latestCreatedRevisionName") or configuration.obj.text(
            "status.latestReadyRevisionName"
        )
    if revision:
        yield step(context, kinds.KNATIVE_REVISION, namespace, revision, "its newest version", depth + 5)
        yield from pods(context, namespace, f"{revision}-deployment", depth + 6)
        yield step(
            context,
            kinds.SERVERLESS_SERVICE,
            namespace,
            revision,
            mode(context, namespace, revision),
            depth + 5,
        )
    yield from route(context, namespace, name, depth)


def route(context: Context, namespace: str, name: str, depth: int = 0) -> Iterator[Step]:
    """What Knative makes of a Route."""
    yield step(context, kinds.KNATIVE_ROUTE, namespace, name, "its hosts and shares", depth + 1)
    yield step(
        context, kinds.KNATIVE_INGRESS, namespace, name, "what the ingress controller is told", depth + 2
    )
    for suffix, what in (("ingress", "its routes at the gateways"), ("mesh", "its routes for sidecars")):
        found = step(
            context, kinds.VIRTUAL_SERVICE, namespace, f"{name}-{suffix}", what, depth + 3, expected=False
        )
        if found.obj is not None:
            yield found


def mode(context: Context, namespace: str, revision: str) -> str:
    """Whether the activator is in the way of a revision's requests."""
    sks = context.world.get(kinds.SERVERLESS_SERVICE, namespace, revision, optional=True)
    how = sks.text("spec.mode") if sks else ""
    return {
        "Proxy": "mode Proxy: requests go through the activator",
        "Serve": "mode Serve: requests go to the pods directly",
    }.get(how, "who takes its requests")


def pods(context: Context, namespace: str, name: str, depth: int) -> Iterator[Step]:
    """A Deployment that a controller makes, with its pods in the words."""
    found = step(context, kinds.DEPLOYMENT, namespace, name, "its pods", depth)
    labels = found.obj.mapping("spec.selector.matchLabels") if found.obj else {}
    if labels:
        running = context.world.select(
            kinds.POD, namespace, {str(key): str(val) for key, val in labels.items()}, optional=True
        )
        words = readiness(running) if running else "no pods now (scaled to zero)"
        found = Step(found.ref, found.obj, found.missing, f"its pods: {words}", depth)
    yield found


def called(ref: Ref) -> str:
    """``Knative Service iris``: kinds that share a name with another group's say whose they are."""
    owner = (
        "Knative "
        if ref.group.endswith("knative.dev") and ref.kind in ("Service", "Ingress", "Route")
        else ""
    )
    return f"{owner}{ref.kind} {ref.name}"


def blocking(steps: Iterable[Step]) -> Step | None:
    """The deepest link that says no: mended, those above it follow."""
    bad = [item for item in steps if item.blocks]
    return max(bad, key=lambda item: item.depth, default=None)


def show(context: Context, steps: Sequence[Step], draft: Draft, title: str = "Chain") -> Step | None:
    """The chain as a table, and its links as relations; the blocking link is marked and given back."""
    guilty = blocking(steps)
    seen = [item for item in steps if item.obj is not None or item.missing is not Missing.NOT_IN_FILES]
    rows = [(called(item.ref), ("✗ " if item is guilty else "") + item.state, item.what) for item in seen]
    draft.table(title, ("object", "state", "what it is"), rows)
    for item in seen[1:]:
        if item.obj is not None or item.expected:
            draft.link(context, "made-of", item.ref)
    return guilty


def verdict(name: str, obj: Obj, guilty: Step | None, more: Sequence[str] = ()) -> str:
    """``… is ready; …``, or what blocks it."""
    said = standing(obj)
    if guilty is not None:
        kind = called(guilty.ref)
        if guilty.ref == obj.ref:
            return f"{name} is not ready: {guilty.state}"
        return f"{name} is blocked by {kind}: {guilty.state}"
    how = "is ready" if said == "Ready" else f"says {said}" if said else "has no status yet"
    return "; ".join([f"{name} {how}", *more])
