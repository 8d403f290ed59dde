"""Knative's data path: activator, private Services, queue-proxy; and what files imply."""

from __future__ import annotations

from kgdiag.dialects import dialects
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Result
from tests.trace.world import only, pod, run

PUBLIC = """---
apiVersion: v1
kind: Service
metadata:
  name: m-00001
  namespace: models
  labels:
    networking.internal.knative.dev/serverlessservice: m-00001
    networking.internal.knative.dev/serviceType: Public
spec: {ports: [{name: http, port: 80, targetPort: 8012}]}
"""
PRIVATE = """---
apiVersion: v1
kind: Service
metadata:
  name: m-00001-private
  namespace: models
  labels:
    networking.internal.knative.dev/serverlessservice: m-00001
    networking.internal.knative.dev/serviceType: Private
spec: {selector: {app: m-00001}, ports: [{name: http, port: 80, targetPort: 8012}]}
"""
REVISION = pod("m-1", "models", "m-00001").replace(
    "  - {name: main,", "  - {name: queue-proxy, image: q}\n  - {name: main,"
)
ACTIVATOR = pod(
    "act-1", "knative-serving", "activator", labels="role: activator", container="activator", port=8012
)
SLICE = """---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: m, namespace: models, labels: {kubernetes.io/service-name: m-00001}}
addressType: IPv4
ports: [{name: http, port: 8012}]
endpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, name: act-1, namespace: knative-serving}}]
"""


def sks(mode: str) -> str:
    return (
        "---\napiVersion: networking.internal.knative.dev/v1alpha1\nkind: ServerlessService\n"
        f"metadata: {{name: m-00001, namespace: models}}\nspec: {{mode: {mode}}}\n"
    )


def test_the_activator_passes_on_to_the_private_service() -> None:
    path = only(run(PUBLIC + PRIVATE + REVISION + ACTIVATOR + SLICE, "http://m-00001.models/v1"))
    assert [hop.object.name for hop in path.hops] == ["m-00001", "act-1", "m-00001-private", "m-1"]
    assert path.outcome.backend and path.outcome.backend.service == Ref(
        "", "Service", "models", "m-00001-private"
    )
    assert path.hops[-1].request and path.hops[-1].request.authority == "m-00001.models"
    assert "queue-proxy passes it on to main on port 8080" in path.hops[-1].detail


def test_the_revision_that_the_headers_name() -> None:
    found = run(
        PUBLIC + PRIVATE + REVISION + ACTIVATOR,
        "http://x.y/",
        via="pod/act-1.knative-serving:8012",
        headers=["Knative-Serving-Revision: m-00001", "Knative-Serving-Namespace: models"],
    )
    assert only(found).outcome.pods == (Ref("", "Pod", "models", "m-1"),)
    seen = only(found).hops[-1].request
    assert seen and seen.authority == "x.y" and not seen.headers


def test_files_without_endpoints_go_by_the_mode() -> None:
    text = PUBLIC + PRIVATE + REVISION + ACTIVATOR
    proxied = run(text + sks("Proxy"), "http://m-00001.models/")
    assert "act-1" in [hop.object.name for hop in only(proxied).hops]
    served = run(text + sks("Serve"), "http://m-00001.models/")
    assert "act-1" not in [hop.object.name for hop in only(served).hops]
    assert only(served).outcome.pods == (Ref("", "Pod", "models", "m-1"),)
    assert only(run(PUBLIC + PRIVATE + REVISION, "http://m-00001.models/")).outcome.result is Result.DELIVERED


def test_a_sleeping_revision_is_woken_up() -> None:
    out = only(run(PUBLIC + PRIVATE + ACTIVATOR + SLICE, "http://m-00001.models/")).outcome
    assert (out.result, out.pods) == (Result.DELIVERED, ()) and "sleeps" in out.reason


def test_files_imply_the_gateway_behind_a_service() -> None:
    text = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: apps}
spec: {selector: {istio: gw}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs, namespace: apps}
spec: {hosts: ['*'], gateways: [gw], http: [{route: [{destination: {host: web}}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: front, namespace: infra}
spec: {selector: {app: gw, istio: gw}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: apps}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
""" + pod("web-1", "apps", "web")
    found = run(text, "http://x.y/", complete=False, dialects=dialects())
    path = only(found)
    assert (path.entry, path.outcome.result) == (Ref("", "Service", "infra", "front"), Result.DELIVERED)
    assert any("taken for Istio's gateway" in note for note in found.notes)
    refused = only(run(text, "http://x.y/", complete=True, dialects=dialects(), via="gateway/gw.apps"))
    assert refused.outcome.result is Result.REFUSED
