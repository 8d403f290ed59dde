"""The walk through proxies made by hand: listeners, TLS, filters, routes, clusters, endpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kgdiag.model.proxy import (
    ChainMatch,
    ClientTls,
    Cors,
    Direct,
    Endpoint,
    Excluded,
    Fault,
    FilterRequest,
    HeaderEdits,
    How,
    HttpFilter,
    Origin,
    PathRewrite,
    Proxy,
    Redirect,
    RouteConfig,
    RouteMatch,
    Ruling,
    ServerTls,
    StringMatch,
    TcpConnections,
    TlsMode,
    ValueMatch,
    Verdict,
    VirtualHost,
    WeightedCluster,
)
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Result, Trace
from tests.trace.world import (
    GATEWAY,
    ROUTES,
    at,
    chain,
    cluster,
    config,
    down,
    listener,
    only,
    pod,
    proxy,
    route,
    run,
    said,
    service,
)

TEXT = service("gw", "infra", "80:8080,443:8443", type="LoadBalancer") + pod("gw-1", "infra", "gw")
TEXT += service("web", "apps", "80:8080") + pod("web-1", "apps", "web") + pod("web-2", "apps", "web")
VIA = "svc/gw.infra"
WEB = cluster("web", at("web-1"), at("web-2"))


def gateway(
    *chains: object, clusters: tuple[object, ...] = (WEB,), port: int = 8080, **more: object
) -> Proxy:
    return proxy(
        "gw-1", "infra", [listener(port, *chains, **more)], clusters, identity="cluster.local/ns/infra/sa/gw"
    )  # type: ignore[arg-type]


def http(*routes: object, clusters: tuple[object, ...] = (WEB,), **more: object) -> Proxy:
    return gateway(chain(config(*routes)), clusters=clusters, **more)  # type: ignore[arg-type]


def ask(
    which: Proxy, url: str = "http://shop.com/a?q=1", *others: Proxy, text: str = TEXT, **asked: object
) -> Trace:
    return run(text, url, which, *others, **{"via": VIA, **asked})  # type: ignore[arg-type]


# -- the plain way -------------------------------------------------------------------------------------


def test_delivered_through_a_gateway() -> None:
    path = only(ask(http(route("/"))))
    out = path.outcome
    assert (path.entry, out.result, out.status, out.flag, out.cluster) == (
        Ref("", "Service", "infra", "gw"),
        Result.DELIVERED,
        None,
        None,
        "web",
    )
    assert [str(hop.action) for hop in path.hops] == [
        "selects",
        "accepts",
        "matches",
        "routes",
        "forwards",
        "answers",
    ]
    assert out.backend and (out.backend.service, out.backend.port) == (Ref("", "Service", "apps", "web"), 80)
    assert [ref.name for ref in out.pods] == ["web-1", "web-2"]
    last = path.hops[-1].request
    assert last and (last.authority, last.target, last.method) == ("shop.com", "/a?q=1", "GET")


def test_the_first_route_that_matches_wins_and_the_losers_say_why() -> None:
    routes = [
        route("/b", part="http[0]"),
        route("/a", part="http[1]", match=RouteMatch(StringMatch(How.PREFIX, "/a"), (ValueMatch("x"),))),
        route("/", part="http[2]"),
        route("/a", part="http[3]", how=How.EXACT),
    ]
    hop = next(hop for hop in only(ask(http(*routes))).hops if hop.action == "matches")
    assert hop.detail.startswith("Host shop.com is * of http.8080; VirtualService apps/web http[2] matches")
    assert {one.rule: one.reason for one in hop.rejected} == {
        "http[1]": "header x is missing",
        "http[3]": "it matches too, but http[2] comes first",
        "http[0]": "path /a does not match prefix /b",
    }
    assert hop.rejected[-1].rule == "http[0]"  # the farthest miss comes last


def test_many_losers_are_cut_with_a_count() -> None:
    routes = [route(f"/x{number}", part=f"http[{number}]") for number in range(30)] + [route("/")]
    hop = next(hop for hop in only(ask(http(*routes))).hops if hop.action == "matches")
    assert len(hop.rejected) == 12 and hop.rejected[-1].reason.endswith("; and 18 more")


def test_no_route_is_404_with_near_misses() -> None:
    hosts = (
        VirtualHost("one", ("shop.org",), lambda: (route("/"),), origin=Origin(ROUTES, "hosts[0]")),
        VirtualHost("two", ("far.example.net",), lambda: (route("/"),), origin=Origin(ROUTES, "hosts[1]")),
    )
    path = only(ask(gateway(chain(RouteConfig("http.8080", hosts)))))
    assert (path.outcome.status, path.outcome.flag, path.outcome.cluster) == (404, "NR", None)
    assert [one.rule for one in path.hops[-1].rejected] == ["hosts[0]", "hosts[1]"]
    assert "differs in one label" in path.hops[-1].rejected[0].reason
    assert ROUTES in path.outcome.blame


def test_a_route_on_another_listener_is_a_near_miss() -> None:
    other = listener(8443, chain(config(route("/"))))
    which = proxy("gw-1", "infra", [listener(8080, chain(config(domains=("x.y",)))), other], [WEB])
    rejected = only(ask(which)).hops[-1].rejected
    assert any("would match on port 8443" in one.reason for one in rejected)


def test_no_listener_is_refused() -> None:
    refused = replace(
        http(route("/"), port=9999),
        excluded_at=lambda _port: (Excluded(GATEWAY, "servers[0]", "skipped", 0),),
    )
    path = only(ask(refused))
    assert (path.outcome.result, path.outcome.status, path.outcome.flag) == (Result.REFUSED, None, None)
    assert "nothing listens on port 8080" in path.outcome.reason
    assert path.outcome.fix == "Gateway infra/gw servers[0]: skipped"
    assert path.hops[-1].rejected[0].reason == "skipped" and path.outcome.blame[0] == GATEWAY


def test_dynamic_conditions_are_unknown() -> None:
    match = RouteMatch(StringMatch(How.PREFIX, "/"), dynamic=("the JWT claim role is admin",))
    out = only(ask(http(route(match=match), route("/")))).outcome
    assert out.result is Result.UNKNOWN and "claim role" in out.reason


def test_a_proxy_whose_config_is_not_known_is_unknown() -> None:
    out = only(ask(replace(http(route("/")), unknown="VirtualServices could not be read"))).outcome
    assert (out.result, out.reason) == (Result.UNKNOWN, "VirtualServices could not be read")


# -- actions -------------------------------------------------------------------------------------------


def test_redirect() -> None:
    out = only(ask(http(route(action=Redirect(scheme="https", status=308))))).outcome
    assert (out.result, out.status, out.flag) == (Result.REFUSED, 308, None)
    assert out.location == "https://shop.com/a?q=1"


def test_direct_response() -> None:
    out = only(ask(http(route(action=Direct(418))))).outcome
    assert (out.status, out.flag, out.location) == (418, None, None)


def test_tls_is_required() -> None:
    hosts = (VirtualHost("v", ("*",), lambda: (route("/"),), require_tls="all"),)
    out = only(
        ask(gateway(chain(RouteConfig("r", hosts))), "http://shop.com:8080/a", via="svc/gw.infra:80")
    ).outcome
    assert (out.status, out.location) == (301, "https://shop.com:8080/a")


def test_grpc_gets_its_status_in_a_200() -> None:
    out = only(ask(http(route("/none")), "grpc://shop.com/pkg.S/M")).outcome
    assert (out.status, out.grpc_status, out.flag) == (200, 12, "NR")


def test_host_path_and_headers_are_rewritten() -> None:
    shares = (
        WeightedCluster(
            "web", request_headers=HeaderEdits((("set", "host", "one.internal"), ("add", "x-a", "1")))
        ),
    )
    one = route("/a", to=(), part="http[0]", forward={"path_rewrite": PathRewrite("prefix", "/v2")})
    one = replace(one, action=replace(one.action, clusters=shares), request_headers=HeaderEdits((), ("x-b",)))  # type: ignore[type-var, arg-type]
    path = only(ask(http(one), "http://shop.com/a/b?q=1", headers=["X-B: 2"]))
    seen = path.hops[-1].request
    assert seen and (seen.authority, seen.target, seen.headers) == (
        "one.internal",
        "/v2/b?q=1",
        (("x-a", "1"),),
    )
    assert (
        said(path)["rewrites"]
        == "Host shop.com → one.internal; path /a/b?q=1 → /v2/b?q=1; header x-b removed; header x-a: 1"
    )


def test_a_host_rewrite_beats_a_host_header() -> None:
    one = route(
        "/",
        forward={"host_rewrite": "b.internal"},
        request_headers=HeaderEdits((("set", "host", "a.internal"),)),
    )
    seen = only(ask(http(one))).hops[-1].request
    assert seen and seen.authority == "b.internal"


def test_response_headers_of_all_levels() -> None:
    one = route("/", response_headers=HeaderEdits((("set", "A", "1"), ("add", "b", "2"))))
    wide = config(one, response_headers=HeaderEdits((("set", "a", "9"),), ("c",)))
    headers = only(ask(gateway(chain(wide)))).outcome.response_headers
    assert headers.to_json() == {"set": {"a": "9"}, "add": {"b": "2"}, "remove": ["c"]}


def test_weights_give_paths_and_zero_gives_none() -> None:
    two = cluster("two", at("web-2"), svc="two")
    found = ask(http(route("/", [("web", 3), ("two", 1), ("gone", 0)]), clusters=(WEB, two)))
    assert sorted((path.outcome.cluster, path.weight) for path in found.paths) == [
        ("two", 0.25),
        ("web", 0.75),
    ]


def test_a_missing_cluster_fails_its_share_alone() -> None:
    found = ask(http(route("/", [("web", 1), ("gone", 1)], forward={"not_found": 500})))
    assert sorted(
        (path.weight, path.outcome.status, path.outcome.flag) for path in found.paths if path.outcome.status
    ) == [(0.5, 500, "NC")]


def test_faults_split_and_all_is_one_path() -> None:
    half = ask(http(route("/", fault=Fault(abort_status=418, abort_percent=50))))
    assert {(path.weight, path.outcome.status, path.outcome.flag) for path in half.paths} == {
        (0.5, 418, "FI"),
        (0.5, None, None),
    }
    whole = only(ask(http(route("/", fault=Fault(abort_status=503, abort_percent=100)))))
    assert (whole.weight, whole.outcome.status) == (1.0, 503)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("OPTIONS", ["Origin: http://a.com", "Access-Control-Request-Method: GET"], 200),
        ("OPTIONS", ["Origin: http://b.com", "Access-Control-Request-Method: GET"], None),
        ("OPTIONS", ["Origin: http://a.com"], None),
        ("GET", ["Origin: http://a.com", "Access-Control-Request-Method: GET"], None),
    ],
)
def test_cors_preflights(method: str, headers: list[str], status: int | None) -> None:
    cors = Cors((StringMatch(How.EXACT, "http://a.com"),))
    assert only(ask(http(route("/", cors=cors)), method=method, headers=headers)).outcome.status == status


# -- paths ---------------------------------------------------------------------------------------------


def test_paths_are_matched_and_sent_normalized() -> None:
    path = only(ask(http(route("/b", how=How.EXACT)), "http://shop.com/a/../b"))
    assert path.outcome.result is Result.DELIVERED
    assert path.hops[-1].request and path.hops[-1].request.target == "/b"


@pytest.mark.parametrize(
    ("mode", "status"), [("keep", 404), ("reject", 400), ("redirect", 307), ("decode", None)]
)
def test_escaped_slashes(mode: str, status: int | None) -> None:
    which = gateway(chain(config(route("/a/b", how=How.EXACT)), escaped_slashes=mode))
    out = only(ask(which, "http://shop.com/a%2Fb")).outcome
    assert out.status == status
    assert out.location == ("/a/b" if mode == "redirect" else None)  # relative, as measured


# -- filters -------------------------------------------------------------------------------------------


def _filter(verdict: Verdict, name: str, stage: int = 0, status: int = 403) -> HttpFilter:
    return HttpFilter(
        name, lambda _asked: Ruling(verdict, f"{name} says so", status), Origin(ROUTES, name), stage
    )


def test_a_filter_denies_before_the_missing_route_is_told() -> None:
    which = gateway(chain(config(), filters=(_filter(Verdict.DENY, "rbac"),)))
    assert only(ask(which)).outcome.status == 403


def test_filters_judge_in_their_order_and_a_route_adds_its_own() -> None:
    route_ = route("/", filters=(_filter(Verdict.DENY, "early", 1, 401),))
    which = gateway(chain(config(route_), filters=(_filter(Verdict.DENY, "late", 2),)))
    out = only(ask(which)).outcome
    assert (out.status, out.reason) == (401, "early says so")


def test_an_unknown_verdict_is_an_unknown_outcome_unless_another_denies() -> None:
    doubt = _filter(Verdict.UNKNOWN, "jwt", 0)
    assert only(ask(gateway(chain(config(route("/")), filters=(doubt,))))).outcome.result is Result.UNKNOWN
    which = gateway(chain(config(route("/")), filters=(doubt, _filter(Verdict.DENY, "rbac", 1))))
    assert only(ask(which)).outcome.status == 403


def test_late_filters_stand_behind_cors() -> None:
    cors = Cors((StringMatch(How.PREFIX, "http"),))
    which = gateway(chain(config(route("/", cors=cors)), filters=(_filter(Verdict.DENY, "late", 100),)))
    headers = ["Origin: http://a.com", "Access-Control-Request-Method: GET"]
    assert only(ask(which, method="OPTIONS", headers=headers)).outcome.status == 200
    assert only(ask(which)).outcome.status == 403


def test_a_filter_sees_the_request_and_its_peer() -> None:
    seen: list[FilterRequest] = []

    def judge(asked: FilterRequest) -> Ruling:
        seen.append(asked)
        return Ruling(Verdict.ALLOW, "")

    tls = ServerTls(TlsMode.MESH)
    which = gateway(chain(config(route("/")), filters=(HttpFilter("spy", judge),), tls=tls))
    text = TEXT + pod("client", "team", ip="10.0.0.9")
    ask(which, "https://shop.com:80/a?q=1", text=text, origin="pod/client.team", client_cert="mesh", via=VIA)
    assert (seen[-1].path, seen[-1].query, seen[-1].sni, seen[-1].local_port) == (
        "/a",
        "q=1",
        "shop.com",
        8080,
    )
    assert seen[-1].peer.principal == "cluster.local/ns/team/sa/default"
    assert (seen[-1].peer.address, seen[-1].peer.namespace) == ("10.0.0.9", "team")


# -- TLS of the client ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "url", "cert", "result"),
    [
        (TlsMode.TERMINATE, "https://shop.com", "none", Result.DELIVERED),
        (TlsMode.TERMINATE, "http://shop.com:443", "none", Result.REFUSED),
        (TlsMode.NONE, "https://shop.com", "none", Result.REFUSED),
        (TlsMode.MUTUAL, "https://shop.com", "none", Result.REFUSED),
        (TlsMode.MUTUAL, "https://shop.com", "mesh", Result.REFUSED),
        (TlsMode.MUTUAL, "https://shop.com", "client.pem", Result.DELIVERED),
        (TlsMode.OPTIONAL_MUTUAL, "https://shop.com", "none", Result.DELIVERED),
        (TlsMode.MESH, "https://shop.com", "none", Result.REFUSED),
        (TlsMode.MESH, "https://shop.com", "mesh", Result.DELIVERED),
        (TlsMode.MESH, "http://shop.com:443", "none", Result.REFUSED),
    ],
)
def test_handshakes(mode: TlsMode, url: str, cert: str, result: Result) -> None:
    which = gateway(chain(config(route("/")), tls=ServerTls(mode)), port=8443)
    out = only(ask(which, url, client_cert=cert)).outcome
    assert (out.result, out.status, out.flag) == (result, None, None)


def test_a_certificate_that_is_not_there_ends_the_handshake() -> None:
    tls = ServerTls(TlsMode.TERMINATE, problem="Secret infra/cert does not exist")
    out = only(ask(gateway(chain(config(route("/")), tls=tls), port=8443), "https://shop.com")).outcome
    assert (out.result, out.status) == (Result.REFUSED, None) and "infra/cert" in out.reason


def test_server_names_choose_and_strangers_are_closed() -> None:
    tls = ServerTls(TlsMode.TERMINATE)
    one = chain(config(route("/")), tls=tls, match=ChainMatch(("*.shop.com",)))
    which = gateway(one, port=8443)
    assert only(ask(which, "https://a.shop.com")).outcome.result is Result.DELIVERED
    path = only(ask(which, "https://shop.com"))
    assert (path.outcome.result, path.outcome.status) == (Result.REFUSED, None)
    assert "server names are *.shop.com, the client sends shop.com" in path.hops[-1].rejected[0].reason
    assert only(ask(which, "https://1.2.3.4", via=VIA)).outcome.result is Result.REFUSED
    assert only(ask(which, "https://1.2.3.4", sni="a.shop.com", via=VIA)).outcome.result is Result.DELIVERED


def test_bytes_to_http_and_http_to_tcp() -> None:
    assert only(ask(http(route("/")), "tcp://shop.com:80")).outcome.status is None
    assert only(ask(http(route("/")), "tcp://shop.com:80")).outcome.result is Result.REFUSED
    tcp = gateway(chain(TcpConnections((WeightedCluster("web"),))))
    assert only(ask(tcp)).outcome.result is Result.DELIVERED
    assert only(ask(tcp, "tcp://shop.com:80")).outcome.result is Result.DELIVERED


def test_passthrough_keeps_the_clients_tls() -> None:
    tcp = TcpConnections((WeightedCluster("web"),))
    match = ChainMatch(("shop.com",), transport="tls")
    which = gateway(chain(tcp, tls=ServerTls(TlsMode.PASSTHROUGH), match=match), port=8443)
    text = TEXT.replace("name: http-0, port: 80, targetPort: 8080", "name: https, port: 80, targetPort: 8080")
    assert only(ask(which, "https://shop.com", text=text)).outcome.result is Result.DELIVERED
    assert only(ask(which, "https://shop.com")).outcome.result is Result.REFUSED  # to plaintext HTTP
    assert only(ask(which, "http://shop.com:443")).outcome.result is Result.REFUSED


def test_a_tcp_chain_without_cluster_closes() -> None:
    out = only(ask(gateway(chain(TcpConnections())), "tcp://x:80")).outcome
    assert (out.result, out.status) == (Result.REFUSED, None)


# -- upstream ------------------------------------------------------------------------------------------


def test_no_endpoint_is_503_uh() -> None:
    none = cluster("web", down("web-1"))
    path = only(ask(http(route("/"), clusters=(none,))))
    assert (path.outcome.status, path.outcome.flag, path.outcome.cluster) == (503, "UH", "web")
    assert path.outcome.backend and path.outcome.backend.service == Ref("", "Service", "apps", "web")
    assert path.hops[-1].rejected[0].object == Ref("", "Pod", "apps", "web-1")


def test_what_a_proxy_answers_without_endpoints_is_its_own() -> None:
    none = cluster("web", empty_status=500, empty_flag=None)
    out = only(ask(http(route("/"), clusters=(none,)))).outcome
    assert (out.status, out.flag) == (500, None)


def test_panic_lets_the_unhealthy_serve() -> None:
    assert (
        only(ask(http(route("/"), clusters=(cluster("web", down("web-1"), panic=True),)))).outcome.result
        is Result.DELIVERED
    )


def test_a_cluster_that_cannot_be_known() -> None:
    out = only(
        ask(http(route("/"), clusters=(cluster("web", unknown="EndpointSlices could not be read"),)))
    ).outcome
    assert (out.result, out.reason) == (Result.UNKNOWN, "EndpointSlices could not be read")


def sidecar(
    name: str, tls: TlsMode, *, also_plain: bool = False, filters: tuple[HttpFilter, ...] = ()
) -> Proxy:
    """A sidecar's inbound side: mutual TLS, plaintext or both."""
    chains = []
    if tls is not TlsMode.NONE:
        chains.append(chain(config(), tls=ServerTls(tls), match=ChainMatch(transport="tls"), filters=filters))
    if tls is TlsMode.NONE or also_plain:
        chains.append(chain(config(), match=ChainMatch(transport="raw_buffer"), filters=filters))
    one = listener(15006, *chains)
    return proxy(name, "apps", [], [], role="sidecar", inbound=lambda _port: one)


@pytest.mark.parametrize(
    ("client", "server", "status", "flag"),
    [
        (ClientTls.PLAIN, None, None, None),
        (ClientTls.MESH, None, 503, "UF"),  # TLS to an application that speaks none
        (ClientTls.SIMPLE, None, 503, "UF"),
        (ClientTls.AUTO, None, None, None),
        (ClientTls.PLAIN, TlsMode.MESH, 503, "UC"),  # plaintext to STRICT
        (ClientTls.MESH, TlsMode.NONE, 503, "UF"),  # TLS to DISABLE: a handshake that never ends
        (ClientTls.MESH, TlsMode.MESH, None, None),
        (ClientTls.AUTO, TlsMode.MESH, None, None),
    ],
)
def test_tls_between_proxies(
    client: ClientTls, server: TlsMode | None, status: int | None, flag: str | None
) -> None:
    web = cluster("web", at("web-1", tls=server is not None), tls=client)
    others = [sidecar("web-1", server)] if server else []
    out = only(ask(http(route("/"), clusters=(web,)), "http://shop.com", *others)).outcome
    assert (out.status, out.flag) == (status, flag)
    assert out.result is (Result.DELIVERED if status is None else Result.REFUSED)


def test_permissive_takes_both() -> None:
    server = sidecar("web-1", TlsMode.MESH, also_plain=True)
    for tls in (ClientTls.PLAIN, ClientTls.MESH):
        web = cluster("web", at("web-1"), tls=tls)
        assert (
            only(ask(http(route("/"), clusters=(web,)), "http://shop.com", server)).outcome.result
            is Result.DELIVERED
        )


def test_the_server_sees_the_clients_principal_with_mtls_alone() -> None:
    seen: list[str | None] = []

    def judge(asked: FilterRequest) -> Ruling:
        seen.append(asked.peer.principal)
        return Ruling(Verdict.ALLOW, "")

    server = sidecar("web-1", TlsMode.MESH, also_plain=True, filters=(HttpFilter("spy", judge),))
    for tls in (ClientTls.MESH, ClientTls.PLAIN):
        ask(http(route("/"), clusters=(cluster("web", at("web-1"), tls=tls),)), "http://shop.com", server)
    assert set(seen) == {"cluster.local/ns/infra/sa/gw", None} and seen[-1] is None


def test_a_sidecar_that_denies_answers_itself() -> None:
    server = sidecar("web-1", TlsMode.MESH, filters=(_filter(Verdict.DENY, "rbac"),))
    web = cluster("web", at("web-1"), tls=ClientTls.MESH)
    assert only(ask(http(route("/"), clusters=(web,)), "http://shop.com", server)).outcome.status == 403


def test_replicas_that_differ_are_paths_of_their_own() -> None:
    text = TEXT.replace("labels: {app: web}", "labels: {app: web, v: '1'}", 1)
    found = ask(http(route("/")), "http://shop.com", sidecar("web-1", TlsMode.MESH), text=text)
    assert {
        (path.weight, path.outcome.status, tuple(one.name for one in path.outcome.pods))
        for path in found.paths
    } == {(0.5, 503, ()), (0.5, None, ("web-2",))}


def test_replicas_that_are_alike_are_one_path_whatever_their_version() -> None:
    text = TEXT.replace("labels: {app: web}", "labels: {app: web, v: '1'}", 1)
    path = only(ask(http(route("/")), "http://shop.com", text=text))
    assert [one.name for one in path.outcome.pods] == ["web-1", "web-2"] and path.weight == 1


def test_hosts_outside_of_the_cluster() -> None:
    entry = Ref("networking.istio.io", "ServiceEntry", "apps", "ext")
    ext = cluster(
        "ext", Endpoint("", 443, hostname="api.org"), kind="dns", external=True, service=entry, port=443
    )
    out = only(ask(http(route("/", [("ext", 1)]), clusters=(ext,)))).outcome
    assert (out.result, out.pods) == (Result.EXTERNAL, ()) and out.backend and out.backend.service == entry


def test_a_dns_cluster_with_a_name_of_this_cluster_leads_there() -> None:
    ext = cluster(
        "ext", Endpoint("", 80, hostname="web.apps.svc.cluster.local"), kind="dns", external=True, port=80
    )
    out = only(ask(http(route("/", [("ext", 1)]), clusters=(ext,)))).outcome
    assert (
        out.result is Result.DELIVERED
        and out.backend
        and out.backend.service == Ref("", "Service", "apps", "web")
    )


# -- onward --------------------------------------------------------------------------------------------


def test_a_hairpin_is_followed_with_the_new_host() -> None:
    first = route("/", [("local", 1)], request_headers=HeaderEdits((("set", "host", "web.local"),)))
    second = config(route("/"), domains=("web.local",), name="http.8081")
    which = proxy(
        "gw-1",
        "infra",
        [listener(8080, chain(config(first))), listener(8081, chain(second))],
        [WEB, cluster("local", at("gw-1", "infra", 8081), svc="gw")],
    )
    path = only(ask(which))
    assert path.outcome.result is Result.DELIVERED
    assert [hop.detail.split(" ")[5] for hop in path.hops if hop.action == "accepts"] == ["8080", "8081"]
    assert path.hops[-1].request and path.hops[-1].request.authority == "web.local"


def test_a_loop_ends() -> None:
    again = cluster("again", at("gw-1", "infra", 8080), svc="gw")
    out = only(ask(http(route("/", [("again", 1)]), clusters=(again,)))).outcome
    assert out.result is Result.REFUSED and out.reason.startswith("loop")


def test_a_loop_that_grows_ends_too() -> None:
    again = cluster("again", at("gw-1", "infra", 8080), svc="gw")
    one = route("/", [("again", 1)], forward={"path_rewrite": PathRewrite("prefix", "/x/")})
    out = only(ask(http(one, clusters=(again,)))).outcome
    assert out.result is Result.REFUSED and out.reason.startswith("loop")


def test_a_clients_sidecar_takes_its_connection() -> None:
    out_listener = listener(80, chain(config(route("/"), domains=("web.apps.svc.cluster.local", "web.apps"))))
    asked: list[tuple[str, int]] = []

    def capture(address: str, port: int) -> object:
        asked.append((address, port))
        return out_listener

    client = proxy("client", "team", [], [WEB], role="sidecar", capture=capture)
    text = TEXT + pod("client", "team")
    path = only(run(text, "http://web.apps/x", client, origin="pod/client.team"))
    assert path.outcome.cluster == "web" and path.outcome.result is Result.DELIVERED
    assert asked[-1] == ("web.apps.svc.cluster.local", 80)  # files have no cluster IP


def test_passthrough_of_a_sidecar_goes_where_the_client_meant() -> None:
    passing = cluster("PassthroughCluster", kind="original_dst", service=None)
    tcp = listener(15001, chain(TcpConnections((WeightedCluster("PassthroughCluster"),))))
    client = proxy("client", "team", [], [passing], role="sidecar", capture=lambda _address, _port: tcp)
    text = TEXT + pod("client", "team")
    path = only(run(text, "http://web.apps/x", client, origin="pod/client.team"))
    assert path.outcome.result is Result.DELIVERED and path.outcome.backend
    assert path.outcome.backend.service == Ref("", "Service", "apps", "web")
    outside = only(run(text, "http://example.com/", client, origin="pod/client.team"))
    assert outside.outcome.result is Result.EXTERNAL
    strict = sidecar("web-1", TlsMode.MESH)
    reset = run(
        TEXT.replace(pod("web-2", "apps", "web"), "") + pod("client", "team"),
        "http://web.apps/",
        client,
        strict,
        origin="pod/client.team",
    )
    assert (only(reset).outcome.result, only(reset).outcome.status) == (Result.REFUSED, None)


def test_pods_that_get_the_same_request_are_one_path_whatever_guards_them() -> None:
    """Two workloads of one Service, one with a permissive sidecar: the outcome is one."""
    text = TEXT.replace("labels: {app: web}", "labels: {app: web, v: '1'}", 1)
    guarded = proxy("web-1", "apps", [], [], role="sidecar")
    path = only(ask(http(route("/")), "http://shop.com", guarded, text=text))
    assert [one.name for one in path.outcome.pods] == ["web-1", "web-2"]
