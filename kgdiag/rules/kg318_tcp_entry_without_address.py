"""ServiceEntry for TCP that takes the whole port

## What it finds
A ServiceEntry with a TCP port (or MongoDB, MySQL, Redis) and no `addresses`, where another ServiceEntry has
a TCP port of the same number without addresses.

## Why it matters
TCP has no Host header: without an address the sidecar listens for the port on all addresses, and every
connection to this port that nothing more specific takes goes to the ServiceEntry that comes first.

## How to prove it
`istioctl proxy-config listeners POD -n NAMESPACE --port PORT` shows 0.0.0.0 and one cluster.

## How to fix it
Give each an address (`addresses`), or let Istio allocate them (DNS capture), or use TLS with SNI routing.

## What it does not report
Entries that Istio has allocated an address for (`status.addresses`). One such entry alone is a fact. Files
that are not a whole cluster: they may be alternatives.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.registry import Port, Service, entries
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import listed, prove_field, whole_cluster

_TCP = frozenset({"TCP", "MONGO", "MYSQL", "REDIS"})


@rule(
    "KG318", "tcp-entry-without-address", Severity.WARNING, needs=(kinds.SERVICE_ENTRY,),
    about=(kinds.SERVICE_ENTRY,), equivalents=("IST0134",),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each ServiceEntry with such a port."""
    wanted = {entry.ref for entry in scope.all(world, kinds.SERVICE_ENTRY)}
    if not wanted:
        return
    by_port: dict[int, dict[object, tuple[Service, Port]]] = {}
    for service in entries(world, mesh_of(world)):
        for port in service.ports:
            if port.protocol in _TCP and not service.addresses and not service.allocated:
                by_port.setdefault(port.number, {}).setdefault(service.obj.ref, (service, port))
    for number, found in by_port.items():
        first = next(iter(found.values()))[0]
        for service, port in found.values():
            if service.obj.ref in wanted:
                others = [one for one, _ in found.values() if one is not service]
                yield _finding(self, world, service, port, number, first, others)


def _finding(
    self: Rule, world: World, service: Service, port: Port, number: int, first: Service,
    others: list[Service],
) -> Finding:  # fmt: skip
    obj = service.obj
    if others:
        names = listed(str(one.obj.ref) for one in others)
        mine = "this one, which is older" if first is service else str(first.obj.ref)
        words = f"and so has {names}: all connections to port {number} go to {mine}"
    else:
        words = f"every TCP connection to port {number} that nothing else takes goes to it"
    return self.finding(
        obj.ref,
        f"port {number} ({port.protocol}) has no address, {words}",
        severity=Severity.WARNING if others and whole_cluster(world) else Severity.INFO,
        evidence=[
            obj.evidence(f"spec.ports[{port.index}]"),
            *(one.obj.evidence("spec.ports") for one in others),
        ],
        fix="give each of them spec.addresses",
        verify=[prove_field(obj, ".spec.addresses", "", "nothing")] if others else [],
    )
