"""Envoy's matchers, condition by condition."""

from __future__ import annotations

import pytest

from kgdiag.model.proxy import How, RouteMatch, StringMatch, ValueMatch
from kgdiag.model.trace import Request
from kgdiag.trace.match import header_matches, miss, path_prefix, query_matches, string_matches


@pytest.mark.parametrize(
    ("how", "wanted", "value", "expected"),
    [
        (How.EXACT, "/a", "/a", True),
        (How.EXACT, "/a", "/a/", False),
        (How.PREFIX, "/v1/models/iris", "/v1/models/iris:predict", True),
        (How.PREFIX, "/v1/models/iris", "/v1/models/iris2", True),
        (How.PATH_PREFIX, "/v1/models/iris", "/v1/models/iris:predict", False),
        (How.PATH_PREFIX, "/v1/models/iris", "/v1/models/iris/x", True),
        (How.PATH_PREFIX, "/v1/models/iris", "/v1/models/iris", True),
        (How.PATH_PREFIX, "/", "/anything", True),
        (How.SUFFIX, ".html", "/a.html", True),
        (How.CONTAINS, "b", "abc", True),
        (How.REGEX, "/a.*", "/abc", True),
        (How.REGEX, "a.*", "/abc", False),  # full match
        (How.REGEX, "^/a$", "/a", True),
        (How.REGEX, r"/a(?=b)", "/ab", False),  # look-ahead is not RE2
        (How.REGEX, r"(a)\1", "aa", False),  # neither are back references
        (How.INVALID, "", "", False),
        (How.PRESENT, "", "", True),
        (How.TEMPLATE, "/a/{x}/c", "/a/b/c", True),
        (How.TEMPLATE, "/a/{x}/c", "/a/b/d/c", False),
        (How.TEMPLATE, "/a/{x=**}", "/a/b/c", True),
        (How.TEMPLATE, "/a/*.js", "/a/b.js", True),
    ],
)
def test_strings(how: How, wanted: str, value: str, expected: bool) -> None:
    assert string_matches(StringMatch(how, wanted), value) is expected


@pytest.mark.parametrize("how", [How.EXACT, How.PREFIX, How.PATH_PREFIX, How.SUFFIX, How.CONTAINS])
def test_case_counts_unless_it_is_ignored(how: How) -> None:
    assert not string_matches(StringMatch(how, "/ABC"), "/abc")
    assert string_matches(StringMatch(how, "/ABC", ignore_case=True), "/abc")


def test_a_regex_keeps_its_case() -> None:
    assert not string_matches(StringMatch(How.REGEX, "/ABC", ignore_case=True), "/abc")


def test_a_prefix_with_a_slash_at_its_end_takes_the_bare_path_too() -> None:
    assert path_prefix("/a/", "/a")
    assert path_prefix("/a/", "/a/b")
    assert not path_prefix("/a/", "/ab")


REQUEST = Request(
    "http", "Shop.example.com:8080", "/p", "a=1&b=2&a=3&flag", "GET", (("x", "1"), ("x", "2"), ("y", ""))
)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (ValueMatch("x", StringMatch(How.EXACT, "1,2")), False),
        (ValueMatch("x", StringMatch(How.EXACT, "1")), True),  # each value is tried
        (ValueMatch("x", StringMatch(How.EXACT, "2")), True),
        (ValueMatch("x"), True),
        (ValueMatch("z"), False),
        (ValueMatch("z", invert=True), True),
        (ValueMatch("x", invert=True), False),
        (ValueMatch("z", StringMatch(How.EXACT, "1")), False),
        (ValueMatch("z", StringMatch(How.EXACT, "1"), invert=True), False),  # missing never matches …
        (ValueMatch("z", StringMatch(How.EXACT, "1"), invert=True, missing_is_empty=True), True),  # … unless
        (ValueMatch("x", StringMatch(How.EXACT, "1"), invert=True), False),
        (ValueMatch("x", StringMatch(How.EXACT, "3"), invert=True), True),
        (ValueMatch("y", StringMatch(How.EXACT, "")), True),
        (ValueMatch("z", StringMatch(How.REGEX, ".*")), False),
        (ValueMatch(":authority", StringMatch(How.EXACT, "Shop.example.com")), False),  # the port counts
        (ValueMatch(":authority", StringMatch(How.PREFIX, "Shop.example.com")), True),
        (ValueMatch(":method", StringMatch(How.EXACT, "GET")), True),
        (ValueMatch(":path", StringMatch(How.EXACT, "/p?a=1&b=2&a=3&flag")), True),
        (ValueMatch(":scheme", StringMatch(How.EXACT, "http")), True),
    ],
)
def test_headers(match: ValueMatch, expected: bool) -> None:
    assert header_matches(match, REQUEST) is expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (ValueMatch("a", StringMatch(How.EXACT, "1")), True),  # the first one counts
        (ValueMatch("a", StringMatch(How.EXACT, "3")), False),
        (ValueMatch("flag"), True),
        (ValueMatch("flag", StringMatch(How.EXACT, "")), True),
        (ValueMatch("none"), False),
        (ValueMatch("none", StringMatch(How.EXACT, "")), False),
    ],
)
def test_query(match: ValueMatch, expected: bool) -> None:
    assert query_matches(match, REQUEST) is expected


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        (RouteMatch(StringMatch(How.PATH_PREFIX, "/p/x")), "does not match path prefix /p/x"),
        (RouteMatch(StringMatch(How.PREFIX, "/p/*")), "holds a literal *"),
        (RouteMatch(StringMatch(How.EXACT, "/P")), "upper and lower case"),
        (RouteMatch(StringMatch(How.REGEX, "/p.a=1.*")), "without the query"),
        (RouteMatch(StringMatch(How.REGEX, "(?!x)")), "not RE2"),
        (RouteMatch(StringMatch(How.REGEX, "/")), "has to match all"),
        (RouteMatch(None, (ValueMatch("z"),)), "header z is missing"),
        (
            RouteMatch(None, (ValueMatch("x", StringMatch(How.EXACT, "3")),)),
            "header x 1,2 does not match exact 3",
        ),
        (RouteMatch(None, (ValueMatch("x", invert=True),)), "present and must not be"),
        (RouteMatch(None, (), (ValueMatch("c"),)), "query parameter c is missing"),
        (RouteMatch(None, grpc=True), "gRPC"),
    ],
)
def test_the_first_condition_that_fails_is_named(match: RouteMatch, reason: str) -> None:
    found = miss(match, REQUEST)
    assert found is not None and reason in found.reason


def test_a_match_without_conditions_takes_everything() -> None:
    assert miss(RouteMatch(), REQUEST) is None


def test_grpc_is_told_by_its_content_type() -> None:
    for kind, taken in (
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc-web", False),
    ):
        request = Request("http", "h", headers=(("content-type", kind),))
        assert (miss(RouteMatch(grpc=True), request) is None) is taken
