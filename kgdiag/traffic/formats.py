"""Formats of access logs: a format string with Envoy's command operators becomes a reader of lines.

Sources: envoy docs/root/configuration/observability/access_log/usage.rst (operators, default format); istio
pilot/pkg/model/telemetry_logging.go and pkg/config/mesh (EnvoyTextLogFormat, EnvoyJSONLogFormatIstio);
envoyproxy/gateway internal/xds/translator/accesslog.go (EnvoyJSONLogFields).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from kgdiag.traffic.line import Line, line_of

ENVOY = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"'
)
_ISTIO_TAIL = (
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% '
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%"
)
_ISTIO_HEAD = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_FLAGS% "
)
ISTIO = f"{_ISTIO_HEAD}%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% {_ISTIO_TAIL}"
_ISTIO_1_8 = f"{_ISTIO_HEAD}{_ISTIO_TAIL}"
_ISTIO_1_5 = f'{_ISTIO_HEAD}"%DYNAMIC_METADATA(istio.mixer:status)%" {_ISTIO_TAIL}'

_OPERATORS = {
    "START_TIME": "time",
    "PROTOCOL": "protocol",
    "RESPONSE_CODE": "status",
    "RESPONSE_FLAGS": "flags",
    "RESPONSE_FLAGS_LONG": "flags",
    "RESPONSE_CODE_DETAILS": "details",
    "CONNECTION_TERMINATION_DETAILS": "termination",
    "UPSTREAM_TRANSPORT_FAILURE_REASON": "failure",
    "BYTES_SENT": "bytes_sent",
    "DURATION": "duration",
    "UPSTREAM_HOST": "upstream",
    "UPSTREAM_REMOTE_ADDRESS": "upstream",
    "UPSTREAM_CLUSTER": "cluster",
    "UPSTREAM_CLUSTER_RAW": "cluster",
    "UPSTREAM_LOCAL_ADDRESS": "upstream_local",
    "DOWNSTREAM_LOCAL_ADDRESS": "local",
    "DOWNSTREAM_REMOTE_ADDRESS": "remote",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": "remote",
    "REQUESTED_SERVER_NAME": "sni",
    "ROUTE_NAME": "route",
    "GRPC_STATUS": "grpc_status",
    "GRPC_STATUS_NUMBER": "grpc_status",
}
_HEADERS = {
    ":method": "method",
    ":path": "path",
    "path": "path",
    "x-envoy-original-path": "path",
    "x-envoy-origin-path": "path",
    ":authority": "authority",
    "host": "authority",
    "authority": "authority",
    "x-forwarded-for": "forwarded_for",
    "user-agent": "user_agent",
    "x-request-id": "request_id",
}
# What the keys of JSON logs are called where no format says what they hold.
_KEYS = {
    **{name.lower(): field for name, field in _OPERATORS.items()},
    **_HEADERS,
    "method": "method",
    "x_forwarded_for": "forwarded_for",
    "user_agent": "user_agent",
    "request_id": "request_id",
    "req_id": "request_id",
    "upstream_service_time": "upstream_time",
    "x-envoy-upstream-service-time": "upstream_time",
    "status": "status",
    "code": "status",
    "timestamp": "time",
    "time": "time",
}
_OPERATOR = re.compile(r"%([A-Z_0-9]+)(?:\(([^%]*?)\))?(?::(\d+))?%")
_MOST_BREAKS = 7
_BLANKS = r"[ \t]{1,4}"  # between fields: editors and chats change them
_LONGEST = 1 << 14  # of one line, as container runtimes cut them


def field_of(name: str, argument: str = "") -> str:
    """The field of ``Line`` that an operator gives, ``""`` for what is not kept (any other header, say)."""
    if name in ("REQ", "REQUEST_HEADER", "REQ_WITHOUT_QUERY"):
        for header in argument.split("?"):
            if known := _HEADERS.get(header.strip().lower()):
                return known
        return ""
    if name in ("RESP", "RESPONSE_HEADER"):
        return "upstream_time" if argument.strip().lower() == "x-envoy-upstream-service-time" else ""
    return _OPERATORS.get(name, "")


@dataclass(frozen=True, slots=True)
class TextFormat:
    """A format of text lines. ``pattern`` matches a whole line, ``part`` one that is cut off at an end."""

    text: str
    pattern: re.Pattern[str]
    part: re.Pattern[str] | None
    fields: Mapping[str, str]

    def read(self, text: str, *, partly: bool = False) -> dict[str, str] | None:
        """The fields of a line, None where it is not of this format."""
        pattern = self.part if partly else self.pattern
        found = pattern.search(text) if pattern is not None else None
        if found is None:
            return None
        values = found.groupdict()
        # What a line that is cut off does not show counts as not logged.
        return {self.fields[name]: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """A format of JSON lines: which key is which field."""

    keys: Mapping[str, str]


Format = TextFormat | JsonFormat
Formats = Sequence[Format]


def parse_format(text: str) -> Format:
    r"""A format string, as in ``accessLogFormat`` or ``--format``: text, or a JSON object of operators.

    A trailing newline (real, or typed as ``\n``) is left out. Raises ValueError where it has no operator, or
    shows neither status nor flags: nothing could be said of such lines.
    """
    text = text.strip().removesuffix("\\n")
    if text.startswith("{"):
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict):
            return json_format(parsed)
    found = text_format(text, whole=True)
    if not {"status", "flags"} & set(found.fields.values()):
        raise ValueError("the format has neither %RESPONSE_CODE% nor %RESPONSE_FLAGS%")
    return found


def json_format(keys: Mapping[str, Any]) -> JsonFormat:
    """A format given as key and operator, as in ``accessLogFormat`` with JSON encoding, or EnvoyProxy."""
    out = {}
    for key, value in keys.items():
        operator = _OPERATOR.fullmatch(str(value).strip())
        if operator and (name := field_of(operator[1], operator[2] or "")):
            out[str(key)] = name
    if not {"status", "flags"} & set(out.values()):
        raise ValueError("the format has neither %RESPONSE_CODE% nor %RESPONSE_FLAGS%")
    return JsonFormat(out)


def text_format(text: str, *, whole: bool = False) -> TextFormat:
    """The reader of a text format. ``whole``: lines that are cut off are none."""
    pieces: list[str] = []
    fields: dict[str, str] = {}
    at, operators = 0, list(_OPERATOR.finditer(text))
    if not operators:
        raise ValueError("the format has no command operator such as %RESPONSE_CODE%")
    cut = 0  # pieces that a cut-off line must have
    for index, operator in enumerate(operators):
        literal = re.escape(text[at : operator.start()]).replace(r"\ ", _BLANKS)
        after = text[operator.end() : operator.end() + 1]
        name, kept = f"f{index}", field_of(operator[1], operator[2] or "")
        if kept and kept not in fields.values():
            fields[name] = kept
        body = _body(kept, after)
        pieces.append(f"{literal}(?P<{name}>{body})" if name in fields else f"{literal}(?:{body})")
        cut = cut or (index + 1 if operator[1] == "RESPONSE_FLAGS" else 0)
        at = operator.end()
    tail = re.escape(text[at:]).replace(r"\ ", _BLANKS)
    # A custom format may be loose: it has to be the whole line but for the prefix of `kubectl logs --prefix`.
    start = r"^(?:\[pod/\S+\]\s+)?" if whole else ""
    pattern = re.compile(start + "".join(pieces) + tail + r"\s*$")
    return TextFormat(text, pattern, None if whole else _partial(pieces, cut, tail), fields)


def _body(field: str, after: str) -> str:
    """What a value may hold: all up to its closing quote or bracket, else no blanks."""
    if field == "status":
        return r"\d{1,3}|-"
    if field in ("bytes_sent", "duration", "upstream_time"):
        return r"\d+|-"
    if field == "method":
        return r"[A-Za-z-]+"
    if field == "flags":
        return r"[A-Za-z]+(?:,[A-Za-z]+)*|-"
    if field == "protocol":
        return r"HTTP/[\d.]+|-"
    if field == "details":
        return r"[A-Za-z]\S*|-"
    if field == "path":
        return r".*?"  # a client may send blanks and quotes
    if after in (" ", "", "\n"):
        return r"\S*"
    if after == '"' and field == "user_agent":
        return r"[^\n]*?"  # a client's own word too
    # No value may run past its end: many that could would take for ever on a line that is made for it.
    return rf"[^{re.escape(after)}\n]*" if after != "%" else r"\S*?"


def _partial(pieces: list[str], cut: int, tail: str) -> re.Pattern[str] | None:
    """Lines that lost their beginning (time, opening quote) or their end (behind the flags)."""
    if not cut or not pieces[0].startswith(r"\["):
        return None
    head = [pieces[1].replace(r"\]" + _BLANKS + '"', r'(?:\]?\s{0,4}"|(?<!\S))'), *pieces[2:cut]]
    head[0] = head[0].replace("[A-Za-z-]+", '[A-Z]{3,16}|(?<=")-')
    head = [piece.replace(r".*?", r"\S+") for piece in head]
    rest = ""
    for piece in reversed(pieces[cut:]):
        rest = "(?:" + piece.replace(r"[^\n]*?", r'[^"\n]*') + rest + ")?"
    start = r"(?:\[(?P<f0>[^\]\n]*))?"
    return re.compile(start + "".join(head) + rest + rf"(?:{tail})?")


_BUILT_IN = tuple(text_format(one) for one in (ISTIO, _ISTIO_1_5, _ISTIO_1_8, ENVOY))

# Beginnings of records: a time in brackets, a request line, or JSON; before them what tools put there.
_START = re.compile(
    r'\[\d{4}-\d\d-\d\dT[^\]\n]{4,40}\]|"?(?:[A-Z]{3,10}) \S+ HTTP/\d|"- - (?:-|HTTP)|\{\s*"', re.ASCII
)
_PREFIX = re.compile(r"^\[?(?:pod/)?([a-z0-9][a-z0-9.-]*)[/ ]([a-z0-9-]+)\]?\s+$")


def read_lines(text: str, formats: Formats = (), *, joined: bool = True) -> tuple[list[Line], int]:
    """The access log lines in a text, and how many of its other lines that are not empty are none.

    ``formats`` are tried before Istio's, Envoy's and Envoy Gateway's own.

    ``joined`` takes apart lines that a terminal or an editor broke: continuations are joined to the line
    before until it is whole.
    """
    found: list[Line] = []
    other = 0
    for number, record in _records(text, formats) if joined else _single(text):
        line = read_record(record, formats, number=number, partly=joined)
        if line is None:
            other += len(record)
        else:
            found.append(line)
    return found, other


def _single(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, part in enumerate(text.split("\n"), 1):
        if part.strip():
            yield number, [part]


def _records(text: str, formats: Formats) -> Iterator[tuple[int, list[str]]]:
    """The lines of a text, with those that continue a record put to it, each with its first line's number."""
    record: list[str] = []
    begun = 0
    custom = [one for one in formats if isinstance(one, TextFormat)]
    for number, raw in enumerate(text.split("\n"), 1):
        part = raw.rstrip("\r")
        if not part.strip() or part.strip().startswith("```"):
            if record:
                yield begun, record
            record = []
            continue
        starts = _START.search(part) is not None or any(one.read(part) is not None for one in custom)
        if record and not starts and _may_continue(record, part, formats):
            record.append(part)
            continue
        if record:
            yield begun, record
        record, begun = [part], number
    if record:
        yield begun, record


def _may_continue(record: list[str], part: str, formats: Formats) -> bool:
    if len(record) >= _MOST_BREAKS or not _START.search(record[0]):
        return False
    return part[:1].isspace() or not _whole(record, formats)


def _whole(record: list[str], formats: Formats) -> bool:
    """Whether a record needs no continuation: it is of a format, or lacks no more than its beginning."""
    for text in _joins(record):
        if _read(text, formats, partly=False) is not None:
            return True
        if any("route" in (known.read(text, partly=True) or ()) for known in _BUILT_IN):
            return True
    return False


def _joins(record: list[str]) -> Iterable[str]:
    """The ways in which a broken line may have been one: with nothing or a blank at each break."""
    if len(record) == 1:
        return (record[0],)
    rest = [part.lstrip() for part in record[1:]]
    ways = product(("", " "), repeat=len(rest))
    return (record[0] + "".join(glue + part for glue, part in zip(way, rest, strict=True)) for way in ways)


def read_record(record: list[str], formats: Formats, *, number: int = 0, partly: bool = True) -> Line | None:
    """The line that a record is; None where it is none. ``partly`` takes lines that are cut off too."""
    texts = [text for text in _joins(record) if len(text) <= _LONGEST]
    for cut in (False, True) if partly else (False,):
        found = [(fields, text) for text in texts if (fields := _read(text, formats, partly=cut)) is not None]
        if found:
            # Joined in the wrong way, a line that is cut off ends at the break.
            fields, text = max(found, key=lambda item: len(item[0]))
            start = _START.search(text)
            prefix = _PREFIX.match(text[: start.start()]) if start else None
            return line_of(fields, number=number, proxy_hint=prefix[1] if prefix else "")
    return None


def _read(text: str, formats: Formats, *, partly: bool) -> dict[str, str] | None:
    brace = text.find("{")
    if brace >= 0 and '"' in text[brace : brace + 8]:
        for keys in (*(one.keys for one in formats if isinstance(one, JsonFormat)), _KEYS):
            if (fields := _read_json(text[brace:], keys)) is not None:
                return fields
    for one in formats:
        if isinstance(one, TextFormat) and (found := one.read(text)) is not None:
            return found
    if _START.search(text) is None:
        return None
    every = (known.read(text, partly=partly) for known in _BUILT_IN)
    if not partly:
        return next((one for one in every if one is not None), None)
    most = max((one for one in every if one is not None), key=len, default=None)
    return most if most and most.get("status", "").isdigit() else None


def _read_json(text: str, keys: Mapping[str, str]) -> dict[str, str] | None:
    try:
        document, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    out: dict[str, str] = {}
    for key, value in document.items():
        field = keys.get(key) or (keys.get(key.lower()) if keys is _KEYS else None)
        if field and not isinstance(value, dict | list) and out.get(field, "-") in ("", "-"):
            out[field] = "-" if value is None else str(value)
    return out if {"status", "flags"} & set(out) else None
