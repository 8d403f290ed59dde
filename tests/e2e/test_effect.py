"""Traces by what proxies say of themselves, on the kind cluster: Istio's and Envoy Gateway's.

What a proxy says is held against what is declared (`--truth both`: no difference on a settled cluster) and
the outcome against the real answer.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import lab
from tests.e2e.lab import Cluster, eventually

ISVC = "sklearn-iris.kubeflow-user-example-com"
APPS = """
apiVersion: v1
kind: Pod
metadata: {name: v1, labels: {app: web, version: v1}, annotations: {sidecar.istio.io/inject: "false"}}
spec: &spec
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: docker.io/istio/app:1.31.0
    imagePullPolicy: IfNotPresent
    args: ["--port", "8080", "--version", "v1"]
    ports: [{containerPort: 8080}]
    resources: {requests: {cpu: 5m, memory: 16Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: v2, labels: {app: web, version: v2}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: docker.io/istio/app:1.31.0
    imagePullPolicy: IfNotPresent
    args: ["--port", "8080", "--version", "v2"]
    ports: [{containerPort: 8080}]
    resources: {requests: {cpu: 5m, memory: 16Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: v1}
spec: {selector: {app: web, version: v1}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: v2}
spec: {selector: {app: web, version: v2}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  hostnames: [HOST]
  parentRefs: [{name: web, namespace: shop-envoy-gateway}, {name: web, namespace: shop-istio}]
  rules:
  - matches: [{path: {value: /split}}]
    backendRefs: [{name: v1, port: 80, weight: 30}, {name: v2, port: 80, weight: 70}]
  - matches: [{path: {value: /mark}}]
    backendRefs:
    - name: v1
      port: 80
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-mark, value: "1"}]}}]
    - {name: v2, port: 80}
  - matches: [{path: {value: /gone}}]
    backendRefs: [{name: nobody, port: 80}]
  - matches: [{path: {value: /moved}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: new.eff.example, statusCode: 301}}]
  - backendRefs: [{name: web, port: 80}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [vs-HOST]
  gateways: [kubeflow/kubeflow-gateway]
  http:
  - match: [{uri: {prefix: /split}}]
    route: [{destination: {host: v1}, weight: 30}, {destination: {host: v2}, weight: 70}]
  - match: [{uri: {prefix: /subset}}]
    rewrite: {uri: /new, authority: other.example}
    route: [{destination: {host: web, subset: v2}}]
  - match: [{uri: {prefix: /nosubset}}]
    route: [{destination: {host: web, subset: v9}}]
  - match: [{uri: {prefix: /direct}}]
    directResponse: {status: 418}
  - route: [{destination: {host: web}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v2, labels: {version: v2}}]}
"""
READER = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: NS}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NS-reader}
rules:
- apiGroups: [""]
  resources: [pods, services, endpoints, namespaces, nodes, configmaps, secrets, serviceaccounts]
  verbs: [get, list]
- apiGroups: [EXTRA]
  resources: [pods/exec]
  verbs: [get, create]
- apiGroups:
  - apps
  - discovery.k8s.io
  - networking.k8s.io
  - networking.istio.io
  - security.istio.io
  - gateway.networking.k8s.io
  - gateway.envoyproxy.io
  - telemetry.istio.io
  resources: ["*"]
  verbs: [get, list]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NS-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NS-reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: NS}]
"""


@pytest.fixture(scope="module")
def apps(cluster: Cluster) -> Iterator[str]:
    """A namespace with pods behind routes of Istio and Envoy Gateway; its hosts are NAMESPACE.eff.example."""
    with cluster.namespace("eff", istio_injection="enabled") as name:
        cluster.apply(APPS.replace("HOST", f"{name}.eff.example"), name)
        cluster.wait_pods(name)
        cluster.settle()
        yield name


@contextlib.contextmanager
def reader(cluster: Cluster, namespace: str, *, may_exec: bool) -> Iterator[str]:
    """A user who may read objects, but not forward ports; ``may_exec`` lets it exec."""
    text = READER.replace("NS", namespace).replace("EXTRA", '""' if may_exec else "nobody.example")
    cluster.apply(text)
    try:
        yield f"system:serviceaccount:{namespace}:reader"
    finally:
        cluster.delete("clusterrolebinding,clusterrole", f"{namespace}-reader")


def traced(cluster: Cluster, url: str, *argv: str, truth: str = "both") -> Any:
    run = cluster.kgdiag(
        "trace", url, "--truth", truth, "-o", "json", "--request-timeout", "60s", *argv, timeout=300
    )
    assert run.code in (0, 1, 3), run.err
    return run.json()


def about_proxies(document: Any) -> list[str]:
    return [f"{one['rule']}: {one['message']}" for one in document["findings"] if one["rule"][2] == "9"]


def agrees(cluster: Cluster, url: str, *argv: str) -> Any:
    """The trace, once proxies and objects agree: others change the cluster, so one look may fall between."""
    found = eventually(
        lambda: traced(cluster, url, *argv), lambda one: not about_proxies(one), seconds=60, pause=2
    )
    assert not [one for one in found["incomplete"] if one["kind"] == "ProxyDump"]
    return found


def accepted_by(document: Any) -> set[str]:
    """The truths of the hops at which proxies accept, match and forward."""
    acts = ("accepts", "matches", "routes", "forwards")
    return {hop["truth"] for path in document["paths"] for hop in path["hops"] if hop["action"] in acts}


def statuses(document: Any) -> set[int | None]:
    return {path["outcome"]["status"] for path in document["paths"]}


# --- a settled cluster: no difference ---------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/split", "/mark", "/gone", "/moved/x?a=b", "/"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_gateway_api_on_both_controllers(cluster: Cluster, apps: str, scheme: str, path: str) -> None:
    found = agrees(cluster, f"{scheme}://{apps}.eff.example{path}")
    entries = {one["entry"]["namespace"] for one in found["paths"]}
    assert entries == {"envoy-gateway-system", "shop-istio"}
    assert accepted_by(found) <= {"effect"}
    if path == "/split":
        shares = {round(one["weight"], 3) for one in found["paths"]}
        assert shares == {0.3, 0.7}


@pytest.mark.parametrize("path", ["/split", "/subset/x", "/nosubset", "/direct", "/"])
def test_istios_gateway(cluster: Cluster, apps: str, path: str) -> None:
    host = f"vs-{apps}.eff.example"
    found = agrees(cluster, f"http://{host}{path}")
    assert accepted_by(found) <= {"effect"}
    answer = cluster.send(lab.ISTIO_HTTP, path, host=host)
    expected = {200} if statuses(found) == {None} else statuses(found)
    assert answer.status in expected
    if answer.echoed:
        last = found["paths"][0]["hops"][-1]["request"]
        assert (answer.echo.host, answer.echo.path) == (last["host"], last["path"])


@pytest.mark.parametrize(
    "url",
    [
        f"http://{ISVC}.example.com/v1/models/sklearn-iris:predict",
        "http://example.com/serving/kubeflow-user-example-com/sklearn-iris/v1/models",
        "http://cart.shop.example/v2/x",
        "https://cart.shop.example/",
    ],
)
def test_the_emblems_path_and_the_shops(cluster: Cluster, url: str) -> None:
    found = agrees(cluster, url)
    assert {one["outcome"]["result"] for one in found["paths"]} == {"delivered"}
    assert accepted_by(found) <= {"effect"}


@pytest.mark.parametrize("client", ["meshed", "plain"])
@pytest.mark.parametrize("service", ["v1", "v2", "web"])
def test_sidecars(cluster: Cluster, apps: str, client: str, service: str) -> None:
    """Out through the client's sidecar, in through the server's, where they have one."""
    url = f"http://{service}.{apps}/x"
    found = agrees(cluster, url, "--from", f"pod/{client}.clients")
    assert {one["outcome"]["result"] for one in found["paths"]} == {"delivered"}
    assert cluster.curl_from(client, url).status == 200
    if client == "meshed":
        assert accepted_by(found) <= {"effect"}


def test_a_host_that_nobody_serves(cluster: Cluster, apps: str) -> None:
    found = agrees(cluster, f"http://nobody-{apps}.eff.example/")
    assert statuses(found) == {404}


# --- without the right to touch pods ----------------------------------------------------------------------


def test_forbidden_forward_is_reported_and_the_way_goes_on(cluster: Cluster, apps: str) -> None:
    with reader(cluster, apps, may_exec=False) as user:
        found = traced(cluster, f"http://vs-{apps}.eff.example/split", "--as", user)
    gaps = [one for one in found["incomplete"] if one["kind"] == "ProxyDump"]
    assert {one["status"] for one in gaps} == {"forbidden"}
    assert all("pods/portforward" in one["message"] for one in gaps)
    assert {hop["truth"] for path in found["paths"] for hop in path["hops"]} == {"intent"}
    assert {one["outcome"]["result"] for one in found["paths"]} == {"delivered"}
    assert any("as it is declared" in note for note in found["notes"])
    assert not about_proxies(found)


def test_exec_stands_in_for_a_forbidden_forward(cluster: Cluster, apps: str) -> None:
    with reader(cluster, apps, may_exec=True) as user:
        found = traced(cluster, f"http://vs-{apps}.eff.example/split", "--as", user)
        shown = cluster.kgdiag("proxy", "v2", "-n", apps, "--as", user, "-o", "json")
    assert accepted_by(found) <= {"effect"}
    assert shown.json()["via"] == "exec of pilot-agent in istio-proxy"


def test_no_pod_is_touched_unasked(cluster: Cluster, apps: str) -> None:
    """A user without any right on pods' subresources gets a whole answer."""
    with reader(cluster, apps, may_exec=False) as user:
        found = traced(cluster, f"http://vs-{apps}.eff.example/split", "--as", user, truth="intent")
    assert not [one for one in found["incomplete"] if one["group"] == "kgdiag.dev"]


# --- differences ------------------------------------------------------------------------------------------


def test_a_route_that_istiod_leaves_out(cluster: Cluster, apps: str) -> None:
    """An EnvoyFilter takes a virtual host out of one gateway's route config: nothing declares that."""
    host = f"cut-{apps}.eff.example"
    cluster.apply(
        f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: cut}}
spec:
  hosts: [{host}]
  gateways: [kubeflow/kubeflow-gateway]
  http: [{{route: [{{destination: {{host: v1}}}}]}}]
""",
        apps,
    )
    patch = f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {apps}-cut, namespace: istio-system}}
spec:
  workloadSelector: {{labels: {{istio: ingressgateway}}}}
  configPatches:
  - applyTo: VIRTUAL_HOST
    match: {{context: GATEWAY, routeConfiguration: {{vhost: {{name: "{host}:80"}}}}}}
    patch: {{operation: REMOVE}}
"""
    try:
        cluster.apply(patch)
        cluster.settle("istio")
        eventually(lambda: cluster.send(lab.ISTIO_HTTP, "/", host=host).status, lambda code: code == 404)
        found = traced(cluster, f"http://{host}/")
    finally:
        cluster.delete("envoyfilter", f"{apps}-cut", "-n", "istio-system")
    assert statuses(found) == {404}
    rules = {one["rule"]: one for one in found["findings"]}
    assert rules["KG901"]["object"]["name"] == "cut" and rules["KG901"]["severity"] == "error"


# --- the picture and snapshots ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "namespace"),
    [
        ("deploy/istio-ingressgateway", "istio-system"),
        ("gateway.networking.istio.io/kubeflow-gateway", "kubeflow"),
    ],
)
def test_a_picture_of_istios_gateway(cluster: Cluster, apps: str, target: str, namespace: str) -> None:
    host = f"vs-{apps}.eff.example"
    run = cluster.kgdiag("proxy", target, "-n", namespace, "--host", host, "-o", "json")
    assert run.code == 0, run.err
    routes = [
        route
        for config in run.json()["route_configs"]
        for one in config["virtual_hosts"]
        for route in one["routes"]
    ]
    assert {route["origin"]["name"] for route in routes} == {"web"}
    assert len(routes) == 5


@pytest.mark.parametrize("namespace", ["shop-istio", "shop-envoy-gateway"])
def test_a_picture_of_a_gateway_of_the_gateway_api(cluster: Cluster, apps: str, namespace: str) -> None:
    target = "gateway.gateway.networking.k8s.io/web"
    run = cluster.kgdiag("proxy", target, "-n", namespace, "--host", f"{apps}.eff.example", "-o", "json")
    assert run.code == 0, run.err
    document = run.json()
    origins = {
        (route["origin"]["kind"], route["origin"]["name"])
        for config in document["route_configs"]
        for host in config["virtual_hosts"]
        for route in host["routes"]
    }
    assert origins == {("HTTPRoute", "web")}
    pods = {item["pod"]["name"] for one in document["clusters"] for item in one["endpoints"]}
    assert pods == {"v1", "v2"}


def test_proxies_travel_in_snapshots(cluster: Cluster, apps: str, tmp_path: Any) -> None:
    file = tmp_path / "cluster.kgdiag"
    run = cluster.kgdiag("snapshot", "save", str(file), "--proxies", timeout=300)
    assert run.code == 0, run.err
    found = traced(cluster, f"http://vs-{apps}.eff.example/split", "-f", str(file))
    assert not about_proxies(found)
    accepted = [hop for hop in found["paths"][0]["hops"] if hop["action"] == "matches"]
    assert accepted[0]["truth"] == "effect"


def test_a_dump_of_istioctl_is_understood(cluster: Cluster, apps: str, tmp_path: Any) -> None:
    text = cluster.run("istioctl", "proxy-config", "all", f"v2.{apps}", "-o", "json").out
    assert json.loads(text)
    file = tmp_path / "dump.json"
    file.write_text(text)
    run = cluster.kgdiag("proxy", "-f", str(file), "--host", f"v1.{apps}", "--listener", "80", "-o", "json")
    assert run.code == 0, run.err
    assert run.json()["object"]["name"] == "v2"


def test_a_proxy_that_does_not_answer_is_reported(cluster: Cluster, apps: str) -> None:
    """A pod that looks like a proxy and has none: its port is closed."""
    cluster.apply(
        """
apiVersion: v1
kind: Pod
metadata: {name: hollow, annotations: {sidecar.istio.io/inject: "false"}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: envoy
    image: docker.io/istio/app:1.31.0
    imagePullPolicy: IfNotPresent
    args: ["--port", "8080"]
    resources: {requests: {cpu: 5m, memory: 16Mi}}
""",
        apps,
    )
    eventually(
        lambda: cluster.get("pod", "hollow", apps)["status"].get("phase"),
        lambda phase: phase == "Running",
        60,
    )
    run = cluster.kgdiag("proxy", "hollow", "-n", apps, "--request-timeout", "20s")
    assert run.code == 3 and "19000" in run.err
