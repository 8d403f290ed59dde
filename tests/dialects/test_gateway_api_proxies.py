"""Data planes: names, labels, ports, pods; TLS and TCP listeners; Envoy Gateway's policies."""

from __future__ import annotations

from typing import Any

import pytest

from kgdiag.dialects import dialects
from kgdiag.dialects.envoy_gateway import data_plane_name
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.proxy import Cluster, FilterChain, Proxy, TcpConnections, TlsMode
from kgdiag.model.ref import Ref
from tests.dialects.gateway_api import PROVIDERS, Json, app, ends, gateway, made, route, rule, text, the_proxy
from tests.support import answer

ENVOY, ISTIO, KGATEWAY = PROVIDERS


def proxy_of(objects: list[Json], pod: str, namespace: str) -> Proxy | None:
    def ask(world: World) -> Proxy | None:
        found = world.get(kinds.POD, namespace, pod)
        for dialect in dialects():
            proxy = dialect.proxy_of(world, found) if found and dialect.proxy_of else None
            if proxy is not None:
                proxy.listener_at(80)
                proxy.listener_at(10080)
                return proxy
        return None

    return answer(text(objects), ask)


def pod(namespace: str, labels: dict[str, str], **spec: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "proxy", "namespace": namespace, "labels": labels},
        "spec": {"containers": [{"name": "envoy", "image": "example/envoy"}], **spec},
    }


@pytest.mark.parametrize(
    ("provider", "service"),
    [
        (ENVOY, Ref("", "Service", "envoy-gateway-system", data_plane_name("shop/web"))),
        (ISTIO, Ref("", "Service", "shop", "web-istio")),
        (KGATEWAY, Ref("", "Service", "shop", "web")),
    ],
)
def test_the_service_before_a_gateway_is_named_by_its_implementation(provider: str, service: Ref) -> None:
    def ask(world: World) -> list[tuple[Ref, ...]]:
        found = world.get(kinds.GATEWAY, "shop", "web")
        return [made_ for item in dialects() if found and item.data_plane
                and (made_ := item.data_plane(world, found))]  # fmt: skip

    assert answer(text(gateway(provider)), ask) == [(service,)]


def test_names_of_envoy_gateway_as_it_makes_them() -> None:
    assert data_plane_name("default/eg") == "envoy-default-eg-e41e7b31"
    assert data_plane_name("shop-envoy-gateway/web") == "envoy-shop-envoy-gateway-web-08774a5d"
    long = data_plane_name(f"{'n' * 40}/{'m' * 40}")
    assert long.startswith(f"envoy-{'n' * 40}-mmmmmmm-")
    assert len(long) == len("envoy-") + 48 + len("-12345678")


@pytest.mark.parametrize(
    ("provider", "namespace", "labels", "port"),
    [
        (ENVOY, "envoy-gateway-system", {
            "app.kubernetes.io/component": "proxy",
            "gateway.envoyproxy.io/owning-gateway-name": "web",
            "gateway.envoyproxy.io/owning-gateway-namespace": "shop"}, 10080),
        (ISTIO, "shop", {
            "gateway.networking.k8s.io/gateway-name": "web",
            "gateway.istio.io/managed": "istio.io-gateway-controller"}, 80),
        (KGATEWAY, "shop", {
            "gateway.networking.k8s.io/gateway-name": "web", "kgateway": "kube-gateway"}, 80),
    ],
)  # fmt: skip
def test_pods_are_told_by_their_labels(
    provider: str, namespace: str, labels: dict[str, str], port: int
) -> None:
    proxy = proxy_of([*gateway(provider), pod(namespace, labels)], "proxy", namespace)
    assert proxy is not None
    assert proxy.pod == Ref("", "Pod", namespace, "proxy")
    assert list(proxy.ports()) == [port]
    assert proxy.listener_at(port) is not None
    assert proxy.listener_at(port + 1) is None


def test_a_waypoint_is_no_gateway() -> None:
    labels = {
        "gateway.networking.k8s.io/gateway-name": "web",
        "gateway.istio.io/managed": "istio.io-mesh-controller",
    }
    assert proxy_of([*gateway(ISTIO), pod("shop", labels)], "proxy", "shop") is None


def test_the_service_says_on_which_port_kgateway_listens() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
               "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}  # fmt: skip
    found = answer(text([*gateway(KGATEWAY), service]), the_proxy)
    assert found is not None
    assert list(found.ports()) == [8080]


def test_listeners_that_are_not_there_are_explained() -> None:
    listeners: list[Json] = [
        {"name": "http", "port": 80, "protocol": "HTTP"},
        {"name": "tls", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "gone"}]}},
    ]

    def ask(world: World) -> list[str]:
        proxy = the_proxy(world)
        return [item.reason for item in proxy.excluded_at(443)] if proxy else []

    reasons = answer(text(gateway(ISTIO, *listeners)), ask)
    assert any("Secret shop/gone does not exist" in reason for reason in reasons)
    assert any("listener http is on port 80" in reason for reason in reasons)


def test_a_class_that_nobody_has_gives_no_proxy() -> None:
    objects = [made("Gateway", "web", {"gatewayClassName": "nobody", "listeners": []})]
    assert answer(text(objects), the_proxy) is None


def chains(objects: list[Json], port: int) -> list[FilterChain]:
    def ask(world: World) -> list[FilterChain]:
        proxy = the_proxy(world)
        listener = proxy.listener_at(port) if proxy else None
        return list(listener.chains) if listener else []

    return answer(text(objects), ask)


CERT: Json = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
              "metadata": {"name": "cert", "namespace": "shop"},
              "stringData": {"tls.crt": "", "tls.key": ""}}  # fmt: skip


@pytest.mark.parametrize(("provider", "port"), [(ENVOY, 10443), (ISTIO, 443)])
def test_https_listeners_are_chains_by_server_name(provider: str, port: int) -> None:
    tls = {"certificateRefs": [{"name": "cert"}]}
    listeners = [
        {"name": "wild", "port": 443, "protocol": "HTTPS", "hostname": "*.t", "tls": tls},
        {"name": "b", "port": 443, "protocol": "HTTPS", "hostname": "b.t", "tls": tls},
    ]
    found = answer(text(gateway(provider, *listeners)), lambda world: _chains_at(world, port), complete=False)
    assert {chain.match.server_names for chain in found} == {("*.t",), ("b.t",)}
    assert {chain.tls.mode for chain in found} == {TlsMode.TERMINATE}
    assert all(chain.tls.doubt for chain in found)


def _chains_at(world: World, port: int) -> list[FilterChain]:
    proxy = the_proxy(world)
    listener = proxy.listener_at(port) if proxy else None
    return list(listener.chains) if listener else []


L4: tuple[Json, ...] = (
    {"name": "pass", "port": 9443, "protocol": "TLS", "hostname": "*.p.t", "tls": {"mode": "Passthrough"}},
    {"name": "tcp", "port": 9000, "protocol": "TCP"},
)


def l4(provider: str) -> list[Json]:
    section = {"name": "web", "sectionName": "pass"}
    return [
        *gateway(provider, *L4),
        *app("a"),
        *app("b"),
        route("r1", rule("a"), kind="TLSRoute", parents=[section], hosts=["a.p.t", "b.p.t"]),
        route("r2", rule("b"), kind="TLSRoute", parents=[section], hosts=["b.p.t", "c.p.t"]),
        route("t1", rule("a"), kind="TCPRoute", created="2025-01-01T00:00:00Z",
              parents=[{"name": "web", "sectionName": "tcp"}]),
        route("t2", rule("b"), kind="TCPRoute", created="2025-01-02T00:00:00Z",
              parents=[{"name": "web", "sectionName": "tcp"}]),
    ]  # fmt: skip


def test_tls_routes_are_chains_by_server_name_and_istio_drops_one_with_a_taken_name() -> None:
    (only,) = chains(l4(ISTIO), 9443)
    assert only.match.server_names == ("a.p.t", "b.p.t")
    assert only.tls.mode is TlsMode.PASSTHROUGH


@pytest.mark.parametrize("provider", (ENVOY, ISTIO))
def test_the_oldest_tcp_route_has_the_port(provider: str) -> None:
    (only,) = chains(l4(provider), 9000)
    assert isinstance(only.network, TcpConnections)
    assert only.origin is not None
    assert only.origin.ref.name == "t1"


def test_tcp_listeners_without_routes_listen_on_envoy_gateway_only() -> None:
    assert len(chains(gateway(ENVOY, *L4), 9000)) == 1
    assert chains(gateway(ISTIO, *L4), 9000) == []


def test_a_backend_tls_policy_makes_the_proxy_speak_tls() -> None:
    policy = made("BackendTLSPolicy", "p", {
        "targetRefs": [{"group": "", "kind": "Service", "name": "a"}],
        "validation": {"hostname": "a.t", "wellKnownCACertificates": "System"}})  # fmt: skip

    def ask(world: World) -> Cluster | None:
        proxy = the_proxy(world)
        return proxy.cluster("httproute/shop/r/rule/0/backend/0") if proxy else None

    found = answer(text([*gateway(ENVOY), *app("a"), route("r", rule("a")), policy]), ask)
    assert found is not None
    assert (found.tls.value, found.sni, found.name) == ("simple", "a.t", "httproute/shop/r/rule/0")


@pytest.mark.parametrize(("provider", "expected"), [(ENVOY, "500"), (ISTIO, "503")])
def test_a_backend_tls_policy_without_its_authority_blocks(provider: str, expected: str) -> None:
    policy = made("BackendTLSPolicy", "p", {
        "targetRefs": [{"group": "", "kind": "Service", "name": "a"}],
        "validation": {"hostname": "a.t", "caCertificateRefs": [{"kind": "ConfigMap", "name": "no"}]},
    })  # fmt: skip
    assert ends([*gateway(provider), *app("a"), route("r", rule("a")), policy], "http://h/") == expected


# -- Envoy Gateway's policies ------------------------------------------------------------------------------


def policy(kind: str, spec: Json, target: str = "r", target_kind: str = "HTTPRoute", **more: Any) -> Json:
    ref = {"group": "gateway.networking.k8s.io", "kind": target_kind, "name": target, **more}
    name = f"{kind.lower()}-{target}-{more.get('sectionName', '')}"
    return made(kind, name, {"targetRefs": [ref], **spec}, api="gateway.envoyproxy.io/v1alpha1")


def with_policies(*policies: Json) -> list[Json]:
    one = route("r", {**rule("a", path="/one"), "name": "one"}, {**rule("a", path="/two"), "name": "two"})
    return [*gateway(ENVOY), *app("a"), one, *policies]


DENY_ALL: Json = {"authorization": {"defaultAction": "Deny"}}
ALLOW_GET: Json = {"authorization": {"defaultAction": "Deny", "rules": [
    {"action": "Allow", "operation": {"methods": ["GET"]},
     "principal": {"headers": [{"name": "x-a", "values": ["1"]}]}}]}}  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "headers", "expected"),
    [
        (DENY_ALL, [], "403"),
        (ALLOW_GET, ["x-a: 1"], "a"),
        (ALLOW_GET, ["x-a: 2"], "403"),
        ({"basicAuth": {"users": {"name": "u"}}}, [], "401"),
        ({"apiKeyAuth": {"extractFrom": [{"headers": ["x-key"]}]}}, [], "401"),
        ({"jwt": {"providers": [{"name": "p"}]}}, [], "401"),
        ({"jwt": {"optional": True, "providers": [{"name": "p"}]}}, [], "a"),
        ({"jwt": {"providers": [{"name": "p"}]}}, ["Authorization: Bearer x"], "None"),
        ({"extAuth": {"http": {}}}, [], "None"),
    ],
)
def test_security_policies(spec: Json, headers: list[str], expected: str) -> None:
    objects = with_policies(policy("SecurityPolicy", spec))
    assert ends(objects, "http://h/one", headers=headers) == expected


def test_the_most_specific_policy_alone_applies() -> None:
    on_gateway = policy("SecurityPolicy", DENY_ALL, "web", "Gateway")
    on_rule = policy("SecurityPolicy", {"cors": {}}, "r", sectionName="two")
    assert ends(with_policies(on_gateway), "http://h/two") == "403"
    both = with_policies(on_gateway, on_rule)
    assert (ends(both, "http://h/one"), ends(both, "http://h/two")) == ("403", "a")
    merged = with_policies(on_gateway, policy("SecurityPolicy", {"cors": {}, "mergeType": "StrategicMerge"}))
    assert ends(merged, "http://h/one") == "403"


def test_faults_and_limits() -> None:
    abort = policy(
        "BackendTrafficPolicy", {"faultInjection": {"abort": {"httpStatus": 418, "percentage": 100}}}
    )
    assert ends(with_policies(abort), "http://h/one") == "418"
    closed = {"rateLimit": {"local": {"rules": [{"limit": {"requests": 0, "unit": "Hour"}}]}}}
    assert ends(with_policies(policy("BackendTrafficPolicy", closed)), "http://h/one") == "429"


def test_client_certificates_by_client_traffic_policy() -> None:
    listener = {
        "name": "tls",
        "port": 443,
        "protocol": "HTTPS",
        "tls": {"certificateRefs": [{"name": "cert"}]},
    }
    wanted = policy("ClientTrafficPolicy", {"tls": {"clientValidation": {}}}, "web", "Gateway")
    objects = text([*gateway(ENVOY, listener), wanted])
    (only,) = answer(objects, lambda world: _chains_at(world, 10443), complete=False)
    assert only.tls.mode is TlsMode.MUTUAL


def test_route_filters_of_envoy_gateway() -> None:
    def filter_of(spec: Json) -> list[Json]:
        found = made("HTTPRouteFilter", "f", spec, api="gateway.envoyproxy.io/v1alpha1")
        ref = {"group": "gateway.envoyproxy.io", "kind": "HTTPRouteFilter", "name": "f"}
        one = route("r", rule("a", filters=[{"type": "ExtensionRef", "extensionRef": ref}]))
        return [*gateway(ENVOY), *app("a"), one, found]

    assert ends(filter_of({"directResponse": {"statusCode": 203}}), "http://h/") == "203"
    without = filter_of({})[:-1]
    assert ends(without, "http://h/") == "500"


def test_traffic_policies_of_kgateway_that_decide_are_unknown_not_ignored() -> None:
    ref = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"}
    one = made("TrafficPolicy", "p", {"targetRefs": [ref], "extAuth": {"extensionRef": {"name": "x"}}},
               api="gateway.kgateway.dev/v1alpha1")  # fmt: skip
    objects = [*gateway(KGATEWAY), *app("a"), route("r", rule("a"))]
    assert ends(objects, "http://h/") == "a"
    assert ends([*objects, one], "http://h/") == "None"
