"""Route to an ExternalName Service

## What it finds
A backendRef to a Service of type ExternalName: as KServe and Knative make them for their names, leading to
the local gateway. With it, whether the route rewrites the Host to what that gateway knows.

## Why it matters
The Gateway API leaves such backends to the implementation: Envoy Gateway refuses them (500). Where they are
followed, Knative's gateway gets the outer Host and answers 404, since it routes by the inner name.

## How to prove it
`kubectl get svc NAME -n NAMESPACE -o jsonpath='{.spec.externalName}'`

## How to fix it
Refer to the Service behind it (`NAME-predictor` in KServe's standard mode); for Knative, refer to the local
gateway's Service and rewrite the hostname.

## What it does not report
Routes of KServe's own.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.gateway_api.backends import BackendRef, backend_refs
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import mappings, owned_by_controller, prove_field

_ROUTES = (kinds.HTTP_ROUTE, kinds.GRPC_ROUTE)


@rule(
    "KG408", "external-name-backend", Severity.WARNING, needs=(kinds.HTTP_ROUTE, kinds.SERVICE),
    about=_ROUTES, reads=(kinds.GRPC_ROUTE,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each backend that is only a name."""
    for kind in _ROUTES:
        for route in scope.all(world, kind):
            if owned_by_controller(route):
                continue
            for number, _ in enumerate(route.items("spec.rules")):
                for ref in backend_refs(route, number):
                    service = (
                        world.get(kinds.SERVICE, ref.namespace, ref.name)
                        if (ref.group, ref.kind) == ("", "Service")
                        else None
                    )
                    if service is not None and service.text("spec.type") == "ExternalName":
                        yield _finding(self, route, ref, service)


def _finding(self: Rule, route: Obj, ref: BackendRef, service: Obj) -> Finding:
    target = service.text("spec.externalName")
    gateway = target.endswith((".svc.cluster.local", ".svc"))
    rewritten = _rewrites(route, ref.rule)
    more = (
        ", the in-cluster name of a gateway, and no URLRewrite sets the hostname that it knows: 404 there"
        if gateway and not rewritten
        else ""
    )
    return self.finding(
        route.ref,
        f"backendRef {service.ref} is an ExternalName for {target}{more}; not every "
        "implementation follows it (Envoy Gateway answers 500)",
        evidence=[route.evidence(ref.part), service.evidence("spec.externalName")],
        fix=f"refer to the Service that serves it (in KServe's standard mode {service.name}-predictor), or "
        "to the gateway's Service with a URLRewrite of the hostname",
        verify=[prove_field(service, ".spec.externalName", target, f"the name {target}")],
    )


def _rewrites(route: Obj, rule_: int) -> bool:
    return any(
        isinstance(item.get("urlRewrite"), dict) and item["urlRewrite"].get("hostname")
        for _, item in mappings(route.get(f"spec.rules[{rule_}].filters"))
    )
