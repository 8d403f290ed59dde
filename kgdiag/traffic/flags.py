"""Response flags and response code details of Envoy's access log, by name and in plain words.

Sources: envoy docs/root/configuration/observability/access_log/usage.rst (%RESPONSE_FLAGS%),
envoy/stream_info/stream_info.h (long names), docs/root/configuration/http/http_conn_man/
response_code_details.rst, source/extensions/filters/common/rbac/utility.cc (policy names in details; blanks
become ``_``) and source/extensions/filters/http/{ext_authz,jwt_authn,fault}; istio
pilot/pkg/security/authz/builder/builder.go (``ns[…]-policy[…]-rule[…]``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple


class Flag(NamedTuple):
    """A response flag: what the log has, its long name, and what it says of the request."""

    short: str
    name: str
    meaning: str


FLAGS = {
    flag.short: flag
    for flag in (
        Flag("NR", "NoRouteFound", "no route, or no filter chain, matched"),
        Flag("NC", "NoClusterFound", "the route leads to a cluster that does not exist"),
        Flag("UH", "NoHealthyUpstream", "the cluster has no healthy endpoint"),
        Flag("UF", "UpstreamConnectionFailure", "the connection to the endpoint failed"),
        Flag("UC", "UpstreamConnectionTermination", "the endpoint closed the connection"),
        Flag("UR", "UpstreamRemoteReset", "the endpoint reset the stream"),
        Flag("UO", "UpstreamOverflow", "circuit breaker: too many connections or requests"),
        Flag("URX", "UpstreamRetryLimitExceeded", "the retries (or connection attempts) are used up"),
        Flag("UT", "UpstreamRequestTimeout", "the endpoint did not answer in time"),
        Flag("UPE", "UpstreamProtocolError", "the endpoint's answer is no valid HTTP"),
        Flag("UMSDR", "UpstreamMaxStreamDurationReached", "the longest time for a request ran out"),
        Flag("UAEX", "UnauthorizedExternalService", "the external authorizer said no"),
        Flag("DC", "DownstreamConnectionTermination", "the client closed the connection"),
        Flag("DR", "DownstreamRemoteReset", "the client reset the stream"),
        Flag("DPE", "DownstreamProtocolError", "what the client sent is no valid HTTP"),
        Flag("DT", "DurationTimeout", "the longest time for a connection ran out"),
        Flag("DI", "DelayInjected", "an injected delay"),
        Flag("FI", "FaultInjected", "an injected fault"),
        Flag("RL", "RateLimited", "rate limited"),
        Flag("RLSE", "RateLimitServiceError", "the rate limit service failed"),
        Flag("LR", "LocalReset", "the proxy reset the connection itself"),
        Flag("LH", "FailedLocalHealthCheck", "the proxy is failing its own health check"),
        Flag("SI", "StreamIdleTimeout", "nothing was sent for longer than the idle timeout"),
        Flag("IH", "InvalidEnvoyRequestHeaders", "an x-envoy header has an invalid value"),
        Flag("RFCF", "ResponseFromCacheFilter", "answered by a cache in the proxy"),
        Flag("NFCF", "NoFilterConfigFound", "a filter's configuration had not come yet"),
        Flag("OM", "OverloadManagerTerminated", "the proxy is overloaded"),
        Flag("DF", "DnsResolutionFailed", "the endpoint's name could not be resolved"),
        Flag("DO", "DropOverload", "the control plane told the proxy to drop this share of requests"),
        Flag("UDO", "UnconditionalDropOverload", "the control plane told the proxy to drop all requests"),
    )
}
_LONG = {flag.name.lower(): flag.short for flag in FLAGS.values()}


def flags_of(text: str) -> tuple[str, ...]:
    """The short names in a log's field (``URX,UF``, or the long names); ``-`` and ``""`` are none."""
    words = [word.strip() for word in text.split(",")]
    return tuple(_LONG.get(word.lower(), word) for word in words if word not in ("", "-"))


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy that a denial names. ``namespace`` and ``name`` are ``""`` where no policy matched at all
    (``[none]``: there are ALLOW policies, and the request is none of theirs)."""

    namespace: str = ""
    name: str = ""
    rule: int | None = None
    text: str = ""


_RBAC = re.compile(r"rbac_access_denied_matched_policy\[(.*)\]")
_ISTIO_POLICY = re.compile(r"ns\[(.*?)\]-policy\[(.*?)\]-rule\[(\d+)\]")


def policy_of(details: str) -> Policy | None:
    """The policy that denied the request, by its response code (or connection termination) details."""
    found = _RBAC.search(details)
    if not found:
        return None
    named = _ISTIO_POLICY.search(found[1])
    if named:
        return Policy(named[1], named[2], int(named[3]), found[1])
    return Policy(text=found[1])


_RESET = re.compile(r"upstream_reset_(before|after)_response_started\{(.*)\}")

# Details without parameters, or the part before a ``{`` or ``|``.
_DETAILS = {
    "via_upstream": "the status came from behind this proxy",
    "route_not_found": "no route matches this host and path",
    "route_configuration_not_found": "the listener's route configuration does not exist (yet)",
    "filter_chain_not_found": "no filter chain matches the connection (server name, TLS or plaintext, ALPN)",
    "cluster_not_found": "the route leads to a cluster that does not exist",
    "no_healthy_upstream": "the cluster has no healthy endpoint",
    "direct_response": "the proxy answers by itself: a redirect or a direct response of the route",
    "low_version": "HTTP/1.0 is not accepted",
    "missing_host_header": "the request has no Host",
    "upstream_response_timeout": "the endpoint did not answer in time",
    "upstream_per_try_timeout": "the last try timed out",
    "request_overall_timeout": "the time for the whole request ran out",
    "stream_idle_timeout": "nothing was sent for longer than the idle timeout",
    "downstream_remote_disconnect": "the client closed the connection",
    "downstream_local_disconnect": "the proxy closed the client's connection",
    "duration_timeout": "the longest time for a connection ran out",
    "max_duration_timeout": "the longest time for a request ran out",
    "upstream_max_stream_duration_reached": "the longest time for a request ran out",
    "internal_redirect": "the proxy follows a redirect itself",
    "path_normalization_failed": "the path is not valid",
    "missing_path_rejected": "the request has no path",
    "absolute_path_rejected": "the request line has an absolute URL, which is not accepted",
    "upgrade_failed": "the upgrade (WebSocket, CONNECT) is not allowed on this route",
    "request_payload_too_large": "the body is larger than the proxy holds",
    "request_payload_exceeded_retry_buffer_limit": "the body is larger than what is kept for a retry",
    "response_payload_too_large": "the answer is larger than the proxy holds",
    "request_headers_failed_strict_check": "an x-envoy header has an invalid value",
    "overload": "the proxy is overloaded",
    "maintenance_mode": "the cluster is in maintenance mode",
    "ext_authz_denied": "the external authorizer said no",
    "ext_authz_error": "the external authorizer could not be asked",
    "fault_filter_abort": "an injected fault",
    "jwt_authn_access_denied": "the token was not accepted",
    "request_rate_limited": "rate limited",
    "local_rate_limited": "rate limited by this proxy",
    "rate_limiter_error": "the rate limit service failed",
    "cors_preflight": "the proxy answers a CORS preflight itself",
    "health_check_ok": "the proxy answers a health check itself",
    "admin_filter_response": "the proxy's admin interface answers",
    "cluster_not_found_in_odcds": "the cluster could not be fetched on demand",
}

_CAUSES = (
    ("WRONG_VERSION_NUMBER", "the endpoint speaks no TLS, and the proxy does"),
    ("CERTIFICATE_VERIFY_FAILED", "the endpoint's certificate is not trusted"),
    ("SSLV3_ALERT_CERTIFICATE", "the endpoint does not accept the proxy's certificate"),
    ("TLSV1_ALERT", "the endpoint broke off the TLS handshake"),
    ("TLS_ERROR:|33554536", "the endpoint reset the connection during the TLS handshake"),
    ("Connection_reset_by_peer", "the endpoint reset the connection"),
    ("TLS_ERROR", "TLS failed"),
    ("Connection_refused", "nothing listens on the endpoint's port"),
    ("connection_timeout", "the endpoint did not accept the connection in time"),
    ("No_route_to_host", "the endpoint's address cannot be reached"),
    ("connection_termination", "the endpoint closed the connection before it answered"),
    ("remote_connection_failure", "the connection to the endpoint failed"),
    ("local_connection_failure", "the proxy could not open a connection"),
    ("connection_failure", "the connection to the endpoint failed"),
    ("remote_reset", "the endpoint reset the stream"),
    ("remote_refused_stream_reset", "the endpoint refused the stream"),
    ("protocol_error", "the endpoint's answer is no valid HTTP"),
    ("overflow", "too many connections or requests for the cluster"),
)


def cause_of(text: str) -> str:
    """What the words of a failed connection mean (of details or UPSTREAM_TRANSPORT_FAILURE_REASON)."""
    plain = text.replace(" ", "_").lower()
    return next((words for sign, words in _CAUSES if sign.lower() in plain), "")


def details_meaning(details: str) -> str:
    """Response code details in plain words, ``""`` where they are not known."""
    if not details or details == "-":
        return ""
    policy = policy_of(details)
    if policy is not None:
        if policy.name:
            return f"denied by AuthorizationPolicy {policy.namespace}/{policy.name}, rule {policy.rule}"
        if policy.text == "none":
            return "denied: there are ALLOW policies, and none of their rules matches"
        return f"denied by the RBAC policy {policy.text}"
    reset = _RESET.search(details)
    if reset:
        when = "before" if reset[1] == "before" else "after"
        return f"{cause_of(reset[2]) or reset[2].replace('_', ' ')} ({when} the answer began)"
    head, _, inner = details.partition("{")
    words = _DETAILS.get(head, "")
    if words and inner and head != "via_upstream":
        return f"{words}: {inner.rstrip('}').replace('_', ' ')}"
    if not words and head.startswith(("http1.", "http2.")):
        return f"what was sent is no valid {head[:4].upper()}/{head[4]}: {head[6:].replace('_', ' ')}"
    return words
