"""Speed and memory, each against a floor or a peer of the same run; prints a Markdown table, judges nothing.

    python benchmarks/run.py                    # what needs no cluster
    python benchmarks/run.py --live SVC NS      # explain of a Service against the same reads by kubectl
    python benchmarks/run.py --istioctl         # check against `istioctl analyze`, on files

Times are of whole processes: the median of several runs, in processor seconds and on the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = sys.executable


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds of processor and clock, peak memory in MB."""

    cpu: float
    wall: float
    memory: float


def cost(argv: Sequence[str], runs: int = 5) -> Cost:
    """The median cost of a command, after one run that does not count."""
    seen = [_once(argv) for _ in range(runs + 1)][1:]
    return Cost(
        *(statistics.median(getattr(item, name) for item in seen) for name in ("cpu", "wall", "memory"))
    )


def _once(argv: Sequence[str]) -> Cost:
    start = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss / 1024)


def row(what: str, ours: Cost, floor: Cost, of: str) -> None:
    ratio = f"{ours.cpu / floor.cpu:.2f} × cpu, {ours.wall / floor.wall:.2f} × wall"
    print(
        f"| {what} | {ours.cpu:.2f} s cpu, {ours.wall:.2f} s wall, {ours.memory:.0f} MB "
        f"| {of}: {floor.cpu:.2f} s cpu, {floor.wall:.2f} s wall, {floor.memory:.0f} MB | {ratio} |"
    )


def kgdiag(*args: str) -> list[str]:
    return [PYTHON, "-m", "kgdiag", *args]


def cluster(folder: Path, name: str, **size: int) -> str:
    path = folder / name
    options = [f"--{key.replace('_', '-')}={value}" for key, value in size.items()]
    with path.open("w") as out:
        subprocess.run([PYTHON, str(HERE / "generate.py"), *options], stdout=out, check=True)
    return str(path)


def help_page() -> None:
    row("`kgdiag --help`", cost(kgdiag("--help")), cost([PYTHON, "-c", "import typer"]), "`import typer`")


def graph(folder: Path) -> None:
    """The graph over 10,000 pods, 5,000 Services and 5,000 VirtualServices; and half of each."""
    half = cluster(folder, "half.json", namespaces=100, pods=5000, services=2500, virtual_services=2500)
    whole = cluster(folder, "whole.json", namespaces=200, pods=10_000, services=5000, virtual_services=5000)
    script = (
        "import sys; from kgdiag import app; from kgdiag.dialects import all_relations;"
        "from kgdiag.graph.ask import ask; from kgdiag.graph.relations import out_of;"
        "s = app.open_files([sys.argv[1]], namespace=None, complete=True);"
        "kinds = {r.source for r in all_relations()};"
        "every = all_relations();"
        "ask(s.source, s.world, lambda w: [list(out_of(w, o, every)) for k in kinds for o in w.all(k)])"
    )
    read = "import sys; from kgdiag.collect.files import read_files; read_files([sys.argv[1]])"
    once = cost([PYTHON, "-c", script, half], 3)
    twice = cost([PYTHON, "-c", script, whole], 3)
    row(
        "all relations, 10k pods, 5k Services, 5k VirtualServices",
        twice,
        cost([PYTHON, "-c", read, whole], 3),
        "reading",
    )
    row("the same, twice the size", twice, once, "half of each")


def traces(folder: Path) -> None:
    """A trace through one gateway with thousands of routes, against reading the snapshot."""
    floor = "import sys; from kgdiag.collect.files import read_files; read_files([sys.argv[1]])"
    for kind, size, url, via in (
        ("VirtualServices", {"virtual_services": 5000, "http_routes": 0}, "http://app-77.example.com/api/x",
         "svc/istio-ingressgateway.istio-system"),
        ("HTTPRoutes", {"virtual_services": 0, "http_routes": 5000}, "http://route-77.example.com/x",
         "gateway/web.team-0"),
    ):  # fmt: skip
        path = cluster(folder, f"{kind}.json", namespaces=50, pods=1000, services=500, **size)
        ours = cost(kgdiag("trace", url, "--via", via, "-f", path, "-o", "json"), 3)
        row(
            f"trace over 5,000 {kind}, reading included",
            ours,
            cost([PYTHON, "-c", floor, path], 3),
            "reading",
        )


def live(service: str, namespace: str) -> None:
    """explain on the current cluster: its requests, and the same requests by kubectl in parallel."""
    script = (
        "import json, sys; from kgdiag import app; from kgdiag.collect.connection import ConnectionOptions;"
        "s = app.open_cluster(ConnectionOptions(), namespace=sys.argv[2]);"
        "app.explain(s, 'svc/' + sys.argv[1], fail_on=None);"
        "print(json.dumps({'requests': s.source.statistics.requests, 'bytes': s.source.statistics.bytes,"
        "'paths': list(getattr(s.source.statistics, 'paths', ()))}))"
    )
    found = subprocess.run(
        [PYTHON, "-c", script, service, namespace], capture_output=True, text=True, check=True
    )
    said = json.loads(found.stdout)
    size = f"{said['requests']} requests, {said['bytes'] / 1e3:.0f} kB"
    print(f"| requests of `explain svc/{service}` | {size} | | |")
    paths = said["paths"]
    if not paths:
        return
    ours = cost(kgdiag("explain", f"svc/{service}", "-n", namespace))

    def raw() -> float:
        start = time.perf_counter()
        with ThreadPoolExecutor(len(paths)) as pool:
            list(pool.map(lambda path: _once(["kubectl", "get", "--raw", path]), paths))
        return time.perf_counter() - start

    walls = sorted(_repeat(raw, 5))
    peer = statistics.median(walls)
    same = f"{len(paths)} × `kubectl get --raw` in parallel: {peer:.2f} s wall"
    print(f"| `explain svc/{service}` | {ours.wall:.2f} s wall | {same} | {ours.wall / peer:.2f} × wall |")


def _repeat(measure: Callable[[], float], times: int) -> list[float]:
    return [measure() for _ in range(times)]


def analyze(folder: Path) -> None:
    """check on files against istioctl analyze on the same files; and half of each."""
    sizes = {
        "half": {
            "namespaces": 100,
            "pods": 5000,
            "services": 2500,
            "virtual_services": 2500,
            "gateways": 500,
        },
        "whole": {
            "namespaces": 200,
            "pods": 10_000,
            "services": 5000,
            "virtual_services": 5000,
            "gateways": 1000,
        },
    }
    seen = {}
    for name, size in sizes.items():
        path = cluster(folder, f"{name}.yaml", **size)
        as_yaml = folder / f"{name}-documents.yaml"
        options = [f"--{key.replace('_', '-')}={value}" for key, value in size.items()]
        with as_yaml.open("w") as out:
            subprocess.run([PYTHON, str(HERE / "generate.py"), "--yaml", *options], stdout=out, check=True)
        ours = seen[name] = cost(kgdiag("check", "-A", "-f", str(as_yaml), "-o", "json"), 3)
        peer = cost(["istioctl", "analyze", "--use-kube=false", "-A", str(as_yaml)], 3)
        row(f"check, {size['pods']} pods, {size['services']} Services", ours, peer, "`istioctl analyze`")
        Path(path).unlink()
    row("check, twice the size", seen["whole"], seen["half"], "half of each")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--live", nargs=2, metavar=("SERVICE", "NAMESPACE"))
    parser.add_argument("--istioctl", action="store_true")
    given = parser.parse_args()
    print("| what | kgdiag | floor or peer | ratio |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.live:
            live(*given.live)
        elif given.istioctl:
            analyze(folder)
        else:
            help_page()
            graph(folder)
            traces(folder)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"\npeak memory of the measured processes: {peak:.0f} MB")


if __name__ == "__main__":
    main()
