"""A small mesh as manifests with the config dump of its gateway: settled, and with one thing gone wrong."""

from __future__ import annotations

import copy
import json
from typing import Any

NS, POD = "istio-system", "edge-1"
HOST = "shop.example"
TYPE = "type.googleapis.com/envoy"

MANIFESTS = """
apiVersion: v1
kind: Pod
metadata: {name: edge-1, namespace: istio-system, labels: {istio: ingressgateway, app: edge}}
spec:
  serviceAccountName: edge
  containers: [{name: istio-proxy, args: [proxy, router]}]
status: {podIP: 10.0.0.1, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: istio-system, labels: {istio: ingressgateway}}
spec:
  type: NodePort
  selector: {istio: ingressgateway}
  ports: [{name: http2, port: 80, targetPort: 8080, nodePort: 31080}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: [shop.example]
  gateways: [istio-system/gw]
  http:
  - match: [{uri: {prefix: /api}}]
    route: [{destination: {host: api}, weight: 100}]
  - route: [{destination: {host: web}, weight: 75}, {destination: {host: api}, weight: 25}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {selector: {app: api}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {containers: [{name: main, ports: [{containerPort: 8080}]}]}
status: {podIP: 10.0.1.1, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: api-1, namespace: shop, labels: {app: api}}
spec: {containers: [{name: main, ports: [{containerPort: 8080}]}]}
status: {podIP: 10.0.1.2, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: istiod, namespace: istio-system}
spec: {selector: {app: istiod}, ports: [{name: grpc, port: 15012}]}
---
"""
ISTIOD = """
apiVersion: v1
kind: Pod
metadata: {name: istiod-1, namespace: istio-system, labels: {app: istiod}}
spec: {containers: [{name: discovery}]}
status: {podIP: 10.0.0.9, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
"""


def name(service: str) -> str:
    return f"outbound|80||{service}.shop.svc.cluster.local"


def meta(kind: str, namespace: str, of: str) -> dict[str, Any]:
    path = f"/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{of}"
    return {"filter_metadata": {"istio": {"config": path}}}


def route(prefix: str, action: dict[str, Any], of: str = "shop") -> dict[str, Any]:
    return {
        "match": {"prefix": prefix, "case_sensitive": True},
        "route": action,
        "metadata": meta("virtual-service", "shop", of),
    }


def split(**weights: int) -> dict[str, Any]:
    return {"weighted_clusters": {"clusters": [{"name": name(to), "weight": n} for to, n in weights.items()]}}


def cluster(service: str) -> dict[str, Any]:
    services = [{"name": service, "namespace": "shop", "host": f"{service}.shop.svc.cluster.local"}]
    return {
        "name": name(service),
        "type": "EDS",
        "eds_cluster_config": {"service_name": name(service)},
        "metadata": {"filter_metadata": {"istio": {"services": services}}},
    }


def endpoint(address: str, health: str = "HEALTHY", weight: int = 1) -> dict[str, Any]:
    socket = {"socket_address": {"address": address, "port_value": 8080}}
    return {
        "endpoint": {"address": socket},
        "health_status": health,
        "load_balancing_weight": weight,
    }


def listener() -> dict[str, Any]:
    manager = {
        "@type": f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "rds": {"route_config_name": "http.8080"},
        "normalize_path": True,
        "http_filters": [],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": "0.0.0.0_8080",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8080}},
        "filter_chains": [chain],
    }


class Dump:
    """The settled dump's parts, to be changed before it is printed."""

    def __init__(self) -> None:
        self.listener = {"name": "0.0.0.0_8080", "active_state": {"listener": listener()}}
        self.routes = [route("/api", {"cluster": name("api")}), route("/", split(web=75, api=25))]
        self.domains = [HOST]
        self.clusters = [cluster("web"), cluster("api")]
        self.endpoints = {"web": [endpoint("10.0.1.1")], "api": [endpoint("10.0.1.2")]}
        self.localities: dict[str, list[dict[str, Any]]] = {}
        self.statuses: list[dict[str, Any]] = []
        self.stats: list[dict[str, Any]] = []
        self.sync: dict[str, Any] | None = None

    def config(self) -> dict[str, Any]:
        virtual_host = {"name": f"{HOST}:80", "domains": self.domains, "routes": self.routes}
        config = {"name": "http.8080", "virtual_hosts": [virtual_host]}
        loads = [
            {
                "cluster_name": name(to),
                "endpoints": self.localities.get(to, [{"locality": {}, "lb_endpoints": items}]),
            }
            for to, items in self.endpoints.items()
        ]
        node = {"metadata": {"PROXY_CONFIG": {"discoveryAddress": "istiod.istio-system.svc:15012"}}}
        parts: dict[str, dict[str, Any]] = {
            "BootstrapConfigDump": {"bootstrap": {"node": {"id": f"router~10.0.0.1~{POD}.{NS}~x", **node}}},
            "ListenersConfigDump": {"dynamic_listeners": [self.listener]},
            "RoutesConfigDump": {"dynamic_route_configs": [{"route_config": config}]},
            "ClustersConfigDump": {"dynamic_active_clusters": [{"cluster": one} for one in self.clusters]},
            "EndpointsConfigDump": {"dynamic_endpoint_configs": [{"endpoint_config": one} for one in loads]},
            "SecretsConfigDump": {},
        }
        return copy.deepcopy(
            {"configs": [{"@type": f"{TYPE}.admin.v3.{kind}", **part} for kind, part in parts.items()]}
        )

    def documents(self) -> str:
        """The dump as the objects that snapshots have."""
        found: list[dict[str, Any]] = [self._object("ProxyDump", POD, config_dump=self.config())]
        found[0] |= {
            "via": "port-forward to port 15000",
            "clusters": {"cluster_statuses": self.statuses},
            "stats": {"stats": self.stats},
        }
        if self.sync is not None:
            found.append(self._object("SyncStatus", "istiod-1", syncz=[self.sync]))
        return "\n---\n".join(map(json.dumps, found))

    def _object(self, kind: str, of: str, **parts: Any) -> dict[str, Any]:
        where = {"name": of, "namespace": NS}
        return {"apiVersion": "kgdiag.dev/v1", "kind": kind, "metadata": where, **parts}
