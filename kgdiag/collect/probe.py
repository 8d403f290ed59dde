"""One real request, sent because somebody asked for it: into a pod's port, or by curl from a pod.

The port-forward is a stream of the API server (``collect.forward``): nothing listens on this machine. To the
pod its client is its own loopback, so policies about addresses see another one than from outside.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from kgdiag.collect.connection import Connection
from kgdiag.collect.forward import Forbidden, PortForward, TooLarge, execute
from kgdiag.collect.http import Broken, Deadline, GetFailed

T = TypeVar("T")

LARGEST = 1 << 20
"""Bytes of a body that are read; the rest is left."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What came back. ``status`` None: nothing, and ``failure`` says why; ``unsent`` says that the request
    never left (no right, no curl), so that nothing is known. Header names are lower case."""

    how: str
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: str = field(default="", repr=False)
    failure: str = ""
    unsent: bool = False

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


def into_pod(
    connection: Connection,
    pod: tuple[str, str],
    port: int,
    request: bytes,
    *,
    method: str,
    tls: bool,
    sni: str | None,
    deadline: Deadline,
) -> Sent:
    """Send the bytes of a request to a port of a pod (namespace, name); never raises for a failure."""
    how = f"a port-forward to port {port} of pod {pod[0]}/{pod[1]}"
    try:
        stream = PortForward(connection, *pod, port, deadline)
    except Forbidden as error:
        return Sent(how, failure=f"forbidden: {error}", unsent=True)
    except GetFailed as error:
        return Sent(how, failure=str(error), unsent=True)
    with stream:
        try:
            channel = _Tls(stream, sni) if tls else stream
            channel.send(request)
            return _answer(how, channel, method)
        except ssl.SSLError as error:
            return Sent(how, failure=f"TLS handshake: {error.reason or error}")
        except GetFailed as error:
            refused = "connection refused" in str(error)
            return Sent(how, failure="the port is refused in the pod" if refused else str(error)[:300])
        except (http.client.HTTPException, ValueError, OSError) as error:
            return Sent(how, failure=f"closed without an answer ({type(error).__name__})")


def _answer(how: str, channel: PortForward | _Tls, method: str) -> Sent:
    response = http.client.HTTPResponse(channel, method=method)  # type: ignore[arg-type]
    response.begin()
    body = response.read(LARGEST)
    headers = tuple((name.lower(), value) for name, value in response.getheaders())
    return Sent(how, response.status, headers, body.decode("utf-8", "replace"))


class _Tls:
    """TLS over a stream that is no socket. No certificate is verified: who answers is what is asked."""

    def __init__(self, stream: PortForward, sni: str | None) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        self._stream = stream
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=sni)
        self._until(self._tls.do_handshake)

    def send(self, data: bytes) -> None:
        self._until(lambda: self._tls.write(data))

    def makefile(self, _mode: str) -> object:
        from kgdiag.collect.forward import buffered

        return buffered(self)

    def receive(self) -> bytes:
        try:
            return bytes(self._until(lambda: self._tls.read(1 << 16)) or b"")
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def _until(self, step: Callable[[], T]) -> T:
        """Run a step of TLS, feeding it with what comes, until it is through."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                piece = self._stream.receive()
                if piece:
                    self._in.write(piece)
                else:
                    self._in.write_eof()
                continue
            self._flush()
            return result

    def _flush(self) -> None:
        if data := self._out.read():
            self._stream.send(data)


_CURL = re.compile(r"curl: \((\d+)\)")
_MISSING = re.compile(r"not found|no such file|executable file", re.I)


def from_pod(
    connection: Connection,
    pod: tuple[str, str],
    containers: Sequence[str],
    arguments: Sequence[str],
    deadline: Deadline,
) -> Sent:
    """Run curl with these arguments in the first container that has it; never raises for a failure."""
    why = "it has no container for it"
    for container in containers:
        how = f"curl in container {container} of pod {pod[0]}/{pod[1]}"
        try:
            out = execute(connection, *pod, container, ["curl", *arguments], limit=LARGEST, deadline=deadline)
        except Forbidden as error:
            return Sent(how, failure=f"forbidden: {error}", unsent=True)
        except TooLarge as error:
            return Sent(how, failure=f"the answer is too large: {error}", unsent=True)
        except GetFailed as error:
            if isinstance(error, Broken) and _CURL.search(str(error)):
                return Sent(how, failure=str(error)[str(error).index("curl: (") :])
            why = str(error)
            if not _MISSING.search(why):
                return Sent(how, failure=why, unsent=True)
            continue
        return _of_curl(how, out)
    return Sent(f"pod {pod[0]}/{pod[1]}", failure=f"there is no curl in it: {why}", unsent=True)


def _of_curl(how: str, out: bytes) -> Sent:
    """The answer in the output of ``curl -i``, interim answers left out."""
    text = out.decode("utf-8", "replace")
    while True:
        head, _, body = text.partition("\r\n\r\n")
        lines = head.split("\r\n")
        found = re.match(r"HTTP/\S+ (\d{3})", lines[0])
        if found is None:
            return Sent(how, failure="what came is no HTTP answer")
        if not found[1].startswith("1"):
            break
        text = body
    pairs = (line.partition(":") for line in lines[1:])
    headers = tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
    return Sent(how, int(found[1]), headers, body)
