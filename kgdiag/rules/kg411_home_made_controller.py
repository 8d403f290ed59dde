"""Deployment that looks like a gateway's control plane and is none

## What it finds
A Deployment whose image says kgateway or Envoy Gateway, which runs with the namespace's default
ServiceAccount, while no GatewayClass names that controller.

## Why it matters
A control plane watches Gateways and routes and makes proxies; with the default account it may do neither,
and without a GatewayClass nothing is its business. Gateways stay without status, address and proxy.

## How to prove it
`kubectl get gatewayclasses` has none with the controller's name; the pod's log says `forbidden`.

## How to fix it
Install the product by its chart: it brings the resource definitions, the account with its roles and the
GatewayClass.

## What it does not report
Deployments with an account of their own. Severity info: the Gateways without a class have findings of their
own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import known_everywhere, mappings

_PRODUCTS = (
    (re.compile(r"(^|/)kgateway(/|:|-|@|$)"), "kgateway", "kgateway.dev/kgateway"),
    (
        re.compile(r"(^|/)(envoyproxy/gateway|envoy-gateway)(:|@|$)"),
        "Envoy Gateway",
        "gateway.envoyproxy.io/gatewayclass-controller",
    ),
)
_PROXIES = ("envoy-wrapper", "sds", "envoyinit")


@rule(
    "KG411", "home-made-controller", Severity.INFO, needs=(kinds.DEPLOYMENT, kinds.GATEWAY_CLASS),
    about=(kinds.DEPLOYMENT,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such Deployment."""
    for deployment in scope.all(world, kinds.DEPLOYMENT):
        account = deployment.text("spec.template.spec.serviceAccountName") or "default"
        if account != "default" or "gateway.networking.k8s.io/gateway-name" in deployment.labels:
            continue
        for at, container in mappings(deployment.get("spec.template.spec.containers")):
            image = str(container.get("image") or "")
            if any(word in image for word in _PROXIES):
                continue
            for pattern, product, controller in _PRODUCTS:
                if not pattern.search(image.lower()) or not known_everywhere(world, kinds.GATEWAY_CLASS):
                    continue
                classes = world.all(kinds.GATEWAY_CLASS)
                if any(one.text("spec.controllerName") == controller for one in classes):
                    continue
                yield self.finding(
                    deployment.ref,
                    f"image {image} in a Deployment that is not {product}'s: ServiceAccount default may not "
                    f"watch Gateways, and no GatewayClass names {controller}: no Gateway is programmed by it",
                    evidence=[deployment.evidence(f"spec.template.spec.containers[{at}].image")],
                    fix=f"install {product} by its Helm chart",
                )
