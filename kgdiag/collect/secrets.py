"""Secrets without their values: which keys they have, and what their certificates say.

What leaves here, instead of ``data`` and ``stringData``::

    {"keys": ["ca.crt", "tls.crt", "tls.key"],      # names only
     "certificate": {                               # null where the Secret has neither certificate nor CA
        "sans": ["iris.example.com", "10.0.0.1"],   # DNS names, IP addresses, URIs of the first certificate
        "subject": "CN=iris", "issuer": "CN=ca",    # RFC 4514
        "notBefore": "2025-01-01T00:00:00Z", "notAfter": "2026-01-01T00:00:00Z",
        "keyMatches": true,                         # null where there is no key, or none that can be read
        "selfSigned": false,                        # subject and issuer are the same
        "chainLength": 1,                           # certificates in tls.crt, the first is the server's own
        "keyType": "RSA 2048",                      # or ECDSA secp256r1, Ed25519
        "problem": "",                              # why certificate or key cannot be read
        "caBundle": [                               # ca.crt or cacert: whom clients must be signed by
            {"subject", "issuer", "notBefore", "notAfter", "selfSigned"}],
        "caProblem": ""}}

``sans`` is empty and the other fields are null where there is only a CA. Which keys hold what: Kubernetes'
``tls.crt``/``tls.key``/``ca.crt``; Istio's generic Secrets have ``cert``/``key``/``cacert``, and the Secret
``NAME-cacert`` beside ``NAME`` has ``ca.crt`` or ``cacert`` alone (istio
security/pkg/credentials and pilot/pkg/credentials/kube/secrets.go).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE_KEYS, PRIVATE_KEYS, CA_KEYS = ("tls.crt", "cert"), ("tls.key", "key"), ("ca.crt", "cacert")
KEPT_METADATA = (
    "name",
    "namespace",
    "uid",
    "labels",
    "creationTimestamp",
    "deletionTimestamp",
    "ownerReferences",
)
KEPT_ANNOTATIONS = ("cert-manager.io/",)
"""Tools keep copies of what they applied in annotations, so only prefixes known to be harmless stay."""
_SINGLE = ("subject", "issuer", "notBefore", "notAfter", "keyMatches", "selfSigned", "chainLength", "keyType")


def redact(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A new Secret with facts in the place of values; what was redacted before keeps its facts."""
    values = _values(raw)
    out: dict[str, Any] = {
        "apiVersion": raw.get("apiVersion"),
        "kind": raw.get("kind"),
        "metadata": _metadata(raw.get("metadata")),
        "type": raw.get("type") or "Opaque",
    }
    if not values and isinstance(raw.get("keys"), list):
        return {**out, "keys": raw["keys"], "certificate": raw.get("certificate")}
    return {**out, "keys": sorted(values), "certificate": certificate_facts(values)}


def certificate_facts(values: Mapping[str, bytes]) -> dict[str, Any] | None:
    """The ``certificate`` block for a Secret's decoded values, None where they have no certificate."""
    chain, key, bundle = (_first(values, names) for names in (CERTIFICATE_KEYS, PRIVATE_KEYS, CA_KEYS))
    if chain is None and bundle is None:
        return None
    facts: dict[str, Any] = {"sans": [], **dict.fromkeys(_SINGLE), "problem": ""}
    if chain is not None:
        facts |= _chain(chain, key)
    roots, problem = _certificates(bundle) if bundle is not None else ([], "")
    return {**facts, "caBundle": [_facts(root) for root in roots], "caProblem": problem}


def _chain(pem: bytes, key: bytes | None) -> dict[str, Any]:
    """The first certificate's facts, which is the server's own, and whether the key is its."""
    from cryptography.exceptions import UnsupportedAlgorithm

    certificates, problem = _certificates(pem)
    facts: dict[str, Any] = {"chainLength": len(certificates), "problem": problem}
    if not certificates:
        return facts
    own = certificates[0]
    facts |= {**_facts(own), "sans": _sans(own)}
    try:
        facts["keyType"] = _key_type(own.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return {**facts, "problem": "the certificate has a key of an unknown kind"}
    if key is not None:
        facts["keyMatches"], facts["problem"] = _matches(own, key)
    return facts


def _values(raw: Mapping[str, Any]) -> dict[str, bytes]:
    """Keys with their decoded values; ``stringData`` wins, as it does when a server takes it."""
    out: dict[str, bytes] = {}
    data, plain = raw.get("data"), raw.get("stringData")
    for key, value in data.items() if isinstance(data, Mapping) else ():
        try:
            out[str(key)] = base64.b64decode(str(value), validate=False)
        except (binascii.Error, ValueError):
            out[str(key)] = b""
    for key, value in plain.items() if isinstance(plain, Mapping) else ():
        out[str(key)] = str(value).encode()
    return out


def _metadata(meta: Any) -> dict[str, Any]:
    meta = meta if isinstance(meta, Mapping) else {}
    out = {key: meta[key] for key in KEPT_METADATA if key in meta}
    annotations = meta.get("annotations")
    if isinstance(annotations, Mapping):
        kept = {key: value for key, value in annotations.items() if str(key).startswith(KEPT_ANNOTATIONS)}
        out |= {"annotations": kept} if kept else {}
    return out


def _first(values: Mapping[str, bytes], names: tuple[str, ...]) -> bytes | None:
    return next((values[name] for name in names if name in values), None)


def _certificates(pem: bytes) -> tuple[list[x509.Certificate], str]:
    """The certificates of a PEM file in its order, and what is wrong with it."""
    from cryptography import x509

    if not pem.strip():
        return [], "the certificate is empty"
    try:
        certificates = x509.load_pem_x509_certificates(pem)
        for certificate in certificates:
            _facts(certificate)  # names and times are parsed only when they are asked for
        return certificates, ""
    except ValueError:
        return [], "the certificate is not PEM"


def _facts(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "notBefore": _time(certificate.not_valid_before_utc),
        "notAfter": _time(certificate.not_valid_after_utc),
        "selfSigned": certificate.subject == certificate.issuer,
    }


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _sans(certificate: x509.Certificate) -> list[str]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    kinds = (x509.DNSName, x509.IPAddress, x509.UniformResourceIdentifier)
    return [str(name.value) for name in names if isinstance(name, kinds)]


def _key_type(key: Any) -> str:
    size, curve = getattr(key, "key_size", None), getattr(key, "curve", None)
    if curve is not None:
        return f"ECDSA {curve.name}"
    name = type(key).__name__.lstrip("_").removesuffix("PublicKey")
    return f"{name} {size}" if size else name


def _matches(certificate: x509.Certificate, pem: bytes) -> tuple[bool | None, str]:
    """Whether the private key belongs to the certificate, and why that cannot be said."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if not pem.strip():
        return None, "the private key is empty"
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        return None, "the private key is encrypted"
    except (ValueError, UnsupportedAlgorithm):
        return None, "the private key cannot be read"
    return key.public_key() == certificate.public_key(), ""
