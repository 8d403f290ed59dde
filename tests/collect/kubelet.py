"""A stand-in for what the API server and kubelet do with port-forward and exec: real websockets on 127.0.0.1.

Behind the forwarded port is an admin interface that speaks HTTP/1.1, and behind exec a ``pilot-agent``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.collect.apiserver import Answer, Request, status

Page = tuple[int, bytes] | bytes


@dataclass
class Kubelet:
    """``pages`` are the admin interface's answers by path (a body, or status and body); others are 404.

    ``forward`` and ``exec_`` are ``yes``, ``forbidden``, ``refused`` (the port cannot be reached, the command
    fails), ``silent`` or ``broken`` (what comes is no HTTP). ``piece`` is how many bytes a frame holds.
    ``asked`` are the admin requests as they arrived: how, request line.
    """

    pages: dict[str, Page] = field(default_factory=dict)
    forward: str = "yes"
    exec_: str = "yes"
    piece: int = 1000
    chunked: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer | None:
        """A handler of the API server."""
        what = request.path.rpartition("/")[2]
        if what not in ("portforward", "exec"):
            return None
        mode = self.forward if what == "portforward" else self.exec_
        if mode == "forbidden":
            words = f'pods "x" is forbidden: User "me" cannot get resource "pods/{what}"'
            return status(403, words, "Forbidden")
        take = self._forward if what == "portforward" else self._exec
        return Answer(take=lambda handler: take(Stream(handler), mode, handler.path))

    def _forward(self, stream: Stream, mode: str, path: str) -> None:
        port = int(parse_qs(urlsplit(path).query)["ports"][0])
        self.ports.append(str(port))
        for channel in (0, 1):
            stream.send(channel, struct.pack("<H", port))
        if mode == "refused":
            stream.send(1, f"error forwarding port {port} to pod: connection refused".encode())
            stream.close()
            return
        held = b""
        for channel, data in stream.frames():
            assert channel == 0
            held += data
            while b"\r\n\r\n" in held:
                head, _, held = held.partition(b"\r\n\r\n")
                line = head.partition(b"\r\n")[0].decode()
                self.asked.append(("forward", line))
                if mode == "silent":
                    continue
                self._answer(stream, line, mode)

    def _answer(self, stream: Stream, line: str, mode: str) -> None:
        code, body = self._page(line.split(" ")[1])
        if mode == "broken":
            stream.send(0, b"\x16\x03\x01 no HTTP at all\r\n\r\n")
            stream.close()
            return
        head = f"HTTP/1.1 {code} X\r\ncontent-type: application/json\r\n"
        if self.chunked:
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in _pieces(body, 700) if part)
            text = f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"
        else:
            text = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        for part in _pieces(text, self.piece):
            stream.send(0, part)

    def _exec(self, stream: Stream, mode: str, path: str) -> None:
        query = parse_qs(urlsplit(path).query)
        words = query["command"]
        self.asked.append((f"exec {query['container'][0]}", " ".join(words)))
        if mode == "silent":
            list(stream.frames())
            return
        if mode == "refused":
            stream.send(2, b"exec: pilot-agent: not found")
            stream.send(3, json.dumps({"status": "Failure", "message": "exit code 126"}).encode())
            stream.close()
            return
        _, body = self._page(f"/{words[3]}")
        for part in _pieces(body, self.piece):
            stream.send(1, part)
        stream.send(3, json.dumps({"status": "Success"}).encode())
        stream.close()

    def _page(self, path: str) -> tuple[int, bytes]:
        page = self.pages.get(path, (404, b"invalid path"))
        return page if isinstance(page, tuple) else (200, page)


class Stream:
    """The server's end of a websocket with Kubernetes' channels."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._in, self._out = handler.rfile, handler.wfile
        key = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        handler.send_response(101)
        for name, value in {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": accept,
            "Sec-WebSocket-Protocol": handler.headers["Sec-WebSocket-Protocol"],
        }.items():
            handler.send_header(name, value)
        handler.end_headers()
        self._out.flush()

    def send(self, channel: int, data: bytes) -> None:
        self._frame(2, bytes([channel]) + data)

    def close(self) -> None:
        self._frame(8, struct.pack(">H", 1000))

    def _frame(self, opcode: int, body: bytes) -> None:
        size = len(body)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([size])
        elif size < 1 << 16:
            head += bytes([126]) + struct.pack(">H", size)
        else:
            head += bytes([127]) + struct.pack(">Q", size)
        self._out.write(head + body)
        self._out.flush()

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(channel, data) of what the client sends, until it goes."""
        while len(head := self._in.read(2)) == 2:
            size = head[1] & 0x7F
            if size == 126:
                size = struct.unpack(">H", self._in.read(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self._in.read(8))[0]
            mask, body = self._in.read(4), self._in.read(size)
            plain = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
            if head[0] & 0x0F == 8:
                return
            if plain:
                yield plain[0], plain[1:]


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, max(len(data), 1), size):
        yield data[at : at + size]


def document(**parts: Any) -> bytes:
    """JSON of an admin page."""
    return json.dumps(parts).encode()
