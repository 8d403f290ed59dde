"""Every command that kgdiag prints, run with the real programs and held against what it promises."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.lab import Cluster

ISVC = "sklearn-iris.kubeflow-user-example-com"
QUESTIONS = [
    ("explain", "svc/knative-local-gateway", "-n", "istio-system"),
    ("explain", "svc/istio-ingressgateway", "-n", "istio-system"),
    ("explain", "svc/cart-v1", "-n", "shop-istio"),
    ("explain", "svc/sklearn-iris", "-n", "kubeflow-user-example-com"),
    ("explain", "svc/sklearn-iris-predictor-00001", "-n", "kubeflow-user-example-com"),
    ("explain", "deploy/cluster-local-gateway", "-n", "istio-system"),
    ("explain", "pod/meshed", "-n", "clients"),
    ("explain", "pod/plain", "-n", "clients"),
    ("explain", "gateway/knative-local-gateway", "-n", "knative-serving"),
    ("explain", "gateway/kubeflow-gateway", "-n", "kubeflow"),
    ("explain", "gateway/web", "-n", "shop-istio"),
    ("explain", "gateway/web", "-n", "shop-envoy-gateway"),
    ("explain", "httproute/cart", "-n", "shop-istio"),
    ("explain", "httproute/cart", "-n", "shop-envoy-gateway"),
    ("explain", "vs/sklearn-iris", "-n", "kubeflow-user-example-com"),
    ("explain", "vs/sklearn-iris-predictor-ingress", "-n", "kubeflow-user-example-com"),
    ("explain", "isvc/sklearn-iris", "-n", "kubeflow-user-example-com"),
    ("explain", "ksvc/sklearn-iris-predictor", "-n", "kubeflow-user-example-com"),
    ("explain", "revision/sklearn-iris-predictor-00001", "-n", "kubeflow-user-example-com"),
    ("explain", "ap/cluster-local-gateway", "-n", "istio-system"),
    ("explain", "cm/inferenceservice-config", "-n", "kubeflow"),
    ("explain", "cm/config-istio", "-n", "knative-serving"),
    ("explain", "ns/istio-system"),
    ("explain", "gatewayclass/istio"),
    ("trace", f"http://{ISVC}.example.com/v1/models/sklearn-iris"),
    ("trace", f"http://{ISVC}.svc.cluster.local/v1/models/sklearn-iris", "--from", "pod/meshed.clients"),
    ("trace", "http://cart.shop.example/v2", "--via", "gateway/web.shop-envoy-gateway"),
    ("trace", "https://cart.shop.example/v2", "--via", "gateway/web.shop-istio"),
    ("trace", "http://nobody.example.com/", "--via", "svc/istio-ingressgateway.istio-system"),
    ("trace", "http://nobody.shop.example/", "--via", "gateway/web.shop-envoy-gateway"),
    ("check", "-A"),
]


def commands(document: Any) -> Iterator[dict[str, Any]]:
    """Every command of a document, wherever it stands."""
    if isinstance(document, dict):
        if {"command", "expect", "match"} <= set(document):
            yield document
        for value in document.values():
            yield from commands(value)
    elif isinstance(document, list):
        for item in document:
            yield from commands(item)


def broken(cluster: Cluster, command: dict[str, Any]) -> str:
    """What is wrong with what a command printed; "" where it is as promised."""
    argv = shlex.split(command["command"])
    if argv[0] == "curl":
        return ""  # sends a request: for people to run, not for here
    run = cluster.run(*argv)
    out, how, value = run.out.rstrip("\n"), command["match"]["how"], command["match"]["value"]
    fine = {
        "equals": lambda: out == value,
        "json": lambda: json.loads(out or "null") == json.loads(value),
        "contains": lambda: value in out or value in run.err,
        "lacks": lambda: value not in out,
        "empty": lambda: out.strip() == "",
        "lines": lambda: len([line for line in out.splitlines() if line.strip()]) == int(value),
        "any": lambda: out.strip() != "",
    }[how]
    if run.code != 0 and how != "contains" and how != "empty":
        return f"{command['command']}\n  exit {run.code}: {run.err.strip()}"
    if not fine():
        return (
            f"{command['command']}\n  promised {how} {value!r} ({command['expect']}), printed {out[:300]!r}"
        )
    return ""


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_printed_commands_keep_their_promise(cluster: Cluster, question: tuple[str, ...]) -> None:
    run = cluster.kgdiag(*question, "-o", "json")
    assert run.out, run.err
    found = {json.dumps(item, sort_keys=True): item for item in commands(json.loads(run.out))}
    if question[0] == "check":
        found = dict(list(found.items())[:60])
    else:
        assert found, "no claim comes without a command"
    with ThreadPoolExecutor(4) as pool:
        wrong = [text for text in pool.map(lambda item: broken(cluster, item), found.values()) if text]
    assert not wrong, "\n".join(wrong)


def test_no_command_changes_anything(cluster: Cluster) -> None:
    """Only verbs that read."""
    reading = {("kubectl", "get"), ("kubectl", "describe"), ("kubectl", "auth"), ("kubectl", "logs")}
    for question in QUESTIONS:
        for item in commands(json.loads(cluster.kgdiag(*question, "-o", "json").out)):
            argv = shlex.split(item["command"])
            assert (argv[0], argv[1]) in reading or argv[0] in ("istioctl", "curl"), item["command"]
