"""A large config dump, read and walked: time in multiples of ``json.loads``, memory in multiples of its size.

``python benchmarks/dump.py [ROUTES CLUSTERS MEGABYTES]``. Each measurement is the best of three processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_TYPES = "type.googleapis.com/envoy."
_PLAIN = "import json, time\nstart = time.perf_counter()\njson.loads(open({file!r}, 'rb').read())\n"
_TRACE = """import time
from kgdiag import app
from kgdiag.trace.question import parse_question
url = "http://host-{last}.example.com/path-3/x"
question = parse_question(url, via="dump/" + {file!r} + ":8080")
start = time.perf_counter()
answer = app.trace_dump(question, fail_on=None)
"""
# The peak of this process's own memory; ru_maxrss would have its parent's in it.
_SAID = """took = time.perf_counter() - start
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(took, int(peak.split()[1]) * 1024)
"""
_CHECKED = "assert answer.body.paths[0].outcome.result == 'delivered', answer.to_json()\n"
_NOTE = {"key": "some-key", "value": {"string_value": "some words", "number": 12.5, "set": True}}
_IDLE = "import time\nimport kgdiag.app, kgdiag.trace, orjson, re2\nstart = time.perf_counter()\n"


def dump(routes: int, clusters: int, size: int) -> bytes:
    """A dump of a gateway with so many routes (four a host) and clusters, of about ``size`` bytes."""
    names = [f"outbound|80||service-{at}.namespace-{at % 97}.svc.cluster.local" for at in range(clusters)]
    bare = json.dumps(_whole(routes, names, []), indent=1)
    # so much is an entry of the list at its depth, as Envoy indents it
    one = len(json.dumps(_NOTE, indent=1)) + 11 * 7
    count = max(0, size - len(bare)) // (len(names) * one)
    return json.dumps(_whole(routes, names, [_NOTE] * count), indent=1).encode()


def _whole(routes: int, names: list[str], padding: list[Json]) -> Json:
    manager = {
        "@type": _TYPES + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "rds": {"route_config_name": "http.8080"},
        "http_filters": [{"name": "envoy.filters.http.router"}],
    }
    listener = {
        "name": "0.0.0.0_8080",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8080}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    hosts = [
        {
            "name": f"host-{at}",
            "domains": [f"host-{at}.example.com", f"host-{at}.example.com:80"],
            "routes": [
                {
                    "match": {"prefix": f"/path-{way}"},
                    "route": {"cluster": names[(4 * at + way) % len(names)], "timeout": "0s"},
                }
                for way in range(4)
            ],
        }
        for at in range(routes // 4)
    ]
    clusters = [
        {
            "version_info": "1",
            "cluster": {
                "@type": _TYPES + "config.cluster.v3.Cluster",
                "name": name,
                "type": "EDS",
                "metadata": {"filter_metadata": {"note": {"list": padding}}},
            },
        }
        for name in names
    ]
    endpoints = [
        {
            "endpoint_config": {
                "cluster_name": name,
                "endpoints": [
                    {
                        "lb_endpoints": [
                            {
                                "endpoint": {
                                    "address": {
                                        "socket_address": {
                                            "address": f"10.1.{at % 250}.{way}",
                                            "port_value": 8080,
                                        }
                                    }
                                },
                                "health_status": "HEALTHY",
                                "metadata": {"filter_metadata": {"istio": {"workload": f"pod-{at}-{way}"}}},
                            }
                            for way in range(3)
                        ]
                    }
                ],
            }
        }
        for at, name in enumerate(names)
    ]
    return {
        "configs": [
            _part("Listeners", dynamic_listeners=[{"active_state": {"listener": listener}}]),
            _part(
                "Routes",
                dynamic_route_configs=[{"route_config": {"name": "http.8080", "virtual_hosts": hosts}}],
            ),
            _part("Clusters", dynamic_active_clusters=clusters),
            _part("Endpoints", dynamic_endpoint_configs=endpoints),
            _part("Secrets"),
        ]
    }


def _part(name: str, **content: Any) -> Json:
    return {"@type": f"{_TYPES}admin.v3.{name}ConfigDump", **content}


def measure(program: str) -> tuple[float, int]:
    """Seconds and bytes: the least of three processes."""
    seen = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        seconds, memory = done.stdout.split()
        seen.append((float(seconds), int(memory)))
    return min(seconds for seconds, _ in seen), min(memory for _, memory in seen)


def main() -> None:
    routes, clusters, megabytes = (int(text) for text in (sys.argv[1:4] or ("2000", "5000", "50")))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dump.json"
        file.write_bytes(dump(routes, clusters, megabytes << 20))
        size = file.stat().st_size
        plain, _ = measure(_PLAIN.format(file=str(file)) + _SAID)
        program = _TRACE.format(file=str(file), last=routes // 4 - 1)
        ours, memory = measure(program + _SAID + _CHECKED)
        _, idle = measure(_IDLE + _SAID)
    sys.stdout.write(
        f"{size / (1 << 20):.1f} MiB, {routes} routes, {clusters} clusters: json.loads {plain:.2f} s; "
        f"read and walked in {ours:.2f} s, {ours / plain:.2f} × that; "
        f"memory {(memory - idle) / size:.2f} × the size ({memory / size:.2f} × with the program itself)\n"
    )


if __name__ == "__main__":
    main()
