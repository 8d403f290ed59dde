"""Certificate that clients will not accept

## What it finds
A certificate that a gateway serves which has expired, ends within two weeks, or does not name a host that
the server is for (subject alternative names; `*.example.com` is good for one label).

## Why it matters
The handshake works and the client refuses the certificate: browsers warn, curl ends with 60, other services
fail outright.

## How to prove it
`openssl s_client -connect ADDRESS:443 -servername HOST </dev/null | openssl x509 -noout -dates -ext
subjectAltName`

## How to fix it
Renew the certificate, with all hosts of the server among its names.

## What it does not report
Secrets that could not be read, certificates without any alternative name in test manifests, hosts `*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from kgdiag.dialects.gateway_api.spec import listeners_of
from kgdiag.dialects.istio.servers import servers_of
from kgdiag.dialects.istio.tls import credential_names, secret_ref
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.certificates import ends, name_covers, names, problem_of
from kgdiag.rules.common import listed, mappings, prove_secret
from kgdiag.rules.istio import gateway_pods

_SOON = timedelta(days=14)


@rule(
    "KG502", "certificate-not-good", Severity.ERROR, needs=(),
    about=(kinds.ISTIO_GATEWAY, kinds.GATEWAY),
    reads=(kinds.POD, kinds.GATEWAY, kinds.ISTIO_GATEWAY, *MESH_READS),
    names=(kinds.SECRET, *MESH_NAMES),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each certificate of a server and what is wrong with it."""
    for owner, field, hosts, secret in _served(world, scope):
        if problem_of(secret):
            continue  # it is not served at all
        for severity, words, evidence in _faults(secret, hosts):
            yield self.finding(
                owner.ref,
                f"{secret.ref}: {words}",
                severity=severity,
                evidence=[owner.evidence(field), secret.evidence(f"certificate.{evidence}")],
                fix=f"renew the certificate in {secret.ref} for {listed(hosts, 4)}",
                verify=[prove_secret(secret)],
            )


def _faults(secret: Obj, hosts: list[str]) -> Iterator[tuple[Severity, str, str]]:
    end = ends(secret)
    now = datetime.now(UTC)
    if end is not None and end < now:
        yield Severity.ERROR, f"the certificate expired on {end:%Y-%m-%d}: clients refuse it", "notAfter"
    elif end is not None and end < now + _SOON:
        yield Severity.WARNING, f"the certificate expires on {end:%Y-%m-%d}", "notAfter"
    known = names(secret)
    lost = [host for host in hosts if not any(name_covers(name, host) for name in known)]
    if known and lost:
        yield (
            Severity.ERROR,
            f"the certificate is for {listed(known, 4)}, not for {listed(lost)}: clients refuse it",
            "sans",
        )


def _served(world: World, scope: Scope) -> Iterator[tuple[Obj, str, list[str], Obj]]:
    """(Gateway, field, hosts, Secret) of every certificate that is served."""
    for gateway in scope.all(world, kinds.ISTIO_GATEWAY):
        for pod in gateway_pods(world, gateway)[:1]:
            for server in servers_of(gateway):
                if server.tls is None or server.http or server.passthrough:
                    continue
                for credential in credential_names(server.tls):
                    ref = secret_ref(credential, pod.namespace)
                    secret = world.get(kinds.SECRET, ref.namespace, ref.name, optional=True) if ref else None
                    if secret is not None:
                        hosts = [host.lower() for host in server.names if host != "*"]
                        yield gateway, f"{server.part}.tls.credentialName", hosts, secret
    for gateway in scope.all(world, kinds.GATEWAY):
        for listener in listeners_of(world, gateway):
            tls = listener.raw.get("tls")
            for at, raw in mappings(tls.get("certificateRefs") if isinstance(tls, Mapping) else None):
                namespace = str(raw.get("namespace") or listener.owner.namespace)
                secret = world.get(kinds.SECRET, namespace, str(raw.get("name") or ""), optional=True)
                if secret is not None:
                    hosts = [listener.hostname.lower()] if listener.hostname else []
                    yield listener.owner, f"{listener.part}.tls.certificateRefs[{at}]", hosts, secret
