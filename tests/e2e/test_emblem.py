"""The emblem on a live cluster, whole and broken; every fault is seen by a real request too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e import lab
from tests.e2e.lab import Cluster, eventually

EMBLEM = ("explain", "svc/knative-local-gateway", "-n", "istio-system")
ISVC = "sklearn-iris.kubeflow-user-example-com.example.com"
LOCAL = "http://sklearn-iris-predictor.kubeflow-user-example-com.svc.cluster.local/v1/models/sklearn-iris"


@contextmanager
def patched(cluster: Cluster, kind: str, name: str, namespace: str, patch: dict[str, Any]) -> Iterator[None]:
    """An object of the shared world with one change, restored afterwards."""
    before = cluster.get(kind, name, namespace)
    where = (kind, name, "-n", namespace, "--type=merge", "-p")
    cluster.kubectl("patch", *where, json.dumps(patch))
    try:
        yield
    finally:
        restored = {"spec": {key: before["spec"][key] for key in patch["spec"]}}
        cluster.kubectl(
            "patch", kind, name, "-n", namespace, "--type=merge", "-p", json.dumps(_nulls(patch, restored))
        )
        cluster.settle("istio")


def _nulls(patch: dict[str, Any], restored: dict[str, Any]) -> dict[str, Any]:
    """A merge patch back: keys that the change brought and the original lacks are removed."""
    out: dict[str, Any] = {}
    for key, value in patch.items():
        old = restored.get(key) if isinstance(restored, dict) else None
        out[key] = _nulls(value, old or {}) if isinstance(value, dict) else old
    return {**restored, **out} if isinstance(restored, dict) else out


def explained(cluster: Cluster, *argv: str) -> dict[str, Any]:
    run = cluster.kgdiag(*argv, "-o", "json")
    assert run.out, run.err
    document: dict[str, Any] = json.loads(run.out)
    return document


def test_the_emblem_is_told_in_its_first_lines(cluster: Cluster) -> None:
    run = cluster.kgdiag(*EMBLEM)
    assert run.code == 0, run.err
    lines = run.out.splitlines()
    assert lines[0] == "Service istio-system/knative-local-gateway"
    assert lines[1].startswith("service knative-local-gateway selects cluster-local-gateway pods")
    words = " ".join(run.out.split())
    for fact in (
        "app=cluster-local-gateway",
        "app=knative-local-gateway",
        "8081",
        "Gateway knative-serving/knative-local-gateway",
        "inferenceservice-config",
        "sklearn-iris",
    ):
        assert fact in words


def test_the_same_cluster_gives_the_same_bytes(cluster: Cluster) -> None:
    assert cluster.kgdiag(*EMBLEM, "-o", "json").out == cluster.kgdiag(*EMBLEM, "-o", "json").out


def test_a_snapshot_says_what_the_cluster_said(cluster: Cluster, tmp_path: Any) -> None:
    file = str(tmp_path / "world.kgdiag")
    saved = cluster.kgdiag("snapshot", "save", file)
    assert saved.code == 0, saved.err
    live, kept = explained(cluster, *EMBLEM), explained(cluster, *EMBLEM, "-f", file)
    # Live, what would take many more requests is not read and noted; a snapshot has it at hand.
    del live["notes"], kept["notes"]
    assert kept == live


def test_selector_typo(cluster: Cluster) -> None:
    """The Service's selector matches nothing: its cluster address refuses connections."""
    typo = {"spec": {"selector": {"app": "cluster-local-gatewy"}}}
    with patched(cluster, "service", "knative-local-gateway", "istio-system", typo):
        run = eventually(lambda: cluster.kgdiag(*EMBLEM), lambda run: run.code == 1, seconds=20)
        assert "KG102" in run.out
        assert "cluster-local-gateway" in run.out
        assert cluster.curl_from("plain", LOCAL).status is None
        traced = cluster.kgdiag("trace", LOCAL, "--from", "pod/plain.clients", "-o", "json")
        assert traced.code == 1
        outcome = json.loads(traced.out)["paths"][0]["outcome"]
        assert (outcome["result"], outcome["status"]) == ("refused", None)


def test_gateway_on_other_pods(cluster: Cluster) -> None:
    """Half of the patch: the Gateway went to other pods than the Service. KServe's route gets 503."""
    other = {"spec": {"selector": {"app": None, "istio": "ingressgateway"}}}
    with patched(cluster, "gateways.networking.istio.io", "knative-local-gateway", "knative-serving", other):
        cluster.settle("istio")
        run = cluster.kgdiag(*EMBLEM)
        assert run.code == 1
        assert "KG101" in run.out
        answer = eventually(
            lambda: cluster.send(lab.ISTIO_HTTP, "/v1/models/sklearn-iris", host=ISVC),
            lambda got: got.status == 503,
        )
        assert answer.status == 503
        traced = cluster.kgdiag("trace", f"http://{ISVC}/v1/models/sklearn-iris", "-o", "json")
        assert traced.code == 1
        found = json.loads(traced.out)
        assert found["paths"][0]["outcome"]["status"] == 503
        assert any(item["rule"] == "KG101" for item in found["findings"])


def test_two_services_fight_over_port_80(cluster: Cluster) -> None:
    """Without the label the older of two Services decides where the Gateway's server 80 listens."""
    label = "experimental.istio.io/disable-gateway-port-translation"
    where = ("service", "knative-local-gateway", "-n", "istio-system")
    cluster.kubectl("label", *where, f"{label}-")
    try:
        run = cluster.kgdiag("check", "-n", "istio-system", "--only", "KG108", "-o", "json")
        findings = json.loads(run.out)["findings"]
        assert [item["rule"] for item in findings] == ["KG108"]
    finally:
        cluster.kubectl("label", *where, f"{label}=true", "--overwrite")


def test_pods_that_are_not_ready(cluster: Cluster, namespace: str) -> None:
    """A Service whose pods never become ready."""
    cluster.apply(NOT_READY, namespace)
    pod = eventually(
        lambda: json.loads(cluster.kubectl("get", "pod", "-n", namespace, "-o", "json"))["items"],
        lambda pods: bool(pods) and pods[0]["status"].get("phase") == "Running",
        seconds=90,
    )
    assert pod
    run = cluster.kgdiag("explain", "svc/web", "-n", namespace)
    assert run.code == 1
    assert "KG103" in run.out
    assert cluster.curl_from("plain", f"http://web.{namespace}.svc.cluster.local/").status is None


NOT_READY = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: echo
        image: docker.io/istio/app:1.31.0
        imagePullPolicy: IfNotPresent
        args: ["--port", "8080"]
        readinessProbe: {httpGet: {path: /, port: 9}, periodSeconds: 1}
"""


@pytest.mark.parametrize("output", ["text", "wide", "json", "yaml", "markdown"])
def test_every_format(cluster: Cluster, output: str) -> None:
    run = cluster.kgdiag(*EMBLEM, "-o", output)
    assert run.code == 0
    assert "cluster-local-gateway" in run.out
