"""Pods that files only imply: those of workloads whose pods are not in the files.

A running cluster has pods; manifests have their templates. Each workload that asks for replicas and has no
pod in the files gets one stand-in, named like the workload, with the annotation ``kgdiag.dev/assumed``. It is
taken for running and ready unless the workload's own status says that none is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kgdiag.graph.core import ASSUMED
from kgdiag.graph.labels import matches
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.read import Need, Origin, Read, Source, Status

_WORKLOADS = (kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.REPLICA_SET)


class AssumedPods:
    """A source of files with the stand-ins added to what it says of pods."""

    def __init__(self, inner: Source) -> None:
        self._inner = inner
        self._pods = _stand_ins(inner)

    @property
    def origin(self) -> Origin:
        return self._inner.origin

    def read(self, needs: list[Need]) -> list[Read]:
        """As the inner source does, with stand-ins in the reads of pods."""
        return [self._with_pods(read) for read in self._inner.read(needs)]

    def _with_pods(self, read: Read) -> Read:
        need = read.need
        if need.kind != kinds.POD or read.status is not Status.OK:
            return read
        extra = tuple(
            pod
            for pod in self._pods
            if (need.namespace is None or pod.namespace == need.namespace)
            and (need.name is None or pod.name == need.name)
            and all(pod.labels.get(key) == value for key, value in need.labels)
        )
        known = {pod.ref for pod in read.objects}
        return Read(
            need, read.status, (*read.objects, *(pod for pod in extra if pod.ref not in known)), read.message
        )


def _stand_ins(source: Source) -> list[Obj]:
    reads = source.read([Need(kind) for kind in (*_WORKLOADS, kinds.POD)])
    by_kind: dict[Kind, tuple[Obj, ...]] = {read.need.kind: read.objects for read in reads}
    pods: dict[str, list[Obj]] = {}
    for pod in by_kind[kinds.POD]:
        pods.setdefault(pod.namespace, []).append(pod)
    found = []
    for kind in _WORKLOADS:
        for workload in by_kind[kind]:
            if kind == kinds.REPLICA_SET and workload.maps("metadata.ownerReferences"):
                continue
            real = pods.get(workload.namespace, ())
            selector = workload.mapping("spec.selector")
            if workload.get("spec.replicas", 1) == 0 or (
                selector and any(matches(selector, pod.labels) for pod in real)
            ):
                continue
            found.append(_stand_in(workload))
    return found


def _stand_in(workload: Obj) -> Obj:
    template = workload.mapping("spec.template")
    meta = template.get("metadata")
    meta = meta if isinstance(meta, Mapping) else {}
    annotations = meta.get("annotations")
    raw: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **meta,
            "name": workload.name,
            "namespace": workload.namespace,
            "annotations": {
                **(annotations if isinstance(annotations, Mapping) else {}),
                ASSUMED: f"{workload.kind.name} {workload.namespace}/{workload.name}",
            },
        },
        "spec": template.get("spec") or {},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(_any_ready(workload))}],
        },
    }
    return Obj(kinds.POD, raw, workload.place)


def _any_ready(workload: Obj) -> bool:
    """Whether the workload's status leaves room for a ready pod; no status says nothing against it."""
    status = workload.mapping("status")
    wanted = status.get("replicas", status.get("desiredNumberScheduled"))
    ready = status.get("readyReplicas", status.get("numberReady", 0))
    return not wanted or bool(ready)
