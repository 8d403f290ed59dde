"""The TLS of a Gateway server: its mode and whether a handshake can succeed with its certificate.

Sources: istio pilot/pkg/networking/core/listener.go (BuildListenerTLSContext),
pilot/pkg/security/model/authentication.go (ApplyCredentialSDSToServerCommonTLSContext),
pilot/pkg/model/credentials/resource.go (names), pilot/pkg/credentials/kube/secrets.go (keys in Secrets).
Measured with Istio 1.31: a server whose Secret is missing resets handshakes; its neighbours on the port work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kgdiag.dialects.istio.servers import Server
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.obj import Evidence, Obj
from kgdiag.model.proxy import ServerTls, TlsMode
from kgdiag.model.ref import Ref

_MODES = {
    "SIMPLE": TlsMode.TERMINATE,
    "MUTUAL": TlsMode.MUTUAL,
    "OPTIONAL_MUTUAL": TlsMode.OPTIONAL_MUTUAL,
    "ISTIO_MUTUAL": TlsMode.MESH,
    "PASSTHROUGH": TlsMode.PASSTHROUGH,
    "AUTO_PASSTHROUGH": TlsMode.PASSTHROUGH,
}
_KUBERNETES, _BUILTIN = "kubernetes://", "builtin://"


def credential_names(tls: Mapping[str, Any]) -> list[str]:
    """The credentials of a server's TLS settings; ``credentialNames`` (RSA and ECDSA) win over one name."""
    several = tls.get("credentialNames")
    if isinstance(several, list) and several:
        return [str(name) for name in several]
    return [str(tls["credentialName"])] if tls.get("credentialName") else []


def secret_ref(credential: str, namespace: str) -> Ref | None:
    """The Secret of a credential for gateway pods in a namespace, None for credentials that are no Secret.

    A name without a namespace is looked for in the gateway pod's namespace, not in the Gateway's.
    """
    if credential.startswith(_BUILTIN):
        return None
    name = credential.removeprefix(_KUBERNETES)
    if "://" in name:
        return None
    owner, slash, rest = name.partition("/")
    return Ref("", "Secret", owner if slash else namespace, rest if slash else name)


def server_tls(world: World, pod: Obj, server: Server) -> ServerTls:
    """The TLS of a server that has TLS settings and is not plain HTTP."""
    tls = server.tls or {}
    mode = _MODES.get(server.mode, TlsMode.TERMINATE)
    evidence: tuple[Evidence, ...] = (server.gateway.evidence(f"{server.part}.tls.mode"),)
    if mode in (TlsMode.PASSTHROUGH, TlsMode.MESH):
        return ServerTls(mode, evidence=evidence)
    credentials = credential_names(tls)
    if not credentials:
        return _mounted(server, mode, evidence)
    problems, doubts = [], []
    for credential in credentials:
        problem, doubt, more = _certificate(world, pod, server, credential)
        problems += [problem] if problem else []
        doubts += [doubt] if doubt else []
        evidence += more
    if mode is not TlsMode.TERMINATE:
        problem, doubt = _authority(world, pod, server, credentials[0])
        problems += [problem] if problem else []
        doubts += [doubt] if doubt else []
    return ServerTls(
        mode,
        tuple(credentials),
        problem=problems[0] if problems else None,
        doubt=doubts[0] if doubts else None,
        evidence=evidence,
    )


def _mounted(server: Server, mode: TlsMode, evidence: tuple[Evidence, ...]) -> ServerTls:
    """Certificates that are files in the pod, which no API shows."""
    tls = server.tls or {}
    listed = tls.get("tlsCertificates")
    files = [str(tls["serverCertificate"])] if tls.get("serverCertificate") else []
    if isinstance(listed, list):
        files += [str(one.get("serverCertificate")) for one in listed if isinstance(one, Mapping)]
    if not files:
        return ServerTls(mode, problem="the server names no certificate", evidence=evidence)
    doubt = f"the certificate is a file in the pod ({files[0]}), which cannot be read from here"
    return ServerTls(mode, tuple(files), doubt=doubt, evidence=evidence)


def _certificate(
    world: World, pod: Obj, server: Server, credential: str
) -> tuple[str, str, tuple[Evidence, ...]]:
    """(problem, doubt, evidence) of one serving certificate."""
    ref = secret_ref(credential, pod.namespace)
    if ref is None:
        return "", "" if credential.startswith(_BUILTIN) else f"credential {credential} is no Secret", ()
    secret = world.get(kinds.SECRET, ref.namespace, ref.name, optional=True)
    named = server.gateway.evidence(f"{server.part}.tls.credentialName")
    if ref.namespace != pod.namespace:
        return (
            f"{ref} is in another namespace than the gateway pods ({pod.namespace}), which istiod refuses",
            "",
            (named,),
        )
    if secret is None:
        problem, doubt = _missing(world, ref, server)
        return problem, doubt, (named,)
    # An expired certificate is evidence, not a problem: clients that do not verify it get through.
    return *_judge(secret), (named, secret.evidence("keys"), secret.evidence("certificate.notAfter"))


def _missing(world: World, ref: Ref, server: Server) -> tuple[str, str]:
    match world.missing(kinds.SECRET, ref.namespace, ref.name):
        case Missing.GONE | Missing.NO_KIND:
            elsewhere = ""
            if server.gateway.namespace != ref.namespace:
                elsewhere = (
                    f" (it is looked for where the gateway pods are, not in {server.gateway.namespace},"
                    " where the Gateway is)"
                )
            return f"{ref} does not exist{elsewhere}", ""
        case Missing.NOT_IN_FILES:
            return "", f"{ref} is not in these files"
        case _:
            return "", f"{ref} could not be read"


def _judge(secret: Obj) -> tuple[str, str]:
    """(problem, doubt) of a Secret that exists, by the facts that reading leaves of it."""
    keys = {str(key) for key in secret.items("keys")}
    if not ({"tls.crt", "tls.key"} <= keys or {"cert", "key"} <= keys):
        have = ", ".join(sorted(keys)) or "nothing"
        return f"{secret.ref} has no tls.crt and tls.key (it has {have})", ""
    facts = secret.mapping("certificate")
    if facts.get("problem"):
        return f"{secret.ref}: {facts['problem']}", ""
    if facts.get("keyMatches") is False:
        return f"{secret.ref}: tls.key is not the key of tls.crt", ""
    return "", ""


def _authority(world: World, pod: Obj, server: Server, credential: str) -> tuple[str, str]:
    """(problem, doubt) of the CA that clients are verified with: in NAME-cacert, else in NAME itself."""
    tls = server.tls or {}
    own = secret_ref(str(tls.get("caCertCredentialName") or f"{credential}-cacert"), pod.namespace)
    main = secret_ref(credential, pod.namespace)
    if own is None or main is None:
        return "", ""
    found = world.get(kinds.SECRET, own.namespace, own.name, optional=True)
    secret = world.get(kinds.SECRET, main.namespace, main.name, optional=True)
    for one in (found, secret):
        if one is not None and {"ca.crt", "cacert"} & {str(key) for key in one.items("keys")}:
            return "", ""
    if found is None and world.missing(kinds.SECRET, own.namespace, own.name) in (
        Missing.UNREADABLE,
        Missing.NOT_IN_FILES,
    ):
        return "", f"{own} is not seen"
    if secret is None:
        return "", ""
    return f"neither {own} nor ca.crt in {main} exists: no client certificate can be verified", ""
