"""Dumps in every shape that tools print, through the command: complete, in parts, and broken."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from kgdiag.cli.commands import run
from kgdiag.dialects.envoy.dump import dumps_of
from kgdiag.dialects.envoy.printed import printed_dump

Json = dict[str, Any]
_TYPES = "type.googleapis.com/envoy."
_HCM = _TYPES + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ISTIO = "/apis/networking.istio.io/v1"
_ADMIN = f"{_TYPES}admin.v3."
_NAME = "outbound|80|v1|reviews.shop.svc.cluster.local"

LISTENER: Json = {
    "name": "0.0.0.0_8080",
    "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8080}},
    "filter_chains": [
        {
            "filters": [
                {
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": _HCM,
                        "rds": {"route_config_name": "http.8080"},
                        "http_filters": [{"name": "envoy.filters.http.router"}],
                    },
                }
            ]
        }
    ],
}
ROUTES: Json = {
    "name": "http.8080",
    "virtual_hosts": [
        {
            "name": "shop",
            "domains": ["shop.test"],
            "routes": [
                {
                    "match": {"prefix": "/"},
                    "route": {"cluster": _NAME, "prefix_rewrite": "/v1/"},
                    "metadata": {
                        "filter_metadata": {
                            "istio": {"config": f"{_ISTIO}/namespaces/shop/virtual-service/reviews"}
                        }
                    },
                }
            ],
        }
    ],
}
CLUSTER: Json = {
    "name": _NAME,
    "type": "EDS",
    "eds_cluster_config": {"service_name": _NAME},
    "metadata": {
        "filter_metadata": {
            "istio": {
                "services": [
                    {"namespace": "shop", "name": "reviews", "host": "reviews.shop.svc.cluster.local"}
                ]
            }
        }
    },
}
SOCKET: Json = {"socket_address": {"address": "10.1.2.3", "port_value": 9080}}
ENDPOINTS: Json = {
    "cluster_name": _NAME,
    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": SOCKET}, "health_status": "HEALTHY"}]}],
}
NODE: Json = {"id": "router~10.0.0.7~gw-1.mesh~mesh.svc.cluster.local"}


def _part(name: str, **content: Any) -> Json:
    return {"@type": f"{_TYPES}admin.v3.{name}ConfigDump", **content}


PARTS: dict[str, Json] = {
    "listeners": _part(
        "Listeners", dynamic_listeners=[{"name": "x", "active_state": {"listener": LISTENER}}]
    ),
    "routes": _part("Routes", dynamic_route_configs=[{"route_config": ROUTES}]),
    "clusters": _part("Clusters", dynamic_active_clusters=[{"cluster": CLUSTER}]),
    "endpoints": _part("Endpoints", dynamic_endpoint_configs=[{"endpoint_config": ENDPOINTS}]),
    "secrets": _part("Secrets", dynamic_active_secrets=[{"name": "default", "secret": {"name": "default"}}]),
}


def whole(**changed: Any) -> Json:
    """A config dump, with parts taken away (None) or put in another's place."""
    parts = {**PARTS, **changed}
    boot = _part("Bootstrap", bootstrap={"node": NODE})
    return {"configs": [boot, *(part for part in parts.values() if part is not None)]}


def camel(value: Any) -> Any:
    """Keys as istioctl prints single kinds."""
    if isinstance(value, dict):
        return {_camel(key): camel(inner) for key, inner in value.items()}
    return [camel(item) for item in value] if isinstance(value, list) else value


def _camel(key: str) -> str:
    head, *rest = key.split("_")
    return key if key.startswith("@") else head + "".join(word.capitalize() for word in rest)


def ask(
    folder: Path, dump: Any, *more: str, url: str = "http://shop.test/x", port: str = ":8080"
) -> tuple[int, Json | str]:
    """The exit code with the document, or with the words for the user."""
    file = folder / "dump.json"
    file.write_bytes(dump if isinstance(dump, bytes) else json.dumps(dump).encode())
    out, words = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(words):
        code = run(["trace", url, "--via", f"dump/{file}{port}", "-o", "json", *more])
    return code, json.loads(out.getvalue()) if out.getvalue() else words.getvalue()


def outcome(folder: Path, dump: Any, *more: str, **where: str) -> Json:
    code, document = ask(folder, dump, *more, **where)
    assert isinstance(document, dict), document
    assert code == {"delivered": 0, "refused": 1, "unknown": 3}[document["paths"][0]["outcome"]["result"]]
    assert len(document["paths"]) == 1
    found: Json = document["paths"][0]["outcome"]
    found["request"] = document["paths"][0]["hops"][-1].get("request")
    found["truths"] = {hop["truth"] for hop in document["paths"][0]["hops"]}
    return found


SHAPES: dict[str, Any] = {
    "config_dump?include_eds": whole(),
    "as Envoy prints it": json.dumps(whole(), indent=1).encode() + b"\n",
    "as Envoy prints it, packed": gzip.compress(json.dumps(whole(), indent=1).encode()),
    "in camel case": camel(whole()),
    "egctl: namespace, pod": {"envoy-gateway-system": {"envoy-1": whole()}},
    "egctl: pod": {"envoy-1": whole()},
    "resource by resource": {
        "configs": [
            {"@type": _ADMIN + "ListenersConfigDump.DynamicListener", "active_state": {"listener": LISTENER}},
            {"@type": _ADMIN + "RoutesConfigDump.DynamicRouteConfig", "route_config": ROUTES},
            {"@type": _ADMIN + "ClustersConfigDump.DynamicCluster", "cluster": CLUSTER},
            {"@type": _ADMIN + "EndpointsConfigDump.StaticEndpointConfig", "endpoint_config": ENDPOINTS},
        ]
    },
    "packed": gzip.compress(json.dumps(whole()).encode()),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_whole_dump_alone_decides(tmp_path: Path, shape: str) -> None:
    found = outcome(tmp_path, SHAPES[shape])
    assert found["result"] == "delivered"
    assert found["cluster"] == _NAME
    service = {"group": "", "kind": "Service", "namespace": "shop", "name": "reviews"}
    assert found["backend"] == {"service": service, "port": 80, "subset": "v1"}
    assert found["pods"] == []
    assert found["request"] == {"method": "GET", "host": "shop.test", "path": "/v1/x", "headers": {}}
    assert found["truths"] == {"effect"}


@pytest.mark.parametrize("part", ["listeners", "routes", "clusters", "endpoints"])
def test_without_a_part_the_outcome_is_unknown(tmp_path: Path, part: str) -> None:
    found = outcome(tmp_path, whole(**{part: None}))
    assert found["result"] == "unknown"
    assert f"no {part}" in found["reason"]


def test_a_printed_dump_read_in_pieces_is_the_same() -> None:
    odd = '}\n    },\n    {\n "name": "x\\'
    clusters = [
        {"cluster": {"@type": "x", "name": name, "metadata": {"name": odd, "list": [{"name": "y"}, {}]}}}
        for name in ("a", "b", 'q"uote', "")
    ]
    failed = {"name": "l", "error_state": {"details": "no such filter"}}
    dump = whole(
        listeners=_part("Listeners", dynamic_listeners=[{"active_state": {"listener": LISTENER}}, failed]),
        clusters=_part(
            "Clusters", version_info="1", static_clusters=clusters[2:], dynamic_active_clusters=clusters[:2]
        ),
        endpoints=_part("Endpoints", static_endpoint_configs=[], dynamic_endpoint_configs=[]),
    )
    found = printed_dump(json.dumps(dump, indent=1).encode())
    _, wanted = dumps_of(dump)[0]
    assert found is not None
    for part in ("clusters", "routes", "endpoints", "secrets"):
        assert dict(getattr(found, part)) == dict(getattr(wanted, part)), part
    assert list(found.clusters) == list(wanted.clusters)
    for part in ("listeners", "missing", "node", "rejected", "bootstrap"):
        assert getattr(found, part) == getattr(wanted, part), part


def test_a_piece_that_is_no_json_is_said_to_be_bad(tmp_path: Path) -> None:
    text = json.dumps(whole(), indent=1).replace('"type": "EDS"', '"type": EDS')
    code, words = ask(tmp_path, text.encode())
    assert code == 2
    assert _NAME in words


SINGLE: dict[str, Any] = {
    "listeners": ([LISTENER], "no routes"),
    "routes": ([ROUTES], "no listeners"),
    "clusters": ([CLUSTER], "no listeners"),
    "endpoints": ([{"name": _NAME, "host_statuses": [{"address": SOCKET}]}], "no listeners"),
    "secrets": (
        {"dynamic_active_secrets": [{"name": "default", "secret": {"name": "default"}}]},
        "no listeners",
    ),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_what_istioctl_prints_of_one_kind(tmp_path: Path, kind: str) -> None:
    dump, missing = SINGLE[kind]
    found = outcome(tmp_path, camel(dump))
    assert found["result"] == "unknown"
    assert missing in found["reason"]


@pytest.mark.parametrize(
    ("endpoints", "flag", "status"),
    [
        ([], "UH", 503),
        ([{"endpoint": {"address": SOCKET}, "health_status": "UNHEALTHY"}], None, None),  # panic: it serves
    ],
)
def test_endpoints(tmp_path: Path, endpoints: list[Json], flag: str | None, status: int | None) -> None:
    found = outcome(tmp_path, _endpoints({"lb_endpoints": endpoints}))
    assert (found["flag"], found["status"]) == (flag, status)


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    found = outcome(tmp_path, whole(clusters=_part("Clusters")))
    assert (found["result"], found["status"], found["flag"], found["cluster"]) == (
        "refused",
        503,
        "NC",
        _NAME,
    )


def test_nothing_listens(tmp_path: Path) -> None:
    found = outcome(tmp_path, whole(), port=":9999")
    assert (found["result"], found["status"]) == ("refused", None)


def test_the_port_of_the_only_listener(tmp_path: Path) -> None:
    assert outcome(tmp_path, whole(), port="")["result"] == "delivered"


def test_a_chain_by_the_clients_address_is_unknown(tmp_path: Path) -> None:
    chain = {
        **LISTENER["filter_chains"][0],
        "filter_chain_match": {"source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]},
    }
    found = outcome(tmp_path, _listener(filter_chains=[chain]))
    assert found["result"] == "unknown"
    assert "source prefix ranges" in found["reason"]


def _listener(**changed: Any) -> Json:
    found = [{"active_state": {"listener": {**LISTENER, **changed}}}]
    return whole(listeners=_part("Listeners", dynamic_listeners=found))


def _routes(**changed: Any) -> Json:
    found = [{"route_config": {**ROUTES, **changed}}]
    return whole(routes=_part("Routes", dynamic_route_configs=found))


def _cluster(**changed: Any) -> Json:
    return whole(clusters=_part("Clusters", dynamic_active_clusters=[{"cluster": {**CLUSTER, **changed}}]))


def _endpoints(*groups: Any) -> Json:
    found = [{"endpoint_config": {**ENDPOINTS, "endpoints": list(groups)}}]
    return whole(endpoints=_part("Endpoints", dynamic_endpoint_configs=found))


BAD: dict[str, Any] = {
    "nothing": b"",
    "no JSON": b"not JSON",
    "not packed": b"\x1f\x8bnot packed",
    "an empty list": [],
    "an empty document": {},
    "numbers": [1, 2],
    "a text": "text",
    "a text for configs": {"configs": "none"},
    "a list of something": [{"unknown": 1}],
    "two proxies": {"a": {"configs": []}, "b": {"configs": []}},
    "a listener": _listener(filter_chains=5),
    "a virtual host": _routes(virtual_hosts=[7]),
    "a route": _routes(virtual_hosts=[{"name": "x", "domains": ["*"], "routes": ["/"]}]),
    "a cluster": _cluster(transport_socket_matches=3),
    "endpoints": _endpoints([]),
}


@pytest.mark.parametrize("dump", BAD.values(), ids=list(BAD))
def test_a_bad_dump_is_said_to_be_bad(tmp_path: Path, dump: Any) -> None:
    code, words = ask(tmp_path, dump)
    assert isinstance(words, str), words
    assert code == 2, words
    assert "Traceback" not in words


def test_no_such_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kgdiag", "trace", "http://x/", "--via", f"dump/{tmp_path}/none.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "none.json" in done.stderr
