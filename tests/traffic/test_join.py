"""Lines of several proxies become requests."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from kgdiag.traffic.formats import read_lines
from kgdiag.traffic.join import Joined, join
from kgdiag.traffic.line import Address, Line
from tests.traffic.test_formats import WRAPPED

START = datetime(2026, 11, 25, 16, 0, tzinfo=UTC)
GATEWAY, POD, CLIENT = "10.9.0.7", "10.9.0.11", "10.9.0.1"


def at(milliseconds: int) -> datetime:
    return START + timedelta(milliseconds=milliseconds)


def gateway(request_id: str, when: int, *, port: int = 40000, status: int = 200, path: str = "/") -> Line:
    return Line(
        status=status, method="GET", path=path, details="via_upstream", request_id=request_id, time=at(when),
        duration=5, upstream=Address(POD, 8080), upstream_local=Address(GATEWAY, port),
        local=Address(GATEWAY, 8080), remote=Address(CLIENT, 1000 + when), cluster="outbound|80||a.b.svc",
    )  # fmt: skip


def sidecar(request_id: str, when: int, *, port: int = 0, status: int = 200, path: str = "/") -> Line:
    return Line(
        status=status, method="GET", path=path, details="via_upstream", request_id=request_id, time=at(when),
        duration=2, upstream=Address(POD, 8080), upstream_local=Address("127.0.0.6", 50000 + when),
        local=Address(POD, 8080), remote=Address(GATEWAY, port), cluster="inbound|8080||",
    )  # fmt: skip


def shape(found: list[Joined]) -> list[list[str]]:
    return [[str(line.local) for line in one.lines] for one in found]


def test_five_lines_of_three_pods_are_one_request() -> None:
    """Twice through the same gateway (with a new id), an activator's sidecar in and out, the model's."""
    lines, _ = read_lines(WRAPPED)
    for seed in range(20):
        mixed = lines.copy()
        random.Random(seed).shuffle(mixed)
        (found,) = join(mixed)
        assert [str(line.local) for line in found.lines] == [
            "10.9.0.43:8443", "10.9.0.43:8081", "10.9.0.44:8012", "10.7.58.48:80", "10.9.2.13:8012",
        ]  # fmt: skip
        assert found.before == (None, 0, 1, 2, 3)
        assert len({line.request_id for line in found.lines}) == 2


def test_one_id_joins_what_shows_no_client_port() -> None:
    found = join([sidecar("a", 1), gateway("a", 0), gateway("b", 0, port=40001), sidecar("b", 1)])
    assert shape(found) == [[f"{GATEWAY}:8080", f"{POD}:8080"]] * 2
    assert [{line.request_id for line in one.lines} for one in found] == [{"a"}, {"b"}]


def test_a_kept_connection_carries_many_requests() -> None:
    """The same two sockets, new ids at the second proxy: the time says which belongs to which."""
    lines = []
    for number in range(10):
        lines += [gateway(f"a{number}", 20 * number), sidecar(f"b{number}", 20 * number + 1, port=40000)]
    random.Random(1).shuffle(lines)
    found = join(lines)
    assert [[line.request_id for line in one.lines] for one in found] == [
        [f"a{number}", f"b{number}"] for number in range(10)
    ]


def test_a_line_out_of_its_time_belongs_to_another_request() -> None:
    found = join([gateway("a", 0), sidecar("b", 500, port=40000)])
    assert shape(found) == [[f"{GATEWAY}:8080"], [f"{POD}:8080"]]


def test_a_client_that_sends_one_id_twice_has_sent_two_requests() -> None:
    found = join([gateway("a", 0), sidecar("a", 1), gateway("a", 1000), sidecar("a", 1001)])
    assert shape(found) == [[f"{GATEWAY}:8080", f"{POD}:8080"]] * 2


def test_tries_hang_on_the_line_that_made_them() -> None:
    found = join([gateway("a", 0, status=503), sidecar("a", 1, status=503), sidecar("a", 3, status=503)])
    assert [one.before for one in found] == [(None, 0, 0)]


def test_lines_without_an_id_and_without_addresses_stay_alone() -> None:
    assert len(join([Line(status=200, path="/a"), Line(status=200, path="/a")])) == 2


addresses = st.builds(Address, st.sampled_from([GATEWAY, POD, "127.0.0.6"]), st.integers(0, 3))
lines_of_all_kinds = st.builds(
    Line,
    status=st.sampled_from([0, 200, 503, None]),
    method=st.sampled_from(["GET", ""]),
    request_id=st.sampled_from(["", "a", "b"]),
    details=st.sampled_from(["", "via_upstream"]),
    time=st.sampled_from([None, START]),
    duration=st.sampled_from([None, 1]),
    cluster=st.sampled_from(["inbound|1||", "outbound|80||a.b.svc.cluster.local", ""]),
    upstream=st.none() | addresses,
    upstream_local=st.none() | addresses,
    local=st.none() | addresses,
    remote=st.none() | addresses,
)


@given(st.lists(lines_of_all_kinds, max_size=12))
def test_every_line_is_in_one_request_behind_the_one_it_came_from(lines: list[Line]) -> None:
    found = join(lines)
    assert sorted(id(line) for one in found for line in one.lines) == sorted(id(line) for line in lines)
    for one in found:
        assert one.before[0] is None
        assert all(parent is None or parent < index for index, parent in enumerate(one.before))
