"""Which apiVersion was meant, which fields do nothing; and no alarm where nothing is wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from kgdiag.collect.files import read_files
from kgdiag.errors import InputError
from kgdiag.model import kinds
from kgdiag.model.note import NoteCode
from kgdiag.model.schema import distance, fields_of, known_kind, unknown_fields, unknown_kind

DATA = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.mark.parametrize(
    ("api_version", "kind", "reason", "nearest"),
    [
        ("nertowkring.istio.io/v1alpha3", "Gateway", "group", "networking.istio.io/v1 Gateway"),
        ("gateway.kgateway.dev/v1alpha1", "Gateway", "kind", "gateway.networking.k8s.io/v1 Gateway"),
        ("gateway.kgateway.dev/v1alpha1", "HTTPRoute", "kind", "gateway.networking.k8s.io/v1 HTTPRoute"),
        ("networking.istio.io", "VirtualService", "kind", "networking.istio.io/v1 VirtualService"),
        ("security.istio.io/v1", "Gateway", "kind", "networking.istio.io/v1 Gateway"),
        ("networking.k8s.io/v1", "Gateway", "kind", "gateway.networking.k8s.io/v1 Gateway"),
        ("v1", "Deployment", "kind", "apps/v1 Deployment"),
        ("apps/v1", "Service", "kind", "v1 Service"),
        ("app/v1", "Deployment", "group", "apps/v1 Deployment"),
        ("gateways.networking.k8s.io/v1", "Gateway", "group", "gateway.networking.k8s.io/v1 Gateway"),
        ("gateway.networking.k8s.io/v1", "HttpRoute", "kind", "gateway.networking.k8s.io/v1 HTTPRoute"),
        ("networking.istio.io/v1", "VirtualServce", "kind", "networking.istio.io/v1 VirtualService"),
        (
            "networking.istio.io/v1alpha4",
            "VirtualService",
            "version",
            "networking.istio.io/v1alpha3 VirtualService",
        ),
        ("v2", "Pod", "version", "v1 Pod"),
        ("extensions/v1beta1", "Ingress", "removed", "networking.k8s.io/v1 Ingress"),
        ("v1", "Foo", "kind", ""),
    ],
)
def test_what_no_server_knows(api_version: str, kind: str, reason: str, nearest: str) -> None:
    found = unknown_kind(api_version, kind)
    assert found is not None
    assert (found.reason, found.nearest) == (reason, nearest)
    assert nearest.partition(" ")[0] in found.message


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("cert-manager.io/v1", "Certificate"),
        ("acme.example/v1", "Gateway"),  # anybody may have a Gateway
        ("networking.acme.io/v1", "Gateway"),
        ("mycompany.io/v1", "Service"),
        ("kserve.io/v1beta1", "InferenceService"),
        ("gateway.kgateway.dev/v1alpha1", "TrafficPolicy"),
        ("gateway.kgateway.dev/v1alpha1", "SomethingNew"),  # newer than the table
        ("networking.istio.io/v2", "VirtualService"),
        ("gateway.networking.x-k8s.io/v1alpha1", "XListenerSet"),
        ("networking.internal.knative.dev/v1alpha1", "Ingress"),
        ("networking.k8s.io/v1beta1", "Ingress"),
        ("gateway.solo.io/v1", "Gateway"),
        ("config.openshift.io/v1", "Ingress"),
    ],
)
def test_what_a_server_may_know(api_version: str, kind: str) -> None:
    assert unknown_kind(api_version, kind) is None


@pytest.mark.parametrize("kind", kinds.ALL, ids=str)
def test_the_table_agrees_with_the_kinds_that_kgdiag_reads(kind: Any) -> None:
    version = kind.versions[0]
    assert unknown_kind(f"{kind.group}/{version}" if kind.group else version, kind.name) is None
    assert known_kind(*kind.key) is kind


def test_scope_and_plural_of_kinds_that_kgdiag_does_not_read() -> None:
    issuer, policy = known_kind("cert-manager.io", "ClusterIssuer"), known_kind("policy", "PodSecurityPolicy")
    assert issuer is not None
    assert policy is not None
    assert (issuer.plural, issuer.namespaced, issuer.versions[0]) == ("clusterissuers", False, "v1")
    assert policy.plural == "podsecuritypolicies"
    assert known_kind("acme.example", "Gateway") is None


def test_distance() -> None:
    assert [distance(*pair) for pair in (("", "abc"), ("ab", "ba"), ("kitten", "sitting"), ("a", "a"))] == [
        3,
        1,
        3,
        0,
    ]


def unknown(api_version: str, kind: str, spec: Any, **more: Any) -> dict[str, str]:
    raw = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec, **more}
    return {found.path: found.nearest for found in unknown_fields(raw)}


ISTIO, ROUTE = "networking.istio.io/v1beta1", [{"destination": {"host": "h", "port": {"number": 80}}}]


def test_a_field_at_the_wrong_depth() -> None:
    http = [{"match": [{"authority": {"prefix": "a"}, "gateways": ["g"]}], "route": ROUTE}]
    assert unknown(ISTIO, "VirtualService", {"hosts": ["a"]}, http=http) == {"http": "spec.http"}
    assert unknown(
        "gateway.networking.k8s.io/v1", "HTTPRoute", {"backendRefs": [{"name": "s", "port": 80}]}
    ) == {"spec.backendRefs": "spec.rules[].backendRefs"}
    assert unknown("apps/v1", "Deployment", {"containers": [{"name": "a"}]}) == {
        "spec.containers": "spec.template.spec.containers"
    }


def test_a_field_whose_value_tells_its_name() -> None:
    spec = {"host": "a", "trafficPolicy": {"tls": {"tls": "ISTIO_MUTUAL"}}}
    assert unknown(ISTIO, "DestinationRule", spec) == {
        "spec.trafficPolicy.tls.tls": "spec.trafficPolicy.tls.mode"
    }


def test_misspelt_fields() -> None:
    http = {"matches": [{"uri": {"prefix": "/"}}], "retry": {"attempts": 1}, "time_out": "3s", "rout": ROUTE}
    assert unknown(ISTIO, "VirtualService", {"gateway": ["g"], "http": [http]}) == {
        "spec.gateway": "spec.gateways",
        "spec.http[0].matches": "spec.http[0].match",
        "spec.http[0].retry": "spec.http[0].retries",
        "spec.http[0].time_out": "spec.http[0].timeout",
        "spec.http[0].rout": "spec.http[0].route",
    }
    ports = [{"port": 80, "targetport": 8080}]
    raw = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "x", "label": {}},
        "spec": {"ports": ports},
    }
    assert [(found.path, found.nearest) for found in unknown_fields(raw)] == [
        ("metadata.label", "metadata.labels"),
        ("spec.ports[0].targetport", "spec.ports[0].targetPort"),
    ]


def test_fields_that_a_later_version_has_elsewhere() -> None:
    rules = [{"http": {"paths": [{"backend": {"serviceName": "a"}}]}}]
    backend = "spec.rules[0].http.paths[0].backend"
    assert unknown("networking.k8s.io/v1", "Ingress", {"rules": rules}) == {
        f"{backend}.serviceName": f"{backend}.service.name"
    }
    assert unknown("networking.k8s.io/v1beta1", "Ingress", {"rules": rules}) == {}


def test_a_field_that_is_nowhere() -> None:
    assert unknown("v1", "Service", {"matchLabels": {"a": "b"}, "a.b": 1}) == {
        "spec.matchLabels": "",
        "spec['a.b']": "",
    }


def test_what_is_free_stays_free() -> None:
    patch = {
        "configPatches": [
            {"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": {"any": {"thing": 1}}}}
        ]
    }
    assert unknown("networking.istio.io/v1alpha3", "EnvoyFilter", patch) == {}
    labels = {
        "metadata": {"labels": {"x/y": "z"}},
        "spec": {"$patch": "delete", "nodeSelector": {"a.b/c": "d"}},
    }
    assert unknown("apps/v1", "Deployment", {"template": labels}, status={"anything": 1}) == {}
    assert unknown("acme.example/v1", "Thing", {"x": 1}) == {}
    assert unknown("../../x/v1", "Thing", {"x": 1}) == {}


def test_wrong_types_are_not_unknown_fields() -> None:
    assert unknown(ISTIO, "VirtualService", {"http": "x", "hosts": {"a": 1}, "tls": None}) == {}
    assert unknown(ISTIO, "VirtualService", None) == {}


def test_a_definition_at_hand_counts_instead_of_the_table() -> None:
    def version(name: str, properties: dict[str, Any]) -> dict[str, Any]:
        spec = {"type": "object", "properties": properties}
        return {"name": name, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}

    string = {"type": "string"}
    versions = [
        version(
            "v1", {"new": string, "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        ),
        version(
            "v1beta1",
            {
                "old": string,
                "map": {
                    "type": "object",
                    "additionalProperties": {"type": "object", "properties": {"a": string}},
                },
            },
        ),
    ]
    raw = {
        "apiVersion": ISTIO,
        "kind": "VirtualService",
        "metadata": {"name": "x"},
        "spec": {"new": 1, "old": 1, "free": {"x": 1}, "map": {"k": {"a": 1, "b": 2}}, "hosts": ["a"]},
    }
    found = unknown_fields(raw, {"spec": {"versions": versions}})
    assert [item.path for item in found] == ["spec.map.k.b", "spec.hosts"]
    assert [item.path for item in unknown_fields(raw, {"spec": "broken"})][:1] == ["spec.new"]


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        (f"{kind.group}/{version}" if kind.group else version, kind.name)
        for kind in (
            kinds.SERVICE,
            kinds.POD,
            kinds.DEPLOYMENT,
            kinds.CONFIG_MAP,
            kinds.INGRESS,
            kinds.NETWORK_POLICY,
            kinds.VIRTUAL_SERVICE,
            kinds.DESTINATION_RULE,
            kinds.ISTIO_GATEWAY,
            kinds.SERVICE_ENTRY,
            kinds.AUTHORIZATION_POLICY,
            kinds.PEER_AUTHENTICATION,
            kinds.GATEWAY,
            kinds.GATEWAY_CLASS,
            kinds.HTTP_ROUTE,
            kinds.GRPC_ROUTE,
            kinds.REFERENCE_GRANT,
            kinds.KNATIVE_SERVICE,
            kinds.KNATIVE_INGRESS,
            kinds.INFERENCE_SERVICE,
            kinds.ROUTE,
        )
        for version in kind.versions[:1]
    ],
)
def test_the_kinds_on_the_way_of_a_request_have_their_fields(api_version: str, kind: str) -> None:
    fields = fields_of(api_version, kind)
    assert fields is not None
    assert len(fields.root) > 4


MISTAKES = {
    # v1beta1 has no "custom"; it was the way of v1alpha2. The pod's fields stand in the component itself.
    ("rollout-strategy-example.yaml", "spec.transformer.custom"),
    # kinds are case-sensitive: there is no "broker"
    ("broker.yaml", "eventing.knative.dev/v1 broker"),
    # a kustomize patch with a stray "patches:" line at its head; no kustomization near it names it as a patch
    ("sidecar-injection.yaml", "patches"),
}
"""What is really wrong in the public manifests: (file, field or apiVersion and kind)."""


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_no_false_alarm_over_real_manifests() -> None:
    found, seen = set(), 0
    for folder, _, names in os.walk(DATA):
        for name in names:
            if not name.endswith((".yaml", ".yml", ".json")):
                continue
            try:
                source = read_files([str(Path(folder, name))])
            except InputError:  # templates, Helm values, kustomize patches: no manifests by themselves
                continue
            for note in source.documents:
                if note.code in (NoteCode.UNKNOWN_KIND, NoteCode.NOT_TEXT):
                    found.add((name, f"{note.api_version} {note.kind}"))
            for obj in source.objects:
                seen += 1
                found |= {(name, field.path) for field in unknown_fields(obj.raw)}
    assert seen > 1000
    assert found == MISTAKES
