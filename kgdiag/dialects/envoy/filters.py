"""HTTP and network filters that can end a request, as far as a request alone decides them.

RBAC is evaluated whole, in three values: what depends on something that cannot be known is unknown, and
only matters where it would change the verdict. Sources: envoy api/envoy/config/rbac/v3/rbac.proto,
extensions/filters/http/{jwt_authn,ext_authz,basic_auth,api_key_auth}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

from kgdiag.dialects.envoy.match import header_match, path_match, string_match
from kgdiag.dialects.envoy.routes import fault
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


@dataclass(frozen=True, slots=True)
class Chain:
    """The HTTP filters of a chain that can end a request, in order, and whether it has those for faults and
    CORS."""

    filters: tuple[HttpFilter, ...]
    faults: bool
    cors: bool
    cors_first: bool
    cors_stage: int


def http_filters(raw: Iterable[Json], matches: Matches) -> Chain:
    """The filters of a chain. From fault injection or CORS on their stage is 100 and more."""
    found = []
    shadow: dict[str, Callable[[FilterRequest], Ternary]] = {}
    behind = cors_stage = 0
    met: list[str] = []
    for at, item in enumerate(raw):
        config = item.get("typed_config")
        config = config if isinstance(config, Mapping) else {}
        name = str(item.get("name", ""))
        kind = _kind(name, config)
        if kind in ("fault", "cors"):
            behind = _BEHIND
            met.append(kind)
            cors_stage = behind + at if kind == "cors" else cors_stage
        if kind == "rbac" and "shadow_rules" in config and item.get("disabled") is not True:
            prefix = str(config.get("shadow_rules_stat_prefix", ""))
            shadow[prefix] = _policies(config["shadow_rules"], matches)
        made = _filter(kind, config, matches, shadow, behind + at)
        if made is not None:
            override = _override(kind, config, made, matches, shadow)
            enabled = item.get("disabled") is not True
            found.append(replace(made, key=name, enabled=enabled, override=override))
    return Chain(tuple(found), "fault" in met, "cors" in met, met[:1] == ["cors"], cors_stage)


_BEHIND = 100


def _override(
    kind: str,
    chain: Json,
    made: HttpFilter,
    matches: Matches,
    shadow: Mapping[str, Callable[[FilterRequest], Ternary]],
) -> Callable[[object], HttpFilter | None]:
    """What a route's own config makes of a filter: it stands in for the chain's."""

    def override(value: object) -> HttpFilter | None:
        if not isinstance(value, Mapping):
            return made
        own: Json = value
        if str(own.get("@type", "")).endswith(".FilterConfig"):
            if own.get("disabled") is True:
                return None
            inner = own.get("config")
            own = inner if isinstance(inner, Mapping) else {}
        if own.get("disabled") is True:
            return None
        config = _specific(kind, chain, own)
        if config is None:
            return None
        return made if config is chain else _filter(kind, config, matches, shadow, made.stage)

    return override


def _specific(kind: str, chain: Json, own: Json) -> Json | None:
    """A filter's config on a route with one of its own; None: the filter does nothing there."""
    if not own or (set(own) == {"@type"} and kind not in ("rbac", "fault")):
        return chain
    match kind:
        case "rbac":
            found = own.get("rbac")
            return found if isinstance(found, Mapping) else None
        case "jwt_authn":
            named = (chain.get("requirement_map") or {}).get(own.get("requirement_name"))
            return {**chain, "rules": [{"match": {}, "requires": named}]} if named else chain
        case "fault":
            return None  # the route has its own, and no other
        case "basic_auth" | "api_key_auth":
            return {**chain, **own}
    return chain


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
            judge = rbac(config, matches) if "rules" in config else _allowed
            return HttpFilter("rbac", judge, None, stage)
        case "jwt_authn":
            return HttpFilter("jwt", _jwt(config, matches), None, stage)
        case "ext_authz":
            return HttpFilter("ext_authz", _ext_authz(config, shadow), None, stage)
        case "basic_auth" | "api_key_auth":
            return HttpFilter(kind, _credentials(kind, config), None, stage)
        case "fault":
            return HttpFilter("fault", _fault(config), None, stage) if config.get("abort") else None
        case "oauth2" | "ext_proc":
            return HttpFilter(kind, _opaque(kind), None, stage)
    return None


def _allowed(_request: FilterRequest) -> Ruling:
    return Ruling(Verdict.ALLOW, "the filter has no rules")


def _fault(config: Json) -> Callable[[FilterRequest], Ruling]:
    """Fault injection for a whole chain; routes with faults of their own have them instead."""
    found = fault(config)
    words = "fault injection of the whole listener"
    if found is None or found.abort_status is None or found.abort_percent <= 0 or config.get("headers"):
        whole = Ruling(Verdict.UNKNOWN if config.get("headers") else Verdict.ALLOW, words)
    elif found.abort_percent >= 100:
        whole = Ruling(Verdict.DENY, f"{words} answers {found.abort_status}", found.abort_status, flag="FI")
    else:
        whole = Ruling(
            Verdict.UNKNOWN, f"{words} answers {found.abort_percent:g} % with {found.abort_status}"
        )
    return lambda _request: whole


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
        held = _values(request, wanted.name)
        if not held and not wanted.missing_is_empty:
            return wanted.invert and wanted.match is None
        pattern = wanted.match
        found = pattern is None or any(matches(pattern, value) for value in held or [""])
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
        ":scheme": request.scheme,
    }
    if name in special:
        return special[name]
    values = [value for key, value in request.headers if key == name]
    return ",".join(values) if values else None


def _values(request: FilterRequest, name: str) -> list[str]:
    """The values of a header, one by one: one that matches is enough (measured on Envoy 1.40)."""
    if name.startswith(":") or name == "host":
        value = _header(request, name)
        return [] if value is None else [value]
    return [value for key, value in request.headers if key == name]


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
    """The first rule whose match holds says what is required. A token that is there may be good or not."""
    rules = [rule for rule in config.get("rules") or () if isinstance(rule, Mapping)]
    named = config.get("requirement_map") or {}
    providers = config.get("providers") or {}
    bypass = config.get("bypass_cors_preflight") is True

    def judge(request: FilterRequest) -> Ruling:
        asked = _header(request, "access-control-request-method")
        if bypass and request.method == "OPTIONS" and _header(request, "origin") and asked:
            return Ruling(Verdict.ALLOW, "preflights need no token")
        rule = next((one for one in rules if _rule_matches(one.get("match") or {}, request, matches)), {})
        wanted = rule.get("requires") or named.get(rule.get("requirement_name"))
        good = _satisfied(wanted, request, providers) if isinstance(wanted, Mapping) else True
        if good is None:
            return Ruling(Verdict.UNKNOWN, "whether the token is valid cannot be known from here", 401)
        if good:
            return Ruling(Verdict.ALLOW, "no token is required")
        return Ruling(Verdict.DENY, "a JWT is required and the request has none", 401)

    return judge


def _rule_matches(raw: Json, request: FilterRequest, matches: Matches) -> bool:
    path = path_match(raw)
    if path is not None and not matches(path, request.path):
        return False
    return all(_shared("header", item, request, matches) is True for item in raw.get("headers") or ())


def _satisfied(wanted: Json, request: FilterRequest, providers: Json) -> Ternary:
    """Whether a JwtRequirement holds: None where that depends on a token that the request has."""
    if "requires_any" in wanted:
        inner = dig(wanted, "requires_any.requirements", [])
        return _any(_satisfied(item, request, providers) for item in inner)
    if "requires_all" in wanted:
        inner = dig(wanted, "requires_all.requirements", [])
        return _every(_satisfied(item, request, providers) for item in inner)
    if "allow_missing_or_failed" in wanted:
        return True
    name = wanted.get("provider_name") or dig(wanted, "provider_and_audiences.provider_name")
    asked = [providers.get(name)] if name else list(providers.values())
    held = any(_has_token(item, request) for item in asked if isinstance(item, Mapping))
    if "allow_missing" in wanted:
        return None if held else True
    return None if held else (not name)


def _has_token(provider: Json, request: FilterRequest) -> bool:
    headers = [item for item in provider.get("from_headers") or () if isinstance(item, Mapping)]
    params = [str(item) for item in provider.get("from_params") or ()]
    cookies = [str(item) for item in provider.get("from_cookies") or ()]
    if not headers and not params and not cookies:
        headers, params = [{"name": "authorization", "value_prefix": "Bearer "}], ["access_token"]
    for item in headers:
        value = _header(request, str(item.get("name", "")).lower())
        if value is not None and str(item.get("value_prefix", "")) in value:
            return True
    sent = {part.partition("=")[0] for part in request.query.split("&")}
    jar = {part.partition("=")[0].strip() for part in (_header(request, "cookie") or "").split(";")}
    return bool(sent & set(params) or jar & set(cookies))


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
