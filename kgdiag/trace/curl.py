"""The request itself as a command for people: curl with the right Host, server name and address.

Source: curl.se/docs/manpage.html (--resolve, --connect-to). Nothing of kgdiag runs it.
"""

from __future__ import annotations

from collections.abc import Sequence

from kgdiag.graph.core import service_ports
from kgdiag.model.finding import Command
from kgdiag.model.obj import Obj
from kgdiag.model.trace import Outcome, Question, Result
from kgdiag.trace.flow import Branch
from kgdiag.trace.question import is_ip

_LOCAL = 8080
_NODE = "NODE-ADDRESS"


def request(
    question: Question, service: Obj | None, port: int, ways: Sequence[Branch], node: str = ""
) -> Command | None:
    """The command that sends the question's request to a Service's port from outside, None where curl cannot.

    ``service`` None is an entry that the URL's own host leads to; ``node`` a node's address, if known.
    """
    asked = question.request
    if asked.scheme not in ("http", "https") or not ways:
        return None
    argv = ["curl", "-sS", "-i"]
    if asked.scheme == "https":
        argv.append("-k")
    if asked.method != "GET":
        argv += ["-X", asked.method]
    host = question.address
    if question.sni and question.sni != host and not is_ip(question.sni):
        host = question.sni  # curl sends the URL's host as server name
    where, before = _where(question, host, service, port, node)
    argv += where
    if asked.authority != _authority(host, question):
        argv += ["-H", f"Host: {asked.authority}"]
    for name, value in asked.headers:
        argv += ["-H", f"{name}: {value}"]
    argv.append(f"{asked.scheme}://{_authority(host, question)}{asked.target}")
    return Command(tuple(argv), before + " or ".join(dict.fromkeys(_answer(way.outcome) for way in ways)))


def _authority(host: str, question: Question) -> str:
    shown = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[question.request.scheme]
    return shown if question.port == default else f"{shown}:{question.port}"


def _where(question: Question, host: str, service: Obj | None, port: int, node: str) -> tuple[list[str], str]:
    """Options that lead curl to the entry, and what has to be done or known before."""
    ports = service_ports(service) if service is not None else []
    if service is None or is_ip(host) or any(one.node_port == port for one in ports):
        return [], ""
    for item in service.maps("status.loadBalancer.ingress"):
        address = str(item.get("ip") or item.get("hostname") or "")
        if is_ip(address) and port == question.port:
            shown = f"[{address}]" if ":" in address else address
            return ["--resolve", f"{host}:{port}:{shown}"], ""
        if address:
            return ["--connect-to", f"{host}:{question.port}:{address}:{port}"], ""
    open_ = next((one.node_port for one in ports if one.port == port and one.node_port), None)
    if open_:
        to = f"{host}:{question.port}:{node or _NODE}:{open_}"
        return ["--connect-to", to], "" if node else "with a node's address: "
    forward = f"kubectl port-forward -n {service.namespace} svc/{service.name} {_LOCAL}:{port}"
    return ["--connect-to", f"{host}:{question.port}:127.0.0.1:{_LOCAL}"], f"while `{forward}` runs: "


def _answer(outcome: Outcome) -> str:
    if outcome.result is Result.DELIVERED:
        pod = outcome.pods[0] if outcome.pods else None
        return f"the answer of pod {pod.namespace}/{pod.name}" if pod else "the application's answer"
    if outcome.result is not Result.REFUSED:
        return "an answer that is not known"
    if outcome.status is None:
        return "no answer: the connection is refused, closed or times out"
    return f"HTTP {outcome.status}" + (f", Location: {outcome.location}" if outcome.location else "")
