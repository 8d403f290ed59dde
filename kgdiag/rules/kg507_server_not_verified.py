"""TLS to the outside that verifies nobody

## What it finds
A DestinationRule (or a port or subset of it) with TLS mode SIMPLE or MUTUAL that names no authority:
neither `caCertificates` nor a `credentialName`, nor `insecureSkipVerify`.

## Why it matters
Before Istio 1.24 the proxy then takes any certificate: whoever answers at the address gets the requests.
Newer ones verify by the operating system's authorities, and a server with a private authority gets 503.

## How to prove it
`istioctl proxy-config clusters POD -n NAMESPACE --fqdn HOST -o json` has no validation context.

## How to fix it
Name the authority: `caCertificates: system` for public ones.

## What it does not report
Istio 1.24 and newer, where it is a fact (`VERIFY_CERTIFICATE_AT_CLIENT`), unless that switch is off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import mappings, prove_field


@rule(
    "KG507", "server-not-verified", Severity.WARNING, needs=(kinds.DESTINATION_RULE,),
    about=(kinds.DESTINATION_RULE,), equivalents=("IST0128", "IST0129"), reads=MESH_READS, names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such setting."""
    for one in scope.all(world, kinds.DESTINATION_RULE):
        for part, settings in _settings(one):
            if settings.get("mode") not in ("SIMPLE", "MUTUAL"):
                continue
            if any(settings.get(key) for key in ("caCertificates", "credentialName", "insecureSkipVerify")):
                continue
            mesh = mesh_of(world)
            verifies = mesh.since(1, 24) and mesh.switch("VERIFY_CERTIFICATE_AT_CLIENT", True)
            does = "public authorities only are taken" if verifies else "any certificate is taken"
            yield self.finding(
                one.ref,
                f"{part}.mode is {settings['mode']} without caCertificates: {does} from "
                f"{one.text('spec.host')}",
                severity=Severity.INFO if verifies else Severity.WARNING,
                evidence=[one.evidence(part)],
                fix=f"set {part}.caCertificates to system, or to the file of its authority",
                equivalents=("IST0129",) if "portLevelSettings" in part else ("IST0128",),
                verify=[prove_field(one, f".{part}.caCertificates", "", "nothing")],
            )


def _settings(one: Obj) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(field, TLS settings) of a rule, its ports and its subsets."""
    policies = [("spec.trafficPolicy", one.mapping("spec.trafficPolicy"))]
    for at, subset in mappings(one.get("spec.subsets")):
        policy = subset.get("trafficPolicy")
        if isinstance(policy, Mapping):
            policies.append((f"spec.subsets[{at}].trafficPolicy", policy))
    for part, policy in policies:
        if isinstance(policy.get("tls"), Mapping):
            yield f"{part}.tls", policy["tls"]
        for at, port in mappings(policy.get("portLevelSettings")):
            if isinstance(port.get("tls"), Mapping):
                yield f"{part}.portLevelSettings[{at}].tls", port["tls"]
