"""Streams into a pod through the API server: a connection to one of its ports, or a command's output.

Both are websockets on the API server's own address (``pods/portforward`` and ``pods/exec``), so nothing
listens on this machine. Protocol: kubernetes pkg/kubelet/cri/streaming/portforward/websocket.go (the first
frame of a channel is its port; even channels carry data, odd ones errors) and remotecommand beside it
(channel 1 is standard output, 2 standard error, 3 the ``Status`` at the end).
"""

from __future__ import annotations

import http.client
import io
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import orjson

from kgdiag.collect.http import Broken, Deadline, GetFailed, TimedOut, Unreachable, Untrusted

if TYPE_CHECKING:
    import websocket

    from kgdiag.collect.connection import Connection

CHANNELS = "v4.channel.k8s.io"
_PIECE = 1 << 18


class Forbidden(GetFailed):
    """The API server does not let this user into the pod; the text is the server's."""


class TooLarge(GetFailed):
    """The answer has more bytes than one is ready to hold."""


class PortForward:
    """One connection to a port of a pod, spoken to in HTTP. Close it, or use it as a context manager."""

    def __init__(
        self, connection: Connection, namespace: str, pod: str, port: int, deadline: Deadline
    ) -> None:
        """Raises ``GetFailed``; ``Forbidden`` where the API server refuses."""
        path = f"{_pod_path(namespace, pod)}/portforward"
        self._frames = _Frames(_open(connection, path, [("ports", str(port))], deadline), deadline)
        self._begun: set[int] = set()

    def __enter__(self) -> PortForward:
        return self

    def __exit__(self, *_: object) -> None:
        self._frames.close()

    def get(self, path: str, limit: int) -> bytes:
        """GET a path and return the body of its 200; raises ``GetFailed`` for anything else."""
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
        self._frames.send(b"\0" + head.encode("ascii"))
        response = http.client.HTTPResponse(self)  # type: ignore[arg-type]
        try:
            response.begin()
            body = _limited(response, limit)
        except (http.client.HTTPException, ValueError) as error:
            raise Broken(f"{path}: what came is no HTTP answer ({type(error).__name__})") from error
        if response.status != 200:
            raise Broken(f"{path}: the proxy answers {response.status}")
        return body

    def send(self, data: bytes) -> None:
        """Send bytes to the port."""
        self._frames.send(b"\0" + data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """The bytes that come, as ``http.client`` wants them from a socket."""
        return buffered(self)

    def receive(self) -> bytes:
        """The next bytes; none where the other end closed."""
        while (frame := self._frames.receive()) is not None:
            channel, data = frame
            if channel not in self._begun:
                self._begun.add(channel)
            elif channel % 2:
                raise Broken(data.decode("utf-8", "replace").strip() or "the port cannot be reached")
            elif data:
                return data
        return b""


class Source(Protocol):
    """What bytes come from; none where it has ended."""

    def receive(self) -> bytes: ...


def buffered(source: Source) -> io.BufferedReader:
    """A source as a file to read from."""
    return io.BufferedReader(_Bytes(source), _PIECE)


class _Bytes(io.RawIOBase):
    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._left or self._source.receive()
        count = min(len(piece), len(buffer))
        buffer[:count] = piece[:count]
        self._left = piece[count:]
        return count


def execute(
    connection: Connection,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    *,
    limit: int,
    deadline: Deadline,
) -> bytes:
    """Standard output of a command in a container. Raises ``GetFailed``, also where the command fails."""
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in command]
    frames = _Frames(_open(connection, f"{_pod_path(namespace, pod)}/exec", query, deadline), deadline)
    out, errors = bytearray(), bytearray()
    ended: bytes = b""
    try:
        while (frame := frames.receive()) is not None:
            channel, data = frame
            if channel == 1:
                out += data
            elif channel == 2:
                errors += data[:2000]
            elif channel == 3:
                ended += data
            if len(out) > limit:
                raise TooLarge(f"more than {limit >> 20} MiB")
    finally:
        frames.close()
    status = _document(ended)
    if status.get("status") != "Success":
        words = errors.decode("utf-8", "replace").strip() or str(status.get("message") or "it ended early")
        raise Broken(f"{command[0]} in container {container} failed: {words[:300]}")
    return bytes(out)


class _Frames:
    """Whole messages of a websocket as (channel, data), within a time limit."""

    def __init__(self, socket: Any, deadline: Deadline) -> None:
        self._socket = socket
        self._deadline = deadline

    def send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._deadline.remaining())
            self._socket.send_binary(data)
        except GetFailed:
            raise
        except Exception as error:
            raise _explained(error, self._deadline) from error

    def receive(self) -> tuple[int, bytes] | None:
        """The next message, None where the stream has ended."""
        import websocket

        while True:
            try:
                self._socket.settimeout(self._deadline.remaining())
                opcode, data = self._socket.recv_data()
            except websocket.WebSocketConnectionClosedException:
                return None
            except GetFailed:
                raise
            except Exception as error:
                raise _explained(error, self._deadline) from error
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return None
            if data:
                return data[0], data[1:]

    def close(self) -> None:
        self._socket.shutdown()


def _limited(response: http.client.HTTPResponse, limit: int) -> bytes:
    pieces, size = [], 0
    while piece := response.read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise TooLarge(f"more than {limit >> 20} MiB")
    return b"".join(pieces)


def _pod_path(namespace: str, pod: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}"


def _open(connection: Connection, path: str, query: Sequence[tuple[str, str]], deadline: Deadline) -> Any:
    """A websocket; every frame on it is a channel's."""
    import websocket

    server = connection.server.rstrip("/")
    url = f"ws{server.removeprefix('http')}{path}?{urlencode(query)}"
    socket: Any = websocket.WebSocket(sslopt=_tls(connection.configuration), skip_utf8_validation=True)
    # ``connect`` takes its time limit from the socket object, and proxies from the environment unless told.
    socket.settimeout(deadline.remaining())
    connection.http.statistics.add(path=f"{path}?{urlencode(query)}")
    headers = [f"{name}: {value}" for name, value in connection.http.headers().items()]
    try:
        socket.connect(
            url,
            header=headers,
            subprotocols=[CHANNELS],
            suppress_origin=True,
            redirect_limit=0,  # following one would carry the token elsewhere
            **_proxy(connection.configuration),
        )
    except websocket.WebSocketBadStatusException as error:
        raise _refused(error) from error
    except Exception as error:
        raise _explained(error, deadline) from error
    if socket.getstatus() != 101:
        socket.shutdown()
        raise Broken(f"the API server answers {socket.getstatus()}")
    return socket


def _refused(error: websocket.WebSocketBadStatusException) -> GetFailed:
    body = error.resp_body or b""
    words = str(_document(body).get("message") or "") or body[:200].decode("utf-8", "replace").strip()
    kind = Forbidden if error.status_code == 403 else Broken
    return kind(words or f"the API server answers {error.status_code}")


def _document(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _tls(configuration: Any) -> dict[str, Any]:
    """The kubernetes package's TLS settings in websocket-client's words."""
    if configuration.verify_ssl:
        options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED}
        if configuration.ssl_ca_cert:
            options["ca_certs"] = configuration.ssl_ca_cert
        if configuration.assert_hostname is not None:
            options["check_hostname"] = bool(configuration.assert_hostname)
    else:
        options = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    if configuration.cert_file:
        options["certfile"] = configuration.cert_file
    if configuration.key_file:
        options["keyfile"] = configuration.key_file
    if configuration.tls_server_name:
        options["server_hostname"] = configuration.tls_server_name
    return options


def _proxy(configuration: Any) -> dict[str, Any]:
    if not configuration.proxy:
        return {}
    where = urlsplit(configuration.proxy)
    options: dict[str, Any] = {
        "http_proxy_host": where.hostname,
        "http_proxy_port": where.port,
        "proxy_type": where.scheme if where.scheme.startswith("socks") else "http",
    }
    if where.username:
        options["http_proxy_auth"] = (where.username, where.password or "")
    if configuration.no_proxy:
        options["http_no_proxy"] = configuration.no_proxy.split(",")
    return options


def _explained(error: Exception, deadline: Deadline) -> GetFailed:
    import websocket

    if isinstance(error, websocket.WebSocketTimeoutException | TimeoutError):
        return TimedOut(f"no answer within {deadline.seconds or 0:g}s (--request-timeout)")
    if isinstance(error, ssl.SSLError):
        return Untrusted(str(error))
    if isinstance(error, OSError):
        return Unreachable(error.strerror or str(error))
    return Broken(f"the connection broke: {error or type(error).__name__}")
