"""Whether what was measured is what was predicted."""

from __future__ import annotations

from collections.abc import Sequence

from kgdiag.model.trace import PathTaken, Result, Trace
from tests.e2e.differential.model import Ask
from tests.e2e.lab import Answer

# Request headers that generators use; all others are the clients' and proxies' own.
WATCHED = ("x-a", "x-b", "x-c", "x-d")
_SEEN_SHARE = 0.4


def disagreement(ask: Ask, answers: Sequence[Answer], trace: Trace) -> str | None:
    """What differs, or None. Every answer must be that of some path, and every likely path must be seen."""
    if not trace.paths:
        return f"no path: {trace.problem or ' '.join(trace.notes)}"
    seen: set[int] = set()
    for answer in answers:
        reasons = [_differs(ask, answer, path) for path in trace.paths]
        if all(reasons):
            return f"{answer}: " + "; ".join(str(reason) for reason in reasons)
        seen |= {number for number, reason in enumerate(reasons) if reason is None}
    for number, path in enumerate(trace.paths):
        if len(answers) >= 12 and path.weight >= _SEEN_SHARE and number not in seen:
            return f"path {describe(path)} of weight {path.weight} was never taken in {len(answers)} requests"
    return None


def _differs(ask: Ask, answer: Answer, path: PathTaken) -> str | None:
    outcome = path.outcome
    if outcome.result is Result.UNKNOWN:
        return f"unknown: {outcome.reason}"
    if outcome.result is Result.DELIVERED:
        return _not_delivered(ask, answer, path)
    if outcome.result is Result.EXTERNAL:
        return None if answer.status is not None else "external"
    if answer.echoed:
        return f"refused with {outcome.status} ({outcome.reason})"
    if answer.status != outcome.status:
        return f"refused with {outcome.status} ({outcome.reason})"
    if outcome.grpc_status is not None and str(outcome.grpc_status) != answer.header("grpc-status"):
        return f"grpc-status {outcome.grpc_status}, measured {answer.header('grpc-status')}"
    if outcome.location != answer.header("location"):
        return f"Location {outcome.location!r}, measured {answer.header('location')!r}"
    return _response(answer, path)


def _not_delivered(ask: Ask, answer: Answer, path: PathTaken) -> str | None:
    if ask.method == "HEAD" and answer.status == 200 and not answer.body:
        return _response(answer, path)  # an answer without a body does not say who gave it
    if not answer.echoed:
        return describe(path)
    echo = answer.echo
    if echo.version not in {f"{pod.namespace}/{pod.name}" for pod in path.outcome.pods}:
        return f"pods {[pod.name for pod in path.outcome.pods]}"
    request = path.hops[-1].request
    if request is None:
        return "no request in the last hop"
    if echo.host != request.authority:
        return f"Host {request.authority!r}"
    if echo.path != request.target:
        return f"path {request.target!r}"
    if echo.method != request.method:
        return f"method {request.method!r}"
    for name in WATCHED:
        predicted = request.header(name)
        measured = ",".join(echo.headers[name]) if name in echo.headers else None
        if predicted != measured:
            return f"{name} {predicted!r}, measured {measured!r}"
    return _response(answer, path)


def _response(answer: Answer, path: PathTaken) -> str | None:
    wanted = path.outcome.response_headers
    for name, value in wanted.set:
        if value not in answer.headers.get(name.lower(), ()):
            return f"response header {name} is set to {value!r}, measured {answer.header(name)!r}"
    for name, value in wanted.add:
        if value not in answer.headers.get(name.lower(), ()):
            return f"response header {name} gets {value!r}, measured {answer.headers.get(name.lower())!r}"
    given = {name.lower() for name, _ in (*wanted.set, *wanted.add)}
    for name in wanted.remove:
        if name.lower() not in given and name.lower() in answer.headers:
            return f"response header {name} is removed"
    return None


def left_open(answers: Sequence[Answer], trace: Trace) -> bool:
    """Whether objects do not say what happened.

    A request went to a port that no container declares: declarations are informational (a container may
    listen anyway), so kgdiag delivers such a request and says so; here nobody listens. Or Envoy refuses a
    listener: a new one is absent, as kgdiag says, and one that was there before goes on as it was. Or a
    Service lacks the port: the packet leaves the node, and what lies behind it answers or does not.
    """
    if trace.paths and all(_leaves_the_node(path) for path in trace.paths):
        return True
    losers = [loser.reason for path in trace.paths for hop in path.hops for loser in hop.rejected]
    if any("Envoy refuses the whole" in reason for reason in losers):
        return True
    undeclared = any(
        "no container declares port" in path.hops[-1].detail for path in trace.paths if path.hops
    )
    return undeclared and all(
        answer.status in (503, None) or any(_is_delivered(answer, path) for path in trace.paths)
        for answer in answers
    )


def _leaves_the_node(path: PathTaken) -> bool:
    """A client without a proxy asks a ClusterIP for a port that it lacks."""
    outcome = path.outcome
    refused = outcome.result is Result.REFUSED and outcome.status is None
    return refused and "has no port" in outcome.reason and len(path.hops) == 1


def _is_delivered(answer: Answer, path: PathTaken) -> bool:
    return answer.status in (200, path.outcome.status)


def describe(path: PathTaken) -> str:
    """A path in one line."""
    outcome = path.outcome
    request = path.hops[-1].request if path.hops else None
    sent = f" {request.authority} {request.target}" if request else ""
    pods = [pod.name for pod in outcome.pods]
    return f"{outcome.result} {outcome.status or ''} {pods}{sent}: {outcome.reason}"
