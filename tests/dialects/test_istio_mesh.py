"""The mesh's configuration, names, and which pods have a proxy."""

from __future__ import annotations

import pytest

from kgdiag.dialects.istio.mesh import (
    discovered,
    has_sidecar,
    is_gateway_pod,
    is_waypoint,
    mesh_of,
    principal,
    resolve_host,
    visible,
)
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from tests.support import answer

MESH = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    rootNamespace: mesh-config
    trustDomain: corp.example
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
    defaultVirtualServiceExportTo: ["."]
    enableAutoMtls: false
    extensionProviders: [{name: oauth2-proxy, envoyExtAuthzHttp: {service: x, port: 80}}]
    discoverySelectors: [{matchLabels: {mesh: "yes"}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod, namespace: istio-system, labels: {app: istiod, istio.io/rev: default}}
spec:
  template:
    spec:
      containers:
      - name: discovery
        image: docker.io/istio/pilot:1.20.3
        env: [{name: PILOT_SCOPE_GATEWAY_TO_NAMESPACE, value: "true"}]
---
apiVersion: v1
kind: Namespace
metadata: {name: seen, labels: {mesh: "yes"}}
---
apiVersion: v1
kind: Namespace
metadata: {name: unseen}
"""


def pod(spec: str, meta: str = "", namespace: str = "apps") -> Obj:
    text = f"""
apiVersion: v1
kind: Pod
metadata: {{name: p, namespace: {namespace}{", " + meta if meta else ""}}}
spec: {spec}
"""
    found = answer(text, lambda world: world.get(kinds.POD, namespace, "p"))
    assert found is not None
    return found


def test_configuration_switches_and_version() -> None:
    mesh = answer(MESH, lambda world: mesh_of(world))
    assert (mesh.root_namespace, mesh.trust_domain, mesh.outbound) == (
        "mesh-config",
        "corp.example",
        "REGISTRY_ONLY",
    )
    assert mesh.virtual_service_export_to == (".",)
    assert mesh.destination_rule_export_to == ("*",)
    assert mesh.auto_mtls is False
    assert mesh.extension_providers == ("oauth2-proxy",)
    assert mesh.switch("PILOT_SCOPE_GATEWAY_TO_NAMESPACE", False)
    assert mesh.switch("PILOT_ENABLE_STRICT_GATEWAY_MERGING", True)
    assert mesh.version == (1, 20)
    assert not mesh.since(1, 21)
    assert not mesh.assumed


def test_without_configuration_istio_defaults_stand_in() -> None:
    mesh = answer("", lambda world: mesh_of(world))
    assert (mesh.root_namespace, mesh.outbound, mesh.auto_mtls) == ("istio-system", "ALLOW_ANY", True)
    assert mesh.assumed
    assert mesh.since(9, 99)


def test_a_pod_names_its_control_plane_and_revision() -> None:
    text = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio-canary, namespace: control}
data: {mesh: "trustDomain: canary.example"}
"""
    gateway = pod(
        "{containers: [{name: istio-proxy, args: [proxy, router], image: 'istio/proxyv2:1.18.2-distroless',"
        " env: [{name: CA_ADDR, value: 'istiod-canary.control.svc:15012'}]}]}",
        "labels: {istio.io/rev: canary}",
    )
    mesh = answer(text, lambda world: mesh_of(world, gateway))
    assert (mesh.control_plane, mesh.revision, mesh.trust_domain) == ("control", "canary", "canary.example")
    assert mesh.root_namespace == "control"
    assert mesh.version == (1, 18)
    assert principal(mesh, gateway) == "canary.example/ns/apps/sa/default"


def test_namespaces_that_istiod_does_not_look_at() -> None:
    def question(world: World) -> list[bool]:
        mesh = mesh_of(world)
        return [discovered(world, mesh, name) for name in ("seen", "unseen", "not-in-the-files")]

    assert answer(MESH, question) == [True, False, True]


def test_member_roll_of_openshift_service_mesh() -> None:
    roll = """
apiVersion: maistra.io/v1
kind: ServiceMeshMemberRoll
metadata: {name: default, namespace: istio-system}
spec: {members: [a]}
"""

    def question(world: World) -> list[bool]:
        mesh = mesh_of(world)
        return [discovered(world, mesh, name) for name in ("a", "istio-system", "b")]

    assert answer(roll, question) == [True, True, False]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("web", "web.shop.svc.cluster.local"),
        ("web.prod", "web.prod"),
        ("*", "*"),
        ("*.example.com", "*.example.com"),
        ("10.0.0.1", "10.0.0.1"),
        ("fd00::1", "fd00::1"),
        ("", ""),
    ],
)
def test_short_names(host: str, expected: str) -> None:
    assert resolve_host(host, "shop") == expected


@pytest.mark.parametrize(
    ("export", "viewer", "expected"),
    [
        ((), "b", True),
        (("*",), "b", True),
        ((".",), "b", False),
        ((".",), "a", True),
        (("b",), "b", True),
        (("b",), "a", False),
        (("~",), "a", False),
        (("~", "*"), "a", True),
    ],
)
def test_export(export: tuple[str, ...], viewer: str, expected: bool) -> None:
    assert visible(export, "a", viewer) is expected


@pytest.mark.parametrize(
    ("spec", "meta", "expected"),
    [
        ("{containers: [{name: istio-proxy, args: [proxy, router]}]}", "", (True, False, False)),
        (
            "{containers: [{name: app}, {name: istio-proxy, args: [proxy, sidecar]}]}",
            "",
            (False, False, True),
        ),
        ("{containers: [{name: istio-proxy, args: [proxy, waypoint]}]}", "", (False, True, False)),
        (
            "{containers: [{name: app}], initContainers: [{name: istio-proxy, restartPolicy: Always,"
            " args: [proxy, sidecar]}]}",
            "",
            (False, False, True),
        ),
        (
            "{containers: [{name: istio-proxy, image: auto}]}",
            "annotations: {inject.istio.io/templates: gateway}, labels: {sidecar.istio.io/inject: 'true'}",
            (True, False, False),
        ),
        ("{containers: [{name: app}]}", "", (False, False, False)),
    ],
)
def test_roles(spec: str, meta: str, expected: tuple[bool, bool, bool]) -> None:
    found = pod(spec, meta)
    sidecar = answer("", lambda world: has_sidecar(world, found))
    assert (is_gateway_pod(found), is_waypoint(found), sidecar) == expected


@pytest.mark.parametrize(
    ("namespace", "labels", "annotations", "expected"),
    [
        ("istio-injection: enabled", "", "", True),
        ("istio-injection: enabled", "sidecar.istio.io/inject: 'false'", "", False),
        ("istio-injection: enabled", "", "sidecar.istio.io/inject: 'false'", False),
        (
            "istio-injection: enabled",
            "sidecar.istio.io/inject: 'true'",
            "sidecar.istio.io/inject: 'false'",
            True,
        ),
        ("istio-injection: disabled, istio.io/rev: r", "", "", False),
        ("istio.io/rev: r", "", "", True),
        ("", "sidecar.istio.io/inject: 'true'", "", True),
        ("", "istio.io/rev: r", "", True),
        ("", "", "sidecar.istio.io/inject: 'true'", False),
        ("", "", "", False),
    ],
)
def test_injection_of_manifests(namespace: str, labels: str, annotations: str, expected: bool) -> None:
    text = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: apps, labels: {{{namespace}}}}}
"""
    manifest = pod("{containers: [{name: app}]}", f"labels: {{{labels}}}, annotations: {{{annotations}}}")
    assert answer(text, lambda world: has_sidecar(world, manifest)) is expected
    host_network = pod("{hostNetwork: true, containers: [{name: app}]}", f"labels: {{{labels}}}")
    assert not answer(text, lambda world: has_sidecar(world, host_network))


def test_a_pod_that_runs_has_the_containers_that_it_has() -> None:
    text = """
apiVersion: v1
kind: Namespace
metadata: {name: apps, labels: {istio-injection: enabled}}
"""
    running = pod("{nodeName: n1, containers: [{name: app}]}")
    assert not answer(text, lambda world: has_sidecar(world, running))
