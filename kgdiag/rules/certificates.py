"""What is wrong with a certificate Secret, by the facts that reading leaves of it (never its values)."""

from __future__ import annotations

from datetime import UTC, datetime

from kgdiag.model.obj import Obj


def problem_of(secret: Obj) -> str:
    """Why no server can use the Secret, ``""`` where it can as far as is known."""
    keys = {str(key) for key in secret.items("keys")}
    if keys and not ({"tls.crt", "tls.key"} <= keys or {"cert", "key"} <= keys):
        return f"{secret.ref} has no tls.crt and tls.key (it has {', '.join(sorted(keys))})"
    if secret.get("certificate.problem"):
        return f"{secret.ref}: {secret.text('certificate.problem')}"
    if secret.get("certificate.keyMatches") is False:
        return f"{secret.ref}: tls.key is not the key of tls.crt"
    return ""


def ends(secret: Obj) -> datetime | None:
    """When the certificate ends to be valid, None where it says nothing."""
    return _moment(secret.text("certificate.notAfter"))


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def names(secret: Obj) -> list[str]:
    """The certificate's subject alternative names, lower case."""
    return [str(name).lower() for name in secret.items("certificate.sans")]


def name_covers(pattern: str, host: str) -> bool:
    """Whether a name of a certificate is good for a host: a wildcard stands for one label.

    Source: RFC 6125 section 6.4.3, as Go's and BoringSSL's verifiers have it.
    """
    if not pattern.startswith("*."):
        return pattern == host
    head, dot, rest = host.partition(".")
    return bool(head and dot) and rest == pattern[2:]
