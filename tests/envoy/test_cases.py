"""Fixed cases against a real Envoy: what once was told wrong, and odd requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from kgdiag.model.proxy import Proxy
from tests.envoy.compare import disagreement, proxy_of, send
from tests.envoy.generate import BACKEND_HEADERS, Sent
from tests.envoy.server import Echo, address, free_ports, running

Json = dict[str, Any]
_TYPES = "type.googleapis.com/envoy.extensions."
_FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"

# One listener each: what its connection manager has beyond the routes below.
OPTIONS: dict[str, Json] = {
    "plain": {},
    "normalized": {"normalize_path": True},
    "merged": {"merge_slashes": True},
    "both": {"normalize_path": True, "merge_slashes": True},
    "rejected": {"path_with_escaped_slashes_action": "REJECT_REQUEST"},
    "redirected": {"path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT", "normalize_path": True},
    "unescaped": {"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD", "normalize_path": True},
    "stripped": {"strip_any_host_port": True, "strip_trailing_host_dot": True},
    "edge": {"use_remote_address": True},
}


def _header(name: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD", **more: Any) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": action, **more}


ROUTES: list[Json] = [
    {
        "match": {"path": "/gone"},
        "route": {"cluster": "missing", "cluster_not_found_response_code": "NOT_FOUND"},
    },
    {
        "match": {"prefix": "/edited"},
        "route": {
            "weighted_clusters": {
                "clusters": [
                    {
                        "name": "empty",
                        "weight": 1,
                        "response_headers_to_add": [_header("x-r", "share", keep_empty_value=True)],
                    }
                ]
            }
        },
        "response_headers_to_add": [_header("x-r", "route"), _header("x-base", "", "ADD_IF_ABSENT")],
    },
    {
        "match": {"prefix": "/first"},
        "route": {"cluster": "c"},
        "request_headers_to_add": [_header("x-new", "got-%REQ(x-a)%"), _header("x-num", "%REQ(x-a):2%")],
    },
    {
        "match": {"prefix": "/any", "headers": [{"name": "x-a", "string_match": {"exact": "2"}}]},
        "route": {"cluster": "c", "prefix_rewrite": "/matched?by=value"},
    },
    {
        "match": {
            "prefix": "/any",
            "headers": [{"name": "x-b", "present_match": True, "treat_missing_header_as_empty": True}],
        },
        "route": {"cluster": "c", "regex_rewrite": {"pattern": {"regex": "a(n)"}, "substitution": r"<\1\0>"}},
    },
    {"match": {"prefix": "/moved"}, "redirect": {"path_redirect": "new", "https_redirect": True}},
    {
        "match": {"prefix": "/cors"},
        "redirect": {"host_redirect": "new.test"},
        "typed_per_filter_config": {
            "envoy.filters.http.cors": {
                "@type": _TYPES + "filters.http.cors.v3.CorsPolicy",
                "allow_origin_string_match": [{"prefix": "https://"}],
            }
        },
    },
    {
        "match": {"prefix": "/preflight"},
        "route": {"cluster": "c"},
        "response_headers_to_add": [_header("x-r", "not on preflights")],
        "typed_per_filter_config": {
            "envoy.filters.http.cors": {
                "@type": _TYPES + "filters.http.cors.v3.CorsPolicy",
                "allow_origin_string_match": [{"prefix": "https://"}],
            }
        },
    },
    {
        "match": {"prefix": "/open"},
        "route": {"cluster": "c"},
        "response_headers_to_add": [_header("x-r", "edited")],
        "typed_per_filter_config": {"envoy.filters.http.rbac": {"@type": _FILTER_CONFIG, "disabled": True}},
    },
    {
        "match": {
            "path_match_policy": {
                "name": "template",
                "typed_config": {
                    "@type": _TYPES + "path.match.uri_template.v3.UriTemplateMatchConfig",
                    "path_template": "/t/**",
                },
            }
        },
        "route": {"cluster": "c"},
    },
    {"match": {"prefix": "/teapot"}, "direct_response": {"status": 418}},
    {"match": {"prefix": "/"}, "route": {"cluster": "c", "host_rewrite_header": "x-host"}},
]


def _manager(name: str, options: Json) -> Json:
    hosts = [
        {"name": "tls", "domains": ["secure.test"], "require_tls": "ALL", "routes": ROUTES[-1:]},
        {"name": "port", "domains": ["port.test:8080"], "routes": ROUTES[-2:-1]},
        {"name": "suffix", "domains": ["*.Example.com"], "routes": ROUTES},
        {"name": "all", "domains": ["*"], "routes": ROUTES[:-1]},
    ]
    deny = {
        "action": "DENY",
        "policies": {
            "p": {
                "permissions": [{"header": {"name": "x-deny", "string_match": {"exact": "yes"}}}],
                "principals": [{"any": True}],
            }
        },
    }
    filters = {
        "rbac": {"@type": _TYPES + "filters.http.rbac.v3.RBAC", "rules": deny},
        "cors": {"@type": _TYPES + "filters.http.cors.v3.Cors"},
        "router": {"@type": _TYPES + "filters.http.router.v3.Router"},
    }
    config = {
        "@type": _TYPES + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {
            "name": name,
            "virtual_hosts": hosts,
            "validate_clusters": False,
            "most_specific_header_mutations_wins": True,
            "response_headers_to_add": [_header("x-r", "config")],
        },
        "http_filters": [
            {"name": f"envoy.filters.http.{key}", "typed_config": value} for key, value in filters.items()
        ],
        **options,
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


@dataclass
class Running:
    proxy: Proxy
    ports: dict[str, int]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    echo = Echo(1, BACKEND_HEADERS)
    ports = dict(zip(OPTIONS, free_ports(len(OPTIONS)), strict=True))
    listeners = [
        {
            "name": name,
            "address": address(ports[name]),
            "filter_chains": [{"filters": [_manager(name, more)]}],
        }
        for name, more in OPTIONS.items()
    ]
    endpoints = [{"endpoint": {"address": address(echo.ports[0])}}]
    clusters = [
        {
            "name": name,
            "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": found}]},
        }
        for name, found in (("c", endpoints), ("empty", []))
    ]
    config = {"static_resources": {"listeners": listeners, "clusters": clusters}}
    with running(config, tmp_path_factory.mktemp("envoy")) as dump:
        yield Running(proxy_of(dump), ports)
    echo.close()


PATHS = (
    "/", "//", "///", "//a", "/a//b", "/a/../b", "/a/..", "/../a", "/a/./", "/a/..//b", "/a//../b", "//..//a",
    "/a/%2e%2e/b", "/a/%2E./b", "/a/%2e", "/a%2F..%2Fb", "/a%5C..%5cb", "/a\\b", "/a%00b", "/%61%7E", "/a%zz",
    '/a"b<c>|^`{}', "/a;p=1/b", "/a?", "/a?x=%2e%2e/../..", "/t/x\\y", "/t/x/y", "/t/" + "long" * 4000,
    "/any?", "/moved?", "/moved?x=1", "/edited", "/gone", "/teapot?x", "/open%2fa", "/any/thing?q=1",
)  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_paths(server: Running, name: str) -> None:
    plain = Sent(server.ports[name], False, None, (), "GET", "/", "w.example.com", ())
    wrong = []
    for path in PATHS:
        sent = replace(plain, target=path)
        said = disagreement(server.proxy, sent, send(sent))
        if said:
            wrong.append(f"{path[:60]}: {said}")
    assert wrong == []


REQUESTS: dict[str, Json] = {
    "no Host": {"authority": ""},
    "a Host that is none": {"authority": "a/b"},
    "a Host in capitals": {"authority": "W.EXAMPLE.COM"},
    "a port in Host": {"authority": "w.example.com:8080"},
    "a port that no domain has": {"authority": "port.test:80", "target": "/teapot"},
    "the port of a domain": {"authority": "port.test:8080", "target": "/teapot"},
    "letters for a port": {"authority": "w.example.com:http"},
    "a dot at the end": {"authority": "w.example.com."},
    "require_tls": {"authority": "secure.test", "target": "/x?y"},
    "require_tls, a default port": {"authority": "secure.test:80", "target": "/x"},
    "require_tls, forwarded": {"authority": "secure.test", "headers": (("X-Forwarded-Proto", "https"),)},
    "require_tls, in capitals": {"authority": "secure.test", "headers": (("X-Forwarded-Proto", "HTTPS"),)},
    "a redirect, a forwarded default port": {
        "authority": "w.example.com:443",
        "target": "/moved",
        "headers": (("x-forwarded-proto", "https"),),
    },
    "the asterisk": {"method": "OPTIONS", "target": "*"},
    "several values": {"target": "/any", "headers": (("X-A", "1"), ("x-a", "2"))},
    "several values, denied": {"headers": (("x-deny", "no"), ("x-deny", "yes"))},
    "denied": {"target": "/first", "headers": (("x-deny", "yes"),)},
    "denied, a redirect": {"target": "/moved", "headers": (("x-deny", "yes"),)},
    "a filter switched off": {"target": "/open", "headers": (("x-deny", "yes"),)},
    "the first of several values": {"target": "/first", "headers": (("x-a", "one"), ("x-a", "two"))},
    "a missing value": {"target": "/first"},
    "escaped slashes, forwarded": {"target": "/open%2fa", "headers": (("x-forwarded-proto", "http"),)},
    "gRPC": {"target": "/gone", "headers": (("content-type", "application/grpc"),)},
    "gRPC, escaped slashes": {"target": "/a%2fb", "headers": (("content-type", "application/grpc"),)},
    "gRPC without route": {"authority": "x", "headers": (("content-type", "application/grpc+proto"),)},
    "gRPC-Web is none": {"authority": "x", "headers": (("content-type", "application/grpc-web"),)},
    "gRPC with parameters is none": {
        "authority": "x",
        "headers": (("content-type", "application/grpc;a=b"),),
    },
    "gRPC redirected": {"target": "/moved", "headers": (("content-type", "application/grpc"),)},
    "a preflight": {
        "method": "OPTIONS",
        "target": "/preflight",
        "headers": (("Origin", "https://a"), ("Access-Control-Request-Method", "PUT")),
    },
    "a preflight of another origin": {
        "method": "OPTIONS",
        "target": "/preflight",
        "headers": (("Origin", "http://a"), ("Access-Control-Request-Method", "PUT")),
    },
    "no preflight": {"method": "OPTIONS", "target": "/preflight", "headers": (("Origin", "https://a"),)},
    "a preflight of a redirect": {
        "method": "OPTIONS",
        "target": "/cors",
        "headers": (("Origin", "https://a"), ("Access-Control-Request-Method", "PUT")),
    },
    "Host by a header": {"headers": (("X-Host", "rewritten.test"), ("X-Host", "second.test"))},
    "a missing header for Host": {},
}


@pytest.mark.parametrize("what", REQUESTS)
def test_requests(server: Running, what: str) -> None:
    for name in ("plain", "stripped", "edge", "rejected", "redirected"):
        sent = Sent(server.ports[name], False, None, (), "GET", "/", "w.example.com", ())
        sent = replace(sent, **REQUESTS[what])
        assert disagreement(server.proxy, sent, send(sent)) is None, name


def test_plain_bytes_and_tls_on_a_plaintext_port(server: Running) -> None:
    port = server.ports["plain"]
    tls = Sent(port, True, "w.example.com", ("h2",), "GET", "/", "w.example.com", ())
    assert disagreement(server.proxy, tls, send(tls)) is None
