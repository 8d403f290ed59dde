"""DestinationRule for a host that does not exist

## What it finds
A DestinationRule whose `host` is neither a Service nor a ServiceEntry's host: a short name is completed by
the rule's own namespace, and `name.namespace` is not completed at all. Near names are given.

## Why it matters
The rule does nothing: its subsets, TLS and load balancing apply to no cluster. Where it was to switch TLS
off for one Service, that Service is still spoken to with TLS.

## How to prove it
`kubectl get svc -n NAMESPACE NAME` answers NotFound.

## How to fix it
Write the Service's full name, `name.namespace.svc.cluster.local`.

## What it does not report
Wildcard hosts, and files that are not a whole cluster.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.destination_rules import host_of
from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.graph.core import cluster_name
from kgdiag.graph.world import Missing, World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known_everywhere, listed, namesakes, near, prove_gone
from kgdiag.rules.istio import services_named


@rule(
    "KG305", "rule-for-no-host", Severity.WARNING,
    needs=(kinds.DESTINATION_RULE, kinds.SERVICE, kinds.SERVICE_ENTRY), about=(kinds.DESTINATION_RULE,),
    equivalents=("IST0174", "KIA0202"),
    reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each DestinationRule that applies to nothing."""
    mesh = mesh_of(world)
    for one in scope.all(world, kinds.DESTINATION_RULE):
        host = host_of(mesh, one).lower()
        if not host or host.startswith("*") or services_named(world, mesh, host):
            continue
        named = cluster_name(host, mesh.domain) if host.endswith(mesh.domain) else None
        if named and world.missing(kinds.SERVICE, named[1], named[0]) is not Missing.GONE:
            continue
        if not known_everywhere(world, kinds.SERVICE_ENTRY):
            continue
        name, namespace = named or (host.partition(".")[0], one.namespace)
        found = [
            f"{obj.name}.{obj.namespace}.svc.{mesh.domain}"
            for obj in namesakes(world, kinds.SERVICE, name, but="" if not named else namespace)
        ]
        here = world.all(kinds.SERVICE, namespace, optional=True)
        found = found or [
            f"{other}.{namespace}.svc.{mesh.domain}" for other in near(name, (obj.name for obj in here))
        ]
        hint = f"; did you mean {listed(found)}?" if found else ""
        yield self.finding(
            one.ref,
            f"host {host} is no Service and no ServiceEntry has it: the rule applies to nothing{hint}",
            evidence=[one.evidence("spec.host")],
            causes=[("rule for no host", one.ref)],
            fix=f"set spec.host to {found[0]}" if found else "correct spec.host, or remove the rule",
            verify=[prove_gone(kinds.SERVICE, named[1], named[0])]
            if named
            else [
                commands.get(
                    kinds.SERVICE_ENTRY, None, jsonpath=".items[*].spec.hosts", expect=f"no {host}",
                    match=Match.LACKS, value=f'"{host}"',
                )
            ],
        )  # fmt: skip
