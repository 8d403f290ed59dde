"""What holds for every world: order and strangers change nothing, shares add up, every walk ends."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgdiag.model.proxy import Fault, How, PathRewrite, Route, RouteMatch, StringMatch, ValueMatch
from kgdiag.model.trace import Trace
from tests.trace.world import at, chain, cluster, config, down, listener, pod, proxy, route, run, service

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = ("web", "two", "gw", "gone")

paths = st.sampled_from(["/", "/a", "/a/b", "/b"])
hows = st.sampled_from([How.PREFIX, How.EXACT, How.PATH_PREFIX, How.REGEX])
shares = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 5)), min_size=1, max_size=4)
headers = st.lists(st.builds(ValueMatch, st.sampled_from(["x", "y"]), st.none(), st.booleans()), max_size=2)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    match = RouteMatch(StringMatch(draw(hows), draw(paths)), tuple(draw(headers)))
    fault = draw(st.sampled_from([None, Fault(503, 25.0), Fault(503, 100.0), Fault(503, 0.0)]))
    rewrite = draw(st.sampled_from([None, PathRewrite("prefix", "/b"), PathRewrite("full", "/a/b")]))
    return route(
        to=draw(shares),
        match=match,
        fault=fault,
        forward={"path_rewrite": rewrite},
        part=f"http[{draw(st.integers(0, 99))}]",
    )


BLOCKS = [
    service("gw", "infra", "80:8080", type="LoadBalancer"),
    pod("gw-1", "infra", "gw"),
    service("web", "apps", "80:8080"),
    pod("web-1", "apps", "web"),
    pod("web-2", "apps", "web"),
    service("two", "apps", "80:8080"),
    pod("two-1", "apps", "two"),
]
STRANGERS = [
    service("other", "apps", "80:8080"),
    pod("other-1", "apps", "other"),
    pod("gw-9", "else", "gw"),
    service("web", "else", "80:1"),
    pod("web-9", "else", "web"),
]


def walk(found: list[Route], text: str, path: str, header: str) -> Trace:
    clusters = [
        cluster("web", at("web-1"), at("web-2")),
        cluster("two", at("two-1"), down("two-2")),
        cluster("gw", at("gw-1", "infra", 8080)),
    ]  # a way back to itself
    gateway = proxy("gw-1", "infra", [listener(8080, chain(config(*found)))], clusters)
    return run(text, f"http://x.com{path}", gateway, via="svc/gw.infra", headers=[f"{header}: 1"])


@QUICK
@given(st.lists(routes(), max_size=5), paths, st.sampled_from(["x", "y"]), st.randoms())
def test_order_and_strangers_change_nothing(
    found: list[Route], path: str, header: str, chance: random.Random
) -> None:
    plain = walk(found, "".join(BLOCKS), path, header).to_json()
    mixed = [*BLOCKS, *STRANGERS]
    chance.shuffle(mixed)
    assert _where(walk(found, "".join(mixed), path, header).to_json()) == _where(plain)


def _where(value: object) -> object:
    """A trace without the lines that its evidence was read from."""
    if isinstance(value, dict):
        return {key: _where(item) for key, item in value.items() if key != "file"}
    return [_where(item) for item in value] if isinstance(value, list) else value


@QUICK
@given(st.lists(routes(), max_size=5), paths, st.sampled_from(["x", "y"]))
def test_every_walk_ends_and_its_shares_add_up(found: list[Route], path: str, header: str) -> None:
    trace = walk(found, "".join(BLOCKS), path, header)
    assert trace.paths
    assert abs(sum(one.weight for one in trace.paths) - 1) < 1e-9
    assert all(one.weight > 0 and one.hops and one.outcome.reason for one in trace.paths)
    for one in trace.paths:
        assert (one.outcome.result.value == "delivered") == bool(one.outcome.pods)
