"""The kind cluster of `kind-configs/up`, as the tests use it: objects, requests, proxies, and kgdiag itself.

Requests are sent with curl, from this machine (to 127.0.0.1 only) or from a pod; each comes back as `Answer`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = Path(__file__).parent / "manifests"

# NodePorts, published on 127.0.0.1 under the same numbers (kind-configs/cluster.yaml).
ISTIO_HTTP, ISTIO_HTTPS = 31080, 31443
ISTIO_SPARE = {9001: 31901, 9002: 31902, 9003: 31903, 9004: 31904}
ISTIO_API_HTTP, ISTIO_API_HTTPS = 31180, 31543
ENVOY_GATEWAY_HTTP, ENVOY_GATEWAY_HTTPS = 32080, 32443
FREE_NODE_PORTS = (32701, 32702, 32703, 32704)

APP_IMAGE = "docker.io/istio/app:1.31.0"

# What curl says when there is no HTTP answer; the exit codes are documented in curl(1).
_NO_ANSWER = {6: "no such name", 7: "refused", 28: "timeout", 35: "tls", 52: "closed", 56: "reset", 60: "tls"}


@dataclass(frozen=True)
class Echo:
    """What the echo server saw: its own pod and the request as it arrived there."""

    pod: str
    version: str
    port: int
    host: str
    path: str
    method: str
    headers: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, or why there was none: `status` is None and `failure` says it."""

    status: int | None
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    body: str = ""
    failure: str = ""

    def header(self, name: str) -> str | None:
        """The first value of a response header."""
        return next(iter(self.headers.get(name.lower(), ())), None)

    @property
    def echo(self) -> Echo:
        """The echo server's account; fails where something else answered."""
        lines = [line.split("=", 1) for line in self.body.splitlines() if "=" in line]
        facts = {key: value for key, value in lines if key != "RequestHeader"}
        assert "Hostname" in facts, f"not an echo server's answer: {self}"
        headers: dict[str, list[str]] = {}
        for key, value in lines:
            if key == "RequestHeader":
                name, _, text = value.partition(":")
                headers.setdefault(name.lower(), []).append(text)
        return Echo(
            pod=facts["Hostname"],
            version=facts.get("ServiceVersion", ""),
            port=int(facts.get("ServicePort", 0)),
            host=facts.get("Host", ""),
            path=facts.get("URL", ""),
            method=facts.get("Method", ""),
            headers={name: tuple(values) for name, values in headers.items()},
        )

    @property
    def echoed(self) -> bool:
        """Whether an echo server answered."""
        return "Hostname=" in self.body

    def __str__(self) -> str:
        if self.status is None:
            return f"no answer: {self.failure}"
        who = (
            f"pod {self.echo.pod} {self.echo.host} {self.echo.path}" if self.echoed else repr(self.body[:120])
        )
        return f"{self.status} {who}"


@dataclass(frozen=True)
class Run:
    """One run of a program."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.out)


def eventually(
    ask: Callable[[], T], accept: Callable[[T], bool], seconds: float = 30, pause: float = 0.2
) -> T:
    """Ask until the answer is accepted; the last answer is in the failure."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if accept(answer):
            return answer
        assert time.monotonic() < end, f"still {answer} after {seconds} s"
        time.sleep(pause)


def curl_arguments(
    url: str,
    *,
    host: str | None = None,
    method: str | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    connect: str | None = None,
    data: str | None = None,
    http2: bool = False,
    options: Iterable[str] = (),
    timeout: float = 8,
) -> list[str]:
    """Arguments of curl for one request.

    With `connect` ("ADDRESS:PORT") the name in the URL gives the SNI only, and no name is resolved.
    """
    arguments = [
        "curl",
        "-sS",
        "-i",
        "-k",
        "--path-as-is",
        "-m",
        str(timeout),
        "-w",
        "\n%{exitcode} %{errormsg}",
    ]
    if host is not None:
        arguments += ["-H", f"Host: {host}"]
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        arguments += ["-H", f"{name}: {value}" if value else f"{name};"]
    if method == "HEAD":
        arguments += ["-I"]
    elif method is not None:
        arguments += ["-X", method]
    if data is not None:
        arguments += ["--data-binary", data, "-H", "Expect:"]
    if connect is not None:
        arguments += ["--connect-to", f"::{connect}"]
    if http2:
        arguments += ["--http2-prior-knowledge" if url.startswith("http:") else "--http2"]
    return [*arguments, *options, url]


def parse_answer(output: str) -> Answer:
    """Curl's output as an answer."""
    text, _, last = output.rpartition("\n")
    code, _, message = last.partition(" ")
    number = int(code) if code.isdigit() else -1
    if number != 0:
        return Answer(None, failure=f"{_NO_ANSWER.get(number, f'curl {number}')}: {message}".strip())
    head, _, body = text.partition("\r\n\r\n")
    lines = head.split("\r\n")
    match = re.match(r"HTTP/\S+ (\d{3})", lines[0])
    if match is None:
        return Answer(None, body=text, failure="not HTTP")
    headers: dict[str, list[str]] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), []).append(value.strip())
    return Answer(int(match[1]), {name: tuple(values) for name, values in headers.items()}, body)


@dataclass(frozen=True)
class Cluster:
    """The cluster behind one kubeconfig."""

    kubeconfig: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to talk to this cluster and to no other."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def run(self, *arguments: str, text: str | None = None, timeout: float = 120) -> Run:
        """Run a program with this cluster's kubeconfig."""
        sent = None if text is None else text.encode()
        done = subprocess.run(
            arguments, input=sent, capture_output=True, timeout=timeout, env=self.environment, check=False
        )
        # Decoded here, since text mode would turn the CRLF of HTTP into LF.
        return Run(
            done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def kubectl(self, *arguments: str, text: str | None = None, timeout: float = 120) -> str:
        """Standard output of a kubectl that succeeds."""
        done = self.run("kubectl", *arguments, text=text, timeout=timeout)
        assert done.code == 0, f"kubectl {' '.join(arguments)}: {done.err}"
        return done.out

    def kgdiag(self, *arguments: str, timeout: float = 120) -> Run:
        """Run kgdiag as a user would."""
        return self.run(sys.executable, "-m", "kgdiag", *arguments, timeout=timeout)

    # objects

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        """One object."""
        where = ("-n", namespace) if namespace else ()
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, *where, "-o", "json"))
        return found

    def apply(self, manifest: str | Iterable[Mapping[str, Any]], namespace: str | None = None) -> None:
        """Apply a manifest; its objects without a namespace go to `namespace`."""
        where = ("-n", namespace) if namespace else ()
        # JSON, since PyYAML writes the string "y" bare, and kubectl reads that as a boolean.
        text = manifest if isinstance(manifest, str) else "\n---\n".join(map(json.dumps, manifest))
        # A webhook that cannot be called (its control plane restarts) says nothing about the manifest.
        done = eventually(
            lambda: self.run("kubectl", "apply", *where, "-f", "-", text=text),
            lambda run: run.code == 0 or "failed calling webhook" not in run.err,
            seconds=60,
            pause=1,
        )
        assert done.code == 0, f"kubectl apply: {done.err}"

    def refused(self, manifest: str, namespace: str | None = None) -> str:
        """Why the API server or a webhook refuses a manifest ("" where it is accepted; nothing is stored)."""
        where = ("-n", namespace) if namespace else ()
        return self.run("kubectl", "apply", "--dry-run=server", *where, "-f", "-", text=manifest).err

    def delete(self, *arguments: str) -> None:
        """Delete objects that may be gone already."""
        self.kubectl("delete", "--ignore-not-found", "--wait=false", *arguments)

    @contextlib.contextmanager
    def namespace(self, prefix: str = "e2e", **labels: str) -> Iterator[str]:
        """A throw-away namespace; label keys are given with `_` for `-` (istio_injection="enabled")."""
        name = f"{prefix}-{secrets.token_hex(3)}"
        keys = {key.replace("_", "-"): value for key, value in labels.items()}
        self.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": keys}}])
        try:
            yield name
        finally:
            self.delete("namespace", name)

    def wait_pods(self, namespace: str, selector: str = "", seconds: float = 120) -> None:
        """Wait until every Deployment of a namespace has its pods, and those chosen are ready."""
        eventually(lambda: self._waiting(namespace, selector), lambda names: not names, seconds, pause=0.5)

    def _waiting(self, namespace: str, selector: str) -> list[str]:
        """Pods that are not ready, and Deployments that are not available as they are written now."""
        where = ("-n", namespace, "-l", selector, "-o", "json")
        pods = json.loads(self.kubectl("get", "pod", *where))["items"]
        waiting = [
            f"pod/{pod['metadata']['name']}"
            for pod in pods
            if "deletionTimestamp" not in pod["metadata"]
            and not any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in pod.get("status", {}).get("conditions", [])
            )
        ]
        for deployment in json.loads(self.kubectl("get", "deployment", "-n", namespace, "-o", "json"))[
            "items"
        ]:
            status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
            current = status.get("observedGeneration") == deployment["metadata"]["generation"]
            if (
                not current
                or min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0)) < wanted
            ):
                waiting.append(f"deployment/{deployment['metadata']['name']}")
        return waiting

    def pod(self, namespace: str, selector: str) -> str:
        """The name of one running pod."""
        found = json.loads(self.kubectl("get", "pod", "-n", namespace, "-l", selector, "-o", "json"))["items"]
        alive = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        assert alive, f"no pod {selector} in {namespace}"
        return str(alive[0]["metadata"]["name"])

    # requests

    def send(self, port: int, path: str = "/", host: str | None = None, **options: Any) -> Answer:
        """One plaintext request to 127.0.0.1."""
        arguments = curl_arguments(f"http://127.0.0.1:{port}{path}", host=host, **options)
        return parse_answer(self.run(*arguments).out)

    def send_tls(
        self, port: int, sni: str, path: str = "/", host: str | None = None, **options: Any
    ) -> Answer:
        """One request over TLS to 127.0.0.1; no certificate is verified."""
        arguments = curl_arguments(f"https://{sni}{path}", host=host, connect=f"127.0.0.1:{port}", **options)
        return parse_answer(self.run(*arguments).out)

    def curl_from(
        self, pod: str, url: str, *, namespace: str = "clients", container: str = "client", **options: Any
    ) -> Answer:
        """One request from inside a pod (`plain` and `meshed` of `clients` are there for that)."""
        command = ["kubectl", "exec", "-n", namespace, pod, "-c", container, "--"]
        return parse_answer(self.run(*command, *curl_arguments(url, **options)).out)

    # proxies

    def admin(self, namespace: str, pod: str, path: str) -> str:
        """An answer of the admin interface of the Envoy that Istio put into a pod."""
        return self.kubectl(
            "exec", "-n", namespace, pod, "-c", "istio-proxy", "--", "pilot-agent", "request", "GET", path
        )

    def config_dump(self, namespace: str, pod: str) -> Any:
        """The config dump of an Istio proxy, with endpoints."""
        return json.loads(self.admin(namespace, pod, "config_dump?include_eds"))

    def access_log(self, namespace: str, target: str, mark: str, container: str = "istio-proxy") -> list[str]:
        """The lines of a proxy's access log that contain a mark (put one into the path)."""
        log = self.kubectl("logs", "-n", namespace, target, "-c", container, "--tail=400")
        return [line for line in log.splitlines() if mark in line]

    def settle(self, *gateways: str) -> None:
        """Wait until what was applied so far has reached the proxies.

        `gateways`: "istio" (classic gateways and sidecars), "istio-api" (Gateway API of class istio),
        "envoy-gateway"; all without arguments. Each control plane handles changes in order, so a marker is
        changed last, and a request shows when the marker has arrived.

        Connections that a sidecar keeps open go on under the configuration that they began with (policies
        too): a test that changes policies sets `connectionPool.http.maxRequestsPerConnection: 1`.
        """
        token = secrets.token_hex(4)
        wanted = gateways or tuple(_MARKERS)
        self.apply(
            "---".join([_MARKER_NAMESPACE, *(_MARKERS[name][1].replace("TOKEN", token) for name in wanted)])
        )
        for name in wanted:
            port = _MARKERS[name][0]
            eventually(
                lambda port=port: self.send(port, "/", host="marker.e2e").header("location") or "no marker",  # type: ignore[misc]
                lambda location: token in location,
            )
        if {"istio", "istio-api"} & set(wanted):
            time.sleep(0.3)
            eventually(self._unacknowledged, lambda names: not names)

    def _unacknowledged(self) -> list[str]:
        """Istio proxies that have not acknowledged the last push."""
        out = self.run("istioctl", "proxy-status", "-o", "json").out
        waiting = []
        for proxies in _objects(out):
            for proxy in proxies if isinstance(proxies, list) else [proxies]:
                if "STALE" in json.dumps(proxy) or "Stale" in json.dumps(proxy):
                    waiting.append(str(proxy.get("proxy", proxy)))
        return waiting


def _objects(text: str) -> Iterator[Any]:
    """The JSON values of a text, one after another."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        value, at = decoder.raw_decode(text, at)
        yield value


def find_cluster() -> Cluster | str:
    """The cluster, or why there is none."""
    for program in ("kubectl", "curl"):
        if shutil.which(program) is None:
            return f"{program} is not on PATH"
    kubeconfig = Path(os.environ.get("KGDIAG_KUBECONFIG", ROOT / "kind-configs" / ".kubeconfig"))
    if not kubeconfig.is_file():
        return f"there is no cluster: {kubeconfig} does not exist (make e2e-up)"
    cluster = Cluster(kubeconfig)
    answer = cluster.run("kubectl", "get", "--raw", "/readyz", "--request-timeout=10s")
    return cluster if answer.code == 0 else f"the cluster does not answer: {answer.err.strip()}"


_MARKER_NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: e2e-marker}\n"
_ROUTE_MARKER = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: marker-GATEWAY, namespace: e2e-marker}
spec:
  parentRefs: [{name: web, namespace: GATEWAY}]
  hostnames: [marker.e2e]
  rules:
  - filters: [{type: RequestRedirect, requestRedirect: {hostname: TOKEN.e2e, statusCode: 302}}]
"""
_MARKERS = {
    "istio": (
        ISTIO_HTTP,
        """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: marker, namespace: e2e-marker}
spec:
  hosts: [marker.e2e]
  gateways: [kubeflow/kubeflow-gateway]
  http: [{redirect: {authority: TOKEN.e2e}}]
""",
    ),
    "istio-api": (ISTIO_API_HTTP, _ROUTE_MARKER.replace("GATEWAY", "shop-istio")),
    "envoy-gateway": (ENVOY_GATEWAY_HTTP, _ROUTE_MARKER.replace("GATEWAY", "shop-envoy-gateway")),
}
