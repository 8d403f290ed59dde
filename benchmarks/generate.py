"""Clusters of any size, as objects: for files, for snapshots, for a live API.

    python benchmarks/generate.py --pods 10000 --services 5000 --virtual-services 5000 > cluster.json

Everything made is healthy: Services select pods, VirtualServices and HTTPRoutes lead to Services.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How many of each kind. Pods are spread over Services, Services over namespaces."""

    namespaces: int = 50
    services: int = 500
    pods: int = 1000
    gateways: int = 5
    virtual_services: int = 500
    http_routes: int = 0

    def times(self, factor: int) -> Size:
        return Size(*(getattr(self, name) * factor for name in self.__dataclass_fields__))


def objects(size: Size) -> Iterator[Object]:
    """The objects of a cluster of this size, in a fixed order."""
    yield from _gateway_pods()
    for number in range(size.namespaces):
        yield _object("v1", "Namespace", f"team-{number}", "")
    for number in range(size.services):
        yield _service(number, size)
    for number in range(size.pods):
        yield _pod(number, size)
    for number in range(size.gateways):
        yield _gateway(number)
    for number in range(size.virtual_services):
        yield _virtual_service(number, size)
    if size.http_routes:
        yield from _gateway_api()
        for number in range(size.http_routes):
            yield _http_route(number, size)


def _object(version: str, kind: str, name: str, namespace: str, **parts: Any) -> Object:
    meta: Object = {"name": name, "creationTimestamp": "2025-01-01T00:00:00Z"}
    if namespace:
        meta["namespace"] = namespace
    meta |= parts.pop("metadata", {})
    return {"apiVersion": version, "kind": kind, "metadata": meta, **parts}


def _namespace(number: int, size: Size) -> str:
    return f"team-{number % size.namespaces}"


def _service(number: int, size: Size) -> Object:
    spec = {
        "selector": {"app": f"app-{number}"},
        "clusterIP": f"10.{96 + number // 65536}.{number // 256 % 256}.{number % 256}",
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
    }
    return _object("v1", "Service", f"app-{number}", _namespace(number, size), spec=spec)


def _pod(number: int, size: Size) -> Object:
    app = number % size.services
    labels = {"app": f"app-{app}", "version": f"v{number // size.services}", "pod-template-hash": "abc"}
    spec = {"containers": [{"name": "app", "image": "example.com/app:1", "ports": [{"containerPort": 8080}]}]}
    status = {
        "phase": "Running",
        "podIP": f"10.{number // 65536}.{number // 256 % 256}.{number % 256}",
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    name = f"app-{app}-{number}"
    return _object(
        "v1", "Pod", name, _namespace(app, size), metadata={"labels": labels}, spec=spec, status=status
    )


def _gateway_pods() -> Iterator[Object]:
    yield _object("v1", "Namespace", "istio-system", "")
    labels = {"app": "istio-ingressgateway", "istio": "ingressgateway"}
    ports = [{"name": "http2", "port": 80, "targetPort": 8080}]
    spec = {"selector": labels, "clusterIP": "10.95.0.1", "ports": ports}
    yield _object(
        "v1", "Service", "istio-ingressgateway", "istio-system", metadata={"labels": labels}, spec=spec
    )
    container = {
        "name": "istio-proxy",
        "image": "docker.io/istio/proxyv2:1.26.0",
        "args": ["proxy", "router"],
    }
    status = {"phase": "Running", "podIP": "10.255.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
    yield _object(
        "v1",
        "Pod",
        "istio-ingressgateway-0",
        "istio-system",
        metadata={"labels": labels},
        spec={"containers": [container]},
        status=status,
    )


def _gateway(number: int) -> Object:
    hosts = ["*"] if number == 0 else [f"*.g{number}.example.com"]
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": hosts}
    spec = {"selector": {"istio": "ingressgateway"}, "servers": [server]}
    return _object("networking.istio.io/v1", "Gateway", f"gateway-{number}", "istio-system", spec=spec)


def _virtual_service(number: int, size: Size) -> Object:
    app = number % size.services
    destination = {"host": f"app-{app}", "port": {"number": 80}}
    spec = {
        "hosts": [f"app-{number}.example.com"],
        "gateways": ["istio-system/gateway-0"],
        "http": [
            {"match": [{"uri": {"prefix": "/api/"}}], "route": [{"destination": destination}]},
            {"route": [{"destination": destination}]},
        ],
    }
    return _object(
        "networking.istio.io/v1", "VirtualService", f"app-{number}", _namespace(app, size), spec=spec
    )


def _gateway_api() -> Iterator[Object]:
    api = "gateway.networking.k8s.io/v1"
    yield _object(
        api,
        "GatewayClass",
        "eg",
        "",
        spec={"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
    )
    listener = {
        "name": "http",
        "port": 80,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    yield _object(api, "Gateway", "web", "team-0", spec={"gatewayClassName": "eg", "listeners": [listener]})


def _http_route(number: int, size: Size) -> Object:
    app = number % size.services
    spec = {
        "parentRefs": [{"name": "web", "namespace": "team-0"}],
        "hostnames": [f"route-{number}.example.com"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": f"app-{app}", "port": 80}],
            }
        ],
    }
    api = "gateway.networking.k8s.io/v1"
    return _object(api, "HTTPRoute", f"route-{number}", _namespace(app, size), spec=spec)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Print a healthy cluster as a List in JSON or as YAML documents."
    )
    defaults = Size()
    for name in Size.__dataclass_fields__:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    parser.add_argument("--yaml", action="store_true", help="YAML documents instead of one JSON List")
    given = vars(parser.parse_args())
    as_yaml = given.pop("yaml")
    if as_yaml:
        import yaml

        sys.stdout.writelines(
            f"---\n{yaml.dump(item, Dumper=yaml.CSafeDumper)}" for item in objects(Size(**given))
        )
    else:
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects(Size(**given)))}
        json.dump(document, sys.stdout)


if __name__ == "__main__":
    main()
