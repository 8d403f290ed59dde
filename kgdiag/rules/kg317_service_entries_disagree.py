"""ServiceEntries that disagree about one host and port

## What it finds
Two ServiceEntries that everybody is shown with the same host and port number and another protocol or
resolution.

## Why it matters
A proxy has one cluster for a host and port: which of the two it is made of depends on the namespace of the
client and on age. With another protocol, HTTP rules are applied or not by luck; with another resolution,
requests go to other addresses, or get 503.

## How to prove it
`istioctl proxy-config clusters POD -n NAMESPACE --fqdn HOST -o json` shows the type of the one that won.

## How to fix it
Keep one ServiceEntry for the host.

## What it does not report
ServiceEntries with an `exportTo` that keeps them apart. Files that are not a whole cluster: they may be
alternatives.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.registry import Port, Service, entries
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import prove_field, whole_cluster


@rule(
    "KG317", "service-entries-disagree", Severity.WARNING, needs=(kinds.SERVICE_ENTRY,),
    about=(kinds.SERVICE_ENTRY,), equivalents=("IST0177", "KIA1211", "KIA1212"),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each later ServiceEntry and host."""
    wanted = {entry.ref for entry in scope.all(world, kinds.SERVICE_ENTRY)}
    if not wanted or not whole_cluster(world):
        return
    first: dict[tuple[str, int], tuple[Service, Port]] = {}
    said = set()
    for service in entries(world, mesh_of(world)):
        if service.export_to and "*" not in service.export_to:
            continue
        for port in service.ports:
            before, other = first.setdefault((service.host, port.number), (service, port))
            if before.obj.ref == service.obj.ref or (service.obj.ref, service.host) in said:
                continue
            how = _difference(before, other, service, port)
            if how[0] and service.obj.ref in wanted:
                said.add((service.obj.ref, service.host))
                yield _finding(self, before, service, port, how)


def _difference(before: Service, other: Port, service: Service, port: Port) -> tuple[str, str]:
    """(field, words), empty where the two agree."""
    if other.protocol != port.protocol:
        return f"spec.ports[{port.index}].protocol", f"protocol {port.protocol or 'unknown'}, not " + (
            other.protocol or "unknown"
        )
    if before.resolution is not service.resolution:
        mine, theirs = (one.obj.text("spec.resolution", "NONE") for one in (service, before))
        return "spec.resolution", f"resolution {mine}, not {theirs}"
    return ("", "")


def _finding(self: Rule, before: Service, service: Service, port: Port, how: tuple[str, str]) -> Finding:
    field, words = how
    return self.finding(
        service.obj.ref,
        f"{before.obj.ref} has {service.host}:{port.number} too, and this one says {words}: which of the two "
        "a client gets depends on its namespace and on their age",
        evidence=[service.obj.evidence(field), before.obj.evidence("spec")],
        fix=f"keep one of them for {service.host}",
        verify=[prove_field(service.obj, ".spec.resolution", service.obj.text("spec.resolution"), "its own")],
    )
