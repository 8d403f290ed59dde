"""Asking proxies through the API server: what is sent, what comes back, and how each refusal ends."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kgdiag.collect import forward
from kgdiag.collect.cluster import Cluster, connect
from kgdiag.collect.connection import ConnectionOptions, open_connection
from kgdiag.collect.http import Deadline
from kgdiag.collect.proxies import PATHS, without_secrets
from kgdiag.collect.snapshot import load_snapshot, save_snapshot
from kgdiag.model.kinds import POD, SERVICE
from kgdiag.model.proxies import PROXY_DUMP, SYNC_STATUS
from kgdiag.model.read import Need, Read, Status
from tests.collect.apiserver import ApiServer
from tests.collect.kubelet import Kubelet, document
from tests.collect.test_secrets import LEAF

SECRET_KEY = "MIIEvQIBADANBg-the-private-key"
PEM = base64.b64encode(LEAF).decode()
SECRETS = {
    "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
    "dynamic_active_secrets": [
        {
            "name": "kubernetes://shop-cert",
            "version_info": "7",
            "last_updated": "2025-01-01T00:00:00Z",
            "secret": {
                "name": "kubernetes://shop-cert",
                "tls_certificate": {
                    "certificate_chain": {"inline_bytes": PEM},
                    "private_key": {"inline_bytes": SECRET_KEY},
                },
            },
        },
        {
            "name": "oauth",
            "secret": {"name": "oauth", "generic_secret": {"secret": {"inline_string": SECRET_KEY}}},
        },
    ],
    "dynamic_warming_secrets": [{"name": "kubernetes://late", "secret": {"name": "kubernetes://late"}}],
}
LISTENERS = {
    "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
    "dynamic_listeners": [{"name": "0.0.0.0_80", "active_state": {"listener": {"name": "0.0.0.0_80"}}}],
}
PAGES = {
    PATHS["config_dump"]: document(configs=[LISTENERS, SECRETS], filler="x" * 20_000),
    PATHS["clusters"]: document(cluster_statuses=[]),
    PATHS["certs"]: document(certificates=[]),
    PATHS["server_info"]: document(state="LIVE"),
    PATHS["stats"]: document(stats=[]),
}


def pod(name: str, container: str, **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "a", "labels": {}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [{"name": container, **more}]},
    }


PODS = [
    pod("gateway", "istio-proxy", args=["proxy", "router"]),
    pod("eg", "envoy"),
    pod("app", "main"),
    pod("ztunnel", "istio-proxy", args=["proxy", "ztunnel"]),
]


@pytest.fixture
def kubelet() -> Kubelet:
    return Kubelet(pages=dict(PAGES))


@pytest.fixture
def server(kubelet: Kubelet) -> Any:
    with ApiServer(objects=list(PODS), kinds=[POD, SERVICE], faults=[kubelet]) as running:
        yield running


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Callable[..., Cluster]:
    def open_it(timeout: float | None = 5, ask_proxies: bool = True, **options: Any) -> Cluster:
        wanted = ConnectionOptions(kubeconfig=server.kubeconfig(tmp_path), request_timeout=timeout, **options)
        return connect(wanted, ask_proxies=ask_proxies)

    return open_it


@pytest.fixture
def read(cluster: Callable[..., Cluster]) -> Callable[..., Read]:
    def one(name: str = "gateway", **options: Any) -> Read:
        return cluster(**options).read([Need(PROXY_DUMP, "a", name)])[0]

    return one


# --- what is asked and what comes back --------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("piece", [1, 3, 1000, 1 << 20])
def test_every_part_comes_whole(
    read: Callable[..., Read], kubelet: Kubelet, piece: int, chunked: bool
) -> None:
    kubelet.piece, kubelet.chunked = piece, chunked
    if piece < 10:
        kubelet.pages[PATHS["config_dump"]] = document(configs=[LISTENERS])
    found = read()
    assert found.status is Status.OK
    raw = found.objects[0].raw
    assert {"config_dump", "clusters", "certs", "server_info", "stats"} <= set(raw)
    assert raw["unread"] == {} and raw["via"] == "port-forward to port 15000"
    assert raw["config_dump"]["configs"][0] == LISTENERS
    assert raw["server_info"] == {"state": "LIVE"}


def test_nothing_is_sent_but_gets_of_the_fixed_paths(read: Callable[..., Read], kubelet: Kubelet) -> None:
    read()
    assert kubelet.asked == [("forward", f"GET {path} HTTP/1.1") for path in PATHS.values()]


def test_one_connection_into_the_pod_for_all_parts(
    read: Callable[..., Read], server: ApiServer, kubelet: Kubelet
) -> None:
    read()
    assert [path for path in server.paths() if path.endswith("/portforward")] == [
        "/api/v1/namespaces/a/pods/gateway/portforward"
    ]
    assert all(request.method == "GET" for request in server.requests)


def test_envoy_gateways_proxies_have_another_port(read: Callable[..., Read], kubelet: Kubelet) -> None:
    assert read("eg").objects[0].raw["via"] == "port-forward to port 19000"
    assert kubelet.ports == ["19000"]


@pytest.mark.parametrize("name", ["app", "ztunnel"])
def test_a_pod_without_an_envoy_is_not_touched(
    read: Callable[..., Read], kubelet: Kubelet, name: str
) -> None:
    found = read(name)
    assert (found.status, found.objects) == (Status.OK, ())
    assert not kubelet.asked and not kubelet.ports


def test_pods_are_not_touched_unasked(read: Callable[..., Read], server: ApiServer) -> None:
    found = read(ask_proxies=False)
    assert found.status is Status.FAILED and "--truth" in found.message
    assert not [path for path in server.paths() if "/pods/" in path]


def test_who_asks_goes_along(cluster: Callable[..., Cluster], server: ApiServer) -> None:
    cluster(as_user="ann", as_groups=("g1", "g2")).read([Need(PROXY_DUMP, "a", "gateway")])
    request = next(one for one in server.requests if one.path.endswith("/portforward"))
    assert request.header("authorization") == "Bearer secret-token"
    assert request.headers["impersonate-user"] == ["ann"]
    assert request.headers["impersonate-group"] == ["g1", "g2"]


def test_lists_of_proxies_are_refused(cluster: Callable[..., Cluster]) -> None:
    assert cluster().read([Need(PROXY_DUMP, "a")])[0].status is Status.FAILED


def test_istiod_is_asked_for_its_sync_state(cluster: Callable[..., Cluster], kubelet: Kubelet) -> None:
    kubelet.pages["/debug/syncz"] = json.dumps([{"proxy": "gateway.a"}]).encode()
    found = cluster().read([Need(SYNC_STATUS, "a", "app")])[0]
    assert found.objects[0].raw["syncz"] == [{"proxy": "gateway.a"}]
    assert kubelet.ports == ["15014"]


# --- secrets ----------------------------------------------------------------------------------------------


def test_no_private_key_leaves_the_collector(read: Callable[..., Read], tmp_path: Path) -> None:
    found = read()
    assert SECRET_KEY not in json.dumps(found.objects[0].raw)
    secrets = found.objects[0].raw["config_dump"]["configs"][1]
    kept = secrets["dynamic_active_secrets"][0]
    assert kept["name"] == "kubernetes://shop-cert" and kept["version_info"] == "7"
    assert kept["secret"]["tls_certificate"]["certificate"]["sans"][0] == "iris.example.com"
    assert secrets["dynamic_warming_secrets"][0]["name"] == "kubernetes://late"
    save_snapshot(tmp_path / "s", [found])
    saved = load_snapshot((tmp_path / "s").read_bytes(), "s")
    assert saved.objects[0].raw["config_dump"]["configs"][1] == secrets


@pytest.mark.parametrize("word", ["private_key", "password", "session_ticket_keys", "client_secret"])
def test_secrets_elsewhere_in_a_dump_are_taken_out(
    read: Callable[..., Read], kubelet: Kubelet, word: str
) -> None:
    inline = {**LISTENERS, "static_listeners": [{"tls": [{word: {"inline_string": SECRET_KEY}}]}]}
    kubelet.pages[PATHS["config_dump"]] = document(configs=[inline, SECRETS])
    assert SECRET_KEY not in json.dumps(read().objects[0].raw)


def test_dumps_of_other_shapes_have_no_secrets_either() -> None:
    nested = {"ns": {"pod": {"configs": [SECRETS]}}, "list": [{"private_key": SECRET_KEY}]}
    assert SECRET_KEY not in json.dumps(without_secrets(nested))


# --- refusals ---------------------------------------------------------------------------------------------


def test_exec_stands_in_for_a_forbidden_forward(read: Callable[..., Read], kubelet: Kubelet) -> None:
    kubelet.forward = "forbidden"
    found = read()
    assert found.objects[0].raw["via"] == "exec of pilot-agent in istio-proxy"
    assert found.objects[0].raw["config_dump"]["configs"][0] == LISTENERS
    words = [f"pilot-agent request GET {path.removeprefix('/')}" for path in PATHS.values()]
    assert kubelet.asked == [("exec istio-proxy", text) for text in words]


def test_exec_stands_in_for_a_port_that_cannot_be_reached(
    read: Callable[..., Read], kubelet: Kubelet
) -> None:
    kubelet.forward = "refused"
    assert read().objects[0].raw["via"].startswith("exec")


def test_both_forbidden_is_forbidden_in_the_servers_words(
    read: Callable[..., Read], kubelet: Kubelet
) -> None:
    kubelet.forward = kubelet.exec_ = "forbidden"
    found = read()
    assert found.status is Status.FORBIDDEN
    assert "pods/portforward" in found.message and "pods/exec" in found.message


def test_a_proxy_without_an_agent_has_no_other_way(
    read: Callable[..., Read], kubelet: Kubelet, server: ApiServer
) -> None:
    kubelet.forward = "forbidden"
    assert read("eg").status is Status.FORBIDDEN
    assert not [path for path in server.paths() if path.endswith("/exec")]


def test_forbidden_and_failed_is_failed(read: Callable[..., Read], kubelet: Kubelet) -> None:
    kubelet.forward, kubelet.exec_ = "forbidden", "refused"
    found = read()
    assert found.status is Status.FAILED
    assert "pilot-agent: not found" in found.message


@pytest.mark.parametrize("way", ["forward", "exec_"])
def test_a_proxy_that_does_not_answer(read: Callable[..., Read], kubelet: Kubelet, way: str) -> None:
    kubelet.forward = "forbidden"
    setattr(kubelet, way, "silent")
    found = read(timeout=0.5)
    assert found.status is Status.FAILED
    assert "--request-timeout" in found.message


def test_what_is_no_http(read: Callable[..., Read], kubelet: Kubelet) -> None:
    kubelet.forward = "broken"
    assert "no HTTP answer" in read("eg").message


@pytest.mark.parametrize("body", [b"", b"not json", b"[1]", b'"text"'])
def test_a_config_dump_that_is_none(read: Callable[..., Read], kubelet: Kubelet, body: bytes) -> None:
    kubelet.pages[PATHS["config_dump"]] = body
    found = read("eg")
    assert found.status is Status.FAILED and found.message


def test_a_part_that_does_not_come_is_named(read: Callable[..., Read], kubelet: Kubelet) -> None:
    del kubelet.pages[PATHS["stats"]]
    kubelet.pages[PATHS["certs"]] = (503, b"busy")
    raw = read().objects[0].raw
    assert set(raw["unread"]) == {"stats", "certs"} and "503" in raw["unread"]["certs"]
    assert "server_info" in raw


def test_a_pod_that_is_not_there(read: Callable[..., Read]) -> None:
    found = read("nobody")
    assert (found.status, found.objects) == (Status.OK, ())


def test_an_answer_that_is_too_large(server: ApiServer, tmp_path: Path) -> None:
    connection = open_connection(ConnectionOptions(kubeconfig=server.kubeconfig(tmp_path)))
    with (
        forward.PortForward(connection, "a", "gateway", 15000, Deadline(5)) as stream,
        pytest.raises(forward.TooLarge),
    ):
        stream.get(PATHS["config_dump"], 1000)
    with pytest.raises(forward.TooLarge):
        words = ["pilot-agent", "request", "GET", PATHS["config_dump"].removeprefix("/")]
        forward.execute(connection, "a", "gateway", "istio-proxy", words, limit=1000, deadline=Deadline(5))
