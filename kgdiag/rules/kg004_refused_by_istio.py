"""Object of Istio that its webhook refuses

## What it finds
In VirtualServices, Gateways, DestinationRules, ServiceEntries and Sidecars, what fits the schema and what
istiod's validation refuses all the same: a `*` within a host name, weights that are all 0, redirect beside
route, a rewritten authority beside a Host header that is set, servers of one Gateway with the same port name,
an HTTPS server without `tls`, a subset without a name, a STATIC ServiceEntry without endpoints, a short name
among a Sidecar's egress hosts.

## Why it matters
`kubectl apply` fails for the document. Where the webhook was not there (a restart, `failurePolicy: Ignore`),
istiod leaves the object out, or the proxies refuse what it makes of it.

## How to prove it
`kubectl apply --dry-run=server -f FILE`

## How to fix it
Correct the field that is named.

## What it does not report
What the schema refuses already (KG002, KG003), and regular expressions (KG311).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj, dig
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import mappings, texts

Problem = tuple[str, str]  # field, words
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+")


@rule(
    "KG004", "refused-by-istio", Severity.ERROR, needs=(),
    about=(kinds.VIRTUAL_SERVICE, kinds.ISTIO_GATEWAY, kinds.DESTINATION_RULE, kinds.SERVICE_ENTRY,
           kinds.SIDECAR),
    equivalents=("IST0106",),
    reads=(kinds.VIRTUAL_SERVICE, kinds.ISTIO_GATEWAY, kinds.DESTINATION_RULE, kinds.SERVICE_ENTRY,
           kinds.SIDECAR),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each field that is refused."""
    checks: tuple[tuple[Kind, Callable[[Obj], Iterator[Problem]]], ...] = (
        (kinds.VIRTUAL_SERVICE, _virtual_service),
        (kinds.ISTIO_GATEWAY, _gateway),
        (kinds.DESTINATION_RULE, _destination_rule),
        (kinds.SERVICE_ENTRY, _service_entry),
        (kinds.SIDECAR, _sidecar),
    )
    for kind, problems in checks:
        for obj in scope.all(world, kind):
            for field, words in problems(obj):
                yield self.finding(
                    obj.ref,
                    f"{field}: {words}: istiod's validation refuses it",
                    evidence=[obj.evidence(field)],
                    fix=f"correct {field}",
                )


def _hosts(field: str, hosts: Iterable[str]) -> Iterator[Problem]:
    for at, host in enumerate(hosts):
        name = host.rpartition("/")[2]
        if "*" in name and name != "*" and (not name.startswith("*.") or "*" in name[1:]):
            yield f"{field}[{at}]", f"{host} has a * that is not its whole first label"


def _virtual_service(route: Obj) -> Iterator[Problem]:
    yield from _hosts("spec.hosts", texts(route.get("spec.hosts")))
    for at, entry in mappings(route.get("spec.http")):
        field = f"spec.http[{at}]"
        yield from _durations(field, entry)
        items = [item for _, item in mappings(entry.get("route"))]
        if len(items) > 1 and all(item.get("weight") == 0 for item in items):
            yield f"{field}.route", "the weights are all 0"
        if items and entry.get("redirect"):
            yield f"{field}.redirect", "redirect and route exclude each other"
        rewrite, headers = entry.get("rewrite"), entry.get("headers")
        if isinstance(rewrite, Mapping) and rewrite.get("authority") and _sets_host(headers):
            yield f"{field}.rewrite.authority", "it is rewritten, and headers.request.set has Host too"


def _durations(field: str, entry: Mapping[str, Any]) -> Iterator[Problem]:
    """Times of a route. Source: istio pkg/config/validation, ValidateDuration (Go's time.ParseDuration)."""
    for path in ("timeout", "retries.perTryTimeout", "fault.delay.fixedDelay"):
        value = dig(entry, path)
        if isinstance(value, str) and value and not _DURATION.fullmatch(value):
            yield f"{field}.{path}", f"{value} is no duration (10s, 1m30s, 500ms)"


def _sets_host(headers: Any) -> bool:
    request = headers.get("request") if isinstance(headers, Mapping) else None
    values = request.get("set") if isinstance(request, Mapping) else None
    return isinstance(values, Mapping) and any(str(key).lower() in ("host", ":authority") for key in values)


def _gateway(gateway: Obj) -> Iterator[Problem]:
    names: dict[str, int] = {}
    for at, server in mappings(gateway.get("spec.servers")):
        field = f"spec.servers[{at}]"
        yield from _hosts(f"{field}.hosts", texts(server.get("hosts")))
        port = server.get("port")
        if not isinstance(port, Mapping):
            continue
        name = str(port.get("name") or "")
        if name and name in names:
            yield f"{field}.port.name", f"{name} is the name of servers[{names[name]}] too"
        names.setdefault(name, at)
        if str(port.get("protocol")).upper() in ("HTTPS", "TLS") and server.get("tls") is None:
            yield f"{field}.port.protocol", f"{port.get('protocol')} without tls"


def _destination_rule(one: Obj) -> Iterator[Problem]:
    host = one.text("spec.host")
    if "*" in host and host != "*" and (not host.startswith("*.") or "*" in host[1:]):
        yield "spec.host", f"{host} has a * that is not its whole first label"
    for at, subset in mappings(one.get("spec.subsets")):
        if not subset.get("name"):
            yield f"spec.subsets[{at}]", "it has no name"


def _service_entry(entry: Obj) -> Iterator[Problem]:
    yield from _hosts("spec.hosts", texts(entry.get("spec.hosts")))
    if entry.text("spec.resolution") != "STATIC":
        return
    if not entry.items("spec.endpoints") and not entry.mapping("spec.workloadSelector"):
        yield "spec.resolution", "STATIC without endpoints and without a workloadSelector"


def _sidecar(sidecar: Obj) -> Iterator[Problem]:
    for at, entry in mappings(sidecar.get("spec.egress")):
        for number, text in enumerate(texts(entry.get("hosts"))):
            host = text.rpartition("/")[2]
            if "." not in host and "*" not in host and host not in ("", "~"):
                yield (
                    f"spec.egress[{at}].hosts[{number}]",
                    f"{text} is a short name, which is not completed here",
                )
