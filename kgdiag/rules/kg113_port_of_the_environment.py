"""App told to listen on another port than the Service's targetPort

## What it finds
A container whose environment says on which port it listens (`PORT`, `WEB_PORT`, `API_PORT`, `HTTP_PORT`,
`SERVER_PORT`, `LISTEN_PORT`; written out or taken from a ConfigMap), while a Service's numeric `targetPort`
is another number that no container declares.

## Why it matters
Nothing listens on the target port: connections are refused, a proxy answers 503, although the pod is ready.
A ConfigMap that was changed without the Service, or without a restart of the pods, looks like that.

## How to prove it
`kubectl exec POD -n NAMESPACE -- env | grep PORT` beside the Service's `targetPort`.

## How to fix it
Set `targetPort` to the number in the environment, or the other way round.

## What it does not report
Services with a named target port, containers with several such variables of different values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kgdiag.graph.core import containers, is_assumed, pods_of, service_ports
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import mappings, port_text

_NAMES = ("PORT", "WEB_PORT", "API_PORT", "HTTP_PORT", "SERVER_PORT", "LISTEN_PORT")


@rule(
    "KG113", "port-of-the-environment", Severity.WARNING, needs=(kinds.SERVICE, kinds.POD),
    about=(kinds.SERVICE,),
    names=(kinds.CONFIG_MAP,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Service whose port is not where its app listens."""
    for service in scope.all(world, kinds.SERVICE):
        ports = service_ports(service)
        if len(ports) != 1 or not isinstance(ports[0].target, int):
            continue
        for pod in pods_of(world, service)[:1]:
            told = dict(_told(world, pod))
            declared = {
                number
                for container in containers(pod)
                for _, entry in mappings(container.get("ports"))
                if isinstance(number := entry.get("containerPort"), int)
            }
            if len(set(told.values())) != 1 or ports[0].target in (*told.values(), *declared):
                continue
            name, number = next(iter(told.items()))
            yield self.finding(
                service.ref,
                f"port {port_text(ports[0])}: the app of {pod.name} is told to listen on {number} ({name}), "
                f"and no container declares {ports[0].target}: connections are refused",
                evidence=[
                    service.evidence("spec.ports[0].targetPort"),
                    pod.evidence("spec.containers[0].env"),
                ],
                fix=f"set spec.ports[0].targetPort of {service.ref} to {number}",
                verify=[
                    commands.get(
                        kinds.POD, pod.namespace, "" if is_assumed(pod) else pod.name,
                        labels=pod.labels if is_assumed(pod) else None,
                        jsonpath=".items[*].spec.containers[*].ports[*].containerPort"
                        if is_assumed(pod) else ".spec.containers[*].ports[*].containerPort",
                        expect=f"no {ports[0].target}", match=Match.LACKS, value=str(ports[0].target),
                    )
                ],
            )  # fmt: skip


def _told(world: World, pod: Obj) -> Iterator[tuple[str, int]]:
    """Variables that say on which port the app listens, with their numbers."""
    for container in pod.maps("spec.containers"):
        for _, source in mappings(container.get("envFrom")):
            ref = source.get("configMapRef")
            if isinstance(ref, Mapping):
                config = world.get(kinds.CONFIG_MAP, pod.namespace, str(ref.get("name")), optional=True)
                data = config.mapping("data") if config else {}
                prefix = str(source.get("prefix") or "")
                yield from _numbers({f"{prefix}{key}": value for key, value in data.items()})
        for _, entry in mappings(container.get("env")):
            if entry.get("name") in _NAMES:
                yield from _numbers({str(entry["name"]): _value(world, pod, entry)})


def _value(world: World, pod: Obj, entry: Mapping[str, object]) -> object:
    if entry.get("value") is not None:
        return entry["value"]
    source = entry.get("valueFrom")
    ref = source.get("configMapKeyRef") if isinstance(source, Mapping) else None
    if not isinstance(ref, Mapping):
        return None
    config = world.get(kinds.CONFIG_MAP, pod.namespace, str(ref.get("name")), optional=True)
    return config.get(("data", str(ref.get("key")))) if config else None


def _numbers(values: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    for name, value in values.items():
        if name in _NAMES and str(value).strip(":").isdigit():
            yield name, int(str(value).strip(":"))
