"""Policy that asks gateways for a client identity that plaintext does not have

## What it finds
An ALLOW policy on gateway pods all of whose rules ask for `principals`, `namespaces` or `serviceAccounts`
of the source, while no server of these pods asks for a client certificate (MUTUAL, ISTIO_MUTUAL).

## Why it matters
A connection without mTLS has no source identity: the rule never matches and every request gets 403.
Sidecars speak no mTLS to gateway pods by themselves, since those lack the label
`security.istio.io/tlsMode`.

## How to prove it
The proxy's log says `rbac_access_denied_matched_policy[none]`; the server has no `tls.mode: ISTIO_MUTUAL`.

## How to fix it
Make the server ISTIO_MUTUAL (and give clients a DestinationRule with it), or ask for something that is
there: `requestPrincipals`, `remoteIpBlocks`, hosts.

## What it does not report
Policies with another rule that can match, and rules with negative conditions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kgdiag.dialects.istio.mesh import is_gateway_pod, mesh_of
from kgdiag.dialects.istio.security import attached_policies
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import mappings
from kgdiag.rules.istio import open_ports

_IDENTITY = ("principals", "namespaces", "serviceAccounts")


@rule(
    "KG603", "principals-without-mtls", Severity.WARNING,
    needs=(kinds.AUTHORIZATION_POLICY, kinds.POD, kinds.ISTIO_GATEWAY), about=(kinds.AUTHORIZATION_POLICY,),
    equivalents=("KIA0105",),
    reads=(kinds.SERVICE, *MESH_READS), names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each policy that no request to its gateways can satisfy."""
    wanted = {
        policy.ref
        for policy in scope.all(world, kinds.AUTHORIZATION_POLICY)
        if policy.text("spec.action", "ALLOW") == "ALLOW" and _only_identity(policy)
    }
    if not wanted:
        return
    done: set[Ref] = set()
    for pod in filter(is_gateway_pod, world.all(kinds.POD)):
        servers = [server for opening in open_ports(world, pod).values() for server in opening]
        if not servers or any("MUTUAL" in server.mode for server in servers if server.tls is not None):
            continue
        for policy in attached_policies(world, mesh_of(world, pod), pod):
            if policy.ref in wanted - done:
                done.add(policy.ref)
                yield _finding(self, policy, pod)


def _only_identity(policy: Obj) -> bool:
    """Whether every rule asks for an identity of the source, in all of its alternatives."""
    rules = policy.maps("spec.rules")
    return bool(rules) and all(_asks(rule_) for rule_ in rules)


def _asks(rule_: Mapping[str, Any]) -> bool:
    sources = [item.get("source") for _, item in mappings(rule_.get("from"))]
    return bool(sources) and all(
        isinstance(source, Mapping) and any(source.get(key) for key in _IDENTITY) for source in sources
    )


def _finding(self: Rule, policy: Obj, pod: Obj) -> Finding:
    return self.finding(
        policy.ref,
        f"its rules ask for the source's identity, and {pod.name} has no server with client certificates: "
        "plaintext has no identity, so they never match and requests get 403",
        evidence=[policy.evidence("spec.rules"), pod.evidence("metadata.labels")],
        fix="set tls.mode ISTIO_MUTUAL on the Gateway's server, or ask for requestPrincipals",
        verify=[
            commands.get(
                kinds.AUTHORIZATION_POLICY, policy.namespace, policy.name, jsonpath=".spec.rules[*].from",
                expect="principals, namespaces or serviceAccounts", match=Match.CONTAINS, value="source",
            )
        ],
    )  # fmt: skip
