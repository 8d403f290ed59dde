"""Which routes attach to which listeners, grants and relations."""

from __future__ import annotations

from typing import Any

import pytest

from kgdiag.dialects import all_relations
from kgdiag.dialects.gateway_api.attach import Attachment, attachments, granted, routes_of
from kgdiag.dialects.gateway_api.hostnames import covers, intersect
from kgdiag.dialects.gateway_api.listeners import listener_states
from kgdiag.dialects.gateway_api.spec import listeners_of
from kgdiag.graph.relations import into, out_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.ref import Ref
from tests.dialects.gateway_api import PROVIDERS, Json, app, gateway, made, route, rule, text
from tests.support import answer

HTTP = {"name": "http", "port": 80, "protocol": "HTTP"}


def attached(
    objects: list[Json], name: str = "r", namespace: str = "shop", **how: Any
) -> tuple[Attachment, ...]:
    def ask(world: World) -> tuple[Attachment, ...]:
        found = world.get(kinds.HTTP_ROUTE, namespace, name)
        return attachments(world, found) if found else ()

    return answer(text(objects), ask, **how)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*.a.b", "x.a.b", True),
        ("*.a.b", "y.x.a.b", True),
        ("*.a.b", "a.b", False),
        ("*.a.b", "*.x.a.b", True),
        ("*.x.a.b", "*.a.b", False),
        ("", "anything", True),
        ("a.b", "a.b", True),
        ("a.b", "x.a.b", False),
        ("*.a.b", "xa.b", False),
    ],
)
def test_wildcards_cover_any_number_of_labels_but_not_none(pattern: str, name: str, expected: bool) -> None:
    assert covers(pattern, name) is expected


@pytest.mark.parametrize(
    ("listener", "names", "shared"),
    [
        ("", (), ("*",)),
        ("a.b", (), ("a.b",)),
        ("*.b", ("a.b", "b", "x.c"), ("a.b",)),
        ("a.b", ("*.b",), ("a.b",)),
        ("*.a.b", ("*.b", "*.x.a.b"), ("*.a.b", "*.x.a.b")),
        ("a.b", ("c.d",), ()),
    ],
)
def test_shared_hostnames_are_the_narrower_ones(
    listener: str, names: tuple[str, ...], shared: tuple[str, ...]
) -> None:
    assert intersect(listener, names) == shared


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("listener", "parent", "namespace", "reason"),
    [
        ({}, {}, "shop", "Accepted"),
        ({}, {"sectionName": "http"}, "shop", "Accepted"),
        ({}, {"sectionName": "https"}, "shop", "NoMatchingParent"),
        ({}, {"port": 8080}, "shop", "NoMatchingParent"),
        ({}, {}, "other", "NotAllowedByListeners"),
        ({"allowedRoutes": {"namespaces": {"from": "All"}}}, {}, "other", "Accepted"),
        ({"allowedRoutes": {"kinds": [{"kind": "GRPCRoute"}]}}, {}, "shop", "NotAllowedByListeners"),
        ({"hostname": "b.example"}, {}, "shop", "NoMatchingListenerHostname"),
        ({"hostname": "*.example"}, {}, "shop", "Accepted"),
    ],
)
def test_the_first_reason_against_a_listener(
    provider: str, listener: Json, parent: Json, namespace: str, reason: str
) -> None:
    one = route("r", rule("app"), parents=[{"name": "web", "namespace": "shop", **parent}],
                namespace=namespace, hosts=["a.example"])  # fmt: skip
    (found,) = attached([*gateway(provider, {**HTTP, **listener}), one], namespace=namespace)
    assert found.reason == reason
    assert found.accepted is (reason == "Accepted")


def test_a_selector_by_labels_needs_the_namespace() -> None:
    wanted = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}
    objects = [
        *gateway("istio", {**HTTP, "allowedRoutes": {"namespaces": wanted}}),
        route("r", rule("app"), namespace="other"),
    ]
    (unknown,) = attached(objects, namespace="other")
    assert unknown.accepted is None
    labelled = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "other", "labels": {"team": "a"}},
    }
    (known,) = attached([*objects, labelled], namespace="other")
    assert known.accepted is True
    (by_name,) = attached(
        [*gateway("istio", {**HTTP, "allowedRoutes": {"namespaces": {
            "from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}}}),
         route("r", rule("app"), namespace="other")],
        namespace="other",
    )  # fmt: skip
    assert by_name.accepted is True


def test_a_missing_gateway_gives_no_reason_that_any_controller_writes() -> None:
    (found,) = attached([route("r", rule("app"), parents=[{"name": "gone"}])])
    assert (found.accepted, found.reason) == (False, "")
    (partial,) = attached([route("r", rule("app"), parents=[{"name": "gone"}])], complete=False)
    assert partial.accepted is None


def test_listener_sets_are_admitted_only_where_the_gateway_says_so() -> None:
    extra = made("ListenerSet", "more", {
        "parentRef": {"name": "web"}, "listeners": [{"name": "extra", "port": 8080, "protocol": "HTTP"}],
    })  # fmt: skip
    one = route("r", rule("app"), parents=[{"name": "more", "kind": "ListenerSet"}])
    (closed,) = attached([*gateway("istio"), extra, one])
    assert closed.accepted is False
    allowed = {"namespaces": {"from": "Same"}}
    (opened,) = attached([*gateway("istio", allowedListeners=allowed), extra, one])
    assert opened.accepted is True
    assert [said.listener.name for said in opened.admissions] == ["extra"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_routes_come_oldest_first_and_only_those_admitted(provider: str) -> None:
    objects = [
        *gateway(provider),
        route("young", rule("app"), created="2025-01-02T00:00:00Z"),
        route("old", rule("app"), created="2025-01-01T00:00:00Z"),
        route("stranger", rule("app"), namespace="other"),
    ]

    def ask(world: World) -> list[str]:
        found = world.get(kinds.GATEWAY, "shop", "web")
        if found is None:
            return []
        return [
            item.route.name for one in listeners_of(world, found) for item in routes_of(world, found, one)
        ]

    assert answer(text(objects), ask) == ["old", "young"]


def grant(*, name: str = "") -> Json:
    to = {"group": "", "kind": "Service", **({"name": name} if name else {})}
    source = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop"}
    return made("ReferenceGrant", "g", {"from": [source], "to": [to]}, namespace="other",
                api="gateway.networking.k8s.io/v1beta1")  # fmt: skip


@pytest.mark.parametrize(
    ("grants", "kind", "expected"),
    [
        ([], "HTTPRoute", False),
        ([grant()], "HTTPRoute", True),
        ([grant(name="app")], "HTTPRoute", True),
        ([grant(name="b")], "HTTPRoute", False),
        ([grant()], "GRPCRoute", False),
    ],
)
def test_grants_name_kind_namespace_and_perhaps_the_object(
    grants: list[Json], kind: str, expected: bool
) -> None:
    source, target = ("gateway.networking.k8s.io", kind, "shop"), ("", "Service", "other", "app")
    objects = [*grants, *app("app", namespace="other")]
    assert answer(text(objects), lambda world: granted(world, source, target)) is expected


def test_no_grant_in_files_that_hold_none_of_the_namespace_is_not_known() -> None:
    source = ("gateway.networking.k8s.io", "HTTPRoute", "shop")
    objects = text(gateway("istio"))
    ask = lambda world: granted(world, source, ("", "Service", "other", "app"))  # noqa: E731
    assert answer(objects, ask, complete=False) is None
    inside = lambda world: granted(world, source, ("", "Service", "shop", "app"))  # noqa: E731
    assert answer(objects, inside, complete=False) is True


TLS = {"certificateRefs": [{"name": "cert"}]}
SECRET = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
          "metadata": {"name": "cert", "namespace": "shop"}}  # fmt: skip


def programmed(objects: list[Json], **how: Any) -> dict[str, str]:
    """Listeners by name, with the reason that they are not programmed for, "" for those that are."""

    def ask(world: World) -> dict[str, str]:
        found = world.get(kinds.GATEWAY, "shop", "web")
        return {item.listener.name: item.reason for item in listener_states(world, found)} if found else {}

    return answer(text(objects), ask, **how)


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("envoy-gateway", {"a": "ProtocolConflict", "b": "ProtocolConflict", "c": ""}),
        ("istio", {"a": "", "b": "ProtocolConflict", "c": ""}),
    ],
)
def test_protocols_that_cannot_share_a_port(provider: str, expected: dict[str, str]) -> None:
    listeners: list[Json] = [
        {"name": "a", "port": 80, "protocol": "HTTP"},
        {"name": "b", "port": 80, "protocol": "TCP"},
        {"name": "c", "port": 81, "protocol": "HTTP"},
    ]
    assert programmed(gateway(provider, *listeners)) == expected


@pytest.mark.parametrize("provider", PROVIDERS)
def test_certificates_that_are_missing_forbidden_or_no_secret(provider: str) -> None:
    def with_ref(**ref: str) -> str:
        tls = {"certificateRefs": [{"name": "cert", **ref}]}
        objects = gateway(provider, {"name": "tls", "port": 443, "protocol": "HTTPS", "tls": tls})
        return programmed(objects)["tls"]

    assert with_ref() == "InvalidCertificateRef"
    assert with_ref(kind="ConfigMap") == "InvalidCertificateRef"
    assert with_ref(namespace="other") == "RefNotPermitted"


def test_a_certificate_that_was_not_read_is_no_missing_one() -> None:
    objects = gateway("istio", {"name": "tls", "port": 443, "protocol": "HTTPS", "tls": TLS})
    assert programmed(objects, complete=False) == {"tls": ""}


def test_a_secret_without_key_is_no_certificate() -> None:
    objects = gateway("istio", {"name": "tls", "port": 443, "protocol": "HTTPS", "tls": TLS})
    assert programmed([*objects, {**SECRET, "data": {"tls.crt": "eA=="}}]) == {"tls": "InvalidCertificateRef"}


def test_relations_lead_from_gateway_to_service_and_back() -> None:
    objects = [*gateway("istio"), route("r", rule("app")), *app("app"), grant(name="app")]

    def ask(world: World) -> set[tuple[str, str, str]]:
        found: set[tuple[str, str, str]] = set()
        for kind in (kinds.GATEWAY, kinds.HTTP_ROUTE, kinds.REFERENCE_GRANT):
            for obj in world.all(kind):
                for link in out_of(world, obj, all_relations()):
                    found.add((obj.name, link.relation.name, link.other.name))
        service = world.get(kinds.SERVICE, "shop", "app")
        for link in into(world, service, all_relations()) if service else ():
            found.add(("app", link.relation.inverse, link.other.name))
        return found

    found = answer(text(objects), ask)
    assert {
        ("web", "of-class", "istio"),
        ("web", "fronted-by", "web-istio"),
        ("r", "attached-to", "web"),
        ("r", "routes-to", "app"),
        ("app", "routed-from", "r"),
        ("g", "grants", "app"),
        ("g", "lets-in", "shop"),
    } <= found


def test_gateway_references_are_told_apart_from_istio_gateways() -> None:
    objects = [*gateway("istio"), route("r", rule("app"), parents=[
        {"name": "web", "group": "networking.istio.io", "kind": "Gateway"}])]  # fmt: skip
    (found,) = attached(objects)
    assert found.accepted is False
    assert found.parent.ref == Ref("networking.istio.io", "Gateway", "shop", "web")
