"""Requests that fail in each way that a proxy has, and what explain-log and logs make of the lines."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.lab import APP_IMAGE, Answer, Cluster, eventually

MANIFESTS = """
apiVersion: v1
kind: Pod
metadata:
  name: gw
  labels: {app: gw, istio: NAMESPACE, sidecar.istio.io/inject: "true"}
  annotations: {inject.istio.io/templates: gateway}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: istio-proxy, image: auto, imagePullPolicy: IfNotPresent, resources: {requests: {cpu: 10m}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web, sidecar.istio.io/inject: "true"}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: IMAGE, imagePullPolicy: IfNotPresent, args: [--port, "8080"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: bare, labels: {app: bare}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: IMAGE, imagePullPolicy: IfNotPresent, args: [--port, "8080"]}]
---
apiVersion: v1
kind: Service
metadata: {name: gw}
spec: {selector: {app: gw}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: bare}
spec: {selector: {app: bare}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: dead}
spec: {selector: {app: bare}, ports: [{name: http, port: 80, targetPort: 7777}]}
---
apiVersion: v1
kind: Service
metadata: {name: deaf}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 7777}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: NAMESPACE}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.NAMESPACE.example"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.NAMESPACE.example]
  gateways: [edge]
  http:
  - {match: [{uri: {prefix: /missing}}], route: [{destination: {host: missing, port: {number: 80}}}]}
  - {match: [{uri: {prefix: /nobody}}], route: [{destination: {host: nobody, port: {number: 80}}}]}
  - {match: [{uri: {prefix: /dead}}], route: [{destination: {host: dead, port: {number: 80}}}]}
  - {match: [{uri: {prefix: /deaf}}], route: [{destination: {host: deaf, port: {number: 80}}}]}
  - {match: [{uri: {prefix: /bare}}], route: [{destination: {host: bare, port: {number: 80}}}]}
  - match: [{uri: {prefix: /renamed}}]
    rewrite: {authority: elsewhere.example}
    route: [{destination: {host: nobody, port: {number: 80}}}]
  - match: [{uri: {prefix: /web}}, {uri: {prefix: /admin}}]
    route: [{destination: {host: web, port: {number: 80}}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin}
spec:
  selector: {matchLabels: {app: web}}
  action: DENY
  rules: [{to: [{operation: {paths: ["/admin*"]}}]}]
"""


@dataclass(frozen=True)
class Lab:
    cluster: Cluster
    namespace: str

    @property
    def host(self) -> str:
        return f"shop.{self.namespace}.example"

    def send(self, path: str, host: str = "") -> tuple[str, Answer]:
        """One request to the gateway, under a path that marks it."""
        marked = f"{path}-{secrets.token_hex(4)}"
        url = f"http://gw.{self.namespace}.svc.cluster.local{marked}"
        return marked, self.cluster.curl_from("plain", url, headers={"Host": host or self.host})

    def line(self, pod: str, path: str) -> str:
        """The access log line of a request at a pod, as soon as it is written."""
        found = eventually(lambda: self.cluster.access_log(self.namespace, pod, path), bool)
        return found[0]

    def explained(self, path: str, pod: str = "gw") -> dict[str, Any]:
        """What ``logs`` says of one request, once its line at a pod is there."""
        self.line(pod, path)
        run = self.cluster.kgdiag("logs", "gateway/edge", "-n", self.namespace, "--path", path, "-o", "json")
        document = run.json()
        assert len(document["requests"]) == 1, run.out
        found: dict[str, Any] = document["requests"][0]
        return found | {"code": run.code}

    def pasted(self, text: str, *arguments: str) -> dict[str, Any]:
        """What ``explain-log`` says of pasted text."""
        run = self.cluster.run(
            sys.executable, "-m", "kgdiag", "explain-log", "-o", "json", *arguments, text=text
        )
        assert run.out, run.err
        document: dict[str, Any] = run.json()
        return document | {"code": run.code}


@pytest.fixture(scope="module")
def lab(cluster: Cluster) -> Iterator[Lab]:
    with cluster.namespace("log") as name:
        cluster.apply(MANIFESTS.replace("NAMESPACE", name).replace("IMAGE", APP_IMAGE), name)
        cluster.wait_pods(name, seconds=300)
        found = Lab(cluster, name)
        eventually(lambda: found.send("/web")[1].status, lambda status: status == 200, seconds=120)
        eventually(lambda: found.send("/admin")[1].status, lambda status: status == 403, seconds=120)
        yield found


def names(causes: list[dict[str, Any]]) -> set[str]:
    return {f"{ref['kind']} {ref['namespace']}/{ref['name']}" for cause in causes for ref in cause["objects"]}


def flags(request: dict[str, Any]) -> set[str]:
    return {flag["flag"] for hop in request["hops"] for flag in hop["flags"]}


def test_delivered_over_gateway_and_sidecar(lab: Lab) -> None:
    path, answer = lab.send("/web")
    assert answer.status == 200
    found = lab.explained(path, "web")
    assert found["ended"] == "answered"
    assert [hop["role"] for hop in found["hops"]] == ["gateway", "sidecar-inbound"]
    assert [hop["proxy"]["name"] for hop in found["hops"]] == ["gw", "web"]
    assert found["hops"][0]["service"]["name"] == "web"
    assert found["by"]["name"] == "web"
    assert found["code"] == 0


def test_no_route(lab: Lab) -> None:
    host = f"other.{lab.namespace}.example"
    path, answer = lab.send("/x", host)
    assert answer.status == 404
    found = lab.explained(path)
    assert (found["ended"], found["status"], found["code"]) == ("refused", 404, 1)
    assert flags(found) == {"NR"}
    assert found["by"]["name"] == "gw"
    assert f"Gateway {lab.namespace}/edge" in names(found["causes"])
    assert host in found["causes"][0]["text"]


def test_no_route_for_a_path(lab: Lab) -> None:
    path, answer = lab.send("/nowhere")
    assert answer.status == 404
    found = lab.pasted(lab.line("gw", path))["requests"][0]
    assert f"VirtualService {lab.namespace}/shop" in names(found["causes"])


def test_missing_destination(lab: Lab) -> None:
    path, answer = lab.send("/missing")
    assert answer.status == 503
    found = lab.explained(path)
    assert flags(found) == {"NC"}
    assert f"VirtualService {lab.namespace}/shop" in names(found["causes"])
    assert f"missing.{lab.namespace}" in found["causes"][0]["text"]


def test_no_endpoints(lab: Lab) -> None:
    path, answer = lab.send("/nobody")
    assert answer.status == 503
    found = lab.explained(path)
    assert flags(found) == {"UH"}
    assert found["hops"][0]["service"]["name"] == "nobody"
    assert f"Service {lab.namespace}/nobody" in names(found["causes"])


def test_the_log_has_the_host_after_rewrites(lab: Lab) -> None:
    path, answer = lab.send("/renamed")
    assert answer.status == 503
    found = lab.explained(path)
    assert found["authority"] == "elsewhere.example"
    assert f"Service {lab.namespace}/nobody" in names(found["causes"])
    assert not any("as it is declared now" in cause["text"] for cause in found["causes"])


def test_denied_names_the_policy_and_its_rule(lab: Lab) -> None:
    path, answer = lab.send("/admin")
    assert answer.status == 403
    found = lab.explained(path, "web")
    assert (found["ended"], found["code"]) == ("refused", 1)
    assert (found["by"]["name"], found["author"]) == ("web", 1)
    assert names(found["causes"]) == {f"AuthorizationPolicy {lab.namespace}/no-admin"}
    assert "rule 0" in found["causes"][0]["text"]
    rules = [item for item in found["causes"][0]["evidence"] if item["field"] == "spec.rules[0]"]
    assert rules[0]["value"] == {"to": [{"operation": {"paths": ["/admin*"]}}]}


def test_connection_refused_by_a_pod_without_sidecar(lab: Lab) -> None:
    path, answer = lab.send("/dead")
    assert answer.status == 503
    found = lab.explained(path)
    assert flags(found) == {"URX", "UF"}
    assert found["hops"][0]["upstream_pod"]["name"] == "bare"
    assert f"Service {lab.namespace}/dead" in names(found["causes"])
    assert "nothing listens" in found["summary"]


def test_connection_refused_behind_a_sidecar(lab: Lab) -> None:
    path, answer = lab.send("/deaf")
    assert answer.status == 503
    line = lab.line("gw", path)
    alone = lab.pasted(line)
    assert alone["requests"][0]["ended"] == "unknown"  # the sidecar or the application
    assert alone["code"] == 3
    found = lab.explained(path, "web")
    assert found["ended"] == "refused"
    assert [hop["proxy"]["name"] for hop in found["hops"]][:2] == ["gw", "web"]
    assert found["by"]["name"] == "web"
    assert {f"Pod {lab.namespace}/web", f"Service {lab.namespace}/deaf"} <= names(found["causes"])


def test_lines_pasted_from_two_pods_are_one_request(lab: Lab) -> None:
    path, _ = lab.send("/web")
    text = "\n".join([lab.line("web", path), lab.line("gw", path)])
    found = lab.pasted(text)
    assert [[hop["proxy"]["name"] for hop in one["hops"]] for one in found["requests"]] == [["gw", "web"]]
    assert found["code"] == 0


def test_filters(lab: Lab) -> None:
    bad, _ = lab.send("/nobody")
    good, _ = lab.send("/bare")
    lab.line("gw", good)
    arguments = ("logs", "deploy/gw", "svc/gw", "pod/gw", "gw")
    for target in arguments[2:]:
        run = lab.cluster.kgdiag("logs", target, "-n", lab.namespace, "--status", "5xx", "-o", "json")
        paths = {request["path"] for request in run.json()["requests"]}
        assert bad in paths, run.err
        assert good not in paths
    found = lab.cluster.kgdiag(
        "logs", "-n", lab.namespace, "--host", lab.host, "--path", good, "-o", "json"
    ).json()
    (request,) = found["requests"]
    by_id = lab.cluster.kgdiag("logs", "-n", lab.namespace, "--request-id", request["ids"][0], "-o", "json")
    assert [one["path"] for one in by_id.json()["requests"]] == [good]


def test_follow(lab: Lab) -> None:
    command = [sys.executable, "-m", "kgdiag", "logs", "gw", "-n", lab.namespace, "--follow", "-o", "json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=lab.cluster.environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert "following" in process.stderr.readline()
        path, _ = lab.send("/nobody")
        for line in process.stdout:
            found = json.loads(line)["requests"]
            if any(one["path"] == path for one in found):
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 1  # a proxy refused a request


def probed(lab: Lab, path: str, *arguments: str) -> dict[str, Any]:
    """A trace with ``--probe`` of a request through the gateway."""
    url = f"http://{lab.host}{path}"
    via = () if "--from" in arguments else ("--via", f"svc/gw.{lab.namespace}")
    run = lab.cluster.kgdiag("trace", url, *via, "--probe", "-o", "json", *arguments)
    assert run.out, run.err
    document: dict[str, Any] = run.json()
    return document | {"code": run.code, "rules": [item["rule"] for item in document["findings"]]}


def test_probe_of_what_is_delivered(lab: Lab) -> None:
    found = probed(lab, f"/bare-{secrets.token_hex(4)}", "--truth", "effect")
    assert any(note.startswith("probed with GET") and note.endswith(": 200") for note in found["notes"])
    assert any(f"200 from the application of pod {lab.namespace}/bare" in note for note in found["notes"])
    assert not {"KG951", "KG952"} & set(found["rules"])


def test_probe_of_what_is_refused_as_predicted(lab: Lab) -> None:
    found = probed(lab, "/nowhere")
    assert any(note.endswith(": 404") for note in found["notes"])
    assert "KG951" not in found["rules"]


def test_probe_finds_what_is_declared_nowhere(lab: Lab) -> None:
    """That nobody listens on a targetPort stands in no object: the way says delivered, the answer is 503."""
    found = probed(lab, "/dead")
    assert found["code"] == 1
    finding = next(item for item in found["findings"] if item["rule"] == "KG951")
    assert finding["severity"] == "error"
    assert finding["message"].startswith("predicted: delivered;")


def test_probe_from_a_pod(lab: Lab) -> None:
    url = f"http://web.{lab.namespace}/web"
    run = lab.cluster.kgdiag("trace", url, "--from", "pod/plain.clients", "--probe", "-o", "json")
    assert any("curl in container client" in note and note.endswith(": 200") for note in run.json()["notes"])


def test_probe_sends_nothing_that_changes_something_unless_it_is_told_to(lab: Lab) -> None:
    path = f"/web-{secrets.token_hex(4)}"
    url, via = f"http://{lab.host}{path}", ("--via", f"svc/gw.{lab.namespace}")
    refused = lab.cluster.kgdiag("trace", url, *via, "-X", "DELETE", "--probe")
    assert (refused.code, refused.out) == (2, "")
    lab.cluster.kgdiag("trace", url, *via, "--truth", "intent")
    lab.cluster.kgdiag("trace", url, *via, "--probe", "--probe-method", "DELETE")
    lab.line("gw", path)
    lines = lab.cluster.access_log(lab.namespace, "gw", path)
    assert [line.split('"')[1].split()[0] for line in lines] == ["DELETE"]


RIGHTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods, services, endpoints], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: NAMESPACE}]
"""


def test_logs_that_may_not_be_read_are_no_silence(lab: Lab) -> None:
    lab.cluster.apply(RIGHTS.replace("NAMESPACE", lab.namespace), lab.namespace)
    user = f"system:serviceaccount:{lab.namespace}:reader"
    run = eventually(
        lambda: lab.cluster.kgdiag("logs", "gw", "-n", lab.namespace, "--as", user, "-o", "json"),
        lambda run: bool(run.out),
    )
    assert run.code == 3
    read = next(item for item in run.json()["incomplete"] if item["kind"] == "PodLog")
    assert (read["status"], read["name"]) == ("forbidden", "gw")


def test_a_probe_that_is_forbidden_is_no_answer(lab: Lab) -> None:
    lab.cluster.apply(RIGHTS.replace("NAMESPACE", lab.namespace), lab.namespace)
    user = f"system:serviceaccount:{lab.namespace}:reader"
    found = probed(lab, "/web", "--as", user)
    assert any("forbidden" in note for note in found["notes"] if note.startswith("not probed"))
    assert found["code"] == 3
    assert not {"KG951", "KG952"} & set(found["rules"])
