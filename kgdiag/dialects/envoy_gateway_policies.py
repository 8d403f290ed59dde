"""Envoy Gateway's policies: which one applies to a route, and what it says to a request.

Sources, envoyproxy/gateway: api/v1alpha1/{securitypolicy,authorization,clienttrafficpolicy,
backendtrafficpolicy,policy_helpers}_types.go and internal/gatewayapi/securitypolicy.go (precedence: rule
over route over listener over Gateway, the older of two on one target).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from kgdiag.dialects.gateway_api.policies import applied, fixed, origin_of, setting, unread
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj, dig
from kgdiag.model.proxy import (
    Cors,
    Fault,
    FilterRequest,
    How,
    HttpFilter,
    Origin,
    Ruling,
    StringMatch,
    Verdict,
)

_GROUP, _V = "gateway.envoyproxy.io", ("v1alpha1",)
SECURITY_POLICY = Kind(_GROUP, "SecurityPolicy", "securitypolicies", ("sp",), _V)
CLIENT_TRAFFIC_POLICY = Kind(_GROUP, "ClientTrafficPolicy", "clienttrafficpolicies", ("ctp",), _V)
BACKEND_TRAFFIC_POLICY = Kind(_GROUP, "BackendTrafficPolicy", "backendtrafficpolicies", ("btp",), _V)
EXTENSION_POLICY = Kind(_GROUP, "EnvoyExtensionPolicy", "envoyextensionpolicies", ("eep",), _V)
PATCH_POLICY = Kind(_GROUP, "EnvoyPatchPolicy", "envoypatchpolicies", ("epp",), _V)

__all__ = ["applied", "extensions", "fault", "rate_limits", "security", "security_cors", "unread"]

# Behind fault injection and CORS, in the order of internal/xds/translator/httpfilters.go.
_EXT_AUTH, _API_KEY, _BASIC, _OIDC, _JWT, _EXTENSION, _AUTHORIZATION, _RATE = range(110, 190, 10)


# -- SecurityPolicy ----------------------------------------------------------------------------------------


def security(policies: list[Obj]) -> Iterator[HttpFilter]:
    """What SecurityPolicies add to a route."""
    kinds = (
        ("extAuth", "ext_authz", _EXT_AUTH, _ext_auth),
        ("apiKeyAuth", "api_key", _API_KEY, _api_key),
        ("basicAuth", "basic_auth", _BASIC, _basic_auth),
        ("oidc", "oauth2", _OIDC, _oidc),
        ("jwt", "jwt", _JWT, _jwt),
        ("authorization", "rbac", _AUTHORIZATION, _authorization),
    )
    for field, name, stage, judge in kinds:
        found = setting(policies, f"spec.{field}")
        if found:
            origin = origin_of(found[0], f"spec.{field}")
            yield HttpFilter(name, partial(judge, found[1], origin), origin, stage)


def _header(request: FilterRequest, name: str) -> str | None:
    wanted = name.lower()
    return next((value for key, value in request.headers if key == wanted), None)


def _parameter(request: FilterRequest, name: str) -> bool:
    return any(part.partition("=")[0] == name for part in request.query.split("&"))


def _cookie(request: FilterRequest, name: str) -> bool:
    cookies = _header(request, "cookie") or ""
    return any(part.strip().partition("=")[0] == name for part in cookies.split(";"))


def _ext_auth(_settings: Mapping[str, Any], origin: Origin, _request: FilterRequest) -> Ruling:
    return Ruling(Verdict.UNKNOWN, f"the external authorizer of {origin.ref} decides", origin=origin)


def _api_key(settings: Mapping[str, Any], origin: Origin, request: FilterRequest) -> Ruling:
    sources = settings.get("extractFrom")
    for source in sources if isinstance(sources, list) else ():
        headers, params = dig(source, "headers", []), dig(source, "params", [])
        sent = (
            any(_header(request, str(name)) is not None for name in headers)
            or any(_parameter(request, str(name)) for name in params)
            or any(_cookie(request, str(name)) for name in dig(source, "cookies", []))
        )
        if sent:
            return Ruling(Verdict.UNKNOWN, "whether the API key is a known one is not known", origin=origin)
    return Ruling(Verdict.DENY, f"{origin.ref} wants an API key, and the request has none", 401, origin)


def _basic_auth(_settings: Mapping[str, Any], origin: Origin, request: FilterRequest) -> Ruling:
    sent = _header(request, "authorization") or ""
    if sent.lower().startswith("basic "):
        return Ruling(Verdict.UNKNOWN, "whether user and password are right is not known", origin=origin)
    return Ruling(
        Verdict.DENY, f"{origin.ref} wants user and password, and the request has none", 401, origin
    )


def _oidc(settings: Mapping[str, Any], origin: Origin, request: FilterRequest) -> Ruling:
    if _header(request, "cookie") or request.path == settings.get("logoutPath", "/logout"):
        return Ruling(Verdict.UNKNOWN, "whether the session's cookies are valid is not known", origin=origin)
    if _header(request, "authorization"):
        return Ruling(
            Verdict.UNKNOWN, "whether the token is taken instead of a session is not known", origin=origin
        )
    reason = (
        f"{origin.ref} sends requests without a session to the login of {dig(settings, 'provider.issuer')}"
    )
    return Ruling(Verdict.DENY, reason, 302, origin)


def _jwt(settings: Mapping[str, Any], origin: Origin, request: FilterRequest) -> Ruling:
    providers = settings.get("providers")
    places: list[str] = []
    for provider in providers if isinstance(providers, list) else ():
        source = dig(provider, "extractFrom")
        headers = [str(item.get("name")) for item in dig(source, "headers", []) if isinstance(item, Mapping)]
        params = [str(name) for name in dig(source, "params", [])]
        cookies = [str(name) for name in dig(source, "cookies", [])]
        if not (headers or params or cookies):
            headers, params = ["Authorization"], ["access_token"]
        places += headers
        if (
            any(_header(request, name) is not None for name in headers)
            or any(_parameter(request, name) for name in params)
            or any(_cookie(request, name) for name in cookies)
        ):
            return Ruling(Verdict.UNKNOWN, "whether the token is valid is not known", origin=origin)
    if settings.get("optional") is True:
        return Ruling(Verdict.ALLOW, "no token, and none is needed", origin=origin)
    return Ruling(Verdict.DENY, f"{origin.ref} wants a JWT, and the request has none", 401, origin)


def _authorization(settings: Mapping[str, Any], origin: Origin, request: FilterRequest) -> Ruling:
    """Rules in their order, the first that matches decides; the default is to deny."""
    rules = settings.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if not isinstance(rule, Mapping):
            continue
        named = str(rule.get("name") or index)
        said = _rule_matches(rule, request)
        if said is None:
            reason = f"whether rule {named} of {origin.ref} matches is not known (address or token)"
            return Ruling(Verdict.UNKNOWN, reason, origin=origin)
        if said:
            return _ruled(str(rule.get("action")), f"rule {named} of {origin.ref}", origin)
    return _ruled(str(settings.get("defaultAction") or "Deny"), f"the default of {origin.ref}", origin)


def _ruled(action: str, what: str, origin: Origin) -> Ruling:
    if action == "Allow":
        return Ruling(Verdict.ALLOW, f"{what} allows it", origin=origin)
    return Ruling(Verdict.DENY, f"{what} denies it", 403, origin)


def _rule_matches(rule: Mapping[str, Any], request: FilterRequest) -> bool | None:
    methods = dig(rule, "operation.methods", [])
    if methods and request.method not in methods:
        return False
    for wanted in dig(rule, "principal.headers", []):
        values = wanted.get("values") or [] if isinstance(wanted, Mapping) else []
        if _header(request, str(dig(wanted, "name", ""))) not in values:
            return False
    ranges = dig(rule, "principal.clientCIDRs", [])
    if ranges:
        inside = _inside(request.peer.address, [str(item) for item in ranges])
        if inside is not True:
            return inside
    unknown = ("jwt", "clientIPGeoLocations", "sourceCIDRs")
    return None if any(dig(rule, f"principal.{name}") for name in unknown) else True


def _inside(address: str | None, ranges: list[str]) -> bool | None:
    if not address:
        return None
    try:
        own = ipaddress.ip_address(address)
        return any(own in ipaddress.ip_network(item, strict=False) for item in ranges)
    except ValueError:
        return None


def security_cors(policies: list[Obj]) -> Cors | None:
    """The CORS settings of a SecurityPolicy."""
    found = setting(policies, "spec.cors")
    if found is None:
        return None
    settings = found[1]

    def listed(name: str) -> str:
        values = settings.get(name)
        return ",".join(str(item) for item in values) if isinstance(values, list) else ""

    origins = settings.get("allowOrigins")
    return Cors(
        origins=tuple(_wildcard(str(item)) for item in origins) if isinstance(origins, list) else (),
        methods=listed("allowMethods"),
        headers=listed("allowHeaders"),
        expose=listed("exposeHeaders"),
        credentials=settings.get("allowCredentials") is True or None,
        answers_all=True,
    )


def _wildcard(origin: str) -> StringMatch:
    if "*" not in origin:
        return StringMatch(How.EXACT, origin)
    escaped = "".join("\\" + char if char in r"\.+?()|[]{}^$" else char for char in origin)
    return StringMatch(How.REGEX, escaped.replace("*", ".*"))


# -- other policies ----------------------------------------------------------------------------------------


def extensions(policies: list[Obj]) -> Iterator[HttpFilter]:
    """Programs of the user's in the proxy: nobody can say what they do."""
    for policy in policies:
        named = [name for name in ("extProc", "wasm", "lua") if policy.items(f"spec.{name}")]
        if named:
            reason = f"{policy.ref} runs {', '.join(named)} in the proxy, which may refuse or change requests"
            origin = origin_of(policy, f"spec.{named[0]}")
            ruling = Ruling(Verdict.UNKNOWN, reason, origin=origin)
            yield HttpFilter("extension", partial(fixed, ruling), origin, _EXTENSION)


def fault(policies: list[Obj]) -> Fault | None:
    """Faults that a BackendTrafficPolicy injects."""
    found = setting(policies, "spec.faultInjection")
    if found is None:
        return None
    settings = found[1]
    status = dig(settings, "abort.httpStatus")
    delay = dig(settings, "delay.fixedDelay")
    return Fault(
        abort_status=status if isinstance(status, int) else None,
        abort_percent=float(dig(settings, "abort.percentage", 100)) if isinstance(status, int) else 0.0,
        delay=str(delay) if delay else None,
        delay_percent=float(dig(settings, "delay.percentage", 100)) if delay else 0.0,
    )


def rate_limits(policies: list[Obj]) -> Iterator[HttpFilter]:
    """A limit of 0 requests refuses all; any other lets a single request pass."""
    found = setting(policies, "spec.rateLimit")
    if found is None:
        return
    for how in ("local", "global"):
        for rule in dig(found[1], f"{how}.rules", []):
            if dig(rule, "limit.requests") == 0:
                origin = origin_of(found[0], f"spec.rateLimit.{how}")
                selectors = dig(rule, "clientSelectors")
                verdict = Verdict.UNKNOWN if selectors else Verdict.DENY
                ruling = Ruling(verdict, f"{found[0].ref} limits requests to 0", 429, origin, "RL")
                yield HttpFilter("ratelimit", partial(fixed, ruling), origin, _RATE)
