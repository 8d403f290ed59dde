"""RequestAuthentication: what can be said of a request's token without its keys.

Sources: istio pilot/pkg/security/authn/policy_applier.go convertToEnvoyJwtConfig; envoy
source/extensions/filters/http/jwt_authn/{extractor,authenticator}.cc; RFC 7519.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from kgdiag.model.obj import Obj
from kgdiag.model.proxy import FilterRequest, Origin, Ruling, Verdict

Rules = Sequence[tuple[Obj, int, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Locations:
    """Where tokens are looked for: (header, prefix), query parameters and cookies."""

    headers: tuple[tuple[str, str], ...] = ()
    params: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()

    def tokens(self, request: FilterRequest) -> list[str]:
        """The tokens that a request carries in these places."""
        found = []
        for name, prefix in self.headers:
            for key, value in request.headers:
                if key == name and prefix in value:
                    found.append(value.partition(prefix)[2] if prefix else value)
        query = parse_qsl(request.query, keep_blank_values=True)
        found += [value for key, value in query if key in self.params]
        for key, value in request.headers:
            if key == "cookie" and self.cookies:
                pairs = (part.strip().partition("=") for part in value.split(";"))
                found += [text for name, _, text in pairs if name in self.cookies]
        return found


_DEFAULT = Locations((("authorization", "Bearer "),), ("access_token",))


def locations_of(rule: Mapping[str, Any]) -> Locations:
    """The places of one rule; the defaults hold where it names none."""
    raw = rule.get("fromHeaders")
    headers = tuple(
        (str(item.get("name") or "").lower(), str(item.get("prefix") or ""))
        for item in (raw if isinstance(raw, list) else ())
        if isinstance(item, Mapping)
    )
    params = tuple(str(item) for item in rule.get("fromParams") or ())
    cookies = tuple(str(item) for item in rule.get("fromCookies") or ())
    return Locations(headers, params, cookies) if headers or params or cookies else _DEFAULT


def locations(rules: Rules) -> tuple[Locations, ...]:
    """The places of all rules."""
    return tuple(dict.fromkeys(locations_of(rule) for _, _, rule in rules))


def claims_of(token: str) -> Mapping[str, Any] | None:
    """The claims of a token, unverified; None where it is no JWT at all."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    decoded = [_decode(part) for part in parts[:2]]
    header, payload = decoded
    if not isinstance(header, dict) or not isinstance(payload, dict) or _bytes(parts[2]) is None:
        return None
    return payload if isinstance(header.get("alg"), str) else None


def _bytes(part: str) -> bytes | None:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


def _decode(part: str) -> Any:
    raw = _bytes(part)
    try:
        return json.loads(raw) if raw is not None else None
    except ValueError:
        return None


def judge(rules: Rules, request: FilterRequest) -> Ruling:
    """No token passes; what is no JWT, or of an issuer that no rule names, is 401; else nobody can know."""
    if not request.http:
        return Ruling(Verdict.ALLOW, "RequestAuthentication does not look at TCP connections", None)
    if _preflight(request):
        return Ruling(Verdict.ALLOW, "CORS preflight requests need no token", None)
    carried = [
        (policy, at, rule, token)
        for policy, at, rule in rules
        for token in locations_of(rule).tokens(request)
    ]
    if not carried:
        return Ruling(Verdict.ALLOW, "the request carries no token: RequestAuthentication lets it pass", None)
    policy, at, _, _ = carried[0]
    part = f"spec.jwtRules[{at}]"
    origin, evidence = Origin(policy.ref, part), (policy.evidence(f"{part}.issuer"),)
    known = [claims_of(token) for _, _, _, token in carried]
    if all(claims is None for claims in known):
        reason = f"the token is no JWT (header.payload.signature), which {policy.ref} answers with 401"
        return Ruling(Verdict.DENY, reason, 401, origin, evidence=evidence)
    if not any(
        claims is not None and str(claims.get("iss") or "") == str(rule.get("issuer") or "")
        for claims, (_, _, rule, _) in zip(known, carried, strict=True)
    ):
        issuers = ", ".join(dict.fromkeys(str(rule.get("issuer") or "") for _, _, rule in rules))
        issuer = next(str(claims.get("iss") or "") for claims in known if claims is not None)
        reason = f"the token's issuer {issuer!r} is none of {issuers}: 401"
        return Ruling(Verdict.DENY, reason, 401, origin, evidence=evidence)
    reason = (
        f"{policy.ref} verifies the token, which needs its issuer's keys and the time: 401 if it is not valid"
    )
    return Ruling(Verdict.UNKNOWN, reason, None, origin, evidence=evidence)


def _preflight(request: FilterRequest) -> bool:
    names = {key for key, _ in request.headers}
    return request.method == "OPTIONS" and "origin" in names and "access-control-request-method" in names
