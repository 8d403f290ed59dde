"""PeerAuthentication, RequestAuthentication and AuthorizationPolicy: verdicts on single requests."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kgdiag.dialects.istio import security
from kgdiag.dialects.istio.mesh import Mesh
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.proxy import FilterRequest, Peer, Ruling, Verdict
from kgdiag.model.ref import Ref
from tests.support import answer

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: app, labels: {app: web}}
spec: {containers: [{name: app, image: example/app}]}
status: {podIP: 10.1.0.9}
"""
DEFAULT = Mesh()
FRONT = "cluster.local/ns/shop/sa/front"


def policy(
    spec: str, name: str = "p", namespace: str = "app", kind: str = "AuthorizationPolicy", more: str = ""
) -> str:
    return f"""
---
apiVersion: security.istio.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}{more}}}
spec: {spec}
"""


def request(**changes: Any) -> FilterRequest:
    wanted: dict[str, Any] = {
        "method": "GET",
        "authority": "web.app",
        "path": "/a/b",
        "query": "",
        "headers": (("user-agent", "curl/8"),),
        "sni": None,
        "peer": Peer(principal=FRONT, address="10.1.0.5"),
        "local_port": 8080,
    }
    return FilterRequest(**{**wanted, **changes})


def judge(text: str, asked: FilterRequest, mesh: Mesh = DEFAULT, gateway: Ref | None = None) -> Ruling:
    """The ruling that the chain ends with: the first that does not allow, else the last."""

    def question(world: World) -> Ruling:
        pod = world.get(kinds.POD, "app", "web")
        assert pod is not None or world.lacking
        found = security.filters(world, mesh, pod, port=asked.local_port, gateway=gateway) if pod else ()
        rulings = [one.judge(asked) for one in found]
        stopped = [one for one in rulings if one.verdict is not Verdict.ALLOW]
        return (stopped or rulings or [Ruling(Verdict.ALLOW, "no filter")])[0]

    return answer(POD + text, question)


def allowed(spec: str, **changes: Any) -> bool:
    """Whether an ALLOW policy with these rules lets the request through."""
    found = judge(policy(f"{{rules: [{spec}]}}"), request(**changes))
    assert found.verdict is not Verdict.UNKNOWN, found
    return found.verdict is Verdict.ALLOW


def test_without_policies_everything_passes() -> None:
    assert judge("", request()).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("{}", True),
        ("{to: [{operation: {methods: [POST]}}]}", False),
        ('{to: [{operation: {methods: ["G*"]}}]}', True),
        ("{to: [{operation: {notMethods: [GET]}}]}", False),
        ('{to: [{operation: {paths: ["/a*"]}}]}', True),
        ('{to: [{operation: {paths: ["*/b"]}}]}', True),
        ('{to: [{operation: {paths: ["/a/{*}"]}}]}', True),
        ('{to: [{operation: {paths: ["/{*}"]}}]}', False),
        ('{to: [{operation: {paths: ["/{**}"]}}]}', True),
        ('{to: [{operation: {paths: ["/A/b"]}}]}', False),
        ('{to: [{operation: {hosts: ["WEB.app"]}}]}', True),
        ('{to: [{operation: {hosts: ["web.app.svc.cluster.local"]}}]}', False),
        ('{to: [{operation: {ports: ["8080"]}}]}', True),
        ('{to: [{operation: {ports: ["80"]}}]}', False),
        ('{to: [{operation: {ports: ["80"]}}, {operation: {methods: [GET]}}]}', True),
        (f"{{from: [{{source: {{principals: [{FRONT}]}}}}]}}", True),
        ('{from: [{source: {principals: ["*/sa/front"]}}]}', True),
        ('{from: [{source: {principals: ["*"]}}]}', True),
        ('{from: [{source: {principals: ["other/ns/shop/sa/front"]}}]}', False),
        ("{from: [{source: {namespaces: [shop]}}]}", True),
        ('{from: [{source: {namespaces: ["sh*"]}}]}', True),
        ("{from: [{source: {namespaces: [hop]}}]}", False),
        ("{from: [{source: {notNamespaces: [shop]}}]}", False),
        ("{from: [{source: {serviceAccounts: [shop/front]}}]}", True),
        ("{from: [{source: {serviceAccounts: [front]}}]}", False),
        ("{from: [{source: {ipBlocks: [10.1.0.0/16]}}]}", True),
        ("{from: [{source: {notIpBlocks: [10.1.0.5]}}]}", False),
        ('{from: [{source: {requestPrincipals: ["*"]}}]}', False),
        ('{from: [{source: {notRequestPrincipals: ["*"]}}]}', True),
        ('{when: [{key: "request.headers[User-Agent]", values: ["curl*"]}]}', True),
        ('{when: [{key: "request.headers[x-a]", notValues: ["1"]}]}', True),
        ('{when: [{key: "request.headers[x-a]", values: ["*"]}]}', False),
        ("{when: [{key: destination.ip, values: [10.1.0.9]}]}", True),
        ('{when: [{key: destination.port, values: ["8080"]}]}', True),
        ('{when: [{key: connection.sni, values: ["*"]}]}', False),
        ("{when: [{key: source.namespace, notValues: [shop]}]}", False),
        ("{when: [{key: no.such.thing, values: [x]}]}", False),
    ],
)
def test_one_rule(rule: str, holds: bool) -> None:
    assert allowed(rule) is holds


def test_a_repeated_header_matches_with_one_of_its_values() -> None:
    """Measured on Istio 1.31 by tests/e2e/differential."""
    twice = {"headers": (("x-a", "2"), ("x-a", "1"))}
    assert allowed('{when: [{key: "request.headers[x-a]", values: ["1"]}]}', **twice)
    assert not allowed('{when: [{key: "request.headers[x-a]", values: ["2,1"]}]}', **twice)


def test_plaintext_has_no_principal_and_no_namespace() -> None:
    plain = {"peer": Peer(principal=None, address="10.1.0.5")}
    assert not allowed('{from: [{source: {principals: ["*"]}}]}', **plain)
    assert not allowed('{from: [{source: {namespaces: ["*"]}}]}', **plain)
    assert allowed(f"{{from: [{{source: {{notPrincipals: [{FRONT}]}}}}]}}", **plain)


def test_an_empty_policy_of_the_root_namespace_denies_with_its_name() -> None:
    text = policy("{}", "global-deny-all", "istio-system")
    found = judge(text, request())
    assert (found.verdict, found.status) == (Verdict.DENY, 403)
    assert found.reason == (
        "AuthorizationPolicy istio-system/global-deny-all allows nothing "
        "(ALLOW without rules, root namespace) and no other ALLOW policy matches"
    )
    assert found.origin and found.origin.ref.name == "global-deny-all"
    assert judge(text + policy("{rules: [{}]}"), request()).verdict is Verdict.ALLOW


def test_a_denial_names_the_nearest_rule_and_what_it_fails_on() -> None:
    text = policy(
        "{rules: [{to: [{operation: {methods: [POST], paths: [/x]}}]},"
        " {to: [{operation: {paths: ['/v1*']}}]}]}"
    )
    reason = judge(text, request()).reason
    assert "AuthorizationPolicy app/p rule 1, fails on rules[1].to[0].operation.paths [/v1*]" in reason
    assert "path is /a/b" in reason


def test_deny_goes_before_allow_and_custom_before_both() -> None:
    allow = policy("{rules: [{}]}")
    deny = policy("{action: DENY, rules: [{to: [{operation: {paths: ['/a*']}}]}]}", "d")
    found = judge(allow + deny, request())
    assert found.verdict is Verdict.DENY and "app/d rule 0 denies" in found.reason
    custom = policy("{action: CUSTOM, provider: {name: oauth}, rules: [{}]}", "c")
    mesh = Mesh(extension_providers=("oauth",), raw={"extensionProviders": [{"name": "oauth"}]})
    asked = judge(allow + custom, request(), mesh)
    assert asked.verdict is Verdict.UNKNOWN and "external authorizer oauth decides" in asked.reason
    gone = judge(allow + custom, request(), Mesh(extension_providers=("x",), raw={"extensionProviders": []}))
    assert gone.verdict is Verdict.DENY and "not among meshConfig.extensionProviders" in gone.reason
    assert judge(allow + deny + custom, request(), mesh).verdict is Verdict.UNKNOWN


def test_audit_and_dry_run_decide_nothing() -> None:
    audit = policy("{action: AUDIT, rules: [{}]}")
    dry = policy("{}", "d", more=', annotations: {istio.io/dry-run: "true"}')
    assert judge(audit + dry, request()).verdict is Verdict.ALLOW


def test_selectors_and_namespaces_decide_where_a_policy_applies() -> None:
    other = "{selector: {matchLabels: {app: other}}}"
    assert judge(policy(other) + policy("{}", namespace="shop"), request()).verdict is Verdict.ALLOW
    assert judge(policy("{selector: {matchLabels: {app: web}}}"), request()).verdict is Verdict.DENY


def test_target_refs_are_for_gateways_of_the_gateway_api() -> None:
    text = policy("{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]}")
    assert judge(text, request()).verdict is Verdict.ALLOW
    edge = Ref("gateway.networking.k8s.io", "Gateway", "app", "edge")
    assert judge(text, request(), gateway=edge).verdict is Verdict.DENY
    assert judge(text, request(), gateway=edge._replace(name="other")).verdict is Verdict.ALLOW


def test_tcp_chains_drop_allow_rules_with_http_fields_and_widen_deny_rules() -> None:
    bytes_only = {"http": False, "method": "", "authority": "", "path": "", "headers": ()}
    allow = policy("{rules: [{to: [{operation: {methods: [GET]}}]}]}")
    found = judge(allow, request(**bytes_only))
    assert (found.verdict, found.status) == (Verdict.DENY, None)
    assert judge(
        policy('{rules: [{to: [{operation: {ports: ["8080"]}}]}]}'), request(**bytes_only)
    ).verdict is (Verdict.ALLOW)
    wide = policy("{action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}")
    assert judge(wide, request(**bytes_only)).verdict is Verdict.DENY


def test_what_cannot_be_known_is_unknown_only_where_it_matters() -> None:
    nobody = {"peer": Peer(principal=None, principal_known=False, address=None)}
    by_name = policy(f"{{rules: [{{from: [{{source: {{principals: [{FRONT}]}}}}]}}]}}")
    assert judge(by_name, request(**nobody)).verdict is Verdict.UNKNOWN
    assert judge(by_name + policy("{rules: [{}]}", "all"), request(**nobody)).verdict is Verdict.ALLOW
    narrower = policy(
        f"{{rules: [{{from: [{{source: {{principals: [{FRONT}]}}}}],"
        " to: [{operation: {methods: [POST]}}]}]}"
    )
    assert judge(narrower, request(**nobody)).verdict is Verdict.DENY
    address = policy("{action: DENY, rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}")
    assert judge(address, request(**nobody)).verdict is Verdict.UNKNOWN


def test_trust_domain_aliases_stand_for_each_other() -> None:
    mesh = Mesh(trust_domain="new.example", raw={"trustDomainAliases": ["old.example"]})
    rule = policy("{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/front]}}]}]}")
    for domain in ("new.example", "old.example"):
        peer = Peer(principal=f"{domain}/ns/shop/sa/front")
        assert judge(rule, request(peer=peer), mesh).verdict is Verdict.ALLOW
    assert judge(rule, request(peer=Peer(principal=FRONT)), mesh).verdict is Verdict.DENY


def token(issuer: str, parts: int = 3) -> str:
    def encoded(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return ".".join([encoded({"alg": "RS256"}), encoded({"iss": issuer, "sub": "me"}), "c2ln"][:parts])


JWT = policy("{jwtRules: [{issuer: https://idp.example}]}", "jwt", kind="RequestAuthentication")
NEEDED = policy('{rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}', "needed")


def bearer(text: str) -> dict[str, Any]:
    return {"headers": (("authorization", f"Bearer {text}"),)}


def test_no_token_passes_authentication_and_fails_where_one_is_demanded() -> None:
    assert judge(JWT, request()).verdict is Verdict.ALLOW
    found = judge(JWT + NEEDED, request())
    assert (found.verdict, found.status) == (Verdict.DENY, 403) and "no token" in found.reason
    assert judge(JWT, request(headers=(("authorization", "Basic eA=="),))).verdict is Verdict.ALLOW


def test_tokens_that_cannot_be_good_are_401_and_others_cannot_be_known() -> None:
    for bad in ("nonsense", token("https://idp.example", 2), token("https://other.example")):
        found = judge(JWT, request(**bearer(bad)))
        assert (found.verdict, found.status) == (Verdict.DENY, 401), bad
    for text in (JWT, JWT + NEEDED):
        assert judge(text, request(**bearer(token("https://idp.example")))).verdict is Verdict.UNKNOWN
    assert judge(JWT, request(query=f"access_token={token('x')}")).status == 401


def test_preflight_requests_need_no_token() -> None:
    headers = (("authorization", "Bearer x"), ("origin", "a"), ("access-control-request-method", "GET"))
    assert judge(JWT, request(method="OPTIONS", headers=headers)).verdict is Verdict.ALLOW


def mode(text: str, port: int = 8080) -> tuple[str, str | None]:
    def question(world: World) -> tuple[str, str | None]:
        pod = world.get(kinds.POD, "app", "web")
        if pod is None:
            return "", None
        found, origin = security.peer_mode(world, Mesh(), pod, port)
        return found, f"{origin.ref.namespace}/{origin.ref.name}" if origin else None

    return answer(POD + text, question)


def peer(spec: str, name: str, namespace: str, created: str = "") -> str:
    more = f", creationTimestamp: '{created}'" if created else ""
    return policy(spec, name, namespace, "PeerAuthentication", more)


def test_peer_authentication_of_the_narrowest_scope_wins() -> None:
    assert mode("") == ("PERMISSIVE", None)
    mesh_wide = peer("{mtls: {mode: STRICT}}", "m", "istio-system")
    assert mode(mesh_wide) == ("STRICT", "istio-system/m")
    space = mesh_wide + peer("{mtls: {mode: DISABLE}}", "space", "app")
    assert mode(space) == ("DISABLE", "app/space")
    assert mode(mesh_wide + peer("{mtls: {mode: UNSET}}", "space", "app")) == ("STRICT", "istio-system/m")
    own = peer("{selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}}", "w", "app")
    assert mode(space + own) == ("PERMISSIVE", "app/w")
    assert mode(space + own.replace("app: web", "app: other")) == ("DISABLE", "app/space")


def test_peer_authentication_of_one_port() -> None:
    text = peer(
        "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}}",
        "w",
        "app",
    )
    assert mode(text, 8080) == ("DISABLE", "app/w")
    assert mode(text, 80) == ("STRICT", "app/w")
    without = peer("{mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}}", "space", "app")
    assert mode(without, 8080) == ("STRICT", "app/space")


def test_of_two_peer_authentications_the_oldest_wins() -> None:
    text = peer("{mtls: {mode: STRICT}}", "a", "app", "2024-02-01T00:00:00Z") + peer(
        "{mtls: {mode: DISABLE}}", "b", "app", "2024-01-01T00:00:00Z"
    )
    assert mode(text) == ("DISABLE", "app/b")
