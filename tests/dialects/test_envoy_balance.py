"""Shares of a cluster's endpoints: weights, weighted localities, priorities."""

from __future__ import annotations

from typing import Any

import pytest

from kgdiag.dialects.envoy.balance import locality, weights

BY_LOCALITY = {"common_lb_config": {"locality_weighted_lb_config": {}}}
BY_POLICY = {
    "load_balancing_policy": {
        "policies": [
            {
                "typed_extension_config": {
                    "typed_config": {"locality_lb_config": {"locality_weighted_lb_config": {}}}
                }
            }
        ]
    }
}


def group(*healths: str, **more: Any) -> dict[str, Any]:
    """A locality; ``healths`` are ``H`` or ``U``, with a weight behind a colon."""
    items = []
    for text in healths:
        word, _, weight = text.partition(":")
        item: dict[str, Any] = {"health_status": "HEALTHY" if word == "H" else "UNHEALTHY"}
        items.append({**item, "load_balancing_weight": int(weight)} if weight else item)
    return {"lb_endpoints": items, **more}


def shares(cluster: dict[str, Any], *groups: dict[str, Any]) -> list[list[float]]:
    """The weights of the healthy endpoints by locality."""
    found = weights({"endpoints": list(groups)}, cluster)
    return [
        [round(found[id(item)], 6) for item in one["lb_endpoints"] if item["health_status"] == "HEALTHY"]
        for one in groups
    ]


def test_all_endpoints_are_alike() -> None:
    assert shares({}, group("H", "H"), group("H", "H")) == [[0.25, 0.25], [0.25, 0.25]]


def test_endpoints_have_weights() -> None:
    assert shares({}, group("H:3", "H:1")) == [[0.75, 0.25]]


@pytest.mark.parametrize("cluster", [BY_LOCALITY, BY_POLICY])
def test_localities_have_weights(cluster: dict[str, Any]) -> None:
    """However many endpoints they have; one without a weight gets nothing."""
    found = shares(
        cluster,
        group("H", "H", load_balancing_weight=90),
        group("H", load_balancing_weight=10),
        group("H"),
    )
    assert found == [[0.45, 0.45], [0.1], [0.0]]


def test_weights_of_localities_count_only_where_they_are_switched_on() -> None:
    found = shares({}, group("H", load_balancing_weight=90), group("H", load_balancing_weight=10))
    assert found == [[0.5], [0.5]]


def test_a_locality_that_is_half_sick_keeps_seven_tenths_of_its_weight() -> None:
    found = shares(
        BY_LOCALITY, group("H", "U", load_balancing_weight=50), group("H", load_balancing_weight=50)
    )
    assert found == [[round(0.7 / 1.7, 6)], [round(1 / 1.7, 6)]]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (("H",), [[1.0], [0.0]]),
        (("H", "U"), [[0.7], [0.3]]),
        (("H", "H", "H", "U"), [[1 / 3] * 3, [0.0]]),
        (("U", "U"), [[], [1.0]]),
    ],
)
def test_priorities_take_over_as_health_falls(first: tuple[str, ...], expected: list[list[float]]) -> None:
    """By 140 %: three of four healthy are enough for all."""
    found = shares({}, group(*first), group("H", priority=1))
    assert found == [[round(one, 6) for one in own] for own in expected]


def test_where_nobody_is_healthy_weights_still_add_up() -> None:
    load = {"endpoints": [group("U", "U"), group("U", priority=1)]}
    assert sum(weights(load, {}).values()) >= 1


def test_nothing_at_all() -> None:
    assert weights({}, {}) == {}


def test_the_name_of_a_locality() -> None:
    assert locality({"locality": {"region": "r", "zone": "z", "sub_zone": "s"}}) == "r/z/s"
    assert locality({"locality": {"region": "httproute/a/b/rule/0/backend/1"}}).endswith("backend/1")
    assert locality({}) == ""
