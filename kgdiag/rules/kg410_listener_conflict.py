"""Listener that is not programmed

## What it finds
A listener that its implementation leaves out: another protocol on the same port (HTTP beside HTTPS or TLS),
the same hostname twice on a port, or fields that do not fit its protocol (HTTPS without `tls`).

## Why it matters
Nothing listens for it: its requests are refused, reset, or answered by the listener that has the port. With
Envoy Gateway and kgateway all listeners of a conflict lose, with Istio the later ones.

## How to prove it
`kubectl get gateways.gateway.networking.k8s.io NAME -n NAMESPACE -o jsonpath='{.status.listeners}'` has
Conflicted=True or Programmed=False.

## How to fix it
Give each protocol a port of its own, and each listener of a port its own hostname.

## What it does not report
Certificates (KG406). Gateways whose implementation is not known.
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.gateway_api.listeners import ListenerState, listener_states
from kgdiag.dialects.gateway_api.provider import implementation
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import listed

_CONFLICTS = {"HostnameConflict": "the hostname is the same", "ProtocolConflict": "the protocols differ"}


@rule(
    "KG410", "listener-conflict", Severity.ERROR, needs=(kinds.GATEWAY, kinds.GATEWAY_CLASS),
    about=(kinds.GATEWAY,), equivalents=("KIA1503",), reads=(kinds.REFERENCE_GRANT,), names=(kinds.SECRET,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each listener that is left out."""
    for gateway in scope.all(world, kinds.GATEWAY):
        if implementation(world, gateway).provider is None:
            continue
        for state in listener_states(world, gateway):
            if not state.programmed and state.reason in (*_CONFLICTS, "Invalid"):
                yield _finding(self, world, gateway, state)


def _finding(self: Rule, world: World, gateway: Obj, state: ListenerState) -> Finding:
    listener = state.listener
    why = state.detail
    beside = [
        other.listener
        for other in listener_states(world, gateway)
        if other.listener.port == listener.port and other.listener.key != listener.key
    ]
    if state.reason in _CONFLICTS and beside:
        names = listed(f"{other.name} ({other.protocol})" for other in beside)
        why = (
            f"{listener.title} ({listener.protocol}) conflicts with {names} on port {listener.port}: "
            f"{_CONFLICTS[state.reason]} ({state.reason})"
        )
    return self.finding(
        gateway.ref,
        f"{why}: it is not programmed",
        evidence=[listener.evidence(), *(other.evidence() for other in beside[:1])],
        fix=f"give {listener.part} of {listener.owner.ref} a port of its own"
        if state.reason == "ProtocolConflict"
        else f"give {listener.part} of {listener.owner.ref} another hostname"
        if state.reason == "HostnameConflict"
        else f"correct {listener.part} of {listener.owner.ref}",
        causes=[("listener left out", gateway.ref)],
        verify=[
            commands.get(
                listener.owner.kind, listener.owner.namespace, listener.owner.name,
                jsonpath=f'.spec.listeners[?(@.name=="{listener.name}")].protocol',
                expect=listener.protocol or "nothing", match=Match.EQUALS, value=listener.protocol,
            )
        ],
    )  # fmt: skip
