"""Ingresses of controllers that read them: hosts, paths, backends, nginx's annotations."""

from __future__ import annotations

import pytest

from kgdiag.model.ref import Ref
from kgdiag.model.trace import Result
from tests.trace.world import only, pod, run, service

APP = service("web", "shop", "80:8080") + pod("web-1", "shop", "web")
APP += service("api", "shop", "80:8080") + pod("api-1", "shop", "api")


def path(value: str, name: str = "web", kind: str = "Prefix", port: str = "number: 80") -> str:
    return f"{{path: {value}, pathType: {kind}, backend: {{service: {{name: {name}, port: {{{port}}}}}}}}}"


def ingress(*paths: str, host: str = "shop.com", name: str = "ing", notes: str = "", more: str = "") -> str:
    """An Ingress of class nginx."""
    rules = f"[{{host: '{host}', http: {{paths: [{', '.join(paths)}]}}}}]"
    return (
        f"---\napiVersion: networking.k8s.io/v1\nkind: Ingress\n"
        f"metadata: {{name: {name}, namespace: shop, annotations: {{{notes}}}}}\n"
        f"spec: {{ingressClassName: nginx, rules: {rules}{', ' + more if more else ''}}}\n"
    )


@pytest.mark.parametrize(
    ("url", "backend"),
    [
        ("http://shop.com/", "web"),
        ("http://shop.com/api", "api"),
        ("http://shop.com/api/x", "api"),
        ("http://shop.com/apix", "web"),
        ("http://shop.com/api/v2", "web"),
        ("http://shop.com:8080/api", "api"),
    ],
)
def test_the_longest_path_wins(url: str, backend: str) -> None:
    text = APP + ingress(path("/"), path("/api", "api"), path("/api/v2", "web", "Exact"))
    found = only(run(text, url))
    assert found.entry == Ref("networking.k8s.io", "Ingress", "shop", "ing")
    assert found.outcome.backend and found.outcome.backend.service == Ref("", "Service", "shop", backend)


def test_exact_comes_before_a_prefix_of_its_length() -> None:
    text = APP + ingress(path("/a", "web"), path("/a", "api", "Exact"))
    for url, name in (("http://shop.com/a", "api"), ("http://shop.com/a/b", "web")):
        out = only(run(text, url)).outcome
        assert out.backend and out.backend.service and out.backend.service.name == name


def test_a_wildcard_is_one_label() -> None:
    text = APP + ingress(path("/"), host="*.shop.com")
    assert only(run(text, "http://a.shop.com/")).outcome.result is Result.DELIVERED
    assert only(run(text, "http://a.b.shop.com/")).outcome.result is Result.UNKNOWN


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (ingress(path("/api")), 404),
        (ingress(path("/", "none")), 503),
        (ingress(path("/", port="number: 81")), 503),
        (ingress(path("/", port="name: grpc")), 503),
        (ingress(path("/", port="name: http-0")), None),
        (ingress(path("/api"), more="defaultBackend: {service: {name: web, port: {number: 80}}}"), None),
    ],
)
def test_backends(text: str, status: int | None) -> None:
    assert only(run(APP + text, "http://shop.com/x")).outcome.status == status


@pytest.mark.parametrize(
    ("notes", "url", "status"),
    [
        ("", "http://shop.com/x?y=1", 308),
        ("", "https://shop.com/", None),
        ("nginx.ingress.kubernetes.io/ssl-redirect: 'false'", "http://shop.com/", None),
    ],
)
def test_nginx_redirects_hosts_with_tls(notes: str, url: str, status: int | None) -> None:
    text = APP + ingress(path("/"), notes=notes, more="tls: [{hosts: [shop.com], secretName: s}]")
    out = only(run(text, url)).outcome
    assert out.status == status
    assert out.location == ("https://shop.com/x?y=1" if status else None)


def test_nginx_rewrites() -> None:
    notes = (
        "nginx.ingress.kubernetes.io/rewrite-target: /$2, nginx.ingress.kubernetes.io/upstream-vhost: in.side"
    )
    text = APP + ingress(path("/api(/|$)(.*)", "api", "ImplementationSpecific"), notes=notes)
    seen = only(run(text, "http://shop.com/api/v1/x")).hops[-1].request
    assert seen and (seen.path, seen.authority) == ("/v1/x", "in.side")


def test_no_endpoints_are_503_without_a_flag() -> None:
    text = service("web", "shop", "80:8080") + pod("web-1", "shop", "web", ready=False) + ingress(path("/"))
    out = only(run(text, "http://shop.com/", via="ing/ing.shop")).outcome
    assert (out.status, out.flag) == (503, None)
