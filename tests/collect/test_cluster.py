"""Reading a live cluster: what each need costs, what comes back, and how each failure ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kgdiag.collect.cluster import Cluster, connect
from kgdiag.collect.connection import ConnectionOptions
from kgdiag.model.kinds import CONFIG_MAP, DEPLOYMENT, NODE, POD, SECRET, SERVICE, VIRTUAL_SERVICE
from kgdiag.model.read import Need, Origin, Read, Source, Status
from tests.collect.apiserver import Answer, ApiServer, Drop, Request, status, times

KINDS = [POD, SERVICE, CONFIG_MAP, SECRET, NODE, DEPLOYMENT]


def pod(name: str, namespace: str = "a", **labels: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}}


@pytest.fixture
def server() -> Any:
    with ApiServer(kinds=list(KINDS)) as running:
        yield running


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Callable[..., Cluster]:
    def open_it(timeout: float | None = 5) -> Cluster:
        return connect(ConnectionOptions(kubeconfig=server.kubeconfig(tmp_path), request_timeout=timeout))

    return open_it


@pytest.fixture
def read(cluster: Callable[..., Cluster]) -> Callable[..., Read]:
    def one(need: Need, timeout: float | None = 5) -> Read:
        return cluster(timeout).read([need])[0]

    return one


def names(read: Read) -> list[str]:
    return [f"{obj.namespace}/{obj.name}" for obj in read.objects]


# --- what is asked and what comes back --------------------------------------------------------------------


def test_it_is_a_source(cluster: Callable[..., Cluster]) -> None:
    source: Source = cluster()
    assert source.origin is Origin.LIVE


def test_objects_come_in_the_order_of_namespace_and_name(
    server: ApiServer, read: Callable[..., Read]
) -> None:
    server.objects = [pod("z", "b"), pod("b", "a"), pod("a", "b"), pod("a", "a")]
    assert names(read(Need(POD))) == ["a/a", "a/b", "b/a", "b/z"]


def test_needs_are_as_narrow_as_they_can_be(server: ApiServer, cluster: Callable[..., Cluster]) -> None:
    server.objects = [pod("x", app="one"), pod("y", app="two"), pod("x", "b", app="one")]
    needs = [
        Need(POD, "a"),
        Need(POD, "a", "x"),
        Need(POD, None, "x"),
        Need(POD, "a", None, (("app", "two"),)),
        Need(POD, "a", "x", (("app", "two"),)),
        Need(NODE, None, "n"),
        Need(DEPLOYMENT, "a"),
    ]
    reads = cluster().read(needs)
    assert [read.need for read in reads] == needs
    assert [names(read) for read in reads] == [["a/x", "a/y"], ["a/x"], ["a/x", "b/x"], ["a/y"], [], [], []]
    assert {read.status for read in reads} == {Status.OK}
    assert server.paths() == [
        "/api/v1/namespaces/a/pods",
        "/api/v1/namespaces/a/pods",
        "/api/v1/namespaces/a/pods",
        "/api/v1/namespaces/a/pods/x",
        "/api/v1/nodes/n",
        "/api/v1/pods",
        "/apis",
        "/apis/apps/v1/namespaces/a/deployments",
    ]


def test_the_same_need_is_read_once(server: ApiServer, cluster: Callable[..., Cluster]) -> None:
    one, two = cluster().read([Need(POD, "a"), Need(POD, "a")])
    assert one == two
    assert server.paths() == ["/api/v1/namespaces/a/pods", "/apis"]


def test_reads_are_parallel_and_connections_kept(server: ApiServer, cluster: Callable[..., Cluster]) -> None:
    """Six requests that each wait until all six are there can only end if they are sent at once."""
    together = threading.Barrier(6)

    def meet(request: Request) -> Answer | None:
        if request.path != "/apis":
            together.wait(10)
        return None

    server.faults = [meet]
    source = cluster()
    for _ in range(2):
        reads = source.read([Need(POD, f"ns-{number}") for number in range(6)])
        assert {one.status for one in reads} == {Status.OK}
    assert server.connections <= 7


def test_items_get_their_kind_and_lose_their_ballast(server: ApiServer, read: Callable[..., Read]) -> None:
    item = pod("x")
    item["metadata"] |= {
        "managedFields": [{"manager": "kubectl"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "keep": "me"},
    }
    server.objects = [item]
    raw = read(Need(POD)).objects[0].raw
    assert (raw["apiVersion"], raw["kind"]) == ("v1", "Pod")
    assert "managedFields" not in raw["metadata"]
    assert raw["metadata"]["annotations"] == {"keep": "me"}


def test_requests_and_bytes_are_counted(server: ApiServer, cluster: Callable[..., Cluster]) -> None:
    source = cluster()
    source.read([Need(POD), Need(SERVICE, "a", "x")])
    assert source.statistics.requests == len(server.requests) == 3
    assert source.statistics.bytes > 0


# --- pages ------------------------------------------------------------------------------------------------


def test_all_pages_are_read(server: ApiServer, read: Callable[..., Read]) -> None:
    server.objects = [pod(f"p-{number:04}") for number in range(1201)]
    assert len(read(Need(POD)).objects) == 1201
    pages = [request.query for request in server.requests if request.path == "/api/v1/pods"]
    assert pages == [
        {"limit": "500"},
        {"limit": "500", "continue": "500"},
        {"limit": "500", "continue": "1000"},
    ]


def expire(count: int) -> Callable[[Request], Answer | None]:
    gone = times(count, lambda: status(410, "the provided continue parameter is too old", "Expired"))
    return lambda request: gone(request) if "continue" in request.query else None


def test_a_list_that_expires_is_begun_again(server: ApiServer, read: Callable[..., Read]) -> None:
    server.objects = [pod(f"p-{number:04}") for number in range(700)]
    server.faults = [expire(1)]
    found = names(read(Need(POD)))
    assert len(found) == len(set(found)) == 700


def test_a_list_that_always_expires_is_read_in_one_piece(
    server: ApiServer, read: Callable[..., Read]
) -> None:
    server.objects = [pod(f"p-{number:04}") for number in range(700)]
    server.faults = [expire(99)]
    assert len(read(Need(POD)).objects) == 700
    assert server.requests[-1].query == {}


def test_a_page_that_fails_spoils_the_list(server: ApiServer, read: Callable[..., Read]) -> None:
    """Half a list would look like a cluster where the other half does not exist."""
    server.objects = [pod(f"p-{number:04}") for number in range(700)]
    server.faults = [lambda request: status(400, "bad token") if "continue" in request.query else None]
    done = read(Need(POD))
    assert (done.status, done.objects, done.message) == (Status.FAILED, (), "bad token")


def test_the_time_limit_holds_for_all_pages_together(server: ApiServer, read: Callable[..., Read]) -> None:
    server.objects = [pod(f"p-{number:05}") for number in range(10_000)]

    def slowly(request: Request) -> Answer | None:
        if request.path == "/api/v1/pods":
            server.released.wait(0.15)
        return None

    server.faults = [slowly]
    done = read(Need(POD), timeout=0.5)
    assert (done.status, done.objects) == (Status.FAILED, ())
    assert "within 0.5s" in done.message


# --- how reads end ----------------------------------------------------------------------------------------


def test_an_object_that_is_not_there_is_an_answer(read: Callable[..., Read]) -> None:
    done = read(Need(SERVICE, "a", "gone"))
    assert (done.status, done.objects, done.message) == (Status.OK, (), "")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "%2e%2e", ""])
def test_a_name_that_no_object_can_have_is_not_asked_for(
    server: ApiServer, read: Callable[..., Read], name: str
) -> None:
    for need in (Need(SERVICE, "a", name), Need(NODE, None, name)):
        done = read(need)
        assert (done.status, done.objects) == (Status.OK, ())
    assert set(server.paths()) == {"/apis"}


def test_odd_names_stay_in_their_place(server: ApiServer, read: Callable[..., Read]) -> None:
    read(Need(SERVICE, "a", "x?limit=1#[bold]\x1b"))
    assert "/api/v1/namespaces/a/services/x%3Flimit%3D1%23%5Bbold%5D%1B" in server.paths()


def test_a_kind_that_is_not_served_is_absent(read: Callable[..., Read]) -> None:
    done = read(Need(VIRTUAL_SERVICE))
    assert done.status is Status.ABSENT
    assert "virtualservices.networking.istio.io" in done.message


def test_a_kind_that_goes_away_after_discovery_is_absent(
    server: ApiServer, read: Callable[..., Read]
) -> None:
    gone = lambda: status(404, "the server could not find the requested resource")  # noqa: E731
    server.faults = [times(2, gone, "/apis/apps/v1/")]
    assert read(Need(DEPLOYMENT)).status is Status.ABSENT
    assert read(Need(DEPLOYMENT, "a", "x")).status is Status.ABSENT


def test_forbidden_is_told_in_the_servers_words(server: ApiServer, cluster: Callable[..., Cluster]) -> None:
    message = 'pods is forbidden: User "me" cannot list resource "pods" in API group "" at the cluster scope'
    server.faults = [times(9, lambda: status(403, message, "Forbidden"), "/api/v1/pods")]
    wide, narrow = cluster().read([Need(POD), Need(POD, "a")])
    assert (wide.status, wide.message) == (Status.FORBIDDEN, message)
    assert narrow.status is Status.OK


@pytest.mark.parametrize("code", [400, 401, 405, 500, 503])
def test_other_failures_are_failures(server: ApiServer, read: Callable[..., Read], code: int) -> None:
    server.faults = [times(9, lambda: status(code, "something is wrong"), "/api/v1/")]
    done = read(Need(POD), timeout=2)
    assert (done.status, done.message) == (Status.FAILED, "something is wrong")


def test_a_failure_that_passes_is_not_seen(server: ApiServer, read: Callable[..., Read]) -> None:
    def drop() -> Answer:
        raise Drop

    server.objects = [pod("x")]
    server.faults = [times(1, drop, "/api/v1/"), times(1, lambda: status(500, "oops"), "/api/v1/")]
    assert names(read(Need(POD))) == ["a/x"]


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"items": 7}', b"[]", b'{"items": [1, null]}', b'{"items": null}', b"{}"]
)
def test_answers_of_the_wrong_shape_are_no_objects(
    server: ApiServer, read: Callable[..., Read], body: bytes
) -> None:
    server.faults = [times(9, lambda: Answer(200, body), "/api/v1/")]
    done = read(Need(POD))
    assert done.objects == ()
    assert done.status is (Status.OK if b'"items": null' in body else Status.FAILED)


def test_silence_is_a_failure_of_that_read_alone(server: ApiServer, cluster: Callable[..., Cluster]) -> None:
    server.faults = [lambda request: server.silent(request) if request.path.endswith("/services") else None]
    bad, good = cluster(0.4).read([Need(SERVICE, "a"), Need(POD, "a")])
    assert (bad.status, good.status) == (Status.FAILED, Status.OK)
    assert "within 0.4s" in bad.message


def test_an_api_service_that_is_down_is_a_failure(server: ApiServer, read: Callable[..., Read]) -> None:
    server.stale = {"apps"}
    done = read(Need(DEPLOYMENT))
    assert done.status is Status.FAILED
    assert "apps/v1" in done.message


def test_without_discovery_versions_are_tried(server: ApiServer, read: Callable[..., Read]) -> None:
    server.kinds.append(
        VIRTUAL_SERVICE.__class__(
            "networking.istio.io", "VirtualService", "virtualservices", (), ("v1beta1",)
        )
    )
    server.faults = [lambda request: status(403, "forbidden") if request.path == "/apis" else None]
    assert read(Need(VIRTUAL_SERVICE)).status is Status.OK
    assert "/apis/networking.istio.io/v1/virtualservices" in server.paths()
    assert read(Need(DEPLOYMENT, "a")).status is Status.OK


# --- Secrets ----------------------------------------------------------------------------------------------


def test_secrets_are_never_listed(server: ApiServer, cluster: Callable[..., Cluster]) -> None:
    needs = [Need(SECRET), Need(SECRET, "a"), Need(SECRET, None, "x"), Need(SECRET, "a", None, (("a", "b"),))]
    assert {read.status for read in cluster().read(needs)} == {Status.FAILED}
    assert server.paths() == ["/apis"]


def test_a_secret_comes_without_its_values(server: ApiServer, read: Callable[..., Read]) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "x", "namespace": "a", "annotations": {"copy": "c2VjcmV0"}},
        "data": {"password": "c2VjcmV0"},
    }
    server.objects = [secret]
    done = read(Need(SECRET, "a", "x"))
    assert "c2VjcmV0" not in repr(done.objects[0].raw)
    assert done.objects[0].raw["keys"] == ["password"]
