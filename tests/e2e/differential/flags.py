"""Response flags of a round's requests, from the access logs of the proxies that they went through."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.differential import pool
from tests.e2e.lab import Cluster

# "GET /a HTTP/1.1" 503 UF details failure "transport" 0 91 1 - "-" "USER AGENT" …: Istio's default format.
_LINE = re.compile(r'^\[[^\]]+\] "[^"]*" (\d+) (\S+) .*?"(dif-[^"]+)" "')
_GATEWAYS = (
    ("istio-system", "app=istio-ingressgateway", "istio-proxy"),
    (pool.GATEWAY, "app=gw", "istio-proxy"),
    (pool.CLIENTS, "app=red", "istio-proxy"),
    (pool.MESH, "app", "istio-proxy"),
    *((space, "app=in", "istio-proxy") for space in pool.POLICY),
    *((space, "app=red", "istio-proxy") for space in pool.SIDECARS),
    *(
        (space, "gateway.networking.k8s.io/gateway-name=web", "istio-proxy")
        for space in ("shop-istio", "dif-gi")
    ),
    *(
        ("envoy-gateway-system", f"gateway.envoyproxy.io/owning-gateway-namespace={space}", "envoy")
        for space in ("shop-envoy-gateway", "dif-ge")
    ),
)


def flags(cluster: Cluster, seconds: int) -> dict[str, set[str]]:
    """By user agent, the flags that gateways and clients' sidecars logged; the log's "-" is left out."""

    def read(where: tuple[str, str, str]) -> list[tuple[str, str]]:
        space, selector, container = where
        text = cluster.kubectl(
            "logs",
            "-n",
            space,
            "-l",
            selector,
            "-c",
            container,
            f"--since={seconds}s",
            "--tail=-1",
            "--max-log-requests=30",
        )
        return list(_lines(text.splitlines()))

    found: dict[str, set[str]] = {}
    with ThreadPoolExecutor(4) as threads:
        for lines in threads.map(read, _GATEWAYS):
            for mark, flag in lines:
                found.setdefault(mark, set()).update({flag} - {"-"})
    return found


def _lines(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        if line.startswith("{"):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            yield str(entry.get("user-agent")), str(entry.get("response_flags"))
        elif match := _LINE.match(line):
            yield match[3], match[2]
