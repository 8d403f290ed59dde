"""The command line's words as a question."""

from __future__ import annotations

import pytest

from kgdiag.errors import UsageError
from kgdiag.trace.question import parse_question


@pytest.mark.parametrize(
    ("url", "address", "port", "authority", "target", "sni"),
    [
        ("http://a.com", "a.com", 80, "a.com", "/", None),
        ("http://A.com/x?y=1#z", "a.com", 80, "A.com", "/x?y=1", None),
        ("http://a.com:80/", "a.com", 80, "a.com", "/", None),
        ("http://a.com:8080?q", "a.com", 8080, "a.com:8080", "/?q", None),
        ("https://a.com", "a.com", 443, "a.com", "/", "a.com"),
        ("https://1.2.3.4/", "1.2.3.4", 443, "1.2.3.4", "/", None),
        ("https://[::1]:8443/", "::1", 8443, "[::1]:8443", "/", None),
        ("http://[fe80::1]/", "fe80::1", 80, "[fe80::1]", "/", None),
        ("http://a.com/a/../b//c%2Fd", "a.com", 80, "a.com", "/a/../b//c%2Fd", None),
        ("tls://a.com", "a.com", 443, "a.com", "/", "a.com"),
        ("tcp://a.com:5432", "a.com", 5432, "a.com:5432", "/", None),
    ],
)
def test_urls(url: str, address: str, port: int, authority: str, target: str, sni: str | None) -> None:
    asked = parse_question(url)
    assert (asked.address, asked.port, asked.request.authority, asked.request.target, asked.sni) == (
        address, port, authority, target, sni,
    )  # fmt: skip


def test_host_is_the_authority_and_not_the_address() -> None:
    asked = parse_question("https://1.2.3.4", headers=["Host: shop.com:99", "X-A: 1", "x-a:2"], sni="s.com")
    assert (asked.address, asked.request.authority, asked.sni) == ("1.2.3.4", "shop.com:99", "s.com")
    assert asked.request.headers == (("x-a", "1"), ("x-a", "2"))


def test_grpc_is_a_post_with_its_content_type() -> None:
    request = parse_question("grpc://a.com/pkg.Svc/M").request
    assert (request.method, request.header("content-type"), request.header("te")) == (
        "POST",
        "application/grpc",
        "trailers",
    )


def test_an_empty_server_name_is_none() -> None:
    assert parse_question("https://a.com", sni="").sni is None


def test_options_are_kept_in_one_form() -> None:
    asked = parse_question("http://a", origin="deployment/x.ns", via="service/y.ns:8080", client_cert="mesh")
    assert (asked.origin, asked.via, asked.client_cert) == ("deploy/x.ns", "svc/y.ns:8080", "mesh")


@pytest.mark.parametrize(
    ("url", "more", "words"),
    [
        ("a.com", {}, "starts with its scheme"),
        ("ftp://a.com", {}, "unknown scheme ftp"),
        ("http://", {}, "no host"),
        ("http:///x", {}, "no host"),
        ("http://:80", {}, "no host"),
        ("http://a.com:http/", {}, "http is no port"),
        ("http://a.com:70000/", {}, "70000 is no port"),
        ("http://a.com:0/", {}, "port 0"),
        ("tcp://a.com", {}, "no default port"),
        ("http://u:p@a.com/", {}, "holds a user"),
        ("http://a.com/a b", {}, "spaces"),
        ("http://a.com", {"headers": ["nope"]}, "'Name: value'"),
        ("http://a.com", {"headers": [": x"]}, "'Name: value'"),
        ("http://a.com", {"headers": ["Host:"]}, "Host is empty"),
        ("http://a.com", {"sni": "x"}, "no TLS"),
        ("http://a.com", {"origin": "moon"}, "unknown place"),
        ("http://a.com", {"origin": "pod/"}, "unknown place"),
        ("http://a.com", {"via": "svc"}, "unknown entry"),
        ("http://a.com", {"via": "node/x"}, "unknown entry"),
        ("http://a.com", {"via": "svc/x:http"}, "no port"),
        ("http://a.com", {"via": "gateway/x:80"}, "takes no port"),
    ],
)
def test_what_cannot_be_asked(url: str, more: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_question(url, **more)  # type: ignore[arg-type]
    assert words in str(caught.value)
