"""Sidecar egress host that does not exist

## What it finds
An entry of a Sidecar's `egress.hosts` with a full name (no wildcard) that is no Service of the namespace it
names and no host of a ServiceEntry.

## Why it matters
The entry shows nothing. The host that was meant stays hidden: requests to it go out in plaintext, or are
refused under REGISTRY_ONLY.

## How to prove it
`kubectl get service NAME -n NAMESPACE` says NotFound.

## How to fix it
Write the name that is meant, in full (`NAMESPACE/NAME.NAMESPACE.svc.cluster.local`): short names are not
completed here.

## What it does not report
Wildcards, and namespaces that have no object (yet). Files that are not a whole cluster.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.registry import everything
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known_everywhere, mappings, near, texts


@rule(
    "KG320", "sidecar-host-unknown", Severity.WARNING,
    needs=(kinds.SIDECAR, kinds.SERVICE, kinds.SERVICE_ENTRY), about=(kinds.SIDECAR,),
    equivalents=("KIA1004",), reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such host."""
    sidecars = list(scope.all(world, kinds.SIDECAR))
    if not sidecars:
        return
    world.all(kinds.SERVICE)
    services = everything(world, mesh_of(world))
    if not (known_everywhere(world, kinds.SERVICE) and known_everywhere(world, kinds.SERVICE_ENTRY)):
        return
    known = {(one.namespace, one.host) for one in services}
    hosts = {host for _, host in known}
    for sidecar in sidecars:
        for at, entry in mappings(sidecar.get("spec.egress")):
            for number, text in enumerate(texts(entry.get("hosts"))):
                where, slash, host = text.partition("/")
                where = sidecar.namespace if where == "." else where
                host = host.lower()
                if not slash or host.startswith("*") or where.startswith("~") or "." not in host:
                    continue
                if (where, host) in known or (where == "*" and host in hosts):
                    continue
                field = f"spec.egress[{at}].hosts[{number}]"
                full = f"{host}.{where}.svc.cluster.local"
                guess = [full] if full in hosts else near(host, hosts)
                hint = f"; did you mean {guess[0]}?" if guess else ""
                yield self.finding(
                    sidecar.ref,
                    f"{field} is {text}, and {where if where != '*' else 'no namespace'} has "
                    f"{'no' if where != '*' else 'a'} Service or ServiceEntry of this name: it shows "
                    f"nothing{hint}",
                    evidence=[sidecar.evidence(field)],
                    fix=f"set {field} to {where}/{guess[0]}" if guess else f"remove {field}",
                    verify=[
                        commands.get(
                            kinds.SIDECAR, sidecar.namespace, sidecar.name, jsonpath=f".{field}",
                            expect=text, match=Match.EQUALS, value=text,
                        )
                    ],
                )  # fmt: skip
