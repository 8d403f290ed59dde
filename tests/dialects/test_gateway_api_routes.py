"""Where requests go through HTTPRoutes and GRPCRoutes, by implementation.

What the implementations do differently was measured with Istio 1.31 and Envoy Gateway 1.9.1; kgateway's is
what its sources say.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.dialects.gateway_api import (
    PROVIDERS,
    Json,
    app,
    ends,
    gateway,
    made,
    outcome,
    route,
    rule,
    seen,
    traced,
)

ENVOY, ISTIO, KGATEWAY = PROVIDERS
A, B = app("a"), app("b")


def setup(provider: str, *objects: Json) -> list[Json]:
    return [*gateway(provider), *A, *B, *objects]


def regex(value: str) -> Json:
    return {"type": "RegularExpression", "value": value}


def exact(value: str) -> Json:
    return {"type": "Exact", "value": value}


def header(name: str, value: str) -> Json:
    return {"name": name, "value": value}


# -- matching and precedence -------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api", "b"),
        ("/api/", "b"),
        ("/api/x", "b"),
        ("/apix", "404"),
        ("/api?x=1", "b"),
        ("/API", "404"),
        ("/v1/m:predict", "404"),
        ("/v1/m/x", "a"),
    ],
)
def test_prefixes_are_whole_elements(provider: str, path: str, expected: str) -> None:
    objects = setup(provider, route("r", rule("b", path="/api"), rule("a", path="/v1/m/")))
    assert ends(objects, f"http://x{path}") == expected


@pytest.mark.parametrize("provider", PROVIDERS)
def test_exact_before_longer_before_shorter(provider: str) -> None:
    objects = setup(
        provider,
        route("r", rule("a", path="/"), rule("b", path="/x/y"), rule("a", path=exact("/x/y"))),
    )
    assert ends(objects, "http://h/x/y") == "a"
    assert ends(objects, "http://h/x/y/z") == "b"
    assert ends(objects, "http://h/x") == "a"


@pytest.mark.parametrize(("provider", "expected"), [(ENVOY, "b"), (ISTIO, "a"), (KGATEWAY, "b")])
def test_regular_expressions_stand_above_prefixes_but_not_on_istio(provider: str, expected: str) -> None:
    objects = setup(provider, route("r", rule("a"), rule("b", path=regex("/r.*"))))
    assert ends(objects, "http://h/rx") == expected


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_regular_expression_is_for_the_whole_path(provider: str) -> None:
    objects = setup(provider, route("r", rule("b", path=regex("/r[0-9]"))))
    assert ends(objects, "http://h/r1") == "b"
    assert ends(objects, "http://h/r1x") == "404"


@pytest.mark.parametrize(("provider", "expected"), [(ENVOY, "b"), (ISTIO, "a"), (KGATEWAY, "a")])
def test_a_method_against_two_headers(provider: str, expected: str) -> None:
    by_headers = rule("b", headers=[header("x", "1"), header("x-y", "1")])
    objects = setup(provider, route("r", by_headers, rule("a", method="POST")))
    assert ends(objects, "http://h/", method="POST", headers=["x: 1", "x-y: 1"]) == expected
    assert ends(objects, "http://h/", method="GET", headers=["x: 1", "x-y: 1"]) == "b"
    assert ends(objects, "http://h/", method="POST") == "a"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_more_headers_then_more_parameters(provider: str) -> None:
    objects = setup(
        provider,
        route(
            "r",
            rule("a"),
            rule("b", queryParams=[header("q", "1")]),
            rule("a", headers=[header("x", "1")], path="/"),
            rule("b", headers=[header("x", "1"), header("x-y", "1")]),
        ),
    )
    assert ends(objects, "http://h/?q=1") == "b"
    assert ends(objects, "http://h/?q=1", headers=["x: 1"]) == "a"
    assert ends(objects, "http://h/", headers=["x: 1", "x-y: 1"]) == "b"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_of_equal_matches_the_older_route_then_the_name(provider: str) -> None:
    young = route("a-young", rule("a"), hosts=["h"], created="2025-02-01T00:00:00Z")
    old = route("z-old", rule("b"), hosts=["h"], created="2025-01-01T00:00:00Z")
    assert ends(setup(provider, young, old), "http://h/") == "b"
    same = [route(name, rule(to), hosts=["h"]) for name, to in (("n2", "b"), ("n1", "a"))]
    assert ends(setup(provider, *same), "http://h/") == "a"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_routes_of_one_host_are_sorted_together(provider: str) -> None:
    objects = setup(
        provider,
        route("one", rule("a", path="/"), rule("a", path="/x"), hosts=["h"]),
        route("two", rule("b", path="/x/y"), rule("b", path="/z"), hosts=["h"]),
    )
    assert [ends(objects, f"http://h{path}") for path in ("/x/y", "/z", "/x", "/q")] == ["b", "b", "a", "a"]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("host", "expected"),
    [("a.w.t", "a"), ("b.a.w.t", "a"), ("w.t", "404"), ("x.w.t", "b"), ("X.W.T:8080", "b"), ("other", "404")],
)
def test_hosts(provider: str, host: str, expected: str) -> None:
    objects = setup(
        provider, route("wild", rule("a"), hosts=["*.w.t"]), route("x", rule("b"), hosts=["x.w.t"])
    )
    assert ends(objects, "http://h/", headers=[f"Host: {host}"]) == expected


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_fall_through_from_a_name_to_its_wildcard(provider: str) -> None:
    objects = setup(
        provider,
        route("wild", rule("a"), hosts=["*.w.t"]),
        route("x", rule("b", path="/only"), hosts=["x.w.t"]),
    )
    assert ends(objects, "http://x.w.t/") == "404"
    assert ends(objects, "http://x.w.t/only") == "b"


LISTENERS: tuple[Json, ...] = (
    {"name": "any", "port": 80, "protocol": "HTTP"},
    {"name": "wild", "port": 80, "protocol": "HTTP", "hostname": "*.iso.t"},
    {"name": "foo", "port": 80, "protocol": "HTTP", "hostname": "foo.iso.t"},
)


@pytest.mark.parametrize("provider", (ENVOY, ISTIO))
def test_requests_are_for_the_most_specific_listener(provider: str) -> None:
    objects = [
        *gateway(provider, *LISTENERS),
        *A,
        *B,
        route("any", rule("a", path="/any"), parents=[{"name": "web", "sectionName": "any"}]),
        route("wild", rule("b", path="/wild"), parents=[{"name": "web", "sectionName": "wild"}]),
        route("foo", rule("a", path="/foo"), parents=[{"name": "web", "sectionName": "foo"}]),
    ]
    wanted = {
        "foo.iso.t": {"/foo": "a", "/wild": "404", "/any": "404"},
        "x.iso.t": {"/foo": "404", "/wild": "b", "/any": "404"},
        "y.t": {"/foo": "404", "/wild": "404", "/any": "a"},
    }
    for host, paths in wanted.items():
        assert {path: ends(objects, f"http://{host}{path}") for path in paths} == paths


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("path", "expected"),
    [("/p.S/M", "a"), ("/p.S/N", "404"), ("/q.T/Any", "b"), ("/q.Tx/Any", "404"), ("/z.Z/W", "a")],
)
def test_grpc_services_and_methods(provider: str, path: str, expected: str) -> None:
    objects = setup(
        provider,
        route(
            "g",
            rule("a", method={"service": "p.S", "method": "M"}),
            rule("b", method={"service": "q.T"}),
            rule("a", method={"method": "W"}),
            kind="GRPCRoute",
        ),
    )
    assert ends(objects, f"http://h{path}", method="POST") == expected


# -- backends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "backend",
    [
        {"name": "gone", "port": 80},
        {"name": "a", "port": 81},
        {"name": "a", "namespace": "other", "port": 80},
        {"name": "a", "kind": "Deployment", "group": "apps", "port": 80},
    ],
)
def test_what_a_route_may_not_or_cannot_send_to_is_answered_500(provider: str, backend: Json) -> None:
    objects = setup(provider, *app("a", namespace="other"), route("r", rule(backend)))
    assert ends(objects, "http://h/") == "500"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_service_without_endpoints_is_answered_503(provider: str) -> None:
    objects = setup(provider, *app("empty", ready=None), route("r", rule("empty")))
    assert ends(objects, "http://h/") == "503"


@pytest.mark.parametrize(("provider", "expected"), [(ENVOY, "500"), (ISTIO, "500"), (KGATEWAY, "404")])
def test_rules_without_backends(provider: str, expected: str) -> None:
    assert ends(setup(provider, route("r", rule())), "http://h/") == expected


@pytest.mark.parametrize("provider", (ENVOY, ISTIO))
def test_backends_without_weight_are_none(provider: str) -> None:
    zero = {"name": "a", "port": 80, "weight": 0}
    assert ends(setup(provider, route("r", rule(zero))), "http://h/") == "500"
    assert ends(setup(provider, route("r", rule(zero, "b"))), "http://h/") == "b"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_grant_opens_another_namespace(provider: str) -> None:
    source = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop"}
    grant = made("ReferenceGrant", "g", {"from": [source], "to": [{"group": "", "kind": "Service"}]},
                 namespace="other", api="gateway.networking.k8s.io/v1beta1")  # fmt: skip
    objects = setup(provider, *app("far", namespace="other"), grant,
                    route("r", rule({"name": "far", "namespace": "other", "port": 80})))  # fmt: skip
    assert ends(objects, "http://h/") == "far"


@pytest.mark.parametrize(("provider", "expected"), [(ENVOY, "500"), (ISTIO, "a")])
def test_external_names_are_aliases_on_istio_and_refused_by_envoy_gateway(
    provider: str, expected: str
) -> None:
    alias = app("alias", ready=None, spec={"type": "ExternalName", "externalName": "a.shop.svc.cluster.local",
                                           "ports": [{"name": "http", "port": 80}]})  # fmt: skip
    assert ends(setup(provider, *alias, route("r", rule("alias"))), "http://h/") == expected


def shares(objects: list[Json], url: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for path in traced(objects, url).paths:
        end = path.outcome
        service = end.backend.service if end.backend and end.result.value == "delivered" else None
        key = service.name if service else str(end.status)
        found[key] = round(found.get(key, 0.0) + path.weight, 6)
    return found


@pytest.mark.parametrize("provider", PROVIDERS)
def test_invalid_backends_keep_their_share(provider: str) -> None:
    weights = [{"name": "a", "port": 80, "weight": 3}, {"name": "gone", "port": 80, "weight": 1}]
    assert shares(setup(provider, route("r", rule(*weights))), "http://h/") == {"a": 0.75, "500": 0.25}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_backends_without_endpoints_keep_their_share(provider: str) -> None:
    objects = setup(provider, *app("empty", ready=None), route("r", rule("a", "empty")))
    assert shares(objects, "http://h/") == {"a": 0.5, "503": 0.5}


def slices(name: str, *ready: bool) -> Json:
    endpoints = [
        {"addresses": [f"10.9.0.{index}"], "conditions": {"ready": one, "serving": one, "terminating": False}}
        for index, one in enumerate(ready)
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-s",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }


def test_envoy_gateway_sends_to_endpoints_that_are_not_ready_where_none_is() -> None:
    sick = [*app("sick", ready=None), slices("sick", False, False)]
    mixed = [*app("mixed", ready=None), slices("mixed", True, False, False)]
    objects = setup(ENVOY, *sick, *mixed, slices("a", True),
                    route("r", rule("sick", path="/sick"), rule("mixed", path="/mixed"),
                          rule("a", "sick", path="/pool")))  # fmt: skip
    assert services(objects, "http://h/sick") == {"sick"}
    assert services(objects, "http://h/pool") == {"a"}
    healthy = [path for path in traced(objects, "http://h/mixed").paths if "10.9.0.0" in str(path.hops)]
    assert len(healthy) == len(traced(objects, "http://h/mixed").paths) == 1


def services(objects: list[Json], url: str) -> set[str]:
    """The Services to which a request is sent, whatever becomes of it there."""
    found = (path.outcome.backend for path in traced(objects, url).paths)
    return {one.service.name for one in found if one and one.service}


def test_istio_drops_a_whole_route_for_one_unknown_filter() -> None:
    bad = rule("a", path="/bad", filters=[{"type": "ExtensionRef", "extensionRef": {
        "group": "x.example", "kind": "Y", "name": "z"}}])  # fmt: skip
    good = rule("b", path="/good")
    assert ends(setup(ISTIO, route("r", bad, good)), "http://h/good") == "404"
    assert ends(setup(ENVOY, route("r", bad, good)), "http://h/good") == "b"
    assert ends(setup(ENVOY, route("r", bad, good)), "http://h/bad") == "500"


def test_envoy_gateway_leaves_out_a_rule_whose_pattern_is_no_re2() -> None:
    objects = setup(ENVOY, route("r", rule("a", path=regex("/a(?=b)")), rule("b", path="/good")))
    assert ends(objects, "http://h/ab") == "404"
    assert ends(objects, "http://h/good") == "b"


# -- filters -----------------------------------------------------------------------------------------------


def rewrite(**settings: Any) -> Json:
    return {"type": "URLRewrite", "urlRewrite": settings}


def prefix(value: str) -> Json:
    return {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": value}}


@pytest.mark.parametrize("provider", (ENVOY, ISTIO))
@pytest.mark.parametrize(
    ("matched", "value", "path", "expected"),
    [
        ("/foo", "/", "/foo", "/"),
        ("/foo", "/", "/foo/", "/"),
        ("/foo", "/", "/foo/x", "/x"),
        ("/foo", "", "/foo/x", "/x"),
        ("/foo", "/bar", "/foo", "/bar"),
        ("/foo", "/bar/", "/foo/x", "/bar/x"),
        ("/foo", "/bar", "/foo/x?q=1", "/bar/x?q=1"),
        ("/foo/", "/bar", "/foo/x", "/bar/x"),
        ("/", "/", "/x/y", "/x/y"),
        ("/", "/pre", "/x", "/prex"),
        ("/", "/pre", "/", "/pre"),
    ],
)
def test_prefix_rewrites(provider: str, matched: str, value: str, path: str, expected: str) -> None:
    objects = setup(provider, route("r", rule("a", path=matched, filters=[rewrite(**prefix(value))])))
    assert seen(objects, f"http://h{path}").target == expected


@pytest.mark.parametrize(("provider", "expected"), [(ENVOY, "/foo"), (ISTIO, "/")])
def test_a_prefix_with_a_slash_at_its_end_is_removed_as_written(provider: str, expected: str) -> None:
    objects = setup(provider, route("r", rule("a", path="/foo/", filters=[rewrite(**prefix("/"))])))
    assert seen(objects, "http://h/foo").target == expected


@pytest.mark.parametrize("provider", PROVIDERS)
def test_full_rewrites_keep_the_query(provider: str) -> None:
    full = rewrite(hostname="o.t", path={"type": "ReplaceFullPath", "replaceFullPath": "/one/two"})
    found = seen(setup(provider, route("r", rule("a", path="/x", filters=[full]))), "http://h/x/y?a=b")
    assert (found.authority, found.target) == ("o.t", "/one/two?a=b")


@pytest.mark.parametrize(
    ("settings", "url", "expected"),
    [
        ({"scheme": "https"}, "http://h/x?y=1", "https://h/x?y=1"),
        ({"hostname": "o.t"}, "http://h/x", "http://o.t/x"),
        ({"port": 8080}, "http://h/x", "http://h:8080/x"),
        ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/n"}}, "http://h/x?a=b", "http://h/n?a=b"),
        (prefix("/np"), "http://h/p/x", "http://h/np/x"),
    ],
)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_redirects(provider: str, settings: Json, url: str, expected: str) -> None:
    path = "/p" if "path" in settings and settings["path"]["type"] == "ReplacePrefixMatch" else "/"
    filters = [{"type": "RequestRedirect", "requestRedirect": settings}]
    found = outcome(setup(provider, route("r", rule(path=path, filters=filters))), url)
    assert (found.status, found.location) == (302, expected)


@pytest.mark.parametrize(("provider", "expected"), [(ENVOY, "http://h/x"), (ISTIO, "http://h//x")])
def test_a_redirect_that_removes_a_prefix(provider: str, expected: str) -> None:
    filters = [{"type": "RequestRedirect", "requestRedirect": prefix("/")}]
    found = outcome(setup(provider, route("r", rule(path="/strip", filters=filters))), "http://h/strip/x")
    assert found.location == expected


@pytest.mark.parametrize(("provider", "expected"), [(ENVOY, "500"), (ISTIO, "new.t")])
def test_setting_the_host_header(provider: str, expected: str) -> None:
    filters = [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [header("Host", "new.t")]}}]
    objects = setup(provider, route("r", rule("a", filters=filters)))
    found = ends(objects, "http://h/")
    assert (seen(objects, "http://h/").authority if found == "a" else found) == expected


@pytest.mark.parametrize("provider", PROVIDERS)
def test_header_edits(provider: str) -> None:
    edits = {"set": [header("X-S", "s")], "add": [header("X-A", "2")], "remove": ["X-R", "X-S"]}
    objects = setup(provider, route("r", rule("a", filters=[
        {"type": "RequestHeaderModifier", "requestHeaderModifier": edits}])))  # fmt: skip
    found = seen(objects, "http://h/", headers=["X-S: old", "X-A: 1", "X-R: r"])
    assert dict(found.headers)["x-s"] == "s"
    assert [value for name, value in found.headers if name == "x-a"] == ["1", "2"]
    assert "x-r" not in dict(found.headers)


@pytest.mark.parametrize(("provider", "expected"), [(ISTIO, "s,new"), (ENVOY, "1,new")])
def test_a_header_both_set_and_added(provider: str, expected: str) -> None:
    """Envoy Gateway adds it and forgets the other (measured by tests/e2e/differential)."""
    edits = {"set": [header("x-a", "s")], "add": [header("X-A", "new")]}
    objects = setup(provider, route("r", rule("a", filters=[
        {"type": "RequestHeaderModifier", "requestHeaderModifier": edits}])))  # fmt: skip
    found = seen(objects, "http://h/", headers=["X-A: 1"])
    assert found.header("x-a") == expected


def test_preflights_have_a_route_of_their_own_on_envoy_gateway() -> None:
    filters = [{"type": "CORS", "cors": {"allowOrigins": ["http://a.t"], "allowMethods": ["GET"]}}]
    one = route("r", rule("a", path="/c", method="GET", filters=filters))
    ask = {"method": "OPTIONS", "headers": ["Origin: http://no.t", "Access-Control-Request-Method: GET"]}
    assert ends(setup(ENVOY, one), "http://h/c", **ask) == "200"
    assert ends(setup(ISTIO, one), "http://h/c", **ask) == "404"
