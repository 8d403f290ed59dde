"""VirtualService that the gateway is not shown

## What it finds
A VirtualService whose `exportTo` (or the mesh's default) leaves out the namespace of the gateway pods that
it is bound to.

## Why it matters
The gateway never hears of it: requests for its hosts get 404 with flag NR.

## How to prove it
`kubectl get vs NAME -n NAMESPACE -o jsonpath='{.spec.exportTo}'` lacks the namespace of the gateway pods.

## How to fix it
Add that namespace, or `*`, to `exportTo`.

## What it does not report
VirtualServices bound to `mesh` only.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import mesh_of, visible
from kgdiag.dialects.istio.routes import export_to, gateways_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import listed, prove_field
from kgdiag.rules.istio import find_gateway, gateway_pods


@rule(
    "KG206", "not-exported-to-gateway", Severity.ERROR,
    needs=(kinds.VIRTUAL_SERVICE, kinds.ISTIO_GATEWAY, kinds.POD), about=(kinds.VIRTUAL_SERVICE,),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each VirtualService and gateway that does not see it."""
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        if not route.items("spec.exportTo"):
            continue
        for name in gateways_of(route):
            gateway = find_gateway(world, name) if name != "mesh" else None
            pods = gateway_pods(world, gateway) if gateway else []
            hidden = [
                pod
                for pod in pods
                if not visible(export_to(route, mesh_of(world, pod)), route.namespace, pod.namespace)
            ]
            if pods and len(hidden) == len(pods):
                where = hidden[0].namespace
                shown = [str(item) for item in route.items("spec.exportTo")]
                yield self.finding(
                    route.ref,
                    f"exportTo {listed(shown)} does not show it to the pods of Gateway {name}, which run in "
                    f"{where}: requests for its hosts get 404 (NR) there",
                    evidence=[route.evidence("spec.exportTo"), route.evidence("spec.gateways")],
                    fix=f"add {where} to spec.exportTo",
                    verify=[
                        prove_field(
                            route, ".spec.exportTo[*]", " ".join(shown), f"{' '.join(shown)}, without {where}"
                        )
                    ],
                )
