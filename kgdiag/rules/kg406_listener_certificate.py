"""Listener without a usable certificate

## What it finds
A listener of a Gateway API Gateway that terminates TLS with a Secret that does not exist, is not of the
right shape, or holds a certificate and a key that do not belong together.

## Why it matters
The listener is not programmed (ResolvedRefs=False InvalidCertificateRef): TLS clients are reset or refused,
while plain http on another listener works.

## How to prove it
`kubectl get secret NAME -n NAMESPACE` answers NotFound.

## How to fix it
Create the Secret, of type `kubernetes.io/tls`, in the Gateway's namespace.

## What it does not report
References into another namespace (KG401). Secrets that could not be read or are not in the files given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kgdiag.dialects.gateway_api.grants import granted
from kgdiag.dialects.gateway_api.spec import ListenerSpec, listeners_of
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.ref import Ref
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.certificates import problem_of
from kgdiag.rules.common import mappings, namesakes, prove_gone, prove_secret, whole_cluster


@rule(
    "KG406", "listener-certificate", Severity.ERROR, needs=(kinds.GATEWAY,), about=(kinds.GATEWAY,),
    reads=(kinds.REFERENCE_GRANT,), names=(kinds.SECRET,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each certificateRef that gives no certificate."""
    for gateway in scope.all(world, kinds.GATEWAY):
        for listener in listeners_of(world, gateway):
            yield from _judge(self, world, listener)


def _judge(self: Rule, world: World, listener: ListenerSpec) -> Iterable[Finding]:
    tls = listener.raw.get("tls")
    if not isinstance(tls, Mapping) or listener.tls_mode != "Terminate":
        return
    owner = listener.owner
    for at, ref in mappings(tls.get("certificateRefs")):
        name, namespace = str(ref.get("name") or ""), str(ref.get("namespace") or owner.namespace)
        if ref.get("group") or ref.get("kind") not in (None, "Secret"):
            continue
        target = Ref("", "Secret", namespace, name)
        if not granted(world, (owner.kind.group, owner.kind.name, owner.namespace), target):
            continue  # KG401 says so
        field = f"{listener.part}.tls.certificateRefs[{at}]"
        secret = world.get(kinds.SECRET, namespace, name, optional=True)
        if secret is not None:
            problem = problem_of(secret)
            if problem:
                yield self.finding(
                    owner.ref,
                    f"{listener.title}: {problem}: it is not programmed, TLS clients are reset",
                    evidence=[owner.evidence(field), secret.evidence("keys")],
                    fix=f"replace Secret {namespace}/{name} by one of type kubernetes.io/tls",
                    verify=[prove_secret(secret)],
                )
        elif whole_cluster(world) and world.missing(kinds.SECRET, namespace, name) is Missing.GONE:
            others = [obj.namespace for obj in namesakes(world, kinds.SECRET, name)]
            hint = f" (one of that name is in {others[0]})" if others else ""
            yield self.finding(
                owner.ref,
                f"{listener.title}: Secret {namespace}/{name} does not exist{hint}: it is not programmed, "
                "TLS clients are reset",
                evidence=[owner.evidence(field)],
                fix=f"kubectl create secret tls {name} -n {namespace} --cert=… --key=…",
                verify=[prove_gone(kinds.SECRET, namespace, name)],
            )
