"""What kgdiag predicts is what Istio and Envoy Gateway do, on configurations that nobody wrote.

The seeds are fixed here; `make differential SEED=… N=…` plays others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.differential import generate_gateway_api, pool, rounds
from tests.e2e.differential.compare import disagreement
from tests.e2e.differential.model import Ask
from tests.e2e.lab import Answer, Cluster

SEEDS = ("ci-1",)
CONFIGURATIONS = 44


@pytest.fixture(scope="module")
def ready(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with the pool of applications; what the last round made is deleted."""
    pool.ensure(cluster)
    cluster.apply(generate_gateway_api.gateways([]))
    yield cluster
    rounds.clean(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_prediction_is_what_proxies_do(ready: Cluster, seed: str) -> None:
    """Status, pod, Host, path, headers and Location of every request."""
    score = rounds.play(ready, seed, CONFIGURATIONS)
    assert score.configurations >= 40
    assert score.requests >= 200
    assert score.open * 20 < score.requests, f"too much is left open: {score}"
    assert not score.misses, "\n".join([str(score), *map(str, score.misses)])


def test_the_same_seed_makes_the_same_round() -> None:
    """Failures can be played again."""
    where = {"istio": "i", "envoy": "e"}
    first, second = (rounds.generate("same", 30, where) for _ in range(2))
    assert first == second


def test_command_line_says_what_the_library_says(ready: Cluster, tmp_path: Path) -> None:
    """A user who asks the live cluster gets the verdict that the round was judged by."""
    from tests.e2e.differential.predict import predictor

    predict = predictor(ready, tmp_path / "cluster.kgdiag")
    for ask in (
        Ask(pool.PLAIN_CLIENT, f"v1.{pool.APP}", 80, "/a?b=c"),
        Ask(pool.RED_CLIENT, f"ext.{pool.MESH}", 80, "/", headers=(("x-a", "1"),)),
        Ask(pool.PLAIN_CLIENT, "gw.dif-gw", 80, "/", host="nobody.dif.example"),
    ):
        done = predict.by_command(ready, ask)
        said = json.loads(done.out)["paths"]
        meant = [path.to_json() for path in predict(ask).paths]
        assert [path["outcome"] for path in said] == [path["outcome"] for path in meant]
        assert [_told(path) for path in said] == [_told(path) for path in meant]


def _told(path: dict[str, Any]) -> list[tuple[object, object]]:
    return [(hop["action"], hop["detail"]) for hop in path["hops"]]


def test_a_wrong_prediction_is_seen(ready: Cluster, tmp_path: Path) -> None:
    """The comparison can fail: an answer from elsewhere differs from the prediction."""
    from tests.e2e.differential.predict import predictor

    predict = predictor(ready, tmp_path / "cluster.kgdiag")
    trace = predict(Ask(pool.PLAIN_CLIENT, f"v1.{pool.APP}", 80, "/"))
    ask = Ask(pool.PLAIN_CLIENT, f"v2.{pool.APP}", 80, "/")
    elsewhere = ready.curl_from("plain", f"http://v2.{pool.APP}/", namespace=pool.CLIENTS)
    assert elsewhere.status == 200
    assert disagreement(ask, [elsewhere], trace)
    assert disagreement(ask, [Answer(404)], trace)
    assert disagreement(ask, [Answer(None, failure="reset")], trace)
