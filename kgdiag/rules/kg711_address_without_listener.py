"""In-cluster URL with https, and nothing listens for it

## What it finds
A Knative Service, Route or InferenceService whose `status.address.url` is https, while the Service of
Knative's local gateway leads its port 443 to a port of the gateway pods that no Gateway opens (8444 by
default).

## Why it matters
Clients inside the cluster that take the address from the status are refused.

## How to prove it
`istioctl proxy-config listeners POD -n NAMESPACE --port 8444` prints none.

## How to fix it
Turn on Knative's cluster-local TLS (`cluster-local-domain-tls` in config-network), which opens the port, or
turn it off again where the URLs are left from it.

## What it does not report
The port alone, without a URL that uses it (KG105, a fact).
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.graph.core import resolve_target, service_ports
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known_everywhere
from kgdiag.rules.istio import gateway_pods_of, open_ports
from kgdiag.rules.local_gateway import local_services

_KINDS = (kinds.KNATIVE_SERVICE, kinds.KNATIVE_ROUTE, kinds.INFERENCE_SERVICE)


@rule(
    "KG711", "address-without-listener", Severity.WARNING,
    needs=(kinds.SERVICE, kinds.POD, kinds.ISTIO_GATEWAY), about=_KINDS,
    reads=(*_KINDS, *MESH_READS), names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each object with such an address."""
    for kind in _KINDS:
        for obj in scope.all(world, kind):
            url = obj.text("status.address.url")
            if not url.startswith("https://") or ".svc" not in url:
                continue
            closed = _closed(world)
            if closed is not None and known_everywhere(world, kinds.ISTIO_GATEWAY):
                service, part, target = closed
                yield self.finding(
                    obj.ref,
                    f"its in-cluster address is {url}, and {service.ref} leads 443 to {target} of its pods, "
                    "which no Gateway opens: connections are refused",
                    evidence=[obj.evidence("status.address.url"), service.evidence(part)],
                    fix="turn on cluster-local-domain-tls in config-network, or use http",
                    verify=[
                        commands.get(
                            kind, obj.namespace, obj.name, jsonpath=".status.address.url", expect=url,
                            match=Match.EQUALS, value=url,
                        )
                    ],
                )  # fmt: skip


def _closed(world: World) -> tuple[Obj, str, int] | None:
    """(Service, field, pod port) of the local gateway's port 443 where nothing listens behind it."""
    for ref in sorted(local_services(world)):
        service = world.get(kinds.SERVICE, ref.namespace, ref.name)
        for pod in gateway_pods_of(world, service)[:1] if service is not None else ():
            assert service is not None
            for port in service_ports(service):
                target = resolve_target(pod, port)
                if port.port == 443 and target is not None and target not in open_ports(world, pod):
                    return service, f"spec.ports[{port.index}]", target
    return None
