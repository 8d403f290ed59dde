"""The applications and gateways that all configurations share; only what routes to them is generated.

Namespaces (all begin with `dif-`):

* `dif-app`, `dif-far`: applications without sidecars, `dif-far` for references across namespaces;
* `dif-mesh`: applications with sidecars, one workload for each configuration that selects workloads (s0 …);
* `dif-p0` …: a pod with and one without a sidecar each, for policies on a whole namespace;
* `dif-cl`: clients with and without sidecar; `dif-s0` …: clients for Sidecar objects;
* `dif-gw`: a classic Istio gateway; `dif-gi`, `dif-ge`: Gateway API gateways of Istio and of Envoy Gateway.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.differential.model import Client
from tests.e2e.lab import APP_IMAGE, Cluster, eventually

Manifest = dict[str, Any]

APP, FAR, MESH, CLIENTS, GATEWAY = "dif-app", "dif-far", "dif-mesh", "dif-cl", "dif-gw"
POLICY = ("dif-p0", "dif-p1", "dif-p2", "dif-p3")
SIDECARS = ("dif-s0", "dif-s1")
API_ISTIO, API_ENVOY = "dif-gi", "dif-ge"
SERVERS = tuple(f"s{number}" for number in range(6))
INJECTED = (MESH, *POLICY, *SIDECARS)
PLAIN = (APP, FAR, CLIENTS, GATEWAY, API_ISTIO, API_ENVOY)
NAMESPACES = (*PLAIN, *INJECTED)

PLAIN_CLIENT, RED_CLIENT, BLUE_CLIENT = Client(CLIENTS, "plain"), Client(CLIENTS, "red"), Client(MESH, "blue")

# Ports of the classic gateway: HTTP and HTTPS that everybody shares by host, and one for each configuration
# that needs a port of its own.
OWN_PORTS = tuple(range(9001, 9041))
# Ports of the classic gateway for which ALLOW policies decide; a base policy allows all others.
ALLOWED_PORTS = tuple(range(9051, 9057))
CERTIFICATE = "web-cert"

# Old configurations of a sidecar end with the old listener: one second instead of 45.
_QUICK = {"proxy.istio.io/config": json.dumps({"drainDuration": "1s"})}


def _labels(name: str, **more: str) -> dict[str, str]:
    return {"app": name, **more}


def _object(kind: str, namespace: str, name: str, version: str = "v1", **rest: Any) -> Manifest:
    metadata: Manifest = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _pod(
    namespace: str,
    name: str,
    *,
    labels: Mapping[str, str],
    account: str = "default",
    never_ready: bool = False,
    tls: bool = False,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    probe = {"tcpSocket": {"port": 9999 if never_ready else 8080}, "periodSeconds": 2}
    arguments = ["--port", "8080", "--port", "8081", "--version", f"{namespace}/{name}"]
    volumes: Manifest = {}
    mounts: Manifest = {}
    if tls:
        folder = "/etc/dif"
        arguments += ["--port", "8443", "--tls", "8443"]
        arguments += ["--crt", f"{folder}/tls.crt", "--key", f"{folder}/tls.key"]
        volumes = {"volumes": [{"name": "cert", "secret": {"secretName": CERTIFICATE}}]}
        mounts = {"volumeMounts": [{"name": "cert", "mountPath": folder}]}
    found = _object(
        "Pod",
        namespace,
        name,
        spec={
            **volumes,
            "terminationGracePeriodSeconds": 1,
            "serviceAccountName": account,
            "containers": [
                {
                    "name": "client",
                    "image": APP_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "args": arguments,
                    **mounts,
                    "ports": [
                        {"name": "http-main", "containerPort": 8080},
                        {"name": "http-alt", "containerPort": 8081},
                    ],
                    "readinessProbe": probe,
                    "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}},
                }
            ],
        },
    )
    found["metadata"] |= {"labels": dict(labels), "annotations": {**_QUICK, **(annotations or {})}}
    return found


def _service(
    namespace: str, name: str, selector: Mapping[str, str] | None, *ports: tuple[str, int, Any], **rest: Any
) -> Manifest:
    spec: Manifest = {
        "ports": [{"name": port, "port": number, "targetPort": target} for port, number, target in ports]
    }
    if selector is not None:
        spec["selector"] = dict(selector)
    return _object("Service", namespace, name, spec={**spec, **rest})


WEB = ("http", 80, 8080)


def _applications(namespace: str) -> list[Manifest]:
    """The pods v1, v2 (of `web`) and sick (never ready), and Services that reach them well and badly."""
    return [
        _pod(namespace, "v1", labels=_labels("web", version="v1"), tls=namespace == APP),
        _pod(namespace, "v2", labels=_labels("web", version="v2")),
        _pod(namespace, "sick", labels=_labels("sick"), never_ready=True),
        _service(namespace, "web", _labels("web"), WEB),
        _service(namespace, "v1", _labels("web", version="v1"), ("http", 80, "http-main")),
        _service(namespace, "v2", _labels("web", version="v2"), WEB),
        _service(namespace, "multi", _labels("web", version="v1"), WEB, ("http-alt", 81, "http-alt")),
        _service(namespace, "odd", _labels("web", version="v2"), ("http", 8000, 8080)),
        _service(namespace, "dead", _labels("web", version="v1"), ("http", 80, 7777)),
        _service(namespace, "unnamed", _labels("web", version="v1"), ("http", 80, "nobody")),
        _service(namespace, "tcp", _labels("web", version="v1"), ("tcp", 80, 8080)),
        _service(namespace, "detect", _labels("web", version="v1"), ("web", 80, 8080)),
        _service(namespace, "secure", _labels("web", version="v1"), ("https", 443, 8443)),
        _service(namespace, "empty", _labels("nobody"), WEB),
        _service(namespace, "bare", None, WEB),
        _service(namespace, "sick", _labels("sick"), WEB),
        _service(namespace, "headless", _labels("web", version="v1"), ("http", 8080, 8080), clusterIP="None"),
        _service(namespace, "shifted", _labels("web", version="v1"), ("http", 80, 8080), clusterIP="None"),
        _object(
            "Service",
            namespace,
            "ext",
            spec={
                "type": "ExternalName",
                "externalName": f"v1.{namespace}.svc.cluster.local",
                "ports": [{"name": "http", "port": 80}],
            },
        ),
        _object(
            "Service",
            namespace,
            "ext0",
            spec={"type": "ExternalName", "externalName": f"v2.{namespace}.svc.cluster.local"},
        ),
    ]


def manifests() -> list[Manifest]:
    """All that stays, in the order in which it can be applied."""
    found: list[Manifest] = []
    for name in NAMESPACES:
        space = _object("Namespace", "", name)
        labels = {"dif": "pool", "team": "far" if name == FAR else "near"}
        space["metadata"]["labels"] = labels | ({"istio-injection": "enabled"} if name in INJECTED else {})
        found.append(space)
    for namespace in (MESH, CLIENTS, *POLICY, *SIDECARS):
        found += [_object("ServiceAccount", namespace, account) for account in ("red", "blue")]
    found += _applications(APP) + _applications(MESH)
    found += [
        _pod(FAR, "v1", labels=_labels("web", version="v1")),
        _service(FAR, "web", _labels("web"), WEB),
        _service(FAR, "far", _labels("web"), ("http", 8080, 8080)),
    ]
    for name in SERVERS:
        found += [
            _pod(MESH, name, labels=_labels(name, version="v1"), account="blue"),
            _service(MESH, name, _labels(name), WEB, ("http-alt", 81, 8081)),
        ]
    for namespace in POLICY:
        outside = _labels("out") | {"sidecar.istio.io/inject": "false"}
        found += [
            _pod(namespace, "in", labels=_labels("in", version="v1"), account="blue"),
            _service(namespace, "in", _labels("in"), WEB, ("http-alt", 81, 8081)),
            _pod(namespace, "out", labels=outside),
            _service(namespace, "out", _labels("out"), WEB),
        ]
    inject = {"sidecar.istio.io/inject": "true"}
    found += [
        _pod(CLIENTS, "plain", labels=_labels("plain")),
        _pod(CLIENTS, "red", labels=_labels("red") | inject, account="red"),
        _pod(MESH, "blue", labels=_labels("blue"), account="blue"),
        *(_pod(namespace, "red", labels=_labels("red"), account="red") for namespace in SIDECARS),
        *_classic_gateway(),
        *_api_gateways(),
        _object(
            "IngressClass",
            "",
            "istio",
            version="networking.k8s.io/v1",
            spec={"controller": "istio.io/ingress-controller"},
        ),
        _object(
            "AuthorizationPolicy",
            GATEWAY,
            "others",
            version="security.istio.io/v1",
            spec={
                "action": "ALLOW",
                "selector": {"matchLabels": {"istio": "dif"}},
                "rules": [{"to": [{"operation": {"notPorts": [str(port) for port in ALLOWED_PORTS]}}]}],
            },
        ),
    ]
    return found


def _classic_gateway() -> list[Manifest]:
    container = {
        "name": "istio-proxy",
        "image": "auto",
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "10m", "memory": "40Mi"}},
    }
    # Istio gives a gateway the certificates that its service account may list, and no others.
    role = {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "watch", "list"]}]}
    binding = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "gw"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": GATEWAY}],
    }
    rbac = "rbac.authorization.k8s.io/v1"
    gateway = _object(
        "Pod", GATEWAY, "gw", spec={"containers": [container], "terminationGracePeriodSeconds": 1}
    )
    gateway["metadata"] |= {
        "labels": {"app": "gw", "istio": "dif", "sidecar.istio.io/inject": "true"},
        "annotations": {"inject.istio.io/templates": "gateway", **_QUICK},
    }
    ports = [
        ("http2", 80, 8080),
        ("https", 443, 8443),
        *((f"p{port}", port, port) for port in (*OWN_PORTS, *ALLOWED_PORTS)),
    ]
    return [
        _object("Role", GATEWAY, "gw", version=rbac, **role),
        _object("RoleBinding", GATEWAY, "gw", version=rbac, **binding),
        gateway,
        _service(GATEWAY, "gw", {"istio": "dif"}, *ports),
    ]


def _api_gateways() -> list[Manifest]:
    """The parameters of the Gateways; the Gateways themselves are generated, since their listeners are."""
    deployment = {
        "container": {
            "image": "docker.io/envoyproxy/envoy:distroless-v1.39.1",
            "resources": {"requests": {"cpu": "10m", "memory": "40Mi"}},
        }
    }
    return [
        _object(
            "EnvoyProxy",
            API_ENVOY,
            "cluster-ip",
            version="gateway.envoyproxy.io/v1alpha1",
            spec={
                "provider": {
                    "type": "Kubernetes",
                    "kubernetes": {
                        "envoyDeployment": deployment,
                        "envoyService": {"type": "ClusterIP"},
                    },
                }
            },
        ),
        _object(
            "ConfigMap",
            API_ISTIO,
            "cluster-ip",
            data={
                "service": "spec: {type: ClusterIP}",
                "deployment": json.dumps(
                    {
                        "spec": {
                            "template": {
                                "spec": {
                                    "containers": [
                                        {
                                            "name": "istio-proxy",
                                            "resources": {"requests": {"cpu": "10m", "memory": "40Mi"}},
                                        }
                                    ]
                                }
                            }
                        }
                    }
                ),
            },
        ),
    ]


def ensure(cluster: Cluster) -> None:
    """Bring the pool up, or find it as it was; what earlier rounds left is deleted."""
    wanted = manifests()
    first = [item for item in wanted if item["kind"] in ("Namespace", "ServiceAccount")]
    cluster.apply(first)
    for namespace in (GATEWAY, API_ISTIO, API_ENVOY, APP):
        _certificate(cluster, namespace, CERTIFICATE)
    cluster.apply([item for item in wanted if item not in first and item["kind"] != "Pod"])
    # Pods cannot be applied over what injection made of them.
    lines = cluster.kubectl("get", "pods", "-A", "--no-headers").splitlines()
    have = {tuple(line.split()[:2]) for line in lines}
    pods = [
        item
        for item in wanted
        if item["kind"] == "Pod" and (item["metadata"]["namespace"], item["metadata"]["name"]) not in have
    ]
    if pods:
        cluster.apply(pods)
    eventually(lambda: _not_ready(cluster), lambda names: not names, seconds=300, pause=2)


def _not_ready(cluster: Cluster) -> list[str]:
    pods = json.loads(cluster.kubectl("get", "pods", "-A", "-o", "json"))["items"]
    return [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for pod in pods
        if pod["metadata"]["namespace"] in NAMESPACES
        and pod["metadata"]["name"] != "sick"
        and not any(
            item["type"] == "Ready" and item["status"] == "True"
            for item in pod.get("status", {}).get("conditions", ())
        )
    ]


def _certificate(cluster: Cluster, namespace: str, name: str) -> None:
    """A self-signed certificate for every name, once."""
    if cluster.run("kubectl", "get", "secret", "-n", namespace, name).code == 0:
        return
    with tempfile.TemporaryDirectory() as folder:
        key, crt = Path(folder, "key"), Path(folder, "crt")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-nodes", "-days", "3650", "-keyout", str(key), "-out", str(crt)),
                *("-subj", "/CN=dif.example", "-addext", "subjectAltName=DNS:*.dif.example"),
            ],
            check=True,
            capture_output=True,
        )
        cluster.kubectl("create", "secret", "tls", name, "-n", namespace, f"--cert={crt}", f"--key={key}")
