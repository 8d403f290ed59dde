"""What names in access logs mean: clusters, routes, addresses.

Sources: istio pilot/pkg/model/push_context.go (BuildSubsetKey ``direction|port|subset|host``,
BuildDNSSrvSubsetKey ``direction_.port_._.host`` for server names), pilot/pkg/config/kube/gateway (route names
``namespace.name.rule``); envoyproxy/gateway internal/gatewayapi/helpers.go (``httproute/ns/name/rule/n``);
kgateway pkg/kgateway/ir/names.go (``kube_ns_name_port``).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kgdiag.graph.core import cluster_name
from kgdiag.model.ref import Ref

_GATEWAY_API = "gateway.networking.k8s.io"
_KINDS = {
    "httproute": "HTTPRoute",
    "grpcroute": "GRPCRoute",
    "tcproute": "TCPRoute",
    "tlsroute": "TLSRoute",
    "udproute": "UDPRoute",
}
_OF_ROUTE = re.compile(r"(httproute|grpcroute|tcproute|tlsroute|udproute)/([^/]+)/([^/]+)/rule/(-?\d+)")
_SNI = re.compile(r"(outbound|inbound)_\.(\d+)_\.([^.]*)_\.(.+)")
_KGATEWAY = re.compile(r"kube_([a-z0-9-]+)_([a-z0-9-]+)_(\d+)")
_ISTIO_API_ROUTE = re.compile(r"([a-z0-9-]+)\.([a-z0-9.-]+)\.(\d+)")

SPECIAL = {
    "PassthroughCluster": "passed on to the address that the client asked for: no Service is known there",
    "BlackHoleCluster": "dropped: the address is no Service that this sidecar may reach (REGISTRY_ONLY)",
    "InboundPassthroughCluster": "to a port of the pod that no Service has",
    "block_all": "refused: no Service has that host, and others are not let out (REGISTRY_ONLY)",
}


class Upstream(NamedTuple):
    """Where a cluster leads. ``host`` is ``""`` for clusters of a route (Envoy Gateway's) and a pod's own."""

    direction: str
    port: int | None
    subset: str
    host: str
    service: Ref | None
    route: Ref | None


def upstream_of(cluster: str) -> Upstream | None:
    """What a cluster's name (or the server name that Istio makes of it) means; None where it says nothing."""
    parts = cluster.split("|")
    if len(parts) == 4 and parts[0] in ("outbound", "inbound"):
        return _istio(parts[0], parts[1], parts[2], parts[3])
    if found := _SNI.fullmatch(cluster):
        return _istio(found[1], found[2], found[3], found[4])
    if found := _OF_ROUTE.match(cluster):
        route = Ref(_GATEWAY_API, _KINDS[found[1]], found[2], found[3])
        return Upstream("outbound", None, "", "", None, route)
    if found := _KGATEWAY.fullmatch(cluster):
        service = Ref("", "Service", found[1], found[2])
        return Upstream("outbound", int(found[3]), "", "", service, None)
    return None


def _istio(direction: str, port: str, subset: str, host: str) -> Upstream:
    named = cluster_name(host.lower())
    service = Ref("", "Service", named[1], named[0]) if named else None
    return Upstream(direction, int(port) if port.isdigit() else None, subset, host, service, None)


def route_of(name: str) -> Ref | None:
    """The route object that made a route, where its name says it."""
    if found := _OF_ROUTE.match(name):
        return Ref(_GATEWAY_API, _KINDS[found[1]], found[2], found[3])
    if found := _ISTIO_API_ROUTE.fullmatch(name):
        return Ref(_GATEWAY_API, "HTTPRoute", found[1], found[2])
    return None


def rule_of(name: str) -> int | None:
    """The index of the rule in a route's name, None where it has none."""
    if found := _OF_ROUTE.match(name):
        return int(found[4])
    found = _ISTIO_API_ROUTE.fullmatch(name)
    return int(found[3]) if found else None
