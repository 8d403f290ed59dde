"""What a real Envoy answered, held against what the walker says of its config dump."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass, field, replace
from typing import Any

from kgdiag.dialects.envoy.dump import dumps_of
from kgdiag.dialects.envoy.proxy import dump_proxy, pod_of
from kgdiag.graph.world import World
from kgdiag.model.proxy import Proxy
from kgdiag.model.read import Origin
from kgdiag.model.trace import PathTaken, Question, Result
from kgdiag.trace import trace_proxy
from kgdiag.trace.match import string_matches
from kgdiag.trace.question import parse_question
from tests.envoy.generate import BACKEND_HEADERS, REQUEST_NAMES, RESPONSE_NAMES, Sent
from tests.envoy.server import HOST

Pairs = list[tuple[str, str]]


@dataclass
class Answer:
    """What came back: no status where the connection ended without an answer."""

    status: int | None = None
    headers: Pairs = field(default_factory=list)
    body: str = ""
    how: str = ""

    def header(self, name: str) -> str | None:
        return joined(self.headers, name)


def joined(pairs: Any, name: str) -> str | None:
    values = [value for key, value in pairs if key == name]
    return ",".join(values) if values else None


def send(sent: Sent) -> Answer:
    """The request as raw bytes on a fresh connection."""
    try:
        connection = socket.create_connection((HOST, sent.port), timeout=20)
    except OSError as error:
        return Answer(how=str(error))
    with connection:
        try:
            if sent.tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                context.set_alpn_protocols(list(sent.alpn))
                connection = context.wrap_socket(connection, server_hostname=sent.sni)
            connection.sendall(wire(sent))
            return _read(connection, sent.method)
        except OSError as error:
            return Answer(how=str(error))


def wire(sent: Sent) -> bytes:
    if not sent.http:
        return b"\x00\x01bytes\r\n\r\n"
    lines = [f"{sent.method} {sent.target} HTTP/1.1"]
    if sent.authority:
        lines.append(f"Host: {sent.authority}")
    lines += [f"{name}: {value}" for name, value in sent.headers]
    lines += ["Connection: close"]
    if sent.method in ("POST", "PUT"):
        lines.append("Content-Length: 0")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _read(connection: socket.socket, method: str) -> Answer:
    data = b""
    length = None
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        if found:
            lines = head.decode("latin-1").split("\r\n")
            pairs = [
                (name.lower(), value.strip()) for name, _, value in (one.partition(":") for one in lines[1:])
            ]
            length = 0 if method == "HEAD" else int(joined(pairs, "content-length") or -1)
            if 0 <= length <= len(body):
                return Answer(int(lines[0].split()[1]), pairs, body[:length].decode("latin-1"))
        more = connection.recv(65536)
        if not more:
            if found:
                return Answer(int(lines[0].split()[1]), pairs, body.decode("latin-1"))
            return Answer(how="closed")
        data += more


def question(sent: Sent) -> Question:
    """The same request as `kgdiag trace` is asked."""
    scheme = ("tcp" if not sent.http else "http") if not sent.tls else "https"
    url = f"{scheme}://{HOST}:{sent.port}{sent.target if sent.target.startswith('/') else '/'}"
    headers = [f"{name}: {value}" for name, value in sent.headers]
    if sent.authority and sent.http:
        headers.append(f"Host: {sent.authority}")
    asked = parse_question(
        url, method=sent.method, headers=headers, sni=(sent.sni or "") if sent.tls else None, via="dump/x"
    )
    request = asked.request
    if sent.http and not sent.authority:
        request = replace(request, authority="")
    if sent.target == "*":
        request = replace(request, path="*")
    return replace(asked, request=request)


def proxy_of(dump: Any) -> Proxy:
    name, parsed = dumps_of(dump)[0]
    return dump_proxy(parsed, string_matches, pod=pod_of(parsed, name))


def paths(proxy: Proxy, sent: Sent) -> tuple[PathTaken, ...]:
    return trace_proxy(World(Origin.FILES), question(sent), proxy, sent.port).paths


def disagreement(proxy: Proxy, sent: Sent, answer: Answer) -> str | None:
    """None where one of the predicted paths is what happened, else the differences."""
    found = paths(proxy, sent)
    said = []
    for path in found:
        if path.weight <= 0:
            continue
        difference = _differs(proxy, path, sent, answer)
        if difference is None:
            return None
        said.append(difference)
    return " | ".join(said) or "no path"


def _differs(proxy: Proxy, path: PathTaken, sent: Sent, answer: Answer) -> str | None:
    outcome = path.outcome
    if outcome.result is Result.UNKNOWN:
        return f"unknown: {outcome.reason}"
    if outcome.result is Result.EXTERNAL:
        return f"external: {outcome.reason}"
    echoed = answer.header("x-echo") is not None
    if outcome.result is Result.DELIVERED:
        if not echoed:
            if not sent.http:
                return None if answer.status is not None else f"delivered, got {answer.status} {answer.how}"
            return f"delivered to {outcome.cluster}, got {answer.status} {answer.how}"
        return _backend(proxy, path, sent, answer) or (
            _response(path, answer) if path_is_http(path) else None
        )
    if echoed:
        return f"refused ({outcome.status} {outcome.reason}), the backend answered"
    if outcome.status != answer.status:
        return f"refused with {outcome.status} ({outcome.reason}), got {answer.status} {answer.how}"
    if (outcome.location or None) != answer.header("location"):
        return f"location {outcome.location}, got {answer.header('location')}"
    grpc = answer.header("grpc-status")
    if (str(outcome.grpc_status) if outcome.grpc_status is not None else None) != grpc:
        return f"grpc-status {outcome.grpc_status}, got {grpc}"
    return _edited(path, answer, ())


def path_is_http(path: PathTaken) -> bool:
    return path.hops[-1].request is not None


def _backend(proxy: Proxy, path: PathTaken, sent: Sent, answer: Answer) -> str | None:
    if sent.method != "HEAD":
        seen = json.loads(answer.body)
        cluster = proxy.cluster(path.outcome.cluster or "")
        ports = {one.port for one in cluster.endpoints} if cluster else set()
        if seen["port"] not in ports:
            return f"cluster {path.outcome.cluster} has ports {ports}, port {seen['port']} answered"
        request = path.hops[-1].request
        if request is None:
            return None
        method, _, rest = seen["line"].partition(" ")
        target = rest.rpartition(" ")[0]
        if (method, target) != (request.method, request.target):
            return f"{request.method} {request.target}, the backend saw {method} {target}"
        if joined(seen["headers"], "host") != request.authority:
            return f"Host {request.authority}, the backend saw {joined(seen['headers'], 'host')}"
        for name in REQUEST_NAMES:
            if joined(request.headers, name) != joined(seen["headers"], name):
                found = joined(seen["headers"], name)
                return f"{name}: {joined(request.headers, name)}, the backend saw {found}"
    return None


def _response(path: PathTaken, answer: Answer) -> str | None:
    return _edited(path, answer, BACKEND_HEADERS)


def _edited(path: PathTaken, answer: Answer, base: Any) -> str | None:
    """The answer's headers are the backend's after the predicted edits."""
    edits = path.outcome.response_headers
    pairs = [pair for pair in base if pair[0] not in edits.remove]
    for name, value in edits.set:
        pairs = [pair for pair in pairs if pair[0] != name] + [(name, value)]
    pairs += list(edits.add)
    for name, absent, present, keeps in edits.conditional:
        had = any(key == name for key, _ in base)
        if had and not keeps:
            pairs = [pair for pair in pairs if pair[0] != name]
        pairs += [(name, value) for value in (present if had else absent)]
    for name in RESPONSE_NAMES:
        expected = joined(pairs, name)
        if expected != answer.header(name):
            after = f"({path.outcome.status} {path.outcome.reason})"
            return f"response header {name}: {expected}, got {answer.header(name)} {after}"
    return None
