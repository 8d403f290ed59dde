"""The cluster of `kind-configs/up` is what the other tests take it for."""

from __future__ import annotations

import pytest

from tests.e2e import lab
from tests.e2e.lab import Cluster

ISVC = "sklearn-iris.kubeflow-user-example-com"


@pytest.mark.parametrize(
    ("host", "path", "seen"),
    [
        (f"{ISVC}.example.com", "/v1/models/sklearn-iris:predict", "/v1/models/sklearn-iris:predict"),
        ("example.com", "/serving/kubeflow-user-example-com/sklearn-iris/v1/models", "/v1/models"),
    ],
)
def test_inference_service_answers_through_both_gateways(
    cluster: Cluster, host: str, path: str, seen: str
) -> None:
    """Outside → istio-ingressgateway → knative-local-gateway (cluster-local-gateway's pod) → revision."""
    echo = cluster.send(lab.ISTIO_HTTP, path, host=host, method="POST", data="{}").echo
    assert echo.pod.startswith("sklearn-iris-predictor-00001-deployment-")
    assert (echo.path, echo.method, echo.version) == (seen, "POST", "queue-proxy")
    assert echo.host == "sklearn-iris-predictor.kubeflow-user-example-com.svc.cluster.local"
    assert echo.headers["kserve-isvc-name"] == ("sklearn-iris",)
    assert "cluster-local-gateway-service-account" in echo.headers["x-forwarded-client-cert"][0]


@pytest.mark.parametrize("pod", ["plain", "meshed"])
def test_inference_service_answers_inside(cluster: Cluster, pod: str) -> None:
    """The address of the InferenceService, from a pod with and without a sidecar."""
    answer = cluster.curl_from(pod, f"http://{ISVC}.svc.cluster.local/v1/models/sklearn-iris")
    assert answer.echo.version == "queue-proxy"


@pytest.mark.parametrize("port", [lab.ISTIO_API_HTTP, lab.ENVOY_GATEWAY_HTTP])
def test_gateway_api(cluster: Cluster, port: int) -> None:
    """The same routes on Istio and on Envoy Gateway."""
    assert cluster.send(port, "/", host="cart.shop.example").echo.version == "v1"
    assert cluster.send(port, "/v2/x?a=b", host="cart.shop.example").echo.path == "/v2/x?a=b"
    assert cluster.send(port, "/", host="nobody.shop.example").status == 404


@pytest.mark.parametrize("port", [lab.ISTIO_API_HTTPS, lab.ENVOY_GATEWAY_HTTPS])
def test_gateway_api_tls(cluster: Cluster, port: int) -> None:
    """The https listeners have a certificate."""
    assert cluster.send_tls(port, "cart.shop.example", "/v2").echo.version == "v2"


def test_no_listener_is_refused(cluster: Cluster) -> None:
    """The ingress gateway's Service has ports without a listener behind them."""
    assert cluster.send(lab.ISTIO_SPARE[9004], "/").status is None


def test_settle_waits_for_a_change(cluster: Cluster, namespace: str) -> None:
    """What was applied before `settle` is in force after it."""
    cluster.apply(
        f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: new}}
spec:
  hosts: [{namespace}.example.org]
  gateways: [kubeflow/kubeflow-gateway]
  http: [{{directResponse: {{status: 418}}}}]
""",
        namespace,
    )
    cluster.settle("istio")
    assert cluster.send(lab.ISTIO_HTTP, "/", host=f"{namespace}.example.org").status == 418
