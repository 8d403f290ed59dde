"""Clusters: which Service, port and subset a name stands for, its TLS and its endpoints."""

from __future__ import annotations

from kgdiag.dialects.istio import clusters
from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.proxy import ClientTls, Cluster, Excluded, Health
from tests.support import answer

REVIEWS = "reviews.prod.svc.cluster.local"
MUTUAL = "trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}"
V1, V2 = "{name: v1, labels: {version: v1}}", "{name: v2, labels: {version: v2}}"
BASE = """
apiVersion: v1
kind: Namespace
metadata: {name: prod, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: bare}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
spec: {containers: [{name: app, image: example/app}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: prod}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-1, namespace: prod, labels: {app: reviews, version: v1}}
spec: {containers: [{name: app, image: example/app}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: bare}
spec: {selector: {app: plain}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: plain-1, namespace: bare, labels: {app: plain}}
spec: {containers: [{name: app, image: example/app}]}
"""
ISTIOD_1_20 = """
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod, namespace: istio-system, labels: {app: istiod}}
spec:
  selector: {matchLabels: {app: istiod}}
  template:
    metadata: {labels: {app: istiod}}
    spec: {containers: [{name: discovery, image: "docker.io/istio/pilot:1.20.1"}]}
"""
RULE = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}{stamp}}}
spec: {spec}
"""


def rule(name: str, namespace: str, spec: str, stamp: str = "") -> str:
    created = f", creationTimestamp: '{stamp}'" if stamp else ""
    return RULE.format(name=name, namespace=namespace, spec=spec, stamp=created)


def ask_cluster(
    text: str, name: str, pod: str = "client", namespace: str = "shop", complete: bool = True
) -> tuple[Cluster | None, tuple[Excluded, ...]]:
    def question(world: World) -> tuple[Cluster | None, tuple[Excluded, ...]]:
        found = world.get(kinds.POD, namespace, pod)
        if found is None:
            return None, ()
        mesh = mesh_of(world, found)
        made = clusters.cluster(world, mesh, found, name)
        if made is not None:
            _ = made.endpoints, made.excluded
        return made, clusters.why_unknown(world, mesh, found, name)

    return answer(BASE + text, question, complete=complete)


def known(text: str, name: str, **where: str) -> Cluster:
    made, _ = ask_cluster(text, name, **where)  # type: ignore[arg-type]
    assert made is not None
    return made


def test_a_port_leads_to_the_pods_target_port_with_the_meshs_tls() -> None:
    made = known("", f"outbound|80||{REVIEWS}")
    assert (made.kind, made.tls) == ("eds", ClientTls.AUTO)
    assert made.sni == f"outbound_.80_._.{REVIEWS}"
    assert [(one.pod and one.pod.name, one.port, one.tls) for one in made.endpoints] == [
        ("reviews-1", 8080, True)
    ]


def test_a_pod_without_sidecar_gets_plaintext() -> None:
    made = known("", "outbound|80||plain.bare.svc.cluster.local")
    assert made.tls is ClientTls.AUTO and [one.tls for one in made.endpoints] == [False]


def test_peer_authentication_disable_takes_the_tls_away() -> None:
    workload = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain, namespace: prod}
spec: {selector: {matchLabels: {app: reviews}}, portLevelMtls: {8080: {mode: DISABLE}}}
"""
    assert [one.tls for one in known(workload, f"outbound|80||{REVIEWS}").endpoints] == [False]
    assert [one.tls for one in known(workload, f"outbound|9000||{REVIEWS}").endpoints] == [True]


def test_a_namespace_wide_disable_makes_the_cluster_plain_whatever_the_workload_says() -> None:
    text = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: prod}
spec: {mtls: {mode: DISABLE}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: prod}
spec: {selector: {matchLabels: {app: reviews}}, mtls: {mode: STRICT}}
"""
    assert known(text, f"outbound|80||{REVIEWS}").tls is ClientTls.PLAIN


def test_what_does_not_exist_has_a_reason() -> None:
    cases = {
        "outbound|80||nobody.prod.svc.cluster.local": "no such Service",
        f"outbound|8080||{REVIEWS}": "8080 is the targetPort of port 80",
        f"outbound|80|v9|{REVIEWS}": "no DestinationRule applies",
        "outbound|80||reviews.prod": "the Service would be reviews.prod.svc.cluster.local",
    }
    for name, words in cases.items():
        made, why = ask_cluster("", name)
        assert made is None, name
        assert words in why[0].reason, (name, why)


def test_in_partial_files_a_missing_service_is_not_known_to_be_missing() -> None:
    made, _ = ask_cluster("", "outbound|80||nobody.elsewhere.svc.cluster.local", complete=False)
    assert made is not None and made.unknown and "not in these files" in made.unknown


def test_subsets_come_of_the_rule_that_applies_and_filter_by_labels() -> None:
    text = rule(
        "reviews",
        "prod",
        "{host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}",
    )
    assert [one.pod and one.pod.name for one in known(text, f"outbound|80|v1|{REVIEWS}").endpoints] == [
        "reviews-1"
    ]
    empty = known(text, f"outbound|80|v2|{REVIEWS}")
    assert empty.endpoints == () and "version=v2" in empty.excluded[-1].reason
    made, why = ask_cluster(text, f"outbound|80|v3|{REVIEWS}")
    assert made is None and "its subsets are v1, v2" in why[0].reason


def test_a_rule_of_the_clients_namespace_hides_the_services_own() -> None:
    text = rule("own", "prod", "{host: reviews, subsets: [{name: v1, labels: {version: v1}}]}") + rule(
        "theirs", "shop", "{host: reviews.prod.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}"
    )
    made, why = ask_cluster(text, f"outbound|80|v1|{REVIEWS}")
    assert made is None and why[0].ref.name == "theirs"
    assert any(one.ref.name == "own" and "client's namespace" in one.reason for one in why)
    assert known(text, f"outbound|80||{REVIEWS}").tls is ClientTls.PLAIN


def test_a_short_host_means_the_rules_own_namespace() -> None:
    text = rule("lost", "shop", "{host: reviews, trafficPolicy: {tls: {mode: DISABLE}}}")
    made = known(text, f"outbound|80||{REVIEWS}")
    assert made.tls is ClientTls.AUTO
    assert "reviews.shop.svc.cluster.local" in made.excluded[0].reason


def test_the_most_specific_host_hides_the_wildcard_entirely() -> None:
    text = rule(
        "default", "istio-system", '{host: "*.cluster.local", trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}'
    )
    plain = "outbound|80||plain.bare.svc.cluster.local"
    assert known(text, plain).tls is ClientTls.MESH
    assert all(one.tls for one in known(text, plain).endpoints)
    both = text + rule("plain", "bare", "{host: plain}")
    made = known(both, plain)
    assert made.tls is ClientTls.AUTO and not any(one.tls for one in made.endpoints)
    root = text + rule("plain", "istio-system", "{host: plain.bare.svc.cluster.local}")
    hidden = known(root, plain)
    assert hidden.tls is ClientTls.AUTO and "hides it entirely" in hidden.excluded[0].reason


def test_rules_of_one_host_and_namespace_are_merged_oldest_first() -> None:
    text = rule(
        "young", "prod", f"{{host: reviews, trafficPolicy: {{tls: {{mode: DISABLE}}}}, subsets: [{V2}]}}",
        "2024-02-02T00:00:00Z",
    ) + rule(
        "old", "prod", f"{{host: {REVIEWS}, subsets: [{V1}]}}", "2024-01-01T00:00:00Z"
    )  # fmt: skip
    assert known(text, f"outbound|80|v1|{REVIEWS}").tls is ClientTls.PLAIN
    assert known(text, f"outbound|80|v2|{REVIEWS}").tls is ClientTls.PLAIN


def test_export_to_and_workload_selector_decide_too() -> None:
    private = rule("own", "prod", '{host: reviews, exportTo: ["."], trafficPolicy: {tls: {mode: DISABLE}}}')
    made = known(private, f"outbound|80||{REVIEWS}")
    assert made.tls is ClientTls.AUTO and "exportTo" in made.excluded[0].reason
    chosen = rule(
        "mine",
        "shop",
        f"{{host: {REVIEWS}, workloadSelector: {{matchLabels: {{app: client}}}},"
        " trafficPolicy: {tls: {mode: DISABLE}}}",
    )
    assert known(chosen, f"outbound|80||{REVIEWS}").tls is ClientTls.PLAIN
    assert (
        known(chosen.replace("app: client}", "app: other}"), f"outbound|80||{REVIEWS}").tls is ClientTls.AUTO
    )


def test_tls_of_ports_and_subsets() -> None:
    text = rule(
        "reviews", "prod",
        "{host: reviews, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: ["
        "{port: {number: 9000}, tls: {mode: SIMPLE, sni: x.example}},"
        " {port: {number: 80}, connectionPool: {}}]},"
        " subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {tls: {mode: DISABLE}}}]}",
    )  # fmt: skip
    # settings of a port replace all others; the endpoints keep the label that the general mode gave them
    general = known(text, f"outbound|80||{REVIEWS}")
    assert general.tls is ClientTls.AUTO and all(one.tls for one in general.endpoints)
    special = known(text, f"outbound|9000||{REVIEWS}")
    assert (special.tls, special.sni) == (ClientTls.SIMPLE, "x.example")
    assert known(text, f"outbound|80|v1|{REVIEWS}").tls is ClientTls.PLAIN


def test_service_entries() -> None:
    text = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: shop}
spec:
  hosts: [api.example]
  ports: [{number: 443, name: tls, protocol: TLS, targetPort: 8443}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: all, namespace: shop}
spec: {hosts: ["*.wild.example"], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: fixed, namespace: prod}
spec:
  hosts: [fixed.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.9.9.9, ports: {http: 8088}}, {address: 10.9.9.8, serviceAccount: x}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hidden, namespace: prod}
spec:
  hosts: [hidden.example]
  exportTo: ["."]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: NONE
"""
    api = known(text, "outbound|443||api.example")
    assert (api.kind, api.external, api.tls) == ("dns", True, ClientTls.PLAIN)
    assert [(one.hostname, one.port) for one in api.endpoints] == [("api.example", 8443)]
    assert known(text, "outbound|80||*.wild.example").kind == "original_dst"
    fixed = known(text, "outbound|80||fixed.example")
    assert [(one.address, one.port, one.tls) for one in fixed.endpoints] == [
        ("10.9.9.9", 8088, False),
        ("10.9.9.8", 80, True),
    ]
    made, why = ask_cluster(text, "outbound|80||hidden.example")
    assert made is None and "not to namespace shop" in why[0].reason


def test_external_names_are_aliases_only_in_new_versions() -> None:
    alias = """
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: reviews.prod.svc.cluster.local, ports: [{name: http, port: 80}]}
"""
    name = "outbound|80||alias.shop.svc.cluster.local"
    made, why = ask_cluster(alias, name)
    assert made is None and "alias" in why[0].reason
    old = alias + ISTIOD_1_20
    before = known(old, name)
    assert (before.kind, before.tls, before.external) == ("dns", ClientTls.PLAIN, True)
    assert [one.hostname for one in before.endpoints] == [REVIEWS]


def test_headless_services_pass_on_the_address_and_speak_tls_to_all_or_none() -> None:
    text = """
---
apiVersion: v1
kind: Service
metadata: {name: set, namespace: prod}
spec: {clusterIP: None, selector: {app: reviews}, ports: [{name: tcp, port: 9000}]}
"""
    name = "outbound|9000||set.prod.svc.cluster.local"
    made = known(text, name)
    assert (made.kind, made.tls) == ("original_dst", ClientTls.MESH)
    bare = (
        text
        + """
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-2, namespace: prod, labels: {app: reviews, sidecar.istio.io/inject: "false"}}
spec: {containers: [{name: app, image: example/app}]}
"""
    )
    assert known(bare, name).tls is ClientTls.PLAIN


def test_services_may_be_hidden_from_a_namespace() -> None:
    text = """
---
apiVersion: v1
kind: Service
metadata: {name: inner, namespace: prod, annotations: {networking.istio.io/exportTo: "."}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80}]}
"""
    made, why = ask_cluster(text, "outbound|80||inner.prod.svc.cluster.local")
    assert made is None and "exported to ." in why[0].reason
    assert known(text, "outbound|80||inner.prod.svc.cluster.local", pod="reviews-1", namespace="prod")


def test_a_sidecar_resource_hides_what_it_does_not_name_but_not_what_routes_lead_to() -> None:
    sidecar = """
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop}
spec: {egress: [{hosts: ["./*", "istio-system/*"]}]}
"""
    made, why = ask_cluster(sidecar, f"outbound|80||{REVIEWS}")
    assert made is None and "Sidecar shop/default" in why[0].reason
    route = (
        sidecar
        + """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: to-reviews, namespace: shop}
spec:
  hosts: [any.example]
  http: [{route: [{destination: {host: reviews.prod.svc.cluster.local, port: {number: 80}}}]}]
"""
    )
    assert known(route, f"outbound|80||{REVIEWS}")
    assert ask_cluster(route, f"outbound|9000||{REVIEWS}")[0] is None


def test_pods_that_are_not_ready_are_named_and_not_used() -> None:
    text = """
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-2, namespace: prod, labels: {app: reviews, version: v1}}
spec: {nodeName: node-1, containers: [{name: app, image: example/app}]}
status: {phase: Running, podIP: 10.1.1.2, conditions: [{type: Ready, status: "False"}]}
"""
    told = known(text, f"outbound|80||{REVIEWS}")
    assert {one.pod.name: one.health for one in told.endpoints if one.pod} == {
        "reviews-1": Health.HEALTHY,
        "reviews-2": Health.UNHEALTHY,
    }
    assert not told.panic
    spilled = rule("o", "prod", "{host: reviews, trafficPolicy: {outlierDetection: {minHealthPercent: 30}}}")
    for more in (spilled, ISTIOD_1_20):
        made = known(text + more, f"outbound|80||{REVIEWS}")
        assert [one.pod and one.pod.name for one in made.endpoints] == ["reviews-1"]
        assert [one.ref.name for one in made.excluded] == ["reviews-2"]


def test_sidecars_get_no_tls_where_the_certificate_is_a_secret() -> None:
    text = rule("r", "prod", "{host: reviews, trafficPolicy: {tls: {mode: SIMPLE, credentialName: ca}}}")
    assert known(text, f"outbound|80||{REVIEWS}").tls is ClientTls.PLAIN
    chosen = rule(
        "r", "shop",
        f"{{host: {REVIEWS}, workloadSelector: {{matchLabels: {{app: client}}}},"
        " trafficPolicy: {tls: {mode: SIMPLE, credentialName: ca}}}",
    )  # fmt: skip
    assert known(chosen, f"outbound|80||{REVIEWS}").tls is ClientTls.SIMPLE


def test_a_backend_tls_policy_counts_unless_a_rule_says_otherwise() -> None:
    text = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: secure, namespace: prod}
spec:
  targetRefs: [{group: "", kind: Service, name: reviews}]
  validation: {hostname: reviews.example, wellKnownCACertificates: System}
"""
    made = known(text, f"outbound|80||{REVIEWS}")
    assert (made.tls, made.sni) == (ClientTls.SIMPLE, "reviews.example")
    assert "BackendTLSPolicy" in [one.ref.kind for one in made.origins]
    assert known(text + ISTIOD_1_20, f"outbound|80||{REVIEWS}").tls is ClientTls.AUTO
    own = text + rule("r", "prod", f"{{host: reviews, {MUTUAL}}}")
    assert known(own, f"outbound|80||{REVIEWS}").tls is ClientTls.MESH
    theirs = text + rule("r", "shop", f"{{host: {REVIEWS}}}")
    assert known(theirs, f"outbound|80||{REVIEWS}").tls is ClientTls.AUTO


def test_protocols_of_service_ports() -> None:
    ports = {
        "{name: http, port: 80}": "HTTP",
        "{name: http2-x, port: 80}": "HTTP2",
        "{name: grpc-web, port: 80}": "GRPC-WEB",
        "{name: web, port: 80}": "",
        "{name: foo-http, port: 80}": "",
        "{name: x, port: 3306}": "TCP",
        "{name: http, port: 80, appProtocol: tcp}": "TCP",
        "{name: x, port: 80, appProtocol: kubernetes.io/h2c}": "HTTP2",
        "{name: https, port: 80}": "HTTPS",
    }
    for declared, protocol in ports.items():
        text = f"""
---
apiVersion: v1
kind: Service
metadata: {{name: one, namespace: prod}}
spec: {{selector: {{app: reviews}}, ports: [{declared}]}}
"""
        number = 3306 if "3306" in declared else 80
        made = known(text, f"outbound|{number}||one.prod.svc.cluster.local")
        assert made.upstream_protocol == protocol, declared
