"""What ``curl -v`` printed: who answered a client, or why nobody did.

Sources: curl(1), EXIT CODES, and curl's lib/ (the words of failures); envoy docs http_conn_man/headers
(``server``, ``x-envoy-upstream-service-time``) and source/common/http, router (bodies of local replies).
Of what was sent only the request line and Host are kept: headers hold credentials.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from kgdiag.traffic.flags import cause_of
from kgdiag.traffic.model import Ended, Explained

_SIGNS = re.compile(
    r"^(?:< HTTP/|> [A-Z]+ \S+ HTTP/|\* (?:  )?(?:Trying|Connected to|Could not|Host|Closing)|curl: \(\d+\))",
    re.M,
)
_REQUEST = re.compile(r"^> ([A-Z]+) (\S+) HTTP/(\S+)")
_STATUS = re.compile(r"^< HTTP/(\S+) (\d{3})")
_HEADER = re.compile(r"^[<>] ([A-Za-z0-9-]+|:authority|:path|:method): ?(.*)$")
_H2 = re.compile(r"^\* (?:\[HTTP/\d\] )?(?:h2h3 )?\[(?:\d+\] \[)?(:authority|:path|:method): (.*)\]")
_CONNECTED = re.compile(
    r"^\* (?:Connected|Established connection) to (\S+) \(([^)\s]+)\s?(?:port )?(\d+)?\)?(?: port (\d+))?"
)
_TRYING = re.compile(r"^\*\s+Trying (\S+?):(\d+)\.\.\.")
_FAILED = re.compile(r"^curl: \((\d+)\) (.*)")
_PROGRESS = re.compile(r"^\s*(?:% Total|Dload|\d+\s+\d+\s+\d+)|^[{}] \[\d+ bytes data\]")

# By exit code: what it means, and what to look at.
_CODES = {
    3: "the URL is malformed: the request was not sent",
    5: "the name of the proxy (http_proxy) does not resolve: the request was not sent",
    6: "the name does not resolve: no DNS record leads to the gateway, or the name is the cluster's own",
    7: "the connection was refused: nothing listens on that address and port (no endpoint behind the "
    "Service, no listener in the gateway, or a wrong port)",
    16: "HTTP/2 framing error: the other end does not speak HTTP/2 as the client does",
    18: "the answer broke off before its end",
    28: "no answer in time: packets are dropped on the way (firewall, NetworkPolicy, a Service address "
    "outside of the cluster), or the application takes too long",
    35: "the TLS handshake failed",
    47: "too many redirects: two places send the client to each other",
    52: "the connection was closed without an answer: plaintext to a port that expects TLS, or bytes that "
    "the other end drops",
    55: "sending failed: the other end closed the connection",
    56: "the connection was reset: a sidecar that wants mTLS (STRICT), a filter chain that does not match, "
    "or an endpoint that went away",
    58: "the client certificate could not be used",
    60: "the server's certificate is not trusted by the client: the gateway answers, with a certificate of "
    "another name or authority",
    77: "the file of trusted certificates could not be read",
    92: "the HTTP/2 stream was broken off by the other end",
}
_TLS = (
    ("wrong version number", "the port answers in plaintext: use http, or the TLS port"),
    ("unrecognized name", "no filter chain has this server name"),
    ("certificate required", "the port wants a client certificate (MUTUAL or ISTIO_MUTUAL)"),
    ("handshake failure", "no common TLS version or cipher, or a client certificate is wanted"),
    ("unknown ca", "the gateway does not trust the client's certificate"),
    ("protocol version", "no common TLS version"),
    ("reset by peer", "the gateway has no filter chain for this server name, or none with a certificate "
     "(a Secret that is missing)"),
    ("ssl_error_syscall", "the other end closed during the handshake: no filter chain for this server name, "
     "a certificate (Secret) that is missing, or a port that expects plaintext"),
    ("unexpected eof", "the other end closed during the handshake: no filter chain for this server name, or "
     "a certificate (Secret) that is missing"),
)  # fmt: skip

# What Envoy writes into the body of an answer of its own, with the flag that its log has.
_BODIES = (
    ("rbac: access denied", "an AuthorizationPolicy denied it (details rbac_access_denied_matched_policy)"),
    ("no healthy upstream", "the cluster has no healthy endpoint (UH)"),
    ("jwt is missing", "the token is missing (RequestAuthentication, or a JWT policy)"),
    ("jwt verification fails", "the token was not accepted (RequestAuthentication)"),
    ("jwt", "the token was not accepted (RequestAuthentication)"),
    ("upstream request timeout", "the endpoint did not answer in time (UT)"),
    ("fault filter abort", "an injected fault (FI)"),
    ("upgrade required", "HTTP/1.0 is not accepted (low_version)"),
    ("local_rate_limited", "rate limited by the proxy (RL)"),
    ("stream timeout", "nothing was sent for longer than the idle timeout (SI)"),
)
_STATUSES = {
    301: "a redirect of the proxy",
    302: "a redirect of the proxy",
    403: "denied: an AuthorizationPolicy, or an external authorizer (UAEX)",
    404: "no route matches this host and path (NR)",
    426: "HTTP/1.0 is not accepted (low_version)",
    429: "rate limited (RL)",
    500: "a route of the Gateway API without a valid backend",
    502: "the sidecar lets no unknown hosts out (REGISTRY_ONLY), or the endpoint's answer was no HTTP",
    503: "the route leads to a cluster that does not exist (NC)",
    504: "the endpoint did not answer in time (UT)",
}
_RESET = re.compile(r"(?:latest )?reset reason: ([^,\n]*)(?:, transport failure reason: (.*))?", re.I)


@dataclass
class Exchange:
    """One request of curl and what came back."""

    method: str = ""
    path: str = ""
    authority: str = ""
    tls: bool = False
    address: str = ""
    port: int = 0
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    code: int = 0
    failure: str = ""

    @property
    def url(self) -> str:
        """The URL that was asked for, as far as it can be told."""
        if not self.authority:
            return ""
        host, _, port = self.authority.rpartition(":")
        known = host and port.isdigit()
        where = self.authority if known or self.port in (0, 80, 443) else f"{self.authority}:{self.port}"
        return f"{'https' if self.tls else 'http'}://{where}{self.path or '/'}"


def is_curl(text: str) -> bool:
    """Whether a text is (also) what ``curl -v`` prints."""
    return len(_SIGNS.findall(text)) > 1 or re.search(r"^curl: \(\d+\)", text, re.M) is not None


def parse(text: str) -> list[Exchange]:
    """The exchanges of a text, in their order."""
    return list(_exchanges(text))


def _exchanges(text: str) -> Iterator[Exchange]:
    now = Exchange()
    begun = False
    hints: list[str] = []
    for raw in text.split("\n"):
        line = raw.rstrip("\r")
        if found := _REQUEST.match(line):
            if begun and now.status is not None:
                yield now
                now = Exchange(tls=now.tls, address=now.address, port=now.port)
                hints = []
            now.method, now.path, begun = found[1], found[2], True
        elif found := _STATUS.match(line):
            if now.status is not None and now.status >= 200 and begun:
                now.headers, now.body = {}, ""  # the answer to the same request after a challenge
            now.status, begun = int(found[2]), True
        elif found := _H2.match(line):
            _pseudo(now, found[1], found[2])
            begun = True
        elif found := _HEADER.match(line):
            if line[0] == "<":
                now.headers.setdefault(found[1].lower(), found[2].strip())
            elif found[1].lower() in ("host", ":authority", ":path", ":method"):
                _pseudo(now, found[1].lower(), found[2].strip())
        elif found := _CONNECTED.match(line):
            now.address, now.port = found[2], int(found[4] or found[3] or 0)
            begun = True
        elif found := _TRYING.match(line):
            now.address, now.port, begun = found[1].strip("[]"), int(found[2]), True
        elif found := _FAILED.match(line):
            now.code, now.failure, begun = int(found[1]), found[2], True
        elif line.startswith("* "):
            hints.append(line[2:])
            now.tls = now.tls or "TLS handshake" in line or "SSL" in line or "TLSv1" in line
        elif line[:1] not in "<>{}*" and not _PROGRESS.match(line) and now.status and len(now.body) < 4096:
            now.body += line + "\n"
    if begun:
        _finish(now, hints)
        yield now


def _pseudo(now: Exchange, name: str, value: str) -> None:
    if name in (":authority", "host"):
        now.authority = value
    elif name == ":path":
        now.path = value
    else:
        now.method = value


_HINTS = (
    (52, "empty reply from server"),
    (35, "ssl_connect"),
    (35, "tls connect error"),
    (7, "connection refused"),
    (6, "could not resolve host"),
    (60, "ssl certificate problem"),
    (28, "timed out"),
    (56, "connection reset by peer"),
)


def _finish(now: Exchange, hints: list[str]) -> None:
    """Without ``curl: (N)`` (with -s, or cut off) the notes say what happened."""
    if now.status is not None or now.code:
        if now.code == 35 and not now.failure:
            now.failure = next(iter(hints), "")
        if now.code in (35, 56):
            now.failure = "; ".join([now.failure, *(one for one in hints if "SSL" in one)])
        return
    for code, words in _HINTS:
        told = next((hint for hint in hints if words in hint.lower()), None)
        if told is not None:
            now.code, now.failure = code, told
            return


def explain(exchange: Exchange) -> Explained:
    """Who answered, by what the client saw alone."""
    ended, summary, facts = _verdict(exchange)
    return Explained(
        (),
        ended,
        summary,
        client=tuple(facts),
        method=exchange.method,
        authority=exchange.authority,
        path=exchange.path,
        status=exchange.status,
    )


def _verdict(exchange: Exchange) -> tuple[Ended, str, list[str]]:
    facts = []
    if exchange.address:
        facts.append(
            f"connected to {exchange.address} port {exchange.port}{' with TLS' if exchange.tls else ''}"
        )
    if exchange.status is None:
        if not exchange.code:
            return Ended.UNKNOWN, "the output has neither an answer nor a failure", facts
        words = _CODES.get(exchange.code, exchange.failure or f"curl failed with {exchange.code}")
        why = _tls_words(exchange.failure) if exchange.code in (35, 56) else ""
        facts.append(f"curl: ({exchange.code}) {exchange.failure}".rstrip())
        return Ended.UNANSWERED, f"no answer: {words}{f': {why}' if why else ''}", facts
    server = exchange.headers.get("server", "")
    time = exchange.headers.get("x-envoy-upstream-service-time")
    facts.append(f"server: {server}" if server else "no server header")
    facts.append(
        f"x-envoy-upstream-service-time: {time}" if time is not None else "no x-envoy-upstream-service-time"
    )
    return *_by_headers(exchange, server, time), facts


def _by_headers(exchange: Exchange, server: str, time: str | None) -> tuple[Ended, str]:
    status = exchange.status or 0
    envoy = "envoy" in server.lower()
    if time is not None:
        words = f"{status} from behind the first Envoy: it took {time} ms to get it"
        if status >= 400:
            words += ", so a route and an endpoint were found (the application, or another proxy before it)"
        return Ended.ANSWERED, words
    if "location" in exchange.headers and 300 <= status < 400 and envoy:
        return Ended.ANSWERED, f"{status} from an Envoy itself: a redirect to {exchange.headers['location']}"
    said = _body_words(exchange.body)
    if said:
        return Ended.REFUSED, f"{status} from an Envoy itself: {said}"
    if envoy and status >= 400:
        why = _STATUSES.get(status, "the proxy's log says why")
        return Ended.REFUSED, f"{status} from an Envoy itself, it asked no endpoint: {why}"
    if status < 400:
        return Ended.ANSWERED, f"{status}"
    if server and not envoy:
        return (
            Ended.ANSWERED,
            f"{status} from {server}: no Envoy wrote it, the application or another server did",
        )
    bare = exchange.headers.get("content-length") == "0" and len(exchange.headers) <= 3
    like = (
        f"; an empty body and no headers look like a proxy of Envoy Gateway: {_STATUSES[status]}"
        if bare and status in _STATUSES
        else ""
    )
    return (
        Ended.UNKNOWN,
        f"{status}, and no header says who wrote it{like}; the proxies' logs do (kgdiag logs)",
    )


def _body_words(body: str) -> str:
    lower = body.lower()
    if "upstream connect error or disconnect/reset" in lower:
        found = _RESET.search(body)
        reason = found[1].strip() if found else ""
        why = cause_of(found[2] or "") if found else ""
        why = why or cause_of(reason) or reason
        spent = "; the retries are used up (URX)" if "retried" in lower else ""
        flag = "UC" if "termination" in reason else "UF"
        return f"{why or 'the connection to the endpoint failed'} ({flag}){spent}"
    return next((words for sign, words in _BODIES if lower.lstrip().startswith(sign)), "")


def _tls_words(failure: str) -> str:
    lower = failure.lower()
    return next((words for sign, words in _TLS if sign in lower), "")
