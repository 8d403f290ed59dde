"""Answers of probes held against predictions; what is sent, and what is not."""

from __future__ import annotations

import pytest

from kgdiag.collect.probe import Sent, _of_curl
from kgdiag.errors import UsageError
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Outcome, PathTaken, Result
from kgdiag.probing import _agrees, _answer_differs, _bytes, _curl, check_probe
from kgdiag.trace.question import parse_question

DELIVERED = Outcome(Result.DELIVERED, "delivered")
NOT_FOUND = Outcome(Result.REFUSED, "no route", 404, "NR")
CLOSED = Outcome(Result.REFUSED, "reset")
REDIRECT = Outcome(Result.REFUSED, "redirect", 301, location="https://a.example/")
UNKNOWN = Outcome(Result.UNKNOWN, "not known")
ENVOY, APPLICATION = ("server", "istio-envoy"), ("x-envoy-upstream-service-time", "3")


def sent(status: int | None, *headers: tuple[str, str], body: str = "") -> Sent:
    return Sent("a test", status, headers, body)


@pytest.mark.parametrize(
    ("outcome", "answer", "agrees"),
    [
        (DELIVERED, sent(200), True),
        (DELIVERED, sent(404, ENVOY, APPLICATION), True),
        (DELIVERED, sent(404, ENVOY), False),
        (DELIVERED, sent(503, ENVOY, body="no healthy upstream"), False),
        (DELIVERED, sent(None), False),
        (NOT_FOUND, sent(404, ENVOY), True),
        (NOT_FOUND, sent(200), False),
        (NOT_FOUND, sent(None), False),
        (CLOSED, sent(None), True),
        (CLOSED, sent(200), False),
        (REDIRECT, sent(301, ("location", "https://a.example/")), True),
        (REDIRECT, sent(301, ("location", "https://b.example/")), False),
        (UNKNOWN, sent(500), True),
    ],
)
def test_agreement(outcome: Outcome, answer: Sent, agrees: bool) -> None:
    assert _agrees(outcome, answer) is agrees
    path = PathTaken(Ref("", "Service", "a", "b"), 1.0, (), outcome)
    assert bool(_answer_differs([path], answer)) is not agrees


def test_one_of_several_ways_is_enough() -> None:
    ref = Ref("", "Service", "a", "b")
    paths = [PathTaken(ref, 0.5, (), DELIVERED), PathTaken(ref, 0.5, (), NOT_FOUND)]
    assert _answer_differs(paths, sent(404, ENVOY)) == []
    (finding,) = _answer_differs(paths, sent(500, ENVOY))
    assert finding.message.startswith("predicted: delivered; or 404;")


def test_only_get_and_head_unless_told() -> None:
    question = parse_question("http://a.example/x", method="POST")
    with pytest.raises(UsageError, match="may change something"):
        check_probe(question, "")
    assert check_probe(question, "head").request.method == "HEAD"
    assert check_probe(question, "POST").request.method == "POST"


@pytest.mark.parametrize("url", ["tcp://a.example:1", "grpc://a.example", "tls://a.example"])
def test_what_cannot_be_probed(url: str) -> None:
    with pytest.raises(UsageError, match="cannot be probed"):
        check_probe(parse_question(url), "GET")


def test_no_header_may_begin_another() -> None:
    with pytest.raises(UsageError, match="line break"):
        check_probe(parse_question("http://a.example/", headers=["x: 1\r\nhost: b"]), "")


def test_the_request_as_it_goes_out() -> None:
    question = parse_question("http://a.example/p%20q?x=1", headers=["Host: b.example", "X-Canary: 1"])
    text = _bytes(question, "me/1").decode()
    assert text.startswith(
        "GET /p%20q?x=1 HTTP/1.1\r\nHost: b.example\r\nx-canary: 1\r\nUser-Agent: me/1\r\n"
    )
    assert text.endswith("\r\n\r\n")
    arguments = _curl(question, "me/1")
    assert arguments[-2:] == ["--", "http://a.example:80/p%20q?x=1"]
    assert "Host: b.example" in arguments and "x-canary: 1" in arguments


def test_output_of_curl() -> None:
    found = _of_curl(
        "curl", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nServer: envoy\r\n\r\nbody"
    )
    assert (found.status, found.header("server"), found.body) == (404, "envoy", "body")
    assert _of_curl("curl", b"nonsense").status is None
