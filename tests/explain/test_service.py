"""Services, and the one that everything began with: Kubeflow's knative-local-gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kgdiag import app
from kgdiag.collect.connection import ConnectionOptions
from kgdiag.dialects import all_kinds
from kgdiag.model import kinds
from kgdiag.model.explanation import Explanation
from kgdiag.model.finding import Severity
from kgdiag.report.text import render
from tests.collect.apiserver import Answer, ApiServer, Request, status
from tests.explain.support import EXAMPLES, commands, down, explained, running, table, up

KUBEFLOW = (EXAMPLES / "kubeflow.yaml").read_text()
HALF = (EXAMPLES / "kubeflow-half-patched.yaml").read_text()
NAME, NAMESPACE = "knative-local-gateway", "istio-system"


# -- the emblem ------------------------------------------------------------------------------------------


def test_the_emblem_tells_at_once_what_the_page_tells() -> None:
    found = explained(KUBEFLOW, kinds.SERVICE, NAME, NAMESPACE)
    assert found.summary == (
        "service knative-local-gateway selects cluster-local-gateway pods (1/1 assumed ready); "
        "80 → 8081 is answered by Gateway knative-serving/knative-local-gateway with 2 VirtualServices; "
        "as Kubeflow means it"
    )
    assert [(item.rule, item.severity) for item in found.findings if item.rule == "KG101"] == [
        ("KG101", Severity.INFO)
    ]
    labels = {row["label"]: row["pods in istio-system"] for row in table(found, "Selector")}
    assert labels["app=cluster-local-gateway"] == "1 pod, 1/1 assumed ready"
    assert labels["app=knative-local-gateway"].startswith("no pod carries it")


def test_the_emblem_says_where_the_gateways_listen_and_who_decides() -> None:
    rows = table(explained(KUBEFLOW, kinds.SERVICE, NAME, NAMESPACE), "Listeners of these pods")
    where = {row["Gateway"]: (row["listens on"], row["where it listens is decided by"]) for row in rows}
    assert where == {
        "istio-system/cluster-local-gateway": (
            "8080",
            "Service istio-system/cluster-local-gateway 80 → 8080; "
            "istio-system/knative-local-gateway may not, by label",
        ),
        "knative-serving/knative-local-gateway": ("8081", "its own number (no Service port 8081)"),
    }


def test_the_emblem_says_who_points_at_it() -> None:
    found = explained(KUBEFLOW, kinds.SERVICE, NAME, NAMESPACE)
    assert up(found) == {
        ("alias", "Service models/iris"),
        ("routed-from", "VirtualService models/iris"),
        ("referred-to-by", "ConfigMap kubeflow/inferenceservice-config"),
        ("guarded-by", "AuthorizationPolicy istio-system/cluster-local-gateway"),
    }
    assert set(down(found)) == {
        "Pod istio-system/cluster-local-gateway",
        "Gateway knative-serving/knative-local-gateway",
        "VirtualService models/iris",
        "VirtualService models/iris-predictor-ingress",
    }


def test_the_seed_s_three_commands_are_among_the_proofs() -> None:
    found = commands(explained(KUBEFLOW, kinds.SERVICE, NAME, NAMESPACE))
    pods = "kubectl get pods -n istio-system -l app="
    assert (
        f"kubectl get services {NAME} -n {NAMESPACE} -o 'jsonpath={{.spec.selector}}'" in found
        and f"{pods}knative-local-gateway -o name" in found
        and any(line.startswith(f"{pods}cluster-local-gateway") for line in found)
    )


def test_half_patched_is_broken_and_not_as_kubeflow_means_it() -> None:
    found = explained(HALF, kinds.SERVICE, NAME, NAMESPACE)
    assert found.summary.startswith(
        "service knative-local-gateway selects cluster-local-gateway pods, where nothing listens on 8081"
    )
    who = {row["port"]: row["who answers there"] for row in table(found, "Ports")}
    assert who["80 http2"] == "no listener: connections are refused"


def test_the_older_service_decides_without_the_label() -> None:
    text = KUBEFLOW.replace('    experimental.istio.io/disable-gateway-port-translation: "true"\n', "")
    text = text.replace(
        "metadata: {name: cluster-local-gateway, namespace: istio-system, "
        "labels: {app: cluster-local-gateway, istio: cluster-local-gateway}}",
        "metadata: {name: cluster-local-gateway, namespace: istio-system, "
        'creationTimestamp: "2025-06-01T10:00:00Z", labels: {app: cluster-local-gateway}}',
    )
    rows = table(explained(text, kinds.SERVICE, NAME, NAMESPACE), "Listeners of these pods")
    decided = {row["where it listens is decided by"] for row in rows if row["as"] == "HTTP 80"}
    assert decided == {
        "Service istio-system/knative-local-gateway 80 → 8081, older than istio-system/cluster-local-gateway"
    }


def test_the_text_reads_top_down(capsys: pytest.CaptureFixture[str]) -> None:
    from kgdiag.cli.commands import run

    argv = ["explain", f"svc/{NAME}", "-n", NAMESPACE, "-f", str(EXAMPLES / "kubeflow.yaml")]
    assert run(argv) == 0
    text = capsys.readouterr().out
    order = ["selects cluster-local-gateway", "\nSelector", "\nPorts", "\nListeners of these pods",
             "\nWho leads here", "\nWhere it leads", "\nFindings", "\nVerify"]  # fmt: skip
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert "Service models/iris is a DNS alias of it" in text
    assert run(argv) == 0
    assert capsys.readouterr().out == text


# -- on a live cluster -----------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(objects=running(KUBEFLOW), kinds=list(all_kinds())) as started:
        yield started


@pytest.fixture
def live(server: ApiServer, tmp_path: Path) -> Callable[..., app.Answer]:
    def ask(name: str = f"svc/{NAME}", namespace: str = NAMESPACE) -> app.Answer:
        options = ConnectionOptions(kubeconfig=server.kubeconfig(tmp_path), request_timeout=5)
        return app.explain(app.open_cluster(options, namespace=namespace), name, fail_on=Severity.ERROR)

    return ask


def body(found: app.Answer) -> Explanation:
    assert isinstance(found.body, Explanation)
    return found.body


def test_the_emblem_takes_twelve_requests_with_all_kinds_installed(
    server: ApiServer, live: Callable[..., app.Answer]
) -> None:
    found = body(live())
    assert "(1/1 ready); 80 → 8081 is answered by Gateway" in found.summary
    assert len(server.requests) <= 12, server.paths()


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("svc/istio-ingressgateway", "istio-system"),
        ("svc/iris-predictor-00001", "models"),
        ("svc/iris", "models"),
    ],
)
def test_other_services_take_no_more(
    server: ApiServer, live: Callable[..., app.Answer], name: str, namespace: str
) -> None:
    assert live(name, namespace).code == 0
    assert len(server.requests) <= 12, server.paths()


def test_rules_that_would_read_more_are_named(live: Callable[..., app.Answer]) -> None:
    notes = "\n".join(body(live("svc/iris-predictor-00001", "models")).notes)
    assert "kgdiag check services/iris-predictor-00001 -n models" in notes


def only(namespace: str) -> Callable[[Request], Answer | None]:
    """A service account that may read one namespace."""

    def handle(request: Request) -> Answer | None:
        if request.path in ("/apis", "/api") or f"/namespaces/{namespace}/" in request.path:
            return None
        return status(403, f"{request.path} is forbidden", "Forbidden")

    return handle


def test_one_namespace_is_enough_to_say_what_is_there(
    server: ApiServer, live: Callable[..., app.Answer]
) -> None:
    server.faults.append(only(NAMESPACE))
    found = live()
    words = body(found)
    assert "selects cluster-local-gateway pods (1/1 ready)" in words.summary
    who = {row["port"]: row["who answers there"] for row in table(words, "Ports")}
    assert who["80 http2"] == "unknown: gateways of all namespaces could not be read"
    assert not any(item.severity is Severity.ERROR for item in words.findings)
    gaps = {(read.need.kind.name, read.need.namespace) for read in found.incomplete}
    assert ("Gateway", None) in gaps
    assert found.code == 3
    assert "Not seen" in render(found)


# -- ordinary Services -----------------------------------------------------------------------------------

SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, version: v1}}
    spec:
      containers: [{name: nginx, image: "nginx:1", ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
"""


def test_a_named_port_shows_its_number_and_its_container() -> None:
    found = explained(SHOP, kinds.SERVICE, "web", "shop")
    assert found.summary == "service web selects web pods (1/1 assumed ready); port 80 → 8080"
    row = table(found, "Ports")[0]
    assert row["pods' port"] == "→ http = 8080"
    assert row["who answers there"] == "web, container nginx, through its sidecar"


def test_no_pod_in_files_that_may_lack_them_is_no_claim() -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b}\nspec: {selector: {app: b}}"
    found = explained(text, kinds.SERVICE, "a", "b", complete=False)
    assert found.summary == "service a selects no pod in these files: app=b"
    assert not found.findings


def test_an_external_name_says_that_it_maps_nothing() -> None:
    found = explained(KUBEFLOW, kinds.SERVICE, "iris", "models")
    assert found.summary == (
        "service iris is a DNS alias of Service istio-system/knative-local-gateway: no pods of its own; "
        "clients connect to that one's ports (80, 443), with the host they asked for"
    )
    assert commands(found) == [
        "kubectl get services iris -n models -o 'jsonpath={.spec.externalName}'",
        *commands(found)[1:],
    ]


GATEWAY_API = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec: {gatewayClassName: eg, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec:
  parentRefs: [{name: web}]
  hostnames: [cart.example.com]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: v1
kind: Pod
metadata:
  name: envoy-1
  namespace: envoy-gateway-system
  labels:
    app.kubernetes.io/name: envoy
    app.kubernetes.io/component: proxy
    app.kubernetes.io/managed-by: envoy-gateway
    gateway.envoyproxy.io/owning-gateway-name: web
    gateway.envoyproxy.io/owning-gateway-namespace: shop
spec: {containers: [{name: envoy, image: "envoy:1"}]}
status: {phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: envoy-shop-web-1, namespace: envoy-gateway-system}
spec:
  selector: {gateway.envoyproxy.io/owning-gateway-name: web, app.kubernetes.io/component: proxy}
  ports: [{name: http-80, port: 80, targetPort: 10080}]
"""


def test_the_service_of_a_gateway_api_data_plane_names_its_gateway() -> None:
    found = explained(f"{SHOP}---{GATEWAY_API}", kinds.SERVICE, "envoy-shop-web-1", "envoy-gateway-system")
    assert "80 → 10080 is answered by Gateway shop/web with 1 HTTPRoute" in found.summary
    row = table(found, "Listeners of these pods")[0]
    assert row["where it listens is decided by"] == "Envoy Gateway moves 80 to 10080"


MANAGED = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio}
spec: {controllerName: istio.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-istio-1, namespace: shop, labels: {gateway.networking.k8s.io/gateway-name: web}}
spec: {containers: [{name: istio-proxy, image: "proxyv2:1.26.0", args: [proxy, router]}]}
status: {phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web-istio, namespace: shop}
spec:
  selector: {gateway.networking.k8s.io/gateway-name: web}
  ports: [{name: http, port: 80, targetPort: 80}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: other, namespace: shop}
spec: {selector: {istio: other}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
"""


def test_a_data_plane_that_istiod_makes_is_not_held_against_other_gateways() -> None:
    found = explained(MANAGED, kinds.SERVICE, "web-istio", "shop")
    assert "80 → 80 is answered by Gateway shop/web" in found.summary
    assert not found.findings
