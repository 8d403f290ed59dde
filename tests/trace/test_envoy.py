"""Chains, virtual hosts, paths, headers, redirects: as Envoy has them."""

from __future__ import annotations

import pytest

from kgdiag.model.proxy import (
    ChainMatch,
    FilterChain,
    HeaderEdits,
    How,
    Listener,
    PathRewrite,
    Redirect,
    RouteConfig,
    StringMatch,
    TcpConnections,
    VirtualHost,
)
from kgdiag.model.trace import Request
from kgdiag.trace.envoy import (
    Hello,
    edit,
    find_chain,
    find_virtual_host,
    grpc_status,
    location,
    normalize,
    rewrite_path,
)

PLAIN = Request("http", "h")


def _listener(*matches: ChainMatch, default: bool = False) -> Listener:
    chains = tuple(FilterChain(str(at), match, TcpConnections()) for at, match in enumerate(matches))
    fallback = FilterChain("default", ChainMatch(), TcpConnections()) if default else None
    return Listener("l", "0.0.0.0", 1, chains, fallback)


def _found(
    listener: Listener, hello: Hello | None, request: Request = PLAIN, address: str = "", port: int = 1
) -> str | None:
    chain = find_chain(listener, address, port, hello, request)
    return chain.name if chain else None


NAMES = _listener(
    ChainMatch(("a.example.com",)),
    ChainMatch(("*.example.com",)),
    ChainMatch(("*.com",)),
    ChainMatch(transport="raw_buffer"),
)


@pytest.mark.parametrize(
    ("sni", "chain"),
    [
        ("a.example.com", "0"),
        ("A.Example.COM", "0"),
        ("b.example.com", "1"),
        ("x.y.example.com", "1"),
        ("example.com", "2"),
        ("b.org", None),
        (None, None),
    ],
)
def test_the_longest_server_name_wins(sni: str | None, chain: str | None) -> None:
    assert _found(NAMES, Hello(sni)) == chain


def test_plaintext_has_no_server_name() -> None:
    assert _found(NAMES, None) == "3"


def test_envoy_never_goes_back_to_a_wider_chain() -> None:
    listener = _listener(ChainMatch(("a.com",), alpn=("h2",)), ChainMatch())
    assert _found(listener, Hello("a.com", ("h2",))) == "0"
    assert _found(listener, Hello("a.com", ("http/1.1",))) is None


def test_the_default_chain_takes_what_none_matches() -> None:
    assert _found(_listener(ChainMatch(("a.com",)), default=True), Hello("b.com")) == "default"


def test_a_port_that_some_chain_names_is_that_chains_alone() -> None:
    listener = _listener(ChainMatch(port=8080, transport="tls"), ChainMatch())
    assert _found(listener, None, port=8080) is None
    assert _found(listener, None, port=9090) == "1"


def test_the_narrowest_address_range_wins() -> None:
    listener = _listener(
        ChainMatch(addresses=("10.0.0.0/8",)), ChainMatch(addresses=("10.1.0.0/16",)), ChainMatch()
    )
    assert _found(listener, None, address="10.1.2.3") == "1"
    assert _found(listener, None, address="10.2.2.3") == "0"
    assert _found(listener, None, address="11.2.2.3") == "2"


def test_application_protocols_of_a_sidecar() -> None:
    listener = _listener(
        ChainMatch(transport="tls", alpn=("istio-http/1.0", "istio-http/1.1", "istio-h2")),
        ChainMatch(transport="tls", alpn=("istio", "istio-peer-exchange")),
        ChainMatch(transport="raw_buffer", alpn=("http/1.1", "h2c")),
        ChainMatch(transport="raw_buffer"),
    )
    assert _found(listener, Hello("x", ("istio-http/1.1", "istio"))) == "0"
    assert _found(listener, Hello("x", ("istio-peer-exchange", "istio"))) == "1"
    assert _found(listener, Hello("x", ("h2",))) is None
    assert _found(listener, None) == "2"
    assert _found(listener, None, Request("tcp", "")) == "3"


CONFIG = RouteConfig(
    "r",
    tuple(
        VirtualHost(domain, (domain,))
        for domain in ("a.example.com", "*.example.com", "*-b.example.com", "a.*", "*", "port.com:8080")
    ),
)


@pytest.mark.parametrize(
    ("authority", "domain"),
    [
        ("a.example.com", "a.example.com"),
        ("A.EXAMPLE.com:9999", "a.example.com"),
        ("c.example.com", "*.example.com"),
        ("c.d.example.com", "*.example.com"),
        ("x-b.example.com", "*-b.example.com"),
        ("a.org", "a.*"),
        ("example.com", "*"),
        (".example.com", "*"),
        ("port.com:8080", "*"),
    ],
)
def test_domains(authority: str, domain: str) -> None:
    found = find_virtual_host(CONFIG, authority)
    assert found is not None and found[1] == domain


def test_ports_count_where_they_are_not_ignored() -> None:
    config = RouteConfig(
        "r", (VirtualHost("a", ("a.com",)), VirtualHost("b", ("a.com:80",))), ignore_port=False
    )
    assert [
        find_virtual_host(config, name) and find_virtual_host(config, name)[0].name  # type: ignore[index]
        for name in ("a.com", "a.com:80", "a.com:81")
    ] == ["a", "b", None]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/../b", "/b"),
        ("/a/./b/.", "/a/b/"),
        ("/../..", "/"),
        ("//a//b", "//a//b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/%61%7e", "/a~"),
        ("/a\\b", "/a/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/é", "/%C3%A9"),
        ("*", "*"),
    ],
)
def test_paths_are_normalized(path: str, expected: str) -> None:
    assert normalize(path) == expected


def test_slashes_are_merged_only_on_demand() -> None:
    assert normalize("//a///b/", merge_slashes=True) == "/a/b/"


@pytest.mark.parametrize(
    ("rewrite", "matched", "path", "expected"),
    [
        (PathRewrite("prefix", "/x"), StringMatch(How.PREFIX, "/a"), "/a/b", "/x/b"),
        (PathRewrite("prefix", "/"), StringMatch(How.PREFIX, "/a/"), "/a/b", "/b"),
        (PathRewrite("prefix", "/"), StringMatch(How.PREFIX, "/a"), "/a/b", "//b"),
        (PathRewrite("prefix", "/x"), StringMatch(How.PATH_PREFIX, "/a"), "/a", "/x"),
        (PathRewrite("prefix", "/x"), StringMatch(How.EXACT, "/a"), "/a", "/x"),
        (PathRewrite("prefix", "/x"), StringMatch(How.REGEX, "/a.*"), "/abc", "/x"),
        (PathRewrite("prefix", "/x"), None, "/b", "/xb"),
        (PathRewrite("full", "/y"), StringMatch(How.PREFIX, "/"), "/a/b", "/y"),
        (PathRewrite("regex", r"/\1", "^/s/([^/]+)/.*$"), None, "/s/me/x", "/me"),
        (PathRewrite("regex", "-", "a"), None, "/aXa", "/-X-"),
    ],
)
def test_path_rewrites(rewrite: PathRewrite, matched: StringMatch | None, path: str, expected: str) -> None:
    assert rewrite_path(rewrite, matched, path) == expected


def test_each_level_removes_then_sets_then_adds_and_the_widest_comes_last() -> None:
    request = Request("http", "h", headers=(("a", "0"), ("b", "0")))
    narrow = HeaderEdits((("add", "A", "1"), ("set", "c", "n")), ("A",))
    wide = HeaderEdits((("set", "c", "w"), ("add", "b", "1"), ("add_if_absent", "a", "9")))
    assert edit(request, (narrow, wide)).headers == (("b", "0"), ("a", "1"), ("c", "w"), ("b", "1"))


def test_setting_host_changes_the_authority() -> None:
    assert edit(PLAIN, (HeaderEdits((("set", "Host", "x.y:80"),)),)).authority == "x.y:80"


def test_values_are_made_of_the_request_as_it_came() -> None:
    request = Request("http", "h.com", headers=(("a", "1"),))
    edits = HeaderEdits((("set", "b", "%REQ(a)%-%REQ(:authority)%"), ("set", "a", "2"), ("set", "c", "50%%")))
    changed = edit(request, (edits,))
    assert [changed.header(name) for name in "abc"] == ["2", "1-h.com", "50%"]


@pytest.mark.parametrize(
    ("redirect", "authority", "tls", "expected"),
    [
        (Redirect(scheme="https"), "h.com", False, "https://h.com/p?q=1"),
        (Redirect(scheme="https"), "h.com:80", False, "https://h.com/p?q=1"),
        (Redirect(scheme="https"), "h.com:8080", False, "https://h.com:8080/p?q=1"),
        (Redirect(scheme="https", port=8443), "h.com:8080", False, "https://h.com:8443/p?q=1"),
        (Redirect(scheme="http"), "h.com:443", True, "http://h.com/p?q=1"),
        (Redirect(host="x.org"), "h.com:8080", False, "http://x.org/p?q=1"),
        (Redirect(path="/new"), "h.com", True, "https://h.com/new?q=1"),
        (Redirect(path="/new?a=b"), "h.com", False, "http://h.com/new?a=b"),
        (Redirect(path="/new", strip_query=True), "h.com", False, "http://h.com/new"),
        (Redirect(strip_query=True), "h.com", False, "http://h.com/p"),
        (Redirect(path_rewrite=PathRewrite("prefix", "/n")), "h.com", False, "http://h.com/n?q=1"),
        (Redirect(scheme="https"), "[::1]:80", False, "https://[::1]/p?q=1"),
    ],
)
def test_locations(redirect: Redirect, authority: str, tls: bool, expected: str) -> None:
    request = Request("https" if tls else "http", authority, "/p", "q=1")
    assert location(redirect, request, StringMatch(How.PREFIX, "/p"), tls=tls) == expected


def test_grpc_statuses() -> None:
    assert [grpc_status(code) for code in (404, 503, 403, 401, 500, 400)] == [12, 14, 7, 16, 2, 13]
