"""What ``kgdiag trace --probe`` does: send the request that was traced, and hold the answer against the way.

Only with that flag is anything sent. From outside the request goes into the pod behind the entry, through a
port-forward; with ``--from pod/…`` it is sent by the curl of that pod.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kgdiag.accesslogs import Filter, read_requests
from kgdiag.app import Answer, Session, exit_code
from kgdiag.collect.http import Deadline
from kgdiag.collect.logs import Limits
from kgdiag.collect.probe import Sent, from_pod, into_pod
from kgdiag.dialects import dialects
from kgdiag.errors import UsageError
from kgdiag.explain.proxy import pods_behind
from kgdiag.graph.ask import ask
from kgdiag.graph.core import is_ready, pods_of, resolve_target, service_ports, services_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.proxies import admin_of, is_gateway
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Outcome, PathTaken, Question, Result, Trace
from kgdiag.rules import catalogue
from kgdiag.traffic import curl
from kgdiag.traffic.model import Ended, Explained

SAFE = ("GET", "HEAD")
_AGENT = "kgdiag-probe"
_TRIES = 4  # seconds that a proxy may take to write its log: Istio's flush every second


def check_probe(question: Question, method: str) -> Question:
    """The question as it is sent. Only GET and HEAD go out unless ``method`` (``--probe-method``) names
    another; raises UsageError for what cannot be probed."""
    if question.request.scheme not in ("http", "https"):
        raise UsageError(f"{question.request.scheme} cannot be probed: http and https can", subject="--probe")
    if question.client_cert != "none":
        raise UsageError("a client certificate cannot be presented", subject="--probe")
    if any({"\r", "\n"} & set(value) for _, value in question.request.headers):
        raise UsageError("a header has a line break in it", subject="--probe")
    wanted = method.upper() or question.request.method
    if wanted not in SAFE and not method:
        raise UsageError(
            f"{wanted} may change something, so it is not sent",
            subject="--probe",
            hint=f"say --probe-method {wanted} to send it, or --probe-method HEAD for another",
        )
    return replace(question, request=replace(question.request, method=wanted))


def probe(session: Session, question: Question, answer: Answer, *, fail_on: Severity | None) -> Answer:
    """Send the request of a trace and add to it what came back: notes, and findings where it differs."""
    trace = answer.body
    if not isinstance(trace, Trace) or not trace.paths:
        return answer
    token = f"{_AGENT}/{secrets.token_hex(6)}"
    sent, paths, log_of = _send(session, question, trace, token)
    if sent is None:
        words = (
            "not probed: no pod is known that the entry leads to; name one with --via svc/… or --from pod/…"
        )
        return _with(session, answer, trace, [words], [], fail_on)
    if sent.unsent:
        return _with(
            session, answer, trace, [f"not probed: {sent.how}: {sent.failure}"], [], fail_on, lost=True
        )
    got = f"{sent.status}" if sent.status is not None else f"no answer ({sent.failure})"
    notes = [f"probed with {question.request.method} through {sent.how}: {got}"]
    findings = list(_answer_differs(paths, sent))
    log_of = log_of if sent.status is not None else None
    seen = _logged(session, log_of, token) if log_of is not None else None
    if seen is not None:
        notes.append(f"the proxies' logs of it ({', '.join(seen.ids)}): {seen.summary}")
        findings += _backend_differs(paths, seen)
    elif log_of is not None:
        notes.append("the proxies' logs do not show it (yet): where it went was not compared")
    return _with(session, answer, trace, notes, findings, fail_on)


def _with(
    session: Session,
    answer: Answer,
    trace: Trace,
    notes: Sequence[str],
    findings: Sequence[Finding],
    fail_on: Severity | None,
    *,
    lost: bool = False,
) -> Answer:
    every = sorted((*trace.findings, *findings), key=lambda item: item.sort_key)
    body = replace(trace, notes=(*trace.notes, *notes), findings=tuple(every))
    code = exit_code(session.world, body, fail_on)
    return Answer(body, answer.incomplete, 3 if lost and code == 0 else code)


# -- sending -----------------------------------------------------------------------------------------------


def _send(
    session: Session, question: Question, trace: Trace, token: str
) -> tuple[Sent | None, list[PathTaken], Ref | None]:
    """What came back, the paths that it is held against, and the first pod whose log shows the request."""
    cluster: Any = session.source
    deadline = Deadline(cluster.timeout)
    if question.origin.startswith(("pod/", "deploy/")):
        client = ask(session.source, session.world, lambda world: _client(world, question))
        if client is None:
            return None, [], None
        names = [str(one.get("name")) for one in client.maps("spec.containers")]
        containers = [name for name in names if name not in ("istio-proxy", "istio-init")]
        where = (client.namespace, client.name)
        sent = from_pod(cluster.connection, where, containers, _curl(question, token), deadline)
        return sent, list(trace.paths), client.ref if admin_of(client) else None
    entry = ask(session.source, session.world, lambda world: _entry(world, question, trace))
    if entry is None:
        return None, [], None
    sent = into_pod(
        cluster.connection,
        (entry.pod.namespace, entry.pod.name),
        entry.port,
        _bytes(question, token),
        method=question.request.method,
        tls=question.request.scheme == "https",
        sni=question.sni,
        deadline=deadline,
    )
    return sent, [path for path in trace.paths if path.entry == entry.of], entry.pod.ref


def _client(world: World, question: Question) -> Obj | None:
    word, _, name = question.origin.partition("/")
    head, dot, tail = name.rpartition(".")
    for namespace, bare in ((tail, head), (question.namespace, name)):
        if not bare or not (dot or namespace == question.namespace):
            continue
        if word == "pod":
            found = world.get(kinds.POD, namespace, bare)
            pods = [found] if found is not None else []
        else:
            owner = world.get(kinds.DEPLOYMENT, namespace, bare)
            labels = owner.mapping("spec.selector.matchLabels") if owner is not None else {}
            pods = world.select(kinds.POD, namespace, labels) if labels else []
        if pods:
            return min(pods, key=lambda pod: (not is_ready(pod), pod.name))
    return None


@dataclass(frozen=True, slots=True)
class _Entry:
    """The pod and port that a path's entry leads to."""

    of: Ref
    pod: Obj
    port: int


def _entry(world: World, question: Question, trace: Trace) -> _Entry | None:
    for path in trace.paths:
        obj = world.find(path.entry)
        if obj is None:
            continue
        found = _behind(world, obj, question)
        if found is not None:
            return _Entry(path.entry, *found)
    return None


def _behind(world: World, obj: Obj, question: Question) -> tuple[Obj, int] | None:
    """The readiest pod behind an entry and its port. Not one with a sidecar: a port-forward passes it by."""
    tail = question.via.rpartition(":")[2]
    port = int(tail) if tail.isdigit() else question.port
    if obj.kind == kinds.POD:
        return (obj, port) if _direct(obj) else None
    if obj.kind == kinds.SERVICE:
        return _of_service(world, obj, pods_of(world, obj), port)
    for pod in (
        pods_behind(world, obj, dialects()) if obj.kind in (kinds.ISTIO_GATEWAY, kinds.GATEWAY) else ()
    ):
        for service in services_of(world, pod):
            if found := _of_service(world, service, [pod], port):
                return found
    return None


def _of_service(world: World, service: Obj, pods: Sequence[Obj], port: int) -> tuple[Obj, int] | None:
    declared = next((one for one in service_ports(service) if port in (one.port, one.node_port)), None)
    for pod in sorted(pods, key=lambda pod: (not is_ready(pod), pod.name)) if declared else ():
        number = resolve_target(pod, declared) if declared else None
        if number is not None and _direct(pod):
            return pod, number
    return None


def _direct(pod: Obj) -> bool:
    return is_ready(pod) and (admin_of(pod) is None or is_gateway(pod))


def _bytes(question: Question, token: str) -> bytes:
    request = question.request
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {request.authority}"]
    lines += [
        f"{name}: {value}" for name, value in request.headers if name not in ("user-agent", "connection")
    ]
    lines += [f"User-Agent: {token}", "Accept: */*", "Connection: close"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def _curl(question: Question, token: str) -> list[str]:
    request = question.request
    arguments = [
        "-sS",
        "-i",
        "-k",
        "--path-as-is",
        "-m",
        "15",
        "-A",
        token,
        "-H",
        f"Host: {request.authority}",
    ]
    for name, value in request.headers:
        if name != "user-agent":
            arguments += ["-H", f"{name}: {value}" if value else f"{name};"]
    arguments += ["-I"] if request.method == "HEAD" else ["-X", request.method]
    host = f"[{question.address}]" if ":" in question.address else question.address
    if question.sni and question.sni != question.address:
        arguments += ["--connect-to", f"::{host}:{question.port}"]
        host = question.sni
    return [*arguments, "--", f"{request.scheme}://{host}:{question.port}{request.target}"]


# -- comparing ---------------------------------------------------------------------------------------------


def _answer_differs(paths: Sequence[PathTaken], sent: Sent) -> list[Finding]:
    """KG951 where no path predicts what came back."""
    outcomes = [path.outcome for path in paths]
    if not outcomes or any(_agrees(outcome, sent) for outcome in outcomes):
        return []
    path = paths[0]
    told = "; or ".join(dict.fromkeys(_predicted(outcome) for outcome in outcomes))
    got = f"{sent.status}" if sent.status is not None else f"no answer ({sent.failure})"
    location = sent.header("location")
    got += f" to {location}" if location else ""
    delivers = any(outcome.result is Result.DELIVERED for outcome in outcomes)
    at = path.hops[-1].object if path.hops else path.entry
    by = _verdict(sent).summary
    return [
        catalogue()["KG951"].finding(
            at,
            f"predicted: {told}; the request that was sent through {sent.how} got {got}",
            severity=Severity.ERROR if delivers else Severity.WARNING,
            fix="look at who answered (kgdiag logs) and at what proxies have (kgdiag trace --truth both)",
            consequences=[by],
        )
    ]


def _predicted(outcome: Outcome) -> str:
    if outcome.result is Result.DELIVERED:
        return "delivered"
    words = str(outcome.status) if outcome.status is not None else "no answer"
    return f"{words} to {outcome.location}" if outcome.location else words


def _agrees(outcome: Outcome, sent: Sent) -> bool:
    if outcome.result in (Result.UNKNOWN, Result.EXTERNAL):
        return True
    if outcome.result is Result.DELIVERED:
        return sent.status is not None and _verdict(sent).ended is not Ended.REFUSED
    if outcome.status != sent.status:
        return False
    return outcome.location is None or outcome.location == sent.header("location")


def _verdict(sent: Sent) -> Explained:
    """Who answered, by the answer's headers and body."""
    return curl.explain(curl.Exchange(status=sent.status, headers=dict(sent.headers), body=sent.body))


def _logged(session: Session, first: Ref, token: str) -> Explained | None:
    """The request in the logs of the proxies on its way, as soon as its last one has written it."""
    found: Explained | None = None
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(1)
        requests = read_requests(session, [first], Filter(user_agent=token), Limits(seconds=60))
        found = requests[0] if requests else found
        if found is not None and (found.ended is not Ended.UNKNOWN) and _whole(found):
            return found
    return found


def _whole(found: Explained) -> bool:
    """Whether the last line is that of the proxy that wrote the status, or nearest to who did."""
    last = found.hops[-1]
    return not last.line.via_upstream or last.role == "sidecar-inbound" or last.upstream is None


def _backend_differs(paths: Sequence[PathTaken], seen: Explained) -> list[Finding]:
    """KG952 where the logs show another pod than any path that delivers."""
    delivered = [path for path in paths if path.outcome.result is Result.DELIVERED and path.outcome.pods]
    pods = {pod for path in delivered for pod in path.outcome.pods}
    last = seen.hops[-1]
    reached = last.proxy if last.role == "sidecar-inbound" else last.upstream
    if not pods or len(delivered) != len(paths) or reached is None or seen.ended is not Ended.ANSWERED:
        return []
    ids = ", ".join(seen.ids)
    if reached not in pods:
        names = ", ".join(f"{pod.namespace}/{pod.name}" for pod in sorted(pods)[:4])
        words = f"predicted: {names}; the request that was sent went to {reached} (request id {ids})"
        return [catalogue()["KG952"].finding(delivered[0].hops[-1].object, words, fix=_FIX)]
    hosts = {path.hops[-1].request.authority for path in delivered if path.hops[-1].request is not None}
    if hosts and last.line.authority and last.line.authority not in hosts:
        told = " or ".join(sorted(hosts))
        words = f"predicted Host {told}; it arrived as {last.line.authority} (request id {ids})"
        return [catalogue()["KG952"].finding(delivered[0].hops[-1].object, words, fix=_FIX)]
    return []


_FIX = "kgdiag trace --truth both says which object the proxy takes"
