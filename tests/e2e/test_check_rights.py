"""`check --rbac` on a real API server: the role that it prints is enough, and less is said to be less."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.lab import Cluster

ACCOUNT = "kgdiag-rights"


def kubectl(cluster: Cluster, *args: str, stdin: str = "") -> str:
    return subprocess.run(
        ["kubectl", "--kubeconfig", str(cluster.kubeconfig), *args],
        input=stdin, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def kgdiag(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kgdiag", *args], capture_output=True, text=True, check=False
    )


def role(*options: str) -> Any:
    run = kgdiag("check", "--rbac", *options)
    assert run.returncode == 0, run.stderr
    return yaml.safe_load(run.stdout)


class Account:
    """A service account with one ClusterRole, and a kubeconfig of its own."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.cluster, self.namespace, self.folder = cluster, namespace, folder
        self.name = f"{ACCOUNT}-{namespace}"
        kubectl(cluster, "create", "serviceaccount", ACCOUNT, "-n", namespace)
        token = kubectl(cluster, "create", "token", ACCOUNT, "-n", namespace).strip()
        config = yaml.safe_load(kubectl(cluster, "config", "view", "--raw", "--minify"))
        config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.kubeconfig.chmod(0o600)

    def grant(self, document: Any) -> None:
        document["metadata"]["name"] = self.name
        subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.namespace}
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": self.name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.name},
            "subjects": [subject],
        }
        kubectl(self.cluster, "apply", "-f", "-", stdin=yaml.safe_dump_all([document, binding]))

    def revoke(self) -> None:
        kubectl(self.cluster, "delete", "clusterrole,clusterrolebinding", self.name, "--ignore-not-found")

    def check(self, *options: str) -> tuple[int, Any]:
        run = kgdiag("check", "-A", "-o", "json", "--kubeconfig", str(self.kubeconfig), *options)
        assert run.stdout, run.stderr
        return run.returncode, json.loads(run.stdout)


@pytest.fixture
def account(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Account]:
    made = Account(cluster, namespace, tmp_path)
    try:
        yield made
    finally:
        made.revoke()


def test_the_printed_role_is_enough(account: Account) -> None:
    account.grant(role())
    code, document = account.check()
    assert document["skipped"] == []
    assert document["incomplete"] == []
    assert code in (0, 1)


def test_the_role_of_one_rule_is_enough_for_it_and_not_for_others(account: Account) -> None:
    account.grant(role("--only", "KG110,KG102"))
    _, document = account.check("--only", "KG110,KG102")
    assert document["skipped"] == document["incomplete"] == []
    code, document = account.check("--only", "KG110,KG301")
    assert [item["rule"] for item in document["skipped"]] == ["KG301"]
    assert "virtualservices.networking.istio.io" in document["skipped"][0]["reason"]
    assert "forbidden" in document["skipped"][0]["reason"]
    assert document["incomplete"]
    assert code == 3 or any(item["severity"] == "error" for item in document["findings"])


def test_without_any_right_there_is_no_verdict(account: Account) -> None:
    code, document = account.check()
    assert code == 3
    assert document["findings"] == []
    assert {item["reason"].rpartition(" ")[2] for item in document["skipped"]} == {"(forbidden)"}
