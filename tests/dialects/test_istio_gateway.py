"""Gateway pods: servers and ports, TLS, virtual hosts, who lost. Facts without a comment were compared with
Istio 1.31: what istiod sent for random Gateways and VirtualServices, listener by listener, route by route."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest

from kgdiag.dialects.istio import data_plane, proxy_of
from kgdiag.dialects.istio.gateway import declared_proxy
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.proxy import (
    Excluded,
    Forward,
    HttpConnections,
    Listener,
    Proxy,
    RouteConfig,
    TcpConnections,
    TlsMode,
)
from kgdiag.model.ref import Ref
from tests.support import answer

T = TypeVar("T")

POD = """
apiVersion: v1
kind: Pod
metadata: {name: edge, namespace: istio-system, labels: {istio: ingressgateway, app: edge}}
spec:
  serviceAccountName: edge
  containers:
  - name: istio-proxy
    args: [proxy, router]
    env: [{name: ISTIO_META_UNPRIVILEGED_POD, value: "%s"}]
---
"""


def service(name: str, ports: str, created: str = "", labels: str = "") -> str:
    stamp = f", creationTimestamp: {created}" if created else ""
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: istio-system, labels: {{{labels}}}{stamp}}}
spec: {{selector: {{istio: ingressgateway}}, ports: [{ports}]}}
---
"""


EDGE = service(
    "edge", "{name: http2, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}"
)


def gateway(
    servers: str,
    name: str = "public",
    namespace: str = "gw",
    created: str = "",
    selector: str = "istio: ingressgateway",
) -> str:
    stamp = f", creationTimestamp: {created}" if created else ""
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}{stamp}}}
spec: {{selector: {{{selector}}}, servers: [{servers}]}}
---
"""


def server(number: int, protocol: str = "HTTP", hosts: str = "'*'", more: str = "", name: str = "p") -> str:
    tail = f", {more}" if more else ""
    return f"{{port: {{number: {number}, name: {name}, protocol: {protocol}}}, hosts: [{hosts}]{tail}}}"


def route(
    name: str, hosts: str = "shop.example.com", gateways: str | None = "gw/public", namespace: str = "shop",
    created: str = "", more: str = "http: [{route: [{destination: {host: web, port: {number: 80}}}]}]",
) -> str:  # fmt: skip
    stamp = f", creationTimestamp: {created}" if created else ""
    bound = f"gateways: [{gateways}], " if gateways is not None else ""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}{stamp}}}
spec: {{hosts: [{hosts}], {bound}{more}}}
---
"""


def ask_proxy(text: str, question: Callable[[Proxy], T], *, unprivileged: bool = True) -> T:
    def whole(world: World) -> T | None:
        pod = world.get(kinds.POD, "istio-system", "edge")
        proxy = proxy_of(world, pod) if pod else None
        return question(proxy) if proxy else None

    found = answer(POD % str(unprivileged).lower() + text, whole)
    assert found is not None
    return found


def ports(text: str, *, unprivileged: bool = True) -> Sequence[int]:
    return ask_proxy(text, lambda proxy: proxy.ports(), unprivileged=unprivileged)


def listener(text: str, port: int) -> Listener:
    """The listener with everything that is made late, made."""

    def question(proxy: Proxy) -> tuple[Listener | None]:
        found = proxy.listener_at(port)
        for chain in found.chains if found else ():
            if isinstance(chain.network, HttpConnections):
                config = chain.network.route_config
                _ = [(host.routes, host.excluded) for host in config.virtual_hosts], config.excluded
        return (found,)

    found = ask_proxy(text, question)[0]
    assert found is not None
    return found


def config(text: str, port: int = 8080) -> RouteConfig:
    network = listener(text, port).chains[0].network
    assert isinstance(network, HttpConnections)
    return network.route_config


def excluded(text: str, port: int) -> list[Excluded]:
    return list(ask_proxy(text, lambda proxy: (proxy.listener_at(port), proxy.excluded_at(port)))[1])


def losers(text: str, host: str) -> list[tuple[str, str, str]]:
    def question(proxy: Proxy) -> list[tuple[str, str, str]]:
        found = proxy.listener_at(8080)
        if found is None or not isinstance(found.chains[0].network, HttpConnections):
            return []
        made = found.chains[0].network.route_config.excluded_for(host)
        return [(item.ref.name, item.part, item.reason) for item in made]

    return ask_proxy(text, question)


def domains(made: RouteConfig) -> dict[str, list[str]]:
    """VirtualServices by domain, in the order of their routes."""
    return {
        domain: [item.origin.ref.name for item in host.routes if item.origin]
        for host in made.virtual_hosts
        for domain in host.domains
    }


# -- ports -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "port"), [(80, 8080), (8080, 8080), (443, 8443), (9999, 9999), (8081, 8081)]
)
def test_numbers_are_translated_by_the_services_of_the_pod(number: int, port: int) -> None:
    assert list(ports(EDGE + gateway(server(number)))) == [port]


OLD, NEW = "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"
NO_TRANSLATION = "experimental.istio.io/disable-gateway-port-translation: 'true'"


@pytest.mark.parametrize(
    ("edge_age", "local_age", "label", "port"),
    [(OLD, NEW, "", 8080), (NEW, OLD, "", 8081), (NEW, OLD, NO_TRANSLATION, 8080), (OLD, OLD, "", 8080)],
)
def test_the_older_service_decides_unless_it_opts_out(
    edge_age: str, local_age: str, label: str, port: int
) -> None:
    text = service("edge", "{port: 80, targetPort: 8080}", edge_age)
    text += service("local", "{port: 80, targetPort: 8081}", local_age, label)
    assert list(ports(text + gateway(server(80)))) == [port]
    reasons = [item.reason for item in excluded(text + gateway(server(80)), 80)]
    assert any(f"translated to {port} by Service istio-system/" in reason for reason in reasons)


def test_a_second_service_port_with_the_same_target_and_protocol_does_not_translate() -> None:
    text = service(
        "edge", "{name: http2, port: 80, targetPort: 8080}, {name: http2-b, port: 81, targetPort: 8080}"
    )
    assert list(ports(text + gateway(server(81)), unprivileged=False)) == [81]
    other = text.replace("http2-b", "http-b")
    assert list(ports(other + gateway(server(81)))) == [8080]


def test_ports_below_1024_are_for_privileged_pods() -> None:
    text = gateway(server(80))
    assert list(ports(text, unprivileged=False)) == [80]
    assert list(ports(text)) == []
    assert "below 1024" in excluded(text, 80)[0].reason


# -- which Gateways --------------------------------------------------------------------------------------


def test_gateways_of_every_namespace_whose_selector_fits() -> None:
    text = (
        EDGE + gateway(server(80), namespace="anywhere") + gateway(server(443, "HTTP"), "both", selector="")
    )
    assert list(ports(text)) == [8080, 8443]


def test_a_selector_that_does_not_fit_is_told_by_its_labels() -> None:
    text = (
        EDGE
        + gateway(server(80), selector="istio: ingress")
        + gateway(server(80), "far", selector="a: b, c: d")
    )
    found = excluded(text, 8080)
    assert [(item.ref.name, item.part) for item in found] == [
        ("public", "spec.selector"),
        ("far", "spec.selector"),
    ]
    assert found[0].reason == "its selector asks for istio=ingress (these pods have istio=ingressgateway)"
    assert "a=b (these pods have no label a) and c=d" in found[1].reason


def test_scope_of_gateways_to_their_namespace() -> None:
    istiod = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod, namespace: istio-system, labels: {app: istiod}}
spec:
  template:
    spec:
      containers:
      - {name: discovery, env: [{name: PILOT_SCOPE_GATEWAY_TO_NAMESPACE, value: "true"}]}
---
"""
    text = EDGE + istiod + gateway(server(80)) + gateway(server(443, "HTTP"), namespace="istio-system")
    assert list(ports(text)) == [8443]
    assert "own namespace only" in excluded(text, 8080)[0].reason


# -- merging ---------------------------------------------------------------------------------------------


def test_plain_http_servers_of_one_port_are_one_route_config() -> None:
    text = EDGE + gateway(server(80), created=OLD) + gateway(server(8080, "HTTP2"), "two", created=NEW)
    made = listener(text + route("a") + route("b", gateways="gw/two"), 8080)
    assert [origin.ref.name for origin in made.origins] == ["public", "two"]
    assert domains(config(text + route("a") + route("b", gateways="gw/two"))) == {
        "shop.example.com": ["a", "b"]
    }


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (server(80), server(80, "TCP"), "TCP cannot share port 8080 with the HTTP server"),
        (server(80, "TCP"), server(80), "HTTP cannot share port 8080 with the TCP server"),
        (
            server(80),
            server(80, "HTTPS", more="tls: {mode: SIMPLE, credentialName: c}"),
            "HTTPS cannot share",
        ),
        (
            server(443, "HTTPS", "a.example", "tls: {mode: SIMPLE, credentialName: c}"),
            server(443, "HTTPS", "'b.example', 'a.example'", "tls: {mode: SIMPLE, credentialName: d}", "q"),
            "host a.example is taken on port 8443 by Gateway gw/public spec.servers[0]",
        ),
        (
            server(80, more="tls: {httpsRedirect: true}"),
            server(80, more="tls: {httpsRedirect: true}"),
            "host * is taken on port 8080",
        ),
    ],
)
def test_servers_that_istiod_leaves_out(first: str, second: str, reason: str) -> None:
    text = EDGE + gateway(first, created=OLD) + gateway(second, "two", created=NEW)
    text += route("t", more="tcp: [{route: [{destination: {host: web, port: {number: 80}}}]}]")
    port = 8443 if "443" in first else 8080
    found = [item for item in excluded(text, port) if item.ref.name == "two"]
    assert found[0].part == "spec.servers[0]"
    assert reason in found[0].reason


def test_age_decides_between_gateways() -> None:
    older, newer = gateway(server(80), "z", created=OLD), gateway(server(80, "TCP"), "a", created=NEW)
    assert [item.ref.name for item in excluded(EDGE + newer + older, 8080)] == ["a"]


def test_plaintext_behind_tls_is_a_chain_for_the_rest() -> None:
    text = EDGE + gateway(
        server(443, "HTTPS", "a.example", "tls: {mode: SIMPLE, credentialName: c}")
        + ", "
        + server(443, name="q")
    )
    made = listener(text, 8443)
    assert [(chain.match.server_names, chain.tls.mode) for chain in made.chains] == [
        (("a.example",), TlsMode.TERMINATE),
        ((), TlsMode.NONE),
    ]


def test_envoy_refuses_two_chains_for_the_same_connections() -> None:
    """Measured with Istio 1.31: the listener is never there ("has the same matching rules defined as")."""
    tls = "tls: {mode: SIMPLE, credentialName: c}"
    text = EDGE + gateway(server(443, "HTTPS", more=tls) + ", " + server(443, name="q"))
    assert list(ports(text)) == []
    assert "Envoy refuses the whole listener" in excluded(text, 8443)[0].reason
    twice = EDGE + gateway(server(443, "HTTPS", "a.example, A.example", tls))
    assert list(ports(twice)) == []


def test_a_bind_address_of_its_own() -> None:
    text = EDGE + gateway(server(80, more="bind: 127.0.0.1"))
    assert list(ports(text)) == []
    assert "listens on address 127.0.0.1 alone" in excluded(text, 8080)[0].reason


# -- TLS -------------------------------------------------------------------------------------------------

SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: c, namespace: istio-system}
type: Opaque
data: {%s}
---
"""


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("SIMPLE", TlsMode.TERMINATE),
        ("MUTUAL", TlsMode.MUTUAL),
        ("OPTIONAL_MUTUAL", TlsMode.OPTIONAL_MUTUAL),
        ("ISTIO_MUTUAL", TlsMode.MESH),
    ],
)
def test_modes(mode: str, expected: TlsMode) -> None:
    text = EDGE + gateway(
        server(443, "HTTPS", "b.example, a.example", f"tls: {{mode: {mode}, credentialName: c}}")
    )
    chain = listener(text, 8443).chains[0]
    assert chain.tls.mode is expected
    assert chain.match.server_names == ("a.example", "b.example")
    assert isinstance(chain.network, HttpConnections)
    assert chain.network.route_config.name == "https.443.p.public.gw"


def test_a_star_among_the_hosts_takes_every_connection() -> None:
    text = EDGE + gateway(server(443, "HTTPS", "a.example, '*'", "tls: {mode: SIMPLE, credentialName: c}"))
    assert listener(text, 8443).chains[0].match.server_names == ()


def test_certificates_are_looked_for_where_the_gateway_pods_are() -> None:
    tls = "tls: {mode: SIMPLE, credentialName: c}"
    text = EDGE + gateway(server(443, "HTTPS", more=tls))
    elsewhere = SECRET.replace("istio-system", "gw") % "tls.crt: YQ==, tls.key: YQ=="
    found = listener(text + elsewhere, 8443).chains[0].tls
    assert found.problem == (
        "Secret istio-system/c does not exist (it is looked for where the gateway pods are, not in gw,"
        " where the Gateway is)"
    )
    named = text.replace("credentialName: c", "credentialName: kubernetes://gw/c")
    assert "another namespace" in (listener(named + elsewhere, 8443).chains[0].tls.problem or "")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("tls.crt: YQ==", "Secret istio-system/c has no tls.crt and tls.key (it has tls.crt)"),
        ("tls.crt: YQ==, tls.key: YQ==", "Secret istio-system/c: the certificate is not PEM"),
    ],
)
def test_secrets_that_no_handshake_can_use(data: str, problem: str) -> None:
    text = EDGE + gateway(server(443, "HTTPS", more="tls: {mode: SIMPLE, credentialName: c}"))
    assert listener(text + SECRET % data, 8443).chains[0].tls.problem == problem


def test_a_secret_that_files_lack_is_a_doubt_not_a_problem() -> None:
    text = POD % "true" + gateway(server(8443, "HTTPS", more="tls: {mode: SIMPLE, credentialName: c}"))

    def question(world: World) -> tuple[str | None, str | None] | None:
        pod = world.get(kinds.POD, "istio-system", "edge")
        proxy = proxy_of(world, pod) if pod else None
        found = proxy.listener_at(8443) if proxy else None
        return (found.chains[0].tls.problem, found.chains[0].tls.doubt) if found else None

    assert answer(text, question, complete=False) == (None, "Secret istio-system/c is not in these files")


def test_passthrough_is_routed_by_the_tls_routes_of_virtual_services() -> None:
    servers = server(443, "TLS", "'*.example.com'", "tls: {mode: PASSTHROUGH}")
    to = "route: [{destination: {host: web, port: {number: 443}}}]"
    tls = f"tls: [{{match: [{{sniHosts: [shop.example.com]}}], {to}}}]"
    again = tls.replace("host: web", "host: other")
    text = EDGE + gateway(servers) + route("a", created=OLD, more=tls) + route("b", created=NEW, more=again)
    made = listener(text, 8443)
    assert [(chain.match.server_names, chain.tls.mode) for chain in made.chains] == [
        (("shop.example.com",), TlsMode.PASSTHROUGH)
    ]
    network = made.chains[0].network
    assert isinstance(network, TcpConnections)
    assert [item.cluster for item in network.clusters] == ["outbound|443||web.shop.svc.cluster.local"]
    without = EDGE + gateway(servers) + route("a")
    assert list(ports(without)) == []
    assert excluded(without, 8443)[0].reason == "no VirtualService has a tls route for it"


def test_tcp_goes_to_the_first_tcp_route() -> None:
    tcp = "tcp: [{match: [{port: 31400}], route: [{destination: {host: web, port: {number: 5432}}}]}]"
    text = gateway(server(31400, "TCP"))
    network = listener(text + route("a", more=tcp), 31400).chains[0].network
    assert isinstance(network, TcpConnections)
    assert [item.cluster for item in network.clusters] == ["outbound|5432||web.shop.svc.cluster.local"]
    assert list(ports(text + route("a", more=tcp.replace("31400", "31401")))) == []


# -- virtual hosts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server_hosts", "route_hosts", "expected"),
    [
        ("'*'", "a.example.com", {"a.example.com"}),
        ("'*.example.com'", "a.example.com, b.other.com", {"a.example.com"}),
        ("a.example.com, b.example.com", "'*.example.com'", {"a.example.com", "b.example.com"}),
        ("'*.example.com'", "'*.x.example.com'", {"*.x.example.com"}),
        ("'*.example.com'", "example.com", {"*"}),  # nothing: the 404 of all hosts
        ("A.Example.com", "A.Example.com", {"a.example.com"}),
        ("shop/a.example.com", "a.example.com", {"a.example.com"}),
        ("other/a.example.com", "a.example.com", {"*"}),
        ("./a.example.com", "a.example.com", {"*"}),  # the Gateway's namespace is gw
        ("'*.svc.cluster.local'", "web", {"web.shop.svc.cluster.local"}),
    ],
)
def test_domains_are_what_server_and_virtual_service_share(
    server_hosts: str, route_hosts: str, expected: set[str]
) -> None:
    text = EDGE + gateway(server(80, hosts=server_hosts)) + route("a", route_hosts)
    assert set(domains(config(text))) == expected


def test_without_a_virtual_service_every_request_is_not_found() -> None:
    made = config(EDGE + gateway(server(80)))
    assert [(host.name, host.domains, host.routes) for host in made.virtual_hosts] == [
        ("blackhole:80", ("*",), ())
    ]


MATCH = "http: [{match: [{uri: {prefix: /%s}}], route: [{destination: {host: web, port: {number: 80}}}]}]"


def test_routes_of_one_host_are_appended_oldest_first_and_catch_alls_go_last() -> None:
    text = EDGE + gateway(server(80))
    text += route("all", created=OLD) + route("x", created=NEW, more=MATCH % "a")
    text += route("w", created="2024-06-01T00:00:00Z", more=MATCH % "b")
    assert domains(config(text)) == {"shop.example.com": ["w", "x", "all"]}


def test_what_only_the_gateway_namespace_sees_comes_first() -> None:
    text = EDGE + gateway(server(80)) + route("public", created=OLD, more=MATCH % "a")
    text += route("private", namespace="istio-system", created=NEW, more="exportTo: ['.'], " + MATCH % "b")
    text += route("exported", created=NEW, more="exportTo: [istio-system], " + MATCH % "c")
    assert domains(config(text)) == {"shop.example.com": ["private", "exported", "public"]}


def test_a_virtual_service_without_a_route_here_claims_no_host() -> None:
    none = "http: [{match: [{port: 443}], route: [{destination: {host: web}}]}]"
    text = EDGE + gateway(server(80)) + route("none", more=none) + route("all", "'*'")
    assert set(domains(config(text))) == {"*"}


def test_https_redirect_of_hosts_with_and_without_virtual_service() -> None:
    text = EDGE + gateway(server(80, hosts="a.example, b.example", more="tls: {httpsRedirect: true}"))
    made = config(text + route("v", "a.example"))
    assert {host.domains[0]: (host.require_tls, len(host.routes)) for host in made.virtual_hosts} == {
        "a.example": ("all", 1),
        "b.example": ("all", 0),
    }


def test_a_match_on_port_sees_the_servers_number_not_the_listeners() -> None:
    both = (
        "http: [{match: [{port: 8080}], route: [{destination: {host: wrong, port: {number: 1}}}]},"
        " {match: [{port: 80}], route: [{destination: {host: right, port: {number: 1}}}]}]"
    )
    made = config(EDGE + gateway(server(80)) + route("v", more=both))
    actions = [item.action for item in made.virtual_hosts[0].routes]
    assert [action.clusters[0].cluster for action in actions if isinstance(action, Forward)] == [
        "outbound|1||right.shop.svc.cluster.local"
    ]


# -- losers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loser", "part", "reason"),
    [
        (
            route("v", gateways=None),
            "spec.gateways",
            "bound to sidecars (mesh) only, since spec.gateways is not set",
        ),
        (
            route("v", gateways="mesh"),
            "spec.gateways",
            "bound to sidecars (mesh) only; this is gateway gw/public",
        ),
        (
            route("v", gateways="public"),
            "spec.gateways",
            "its gateway public means shop/public in its own namespace, which does not exist",
        ),
        (
            route("v", gateways="gw/other"),
            "spec.gateways",
            "it is bound to gw/other; this is gateway gw/public",
        ),
        (
            route("v", more="exportTo: ['.'], " + MATCH % "a"),
            "spec.exportTo",
            "does not show it to the gateway pods",
        ),
        (route("v", hosts="'*'"), "spec.hosts", "its host * is less specific than shop.example.com"),
    ],
)
def test_why_a_virtual_service_that_names_the_host_does_not_serve_it(
    loser: str, part: str, reason: str
) -> None:
    text = EDGE + gateway(server(80)) + route("winner") + loser
    found = [item for item in losers(text, "shop.example.com") if item[0] == "v"]
    assert found and found[0][1] == part
    assert reason in found[0][2]


def test_a_host_that_differs_in_one_label_is_named() -> None:
    text = EDGE + gateway(server(80)) + route("v", "shop.example.org") + route("far", "a.b.c.d")
    assert losers(text, "shop.example.com") == [
        ("v", "spec.hosts", "its host is shop.example.org, the request's is shop.example.com")
    ]


def test_hosts_outside_of_the_server_are_named() -> None:
    text = EDGE + gateway(server(80, hosts="'*.svc.cluster.local'")) + route("v", "web.shop")
    found = losers(text, "web.shop")
    assert [(item[0], item[1]) for item in found] == [("v", "spec.hosts")]
    assert "none of its hosts lies within those of gw/public (*.svc.cluster.local)" in found[0][2]


# -- the rest --------------------------------------------------------------------------------------------


def test_identity_and_the_agents_ports() -> None:
    made = ask_proxy(EDGE + gateway(server(80)), lambda proxy: proxy)
    assert made.identity == "cluster.local/ns/istio-system/sa/edge"
    assert listener(EDGE, 15021).chains
    assert made.unknown is None


def test_no_gateway_means_that_nothing_listens() -> None:
    assert list(ports(EDGE)) == []


def test_a_gateway_without_pods_is_what_its_selector_describes() -> None:
    def question(world: World) -> tuple[list[int], tuple[Ref, ...]] | None:
        found = world.get(kinds.ISTIO_GATEWAY, "gw", "public")
        proxy = declared_proxy(world, found) if found else None
        return (list(proxy.ports()), data_plane(world, found)) if proxy and found else None

    assert answer(EDGE + gateway(server(80)), question) == ([8080], ())


def test_gateways_of_one_name_without_pods_do_not_share_a_proxy() -> None:
    text = (
        EDGE
        + gateway(server(80), namespace="a")
        + gateway(server(9999), namespace="b", selector="istio: other")
    )

    def question(world: World) -> list[list[int]]:
        found = [world.get(kinds.ISTIO_GATEWAY, namespace, "public") for namespace in ("a", "b")]
        proxies = [declared_proxy(world, one) for one in found if one]
        return [list(one.ports()) for one in proxies if one]

    assert answer(text, question) == [[8080], [9999]]


INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: one, namespace: shop, annotations: {kubernetes.io/ingress.class: %s}}
spec:
  tls: [{hosts: [tls.example], secretName: c}]
  rules:
  - host: shop.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /a/, pathType: Prefix, backend: {service: {name: web, port: {number: 81}}}}
      - {path: /a/b, pathType: Exact, backend: {service: {name: web, port: {number: 82}}}}
      - {path: /c/*, pathType: ImplementationSpecific, backend: {service: {name: web, port: {number: 83}}}}
---
"""


def test_ingresses_of_class_istio() -> None:
    made = config(EDGE + INGRESS % "istio")
    host = made.virtual_hosts[0]
    seen = [(item.match.path.how.value, item.match.path.value) for item in host.routes if item.match.path]
    assert seen == [
        ("exact", "/a/b"),
        ("path_separated_prefix", "/a"),
        ("path_separated_prefix", "/c"),
        ("prefix", "/"),
    ]
    origins = [item.origin for item in host.routes]
    assert next((origin.ref.kind, origin.part) for origin in origins if origin) == (
        "Ingress",
        "spec.rules[0].http.paths[2]",
    )
    assert listener(EDGE + INGRESS % "istio", 8443).chains[0].match.server_names == ("tls.example",)
    assert list(ports(EDGE + INGRESS % "nginx")) == []


def test_the_order_of_documents_decides_nothing() -> None:
    parts = [EDGE, gateway(server(80), created=OLD), gateway(server(8080), "two", created=NEW)]
    parts += [route(name, created=OLD, more=MATCH % name) for name in ("a", "b", "c")]
    parts += [route("d", gateways="gw/two", created=OLD, more=MATCH % "d")]
    expected = domains(config("".join(parts)))
    assert expected == {"shop.example.com": ["a", "b", "c", "d"]}
    assert domains(config("".join(reversed(parts)))) == expected
