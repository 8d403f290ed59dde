"""Knative Services that are cluster-local because no domain is configured

## What it finds
A Knative Service (or Route) whose URL ends in `.svc.cluster.local`, while it does not ask to be
cluster-local and Knative's ConfigMap `config-domain` has no default domain.

## Why it matters
Since Knative 1.8 the default domain is `svc.cluster.local`: the Service is reached from inside only, and
requests from outside get 404 whatever the Host.

## How to prove it
`kubectl get cm config-domain -n knative-serving -o jsonpath='{.data}'`

## How to fix it
Add a default domain: `kubectl patch cm config-domain -n knative-serving -p '{"data": {"example.com": ""}}'`

## What it does not report
Services with the label `networking.knative.dev/visibility: cluster-local`.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.knative import SYSTEM
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.rules.base import Rule, Scope, rule

_LABEL = "networking.knative.dev/visibility"


@rule(
    "KG703", "cluster-local-by-default", Severity.WARNING, needs=(kinds.KNATIVE_SERVICE,),
    about=(kinds.KNATIVE_SERVICE,),
    names=(kinds.CONFIG_MAP,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Knative Service that nobody meant to be internal."""
    for service in scope.all(world, kinds.KNATIVE_SERVICE):
        url = service.text("status.url")
        if not url.rstrip("/").endswith(".svc.cluster.local") or _LABEL in service.labels:
            continue
        config = world.get(kinds.CONFIG_MAP, SYSTEM, "config-domain", optional=True)
        if config is None:
            continue
        domains = [key for key in config.mapping("data") if key != "_example"]
        if any(domain != "svc.cluster.local" for domain in domains):
            continue
        yield self.finding(
            service.ref,
            f"its URL is {url}, since {config.ref} has no domain: it is reached from inside only, requests "
            "from outside get 404",
            evidence=[service.evidence("status.url"), config.evidence("data")],
            fix=f"kubectl patch cm config-domain -n {SYSTEM} -p '{{\"data\": {{\"example.com\": \"\"}}}}'",
            verify=[
                commands.get(
                    kinds.CONFIG_MAP, SYSTEM, "config-domain", jsonpath=".data",
                    expect="no domain of your own", match=Match.LACKS, value='":""',
                )
            ],
        )  # fmt: skip
