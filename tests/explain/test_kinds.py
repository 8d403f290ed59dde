"""One explanation of each kind that people ask about: verdict, tables, who leads there, proofs."""

from __future__ import annotations

import pytest

from kgdiag.explain import explainers
from kgdiag.model import kinds
from kgdiag.model.explanation import Explanation
from kgdiag.model.finding import Match
from kgdiag.model.kind import Kind
from tests.explain.support import EXAMPLES, commands, down, explained, table, up

KUBEFLOW = (EXAMPLES / "kubeflow.yaml").read_text()

SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-v1, namespace: shop}
spec:
  selector: {matchLabels: {app: web, version: v1}}
  template:
    metadata: {labels: {app: web, version: v1}}
    spec:
      containers: [{name: app, image: "web:1", ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: everything, namespace: istio-system}
spec: {host: "*.local", trafficPolicy: {tls: {mode: DISABLE}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  http:
  - match: [{uri: {prefix: /v2}, headers: {x-beta: {exact: "1"}}}]
    route: [{destination: {host: web, subset: v2}}]
  - route: [{destination: {host: web, subset: v1}, weight: 90}, {destination: {host: nowhere}, weight: 10}]
  - redirect: {authority: other.example}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  action: ALLOW
  rules:
  - from: [{source: {namespaces: [shop], notPrincipals: ["*/sa/guest"]}}]
    to: [{operation: {methods: [GET], paths: [/api/*]}}]
    when: [{key: "request.headers[x]", values: ["1"]}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, jwtRules: [{issuer: "https://issuer.example"}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: shop}
spec:
  hosts: [api.example.com]
  exportTo: ["."]
  resolution: DNS
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop}
spec: {egress: [{hosts: ["./*", "istio-system/*"]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {team: a}}
      podSelector: {matchLabels: {role: client}}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    ports: [{port: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  ingressClassName: nginx
  rules:
  - host: web.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}
      - {path: /old, pathType: Prefix, backend: {service: {name: web, port: {number: 8080}}}}
"""


def shop(kind: Kind, name: str, namespace: str = "shop") -> Explanation:
    return explained(SHOP, kind, name, namespace)


# -- workloads -------------------------------------------------------------------------------------------


def test_pod() -> None:
    found = shop(kinds.POD, "web-v1")
    assert "it has a sidecar, which takes mTLS only (STRICT)" in found.summary
    assert found.summary.endswith("1 Service selects it: web")
    said = {row["kind"]: row["what it says"] for row in table(found, "Policies in force")}
    assert said == {
        "PeerAuthentication": "mTLS STRICT",
        "AuthorizationPolicy": "ALLOW, 1 rule",
        "RequestAuthentication": "verifies tokens of https://issuer.example",
        "Sidecar": "its proxies know only ./* and istio-system/*",
        "NetworkPolicy": "limits ingress (if enforced)",
    }
    assert ("selected-by", "Service shop/web") in up(found)


def test_gateway_pod() -> None:
    found = explained(KUBEFLOW, kinds.POD, "cluster-local-gateway", "istio-system")
    assert "it is an Istio gateway: listens on 8080 and 8081" in found.summary
    assert {row["listens on"] for row in table(found, "Listeners")} == {"8080", "8081"}


def test_deployment() -> None:
    found = shop(kinds.DEPLOYMENT, "web-v1")
    assert found.summary.startswith("Deployment web-v1 runs 1 pod (1/1 assumed ready); it has a sidecar")
    assert found.summary.endswith("1 Service leads to it: web")
    assert "Pod shop/web-v1" in down(found)


# -- Istio -----------------------------------------------------------------------------------------------


def test_istio_gateway() -> None:
    found = explained(KUBEFLOW, kinds.ISTIO_GATEWAY, "knative-local-gateway", "knative-serving")
    assert found.summary == (
        "gateway knative-local-gateway opens 8081 on cluster-local-gateway pods (1/1 assumed ready); "
        "2 VirtualServices are bound to it"
    )
    row = table(found, "Servers")[0]
    assert (row["listens on"], row["reached through"]) == ("8081", "istio-system/knative-local-gateway:80")
    assert ("referred-to-by", "ConfigMap kubeflow/inferenceservice-config") in up(found)
    assert ("binds", "VirtualService models/iris") in up(found)


def test_istio_gateway_without_pods() -> None:
    text = KUBEFLOW.replace("selector: {istio: ingressgateway}", "selector: {istio: typo}")
    whole = explained(text, kinds.ISTIO_GATEWAY, "kubeflow-gateway", "kubeflow")
    assert "no gateway pod has istio=typo" in whole.summary
    some = explained(text, kinds.ISTIO_GATEWAY, "kubeflow-gateway", "kubeflow", complete=False)
    assert "none in these files" in some.summary


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ("{port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}", "listens only with one"),
        ("{port: {number: 81, name: http, protocol: HTTP}, hosts: ['*']}", "unprivileged"),
    ],
)
def test_servers_that_open_nothing(server: str, why: str) -> None:
    port = '  - {port: {number: 8081, name: http, protocol: HTTP}, hosts: ["*"]}'
    text = KUBEFLOW.replace(port, f"  - {server}")
    env = '{name: ISTIO_META_UNPRIVILEGED_POD, value: "true"}'
    text = text.replace("args: [proxy, router],", f"args: [proxy, router], env: [{env}],")
    found = explained(text, kinds.ISTIO_GATEWAY, "knative-local-gateway", "knative-serving")
    assert why in table(found, "Servers")[0]["listens on"]


def test_virtual_service() -> None:
    found = shop(kinds.VIRTUAL_SERVICE, "web")
    rows = table(found, "http routes, tried in this order")
    assert rows[0]["matches"] == "path prefix /v2 and header x-beta 1"
    assert rows[0]["leads to"].startswith("web.shop subset v2 (0/0 ready")
    assert rows[1]["leads to"].startswith("90% web.shop subset v1 (1/1 assumed ready")
    assert rows[1]["leads to"].endswith("10% nowhere.shop: does not exist")
    assert rows[2]["matches"].startswith("everything (never: ")
    assert tuple(table(found, "Hosts")[0].values())[:2] == ("mesh", "all sidecars that see it")


def test_virtual_service_on_a_gateway_that_is_missing() -> None:
    text = KUBEFLOW.replace(
        "gateways: [knative-serving/knative-local-gateway]\n  hosts", "gateways: [gone]\n  hosts"
    )
    found = explained(text, kinds.VIRTUAL_SERVICE, "iris-predictor-ingress", "models")
    assert [row["pods"] for row in table(found, "Hosts")] == ["does not exist"]


def test_destination_rule() -> None:
    found = shop(kinds.DESTINATION_RULE, "web")
    whole = explained(
        SHOP.replace(", {name: v2, labels: {version: v2}}", ""), kinds.DESTINATION_RULE, "web", "shop"
    )
    assert whole.summary == (
        "destination rule web is for Service shop/web; it applies to requests from everywhere in the mesh, "
        "unless the client's namespace has a rule of its own; clients speak ISTIO_MUTUAL; subset v1"
    )
    pods = {row["subset"]: row["pods"] for row in table(found, "Subsets")}
    assert pods == {"v1": "1 pod, 1/1 assumed ready", "v2": "no pod: requests get 503"}
    row = table(found, "Which rule clients take")[0]
    assert (row["rule"], row["why"]) == ("this one", "hides istio-system/everything")


def test_peer_authentication() -> None:
    found = shop(kinds.PEER_AUTHENTICATION, "default")
    assert found.summary == (
        "peer authentication default: mTLS STRICT; for all workloads of namespace shop: "
        "web pods (1/1 assumed ready)"
    )


def test_authorization_policy() -> None:
    found = shop(kinds.AUTHORIZATION_POLICY, "web")
    row = table(found, "ALLOW where one rule holds")[0]
    assert row["from"] == "namespaces shop and not principals */sa/guest"
    assert row["to"] == "methods GET and paths /api/*"
    assert row["when"] == "request.headers[x] is 1"


def test_an_allow_policy_without_rules_allows_nothing() -> None:
    text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a, namespace: b}"
    assert (
        ": allows nothing; for all workloads of namespace b"
        in explained(text, kinds.AUTHORIZATION_POLICY, "a", "b").summary
    )


def test_request_authentication_service_entry_and_sidecar() -> None:
    assert "verifies tokens of https://issuer.example" in shop(kinds.REQUEST_AUTHENTICATION, "jwt").summary
    entry = shop(kinds.SERVICE_ENTRY, "api").summary
    assert "requests go to what DNS says of api.example.com" in entry and entry.endswith(
        "seen from namespace shop"
    )
    assert "know only ./* and istio-system/*" in shop(kinds.SIDECAR, "default").summary


def test_namespace() -> None:
    found = shop(kinds.NAMESPACE, "shop", "")
    assert (
        "new pods get a sidecar" in found.summary
        and "mTLS STRICT by PeerAuthentication shop/default" in found.summary
    )
    plain = shop(kinds.NAMESPACE, "istio-system", "")
    assert "new pods get no sidecar unless they ask for one" in plain.summary
    proof = next(item for item in plain.verify if "istio-injection" in item.command)
    assert (proof.match, proof.value) == (Match.EQUALS, "")


# -- Kubernetes ------------------------------------------------------------------------------------------


def test_network_policy() -> None:
    found = shop(kinds.NETWORK_POLICY, "web")
    assert "isolates pods with app=web of shop: web pods" in found.summary
    assert [row["peer"] for row in table(found, "Ingress allowed")] == [
        "pods with role=client in namespaces with team=a",
        "addresses 10.0.0.0/8 without 10.1.0.0/16",
    ]


def test_ingress_and_its_class() -> None:
    found = shop(kinds.INGRESS, "web")
    assert [row["leads to"] for row in table(found, "Paths")] == [
        "shop/web:http (1/1 ready)",
        "shop/web:8080: the Service has no port 8080 (ports: 80)",
    ]
    assert shop(kinds.INGRESS_CLASS, "nginx", "").summary == (
        "ingress class nginx is served by k8s.io/ingress-nginx; 1 Ingress is of this class"
    )


def test_openshift_route() -> None:
    text = (
        SHOP
        + """
---
apiVersion: route.openshift.io/v1
kind: Route
metadata: {name: web, namespace: shop}
spec:
  host: web.apps.example
  to: {kind: Service, name: web}
  port: {targetPort: 80}
  tls: {termination: edge, insecureEdgeTerminationPolicy: Redirect}
status:
  ingress:
  - {host: web.apps.example, routerName: default, conditions: [{type: Admitted, status: "True"}]}
"""
    )
    found = explained(text, kinds.ROUTE, "web", "shop")
    assert table(found, "Backends")[0]["Service and endpoints"] == "shop/web, where nothing is called 80: 503"
    right = explained(text.replace("targetPort: 80}", "targetPort: 8080}"), kinds.ROUTE, "web", "shop")
    assert right.summary == (
        "route web serves web.apps.example, admitted by router default; requests go to shop/web on the pods' "
        "port 8080 (1/1 ready); TLS ends at the router, which speaks plain HTTP to the pods; "
        "http gets 302 to https"
    )


def test_config_maps() -> None:
    istio = explained(KUBEFLOW, kinds.CONFIG_MAP, "config-istio", "knative-serving")
    assert istio.summary == (
        "config-istio tells Knative to serve requests from outside through kubeflow/kubeflow-gateway "
        "and from "
        "inside through knative-serving/knative-local-gateway (the default)"
    )
    kserve = explained(KUBEFLOW, kinds.CONFIG_MAP, "inferenceservice-config", "kubeflow")
    there = {row["setting"]: row["what is there"] for row in table(kserve, "Key ingress")}
    assert (
        there["localGateway"] == "the Gateway exists" and there["localGatewayService"] == "the Service exists"
    )


def test_a_secret_shows_no_value() -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: a}\nstringData: {password: hunter2}"
    found = explained(text, kinds.SECRET, "s", "a")
    assert found.summary == "secret s holds no certificate; its keys are password (values are not read)"
    assert "hunter2" not in str(found.to_json())


def test_endpoint_slice_and_node() -> None:
    text = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}}
- {addresses: [10.0.0.2], conditions: {ready: false}}
---
apiVersion: v1
kind: Node
metadata: {name: one}
status: {conditions: [{type: Ready, status: "False", reason: KubeletNotReady}]}
"""
    found = explained(text, kinds.ENDPOINT_SLICE, "web-a", "shop")
    assert "of Service web has 1/2 endpoints ready on port http 8080; made by hand" in found.summary
    assert "is not ready (Ready=False)" in explained(text, kinds.NODE, "one").summary


# -- Gateway API -----------------------------------------------------------------------------------------

GATEWAY_API = (
    SHOP.replace("STRICT", "PERMISSIVE")
    + """
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public, namespace: gateways}
spec:
  gatewayClassName: eg
  listeners:
  - name: http
    port: 80
    protocol: HTTP
    hostname: "*.example.com"
    allowedRoutes: {namespaces: {from: All}}
  - {name: own, port: 8080, protocol: HTTP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop, generation: 3}
spec:
  parentRefs: [{name: public, namespace: gateways}]
  hostnames: [web.example.com]
  rules:
  - matches: [{path: {value: /api}, method: GET}]
    backendRefs: [{name: web, port: 80, weight: 3}, {name: db, namespace: data, port: 80}]
  - filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]
status:
  parents:
  - parentRef: {name: public, namespace: gateways}
    controllerName: gateway.envoyproxy.io/gatewayclass-controller
    conditions: [{type: Accepted, status: "True", observedGeneration: 2}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: lost, namespace: shop}
spec:
  parentRefs: [{name: public, namespace: gateways, sectionName: own}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: to-db, namespace: data}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: data}
spec: {clusterIP: None, ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  validation: {hostname: web.internal, wellKnownCACertificates: System}
"""
)


def test_gateway_api_gateway() -> None:
    found = explained(GATEWAY_API, kinds.GATEWAY, "public", "gateways")
    assert "is programmed by Envoy Gateway" in found.summary
    assert found.summary.endswith("1 route is not attached")
    attached = {row["listener"]: row["attached"] for row in table(found, "Listeners")}
    assert attached == {"http HTTP 80": "1 HTTPRoute", "own HTTP 8080": "no route"}
    refused = next(item for item in found.relations if item.relation == "asks-for")
    assert "NotAllowedByListeners" in refused.detail


def test_gateway_class() -> None:
    assert explained(GATEWAY_API, kinds.GATEWAY_CLASS, "eg").summary == (
        "gateway class eg is programmed by Envoy Gateway (gateway.envoyproxy.io/gatewayclass-controller); "
        "1 Gateway is of this class"
    )


def test_http_route() -> None:
    found = explained(GATEWAY_API, kinds.HTTP_ROUTE, "web", "shop")
    assert "is attached to Gateway gateways/public (listener http) for web.example.com" in found.summary
    row = table(found, "Parents")[0]
    assert (row["computed here"], row["status says"]) == (
        "attached", "Accepted=True (of an older generation)"
    )  # fmt: skip
    rules = table(found, "Rules")
    assert rules[0]["matches"] == "path prefix /api and method GET"
    assert rules[0]["leads to"].startswith("75% shop/web:80 (1/1 ready); 25% data/db:80")
    assert rules[1]["leads to"] == "redirect 302 to https"


def test_http_route_that_is_not_attached() -> None:
    found = explained(GATEWAY_API, kinds.HTTP_ROUTE, "lost", "shop")
    assert table(found, "Parents")[0]["computed here"] == "NotAllowedByListeners"


def test_reference_grant_and_backend_tls_policy() -> None:
    grant = explained(GATEWAY_API, kinds.REFERENCE_GRANT, "to-db", "data")
    assert grant.summary == (
        "reference grant to-db lets HTTPRoutes of shop refer to all Services of namespace data; "
        "1 object uses it"
    )
    policy = explained(GATEWAY_API, kinds.BACKEND_TLS_POLICY, "web", "shop")
    assert "speak TLS to Service shop/web: server name web.internal" in policy.summary


# -- Knative and KServe ----------------------------------------------------------------------------------

MODEL = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: iris, namespace: models, annotations: {serving.kserve.io/deploymentMode: Serverless}}
spec: {predictor: {model: {modelFormat: {name: sklearn}}}}
status: {conditions: [{type: Ready, status: "False"}, {type: IngressReady, status: "False"}]}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: iris-predictor, namespace: models}
spec: {}
status: {conditions: [{type: Ready, status: "Unknown"}]}
---
apiVersion: serving.knative.dev/v1
kind: Configuration
metadata: {name: iris-predictor, namespace: models}
spec: {}
status: {latestCreatedRevisionName: iris-predictor-00001, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: serving.knative.dev/v1
kind: Revision
metadata: {name: iris-predictor-00001, namespace: models}
spec: {}
status: {conditions: [{type: Ready, status: "True"}]}
---
apiVersion: serving.knative.dev/v1
kind: Route
metadata: {name: iris-predictor, namespace: models}
spec: {}
status: {conditions: [{type: Ready, status: "Unknown"}]}
---
apiVersion: networking.internal.knative.dev/v1alpha1
kind: Ingress
metadata: {name: iris-predictor, namespace: models}
spec:
  rules:
  - hosts: [iris.example.com]
    http: {paths: [{splits: [{serviceName: iris-predictor-00001, servicePort: 80}]}]}
status:
  conditions:
  - {type: Ready, status: "Unknown"}
  - {type: LoadBalancerReady, status: "Unknown", reason: Uninitialized, message: Waiting for load balancer}
---
apiVersion: networking.internal.knative.dev/v1alpha1
kind: ServerlessService
metadata: {name: iris-predictor-00001, namespace: models}
spec: {mode: Proxy, numActivators: 2}
"""


def test_an_inference_service_names_the_link_that_blocks() -> None:
    found = explained(MODEL, kinds.INFERENCE_SERVICE, "iris", "models")
    chain = {row["object"]: row["state"] for row in table(found, "Chain")}
    assert chain["Knative Ingress iris-predictor"].startswith("✗ Ready=Unknown: LoadBalancerReady=Unknown")
    assert chain["Revision iris-predictor-00001"] == "Ready"
    assert any("iris-predictor" in line and "Ready" in line for line in commands(found))


def test_knative_kinds() -> None:
    service = explained(MODEL, kinds.KNATIVE_SERVICE, "iris-predictor", "models")
    assert "is blocked by Knative Ingress iris-predictor" in service.summary
    revision = explained(MODEL, kinds.KNATIVE_REVISION, "iris-predictor-00001", "models")
    assert "mode Proxy: requests go through the activator" in revision.summary
    sks = explained(MODEL, kinds.SERVERLESS_SERVICE, "iris-predictor-00001", "models")
    assert "2 activators asked for" in sks.summary
    ingress = explained(MODEL, kinds.KNATIVE_INGRESS, "iris-predictor", "models")
    assert "Waiting for load balancer" in ingress.summary


def test_what_controllers_make_is_not_missed_in_manifests() -> None:
    text = MODEL.partition("---")[0].partition("status:")[0]
    found = explained(text, kinds.INFERENCE_SERVICE, "iris", "models", complete=False)
    assert found.summary == "inference service iris has no status yet; deployed as Knative"
    assert "does not exist" not in str(found.to_json())


# -- everything ------------------------------------------------------------------------------------------


def test_kinds_that_nobody_explains_get_owners_and_conditions() -> None:
    text = """
apiVersion: batch/v1
kind: Job
metadata: {name: job, namespace: a, ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: nightly}]}
status: {conditions: [{type: Failed, status: "True", reason: BackoffLimitExceeded}]}
"""
    found = explained(text, kinds.JOB, "job", "a")
    assert found.summary == "Job job says Failed=True"
    assert ("owned-by", "CronJob a/nightly") in up(found)


@pytest.mark.parametrize("kind", sorted(explainers()), ids=str)
def test_odd_objects_are_explained_too(kind: Kind) -> None:
    """An object with nothing but a name, and one whose fields have the wrong types."""
    namespace = "a" if kind.namespaced else ""
    for spec in (
        "{}",
        "{rules: 3, listeners: x, hosts: {}, http: [1], egress: [null], selector: [a], to: 7}",
    ):
        text = f"apiVersion: {kind.group}/{kind.versions[0]}\n" if kind.group else "apiVersion: v1\n"
        text += f"kind: {kind.name}\nmetadata: {{name: odd, namespace: a}}\nspec: {spec}\nstatus: {spec}\n"
        found = explained(text, kind, "odd", namespace)
        assert found.summary and found.verify
