"""HTTP and network filters that can end a request, as far as a request alone decides them.

RBAC is evaluated whole, in three values: what depends on something that cannot be known is unknown, and
only matters where it would change the verdict. Sources: envoy api/envoy/config/rbac/v3/rbac.proto,
extensions/filters/http/{jwt_authn,ext_authz,basic_auth,api_key_auth}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from kgdiag.dialects.envoy.match import header_match, string_match
from kgdiag.model.obj import dig
from kgdiag.model.proxy import FilterRequest, HttpFilter, Origin, Ruling, StringMatch, Verdict
from kgdiag.model.ref import Ref

Json = Mapping[str, Any]
Matches = Callable[[StringMatch, str], bool]
Ternary = bool | None

# Filters that may answer or change a request in a way that their config alone does not tell.
_OPAQUE = {"oauth2": 302, "ext_proc": 500, "ext_authz": 403, "rate_limit": 429, "ratelimit": 429}
_BY_TYPE = {
    "RBAC": "rbac",
    "RBACPerRoute": "rbac",
    "JwtAuthentication": "jwt_authn",
    "PerRouteConfig": "jwt_authn",
    "ExtAuthz": "ext_authz",
    "ExtAuthzPerRoute": "ext_authz",
    "BasicAuth": "basic_auth",
    "BasicAuthPerRoute": "basic_auth",
    "ApiKeyAuth": "api_key_auth",
    "ApiKeyAuthPerRoute": "api_key_auth",
    "OAuth2": "oauth2",
    "ExternalProcessor": "ext_proc",
    "RateLimit": "rate_limit",
    "HTTPFault": "fault",
    "Cors": "cors",
}
_SHORT = {
    "envoy.filters.http.rbac": "rbac",
    "envoy.filters.network.rbac": "rbac",
    "envoy.filters.http.jwt_authn": "jwt_authn",
    "envoy.filters.http.ext_authz": "ext_authz",
    "envoy.filters.http.basic_auth": "basic_auth",
    "envoy.filters.http.api_key_auth": "api_key_auth",
}


def http_filters(raw: Iterable[Json], matches: Matches) -> tuple[HttpFilter, ...]:
    """The filters of a chain that can end a request, in the chain's order."""
    found = []
    shadow: dict[str, Callable[[FilterRequest], Ternary]] = {}
    behind = 0
    for at, item in enumerate(raw):
        config = item.get("typed_config")
        config = config if isinstance(config, Mapping) else {}
        kind = _kind(str(item.get("name", "")), config)
        if kind in ("fault", "cors"):
            behind = 100
        if item.get("disabled") is True:
            continue
        if kind == "rbac" and "shadow_rules" in config:
            prefix = str(config.get("shadow_rules_stat_prefix", ""))
            shadow[prefix] = _policies(config["shadow_rules"], matches)
        made = _filter(kind, config, matches, shadow, behind + at)
        if made is not None:
            found.append(made)
    return tuple(found)


def route_filters(host: Json, route: Json, matches: Matches) -> tuple[HttpFilter, ...]:
    """What a virtual host or route decides for the chain's filters (``typed_per_filter_config``)."""
    config = {**(host.get("typed_per_filter_config") or {}), **(route.get("typed_per_filter_config") or {})}
    found = []
    for at, (name, value) in enumerate(sorted(config.items())):
        if not isinstance(value, Mapping):
            continue
        wrapped = value.get("config")
        inner: Json = wrapped if isinstance(wrapped, Mapping) else value
        kind = _kind(name, inner)
        if kind == "rbac":
            own = inner.get("rbac")
            inner = own if isinstance(own, Mapping) else {}
        elif kind not in ("basic_auth", "api_key_auth", "jwt_authn", "oauth2"):
            continue
        made = _filter(kind, inner, matches, {}, at)
        if made is not None:
            found.append(made)
    return tuple(found)


def _kind(name: str, config: Json) -> str:
    kind = str(config.get("@type", "")).rpartition(".")[2]
    return (
        _BY_TYPE.get(kind) or _SHORT.get(name.partition("/")[0]) or name.rpartition(".")[2].partition("/")[0]
    )


def _filter(
    kind: str,
    config: Json,
    matches: Matches,
    shadow: Mapping[str, Callable[[FilterRequest], Ternary]],
    stage: int,
) -> HttpFilter | None:
    match kind:
        case "rbac":
            return HttpFilter("rbac", rbac(config, matches), None, stage) if "rules" in config else None
        case "jwt_authn":
            return HttpFilter("jwt", _jwt(config, matches), None, stage)
        case "ext_authz":
            return HttpFilter("ext_authz", _ext_authz(config, shadow), None, stage)
        case "basic_auth" | "api_key_auth":
            return HttpFilter(kind, _credentials(kind, config), None, stage)
        case "oauth2" | "ext_proc" | "rate_limit":
            return (
                HttpFilter(kind, _opaque(kind), None, stage)
                if config.get("rate_limit_service") or kind == "oauth2"
                else None
            )
    return None


# -- RBAC ----------------------------------------------------------------------------------------------


def rbac(config: Json, matches: Matches) -> Callable[[FilterRequest], Ruling]:
    """The judge of an RBAC filter: ALLOW lets through what a policy matches, DENY what none matches."""
    rules = config["rules"]
    action = str(rules.get("action", "ALLOW"))
    policies = {name: _policy(policy, matches) for name, policy in (rules.get("policies") or {}).items()}

    def judge(request: FilterRequest) -> Ruling:
        if action == "LOG":
            return Ruling(Verdict.ALLOW, "the policy only logs")
        said = {name: policy(request) for name, policy in policies.items()}
        hit = next((name for name, value in said.items() if value is True), None)
        open_ones = [name for name, value in said.items() if value is None]
        if hit is not None:
            verdict = Verdict.ALLOW if action == "ALLOW" else Verdict.DENY
            return Ruling(verdict, f"RBAC policy {hit} ({action}) matches", 403, _policy_origin(hit))
        if open_ones:
            words = f"RBAC policy {open_ones[0]} ({action}) depends on what a request alone does not tell"
            return Ruling(Verdict.UNKNOWN, words, 403, _policy_origin(open_ones[0]))
        if action == "ALLOW":
            return Ruling(Verdict.DENY, "no RBAC policy that allows matches", 403)
        return Ruling(Verdict.ALLOW, "no RBAC policy that denies matches")

    return judge


def _policy_origin(name: str) -> Origin | None:
    """Istio names policies ``ns[NAMESPACE]-policy[NAME]-rule[N]``."""
    if not name.startswith("ns[") or "]-policy[" not in name:
        return None
    namespace, _, rest = name[3:].partition("]-policy[")
    policy, _, rule = rest.partition("]-rule[")
    ref = Ref("security.istio.io", "AuthorizationPolicy", namespace, policy)
    return Origin(ref, f"spec.rules[{rule.rstrip(']')}]" if rule else "")


def _policies(rules: Json, matches: Matches) -> Callable[[FilterRequest], Ternary]:
    policies = [_policy(policy, matches) for policy in (rules.get("policies") or {}).values()]
    return lambda request: _any(policy(request) for policy in policies)


def _policy(raw: Json, matches: Matches) -> Callable[[FilterRequest], Ternary]:
    permissions, principals = raw.get("permissions") or (), raw.get("principals") or ()
    return lambda request: _both(
        _any(_permission(item, request, matches) for item in permissions),
        _any(_principal(item, request, matches) for item in principals),
    )


def _any(values: Iterable[Ternary]) -> Ternary:
    found: Ternary = False
    for value in values:
        if value is True:
            return True
        found = None if value is None else found
    return found


def _every(values: Iterable[Ternary]) -> Ternary:
    found: Ternary = True
    for value in values:
        if value is False:
            return False
        found = None if value is None else found
    return found


def _both(left: Ternary, right: Ternary) -> Ternary:
    return _every((left, right))


def _not(value: Ternary) -> Ternary:
    return None if value is None else not value


def _permission(raw: Json, request: FilterRequest, matches: Matches) -> Ternary:
    if raw.get("any") is True:
        return True
    for key, value in raw.items():
        match key:
            case "and_rules":
                return _every(_permission(item, request, matches) for item in value.get("rules") or ())
            case "or_rules":
                return _any(_permission(item, request, matches) for item in value.get("rules") or ())
            case "not_rule":
                return _not(_permission(value, request, matches))
            case "destination_port":
                return request.local_port == int(value)
            case "destination_port_range":
                return int(value.get("start", 0)) <= request.local_port < int(value.get("end", 0))
            case "requested_server_name":
                return matches(string_match(value), request.sni or "")
            case _:
                return _shared(key, value, request, matches)
    return None


def _principal(raw: Json, request: FilterRequest, matches: Matches) -> Ternary:
    if raw.get("any") is True:
        return True
    for key, value in raw.items():
        match key:
            case "and_ids":
                return _every(_principal(item, request, matches) for item in value.get("ids") or ())
            case "or_ids":
                return _any(_principal(item, request, matches) for item in value.get("ids") or ())
            case "not_id":
                return _not(_principal(value, request, matches))
            case "authenticated":
                return _authenticated(value.get("principal_name"), request, matches)
            case "filter_state":
                if str(value.get("key", "")).endswith("peer_principal"):
                    return _authenticated(value.get("string_match"), request, matches)
                return None
            case "direct_remote_ip" | "source_ip":
                return _within(value, request.peer.address)
            case "remote_ip":
                return _within(value, _client(request))
            case _:
                return _shared(key, value, request, matches)
    return None


def _shared(key: str, value: Any, request: FilterRequest, matches: Matches) -> Ternary:
    """Conditions that permissions and principals have in common; None for those that are not known here."""
    if key == "header":
        if not request.http:
            return False
        wanted = header_match(value)
        held = _header(request, wanted.name)
        if held is None and not wanted.missing_is_empty:
            return wanted.invert and wanted.match is None
        found = True if wanted.match is None else matches(wanted.match, held or "")
        return found != wanted.invert
    if key == "url_path":
        return matches(string_match(value.get("path") or {}), request.path) if request.http else False
    return None


def _authenticated(raw: Any, request: FilterRequest, matches: Matches) -> Ternary:
    if not request.peer.principal_known:
        return None
    if request.peer.principal is None:
        return False
    return (
        matches(string_match(raw), f"spiffe://{request.peer.principal}") if isinstance(raw, Mapping) else True
    )


def _header(request: FilterRequest, name: str) -> str | None:
    special = {
        ":method": request.method,
        ":authority": request.authority,
        "host": request.authority,
        ":path": f"{request.path}?{request.query}" if request.query else request.path,
    }
    if name in special:
        return special[name]
    values = [value for key, value in request.headers if key == name]
    return ",".join(values) if values else None


def _client(request: FilterRequest) -> str | None:
    forwarded = _header(request, "x-forwarded-for")
    return forwarded.rpartition(",")[2].strip() if forwarded else request.peer.address


def _within(raw: Json, address: str | None) -> Ternary:
    if address is None:
        return None
    try:
        network = ip_network(f"{raw.get('address_prefix')}/{raw.get('prefix_len', 0)}", strict=False)
        return ip_address(address) in network
    except ValueError:
        return None


# -- others --------------------------------------------------------------------------------------------


def _jwt(config: Json, matches: Matches) -> Callable[[FilterRequest], Ruling]:
    requirements = [
        rule.get("requires")
        for rule in config.get("rules") or ()
        if isinstance(rule.get("requires"), Mapping)
    ]
    requirements += [
        value for value in (config.get("requirement_map") or {}).values() if isinstance(value, Mapping)
    ]

    def judge(request: FilterRequest) -> Ruling:
        token = _header(request, "authorization") or ""
        if token.lower().startswith("bearer "):
            return Ruling(Verdict.UNKNOWN, "whether the token is valid cannot be known from here", 401)
        if requirements and not any(_may_miss(item) for item in requirements):
            return Ruling(Verdict.DENY, "a JWT is required and the request has none", 401)
        return Ruling(Verdict.ALLOW, "no token is required")

    return judge


def _may_miss(requirement: Json) -> bool:
    if "allow_missing" in requirement or "allow_missing_or_failed" in requirement:
        return True
    inner = dig(requirement, "requires_any.requirements", [])
    return any(_may_miss(item) for item in inner if isinstance(item, Mapping))


def _ext_authz(
    config: Json, shadow: Mapping[str, Callable[[FilterRequest], Ternary]]
) -> Callable[[FilterRequest], Ruling]:
    """Istio asks the authorizer only where the shadow rules of a CUSTOM policy match."""
    path = dig(config, "filter_enabled_metadata.path", [])
    key = str(path[0].get("key", "")) if path and isinstance(path[0], Mapping) else ""
    condition = next((rules for prefix, rules in shadow.items() if prefix and key.startswith(prefix)), None)

    def judge(request: FilterRequest) -> Ruling:
        asked = condition(request) if condition else (None if key else True)
        if asked is False:
            return Ruling(Verdict.ALLOW, "the external authorizer is not asked")
        return Ruling(Verdict.UNKNOWN, "an external authorizer decides", 403, None, "UAEX")

    return judge


def _credentials(kind: str, config: Json) -> Callable[[FilterRequest], Ruling]:
    sources = [
        str(item.get("header", "")).lower()
        for item in config.get("key_sources") or ()
        if isinstance(item, Mapping)
    ]
    names = ["authorization"] if kind == "basic_auth" or not sources else sources

    def judge(request: FilterRequest) -> Ruling:
        if not any(_header(request, name) for name in names if name):
            return Ruling(Verdict.DENY, f"{kind.replace('_', ' ')} is required and the request has none", 401)
        return Ruling(Verdict.UNKNOWN, "whether the credentials are right cannot be known from here", 401)

    return judge


def _opaque(kind: str) -> Callable[[FilterRequest], Ruling]:
    return lambda request: Ruling(
        Verdict.UNKNOWN, f"{kind} decides by what is not in the config", _OPAQUE.get(kind)
    )
