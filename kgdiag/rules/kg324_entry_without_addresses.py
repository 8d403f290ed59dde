"""Gateway that sends to a ServiceEntry which says no address

## What it finds
A VirtualService on a gateway whose destination is a ServiceEntry with `resolution: NONE` (or none given) and
without endpoints.

## Why it matters
NONE sends to the address that the client itself had chosen: a sidecar knows it, a gateway does not, since
its clients have connected to the gateway. The gateway's cluster has no endpoints: 503 with flag UH.

## How to prove it
`istioctl proxy-config endpoints POD -n NAMESPACE` at the gateway has none for the host.

## How to fix it
`resolution: DNS`, or STATIC with endpoints.

## What it does not report
Entries with endpoints or a workloadSelector. VirtualServices for sidecars.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.registry import Resolution
from kgdiag.dialects.istio.routes import gateways_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import prove_field, whole_cluster
from kgdiag.rules.istio import destinations, services_named


@rule(
    "KG324", "entry-without-addresses", Severity.ERROR, needs=(kinds.VIRTUAL_SERVICE, kinds.SERVICE_ENTRY),
    about=(kinds.SERVICE_ENTRY,), reads=(kinds.SERVICE, *MESH_READS), names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such ServiceEntry."""
    wanted = {
        entry.ref
        for entry in scope.all(world, kinds.SERVICE_ENTRY)
        if entry.text("spec.resolution", "NONE") == "NONE"
        and not entry.items("spec.endpoints")
        and not entry.mapping("spec.workloadSelector")
    }
    if not wanted:
        return
    mesh = mesh_of(world)
    for route in world.all(kinds.VIRTUAL_SERVICE):
        if gateways_of(route) == ("mesh",):
            continue
        for destination in destinations(mesh, route):
            for found in services_named(world, mesh, destination.full)[:1]:
                if found.obj.ref not in wanted or found.resolution is not Resolution.PASSTHROUGH:
                    continue
                if destination.part.split(".")[1].startswith("tls") and found.host.startswith("*"):
                    continue
                wanted.discard(found.obj.ref)
                yield self.finding(
                    found.obj.ref,
                    f"resolution NONE sends to the address that the client chose, which a gateway does not "
                    f"know: {route.ref} leads there from a gateway, and gets 503 (UH)",
                    severity=Severity.ERROR if whole_cluster(world) else Severity.INFO,
                    evidence=[
                        found.obj.evidence("spec.resolution"),
                        route.evidence(f"{destination.part}.host"),
                    ],
                    fix="set spec.resolution to DNS, or to STATIC with endpoints",
                    verify=[
                        prove_field(
                            found.obj,
                            ".spec.resolution",
                            found.obj.text("spec.resolution"),
                            "NONE or nothing",
                        )
                    ],
                )
