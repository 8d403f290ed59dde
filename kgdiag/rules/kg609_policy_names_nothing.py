"""AuthorizationPolicy that names what does not exist

## What it finds
In the rules of an AuthorizationPolicy: a source namespace that does not exist, a principal whose
ServiceAccount does not exist or whose trust domain is not the mesh's, a method in small letters (methods are
compared as they are sent: `get` matches nothing).

## Why it matters
The entry matches no request: an ALLOW policy denies whom it was to let in, a DENY policy lets through whom it
was to keep out.

## How to prove it
`kubectl get serviceaccount NAME -n NAMESPACE`, `kubectl get namespace NAME` say NotFound.

## How to fix it
Write the name that is meant.

## What it does not report
Entries with `*`, and `not…` entries. Files that are not a whole cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kgdiag.dialects.istio.mesh import Mesh, mesh_of
from kgdiag.graph.world import Missing, World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known_everywhere, mappings, near, prove_gone, texts

_METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
_PRINCIPAL = re.compile(r"([^/*]+)/ns/([a-z0-9-]+)/sa/([a-z0-9.-]+)")


@rule(
    "KG609", "policy-names-nothing", Severity.WARNING, needs=(kinds.AUTHORIZATION_POLICY, kinds.NAMESPACE),
    about=(kinds.AUTHORIZATION_POLICY,), equivalents=("KIA0101", "KIA0102", "KIA0106", "KIA0108"),
    reads=MESH_READS, names=(kinds.SERVICE_ACCOUNT, *MESH_NAMES),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each entry that matches nothing."""
    for policy in scope.all(world, kinds.AUTHORIZATION_POLICY):
        for number, item in mappings(policy.get("spec.rules")):
            part = f"spec.rules[{number}]"
            for at, entry in mappings(item.get("from")):
                source = entry.get("source")
                if isinstance(source, dict):
                    field = f"{part}.from[{at}].source"
                    for index, name in enumerate(texts(source.get("namespaces"))):
                        yield from _namespace(self, world, policy, f"{field}.namespaces[{index}]", name)
                    for index, name in enumerate(texts(source.get("principals"))):
                        yield from _principal(self, world, policy, f"{field}.principals[{index}]", name)
            for at, entry in mappings(item.get("to")):
                operation = entry.get("operation")
                if isinstance(operation, dict):
                    field = f"{part}.to[{at}].operation.methods"
                    for index, name in enumerate(texts(operation.get("methods"))):
                        yield from _method(self, policy, f"{field}[{index}]", name)


def _finding(
    self: Rule, policy: Obj, field: str, words: str, guess: str, code: str, proof: Command
) -> Finding:
    action = policy.text("spec.action", "ALLOW")
    does = "it lets nobody in" if action == "ALLOW" else "it matches nothing"
    hint = f"; did you mean {guess}?" if guess else ""
    return self.finding(
        policy.ref,
        f"{field}: {words}: {does}{hint}",
        evidence=[policy.evidence(field)],
        fix=f"set {field} to {guess}" if guess else f"correct {field}",
        equivalents=(code,),
        verify=[proof],
    )


def _namespace(self: Rule, world: World, policy: Obj, field: str, name: str) -> Iterator[Finding]:
    if "*" in name or not known_everywhere(world, kinds.NAMESPACE):
        return
    names = {one.name for one in world.all(kinds.NAMESPACE)}
    if names and name not in names and not world.known(kinds.POD, name):
        guess = next(iter(near(name, names)), "")
        proof = prove_gone(kinds.NAMESPACE, "", name)
        yield _finding(self, policy, field, f"there is no namespace {name}", guess, "KIA0101", proof)


def _principal(self: Rule, world: World, policy: Obj, field: str, name: str) -> Iterator[Finding]:
    found = _PRINCIPAL.fullmatch(name)
    if found is None:
        if name.startswith("spiffe://"):
            yield _finding(
                self, policy, field, f"{name} has a scheme, which principals are written without",
                name.removeprefix("spiffe://"), "KIA0106", _written(policy, field, name),
            )  # fmt: skip
        return
    mesh = mesh_of(world)
    domain, namespace, account = found[1], found[2], found[3]
    if not mesh.assumed and domain not in _domains(mesh):
        guess = f"{mesh.trust_domain}/ns/{namespace}/sa/{account}"
        words = f"the mesh's trust domain is {mesh.trust_domain}, not {domain}"
        yield _finding(self, policy, field, words, guess, "KIA0108", _written(policy, field, name))
        return
    if account == "default" or world.get(kinds.SERVICE_ACCOUNT, namespace, account, optional=True):
        return
    if world.missing(kinds.SERVICE_ACCOUNT, namespace, account) is not Missing.GONE or _used(
        world, namespace, account
    ):  # fmt: skip
        return
    words = f"there is no ServiceAccount {namespace}/{account}"
    proof = prove_gone(kinds.SERVICE_ACCOUNT, namespace, account)
    yield _finding(self, policy, field, words, "", "KIA0106", proof)


def _used(world: World, namespace: str, account: str) -> bool:
    """Whether pods run with the account: files often leave the ServiceAccount itself out."""
    return any(
        pod.text("spec.serviceAccountName") == account for pod in world.known(kinds.POD, namespace)
    ) or (world.origin.value == "files" and not world.known(kinds.SERVICE_ACCOUNT, namespace))


def _domains(mesh: Mesh) -> set[str]:
    aliases = mesh.raw.get("trustDomainAliases")
    return {mesh.trust_domain, "cluster.local", *(texts(aliases))}


def _method(self: Rule, policy: Obj, field: str, name: str) -> Iterator[Finding]:
    if "*" in name or name.upper() not in _METHODS or name in _METHODS:
        return  # gRPC services and others have methods of their own
    words = f"methods are compared as they are sent, and {name} is sent as {name.upper()}"
    yield _finding(self, policy, field, words, name.upper(), "KIA0102", _written(policy, field, name))


def _written(policy: Obj, field: str, value: str) -> Command:
    return commands.get(
        kinds.AUTHORIZATION_POLICY, policy.namespace, policy.name, jsonpath=f".{field}", expect=value,
        match=Match.EQUALS, value=value,
    )  # fmt: skip
