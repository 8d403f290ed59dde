"""What a trace is asked: the URL, headers and options of the command line as a Question.

A URL is taken as a client sends it: the fragment stays at home, the rest goes out as it is typed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import unquote, urlsplit

from kgdiag.errors import UsageError
from kgdiag.model.trace import Question, Request

DEFAULT_PORTS = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443, "tls": 443}
_METHOD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, token
SCHEMES = (*DEFAULT_PORTS, "tcp")
_TLS = ("https", "tls", "grpcs")
_VIA = {
    "svc": "svc",
    "service": "svc",
    "services": "svc",
    "gateway": "gateway",
    "gateways": "gateway",
    "gw": "gateway",
    "gtw": "gateway",
    "gateway.networking.istio.io": "gateway.networking.istio.io",
    "gateways.networking.istio.io": "gateway.networking.istio.io",
    "gateway.gateway.networking.k8s.io": "gateway.gateway.networking.k8s.io",
    "gateways.gateway.networking.k8s.io": "gateway.gateway.networking.k8s.io",
    "route": "route",
    "routes": "route",
    "route.route.openshift.io": "route",
    "ing": "ing",
    "ingress": "ing",
    "ingresses": "ing",
    "dump": "dump",
    "pod": "pod",
    "po": "pod",
    "pods": "pod",
}
_FROM = {
    "pod": "pod",
    "po": "pod",
    "pods": "pod",
    "deploy": "deploy",
    "deployment": "deploy",
    "deployments": "deploy",
    "ns": "ns",
    "namespace": "ns",
    "namespaces": "ns",
}


def parse_question(
    url: str,
    *,
    method: str = "GET",
    headers: Iterable[str] = (),
    sni: str | None = None,
    origin: str = "",
    via: str = "",
    client_cert: str = "none",
    namespace: str = "default",
) -> Question:
    """The question that a command line asks; raises UsageError for what cannot be asked.

    ``headers`` are ``Name: value``; the last ``Host`` is the authority. ``sni`` None takes the URL's host
    where the scheme is TLS, "" sends none.
    """
    scheme, host, port, typed_port, target = _split(url)
    pairs, authority = _headers(headers)
    if authority is None:
        shown = f"[{host}]" if ":" in host else host
        default = typed_port is None or DEFAULT_PORTS.get(scheme) == typed_port
        authority = shown if default else f"{shown}:{typed_port}"
    if scheme in ("grpc", "grpcs"):
        method = "POST" if method == "GET" else method
        pairs = _with_default(_with_default(pairs, "content-type", "application/grpc"), "te", "trailers")
    if scheme in ("tcp", "tls"):
        authority, pairs = ("" if authority is None else authority), pairs
    if not _METHOD.fullmatch(method):
        raise UsageError("this is no method", subject=f"-X {method!r}", hint="GET, POST, OPTIONS, …")
    path, mark, query = target.partition("?")
    bare = bool(mark) and not query
    request = Request(scheme, authority, path or "/", query, method.upper(), pairs, bare)
    return Question(
        url=url,
        request=request,
        address=host.lower(),
        port=port,
        sni=_server_name(scheme, host, sni),
        origin=_origin(origin),
        via=_entry(via),
        client_cert=client_cert or "none",
        namespace=namespace,
    )


def _split(url: str) -> tuple[str, str, int, int | None, str]:
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise UsageError("a URL starts with its scheme", subject=url, hint=f"Try http://{url}")
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        raise UsageError(f"unknown scheme {scheme}", subject=url, hint=f"Schemes are {', '.join(SCHEMES)}.")
    rest = rest.partition("#")[0]
    if any(char.isspace() or ord(char) < 0x20 for char in rest):
        raise UsageError("a URL has no spaces; write them as %20", subject=url)
    try:
        parts = urlsplit(f"http://{rest}")
        port = parts.port
        bare = parts.netloc.rpartition("@")[2]
        host = bare if port is None and not bare.endswith(":") else bare.rpartition(":")[0]
        host = host.strip("[]") if parts.hostname else ""
    except ValueError as error:
        raise UsageError(_port_problem(rest) or f"this is no URL: {error}", subject=url) from None
    if not host:
        raise UsageError("the URL has no host", subject=url)
    if port == 0:
        raise UsageError("port 0 cannot be connected to", subject=url)
    if parts.username is not None:
        raise UsageError("the URL holds a user; give credentials as -H 'Authorization: …'", subject=url)
    if port is None and scheme == "tcp":
        raise UsageError("tcp has no default port", subject=url, hint=f"Try {url.rstrip('/')}:PORT")
    start = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    target = rest[start:]
    if target.startswith("?"):
        target = "/" + target
    return scheme, unquote(host), port or DEFAULT_PORTS[scheme], port, target or "/"


def _port_problem(rest: str) -> str:
    authority = rest.partition("/")[0].partition("?")[0]
    if authority.count("[") != authority.count("]"):
        return "an IPv6 address stands in brackets, as [::1]"
    port = authority.rpartition(":")[2]
    return (
        f"{port} is no port: ports are numbers from 1 to 65535"
        if ":" in authority and "[" not in port
        else ""
    )


def _headers(raw: Iterable[str]) -> tuple[tuple[tuple[str, str], ...], str | None]:
    pairs: list[tuple[str, str]] = []
    authority = None
    for line in raw:
        name, colon, value = line.partition(":")
        if (
            line.startswith(":")
            or not colon
            or not name.strip()
            or any(char.isspace() for char in name.strip())
        ):
            raise UsageError("a header is 'Name: value'", subject=f"-H {line}")
        name, value = name.strip().lower(), value.strip()
        if name == "host":
            if not value:
                raise UsageError("Host is empty", subject=f"-H {line}")
            authority = value
        else:
            pairs.append((name, value))
    return tuple(pairs), authority


def _with_default(pairs: tuple[tuple[str, str], ...], name: str, value: str) -> tuple[tuple[str, str], ...]:
    return pairs if any(key == name for key, _ in pairs) else (*pairs, (name, value))


def _server_name(scheme: str, host: str, sni: str | None) -> str | None:
    if sni is not None:
        if sni and scheme not in _TLS:
            raise UsageError(f"{scheme} has no TLS, so no server name", subject=f"--sni {sni}")
        return sni.lower().rstrip(".") or None
    return None if scheme not in _TLS or is_ip(host) else host.lower().rstrip(".")


def is_ip(text: str) -> bool:
    """Whether a host is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _origin(origin: str) -> str:
    if origin in ("", "outside"):
        return origin
    word, slash, name = origin.partition("/")
    if word.lower() not in _FROM or not slash or not name or "/" in name:
        raise UsageError(
            "unknown place",
            subject=f"--from {origin}",
            hint="Places are outside, pod/NAME[.NS], deploy/NAME[.NS] and ns/NAME.",
        )
    return f"{_FROM[word.lower()]}/{name}"


def _entry(via: str) -> str:
    if not via:
        return ""
    word, slash, name = via.partition("/")
    if word.lower() not in _VIA or not slash or not name or ("/" in name and word.lower() != "dump"):
        raise UsageError(
            "unknown entry",
            subject=f"--via {via}",
            hint="Entries are svc/NAME[.NS][:PORT], gateway/NAME[.NS], route/NAME[.NS], ing/NAME[.NS] and "
            "dump/FILE[:PORT].",
        )
    entry = f"{_VIA[word.lower()]}/{name}"
    if _VIA[word.lower()] in ("svc", "pod"):
        split_port(name, via)
    elif ":" in name and _VIA[word.lower()] != "dump":
        raise UsageError("this kind of entry takes no port", subject=f"--via {via}")
    return entry


def split_port(name: str, via: str) -> tuple[str, int | None]:
    """(name, port) of ``NAME[.NS][:PORT]``; raises UsageError for a port that is none."""
    bare, colon, port = name.partition(":")
    if not colon:
        return name, None
    if not port.isdigit() or not 0 < int(port) < 65536 or not bare:
        raise UsageError(f"{port or 'nothing'} is no port", subject=f"--via {via}")
    return bare, int(port)


def split_name(name: str, namespace: str) -> list[tuple[str, str]]:
    """The (namespace, name) pairs that ``NAME[.NAMESPACE]`` may mean, likeliest first."""
    head, dot, tail = name.rpartition(".")
    return [(tail, head), (namespace, name)] if dot and head else [(namespace, name)]


ClientCert = Literal["none", "mesh", "file"]


def certificate(question: Question) -> ClientCert:
    """What kind of certificate the client presents."""
    return "none" if question.client_cert == "none" else "mesh" if question.client_cert == "mesh" else "file"


def is_tls(scheme: str) -> bool:
    """Whether a URL's scheme speaks TLS."""
    return scheme in _TLS
