"""Words that the text and Markdown reports share."""

from __future__ import annotations

import json
from typing import Any

from kgdiag.model.explanation import Relation
from kgdiag.model.obj import Evidence
from kgdiag.model.read import Read
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Outcome, PathTaken, Result, Trace
from kgdiag.report.escape import clean

# Envoy docs/root/configuration/observability/access_log/usage.rst, %RESPONSE_FLAGS%.
FLAGS = {
    "NR": "no route or filter chain matched",
    "NC": "the cluster does not exist",
    "UH": "no healthy endpoint",
    "UF": "the connection to the endpoint failed",
    "UC": "the endpoint closed the connection",
    "UO": "overflow: circuit breaker",
    "UT": "the endpoint answered too late",
    "URX": "retries used up",
    "UAEX": "denied by the external authorizer",
    "FI": "injected fault",
    "DI": "injected delay",
    "RL": "rate limited",
}


def named(ref: Ref) -> str:
    """``Service istio-system/x``, safe to print; the group is added where the kind alone is ambiguous."""
    group = (
        f".{ref.group}" if ref.kind in ("Gateway", "Route", "Ingress", "Service") and _unusual(ref) else ""
    )
    return clean(
        f"{ref.kind}{group} {ref.namespace}/{ref.name}" if ref.namespace else f"{ref.kind}{group} {ref.name}"
    )


# How relations read: with the other object before the words (who leads here) and behind them.
_UP = {
    "adds-listeners": "adds listeners to it",
    "alias": "is a DNS alias of it",
    "attaches": "is attached to it",
    "authority-of": "trusts it as CA",
    "binds": "is bound to it",
    "certificate-of": "uses its certificate",
    "class-of": "is of this class",
    "configured-by": "configures its clients",
    "configures": "is configured by it",
    "delegate-of": "delegates to it",
    "endpoint-of": "has it as an endpoint",
    "fronts": "listens behind it",
    "granted-by": "lets others refer to it",
    "guarded-by": "guards it",
    "has-listeners-of": "adds listeners to it",
    "joined-by": "joins it",
    "leads-here": "leads to it",
    "let-in-by": "lets its objects refer elsewhere",
    "made-by": "makes it",
    "mapped-by": "maps a domain to it",
    "member-of": "has it as a mesh member",
    "owned-by": "owns it",
    "patched-by": "patches its proxy",
    "programmed-by": "opens ports on it",
    "referred-to-by": "names it",
    "rerouted-by": "decides for its callers in the mesh",
    "restricted-by": "restricts it",
    "routed-from": "routes to it",
    "routed-to-by": "routes to it",
    "run-by": "runs it",
    "scoped-by": "limits what it knows",
    "secured-by": "sets its mTLS mode",
    "selected-by": "selects it",
    "subset-used-by": "uses its subsets",
    "tls-by": "makes proxies speak TLS to it",
}
_DOWN = {
    "fronted-by": "reached through",
    "has-endpoint": "has the endpoint",
    "leads-to": "leads to",
    "programs": "opens ports on",
    "refers-to": "names",
    "reroutes": "decides for callers in the mesh of",
}


def relation_words(item: Relation) -> str:
    """How a relation reads: behind the object for who leads here, before it for where it leads."""
    if item.direction == "up":
        return _UP.get(item.relation) or item.relation.replace("-", " ")
    return _DOWN.get(item.relation) or item.relation.replace("-", " ")


def _unusual(ref: Ref) -> bool:
    usual = {
        "Gateway": ("networking.istio.io", "gateway.networking.k8s.io"),
        "Route": ("route.openshift.io",),
        "Ingress": ("networking.k8s.io",),
        "Service": ("",),
    }
    return ref.group not in usual[ref.kind]


def value_text(value: Any) -> str:
    """A field's value on one line."""
    if isinstance(value, str):
        return clean(value)
    return clean(json.dumps(value, ensure_ascii=False, default=str))


def evidence_text(item: Evidence) -> str:
    """``Service a/b spec.selector = {...} (file:line)``."""
    where = f" ({clean(item.file)})" if item.file else ""
    value = value_text(item.value)
    value = value if len(value) <= 160 else value[:157] + "…"
    return f"{named(item.object)} {clean(item.field)} = {value}{where}"


def gap_text(read: Read) -> str:
    """``pods in namespace a: forbidden``, with the server's words."""
    need = read.need
    where = (
        f" in namespace {need.namespace}"
        if need.namespace
        else " in all namespaces"
        if need.kind.namespaced
        else ""
    )
    what = f"{need.kind.resource} {need.name}" if need.name else need.kind.resource
    message = f": {read.message}" if read.message else ""
    return clean(f"{what}{where}: {read.status}{message}")


def outcome_text(outcome: Outcome) -> str:
    """What the client gets, in a few words."""
    match outcome.result:
        case Result.DELIVERED:
            return "delivered"
        case Result.EXTERNAL:
            return "leaves the cluster"
        case Result.UNKNOWN:
            return "unknown"
    if outcome.location:
        return clean(f"{outcome.status} → {outcome.location}")
    if outcome.status is None:
        return "no answer"
    flag = f" {outcome.flag}" if outcome.flag else ""
    return clean(f"{outcome.status}{flag}")


def outcome_line(outcome: Outcome) -> str:
    """What the client gets and why, without saying it twice."""
    words, reason = outcome_text(outcome), clean(outcome.reason)
    return reason if reason.lower().startswith(words.lower()) else f"{words}: {reason}"


def share_text(path: PathTaken) -> str:
    """``30 %`` where a path is one of several branches."""
    return "" if path.weight >= 0.9999 else f"{path.weight * 100:.4g} %"


def verdict(trace: Trace) -> str:
    """One line over all paths: what the client gets."""
    if not trace.paths:
        return "unknown: nothing here takes this request"
    results = {path.outcome.result for path in trace.paths}
    outcomes = {(path.outcome.result, path.outcome.status, path.outcome.reason) for path in trace.paths}
    if results == {Result.DELIVERED} and any(path.weight < 0.9999 for path in trace.paths):
        return "delivered: " + "; ".join(dict.fromkeys(_backend(path) for path in trace.paths))
    if len(outcomes) == 1:
        first = trace.paths[0].outcome
        return delivered_text(first) if first.result is Result.DELIVERED else outcome_line(first)
    if results == {Result.DELIVERED}:
        backends = list(dict.fromkeys(_backend(path) for path in trace.paths))
        return "delivered: " + "; ".join(backends)
    same = {outcome_text(path.outcome) for path in trace.paths}
    if len(same) == 1 and all(path.weight > 0.9999 for path in trace.paths):
        entries = ", ".join(dict.fromkeys(named(path.entry) for path in trace.paths))
        return f"{same.pop()} by each of {len(trace.paths)} entries: {entries}"
    if len(same) == 1 and len({path.entry for path in trace.paths}) == 1:
        return f"{outcome_line(trace.paths[0].outcome)} (and likewise for the other shares)"
    parts = [
        f"{share_text(path)} {outcome_text(path.outcome)}".strip() + f" ({_backend(path)})"
        for path in trace.paths
    ]
    return "it depends: " + "; ".join(dict.fromkeys(parts))


def delivered_text(outcome: Outcome) -> str:
    """``delivered to pod shop/cart-v2 through Service shop/cart:80``; why, where no pod is known."""
    if not outcome.pods:
        return outcome_line(outcome)
    first = outcome.pods[0]
    more = len(outcome.pods) - 1
    pods = f"{first.namespace}/{first.name}" + (f" or {more} more" if more else "")
    backend = outcome.backend
    via = f" through {named(backend.service)}" if backend and backend.service else ""
    port = f" port {backend.port}" if via and backend and backend.port else ""
    return clean(f"delivered to pod {pods}{via}{port}")


def _backend(path: PathTaken) -> str:
    backend = path.outcome.backend
    share = share_text(path)
    if backend and backend.service:
        name = f"{backend.service.namespace}/{backend.service.name}:{backend.port}"
        name += f" subset {backend.subset}" if backend.subset else ""
        return clean(f"{share} to {name}".strip())
    return clean(f"{share} via {path.entry.kind} {path.entry.namespace}/{path.entry.name}".strip())
