"""What ``curl -v`` prints, and what it says of who answered."""

# ruff: noqa: E501 -- lines as they are logged

from __future__ import annotations

import pytest

from kgdiag.traffic.curl import explain, is_curl, parse
from kgdiag.traffic.model import Ended

HEAD = """*   Trying 127.0.0.1:31080...
* Connected to 127.0.0.1 (127.0.0.1) port 31080 (#0)
> GET /basket?token=abc HTTP/1.1
> Host: fruit.orchard.example
> User-Agent: curl/7.88.1
> Authorization: Bearer SECRET-TOKEN
> Cookie: session=SECRET-COOKIE
> Accept: */*
>
"""
TLS = """*   Trying 127.0.0.1:31443...
* Connected to fruit.orchard.example (127.0.0.1) port 31443 (#0)
* ALPN: offers h2,http/1.1
* TLSv1.3 (OUT), TLS handshake, Client hello (1):
"""
ENDS = [
    ("no route", "< HTTP/1.1 404 Not Found\n< server: istio-envoy\n< content-length: 0\n<\n", Ended.REFUSED, "(NR)"),
    (
        "application",
        "< HTTP/1.1 404 Not Found\n< server: istio-envoy\n< x-envoy-upstream-service-time: 3\n<\n{\"detail\":\"x\"}\n",
        Ended.ANSWERED,
        "from behind the first Envoy",
    ),
    ("another server", "< HTTP/1.1 502 Bad Gateway\n< Server: nginx\n<\n<html>\n", Ended.ANSWERED, "from nginx"),
    ("no endpoints", "< HTTP/1.1 503 X\n< server: envoy\n<\nno healthy upstream", Ended.REFUSED, "(UH)"),
    ("no cluster", "< HTTP/1.1 503 X\n< server: istio-envoy\n< content-length: 0\n<\n", Ended.REFUSED, "(NC)"),
    ("denied", "< HTTP/1.1 403 X\n< server: istio-envoy\n<\nRBAC: access denied", Ended.REFUSED, "AuthorizationPolicy"),
    ("token", "< HTTP/1.1 401 X\n< server: istio-envoy\n<\nJwt verification fails", Ended.REFUSED, "token"),
    (
        "refused endpoint",
        "< HTTP/1.1 503 X\n< server: istio-envoy\n<\nupstream connect error or disconnect/reset before headers. "
        "retried and the latest reset reason: remote connection failure, transport failure reason: "
        "delayed connect error: Connection refused",
        Ended.REFUSED,
        "nothing listens on the endpoint's port (UF); the retries are used up (URX)",
    ),
    (
        "strict",
        "< HTTP/1.1 503 X\n< server: istio-envoy\n<\nupstream connect error or disconnect/reset before headers. "
        "reset reason: connection termination",
        Ended.REFUSED,
        "(UC)",
    ),
    ("old client", "< HTTP/1.1 426 Upgrade Required\n< server: istio-envoy\n<\n", Ended.REFUSED, "HTTP/1.0"),
    ("envoy gateway", "< HTTP/1.1 404 Not Found\n< date: x\n< content-length: 0\n<\n", Ended.UNKNOWN, "Envoy Gateway"),
    (
        "redirect",
        "< HTTP/1.1 301 Moved\n< location: https://a.example/\n< server: istio-envoy\n<\n",
        Ended.ANSWERED,
        "a redirect to https://a.example/",
    ),
    ("fine", "< HTTP/2 200\n< server: istio-envoy\n< x-envoy-upstream-service-time: 1\n<\nhi", Ended.ANSWERED, "200"),
    ("empty", "* Empty reply from server\n* Closing connection 0\ncurl: (52) Empty reply from server\n",
     Ended.UNANSWERED, "without an answer"),
    ("reset", "* Recv failure: Connection reset by peer\ncurl: (56) Recv failure: Connection reset by peer\n",
     Ended.UNANSWERED, "reset"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "ended", "words"), [end[1:] for end in ENDS], ids=[end[0] for end in ENDS])
def test_answers(text: str, ended: Ended, words: str) -> None:
    (exchange,) = parse(HEAD + text)
    found = explain(exchange)
    assert (found.ended, words in found.summary) == (ended, True), found.summary
    assert (found.method, found.authority) == ("GET", "fruit.orchard.example")
    assert exchange.url == "http://fruit.orchard.example:31080/basket?token=abc"


FAILURES = [
    ("* OpenSSL SSL_connect: SSL_ERROR_SYSCALL in connection to fruit.orchard.example:31443\n"
     "curl: (35) OpenSSL SSL_connect: SSL_ERROR_SYSCALL in connection to fruit.orchard.example:31443", "certificate"),
    ("* Recv failure: Connection reset by peer\n* OpenSSL SSL_connect: Connection reset by peer in connection to x\n"
     "curl: (35) Recv failure: Connection reset by peer", "no filter chain"),
    ("curl: (35) OpenSSL/3.0.19: error:0A00010B:SSL routines::wrong version number", "plaintext"),
    ("curl: (56) OpenSSL SSL_read: error:0A00045C:SSL routines::tlsv13 alert certificate required", "client cert"),
    ("curl: (60) SSL certificate problem: self-signed certificate", "not trusted"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), FAILURES)
def test_tls(text: str, words: str) -> None:
    (exchange,) = parse(TLS + text)
    found = explain(exchange)
    assert found.ended is Ended.UNANSWERED
    assert words in found.summary
    assert exchange.tls


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("* connect to 127.0.0.1 port 1 failed: Connection refused\n* Closing connection 0\n", "refused"),
        ("curl: (7) Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server", "refused"),
        ("curl: (6) Could not resolve host: nowhere.example", "does not resolve"),
        (
            "curl: (28) Failed to connect to 10.0.0.1 port 80 after 5001 ms: Timeout was reached",
            "no answer in time",
        ),
    ],
)
def test_no_connection(text: str, words: str) -> None:
    (exchange,) = parse("*   Trying 127.0.0.1:1...\n" + text)
    assert words in explain(exchange).summary


def test_credentials_are_not_kept() -> None:
    text = HEAD + ENDS[0][1]
    assert "SECRET" not in repr(parse(text))
    document = str(explain(parse(text)[0]).to_json())
    assert "abc" not in document
    assert "token=***" in document


def test_http2() -> None:
    text = (
        "* Connected to a.example (10.0.0.1) port 443 (#0)\n* using HTTP/2\n* h2h3 [:method: GET]\n"
        "* h2h3 [:path: /x]\n* h2h3 [:scheme: https]\n* h2h3 [:authority: a.example]\n"
        "* SSL connection using TLSv1.3 / TLS_AES_256_GCM_SHA384\n< HTTP/2 404 \n< server: istio-envoy\n<\n"
    )
    (exchange,) = parse(text)
    assert (exchange.method, exchange.path, exchange.status) == ("GET", "/x", 404)
    assert exchange.url == "https://a.example/x"


def test_a_redirect_that_was_followed_is_two_requests() -> None:
    found = parse(HEAD + ENDS[11][1] + HEAD.replace("/basket", "/other") + ENDS[0][1])
    assert [one.status for one in found] == [301, 404]
    assert found[1].path.startswith("/other")


@pytest.mark.parametrize(
    "text", ["", "hello\n", '[2026-11-25T16:47:57.115Z] "GET / HTTP/1.1" 404 NR', "> quoted\n> mail"]
)
def test_other_text(text: str) -> None:
    assert not is_curl(text)
