"""Rounds of the differential test: generate, apply, settle, predict, send, compare.

python -m tests.e2e.differential.rounds SEED [CONFIGURATIONS [ROUNDS]]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from kgdiag.model.trace import Trace
from tests.e2e.differential import generate_gateway_api, generate_istio, generate_mesh, pool
from tests.e2e.differential.compare import describe, disagreement, left_open
from tests.e2e.differential.flags import flags
from tests.e2e.differential.model import LABEL, OUTSIDE, Ask, Case, Client, Dice, Manifest
from tests.e2e.differential.predict import Predictor, predictor
from tests.e2e.differential.send import send
from tests.e2e.lab import Answer, Cluster, eventually, find_cluster

KINDS = (
    "gateways.networking.istio.io,virtualservices.networking.istio.io,destinationrules.networking.istio.io,"
    "serviceentries.networking.istio.io,sidecars.networking.istio.io,peerauthentications.security.istio.io,"
    "authorizationpolicies.security.istio.io,httproutes.gateway.networking.k8s.io,"
    "referencegrants.gateway.networking.k8s.io,grpcroutes.gateway.networking.k8s.io,ingresses.networking.k8s.io,services"
)
ROUTES = {"istio": 0.4, "mesh": 0.3, "api": 0.3}


@dataclass(frozen=True)
class Miss:
    """A request of which the prediction was wrong."""

    case: Case
    ask: Ask
    answers: list[Answer]
    trace: Trace
    why: str

    def __str__(self) -> str:
        paths = "\n".join(f"    predicted {path.weight:.2f} {describe(path)}" for path in self.trace.paths)
        return f"{self.case.name} {self.ask}\n    {self.why}\n{paths}"


@dataclass
class Score:
    """What a round came to."""

    seed: str
    configurations: int = 0
    requests: int = 0
    refused_objects: list[str] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)
    open: int = 0
    flags: int = 0
    flag_misses: list[Miss] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        times = " ".join(f"{name} {value:.0f}s" for name, value in self.seconds.items())
        agreed = self.requests - len(self.misses) - self.open
        return (
            f"seed {self.seed}: {self.configurations} configurations, {self.requests} requests, "
            f"{agreed} agree, {self.open} left open, {len(self.misses)} differ, "
            f"{len(self.flag_misses)} of {self.flags} flags differ; "
            f"{len(self.refused_objects)} objects refused by the API; {times}"
        )


def clean(cluster: Cluster) -> None:
    """Delete what a round made: one call for all objects of a kind in a namespace."""
    columns = "V:.apiVersion,K:.kind,N:.metadata.namespace"
    text = cluster.kubectl(
        "get",
        KINDS,
        "-A",
        "-l",
        f"dif={LABEL}",
        "--no-headers",
        "--ignore-not-found",
        "-o",
        f"custom-columns={columns}",
    )
    plural = {
        "ReferenceGrant": "referencegrants",
        "ServiceEntry": "serviceentries",
        "AuthorizationPolicy": "authorizationpolicies",
        "Ingress": "ingresses",
    }
    paths = {
        f"/{'api' if version == 'v1' else 'apis'}/{version}/namespaces/{space}/"
        f"{plural.get(kind, kind.lower() + 's')}?labelSelector=dif%3D{LABEL}"
        for version, kind, space in (line.split() for line in text.splitlines())
    }
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda path: cluster.kubectl("delete", "--raw", path), sorted(paths)))


def create(cluster: Cluster, objects: list[Manifest]) -> list[str]:
    """Create objects; what the API server or a webhook refuses is told, and is simply not there."""
    if not objects:
        return []
    text = "\n---\n".join(map(json.dumps, objects))
    done = cluster.run("kubectl", "create", "-f", "-", text=text, timeout=300)
    return [line for line in done.err.splitlines() if line.strip() and not line.startswith("Warning")]


def addresses(cluster: Cluster) -> dict[str, str]:
    """Where pods reach the Gateway API gateways of the pool."""
    where = "gateway.envoyproxy.io/owning-gateway-namespace"
    text = eventually(
        lambda: cluster.kubectl(
            "get", "svc", "-n", "envoy-gateway-system", "-l", f"{where}={pool.API_ENVOY}", "-o", "name"
        ),
        bool,
        seconds=60,
        pause=1,
    )
    return {
        "istio": f"web-istio.{pool.API_ISTIO}",
        "envoy": f"{text.split('/')[1].strip()}.envoy-gateway-system",
    }


def generate(seed: str, count: int, where: dict[str, str]) -> tuple[list[Case], list[Manifest]]:
    """The cases of a seed. The same seed makes the same objects and requests."""
    dice = Dice(seed)
    tag = "".join(char for char in seed if char.isalnum()).lower()
    istio = generate_istio.cases(dice, tag, round(count * ROUTES["istio"]))
    mesh = generate_mesh.cases(dice, tag, round(count * ROUTES["mesh"]))
    api, gateways = generate_gateway_api.cases(dice, tag, count - len(istio) - len(mesh), where)
    return [*istio, *mesh, *api], gateways


def play(cluster: Cluster, seed: str, count: int, *, keep: bool = False, only: str = "") -> Score:
    """One round."""
    score = Score(seed)
    clock = time.monotonic()

    def lap(name: str) -> None:
        nonlocal clock
        score.seconds[name] = score.seconds.get(name, 0) + time.monotonic() - clock
        clock = time.monotonic()

    clean(cluster)
    cases, gateways = generate(seed, count, addresses(cluster))
    if only:
        cases = [case for case in cases if case.name.startswith(only)]
    score.configurations = len(cases)
    lap("clean")
    cluster.apply(gateways)
    score.refused_objects += create(cluster, [item for case in cases for item in case.older])
    time.sleep(1.1)
    score.refused_objects += create(cluster, [item for case in cases for item in case.newer])
    born = time.monotonic()
    lap("apply")
    settle(cluster)
    # A new listener whose Secret is missing waits 15 seconds for it.
    if "no-cert" in json.dumps([case.objects for case in cases]):
        time.sleep(max(0.0, 17 - (time.monotonic() - born)))
    lap("settle")
    with tempfile.TemporaryDirectory() as folder:
        predict = predictor(cluster, Path(folder, "dif.kgdiag"))
        lap("snapshot")
        resolve = _addresses_of(cluster)
        asked = [(case, resolve(ask)) for case in cases for ask in case.asks]
        score.requests = len(asked)
        traces = [predict(ask) for _, ask in asked]
        lap("predict")
        marks = [f"dif-{seed}-{number}" for number in range(len(asked))]
        answers = send(cluster, [ask for _, ask in asked], marks)
        lap("send")
        wrong = [
            number
            for number, (_, ask) in enumerate(asked)
            if disagreement(ask, answers[number], traces[number])
        ]
        if wrong:
            wrong = _again(cluster, asked, answers, traces, wrong, marks, predict)
            lap("again")
    score.outcomes.update(
        f"{case.name[0]} {'pod' if found[0].echoed else found[0].status}"
        for (case, _), found in zip(asked, answers, strict=True)
    )
    for number in wrong:
        case, ask = asked[number]
        if left_open(answers[number], traces[number]):
            score.open += 1
            continue
        why = disagreement(ask, answers[number], traces[number])
        score.misses.append(Miss(case, ask, answers[number], traces[number], str(why)))
    _compare_flags(cluster, score, asked, answers, traces, marks, int(time.monotonic() - born) + 5)
    lap("flags")
    if not keep:
        clean(cluster)
    return score


def _compare_flags(
    cluster: Cluster,
    score: Score,
    asked: list[tuple[Case, Ask]],
    answers: list[list[Answer]],
    traces: list[Trace],
    marks: list[str],
    seconds: int,
) -> None:
    """Response flags against the access logs. Requests that no log has (no HTTP, no proxy) say nothing."""
    logged = flags(cluster, seconds)
    for (case, ask), found, trace, mark in zip(asked, answers, traces, marks, strict=True):
        if mark not in logged or left_open(found, trace):
            continue
        score.flags += 1
        predicted = {path.outcome.flag for path in trace.paths if path.outcome.flag}
        measured = {part for flag in logged[mark] for part in flag.split(",")} - {"URX"}
        if not measured <= predicted or (len(trace.paths) == 1 and predicted and not measured):
            words = f"flags {sorted(predicted)}, measured {sorted(logged[mark])}"
            score.flag_misses.append(Miss(case, ask, found, trace, words))


def _addresses_of(cluster: Cluster) -> Callable[[Ask], Ask]:
    """Puts the address of a pod or Service where a request says POD/NAMESPACE/NAME or IP/NAMESPACE/NAME."""
    items = json.loads(cluster.kubectl("get", "pods,services", "-A", "-o", "json"))["items"]
    known = {}
    for item in items:
        word, address = (
            ("POD", item["status"].get("podIP", ""))
            if item["kind"] == "Pod"
            else ("IP", item["spec"].get("clusterIP", ""))
        )
        known[f"{word}/{item['metadata']['namespace']}/{item['metadata']['name']}"] = address
    return lambda ask: replace(ask, address=known.get(ask.address, ask.address))


def _again(
    cluster: Cluster,
    asked: list[tuple[Case, Ask]],
    answers: list[list[Answer]],
    traces: list[Trace],
    wrong: list[int],
    marks: list[str],
    predict: Predictor,
) -> list[int]:
    """Settle and send once more what differed: what was in flight is no disagreement."""
    settle(cluster)
    time.sleep(2)
    once_more = send(cluster, [asked[number][1] for number in wrong], [marks[number] for number in wrong])
    left = []
    for number, found in zip(wrong, once_more, strict=True):
        answers[number] = found
        if disagreement(asked[number][1], found, traces[number]):
            left.append(number)
    return left


def settle(cluster: Cluster) -> None:
    """Wait until proxies of all kinds have what was applied so far.

    A marker is changed last; control planes handle changes in order, and requests show when it has
    arrived.
    """
    token = f"t{time.monotonic_ns():x}"
    marker = {"metadata": {"name": "dif-marker", "namespace": pool.APP, "labels": {"dif": "marker"}}}
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["marker.dif.example"]}
    redirect = {"redirect": {"authority": f"{token}.example"}}
    rule = {"filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": f"{token}.example"}}]}
    api = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
    parents = [
        {"name": "web", "namespace": flavour.space, "sectionName": "always"}
        for flavour in generate_gateway_api.FLAVOURS
    ]
    shared = [
        {"name": "web", "namespace": flavour.shared, "sectionName": "http"}
        for flavour in generate_gateway_api.FLAVOURS
    ]
    cluster.apply(
        [
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "Gateway",
                **marker,
                "spec": {"selector": {"istio": "dif"}, "servers": [server]},
            },
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                **marker,
                "spec": {
                    "hosts": ["marker.dif.example"],
                    "gateways": ["dif-marker", "kubeflow/kubeflow-gateway", "mesh"],
                    "http": [redirect],
                },
            },
            {
                **api,
                **marker,
                "spec": {
                    "parentRefs": [*parents, *shared],
                    "hostnames": ["marker.dif.example"],
                    "rules": [rule],
                },
            },
        ]
    )
    asks = [
        Ask(generate_istio.PLAIN, generate_istio.GATE, 80, "/", "marker.dif.example"),
        Ask(OUTSIDE, "NODE", 31080, "/", "marker.dif.example"),
        *(Ask(Client(space, pod), f"v1.{pool.APP}", 80, "/", "marker.dif.example") for space, pod in _MESHED),
        *(
            Ask(generate_istio.PLAIN, name, 80, "/", "marker.dif.example")
            for name in addresses(cluster).values()
        ),
        *(
            Ask(OUTSIDE, "NODE", flavour.node_port, "/", "marker.dif.example")
            for flavour in generate_gateway_api.FLAVOURS
        ),
    ]
    waiting = list(asks)

    def left() -> list[Ask]:
        nonlocal waiting
        answers = send(cluster, waiting, ["dif"] * len(waiting))
        waiting = [
            ask
            for ask, found in zip(waiting, answers, strict=True)
            if token not in (found[0].header("location") or "")
        ]
        return waiting

    eventually(left, lambda found: not found, seconds=90, pause=0.5)
    time.sleep(1.0)


# Clients of Sidecar objects may not see the marker.
_MESHED = ((pool.CLIENTS, "red"), (pool.MESH, "blue"))


def main(arguments: list[str]) -> int:
    """Play rounds and say what differed."""
    seed = arguments[0] if arguments else "1"
    count = int(arguments[1]) if len(arguments) > 1 else 40
    times = int(arguments[2]) if len(arguments) > 2 else 1
    only = arguments[3] if len(arguments) > 3 else ""
    cluster = find_cluster()
    if not isinstance(cluster, Cluster):
        sys.stderr.write(f"{cluster}\n")
        return 2
    pool.ensure(cluster)
    cluster.apply(generate_gateway_api.gateways([]))
    missed = 0
    for number in range(times):
        score = play(cluster, seed if times == 1 else f"{seed}.{number}", count, keep=bool(only), only=only)
        missed += len(score.misses)
        lines = [f"refused: {refused[:300]}" for refused in score.refused_objects]
        lines += map(str, (*score.misses, *score.flag_misses, score))
        lines.append("   " + ", ".join(f"{name}: {count}" for name, count in sorted(score.outcomes.items())))
        sys.stdout.write("\n".join([*lines, ""]))
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
