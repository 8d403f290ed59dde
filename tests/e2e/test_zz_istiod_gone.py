"""What is said while no istiod runs and things change. Last of all, since the whole cluster is without it.

Only where nobody else uses the cluster: KGDIAG_E2E_ALONE=1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.lab import Cluster, eventually
from tests.e2e.test_effect import APPS, agrees, statuses, traced

pytestmark = pytest.mark.skipif(
    os.environ.get("KGDIAG_E2E_ALONE") != "1", reason="istiod is stopped: KGDIAG_E2E_ALONE=1 allows it"
)

NEW = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: late}
spec:
  hostnames: [late-HOST]
  parentRefs: [{name: web, namespace: shop-istio}]
  rules: [{backendRefs: [{name: v1, port: 80}]}]
"""


@pytest.fixture(scope="module")
def apps(cluster: Cluster) -> Iterator[str]:
    """Routes that are in effect; then istiod is stopped, and started again in the end."""
    with cluster.namespace("eff", istio_injection="enabled") as name:
        cluster.apply(APPS.replace("HOST", f"{name}.eff.example"), name)
        cluster.wait_pods(name)
        cluster.settle("istio", "istio-api")
        agrees(cluster, f"http://vs-{name}.eff.example/split")
        try:
            cluster.kubectl("scale", "deployment/istiod", "-n", "istio-system", "--replicas=0")
            eventually(lambda: _istiods(cluster), lambda pods: not pods, seconds=90, pause=1)
            yield name
        finally:
            cluster.kubectl("scale", "deployment/istiod", "-n", "istio-system", "--replicas=1")
            cluster.kubectl(
                "rollout", "status", "deployment/istiod", "-n", "istio-system", "--timeout=180s", timeout=200
            )


def _istiods(cluster: Cluster) -> str:
    return cluster.kubectl("get", "pod", "-n", "istio-system", "-l", "app=istiod", "-o", "name").strip()


def said(document: Any) -> dict[str, str]:
    return {one["rule"]: one["message"] for one in document["findings"]}


def test_what_has_not_changed_is_no_difference(cluster: Cluster, apps: str) -> None:
    agrees(cluster, f"http://{apps}.eff.example/split")


def test_a_route_that_was_never_sent(cluster: Cluster, apps: str) -> None:
    cluster.apply(NEW.replace("HOST", f"{apps}.eff.example"), apps)
    found = traced(cluster, f"http://late-{apps}.eff.example/")
    assert statuses(found) == {404}
    assert "no istiod runs" in said(found)["KG901"]


def test_a_deleted_route_that_is_still_in_effect(cluster: Cluster, apps: str) -> None:
    cluster.kubectl("delete", "virtualservice", "web", "-n", apps)
    found = traced(cluster, f"http://vs-{apps}.eff.example/split")
    assert {one["outcome"]["result"] for one in found["paths"]} == {"delivered"}
    assert "no istiod runs" in said(found)["KG902"]
