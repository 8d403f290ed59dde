"""What a server serves, from aggregated discovery and from the older kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import urllib3

from kgdiag.collect.discovery import Catalogue, Unknown
from kgdiag.collect.http import Http
from kgdiag.collect.workers import Workers
from kgdiag.model.kind import Kind
from kgdiag.model.kinds import (
    DEPLOYMENT,
    GATEWAY,
    HTTP_ROUTE,
    ISTIO_GATEWAY,
    NODE,
    POD,
    SERVICE,
    TCP_ROUTE,
    VIRTUAL_SERVICE,
)
from kgdiag.model.read import Status
from tests.collect.apiserver import Answer, ApiServer, Request, status, times

FUTURE = Kind(
    "networking.istio.io", "VirtualService", "virtualservices", ("vs",), ("v2", "v1beta1", "v1alpha3")
)
OLD_TCP = Kind("gateway.networking.k8s.io", "TCPRoute", "tcproutes", (), ("v1alpha2",))
NEW_HTTP = Kind("gateway.networking.k8s.io", "HTTPRoute", "httproutes", (), ("v1", "v1beta1"))
METRICS = Kind("metrics.k8s.io", "PodMetrics", "pods", (), ("v1beta1",))

pytestmark = pytest.mark.parametrize("aggregated", [True, False], ids=["aggregated", "old"])
Serve = Callable[..., Catalogue]


@pytest.fixture
def servers() -> Any:
    running: list[ApiServer] = []
    yield running
    for server in running:
        server.__exit__()


@pytest.fixture
def serve(servers: list[ApiServer], aggregated: bool) -> Serve:
    def start(*kinds: Kind, **settings: Any) -> Catalogue:
        server = ApiServer(kinds=list(kinds), aggregated=aggregated, **settings).__enter__()
        servers.append(server)
        http = Http(server.url, urllib3.PoolManager(maxsize=10), urllib3.HTTPHeaderDict)
        catalogue = Catalogue(http, Workers(4), 5)
        catalogue.load()
        return catalogue

    return start


def versions(catalogue: Catalogue, kind: Kind) -> list[str]:
    return [resource.api_version for resource in catalogue.served(kind)]


def test_the_servers_preferred_version_is_read(serve: Serve) -> None:
    catalogue = serve(VIRTUAL_SERVICE, NEW_HTTP)
    assert versions(catalogue, VIRTUAL_SERVICE) == ["networking.istio.io/v1"]
    assert versions(catalogue, HTTP_ROUTE) == ["gateway.networking.k8s.io/v1"]


def test_a_version_that_is_known_goes_before_the_servers_preference(serve: Serve) -> None:
    assert versions(serve(FUTURE), VIRTUAL_SERVICE) == ["networking.istio.io/v1beta1"]


def test_the_servers_version_is_read_where_none_is_known(serve: Serve) -> None:
    only = Kind("networking.istio.io", "VirtualService", "virtualservices", (), ("v9",))
    assert versions(serve(only), VIRTUAL_SERVICE) == ["networking.istio.io/v9"]


def test_a_kind_that_only_another_version_of_its_group_has(serve: Serve) -> None:
    assert versions(serve(NEW_HTTP, OLD_TCP), TCP_ROUTE) == ["gateway.networking.k8s.io/v1alpha2"]


def test_the_servers_plural_and_scope_count(serve: Serve) -> None:
    odd = Kind("networking.istio.io", "VirtualService", "virtualservicen", (), ("v1",), namespaced=False)
    resource = serve(odd).served(VIRTUAL_SERVICE)[0]
    assert (resource.plural, resource.namespaced) == ("virtualservicen", False)


def test_absent_group_and_absent_kind(serve: Serve) -> None:
    catalogue = serve(NEW_HTTP)
    assert catalogue.served(VIRTUAL_SERVICE) == []
    assert catalogue.served(GATEWAY) == []


def test_core_kinds_need_no_discovery(serve: Serve, servers: list[ApiServer]) -> None:
    catalogue = serve(POD)
    assert versions(catalogue, POD) == ["v1"]
    assert servers[0].paths() == ["/apis"]


def test_only_what_is_read_is_asked_for(serve: Serve, servers: list[ApiServer], aggregated: bool) -> None:
    catalogue = serve(NEW_HTTP, VIRTUAL_SERVICE, DEPLOYMENT)
    for _ in range(2):
        catalogue.served(HTTP_ROUTE)
        catalogue.served(GATEWAY)
    group = "/apis/gateway.networking.k8s.io"
    assert servers[0].paths() == (["/apis"] if aggregated else ["/apis", f"{group}/v1", f"{group}/v1beta1"])


def test_an_api_service_that_is_down_is_not_absence(serve: Serve, aggregated: bool) -> None:
    down = lambda request: status(503, "service unavailable") if "metrics" in request.path else None  # noqa: E731
    catalogue = serve(METRICS, DEPLOYMENT, stale={"metrics.k8s.io"}, faults=[down])
    with pytest.raises(Unknown) as caught:
        catalogue.served(METRICS)
    assert caught.value.status is Status.FAILED
    assert "metrics.k8s.io/v1beta1" in str(caught.value)
    assert versions(catalogue, DEPLOYMENT) == ["apps/v1"]
    assert catalogue.problems()


def test_names_lead_to_kinds(serve: Serve) -> None:
    catalogue = serve(POD, SERVICE, NODE, DEPLOYMENT, GATEWAY, ISTIO_GATEWAY)
    for text in ("deploy", "deployment", "deployments", "Deployment", "deployments.apps", "deploy.v1.apps"):
        assert catalogue.find(text) == [DEPLOYMENT], text
    assert catalogue.find("gateways") == [GATEWAY, ISTIO_GATEWAY]
    assert catalogue.find("gateway.networking.istio.io") == [ISTIO_GATEWAY]
    assert catalogue.find("gtw") == [GATEWAY]
    assert catalogue.find("po") == [POD]
    assert catalogue.find("deployments.extensions") == []
    assert catalogue.find("nothing") == []
    assert catalogue.problems() == []


def test_a_kind_comes_with_what_the_server_says_of_it(serve: Serve) -> None:
    kind = serve(FUTURE, NODE).find("vs")[0]
    assert (kind.plural, kind.short, kind.versions) == (
        "virtualservices",
        ("vs",),
        ("v2", "v1beta1", "v1alpha3"),
    )
    assert kind.namespaced
    assert not serve(NODE).find("nodes")[0].namespaced


def test_every_kind_is_listed_once(serve: Serve) -> None:
    assert serve(POD, NEW_HTTP, OLD_TCP).kinds() == [POD, HTTP_ROUTE, TCP_ROUTE]


def test_forbidden_discovery_leaves_the_versions_that_are_known(serve: Serve) -> None:
    catalogue = serve(POD, faults=[lambda _: status(403, 'forbidden: cannot get path "/apis"')])
    assert versions(catalogue, VIRTUAL_SERVICE) == [
        "networking.istio.io/v1",
        "networking.istio.io/v1beta1",
        "networking.istio.io/v1alpha3",
    ]
    assert catalogue.find("pods") == []
    assert any("forbidden" in problem for problem in catalogue.problems())


def test_a_server_that_minds_the_accept_header(serve: Serve) -> None:
    def mind(request: Request) -> Answer | None:
        return status(406, "only JSON") if "as=" in request.header("accept") else None

    assert versions(serve(DEPLOYMENT, faults=[mind]), DEPLOYMENT) == ["apps/v1"]


def test_core_discovery_that_fails_leaves_the_rest(serve: Serve) -> None:
    catalogue = serve(
        POD, DEPLOYMENT, faults=[times(9, lambda: status(403, "forbidden"), "/api/v1"), _no_core]
    )
    assert catalogue.kinds() == [DEPLOYMENT]
    assert catalogue.problems()


def _no_core(request: Request) -> Answer | None:
    return status(403, "forbidden") if request.path == "/api" else None


@pytest.mark.parametrize(
    "groups",
    [
        [
            None,
            7,
            {"metadata": None, "versions": [None, {"version": 1, "resources": [None, {"resource": 3}]}]},
        ],
        "text",
        None,
    ],
)
def test_documents_of_the_wrong_shape_hold_nothing(serve: Serve, groups: Any, aggregated: bool) -> None:
    kind, key = ("APIGroupDiscoveryList", "items") if aggregated else ("APIGroupList", "groups")
    catalogue = serve(faults=[lambda _: Answer(body={"kind": kind, key: groups})])
    assert catalogue.served(DEPLOYMENT) == []
