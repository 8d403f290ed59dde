"""An engineer who may read one namespace only: what was not seen is said, and is no "fine"."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.lab import Cluster

RIGHTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: kgdiag-reader, namespace: istio-system}
rules:
- apiGroups: ["", apps, discovery.k8s.io, networking.istio.io, security.istio.io]
  resources: ["*"]
  verbs: [get, list]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: kgdiag-reader, namespace: istio-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: kgdiag-reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: NAMESPACE}]
"""
EXPLAIN = ("explain", "svc/knative-local-gateway", "-n", "istio-system")


@pytest.fixture
def reader(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A user who may read istio-system and nothing else."""
    cluster.apply(RIGHTS.replace("NAMESPACE", namespace))
    yield f"system:serviceaccount:{namespace}:reader"
    cluster.delete("role,rolebinding", "kgdiag-reader", "-n", "istio-system")


def test_what_may_be_read_is_told_and_the_rest_is_named(cluster: Cluster, reader: str) -> None:
    run = cluster.kgdiag(*EXPLAIN, "--as", reader)
    assert run.code == 3, run.err
    assert "service knative-local-gateway selects cluster-local-gateway pods" in run.out
    assert "Not seen" in run.out
    assert "forbidden" in run.out


def test_forbidden_reads_stand_in_the_json(cluster: Cluster, reader: str) -> None:
    document: Any = json.loads(cluster.kgdiag(*EXPLAIN, "--as", reader, "-o", "json").out)
    statuses = {(item["kind"], item["status"]) for item in document["incomplete"]}
    assert ("Gateway", "forbidden") in statuses
    assert ("VirtualService", "forbidden") in statuses


def test_an_object_that_may_not_be_read(cluster: Cluster, reader: str) -> None:
    run = cluster.kgdiag("explain", "svc/cart-v1", "-n", "shop-istio", "--as", reader)
    assert run.code == 3
    assert "forbidden" in run.err
    assert run.out == ""


def test_a_trace_that_needs_what_may_not_be_read_is_unknown(cluster: Cluster, reader: str) -> None:
    run = cluster.kgdiag(
        "trace",
        "http://sklearn-iris.kubeflow-user-example-com.example.com/v1/models",
        "--via",
        "svc/istio-ingressgateway.istio-system",
        "--as",
        reader,
        "-o",
        "json",
    )
    assert run.code == 3, run.err
    outcomes = [path["outcome"] for path in json.loads(run.out)["paths"]]
    assert [item["result"] for item in outcomes] == ["unknown"]
    assert outcomes[0]["reason"]


def test_rules_that_could_not_be_run_are_listed(cluster: Cluster, reader: str) -> None:
    document: Any = json.loads(cluster.kgdiag("check", "-A", "--as", reader, "-o", "json").out)
    assert document["skipped"]
    assert all("forbidden" in item["reason"] for item in document["skipped"])
