"""One line of an access log, whatever its format was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from kgdiag.model.ref import Ref
from kgdiag.traffic.flags import flags_of


class Address(NamedTuple):
    """``10.0.0.1:8080``; ``port`` 0 where a proxy shows an address that no socket has."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def address(text: str) -> Address | None:
    """An address with a port; None for ``-``, a name, or a socket that is none of IP."""
    head, colon, tail = text.strip().rpartition(":")
    head = head.strip("[]")
    if not colon or not tail.isdigit() or not re.fullmatch(r"[0-9a-fA-F:.]+", head):
        return None
    return Address(head, int(tail))


@dataclass(frozen=True, slots=True)
class Line:
    """One request as one Envoy logged it. Text fields are ``""`` where the format has them not or has ``-``.

    ``status`` is None where the format lacks it, 0 where no answer was sent (or for TCP). ``duration`` and
    ``upstream_time`` are milliseconds. ``proxy`` is the pod whose log this is, where that is known.
    ``known`` are the fields that the format has: what is not in it was not logged, rather than empty.
    """

    number: int = 0
    status: int | None = None
    method: str = ""
    path: str = ""
    protocol: str = ""
    authority: str = ""
    flags: tuple[str, ...] = ()
    details: str = ""
    termination: str = ""
    failure: str = ""
    bytes_sent: int | None = None
    time: datetime | None = None
    duration: int | None = None
    upstream_time: int | None = None
    forwarded_for: str = ""
    user_agent: str = ""
    request_id: str = ""
    upstream: Address | None = None
    upstream_name: str = ""
    cluster: str = ""
    upstream_local: Address | None = None
    local: Address | None = None
    remote: Address | None = None
    sni: str = ""
    route: str = ""
    grpc_status: str = ""
    proxy: Ref | None = None
    proxy_hint: str = ""
    known: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def end(self) -> datetime | None:
        return self.time + timedelta(milliseconds=self.duration or 0) if self.time else None

    @property
    def inbound(self) -> bool:
        """Whether a sidecar logged it on the way to its own application."""
        return self.cluster.startswith("inbound|") or self.cluster == "InboundPassthroughCluster"

    @property
    def tcp(self) -> bool:
        """Whether the connection was not understood as HTTP."""
        return not self.method and not self.path

    @property
    def proxy_ip(self) -> str:
        """The address of the pod whose Envoy this is, as far as the line shows it.

        Inbound and on a gateway the client connected to it; outbound the client meant another address, and
        the connection to the endpoint begins at the pod.
        """
        if self.inbound:
            return self.local.ip if self.local else ""
        if self.upstream_local and not self.upstream_local.ip.startswith("127."):
            return self.upstream_local.ip
        return self.local.ip if self.local else ""

    @property
    def via_upstream(self) -> bool:
        """Whether the status came from behind this proxy."""
        if self.details:
            return self.details.partition("{")[0] == "via_upstream"
        return not self.flags and self.upstream is not None and self.upstream_time is not None


def line_of(fields: Mapping[str, str], *, number: int = 0, proxy_hint: str = "") -> Line | None:
    """A line of the fields of a format; None where they are no access log (no status and no flags)."""
    text = {name: "" if value == "-" else value for name, value in fields.items()}
    get = text.get
    if "status" not in text and "flags" not in text:
        return None
    return Line(
        number=number,
        status=_number(get("status", "")),
        method=get("method", ""),
        path=get("path", ""),
        protocol=get("protocol", ""),
        authority=get("authority", ""),
        flags=flags_of(get("flags", "")),
        details=get("details", ""),
        termination=get("termination", ""),
        failure=get("failure", ""),
        bytes_sent=_number(get("bytes_sent", "")),
        time=_time(get("time", "")),
        duration=_number(get("duration", "")),
        upstream_time=_number(get("upstream_time", "")),
        forwarded_for=get("forwarded_for", ""),
        user_agent=get("user_agent", ""),
        request_id=get("request_id", ""),
        upstream=address(get("upstream", "")),
        upstream_name=get("upstream", ""),
        cluster=get("cluster", ""),
        upstream_local=address(get("upstream_local", "")),
        local=address(get("local", "")),
        remote=address(get("remote", "")),
        sni=get("sni", ""),
        route=get("route", ""),
        grpc_status=get("grpc_status", ""),
        proxy_hint=proxy_hint,
        known=frozenset(fields),
    )


def _number(text: str) -> int | None:
    try:
        return int(float(text.rstrip("ms"))) if text else None
    except (ValueError, OverflowError):
        return None


def _time(text: str) -> datetime | None:
    """RFC 3339, as Envoy writes it; None for a custom form."""
    try:
        found = datetime.fromisoformat(text.strip("[]"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
