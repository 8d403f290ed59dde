"""The one way to the API server: GET, with retries, within a time limit.

There is no other verb here, so whatever is built on it can only read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson
import urllib3
from tenacity import RetryCallState, Retrying, retry_if_exception_type, retry_if_result
from urllib3 import exceptions as failures

JSON = "application/json"
CONNECT_TIMEOUT = 30.0
"""Seconds for one connection where no time limit is set; client-go's dialer has the same."""

MAX_TRIES = {429: 10}
"""Tries by status, as many as client-go's for 429; what is not in here is tried ``OTHER_TRIES`` times."""
OTHER_TRIES = 4
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0

Query = Sequence[tuple[str, str]]


class GetFailed(Exception):  # noqa: N818 -- reads as what happened
    """A request that got no answer; the text says why in the words of whoever refused.

    ``status`` is that of an answer that refuses, 0 where there was none.
    """

    status: int = 0


class Unreachable(GetFailed):
    """Nobody answers at the address: refused, no route, no such host, or the proxy says so."""


class Untrusted(GetFailed):
    """TLS could not be agreed on: the server's certificate, its name, or our own certificate."""


class TimedOut(GetFailed):
    """No (whole) answer within the time limit."""


class Broken(GetFailed):
    """The connection broke, or what came is no HTTP."""


class Deadline:
    """The moment at which one read must have ended; None never comes."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Seconds left, None without a limit; TimedOut where none are left."""
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimedOut(f"no answer within {self.seconds:g}s (--request-timeout)")
        return left

    def allows(self, seconds: float) -> bool:
        """True where one may wait that long and still ask again."""
        return self._end is None or time.monotonic() + seconds < self._end


@dataclass(slots=True)
class Statistics:
    """What was asked of the server: requests sent, those of them that were repetitions, bytes received.

    ``paths`` are the requests' paths in the order of sending.
    """

    requests: int = 0
    retries: int = 0
    bytes: int = 0
    paths: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, *, path: str = "", retries: int = 0, received: int = 0) -> None:
        with self._lock:
            if path:
                self.requests += 1
                self.paths.append(path)
            self.retries += retries
            self.bytes += received


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, whatever its status. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; Broken where it is something else."""
        try:
            document = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise Broken(
                f"the answer is not JSON ({self.headers.get('content-type') or 'no type'})"
            ) from error
        if not isinstance(document, dict):
            raise Broken("the answer is not a JSON object")
        return document

    def error(self) -> tuple[str, dict[str, Any]]:
        """The server's own words about a failure, and the ``Status`` they came in (``{}`` without one)."""
        try:
            document = self.json()
        except Broken:
            text = self.body[:200].decode("utf-8", "replace").strip()
            return (f"{self.status}: {text}" if text else f"status {self.status}"), {}
        return str(document.get("message") or f"status {self.status}"), document


class Http:
    """GET on one API server, from as many threads as one likes, over connections that are kept.

    ``headers`` is asked before every request, since credentials expire.
    """

    def __init__(
        self,
        server: str,
        pool: urllib3.PoolManager,
        headers: Callable[[], urllib3.HTTPHeaderDict],
        *,
        compressed: bool = True,
    ) -> None:
        self.server = server.rstrip("/")
        self.statistics = Statistics()
        self._pool = pool
        self._headers = headers
        self._compressed = compressed
        self._reached = False

    def get(self, path: str, query: Query = (), *, accept: str = JSON, deadline: Deadline) -> Reply:
        """GET a path (already quoted) of the server and return its answer, whatever the status.

        429, 5xx and broken connections are tried again as long as the deadline allows it. A server that was
        never reached is not tried again: that is a wrong address or a cluster that is down. Raises GetFailed.
        """
        retrying = Retrying(
            retry=retry_if_result(_passing) | retry_if_exception_type(self._worth_another_try()),
            wait=_wait,
            stop=lambda state: _enough(state, deadline),
            before_sleep=lambda _: self.statistics.add(retries=1),
            retry_error_callback=_last,
        )
        reply: Reply = retrying(self._once, path, query, accept, deadline)
        return reply

    def lines(self, path: str, query: Query = (), *, accept: str) -> Iterator[bytes]:
        """GET what has no end, line by line as it comes, without a time limit on its pauses; ends where the
        server ends it. Raises GetFailed, with the status as ``status`` where the server refuses."""
        url = f"{self.server}{path}?{urlencode(query)}"
        headers = self._headers()
        headers["Accept"] = accept
        self.statistics.add(path=url.removeprefix(self.server))
        try:
            response = self._pool.request(
                "GET",
                url,
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=None),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            if response.status != 200:
                message = Reply(response.status, {}, response.read(1 << 16)).error()[0]
                failed = GetFailed(message)
                failed.status = response.status
                raise failed
            rest = b""
            while piece := response.read1(1 << 16):
                *whole, rest = (rest + piece).split(b"\n")
                yield from whole
                rest = rest[-(1 << 20) :]
            if rest:
                yield rest
        except (failures.HTTPError, OSError, ValueError) as error:
            raise _explained(error, Deadline(None)) from error

    def headers(self) -> urllib3.HTTPHeaderDict:
        """The headers that say who asks, as they go out with every request."""
        return self._headers()

    def close(self) -> None:
        """Close every connection that is kept."""
        self._pool.clear()

    def _worth_another_try(self) -> tuple[type[GetFailed], ...]:
        return (Broken, Unreachable) if self._reached else (Broken,)

    def _once(self, path: str, query: Query, accept: str, deadline: Deadline) -> Reply:
        left = deadline.remaining()
        headers = self._headers()
        headers["Accept"] = accept
        if self._compressed:
            headers["Accept-Encoding"] = "gzip"
        url = f"{self.server}{path}?{urlencode(query)}" if query else f"{self.server}{path}"
        connect = CONNECT_TIMEOUT if left is None else left
        self.statistics.add(path=url.removeprefix(self.server))
        try:
            response = self._pool.request(
                "GET",
                url,
                headers=headers,
                timeout=urllib3.Timeout(connect=connect, read=left),
                retries=False,
                # A redirect is no answer of an API server, and following it would carry the token elsewhere.
                redirect=False,
                preload_content=False,
            )
            body = self._body(response, deadline)
        except (failures.HTTPError, OSError, ValueError) as error:
            raise _explained(error, deadline) from error
        self._reached = True
        lower = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status, lower, body)

    def _body(self, response: urllib3.BaseHTTPResponse, deadline: Deadline) -> bytes:
        """The whole body. A trickle would outlive the socket's timeout, so each piece looks at the limit."""
        pieces = []
        try:
            while piece := response.read1(1 << 18, decode_content=True):
                pieces.append(piece)
                deadline.remaining()
        except BaseException:
            response.close()
            raise
        response.release_conn()
        self.statistics.add(received=response.tell())
        return b"".join(pieces)


def _passing(reply: Reply) -> bool:
    """True for an answer that another try may change."""
    return reply.status == 429 or reply.status >= 500


def _wait(state: RetryCallState) -> float:
    """What the server asks for in Retry-After (seconds), else twice as long each time."""
    outcome = state.outcome
    if outcome is not None and not outcome.failed:
        asked = outcome.result().headers.get("retry-after", "")
        if asked.isdigit():
            return float(asked)
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (state.attempt_number - 1))


def _enough(state: RetryCallState, deadline: Deadline) -> bool:
    outcome = state.outcome
    status = 0 if outcome is None or outcome.failed else outcome.result().status
    if state.attempt_number >= MAX_TRIES.get(status, OTHER_TRIES):
        return True
    return not deadline.allows(state.upcoming_sleep)


def _last(state: RetryCallState) -> Reply:
    """After the last try: its answer, or its exception raised."""
    assert state.outcome is not None
    reply: Reply = state.outcome.result()
    return reply


def _explained(error: Exception, deadline: Deadline) -> GetFailed:
    """What urllib3 raises, as one of ours and in words that say what happened and not where in urllib3."""
    if isinstance(error, failures.ProxyError):
        return Unreachable(f"the proxy refuses or does not answer: {_root(error)}")
    # In urllib3 1.26 a NewConnectionError is a ConnectTimeoutError too, so the order matters.
    if isinstance(error, failures.NewConnectionError):
        return Unreachable(_root(error))
    if isinstance(error, failures.TimeoutError | TimeoutError):
        limit = CONNECT_TIMEOUT if deadline.seconds is None else deadline.seconds
        return TimedOut(f"no answer within {limit:g}s (--request-timeout)")
    if isinstance(error, failures.SSLError):
        return Untrusted(_root(error))
    if isinstance(error, failures.ProtocolError | failures.DecodeError | failures.IncompleteRead):
        return Broken(f"the connection broke: {_root(error)}")
    return Unreachable(_root(error))


def _root(error: BaseException) -> str:
    """The words of the innermost cause."""
    seen = {id(error)}
    while True:
        inner = getattr(error, "original_error", None) or error.__cause__ or _wrapped(error)
        if inner is None or id(inner) in seen:
            break
        seen.add(id(inner))
        error = inner
    if isinstance(error, OSError) and error.strerror and not hasattr(error, "verify_message"):
        return error.strerror
    return str(error) or type(error).__name__


def _wrapped(error: BaseException) -> BaseException | None:
    return next((arg for arg in reversed(error.args) if isinstance(arg, BaseException)), None)
