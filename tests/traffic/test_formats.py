"""Lines of every format, whole, broken and cut off; text that is no access log."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgdiag.traffic.formats import ENVOY, ISTIO, parse_format, read_lines
from kgdiag.traffic.line import Address, Line

ID = "0f3a2a9e-5f4c-4a57-9d10-3b9d2c1d7e01"
ISTIO_LINE = (
    f'[2026-11-25T16:47:57.115Z] "GET /v1/fruit?x=1 HTTP/1.1" 200 - via_upstream - "-" 0 1050 3 2 "10.9.0.1" '
    f'"curl/8.6.0" "{ID}" "fruit.orchard.example" "10.9.0.8:8081" '
    "outbound|80||press.orchard.svc.cluster.local 10.9.0.7:35338 10.9.0.7:8080 10.9.0.1:30549 - -"
)
EG_LINE = json.dumps(
    {
        ":authority": "fruit.orchard.example",
        "bytes_received": 0,
        "bytes_sent": 0,
        "connection_termination_details": None,
        "downstream_local_address": "10.9.0.18:10080",
        "downstream_remote_address": "10.9.0.1:3242",
        "duration": 4,
        "method": "GET",
        "protocol": "HTTP/1.1",
        "requested_server_name": None,
        "response_code": 503,
        "response_code_details": "no_healthy_upstream",
        "response_flags": "UH",
        "route_name": "httproute/orchard/fruit/rule/0/match/1/fruit_orchard_example",
        "start_time": "2026-11-25T16:47:22.240Z",
        "upstream_cluster": "httproute/orchard/fruit/rule/0",
        "upstream_host": None,
        "upstream_local_address": None,
        "upstream_transport_failure_reason": None,
        "user-agent": "curl/8.6.0",
        "x-envoy-origin-path": "/b?r=2&q=1",
        "x-envoy-upstream-service-time": None,
        "x-forwarded-for": "10.9.0.1",
        "x-request-id": ID,
    }
)


def one(text: str, *formats: str) -> Line:
    lines, _ = read_lines(text, [parse_format(item) for item in formats])
    assert len(lines) == 1, lines
    return lines[0]


def fields(line: Line, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(line, name) for name in names)


def test_istio() -> None:
    line = one(ISTIO_LINE)
    assert fields(line, "method", "path", "protocol", "status", "flags", "details") == (
        "GET", "/v1/fruit?x=1", "HTTP/1.1", 200, (), "via_upstream",
    )  # fmt: skip
    assert fields(line, "duration", "upstream_time", "request_id", "authority") == (
        3, 2, ID, "fruit.orchard.example",
    )  # fmt: skip
    assert line.upstream == Address("10.9.0.8", 8081)
    assert line.upstream_local == Address("10.9.0.7", 35338)
    assert (line.local, line.remote) == (Address("10.9.0.7", 8080), Address("10.9.0.1", 30549))
    assert line.cluster == "outbound|80||press.orchard.svc.cluster.local"
    assert (line.sni, line.route) == ("", "")
    assert line.time is not None and line.time.isoformat() == "2026-11-25T16:47:57.115000+00:00"


def test_envoy_gateway() -> None:
    line = one(EG_LINE)
    assert fields(line, "status", "flags", "details", "method", "path") == (
        503, ("UH",), "no_healthy_upstream", "GET", "/b?r=2&q=1",
    )  # fmt: skip
    assert line.local == Address("10.9.0.18", 10080)
    assert line.upstream is None
    assert line.request_id == ID


def test_istio_json() -> None:
    text = json.dumps(
        {
            "start_time": "2026-11-25T16:47:22.240Z", "method": "POST", "path": "/p", "protocol": "HTTP/2",
            "response_code": 404, "response_flags": "NR", "response_code_details": "route_not_found",
            "authority": "a.example", "request_id": ID, "upstream_host": "-", "upstream_cluster": None,
            "downstream_local_address": "10.9.0.7:8443", "requested_server_name": "a.example",
        }
    )  # fmt: skip
    line = one(text)
    assert fields(line, "status", "flags", "method", "path", "sni", "authority", "request_id") == (
        404, ("NR",), "POST", "/p", "a.example", "a.example", ID,
    )  # fmt: skip


def test_envoy_default() -> None:
    line = one(
        '[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" '
        f'"nsq2http" "{ID}" "locations" "tcp://10.0.2.1:80"'
    )
    assert fields(line, "status", "bytes_sent", "duration", "upstream_time", "authority") == (
        204, 0, 226, 100, "locations",
    )  # fmt: skip
    assert line.details == ""
    assert "cluster" not in line.known
    assert line.upstream_name == "tcp://10.0.2.1:80"


@pytest.mark.parametrize(
    "head",
    ["[pod/gw-7c/istio-proxy] ", "gw-7c istio-proxy "],
    ids=["kubectl logs --prefix", "stern"],
)
def test_prefixes_name_the_pod(head: str) -> None:
    assert one(head + ISTIO_LINE).proxy_hint == "gw-7c"


def test_tcp_and_no_filter_chain() -> None:
    line = one(
        '[2026-11-25T16:47:57.115Z] "- - -" 0 NR filter_chain_not_found - "-" 0 0 0 - "-" "-" "-" "-" "-" '
        "- - 10.9.0.89:8080 10.9.0.75:40638 web.orchard.example -"
    )
    assert fields(line, "status", "flags", "details", "tcp", "sni") == (
        0, ("NR",), "filter_chain_not_found", True, "web.orchard.example",
    )  # fmt: skip


def test_older_istio() -> None:
    line = one(
        '[2020-01-01T00:00:00.000Z] "GET /x HTTP/1.1" 503 UF,URX "-" "TLS error" 0 91 9 - "-" "curl" '
        f'"{ID}" "a.example" "10.9.0.3:80" outbound|80||a.b.svc.cluster.local - 10.9.0.4:80 '
        "10.9.0.5:1234 - default"
    )
    assert fields(line, "status", "flags", "failure", "route") == (503, ("UF", "URX"), "TLS error", "default")


CUSTOM = [
    (
        '%START_TIME% status=%RESPONSE_CODE% flags=%RESPONSE_FLAGS% id=%REQ(X-REQUEST-ID)% "%REQ(:PATH)%"',
        f'2026-11-25T16:47:57.115Z status=503 flags=UH id={ID} "/a b"',
        {"status": 503, "flags": ("UH",), "request_id": ID, "path": "/a b"},
    ),
    (
        "%REQ(:METHOD)% %REQ(HOST):20% %RESPONSE_CODE%/%RESPONSE_FLAGS_LONG%/%RESPONSE_CODE_DETAILS%\\n",
        "GET a.example 503/UpstreamRetryLimitExceeded,UpstreamConnectionFailure/upstream_reset_x",
        {"method": "GET", "authority": "a.example", "status": 503, "flags": ("URX", "UF")},
    ),
    (
        '{"code": "%RESPONSE_CODE%", "why": "%RESPONSE_CODE_DETAILS%", "auth": "%REQ(AUTHORIZATION)%"}',
        '{"code": 403, "why": "rbac_access_denied_matched_policy[none]", "auth": "Bearer xyz"}',
        {"status": 403, "details": "rbac_access_denied_matched_policy[none]"},
    ),
]


@pytest.mark.parametrize(("format", "text", "expected"), CUSTOM)
def test_custom_formats(format: str, text: str, expected: dict[str, Any]) -> None:
    line = one(text, format)
    assert {name: getattr(line, name) for name in expected} == expected
    assert "xyz" not in repr(line)


@pytest.mark.parametrize("format", ["", "hello", "%START_TIME% %DURATION%", '{"a": "%DURATION%"}'])
def test_formats_that_say_nothing_of_the_answer(format: str) -> None:
    with pytest.raises(ValueError, match="format"):
        parse_format(format)


def test_a_custom_format_does_not_hide_the_known_ones() -> None:
    assert one(ISTIO_LINE, "%RESPONSE_CODE% %RESPONSE_FLAGS%").details == "via_upstream"


WRAPPED = """
Edge gateway (10.9.0.43) access log:
```
GET / HTTP/2" 400 - via_upstream - "-" 0 32 26 24 "10.8.0.2" "
    curl/8.6.0" "11111111-e742-4eac-8c56-4c87eb22f1a9" "pear-predictor.orchard.svc.cluster.local" "10.9.0.43:8081" outbound|80
    ||inner-gateway.mesh.svc.cluster.local 10.9.0.43:39352 10.9.0.43:8443 10.8.0.2:56558 pear.apps.orchard.example -
GET / HTTP/2" 400 - via_upstream - "-" 0 32 20 20 "10.8.0.2,10.9.0.43"
    "curl/8.6.0" "22222222-a4db-4aaa-9292-edbf3e186e29" "pear-predictor.orchard.svc.cluster.local" "10.9.0.44:8012" outbound|80
    ||pear-00001.orchard.svc.cluster.local 10.9.0.43:45990 10.9.0.43:8081 10.9.0.43:39352 outbound_.80_._.inner-gateway.mesh.svc.cluster.local -
```
Activator (10.9.0.44) access log:
```
"GET / HTTP/1.1" 400 - via_upstream - "-" 0 32 13 13 "10.8.0.2,10.9.0.43"
    "curl/8.6.0" "22222222-a4db-4aaa-9292-edbf3e186e29" "pear-predictor.orchard.svc.cluster.local" "10.9.0.44:8012" inbound|8012
    || 127.0.0.6:40375 10.9.0.44:8012 10.9.0.43:0 outbound_.80_._.pear-00001.orchard.svc.cluster.local default
"GET / HTTP/1.1" 400 - via_upstream - "-" 0 32 12 11 "10.8.0.2,10.9.0.43, 127.0.0.6"
    "curl/8.6.0" "22222222-a4db-4aaa-9292-edbf3e186e29" "10.7.58.48:80" "10.9.2.13:8012" outbound|80
    ||pear-00001-private.orchard.svc.cluster.local 10.9.0.44:50332 10.7.58.48:80 127.0.0.6:0 - default
```
"GET / HTTP/1.1" 400 - via_upstream - "-" 0 32 4 3 "10.8.0.2,10.9.0.43, 127.0.0.6"
    "curl/8.6.0" "22222222-a4db-4aaa-9292-edbf3e186e29" "10.7.58.48:80" "10.9.2.13:8012" inbound|8012
    || 127.0.0.6:45919 10.9.2.13:8012 127.0.0.6:0 outbound_.80_._.pear-00001-private.orchard.svc.cluster.local default
"""  # noqa: E501 -- as people paste them


def test_lines_that_were_broken_and_lost_their_beginning() -> None:
    lines, other = read_lines(WRAPPED)
    assert [str(line.local) for line in lines] == [
        "10.9.0.43:8443", "10.9.0.43:8081", "10.9.0.44:8012", "10.7.58.48:80", "10.9.2.13:8012",
    ]  # fmt: skip
    assert [line.duration for line in lines] == [26, 20, 13, 12, 4]
    assert {line.user_agent for line in lines} == {"curl/8.6.0"}
    assert lines[0].cluster == "outbound|80||inner-gateway.mesh.svc.cluster.local"
    assert lines[4].cluster == "inbound|8012||"
    assert [line.route for line in lines] == ["", "", "default", "default", "default"]
    assert other == 2


@pytest.mark.parametrize("width", range(60, 200, 7))
def test_a_line_broken_at_the_width_of_a_terminal(width: int) -> None:
    parts = [ISTIO_LINE[at : at + width] for at in range(0, len(ISTIO_LINE), width)]
    lines, other = read_lines("\n".join([*parts, ISTIO_LINE]))
    assert [fields(line, "request_id", "cluster", "local") for line in lines] == [
        fields(one(ISTIO_LINE), "request_id", "cluster", "local")
    ] * 2
    assert other == 0


@pytest.mark.parametrize(
    "cut", [ISTIO_LINE[: ISTIO_LINE.index(' "10.9.0.8')], ISTIO_LINE[ISTIO_LINE.index("GET") :]]
)
def test_a_line_that_is_cut_off(cut: str) -> None:
    line = one(cut)
    assert fields(line, "method", "path", "status", "details", "request_id") == (
        "GET", "/v1/fruit?x=1", 200, "via_upstream", ID,
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello world",
        "2026-11-25T16:46:18.186827Z\tinfo\tcache\tread certificate from file\tresource=file-root:system",
        '{"level":"info","msg":"started","port":8080}',
        '10.0.0.1 - - [25/Nov/2026:16:46:18 +0000] "GET / HTTP/1.1" 200 12 "-" "curl"',
        "GET is a method and 404 a status",
        "{" * 5000,
        '{"a":' * 20000,
    ],
)
def test_what_is_no_access_log(text: str) -> None:
    assert read_lines(text)[0] == []


def test_a_path_with_blanks_and_quotes_is_one_field() -> None:
    hostile = ISTIO_LINE.replace("/v1/fruit?x=1", '/a" 200 - "b\x1b[31m')
    line = one(hostile)
    assert line.path == '/a" 200 - "b\x1b[31m'
    assert line.status == 200


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    lines, other = read_lines(text)
    assert len(lines) + other <= text.count("\n") + 1


@given(
    st.fixed_dictionaries(
        {
            "method": st.sampled_from(["GET", "POST", "PURGE"]),
            "path": st.from_regex(r"/[a-z0-9/%?=&.:-]{0,30}", fullmatch=True),
            "status": st.integers(100, 599),
            "flags": st.lists(st.sampled_from(["UH", "UF", "URX", "NR"]), unique=True, max_size=2),
            "agent": st.text(st.characters(codec="ascii", exclude_characters='"\n\r\\'), max_size=20),
        }
    )
)
def test_what_a_format_writes_is_read_again(values: dict[str, Any]) -> None:
    filled = {
        "REQ(:METHOD)": values["method"],
        "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)": values["path"],
        "PROTOCOL": "HTTP/1.1",
        "RESPONSE_CODE": str(values["status"]),
        "RESPONSE_FLAGS": ",".join(values["flags"]) or "-",
        "REQ(USER-AGENT)": values["agent"] or "-",
        "START_TIME": "2026-11-25T16:47:57.115Z",
        "BYTES_SENT": "7",
        "BYTES_RECEIVED": "0",
        "DURATION": "3",
    }
    for format in (ISTIO, ENVOY):
        text = format
        for name, value in filled.items():
            text = text.replace(f"%{name}%", value)
        text = re.sub(r"%[A-Z_]+(\([^)]*\))?%", "-", text)
        line = one(text)
        assert fields(line, "method", "path", "status", "flags") == (
            values["method"], values["path"], values["status"], tuple(values["flags"]),
        )  # fmt: skip


@pytest.mark.parametrize(
    "tail",
    [
        " " * 16000,
        '" "' * 5000,
        '"GET ' * 4000,
        '/ HTTP/1.1" 200 - via_upstream - ' + '" "' * 5000,
        "- " * 8000,
    ],
)
def test_lines_made_to_take_for_ever_end(tail: str) -> None:
    """Patterns that try every way to read a line would not come back from these."""
    text = f'[2026-11-25T16:47:57.115Z] "GET {tail}'[:16000]
    assert len(read_lines(f"{text}\n{ISTIO_LINE}")[0]) >= 1
