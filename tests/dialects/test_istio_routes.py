"""VirtualService routes as istiod makes them. Facts without a comment were compared with Istio 1.31."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.routes import (
    RouteContext,
    any_route,
    claim_of,
    gateway_name,
    http_excluded,
    http_routes,
    tcp_routes,
    tls_routes,
)
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import (
    Direct,
    Excluded,
    Fault,
    Forward,
    HeaderEdits,
    How,
    PathRewrite,
    Redirect,
    Route,
    StringMatch,
    ValueMatch,
)
from tests.support import answer

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 8000, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: many, namespace: shop}
spec: {selector: {app: web}, ports: [{name: a, port: 80}, {name: b, port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: web.shop.svc.cluster.local}
---
"""


def indent(text: str, by: int) -> str:
    return "\n".join(" " * by + line for line in text.strip("\n").splitlines())


def virtual_service(http: str, more: str = "", name: str = "v", namespace: str = "shop") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [shop.example.com]
  gateways: [gw/public]
{indent(more, 2)}
  http:
{indent(http, 2)}
---
"""


def context(
    world: World, port: int = 80, tls: bool = False, labels: Mapping[str, str] | None = None
) -> RouteContext:
    return RouteContext(
        world, mesh_of(world), "gw/public", port, "gw", labels or {"istio": "ingressgateway"}, tls=tls
    )


def lower(text: str, **options: object) -> tuple[tuple[Route, ...], tuple[Excluded, ...]]:
    def question(world: World) -> tuple[tuple[Route, ...], tuple[Excluded, ...]]:
        found = world.get(kinds.VIRTUAL_SERVICE, "shop", "v")
        if found is None:
            return (), ()
        one = context(world, **options)  # type: ignore[arg-type]
        assert any_route(one, found) == bool(http_routes(one, found))
        return http_routes(one, found), http_excluded(one, found)

    return answer(SERVICES + text, question)


def only(http: str, **options: object) -> Route:
    routes, excluded = lower(virtual_service(http), **options)
    assert len(routes) == 1, excluded
    return routes[0]


def forward(route: Route) -> Forward:
    assert isinstance(route.action, Forward)
    return route.action


# -- matches ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("uri: {exact: /a}", StringMatch(How.EXACT, "/a")),
        ("uri: {prefix: /a/}", StringMatch(How.PREFIX, "/a/")),
        ("uri: {regex: '/a.*'}", StringMatch(How.REGEX, "/a.*")),
        ("uri: {regex: '/(?!a)'}", StringMatch(How.INVALID, "/(?!a)")),  # no look-ahead in RE2
        ("{uri: {prefix: /a}, ignoreUriCase: true}", StringMatch(How.PREFIX, "/a", ignore_case=True)),
        ("method: {exact: GET}", StringMatch(How.PREFIX, "/")),
    ],
)
def test_paths(uri: str, expected: StringMatch) -> None:
    route = only(f"- match:\n  - {uri}\n  route: [{{destination: {{host: web}}}}]")
    assert route.match.path == expected


def test_conditions_of_one_match() -> None:
    route = only("""
- match:
  - name: m
    uri: {prefix: /}
    headers: {X-User: {exact: jason}, x-any: {}, x-star: {regex: "*"}}
    withoutHeaders: {x-no: {prefix: v}, x-never: {}}
    queryParams: {Q: {exact: "1"}, any: {}}
    method: {regex: "GET|POST"}
    authority: {prefix: shop}
    scheme: {exact: https}
  name: r
  route: [{destination: {host: web}}]
""")
    assert set(route.match.headers) == {
        ValueMatch("x-user", StringMatch(How.EXACT, "jason")),
        ValueMatch("x-any"),
        ValueMatch("x-star"),
        ValueMatch("x-no", StringMatch(How.PREFIX, "v"), invert=True, missing_is_empty=True),
        ValueMatch("x-never", None, invert=True),
        ValueMatch(":method", StringMatch(How.REGEX, "GET|POST")),
        ValueMatch(":authority", StringMatch(How.PREFIX, "shop")),
        ValueMatch(":scheme", StringMatch(How.EXACT, "https")),
    }
    assert set(route.match.query) == {ValueMatch("Q", StringMatch(How.EXACT, "1")), ValueMatch("any")}
    assert route.name == "r.m"


@pytest.mark.parametrize(
    ("header", "claim"),
    [
        ("@request.auth.claims.group.id", "group.id"),
        ("@request.auth.claims[group][id]", "group.id"),
        ("@Request.Auth.Claims.sub", "sub"),
        ("@request.auth.claims", ""),
        ("x-group", ""),
    ],
)
def test_claims_are_no_headers(header: str, claim: str) -> None:
    assert claim_of(header) == claim


def test_a_jwt_claim_cannot_be_decided_by_the_request() -> None:
    route = only("""
- match: [{headers: {"@request.auth.claims.group": {exact: admin}}}]
  route: [{destination: {host: web}}]
""")
    assert route.match.headers == ()
    assert route.match.dynamic == ("JWT claim group exact admin",)


def test_each_match_is_a_route_of_its_own_and_knows_its_part() -> None:
    routes, _ = lower(
        virtual_service("""
- match: [{uri: {exact: /a}}, {uri: {exact: /b}}]
  route: [{destination: {host: web}}]
- route: [{destination: {host: many}}]
""")
    )
    assert [route.origin.part for route in routes if route.origin] == [
        "spec.http[0].match[0]",
        "spec.http[0].match[1]",
        "spec.http[1]",
    ]
    assert routes[0].origin is not None
    assert routes[0].origin.evidence[0].value == {"uri": {"exact": "/a"}}


@pytest.mark.parametrize(
    ("match", "port", "reason"),
    [
        ("{port: 443}", 80, "port 443"),
        ("{port: 80}", 80, ""),
        ("{gateways: [gw/other]}", 80, "gateways gw/other"),
        ("{gateways: [mesh, gw/public]}", 80, ""),
        (
            "{gateways: [public]}",
            80,
            "gateways shop/public",
        ),  # a short name is the VirtualService's namespace
        ("{sourceLabels: {app: cart}}", 80, "app=cart"),
        ("{sourceLabels: {istio: ingressgateway}}", 80, ""),
        ("{sourceNamespace: shop}", 80, "namespace shop"),
        ("{sourceNamespace: shop, gateways: [gw/public]}", 80, ""),  # gateways set: sources are not looked at
    ],
)
def test_matches_that_are_for_other_proxies(match: str, port: int, reason: str) -> None:
    http = f"- match: [{match}]\n  route: [{{destination: {{host: web}}}}]"
    routes, excluded = lower(virtual_service(http), port=port)
    if reason:
        assert routes == ()
        assert reason in excluded[0].reason
    else:
        assert len(routes) == 1


@pytest.mark.parametrize("first", ["uri: {prefix: /}", "uri: {regex: '.*'}"])
def test_a_match_that_takes_everything_ends_the_list(first: str) -> None:
    routes, excluded = lower(
        virtual_service(f"""
- match:
  - {first}
  - uri: {{exact: /never}}
  route: [{{destination: {{host: web}}}}]
- match: [{{uri: {{exact: /a}}}}]
  route: [{{destination: {{host: many}}}}]
""")
    )
    assert len(routes) == 1
    assert [(item.part, "takes every request" in item.reason) for item in excluded] == [
        ("spec.http[0].match[1]", True),
        ("spec.http[1]", True),
    ]


def test_prefix_slash_with_a_header_does_not_end_the_list() -> None:
    routes, _ = lower(
        virtual_service("""
- match: [{uri: {prefix: /}, headers: {a: {exact: b}}}]
  route: [{destination: {host: web}}]
- route: [{destination: {host: many}}]
""")
    )
    assert len(routes) == 2


# -- actions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "cluster"),
    [
        ("{host: web}", "outbound|8000||web.shop.svc.cluster.local"),
        ("{host: web, port: {number: 80}}", "outbound|80||web.shop.svc.cluster.local"),
        ("{host: many}", "outbound|8443||many.shop.svc.cluster.local"),  # several ports: the server's number
        ("{host: gone}", "outbound|8443||gone.shop.svc.cluster.local"),
        ("{host: web.shop}", "outbound|8443||web.shop"),  # a dot: taken literally
        ("{host: web, subset: v1}", "outbound|8000|v1|web.shop.svc.cluster.local"),
        ("{host: alias}", "outbound|8443||web.shop.svc.cluster.local"),
        ("{host: alias, port: {number: 8000}}", "outbound|8000||web.shop.svc.cluster.local"),
    ],
)
def test_clusters(destination: str, cluster: str) -> None:
    route = only(f"- route: [{{destination: {destination}}}]", port=8443)
    assert [item.cluster for item in forward(route).clusters] == [cluster]


def test_weights() -> None:
    action = forward(
        only("""
- route:
  - {destination: {host: web, subset: v1}, weight: 90}
  - {destination: {host: web, subset: v2}, weight: 10, headers: {request: {set: {Host: two.example}}}}
  - {destination: {host: many}, weight: 0}
  - {destination: {host: many}}
""")
    )
    assert [(item.weight, item.cluster.split("|")[2]) for item in action.clusters] == [(90, "v1"), (10, "v2")]
    assert [item.host_rewrite for item in action.clusters] == [None, "two.example"]
    assert [item.origin.part for item in action.clusters if item.origin] == [
        "spec.http[0].route[0].destination",
        "spec.http[0].route[1].destination",
    ]


def test_one_destination_ignores_its_weight_and_takes_its_headers_to_the_route() -> None:
    route = only("""
- headers:
    request: {set: {x-b: "1", x-a: "1"}, add: {x-c: "1"}, remove: [x-d, Host]}
    response: {add: {x-r: "1"}}
  route: [{destination: {host: web}, weight: 0, headers: {request: {set: {x-e: "2", ":authority": inner}}}}]
""")
    assert route.request_headers == HeaderEdits(
        (("set", "x-a", "1"), ("set", "x-b", "1"), ("add", "x-c", "1"), ("set", "x-e", "2")), ("x-d",)
    )
    assert route.response_headers == HeaderEdits((("add", "x-r", "1"),))
    assert forward(route).clusters[0].weight == 1
    assert forward(route).host_rewrite == "inner"


@pytest.mark.parametrize(
    ("more", "host"),
    [
        ("rewrite: {authority: a}", "a"),
        ("headers: {request: {set: {hOsT: b}}}", "b"),
        ("headers: {request: {add: {Host: c}}}", "c"),
        ("headers: {request: {set: {Host: b}, add: {Host: c}}}", "b"),
        ("{rewrite: {authority: a}, headers: {request: {set: {Host: b}}}}", "a"),
        ("headers: {response: {set: {Host: b}}}", None),
    ],
)
def test_host_rewrites(more: str, host: str | None) -> None:
    inner = more if more.startswith("{") else "{" + more + "}"
    route = only(f"- {{route: [{{destination: {{host: web}}}}], {inner[1:-1]}}}")
    assert forward(route).host_rewrite == host
    assert not route.request_headers.ops


def test_weighted_destinations_keep_their_own_host_beside_the_routes() -> None:
    """Which of the two wins is Envoy's matter: measured with Istio 1.31, the route's."""
    action = forward(
        only("""
- rewrite: {authority: route.example}
  route:
  - {destination: {host: web}, weight: 1, headers: {request: {set: {Host: own.example}}}}
  - {destination: {host: web}, weight: 1}
""")
    )
    assert action.host_rewrite == "route.example"
    assert [item.host_rewrite for item in action.clusters] == ["own.example", None]


@pytest.mark.parametrize(
    ("rewrite", "expected"),
    [
        ("{uri: /new}", PathRewrite("prefix", "/new")),
        ("{uriRegexRewrite: {match: '/a(.*)', rewrite: '/b\\1'}}", PathRewrite("regex", "/b\\1", "/a(.*)")),
        ("{authority: x}", None),
    ],
)
def test_path_rewrites(rewrite: str, expected: PathRewrite | None) -> None:
    route = only(f"- {{route: [{{destination: {{host: web}}}}], rewrite: {rewrite}}}")
    assert forward(route).path_rewrite == expected


@pytest.mark.parametrize(
    ("redirect", "tls", "expected"),
    [
        ("{uri: /new}", False, Redirect(path="/new")),
        ("{authority: b.example, redirectCode: 302}", False, Redirect(302, host="b.example")),
        ("{scheme: https}", False, Redirect(scheme="https")),
        ("{port: 8443, scheme: https}", False, Redirect(scheme="https", port=8443)),
        ("{port: 443, scheme: https}", False, Redirect(scheme="https")),
        ("{port: 443}", True, Redirect()),
        ("{port: 443}", False, Redirect(port=443)),
        ("{derivePort: FROM_REQUEST_PORT}", False, Redirect(port=8080)),
        ("{derivePort: FROM_PROTOCOL_DEFAULT}", False, Redirect()),
    ],
)
def test_redirects(redirect: str, tls: bool, expected: Redirect) -> None:
    route = only(f"- {{redirect: {redirect}, route: [{{destination: {{host: web}}}}]}}", port=8080, tls=tls)
    assert route.action == expected


def test_what_envoy_has_no_action_for_is_no_route() -> None:
    routes, excluded = lower(
        virtual_service("""
- match: [{uri: {exact: /a}}]
  redirect: {redirectCode: 304}
- match: [{uri: {exact: /b}}]
  timeout: 1s
- match: [{uri: {exact: /c}}]
  route: [{destination: {host: web}, weight: 0}, {destination: {host: many}, weight: 0}]
- directResponse: {status: 503, body: {string: busy}}
""")
    )
    assert [route.action for route in routes] == [Direct(503, "busy")]
    assert [item.reason for item in excluded] == [
        "redirectCode 304 is none that Envoy can send",
        "it has no route, redirect or directResponse",
        "the weights of all its destinations are 0",
    ]


def test_timeouts_retries_faults_cors_and_mirrors() -> None:
    route = only("""
- route: [{destination: {host: web}}]
  timeout: 1.5s
  retries: {attempts: 3, retryOn: "5xx", perTryTimeout: 1s}
  fault: {abort: {httpStatus: 418, percentage: {value: 50}}, delay: {fixedDelay: 2s}}
  corsPolicy: {allowOrigins: [{exact: "https://o"}], allowMethods: [GET, PUT], maxAge: 1h30m}
  mirror: {host: many, port: {number: 80}}
  mirrorPercentage: {value: 25}
""")
    action = forward(route)
    assert (action.timeout, action.retries) == ("1.5s", "3 on 5xx, 1s each")
    assert route.fault == Fault(418, 50.0, "2s", 0.0)  # a delay without a percentage hits nobody
    assert route.cors is not None
    assert (route.cors.methods, route.cors.max_age) == ("GET,PUT", "5400")
    assert [(item.cluster, item.weight) for item in route.mirrors] == [
        ("outbound|80||many.shop.svc.cluster.local", 25)
    ]


@pytest.mark.parametrize(
    ("more", "retries", "timeout"),
    [
        ("", "2 on connect-failure", None),
        ("retries: {}, timeout: 0s", None, None),
        ("timeout: 10s", "2", "10s"),
    ],
)
def test_defaults(more: str, retries: str | None, timeout: str | None) -> None:
    action = forward(only(f"- {{route: [{{destination: {{host: web}}}}], {more}}}"))
    assert (action.retries or "").startswith(retries or "")
    assert bool(action.retries) == bool(retries)
    assert action.timeout == timeout


def test_an_abort_with_a_grpc_status_is_answered_over_http_200() -> None:
    """Measured with Istio 1.31: a request that is not gRPC gets 200 and "fault filter abort"."""
    route = only("""
- route: [{destination: {host: web}}]
  fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}
""")
    assert route.fault == Fault(200, 100.0)


# -- delegates -------------------------------------------------------------------------------------------

ROOT = virtual_service("""
- name: root
  match: [{uri: {prefix: /api}}]
  delegate: {name: leaf, namespace: team}
  timeout: 7s
  headers: {request: {set: {x-root: "1"}}}
- route: [{destination: {host: web}}]
""")


def leaf(http: str, more: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: leaf, namespace: team}}
spec:
{indent(more, 2)}
  http:
{indent(http, 2)}
---
"""


def test_a_delegate_is_merged_into_its_root() -> None:
    routes, _ = lower(
        ROOT
        + leaf("""
- name: one
  match: [{uri: {prefix: /api/v1}, headers: {a: {exact: b}}}]
  route: [{destination: {host: cart}}]
- route: [{destination: {host: web}}]
  timeout: 1s
""")
    )
    first, second, third = routes
    assert first.match.path == StringMatch(How.PREFIX, "/api/v1")
    assert first.name == "root-one"
    assert forward(first).clusters[0].cluster == "outbound|80||cart.team.svc.cluster.local"
    assert (forward(first).timeout, forward(second).timeout) == ("7s", "1s")
    assert first.request_headers.ops == (("set", "x-root", "1"),)
    assert second.match.path == StringMatch(How.PREFIX, "/api")
    assert first.origin is not None
    assert (first.origin.ref.namespace, first.origin.part) == ("team", "spec.http[0].match[0]")
    assert forward(third).clusters[0].cluster == "outbound|8000||web.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("delegate", "reason"),
    [
        ("", "does not exist"),
        (leaf("- route: [{destination: {host: web}}]", "hosts: [x]"), "hosts of its own"),
        (leaf("- route: [{destination: {host: web}}]", "exportTo: ['.']"), "not exported to shop"),
        (
            leaf("- match: [{uri: {prefix: /other}}]\n  route: [{destination: {host: web}}]"),
            "does not lie within",
        ),
        (
            leaf("- match: [{uri: {regex: '/api/.*'}}]\n  route: [{destination: {host: web}}]"),
            "does not lie within",
        ),
    ],
)
def test_delegates_that_give_nothing(delegate: str, reason: str) -> None:
    routes, excluded = lower(ROOT + delegate)
    assert len(routes) == 1
    assert reason in excluded[0].reason


# -- names, TLS and TCP ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("mesh", "mesh"),
        ("public", "shop/public"),
        ("./public", "shop/public"),
        ("gw/public", "gw/public"),
        ("public.gw.svc.cluster.local", "gw/public"),
        ("public.gw", "gw/public"),
    ],
)
def test_gateway_names(written: str, expected: str) -> None:
    assert gateway_name(written, "shop") == expected


def test_tls_and_tcp_routes() -> None:
    text = virtual_service(
        "- route: [{destination: {host: web}}]",
        """
tls:
- match: [{sniHosts: [a.example], port: 443}, {sniHosts: [b.example], port: 8443}, {sniHosts: [c.example]}]
  route: [{destination: {host: web}}]
- route: [{destination: {host: web}}]
tcp:
- match: [{port: 443, gateways: [gw/other]}, {port: 443}]
  route: [{destination: {host: web}, weight: 30}, {destination: {host: many, port: {number: 81}}, weight: 70}]
- route: [{destination: {host: web}}]
""",
    )

    def question(world: World) -> tuple[list[object], list[object]]:
        found = world.get(kinds.VIRTUAL_SERVICE, "shop", "v")
        if not isinstance(found, Obj):
            return [], []
        one = context(world, 443)
        tls = [(route.part, route.sni_hosts) for route in tls_routes(one, found)]
        tcp = [
            (route.part, [(item.cluster.split("|")[1], item.weight) for item in route.clusters])
            for route in tcp_routes(one, found)
        ]
        return [*tls], [*tcp]

    tls, tcp = answer(SERVICES + text, question)
    assert tls == [("spec.tls[0].match[0]", ("a.example",)), ("spec.tls[0].match[2]", ("c.example",))]
    assert tcp == [("spec.tcp[0].match[1]", [("8000", 30), ("81", 70)]), ("spec.tcp[1]", [("8000", 1)])]
