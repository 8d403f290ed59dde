"""A stand-in for a Kubernetes API server on 127.0.0.1: real HTTP and TLS, with faults where a test asks.

It lists, pages, gets and discovers the objects it is given, and answers like kube-apiserver where it cannot.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import yaml

from kgdiag.model.kind import Kind


@dataclass(frozen=True)
class Request:
    """One request as it arrived. ``headers`` has every value of a name, in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, list[str]]

    def header(self, name: str) -> str:
        return ", ".join(self.headers.get(name, []))


@dataclass(frozen=True)
class Answer:
    """What is sent back. ``body`` is JSON unless it is bytes; ``pause`` is seconds before each byte of it."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0
    take: Callable[[BaseHTTPRequestHandler], None] | None = None  # takes over the connection instead


Handler = Callable[[Request], Answer | None]
"""Answers a request; None leaves it to the next handler. May raise Drop."""


class Drop(Exception):  # noqa: N818 -- says what it does
    """Close the connection without an answer, after the bytes given."""

    def __init__(self, first: bytes = b"") -> None:
        self.first = first


def status(code: int, message: str, reason: str = "", **details: Any) -> Answer:
    """A ``Status`` as kube-apiserver sends it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return Answer(code, {**body, "reason": reason, **({"details": details} if details else {})})


def times(count: int, answer: Callable[[], Answer], path: str = "") -> Handler:
    """The first ``count`` requests (to paths that start so) get this answer."""
    left = [count]
    lock = threading.Lock()

    def handle(request: Request) -> Answer | None:
        with lock:
            if not request.path.startswith(path) or left[0] == 0:
                return None
            left[0] -= 1
        return answer()

    return handle


@dataclass
class ApiServer:
    """Serves ``objects``; ``kinds`` are served even where there is no object, in all their versions.

    ``faults`` are asked before anything else, in order. ``requests`` is what arrived.
    """

    objects: list[dict[str, Any]] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    aggregated: bool = True
    stale: set[str] = field(default_factory=set)
    faults: list[Handler] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Self:
        self.released = threading.Event()
        self._http = _Server(("127.0.0.1", 0), self)
        if self.tls:
            self._http.socket = self.tls.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._http.shutdown()
        for connection in self._http.accepted:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._http.server_close()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def kubeconfig(
        self,
        folder: Path,
        *,
        name: str = "config",
        context: Mapping[str, Any] | None = None,
        cluster: Mapping[str, Any] | None = None,
        user: Mapping[str, Any] | None = None,
    ) -> str:
        """Write a kubeconfig with the context ``test`` that leads here, and return its path."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "here", "user": "me", **(context or {})}}],
            "clusters": [{"name": "here", "cluster": {"server": self.url, **(cluster or {})}}],
            "users": [{"name": "me", "user": dict(user) if user is not None else {"token": "secret-token"}}],
        }
        path = folder / name
        path.write_text(yaml.safe_dump(document))
        return str(path)

    def paths(self) -> list[str]:
        """The paths asked for, sorted, since requests come in parallel."""
        return sorted(request.path for request in self.requests)

    def silent(self, request: Request) -> Answer | None:
        """A handler that never answers (until the server is closed)."""
        self.released.wait(20)
        raise Drop

    # --- what an API server does --------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        for fault in self.faults:
            answer = fault(request)
            if answer is not None:
                return answer
        if request.path == "/version":
            return Answer(body={"gitVersion": "v1.34.4"})
        if request.path in ("/api", "/apis"):
            return self._groups(request)
        return self._resource(request) or status(404, "the server could not find the requested resource")

    def _served(self) -> dict[str, dict[str, list[Kind]]]:
        """group → version → kinds, groups in the order given."""
        out: dict[str, dict[str, list[Kind]]] = {}
        for kind in self.kinds:
            for version in kind.versions:
                out.setdefault(kind.group, {}).setdefault(version, []).append(kind)
        return out

    def _groups(self, request: Request) -> Answer:
        core = request.path == "/api"
        groups = {group: served for group, served in self._served().items() if (group == "") is core}
        if self.aggregated and "as=APIGroupDiscoveryList" in request.header("accept"):
            items = [_aggregated(group, served, self.stale) for group, served in groups.items()]
            kind = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2"}
            return Answer(body={**kind, "items": items})
        if core:
            return Answer(body={"kind": "APIVersions", "versions": ["v1"]})
        listed = []
        for group, served in groups.items():
            versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in served]
            listed.append({"name": group, "versions": versions, "preferredVersion": versions[0]})
        return Answer(body={"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})

    def _resource(self, request: Request) -> Answer | None:
        parts = request.path.strip("/").split("/")
        if parts[0] == "api":
            group, version, rest = "", parts[1], parts[2:]
        elif parts[0] == "apis" and len(parts) > 2:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            return None
        kinds = self._served().get(group, {}).get(version)
        if kinds is None:
            return None
        if not rest:
            return Answer(body=_old(group, version, kinds))
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        kind = next((kind for kind in kinds if kind.plural == rest[0]), None)
        if kind is None:
            return None
        found = [
            item for item in self._of(kind) if not namespace or _meta(item).get("namespace") == namespace
        ]
        if len(rest) == 2:
            return self._one(kind, rest[1], found)
        return self._list(request, kind, version, found)

    def _of(self, kind: Kind) -> Iterable[dict[str, Any]]:
        for item in self.objects:
            group = item["apiVersion"].rpartition("/")[0]
            if (group, item["kind"]) == kind.key:
                yield item

    def _one(self, kind: Kind, name: str, found: list[dict[str, Any]]) -> Answer:
        for item in found:
            if _meta(item)["name"] == name:
                return Answer(body=item)
        message = f'{kind.resource} "{name}" not found'
        return status(404, message, "NotFound", name=name, kind=kind.plural)

    def _list(self, request: Request, kind: Kind, version: str, found: list[dict[str, Any]]) -> Answer:
        query = request.query
        for pair in filter(None, query.get("labelSelector", "").split(",")):
            key, _, value = pair.partition("=")
            found = [item for item in found if (_meta(item).get("labels") or {}).get(key) == value]
        for pair in filter(None, query.get("fieldSelector", "").split(",")):
            found = [item for item in found if _meta(item)["name"] == pair.partition("=")[2]]
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 0)) or len(found)
        page = found[start : start + limit]
        meta = {"resourceVersion": "7"}
        if start + limit < len(found):
            meta["continue"] = str(start + limit)
        # Items of built-in lists say neither apiVersion nor kind.
        items = [{key: item[key] for key in item if key not in ("apiVersion", "kind")} for item in page]
        api_version = f"{kind.group}/{version}" if kind.group else version
        return Answer(
            body={"kind": f"{kind.name}List", "apiVersion": api_version, "metadata": meta, "items": items}
        )


def _meta(item: Mapping[str, Any]) -> dict[str, Any]:
    meta: dict[str, Any] = item["metadata"]
    return meta


def _aggregated(group: str, served: Mapping[str, list[Kind]], stale: set[str]) -> dict[str, Any]:
    versions = []
    for version, kinds in served.items():
        resources = [
            {
                "resource": kind.plural,
                "responseKind": {"group": kind.group, "version": version, "kind": kind.name},
                "scope": "Namespaced" if kind.namespaced else "Cluster",
                "singularResource": kind.name.lower(),
                "verbs": ["get", "list"],
                "shortNames": list(kind.short),
            }
            for kind in kinds
        ]
        gone = group in stale
        versions.append(
            {
                "version": version,
                "resources": [] if gone else resources,
                "freshness": "Stale" if gone else "Current",
            }
        )
    return {"metadata": {"name": group} if group else {}, "versions": versions}


def _old(group: str, version: str, kinds: list[Kind]) -> dict[str, Any]:
    resources: list[dict[str, Any]] = []
    for kind in kinds:
        entry = {"name": kind.plural, "singularName": kind.name.lower(), "namespaced": kind.namespaced}
        resources.append(
            {**entry, "kind": kind.name, "verbs": ["get", "list"], "shortNames": list(kind.short)}
        )
        resources.append({**entry, "name": f"{kind.plural}/status", "kind": kind.name, "verbs": ["get"]})
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "groupVersion": name, "resources": resources}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], api: ApiServer) -> None:
        self.api = api
        self.accepted: list[socket.socket] = []
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or that does not trust the certificate, is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.api.connections += 1
        self.server.accepted.append(self.connection)

    def log_message(self, *_: object) -> None:
        """Tests look at ``requests`` instead."""

    def handle_any(self) -> None:
        api = self.server.api
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        headers: dict[str, list[str]] = {}
        for key, value in self.headers.items():
            headers.setdefault(key.lower(), []).append(value)
        request = Request(self.command, url.path, query, headers)
        api.requests.append(request)
        try:
            answer = api.answer(request)
        except Drop as drop:
            self.wfile.write(drop.first)
            self.close_connection = True
            return
        if answer.take is not None:
            answer.take(self)
            self.close_connection = True
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        out = {"Content-Type": "application/json", "Content-Length": str(len(body)), **answer.headers}
        for key, value in out.items():
            self.send_header(key, value)
        self.end_headers()
        if not answer.pause:
            self.wfile.write(body)
            return
        for at in range(len(body)):
            if api.released.wait(answer.pause):
                return
            self.wfile.write(body[at : at + 1])
            self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any  # noqa: N815
