"""What goes wrong between a person and a cluster: each is said in words, quickly and without a traceback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.lab import Cluster, Run

EXPLAIN = ("explain", "svc/knative-local-gateway", "-n", "istio-system")


def said(run: Run, code: int, *words: str) -> None:
    assert run.code == code, (run.code, run.err)
    assert "Traceback" not in run.err
    assert run.out == ""
    for word in words:
        assert word in run.err


@pytest.fixture
def kubeconfig(cluster: Cluster, tmp_path: Path) -> Any:
    """Write a changed copy of the cluster's kubeconfig: (change) -> path."""

    def write(change: Any) -> str:
        config = yaml.safe_load(Path(cluster.kubeconfig).read_text())
        change(config)
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return str(path)

    return write


def test_wrong_context_names_near_ones(cluster: Cluster) -> None:
    said(cluster.kgdiag(*EXPLAIN, "--context", "kind-kgdiagg"), 2, "kind-kgdiagg", "kind-kgdiag")


def test_missing_kubeconfig(cluster: Cluster, tmp_path: Path) -> None:
    said(cluster.kgdiag(*EXPLAIN, "--kubeconfig", str(tmp_path / "no")), 2, str(tmp_path / "no"))


def test_unreachable_server(cluster: Cluster, kubeconfig: Any) -> None:
    def change(config: Any) -> None:
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"

    start = time.monotonic()
    said(
        cluster.kgdiag(*EXPLAIN, "--kubeconfig", kubeconfig(change), "--request-timeout", "3s"),
        3,
        "127.0.0.1:9",
    )
    assert time.monotonic() - start < 60


def test_server_that_is_not_trusted(cluster: Cluster, kubeconfig: Any) -> None:
    def change(config: Any) -> None:
        del config["clusters"][0]["cluster"]["certificate-authority-data"]

    said(cluster.kgdiag(*EXPLAIN, "--kubeconfig", kubeconfig(change)), 3, "certificate")


def test_token_that_is_not_known(cluster: Cluster, kubeconfig: Any) -> None:
    def change(config: Any) -> None:
        config["users"][0]["user"] = {"token": "expired"}

    said(cluster.kgdiag(*EXPLAIN, "--kubeconfig", kubeconfig(change)), 3, "credentials")


def test_object_that_is_not_there_names_near_ones(cluster: Cluster) -> None:
    run = cluster.kgdiag("explain", "svc/knative-local-gatway", "-n", "istio-system")
    said(run, 2, "knative-local-gateway")


def test_object_of_another_namespace(cluster: Cluster) -> None:
    said(cluster.kgdiag("explain", "svc/knative-local-gateway", "-n", "default"), 2, "istio-system")


def test_kind_that_nobody_knows(cluster: Cluster) -> None:
    said(cluster.kgdiag("explain", "srv/x", "-n", "default"), 2, "srv")


def test_kind_that_only_the_server_knows(cluster: Cluster) -> None:
    run = cluster.kgdiag("explain", "serviceaccount/default", "-n", "istio-system")
    assert run.code == 0, run.err
    run = cluster.kgdiag("explain", "lease/istio-leader", "-n", "istio-system")
    assert run.code in (0, 2), run.err
    assert "Traceback" not in run.err


def test_two_kinds_of_one_name(cluster: Cluster, namespace: str) -> None:
    """Istio's and Gateway API's Gateway of the same name: say which is meant."""
    cluster.apply(
        """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: both}
spec:
  selector: {istio: nobody}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["a.example"]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: both}
spec: {gatewayClassName: nobody, listeners: [{name: http, port: 80, protocol: HTTP}]}
""",
        namespace,
    )
    said(cluster.kgdiag("explain", "gateway/both", "-n", namespace), 2, "gateway.networking.istio.io/both")
    for group in ("networking.istio.io", "gateway.networking.k8s.io"):
        run = cluster.kgdiag("explain", f"gateway.{group}/both", "-n", namespace)
        assert run.code in (0, 1), run.err
