"""Hops in the fewest words, for text: what stands beside the object's name and not twice in a line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kgdiag.model.obj import Evidence
from kgdiag.model.proxy import Cluster, Endpoint, How, Route, TlsMode, ValueMatch
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Request
from kgdiag.trace.envoy import without_port
from kgdiag.trace.match import describe

_SHOWN = 3
_TLS = {
    TlsMode.NONE: "plaintext",
    TlsMode.TERMINATE: "TLS ends here",
    TlsMode.MUTUAL: "TLS ends here, with a client certificate",
    TlsMode.OPTIONAL_MUTUAL: "TLS ends here, a client certificate is welcome",
    TlsMode.MESH: "the mesh's mutual TLS",
    TlsMode.PASSTHROUGH: "TLS is passed through by server name",
}


def pod_name(ref: Ref, beside: str) -> str:
    """A pod's name, with its namespace where it is not that of the object beside it."""
    return ref.name if ref.namespace == beside else f"{ref.namespace}/{ref.name}"


def endpoints(found: Sequence[Endpoint], beside: str) -> str:
    """``pod web-1:8080``, ``2 pods: web-1:8080, web-2:8080``."""
    shown = []
    for one in found[:_SHOWN]:
        name = pod_name(one.pod, beside) if one.pod else one.hostname or one.address
        shown.append(f"{name}:{one.port}")
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    noun = "pod" if all(one.pod for one in found) else "endpoint"
    if len(found) == 1:
        return f"{noun} {shown[0]}"
    return f"{len(found)} {noun}s: {', '.join(shown)}{more}"


def tls_mode(mode: TlsMode, evidence: Iterable[Evidence]) -> str:
    """What is done with TLS, with the word for it that the object itself has."""
    said = next((one.value for one in evidence if one.field.endswith("tls.mode") and one.value), "")
    return f"{_TLS[mode]} ({said})" if said and said != "PASSTHROUGH" else _TLS[mode]


def server(part: str, port: int, evidence: Iterable[Evidence]) -> str:
    """``spec.servers[0] (443)``: the part of a Gateway, with its own number where it is another one."""
    own = next((one.value for one in evidence if one.field in (f"{part}.port.number", f"{part}.port")), None)
    return f"{part} ({own})" if isinstance(own, int) and own != port else part


def matches(route: Route, request: Request, domain: str) -> str:
    """``http[0].match[1]: authority regex ^a$``; which host it is for, where that is not the request's."""
    conditions = [_header(header) for header in route.match.headers]
    path = route.match.path
    if path is not None and not (path.value == "/" and path.how in (How.PREFIX, How.PATH_PREFIX)):
        conditions.insert(0, f"path {describe(path).removeprefix('path ')}")
    for parameter in route.match.query:
        wanted = describe(parameter.match) if parameter.match else "present"
        conditions.append(f"query {parameter.name} {wanted}")
    host = without_port(domain.lower())
    if host == "*":
        conditions.insert(0, "any host")
    elif host not in (request.host, request.authority.lower()):
        conditions.insert(0, f"host {domain}")
    part = _short(route.origin.part) if route.origin and route.origin.part else ""
    text = ", ".join(conditions) or "every path of this host"
    return f"{part}: {text}" if part else text


def _header(header: ValueMatch) -> str:
    name = {":authority": "Host", ":method": "method", ":scheme": "scheme"}.get(header.name)
    wanted = describe(header.match) if header.match else "present"
    if header.invert and wanted == "present":
        wanted = "absent"
    elif header.invert:
        wanted = f"not {wanted}"
    return f"{name or f'header {header.name}'} {wanted}"


def _short(part: str) -> str:
    return part.removeprefix("spec.")


def destination(name: str, cluster: Cluster | None) -> str:
    """Where a cluster leads, as the objects name it: ``to cart.shop.svc.cluster.local:80, subset v1``."""
    parts = name.split("|")
    if len(parts) == 4:
        return f"to {parts[3]}:{parts[1]}" + (f", subset {parts[2]}" if parts[2] else "")
    if name == "PassthroughCluster":
        return "so on to the address that the client meant, as it is (PassthroughCluster)"
    service = cluster.service if cluster is not None else None
    if service is not None and cluster is not None:
        return f"to {service}" + (f" port {cluster.port}" if cluster.port else "")
    return (
        f"to cluster {name}" if cluster is not None else f"to cluster {name}, which the proxy does not have"
    )


def rewrites(before: Request, after: Request) -> str:
    """What of a request changes, new values only."""
    parts = []
    if before.authority != after.authority:
        parts.append(f"Host becomes {after.authority}")
    if before.target != after.target:
        parts.append(f"path becomes {after.target}")
    if before.method != after.method:
        parts.append(f"method becomes {after.method}")
    gone = dict.fromkeys(name for name, _ in before.headers if after.header(name) is None)
    new = dict.fromkeys(name for name, value in after.headers if (name, value) not in before.headers)
    if new:
        parts.append(f"sets {_names(new)}")
    if gone:
        parts.append(f"removes {_names(gone)}")
    return "; ".join(parts)


def remark(text: str) -> str:
    """What a filter said of a request that it let through, without what everybody expects of it."""
    return text.removesuffix(": it matches everything")


def _names(names: Iterable[str]) -> str:
    found = list(names)
    word = "header" if len(found) == 1 else "headers"
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{word} {', '.join(found[:_SHOWN])}{more}"


__all__ = ["destination", "endpoints", "matches", "pod_name", "remark", "rewrites", "server", "tls_mode"]
