"""Secrets as they leave the collector: facts of certificates, never a value."""

from __future__ import annotations

import base64
import ipaddress
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from kgdiag.collect.clean import clean
from kgdiag.collect.secrets import redact

START, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def certificate(subject: str, issuer: str, *sans: x509.GeneralName, key: Any = KEY) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(END)
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    return builder.sign(OTHER, hashes.SHA256()).public_bytes(Encoding.PEM)


def private(key: Any = KEY, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return pem


def secret(**values: bytes) -> dict[str, Any]:
    data = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "x", "namespace": "a", "labels": {"l": "1"}},
        "data": data,
    }


LEAF = certificate(
    "iris",
    "ca",
    x509.DNSName("iris.example.com"),
    x509.DNSName("*.example.com"),
    x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
    x509.UniformResourceIdentifier("spiffe://cluster.local/ns/a/sa/b"),
)
ROOT = certificate("ca", "ca")


def test_the_facts_of_a_server_certificate() -> None:
    out = redact(secret(tls_crt=LEAF + ROOT, tls_key=private(), ca_crt=ROOT))
    root = {
        "subject": "CN=ca",
        "issuer": "CN=ca",
        "notBefore": "2025-01-01T00:00:00Z",
        "notAfter": "2026-01-01T00:00:00Z",
        "selfSigned": True,
    }
    assert out == {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "x", "namespace": "a", "labels": {"l": "1"}},
        "keys": ["ca.crt", "tls.crt", "tls.key"],
        "certificate": {
            "sans": ["iris.example.com", "*.example.com", "10.0.0.1", "spiffe://cluster.local/ns/a/sa/b"],
            "subject": "CN=iris",
            "issuer": "CN=ca",
            "notBefore": "2025-01-01T00:00:00Z",
            "notAfter": "2026-01-01T00:00:00Z",
            "keyMatches": True,
            "selfSigned": False,
            "chainLength": 2,
            "keyType": "ECDSA secp256r1",
            "problem": "",
            "caBundle": [root],
            "caProblem": "",
        },
    }


@pytest.mark.parametrize(
    ("key", "matches", "problem"),
    [
        (private(), True, ""),
        (private(OTHER), False, ""),
        (private(password=b"x"), None, "the private key is encrypted"),
        (b"junk", None, "the private key cannot be read"),
        (b"", None, "the private key is empty"),
    ],
)
def test_whether_the_key_is_the_certificates(key: bytes, matches: bool | None, problem: str) -> None:
    facts = redact(secret(tls_crt=LEAF, tls_key=key))["certificate"]
    assert (facts["keyMatches"], facts["problem"]) == (matches, problem)


def test_without_a_key_nothing_is_said_of_it() -> None:
    assert redact(secret(tls_crt=LEAF))["certificate"]["keyMatches"] is None


@pytest.mark.parametrize(("pem", "problem"), [(b"junk", "not PEM"), (b"", "empty"), (LEAF[:200], "not PEM")])
def test_a_certificate_that_is_none(pem: bytes, problem: str) -> None:
    facts = redact(secret(tls_crt=pem, tls_key=private()))["certificate"]
    assert problem in facts["problem"]
    assert (facts["chainLength"], facts["sans"], facts["notAfter"]) == (0, [], None)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (rsa.generate_private_key(65537, 1024), "RSA 1024"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
    ],
)
def test_kinds_of_keys(key: Any, text: str) -> None:
    facts = redact(secret(tls_crt=certificate("a", "b", key=key), tls_key=private(key)))["certificate"]
    assert (facts["keyType"], facts["keyMatches"]) == (text, True)


def test_istios_names_of_keys() -> None:
    facts = redact(secret(cert=LEAF, key=private(), cacert=ROOT))["certificate"]
    assert (facts["subject"], facts["keyMatches"], len(facts["caBundle"])) == ("CN=iris", True, 1)


def test_a_secret_with_an_authority_alone() -> None:
    facts = redact(secret(cacert=ROOT))["certificate"]
    assert (facts["sans"], facts["subject"], facts["caBundle"][0]["subject"]) == ([], None, "CN=ca")


def test_a_secret_without_certificates() -> None:
    assert redact(secret(password=b"hunter2"))["certificate"] is None


def test_no_value_survives() -> None:
    raw = secret(tls_crt=LEAF, tls_key=private(), password=b"hunter2")
    raw["stringData"] = {"plain": "swordfish"}
    raw["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": json.dumps(raw),
        "kapp.k14s.io/original": json.dumps(raw),
        "cert-manager.io/issuer-name": "letsencrypt",
    }
    raw["metadata"]["managedFields"] = [{"fieldsV1": {"f:password": {}}}]
    raw["more"] = "hunter2"
    text = repr(clean(raw))
    for value in ("hunter2", "swordfish", "PRIVATE", base64.b64encode(b"hunter2").decode(), "managedFields"):
        assert value not in text
    assert "letsencrypt" in text
    assert "'plain'" in text


def test_the_original_is_left_alone() -> None:
    raw = secret(tls_crt=LEAF)
    before = json.dumps(raw)
    redact(raw)
    assert json.dumps(raw) == before


def test_twice_is_once() -> None:
    once = redact(secret(tls_crt=LEAF, tls_key=private()))
    assert redact(once) == once


def test_string_data_wins() -> None:
    raw = secret(tls_crt=b"junk")
    raw["stringData"] = {"tls.crt": LEAF.decode()}
    assert redact(raw)["certificate"]["subject"] == "CN=iris"


@pytest.mark.parametrize("data", [None, 7, [], {"a": None}, {"a": "%%%"}, {"tls.crt": {"b": 1}}])
def test_data_of_the_wrong_shape(data: Any) -> None:
    out = redact({"kind": "Secret", "apiVersion": "v1", "metadata": None, "data": data})
    assert "data" not in out
    assert out["keys"] == sorted(data if isinstance(data, dict) else [])
