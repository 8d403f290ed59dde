"""GET with retries and limits, over real connections to a server that misbehaves."""

from __future__ import annotations

import gzip
import socket
import threading
import time

import pytest
import urllib3

from kgdiag.collect.http import Broken, Deadline, Http, TimedOut, Unreachable
from tests.collect.apiserver import Answer, ApiServer, Drop, Request, status, times


def over(url: str) -> Http:
    return Http(url, urllib3.PoolManager(maxsize=10), lambda: urllib3.HTTPHeaderDict({"User-Agent": "test"}))


def drop() -> Answer:
    raise Drop


def test_an_answer_of_any_status_is_an_answer() -> None:
    with ApiServer(faults=[lambda _: status(404, "no such thing")]) as server:
        reply = over(server.url).get("/x", deadline=Deadline(5))
    assert (reply.status, reply.error()[0]) == (404, "no such thing")
    assert len(server.requests) == 1


def test_only_get_is_ever_sent() -> None:
    assert not {"post", "put", "patch", "delete", "request"} & set(dir(Http))
    with ApiServer() as server:
        over(server.url).get("/version", deadline=Deadline(5))
    assert [request.method for request in server.requests] == ["GET"]


def test_query_is_quoted() -> None:
    with ApiServer() as server:
        over(server.url).get("/version", [("labelSelector", "a=b,c=d e&f")], deadline=Deadline(5))
    assert server.requests[0].query == {"labelSelector": "a=b,c=d e&f"}


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(code: int) -> None:
    with ApiServer(faults=[times(2, lambda: status(code, "later"))]) as server:
        http = over(server.url)
        assert http.get("/version", deadline=Deadline(5)).status == 200
    assert (http.statistics.requests, http.statistics.retries) == (3, 2)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 410])
def test_a_lasting_failure_is_not_tried_again(code: int) -> None:
    with ApiServer(faults=[lambda _: status(code, "no")]) as server:
        assert over(server.url).get("/version", deadline=Deadline(5)).status == code
    assert len(server.requests) == 1


def test_a_failure_that_stays_is_given_up_and_told() -> None:
    with ApiServer(faults=[lambda _: status(503, "the service is down")]) as server:
        reply = over(server.url).get("/version", deadline=Deadline(20))
    assert (reply.status, reply.error()[0]) == (503, "the service is down")
    assert len(server.requests) == 4


def test_retry_after_is_honoured() -> None:
    seen: list[float] = []

    def note(_: Request) -> None:
        seen.append(time.monotonic())

    later = times(1, lambda: Answer(429, b"slow down", {"Retry-After": "1"}))
    with ApiServer(faults=[note, later]) as server:
        assert over(server.url).get("/version", deadline=Deadline(10)).status == 200
    assert seen[1] - seen[0] >= 1  # a lower bound, that of the server


def test_a_wait_that_the_limit_does_not_allow_is_not_begun() -> None:
    with ApiServer(faults=[lambda _: Answer(429, b"slow down", {"Retry-After": "3600"})]) as server:
        reply = over(server.url).get("/version", deadline=Deadline(5))
    assert (reply.status, len(server.requests)) == (429, 1)


def test_a_broken_connection_is_tried_again() -> None:
    with ApiServer(faults=[times(2, drop)]) as server:
        assert over(server.url).get("/version", deadline=Deadline(5)).status == 200
    assert len(server.requests) == 3


def test_an_answer_that_breaks_off_is_tried_again() -> None:
    def half() -> Answer:
        raise Drop(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

    with ApiServer(faults=[times(1, half)]) as server:
        assert over(server.url).get("/version", deadline=Deadline(5)).json() == {"gitVersion": "v1.34.4"}


def test_connections_that_always_break_are_told() -> None:
    with ApiServer(faults=[lambda _: drop()]) as server, pytest.raises(Broken, match="the connection broke"):
        over(server.url).get("/version", deadline=Deadline(5))
    assert len(server.requests) == 4


def test_a_redirect_is_not_followed() -> None:
    with (
        ApiServer() as other,
        ApiServer(faults=[lambda _: Answer(302, b"", {"Location": other.url})]) as server,
    ):
        assert over(server.url).get("/version", deadline=Deadline(5)).status == 302
    assert other.requests == []


def test_silence_ends_at_the_limit() -> None:
    with ApiServer() as server, pytest.raises(TimedOut, match=r"within 0\.2s"):
        server.faults.append(server.silent)
        over(server.url).get("/version", deadline=Deadline(0.2))


def test_a_trickle_ends_at_the_limit() -> None:
    """Each byte comes well within a socket's timeout; the whole would take minutes."""
    slow = Answer(200, b'{"a": "' + b"x" * 5000 + b'"}', pause=0.05)
    with ApiServer(faults=[lambda _: slow]) as server, pytest.raises(TimedOut):
        over(server.url).get("/version", deadline=Deadline(0.3))
    assert len(server.requests) == 1


def test_a_closed_port_is_unreachable_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    http = over(f"http://127.0.0.1:{port}")
    with pytest.raises(Unreachable, match="refused"):
        http.get("/version", deadline=Deadline(30))
    assert http.statistics.requests == 1


def test_a_server_that_goes_away_is_tried_again() -> None:
    with ApiServer() as server:
        http = over(server.url)
        http.get("/version", deadline=Deadline(5))
    with pytest.raises((Unreachable, Broken)):
        http.get("/version", deadline=Deadline(5))
    assert http.statistics.retries >= 1


def test_something_that_is_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def talk() -> None:
            for _ in range(4):
                connection, _ = plain.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"220 smtp.example ESMTP\r\n")

        threading.Thread(target=talk, daemon=True).start()
        with pytest.raises(Broken):
            over(f"http://127.0.0.1:{plain.getsockname()[1]}").get("/", deadline=Deadline(5))


def test_compressed_answers_count_as_they_came() -> None:
    body = gzip.compress(b'{"a": "' + b"x" * 100_000 + b'"}')
    with ApiServer(faults=[lambda _: Answer(200, body, {"Content-Encoding": "gzip"})]) as server:
        http = over(server.url)
        assert len(http.get("/x", deadline=Deadline(5)).json()["a"]) == 100_000
    assert server.requests[0].header("accept-encoding") == "gzip"
    assert http.statistics.bytes == len(body)


def test_chunked_answers_are_whole() -> None:
    def chunked() -> Answer:
        raise Drop(
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{"a": 1\r\n1\r\n}\r\n0\r\n\r\n'
        )

    with ApiServer(faults=[lambda _: chunked()]) as server:
        assert over(server.url).get("/x", deadline=Deadline(5)).json() == {"a": 1}


def test_a_chunked_answer_that_breaks_off_is_not_taken_for_whole() -> None:
    def chunked() -> Answer:
        raise Drop(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"a": 1}\r\n')

    with ApiServer(faults=[lambda _: chunked()]) as server, pytest.raises(Broken):
        over(server.url).get("/x", deadline=Deadline(5))


def test_a_connection_is_kept() -> None:
    with ApiServer() as server:
        http = over(server.url)
        for _ in range(5):
            http.get("/version", deadline=Deadline(5))
    assert server.connections == 1


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"[1]", b"\xff\xfe", b""])
def test_what_is_no_json_object_is_told(body: bytes) -> None:
    with ApiServer(faults=[lambda _: Answer(200, body, {"Content-Type": "text/html"})]) as server:
        reply = over(server.url).get("/x", deadline=Deadline(5))
    with pytest.raises(Broken, match="not"):
        reply.json()


def test_no_limit_is_no_limit() -> None:
    assert Deadline(None).remaining() is None
    assert Deadline(None).allows(1e9)
