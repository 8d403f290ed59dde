"""OpenShift's router: terminations, insecure policies, paths, target ports, weights, admission."""

from __future__ import annotations

import pytest

from kgdiag.model.ref import Ref
from kgdiag.model.trace import Result
from tests.trace.world import only, pod, run, service

HOST = "a.apps.example.com"
APP = (
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
    "spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, "
    "{name: https, port: 443, targetPort: 8443}]}\n" + pod("web-1", "shop", "web")
)


def route(
    name: str = "web", spec: str = "", host: str = HOST, namespace: str = "shop", extra: str = ""
) -> str:
    """A Route to Service ``web``; ``extra`` is metadata."""
    return (
        f"---\napiVersion: route.openshift.io/v1\nkind: Route\n"
        f"metadata: {{name: {name}, namespace: {namespace}{extra}}}\n"
        f"spec: {{host: {host}, to: {{kind: Service, name: web}}{', ' + spec if spec else ''}}}\n"
    )


HTTP = "port: {targetPort: http}"


@pytest.mark.parametrize(
    ("tls", "url", "result", "status"),
    [
        ("", f"http://{HOST}/", Result.DELIVERED, None),
        ("", f"https://{HOST}/", Result.REFUSED, 503),
        ("tls: {termination: edge}", f"https://{HOST}/", Result.DELIVERED, None),
        ("tls: {termination: edge}", f"http://{HOST}/", Result.REFUSED, 503),
        (
            "tls: {termination: edge, insecureEdgeTerminationPolicy: Allow}",
            f"http://{HOST}/",
            Result.DELIVERED,
            None,
        ),
        (
            "tls: {termination: edge, insecureEdgeTerminationPolicy: Redirect}",
            f"http://{HOST}/x?y",
            Result.REFUSED,
            302,
        ),
        (
            "tls: {termination: passthrough, insecureEdgeTerminationPolicy: Redirect}",
            f"http://{HOST}/",
            Result.REFUSED,
            302,
        ),
        ("tls: {termination: passthrough}", f"http://{HOST}/", Result.REFUSED, 503),
        ("tls: {termination: reencrypt}", f"https://{HOST}/", Result.REFUSED, 503),  # TLS to plaintext HTTP
    ],
)
def test_terminations(tls: str, url: str, result: Result, status: int | None) -> None:
    spec = ", ".join(part for part in (HTTP, tls) if part)
    path = only(run(APP + route(spec=spec), url))
    assert (path.entry, path.outcome.result, path.outcome.status) == (
        Ref("route.openshift.io", "Route", "shop", "web"),
        result,
        status,
    )
    assert path.outcome.location == (
        f"https://{HOST}{'/x?y' if 'x?y' in url else '/'}" if status == 302 else None
    )
    assert path.outcome.flag is None and path.outcome.cluster is None


def test_passthrough_goes_by_server_name_to_a_pod_that_speaks_tls() -> None:
    spec = "port: {targetPort: https}, tls: {termination: passthrough}"
    path = only(run(APP + route(spec=spec), f"https://{HOST}/"))
    assert (
        path.outcome.result is Result.DELIVERED and path.outcome.backend and path.outcome.backend.port == 443
    )
    wrong = only(
        run(APP + route(spec=spec), f"https://{HOST}/", sni="b.apps.example.com", via="route/web.shop")
    )
    assert (wrong.outcome.result, wrong.outcome.status) == (Result.REFUSED, None)


@pytest.mark.parametrize(
    ("target", "words"),
    [("8080", ""), ("http", ""), ("80", "80 is a Service port"), ("web", "no endpoint port")],
)
def test_target_ports_are_endpoint_ports(target: str, words: str) -> None:
    out = only(run(APP + route(spec=f"port: {{targetPort: {target}}}"), f"http://{HOST}/")).outcome
    assert (out.result is Result.DELIVERED) is not bool(words) and words in out.reason


def test_the_longest_path_wins_by_whole_elements() -> None:
    text = APP + route("root", HTTP) + route("deep", f"{HTTP}, path: /api")
    assert only(run(text, f"http://{HOST}/api/x")).entry.name == "deep"
    assert only(run(text, f"http://{HOST}/apix")).entry.name == "root"
    assert only(run(APP + route("deep", f"{HTTP}, path: /api"), f"http://{HOST}/apix")).outcome.status == 503


def test_weights_and_alternates() -> None:
    other = service("two", "shop", "80:8080") + pod("two-1", "shop", "two")
    spec = (
        "alternateBackends: [{kind: Service, name: two, weight: 50}, {kind: Service, name: web, weight: 0}]"
    )
    found = run(
        APP
        + other
        + route(spec=f"{HTTP}, {spec}")
        .replace("name: web}, port", "name: web, weight: 150}, port")
        .replace("targetPort: http", "targetPort: 8080"),
        f"http://{HOST}/",
    )
    assert {
        (
            path.weight,
            path.outcome.backend and path.outcome.backend.service and path.outcome.backend.service.name,
        )
        for path in found.paths
    } == {(0.75, "web"), (0.25, "two")}


def test_no_ready_endpoints_are_503() -> None:
    text = APP.replace("status: 'True'", "status: 'False'")
    out = only(run(text + route(spec=HTTP), f"http://{HOST}/")).outcome
    assert (out.status, out.flag) == (503, None) and "not ready" in out.reason


def test_a_host_belongs_to_the_namespace_of_its_oldest_route() -> None:
    old = route("old", HTTP, extra=", creationTimestamp: '2020-01-01T00:00:00Z'")
    new = route("new", HTTP, namespace="thief", extra=", creationTimestamp: '2021-01-01T00:00:00Z'")
    assert only(run(APP + new + old, f"http://{HOST}/")).entry == Ref(
        "route.openshift.io", "Route", "shop", "old"
    )


def test_a_route_that_is_not_admitted() -> None:
    refused = route(spec=HTTP) + (
        "status: {ingress: [{routerName: default, conditions: [{type: Admitted, status: 'False', "
        "reason: HostAlreadyClaimed}]}]}\n"
    )
    out = only(run(APP + refused, f"http://{HOST}/", via="route/web.shop")).outcome
    assert out.status == 503 and "HostAlreadyClaimed" in out.reason


def test_a_rewrite_replaces_the_routes_path() -> None:
    text = APP + route(
        spec=f"{HTTP}, path: /api", extra=", annotations: {haproxy.router.openshift.io/rewrite-target: /v2}"
    )
    path = only(run(text, f"http://{HOST}/api/x"))
    assert path.hops[-1].request and path.hops[-1].request.path == "/v2/x"


def test_a_route_for_another_host() -> None:
    out = only(run(APP + route(spec=HTTP), "http://b.apps.example.com/", via="route/web.shop")).outcome
    assert out.status == 503 and HOST in out.reason
