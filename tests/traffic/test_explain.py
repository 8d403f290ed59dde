"""Requests in terms of objects: who answered, which object decided, what is declared now."""

# ruff: noqa: E501 -- lines as they are logged

from __future__ import annotations

from collections.abc import Iterable

import pytest

from kgdiag.dialects import dialects
from kgdiag.graph.world import World
from kgdiag.traffic.explain import explain
from kgdiag.traffic.flags import FLAGS, details_meaning, flags_of, policy_of
from kgdiag.traffic.formats import read_lines
from kgdiag.traffic.join import join
from kgdiag.traffic.model import Ended, Explained
from kgdiag.traffic.names import route_of, upstream_of
from tests.support import answer
from tests.traffic.test_formats import ISTIO_LINE, WRAPPED

CLUSTER = """
apiVersion: v1
kind: Namespace
metadata: {name: orchard}
---
apiVersion: v1
kind: Pod
metadata: {name: gw, namespace: edge, labels: {istio: gw}}
spec: {containers: [{name: istio-proxy, args: [proxy, router]}]}
status: {podIP: 10.9.0.7, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: gw, namespace: edge}
spec: {selector: {istio: gw}, clusterIP: 10.96.0.7, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: press, namespace: orchard, labels: {app: press}}
spec:
  containers:
  - {name: app, ports: [{containerPort: 8080}]}
  - {name: istio-proxy, args: [proxy, sidecar]}
status: {podIP: 10.9.0.11, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: orchard, labels: {app: bare}}
spec: {containers: [{name: app}]}
status: {podIP: 10.9.0.12, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: press, namespace: orchard}
spec: {selector: {app: press}, clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: bare, namespace: orchard}
spec: {selector: {app: bare}, clusterIP: 10.96.0.2, ports: [{name: http, port: 80, targetPort: 7777}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: orchard}
spec: {selector: {app: nobody}, clusterIP: 10.96.0.3, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web, namespace: edge}
spec: {selector: {istio: gw}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fruit, namespace: orchard}
spec:
  hosts: [fruit.orchard.example]
  gateways: [edge/web]
  http:
  - {match: [{uri: {prefix: /missing}}], route: [{destination: {host: missing, port: {number: 80}}}]}
  - {match: [{uri: {prefix: /nobody}}], route: [{destination: {host: nobody, port: {number: 80}}}]}
  - {match: [{uri: {prefix: /press}}], route: [{destination: {host: press, port: {number: 80}}}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: orchard}
spec: {action: DENY, rules: [{to: [{operation: {paths: ["/admin*"]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: orchard}
spec: {selector: {matchLabels: {app: press}}, rules: [{to: [{operation: {methods: [GET]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: of-others, namespace: orchard}
spec: {selector: {matchLabels: {app: other}}, rules: [{}]}
"""
TIME = "[2026-11-25T16:47:57.115Z]"
PRESS = "outbound|80||press.orchard.svc.cluster.local"


def line(
    path: str, answered: str, *, host: str = "fruit.orchard.example", cluster: str = "-", upstream: str = "-",
    ends: str = "- 10.9.0.7:8080 10.9.0.1:4000", failure: str = "-", tail: str = "- -",
) -> str:  # fmt: skip
    return (
        f'{TIME} "GET {path} HTTP/1.1" {answered} - "{failure}" 0 0 5 - "10.9.0.1" "curl" "id-1" "{host}" '
        f'"{upstream}" {cluster} {ends} {tail}'
    )


def ask_files(*lines: str, cluster: str = CLUSTER) -> Explained:
    joined = join(read_lines("\n".join(lines))[0])

    def question(world: World) -> tuple[Explained, ...]:
        return explain(joined, world, dialects())[0]

    (found,) = answer(cluster, question)
    return found


def offline(*lines: str) -> tuple[Explained, ...]:
    return explain(join(read_lines("\n".join(lines))[0]))[0]


def objects(found: Explained) -> set[str]:
    return {str(ref) for cause in found.causes for ref in cause.objects}


# -- names in the lines alone ------------------------------------------------------------------------------


def test_the_way_over_three_proxies_by_names_alone() -> None:
    (found,) = offline(WRAPPED)
    assert found.ended is Ended.ANSWERED
    assert found.summary.startswith("400 from the application of 10.9.2.13")
    assert [hop.role for hop in found.hops] == [
        "gateway", "gateway", "sidecar-inbound", "sidecar-outbound", "sidecar-inbound",
    ]  # fmt: skip
    assert [str(hop.service) if hop.service else "" for hop in found.hops] == [
        "Service mesh/inner-gateway", "Service orchard/pear-00001", "", "Service orchard/pear-00001-private", "",
    ]  # fmt: skip
    assert [hop.line.local.port for hop in found.hops if hop.line.local] == [8443, 8081, 8012, 80, 8012]


STATUSES = [
    ("404 NR route_not_found", Ended.REFUSED, "no route matches this host and path"),
    ("503 NC cluster_not_found", Ended.REFUSED, "a cluster that does not exist"),
    ("503 UH no_healthy_upstream", Ended.REFUSED, "no healthy endpoint"),
    (
        "503 UC upstream_reset_before_response_started{connection_termination}",
        Ended.REFUSED,
        "closed the connection",
    ),
    (
        "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_"
        "refused}",
        Ended.REFUSED,
        "nothing listens on the endpoint's port (before the answer began); the retries are used up",
    ),
    (
        "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|TLS_error:|268435703:SSL_routines:"
        "OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end}",
        Ended.REFUSED,
        "the endpoint speaks no TLS, and the proxy does",
    ),
    ("504 UT upstream_response_timeout", Ended.REFUSED, "did not answer in time"),
    ("403 UAEX ext_authz_denied", Ended.REFUSED, "the external authorizer said no"),
    ("403 - rbac_access_denied_matched_policy[none]", Ended.REFUSED, "none of their rules matches"),
    (
        "403 - rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[2]]",
        Ended.REFUSED,
        "denied by AuthorizationPolicy a/b, rule 2",
    ),
    (
        "401 - jwt_authn_access_denied{Jwt_is_expired}",
        Ended.REFUSED,
        "the token was not accepted: Jwt is expired",
    ),
    ("426 - low_version", Ended.REFUSED, "HTTP/1.0"),
    ("503 FI fault_filter_abort", Ended.REFUSED, "an injected fault"),
    ("429 RL request_rate_limited", Ended.REFUSED, "rate limited"),
    ("503 UO overflow", Ended.REFUSED, "circuit breaker"),
    ("0 DC downstream_remote_disconnect", Ended.UNANSWERED, "the client closed the connection"),
    ("0 NR filter_chain_not_found", Ended.UNANSWERED, "no filter chain matches the connection"),
    ("301 - direct_response", Ended.ANSWERED, "a redirect"),
    ("500 - direct_response", Ended.REFUSED, "answers by itself"),
    ("200 NR route_not_found", Ended.REFUSED, "no route matches"),  # gRPC
    ("400 DPE http1.codec_error", Ended.REFUSED, "no valid HTTP/1"),
    ("599 XYZ something_new", Ended.REFUSED, "something new"),
]


@pytest.mark.parametrize(("answered", "ended", "words"), STATUSES, ids=[one[0][:30] for one in STATUSES])
def test_what_a_proxy_says(answered: str, ended: Ended, words: str) -> None:
    (found,) = offline(line("/x", answered))
    assert found.ended is ended
    assert words in found.summary


@pytest.mark.parametrize("status", [200, 404, 500])
def test_what_came_from_behind(status: int) -> None:
    (found,) = offline(line("/x", f"{status} - via_upstream", cluster=PRESS, upstream="10.9.0.12:8080"))
    assert found.ended is Ended.ANSWERED
    assert f"{status} from 10.9.0.12:8080 of Service orchard/press:80" in found.summary
    assert ("(the application, or a proxy before it" in found.summary) is (status >= 400)


def test_registry_only_and_passthrough() -> None:
    (blocked,) = offline(line("/", "502 - direct_response", tail="- block_all"))
    assert "REGISTRY_ONLY" in blocked.summary
    (passed,) = offline(
        line(
            "/",
            "404 - via_upstream",
            cluster="PassthroughCluster",
            upstream="10.1.1.1:80",
            tail="- allow_any",
        )
    )
    assert "no Service is known there" in passed.summary


def test_every_flag_has_a_name_and_its_long_form_is_known() -> None:
    for flag in FLAGS.values():
        assert flag.meaning and flags_of(flag.name) == (flag.short,)
    assert flags_of("-") == ()


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        (PRESS, ("Service orchard/press", 80, "")),
        ("outbound|8080|v2|a.b.svc.cluster.local", ("Service b/a", 8080, "v2")),
        ("outbound_.443_.v1_.a.b.svc.cluster.local", ("Service b/a", 443, "v1")),
        ("outbound|443||api.vendor.example", ("None", 443, "")),
        ("inbound|8080||", ("None", 8080, "")),
        ("httproute/orchard/fruit/rule/0", ("None", None, "")),
        ("kube_orchard_press_80", ("Service orchard/press", 80, "")),
    ],
)
def test_cluster_names(cluster: str, expected: tuple[str, int | None, str]) -> None:
    found = upstream_of(cluster)
    assert found is not None
    assert (str(found.service), found.port, found.subset) == expected


def test_route_names() -> None:
    assert str(route_of("httproute/orchard/fruit/rule/0/match/1/x")) == "HTTPRoute orchard/fruit"
    assert str(route_of("grpcroute/orchard/fruit/rule/0/match/1/x")) == "GRPCRoute orchard/fruit"
    assert str(route_of("orchard.fruit.0")) == "HTTPRoute orchard/fruit"
    assert route_of("default") is None


def test_policies_of_other_controllers() -> None:
    policy = policy_of("rbac_access_denied_matched_policy[deny_all]")
    assert policy is not None and (policy.name, policy.text) == ("", "deny_all")
    assert policy_of("via_upstream") is None
    assert details_meaning("") == details_meaning("-") == ""


# -- with objects ------------------------------------------------------------------------------------------


def test_no_route_names_the_route_that_nearly_matched() -> None:
    found = ask_files(line("/x", "404 NR route_not_found"))
    assert (found.ended, str(found.by)) == (Ended.REFUSED, "Pod edge/gw")
    assert "VirtualService orchard/fruit" in objects(found)


def test_no_route_names_the_gateway() -> None:
    found = ask_files(line("/x", "404 NR route_not_found", host="other.example"))
    assert "Gateway edge/web" in objects(found)
    assert "other.example" in found.causes[0].text


def test_missing_destination() -> None:
    found = ask_files(line("/missing", "503 NC cluster_not_found"))
    assert "VirtualService orchard/fruit" in objects(found)
    assert "missing" in found.causes[0].text


def test_no_endpoints() -> None:
    cluster = "outbound|80||nobody.orchard.svc.cluster.local"
    found = ask_files(line("/nobody", "503 UH no_healthy_upstream", cluster=cluster))
    assert "Service orchard/nobody" in objects(found)
    assert "app=nobody" in found.causes[0].text


def test_no_endpoints_where_the_route_rewrote_the_host() -> None:
    cluster = "outbound|80||nobody.orchard.svc.cluster.local"
    found = ask_files(line("/nobody", "503 UH no_healthy_upstream", host="inner.example", cluster=cluster))
    assert "Service orchard/nobody" in objects(found)
    assert "as it is declared now" not in found.causes[0].text


def test_nobody_listens() -> None:
    cluster = "outbound|80||bare.orchard.svc.cluster.local"
    found = ask_files(
        line(
            "/bare", "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|Connection_refused}",
            cluster=cluster, upstream="10.9.0.12:7777",
        )
    )  # fmt: skip
    assert {"Pod orchard/bare", "Service orchard/bare"} <= objects(found)
    assert "port 7777" in found.causes[0].text


def test_what_is_declared_now_would_be_delivered() -> None:
    found = ask_files(line("/press", "404 NR route_not_found"))
    assert "as it is declared now" in found.causes[0].text
    assert "kgdiag trace http://10.9.0.7:8080/press" in found.causes[0].text
    assert "--truth both" in found.causes[0].text


def inbound(path: str, answered: str) -> str:
    return line(
        path, answered, cluster="inbound|8080||", upstream="10.9.0.11:8080" if "via" in answered else "-",
        ends="127.0.0.6:5 10.9.0.11:8080 10.9.0.7:0", tail="outbound_.80_._.press.orchard.svc.cluster.local default",
    )  # fmt: skip


def from_gateway(path: str, status: int) -> str:
    return line(
        path, f"{status} - via_upstream", cluster=PRESS, upstream="10.9.0.11:8080",
        ends="10.9.0.7:4444 10.9.0.7:8080 10.9.0.1:4000",
    )  # fmt: skip


def test_denied_by_a_policy_behind_the_gateway() -> None:
    denied = inbound(
        "/admin", "403 - rbac_access_denied_matched_policy[ns[orchard]-policy[no-admin]-rule[0]]"
    )
    found = ask_files(denied, from_gateway("/admin", 403))
    assert [str(hop.proxy) for hop in found.hops] == ["Pod edge/gw", "Pod orchard/press"]
    assert (found.author, str(found.by)) == (1, "Pod orchard/press")
    assert objects(found) == {"AuthorizationPolicy orchard/no-admin"}
    assert "action DENY" in found.causes[0].text


def test_denied_because_nothing_allows_it() -> None:
    found = ask_files(inbound("/press", "403 - rbac_access_denied_matched_policy[none]"))
    assert objects(found) == {"AuthorizationPolicy orchard/readers"}


def test_denied_by_a_policy_that_is_gone() -> None:
    found = ask_files(
        inbound("/x", "403 - rbac_access_denied_matched_policy[ns[orchard]-policy[old]-rule[1]]")
    )
    assert "does not exist any more" in found.causes[0].text


@pytest.mark.parametrize(
    ("status", "ended"), [(200, Ended.ANSWERED), (503, Ended.UNKNOWN), (422, Ended.ANSWERED)]
)
def test_a_gateway_alone_cannot_tell_a_sidecar_from_its_application(status: int, ended: Ended) -> None:
    assert ask_files(from_gateway("/press", status)).ended is ended


def test_the_sidecar_says_that_the_application_answered() -> None:
    found = ask_files(from_gateway("/press", 503), inbound("/press", "503 - via_upstream"))
    assert found.ended is Ended.ANSWERED
    assert found.summary.startswith("503 from the application of pod orchard/press")


def test_a_pod_that_is_younger_than_the_line_is_another_one() -> None:
    young = CLUSTER.replace(
        "metadata: {name: bare, namespace: orchard,",
        'metadata: {name: bare, creationTimestamp: "2026-12-01T00:00:00Z", namespace: orchard,',
    )
    text = line("/x", "200 - via_upstream", cluster=PRESS, upstream="10.9.0.12:8080")
    assert str(ask_files(text).hops[0].upstream) == "Pod orchard/bare"
    assert ask_files(text, cluster=young).hops[0].upstream is None


def test_causes_are_looked_for_of_the_first_failures_only() -> None:
    many = [
        line(f"/{at}", "404 NR route_not_found", host=f"h{at}.example").replace("id-1", f"i{at}")
        for at in range(30)
    ]
    joined = join(read_lines("\n".join(many))[0])

    def question(world: World) -> Iterable[object]:
        return explain(joined, world, dialects())

    found, notes = answer(CLUSTER, question)  # type: ignore[misc]
    assert len(found) == 30  # type: ignore[arg-type]
    assert sum(bool(one.causes) for one in found) == 16  # type: ignore[attr-defined]
    assert any("first 16" in note for note in notes)  # type: ignore[attr-defined]


def test_hostile_values_stay_values() -> None:
    hostile = ISTIO_LINE.replace("fruit.orchard.example", "a\x1b[2J|../..;$(x)")
    (found,) = offline(hostile)
    assert found.ended is Ended.ANSWERED
