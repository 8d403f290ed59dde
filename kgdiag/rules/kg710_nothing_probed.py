"""Knative gateway that nobody probes

## What it finds
A Gateway of Knative's configuration (mostly the local one, port 8081) for which net-istio finds nothing to
probe: it looks for a Service whose *labels* hold the Gateway's selector and which has the server's number as
a port.

## Why it matters
With an empty list net-istio calls the ingress ready at once: Ready=True of a Knative Service says nothing of
this gateway. The first request from inside finds out.

## How to prove it
`kubectl get services -A -l SELECTOR` and their ports; then a request from a pod of the mesh.

## How to fix it
Nothing has to be mended: do not take Ready for a proof, and trace the in-cluster URL.

## What it does not report
Clusters without Knative ingresses. Severity info: it is so in Knative's own and in Kubeflow's manifests.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.servers import servers_of
from kgdiag.dialects.knative import SYSTEM, configured_gateways
from kgdiag.graph.core import service_ports
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.ref import Ref
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import known_everywhere, labels_text, listed

_DEFAULTS = ("knative-ingress-gateway", "knative-local-gateway")


@rule(
    "KG710", "nothing-probed", Severity.INFO,
    needs=(kinds.KNATIVE_INGRESS, kinds.ISTIO_GATEWAY, kinds.SERVICE), about=(kinds.ISTIO_GATEWAY,),
    names=(kinds.CONFIG_MAP,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such Gateway."""
    if not world.all(kinds.KNATIVE_INGRESS):
        return
    wanted = _gateways(world)
    for gateway in scope.all(world, kinds.ISTIO_GATEWAY):
        selector = gateway.mapping("spec.selector")
        if gateway.ref not in wanted or not selector or not known_everywhere(world, kinds.SERVICE):
            continue
        services = world.select(kinds.SERVICE, None, selector)
        ports = {port.port for service in services for port in service_ports(service)}
        numbers = [server.number for server in servers_of(gateway) if server.tls is None]
        if not numbers or ports & set(numbers):
            continue
        found = listed(str(one.ref) for one in services)
        why = (
            f"{found} has no port {listed(map(str, numbers))}"
            if services
            else f"no Service has the labels {labels_text(selector)}"
        )
        yield self.finding(
            gateway.ref,
            f"net-istio probes nothing here ({why}): Ready of a Knative Service does not prove this gateway",
            evidence=[gateway.evidence("spec.selector"), gateway.evidence("spec.servers")],
            fix="trace the in-cluster URL to see whether it works",
        )


def _gateways(world: World) -> set[Ref]:
    """The Gateways of config-istio, or Knative's defaults."""
    config = world.get(kinds.CONFIG_MAP, SYSTEM, "config-istio", optional=True)
    named = {item.gateway for item in configured_gateways(config)} if config is not None else set()
    return named or {Ref("networking.istio.io", "Gateway", SYSTEM, name) for name in _DEFAULTS}
