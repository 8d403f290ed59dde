"""Envoy's matchers. Sources: envoy api/envoy/type/matcher/v3/string.proto, config/route/v3 HeaderMatcher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kgdiag.model.obj import dig
from kgdiag.model.proxy import How, RouteMatch, StringMatch, ValueMatch

_STRINGS = {"exact": How.EXACT, "prefix": How.PREFIX, "suffix": How.SUFFIX, "contains": How.CONTAINS}


def string_match(raw: Mapping[str, Any]) -> StringMatch:
    """A StringMatcher; an empty one matches the empty string exactly, as proto3 has it."""
    fold = raw.get("ignore_case") is True
    for key, how in _STRINGS.items():
        if key in raw:
            return StringMatch(how, str(raw[key]), fold)
    if "safe_regex" in raw:  # ignore_case is for the others only
        return StringMatch(How.REGEX, str(dig(raw, "safe_regex.regex", "")))
    return StringMatch(How.EXACT, "", fold)


def header_match(raw: Mapping[str, Any]) -> ValueMatch:
    """A HeaderMatcher, in its current and its deprecated spellings."""
    name = str(raw.get("name", "")).lower()
    invert = raw.get("invert_match") is True
    empty = raw.get("treat_missing_header_as_empty") is True
    match: StringMatch | None = None
    if isinstance(raw.get("string_match"), Mapping):
        match = string_match(raw["string_match"])
    elif isinstance(raw.get("safe_regex_match"), Mapping):
        match = StringMatch(How.REGEX, str(raw["safe_regex_match"].get("regex", "")))
    else:
        for key, how in _STRINGS.items():
            if f"{key}_match" in raw:
                match = StringMatch(how, str(raw[f"{key}_match"]))
    if match is None and raw.get("present_match") is False:
        invert = not invert
    if isinstance(raw.get("range_match"), Mapping):
        low, high = int(raw["range_match"].get("start", 0)), int(raw["range_match"].get("end", 0))
        match = StringMatch(How.RANGE, f"{low},{high}")
    return ValueMatch(name, match, invert, empty)


def query_match(raw: Mapping[str, Any]) -> ValueMatch:
    """A QueryParameterMatcher."""
    match = string_match(raw["string_match"]) if isinstance(raw.get("string_match"), Mapping) else None
    return ValueMatch(str(raw.get("name", "")), match, match is None and raw.get("present_match") is False)


def route_match(raw: Mapping[str, Any]) -> RouteMatch:
    """A RouteMatch. What a request alone cannot decide is named in ``dynamic``."""
    dynamic = []
    fraction = dig(raw, "runtime_fraction.default_value")
    if isinstance(fraction, Mapping):
        scale = {"TEN_THOUSAND": 10_000, "MILLION": 1_000_000}.get(str(fraction.get("denominator")), 100)
        if float(fraction.get("numerator", 0)) < scale:
            dynamic.append(f"a fraction of {fraction.get('numerator', 0)}/{scale} of the requests")
    dynamic += [f"dynamic metadata {item.get('filter', '')}" for item in raw.get("dynamic_metadata") or ()]
    dynamic += ["filter state" for _ in raw.get("filter_state") or ()]
    dynamic += ["a client certificate"] if raw.get("tls_context") else []
    return RouteMatch(
        path=path_match(raw),
        headers=tuple(header_match(item) for item in raw.get("headers") or ()),
        query=tuple(query_match(item) for item in raw.get("query_parameters") or ()),
        grpc="grpc" in raw,
        dynamic=tuple(dynamic),
    )


def path_match(raw: Mapping[str, Any]) -> StringMatch | None:
    """The path specifier of a RouteMatch."""
    fold = raw.get("case_sensitive") is False
    if "path" in raw:
        return StringMatch(How.EXACT, str(raw["path"]), fold)
    if "path_separated_prefix" in raw:
        return StringMatch(How.PATH_PREFIX, str(raw["path_separated_prefix"]), fold)
    if "safe_regex" in raw:
        return StringMatch(How.REGEX, str(dig(raw, "safe_regex.regex", "")))
    if "path_match_policy" in raw:
        template = dig(raw, "path_match_policy.typed_config.path_template", "")
        return StringMatch(How.TEMPLATE, str(template))
    if "connect_matcher" in raw:
        return StringMatch(How.INVALID, "CONNECT")
    return StringMatch(How.PREFIX, str(raw.get("prefix", "")), fold)
