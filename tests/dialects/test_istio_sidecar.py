"""Sidecars: listeners, virtual hosts and inbound chains, as istiod makes them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeVar

from kgdiag.collect.files import read_files
from kgdiag.dialects.istio.sidecar import sidecar_proxy
from kgdiag.graph.ask import ask
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.proxy import (
    Direct,
    Forward,
    HttpConnections,
    Listener,
    Proxy,
    RouteConfig,
    TcpConnections,
    TlsMode,
    VirtualHost,
)
from kgdiag.model.read import Need, Origin, Read
from tests.support import answer

T = TypeVar("T")
REVIEWS = "reviews.prod.svc.cluster.local"
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
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
spec: {serviceAccountName: buyer, containers: [{name: app, image: example/app}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: prod}
spec:
  clusterIP: 10.96.0.7
  selector: {app: reviews}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: tcp, port: 9000}
  - {name: auto, port: 7000}
  - {name: https, port: 443}
---
apiVersion: v1
kind: Service
metadata: {name: set, namespace: prod}
spec: {clusterIP: None, selector: {app: reviews}, ports: [{name: tcp, port: 9001}, {name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-1, namespace: prod, labels: {app: reviews}}
spec: {containers: [{name: app, image: example/app}]}
status: {podIP: 10.1.0.3}
"""


def route(name: str, namespace: str, spec: str, stamp: str = "2024-01-01T00:00:00Z") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '{stamp}'}}
spec: {spec}
"""


def to(host: str, port: int = 80) -> str:
    return f"[{{route: [{{destination: {{host: {host}, port: {{number: {port}}}}}}}]}}]"


def on_proxy(text: str, question: Callable[[Proxy], T], pod: str = "shop/client") -> T:
    namespace, _, name = pod.partition("/")

    def asked(world: World) -> T | None:
        found = world.get(kinds.POD, namespace, name)
        proxy = sidecar_proxy(world, found) if found else None
        return question(proxy) if proxy else None

    made = answer(BASE + text, asked)
    assert made is not None
    return made


def config(listener: Listener | None) -> RouteConfig:
    assert listener is not None
    http = [one.network for one in listener.chains if isinstance(one.network, HttpConnections)]
    return (
        http[0].route_config if http else RouteConfig("", ())
    )  # an answer on the way lacks what is read next


def host_of(text: str, host: str, port: int = 80, address: str = "10.96.0.7") -> tuple[str, list[str]] | None:
    """(virtual host, where its routes lead) for a Host on a port."""

    def question(proxy: Proxy) -> list[tuple[str, list[str]]]:
        found = config(proxy.capture(address, port)).by_domain.get(host)
        return [(found.name, leads(found))] if found else []

    return next(iter(on_proxy(text, question)), None)


def leads(host: VirtualHost) -> list[str]:
    out = []
    for one in host.routes:
        if isinstance(one.action, Forward):
            out.append(one.action.clusters[0].cluster)
        elif isinstance(one.action, Direct):
            out.append(str(one.action.status))
    return out


def fallthrough(listener: Listener | None) -> str:
    assert listener is not None and listener.default_chain is not None
    network = listener.default_chain.network
    assert isinstance(network, TcpConnections)
    return network.clusters[0].cluster


DEFAULT = (f"{REVIEWS}:80", [f"outbound|80||{REVIEWS}"])


def test_identity_and_role() -> None:
    proxy = on_proxy("", lambda one: one)
    assert (proxy.role, proxy.identity) == ("sidecar", "cluster.local/ns/shop/sa/buyer")


def test_a_service_has_its_short_names_and_its_address() -> None:
    for host in (REVIEWS, f"{REVIEWS}.", "reviews.prod", "reviews.prod.svc", "10.96.0.7"):
        assert host_of("", host) == DEFAULT, host
    assert host_of("", "reviews") is None  # another namespace's name needs its namespace


def test_unknown_hosts_pass_through_or_are_refused() -> None:
    listener = on_proxy("", lambda proxy: proxy.capture("10.96.0.7", 80))
    assert listener is not None and listener.name == "0.0.0.0_80"
    assert fallthrough(listener) == "PassthroughCluster"
    assert host_of("", "*") == ("allow_any", ["PassthroughCluster"])
    closed = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}
"""
    assert host_of(closed, "*") == ("block_all", ["502"])
    nowhere = on_proxy(closed, lambda proxy: proxy.capture("198.51.100.1", 4444))
    assert nowhere is not None and nowhere.name == "virtualOutbound"
    assert fallthrough(nowhere) == "BlackHoleCluster"


def test_the_first_virtual_service_of_a_host_has_it_alone() -> None:
    text = route(
        "young", "prod", f"{{hosts: [reviews], http: {to('reviews', 9000)}}}", "2024-02-01T00:00:00Z"
    )
    text += route("old", "prod", f"{{hosts: [reviews], http: {to('reviews', 7000)}}}")
    assert host_of(text, "reviews.prod") == (f"{REVIEWS}:80", [f"outbound|7000||{REVIEWS}"])

    def losers(proxy: Proxy) -> list[tuple[str, str]]:
        found = config(proxy.capture("10.96.0.7", 80)).excluded_for("reviews.prod")
        return [(one.ref.name, one.reason) for one in found]

    assert any(name == "young" and "has the host first" in why for name, why in on_proxy(text, losers))


def test_a_private_virtual_service_goes_before_an_older_public_one() -> None:
    text = route("public", "prod", f"{{hosts: [{REVIEWS}], http: {to('reviews', 9000)}}}")
    text += route(
        "mine",
        "shop",
        f'{{hosts: [{REVIEWS}], exportTo: ["."], http: {to(REVIEWS, 7000)}}}',
        "2024-02-01T00:00:00Z",
    )
    assert host_of(text, REVIEWS) == (f"{REVIEWS}:80", [f"outbound|7000||{REVIEWS}"])


def test_virtual_services_of_gateways_do_not_count() -> None:
    text = route("edge", "prod", f"{{hosts: [reviews], gateways: [prod/gw], http: {to('reviews', 9000)}}}")
    assert host_of(text, REVIEWS) == DEFAULT
    both = route("both", "prod", f"{{hosts: [reviews], gateways: [gw, mesh], http: {to('reviews', 9000)}}}")
    assert host_of(both, REVIEWS) == (f"{REVIEWS}:80", [f"outbound|9000||{REVIEWS}"])

    def losers(proxy: Proxy) -> list[str]:
        return [one.reason for one in config(proxy.capture("10.96.0.7", 80)).excluded_for(REVIEWS)]

    assert any("not to mesh" in why for why in on_proxy(text, losers))


def test_hosts_that_are_no_services_count_on_port_80_only() -> None:
    text = route("outer", "shop", f"{{hosts: [www.example], http: {to(REVIEWS)}}}")
    assert host_of(text, "www.example") == ("www.example:80", [f"outbound|80||{REVIEWS}"])
    other = (
        text
        + """
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.8, selector: {app: web}, ports: [{name: http, port: 8080}]}
"""
    )
    assert host_of(other, "www.example", 8080, "10.96.0.8") is None


def test_a_service_entry_gives_its_host_a_place_on_its_ports() -> None:
    text = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: shop}
spec:
  hosts: [api.example, "*.wild.example"]
  resolution: NONE
  ports: [{number: 8080, name: h, protocol: HTTP}]
"""
    assert host_of(text, "api.example", 8080, "198.51.100.1") == (
        "api.example:8080",
        ["outbound|8080||api.example"],
    )
    assert host_of(text, "*.wild.example", 8080, "198.51.100.1") == (
        "*.wild.example:8080",
        ["outbound|8080||*.wild.example"],
    )


def test_wildcard_virtual_services_give_way_to_the_exact_one() -> None:
    text = route("wild", "prod", f'{{hosts: ["*.prod.svc.cluster.local"], http: {to("reviews", 7000)}}}')
    assert host_of(text, REVIEWS) == (f"{REVIEWS}:80", [f"outbound|7000||{REVIEWS}"])
    exact = text + route(
        "exact", "prod", f"{{hosts: [reviews], http: {to('reviews', 9000)}}}", "2024-02-01T00:00:00Z"
    )
    assert host_of(exact, REVIEWS) == (f"{REVIEWS}:80", [f"outbound|9000||{REVIEWS}"])


def test_aliases_are_names_of_what_they_point_to() -> None:
    alias = """
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: reviews.prod.svc.cluster.local}
"""
    assert host_of(alias, "alias") == DEFAULT
    assert host_of(alias, "alias.shop.svc.cluster.local") == DEFAULT
    claimed = alias.replace("cluster.local}", "cluster.local, ports: [{name: http, port: 80}]}") + route(
        "claims", "shop", f"{{hosts: [alias], http: {to(REVIEWS, 7000)}}}"
    )
    found = host_of(claimed, "alias")
    assert found is not None and found[1] == [f"outbound|7000||{REVIEWS}"]


def test_tcp_and_detected_ports_have_a_listener_of_the_services_address() -> None:
    tcp = on_proxy("", lambda proxy: proxy.capture("10.96.0.7", 9000))
    assert tcp is not None and (tcp.name, fallthrough(tcp)) == ("10.96.0.7_9000", f"outbound|9000||{REVIEWS}")
    auto = on_proxy("", lambda proxy: proxy.capture("10.96.0.7", 7000))
    assert auto is not None and fallthrough(auto) == f"outbound|7000||{REVIEWS}"
    assert [one.domains for one in config(auto).virtual_hosts] == [("*",)]
    secure = on_proxy("", lambda proxy: proxy.capture("10.96.0.7", 443))
    assert secure is not None and fallthrough(secure) == f"outbound|443||{REVIEWS}"


def test_a_name_stands_in_where_files_have_no_address() -> None:
    found = on_proxy("", lambda proxy: proxy.capture(REVIEWS, 9000))
    assert found is not None and fallthrough(found) == f"outbound|9000||{REVIEWS}"


def test_headless_services_have_a_listener_for_each_pod() -> None:
    own = on_proxy("", lambda proxy: proxy.capture("10.1.0.3", 9001))
    assert own is not None and fallthrough(own) == "outbound|9001||set.prod.svc.cluster.local"
    other = on_proxy("", lambda proxy: proxy.capture("10.1.0.3", 8080))
    assert other is not None and fallthrough(other) == "PassthroughCluster"
    assert host_of("", "*.set.prod") == (
        "set.prod.svc.cluster.local:80",
        ["outbound|80||set.prod.svc.cluster.local"],
    )


def test_tls_is_told_apart_by_server_name_where_there_is_no_address() -> None:
    text = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: shop}
spec: {hosts: [api.example, www.example], resolution: DNS, ports: [{number: 8443, name: t, protocol: TLS}]}
"""
    text += route(
        "www", "shop",
        "{hosts: [www.example], tls: [{match: [{port: 8443, sniHosts: [www.example]}],"
        " route: [{destination: {host: api.example, port: {number: 8443}}}]}]}",
    )  # fmt: skip
    listener = on_proxy(text, lambda proxy: proxy.capture("198.51.100.1", 8443))
    assert listener is not None and listener.name == "0.0.0.0_8443"
    found = {
        one.match.server_names: one.network.clusters[0].cluster
        for one in listener.chains
        if isinstance(one.network, TcpConnections)
    }
    assert found == {
        ("api.example",): "outbound|8443||api.example",
        ("www.example",): "outbound|8443||api.example",
    }
    assert fallthrough(listener) == "PassthroughCluster"


def test_a_sidecar_resource_narrows_what_is_known() -> None:
    text = """
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: istio-system}
spec: {egress: [{hosts: ["./*", "istio-system/*"]}], outboundTrafficPolicy: {mode: ALLOW_ANY}}
"""
    listener = on_proxy(text, lambda proxy: proxy.capture("10.96.0.7", 9000))
    assert listener is not None and fallthrough(listener) == "PassthroughCluster"

    def question(proxy: Proxy) -> list[str]:
        made = proxy.capture("10.96.0.7", 80)
        return [made.name] if made else []

    assert on_proxy(text, question) == ["virtualOutbound"]


def test_annotations_keep_connections_from_the_sidecar() -> None:
    def captured(annotation: str, address: str = "10.96.0.7", port: int = 80) -> bool:
        changed = BASE.replace(
            "labels: {app: client}}", f"labels: {{app: client}}, annotations: {{{annotation}}}}}"
        )

        def question(world: World) -> bool:
            pod = world.get(kinds.POD, "shop", "client")
            proxy = sidecar_proxy(world, pod) if pod else None
            return bool(proxy and proxy.capture(address, port))

        return answer(changed, question)

    prefix = "traffic.sidecar.istio.io"
    assert captured("a: b") and not captured("a: b", "127.0.0.1")
    assert not captured(f'{prefix}/excludeOutboundPorts: "80"')
    assert not captured(f"{prefix}/excludeOutboundIPRanges: 10.96.0.0/16")
    assert not captured(f"{prefix}/includeOutboundIPRanges: 10.1.0.0/16")
    assert captured(f'{prefix}/includeOutboundIPRanges: 10.1.0.0/16, {prefix}/includeOutboundPorts: "80"')


Chain = tuple[str, tuple[str, ...], bool, bool]


def inbound(text: str, port: int) -> list[Chain]:
    """(transport, ALPN, mesh TLS, HTTP) of the chains that guard a port of the reviews pod."""

    def question(proxy: Proxy) -> list[Chain]:
        found = proxy.inbound(port)
        return [
            (
                one.match.transport,
                one.match.alpn,
                one.tls.mode is TlsMode.MESH,
                isinstance(one.network, HttpConnections),
            )
            for one in (found.chains if found else ())
        ]

    return on_proxy(text, question, "prod/reviews-1")


def demands(mode: str) -> str:
    return f"""
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: prod}}
spec: {{mtls: {{mode: {mode}}}}}
"""


def test_inbound_chains_by_mode_and_protocol() -> None:
    def shape(text: str, port: int) -> list[tuple[str, bool, bool]]:
        return [(transport, mesh, http) for transport, _, mesh, http in inbound(text, port)]

    assert shape("", 8080) == [("tls", True, True), ("raw_buffer", False, True)]
    assert shape(demands("STRICT"), 8080) == [("tls", True, True)]
    assert shape(demands("DISABLE"), 8080) == [("raw_buffer", False, True)]
    assert shape("", 9000) == [("tls", True, False), ("raw_buffer", False, False), ("tls", False, False)]
    assert shape(demands("STRICT"), 9000) == [("tls", True, False)]
    detected = shape("", 7000)
    assert (detected.count(("tls", True, True)), detected.count(("raw_buffer", False, True))) == (1, 1)
    assert len(detected) == 5 and shape("", 4321) == detected  # a port of no Service is detected as well
    assert {alpn for _, alpn, mesh, http in inbound("", 7000) if mesh and http} == {
        ("istio-http/1.0", "istio-http/1.1", "istio-h2")
    }


def test_the_older_service_says_what_a_port_speaks() -> None:
    text = """
---
apiVersion: v1
kind: Service
metadata: {name: younger, namespace: prod, creationTimestamp: '2024-02-01T00:00:00Z'}
spec: {selector: {app: reviews}, ports: [{name: tcp, port: 1, targetPort: 8080}]}
"""
    assert [http for *_, http in inbound(text, 8080)] == [True, True]
    listener = on_proxy(text, lambda proxy: proxy.inbound(8080), "prod/reviews-1")
    assert listener is not None and listener.excluded[0].ref.name == "younger"


def test_ports_of_the_agent_go_past_the_sidecar() -> None:
    for port in (15020, 15021, 15090):
        assert inbound("", port) == []


def test_one_host_reads_one_service_of_a_live_cluster() -> None:
    files = read_files(["-"], complete=True, stdin=io.BytesIO(BASE.encode()))
    asked: list[Need] = []

    class Live:
        origin = Origin.LIVE

        def read(self, needs: list[Need]) -> list[Read]:
            asked.extend(needs)
            return files.read(needs)

    def question(world: World) -> VirtualHost | None:
        pod = world.get(kinds.POD, "shop", "client")
        proxy = sidecar_proxy(world, pod) if pod else None
        listener = proxy.capture(REVIEWS, 80) if proxy else None
        return config(listener).by_domain.get("reviews.prod") if listener else None

    found = ask(Live(), World(Origin.LIVE), question)
    # no node has admitted the pod, so without the proxy's container there is no sidecar to ask
    assert found is None
    injected = BASE.replace(
        "serviceAccountName: buyer, containers: [",
        "containers: [{name: istio-proxy, image: proxy, args: [proxy, sidecar]}, ",
    )
    files = read_files(["-"], complete=True, stdin=io.BytesIO(injected.encode()))
    asked.clear()
    found = ask(Live(), World(Origin.LIVE), question)
    assert found is not None and found.name == f"{REVIEWS}:80"
    services = [need for need in asked if need.kind == kinds.SERVICE]
    assert services and all(need.name is not None for need in services)
