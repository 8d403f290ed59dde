"""What kgdiag says of a request, over one snapshot of the live cluster."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from kgdiag import app
from kgdiag.dialects import dialects
from kgdiag.graph.ask import ask as settle
from kgdiag.model.trace import Question, Trace
from kgdiag.trace import trace
from kgdiag.trace.question import parse_question
from tests.e2e.differential.model import NODE, Ask
from tests.e2e.lab import Cluster, Run


@dataclass(frozen=True)
class Predictor:
    """A World of the cluster as it was, and the node's address."""

    session: app.Session
    file: Path
    node: str

    def __call__(self, ask: Ask) -> Trace:
        question = self.question(ask)
        return settle(
            self.session.source, self.session.world, lambda world: trace(world, question, dialects())
        )

    def question(self, ask: Ask) -> Question:
        return parse_question(
            self.url(ask),
            method=ask.method,
            headers=self.headers(ask),
            sni=ask.sni if ask.scheme == "https" else None,
            origin=ask.client.origin,
        )

    def url(self, ask: Ask) -> str:
        address = self.node if ask.address == NODE else ask.address
        return f"{ask.scheme}://{address}:{ask.port}{ask.path}"

    def headers(self, ask: Ask) -> list[str]:
        host = self.host(ask)
        return [f"Host: {host}", "User-Agent: dif", *(f"{name}: {value}" for name, value in ask.headers)]

    @staticmethod
    def host(ask: Ask) -> str:
        """The Host that curl sends."""
        if ask.host is not None:
            return ask.host
        name = (ask.sni or "127.0.0.1") if ask.scheme == "https" else ask.address
        name = "127.0.0.1" if name == NODE else name
        default = {"http": 80, "https": 443}[ask.scheme]
        return name if ask.port == default else f"{name}:{ask.port}"

    def command(self, ask: Ask) -> list[str]:
        """The same question on the command line."""
        words = ["trace", self.url(ask), "-X", ask.method, "--from", ask.client.origin]
        for header in self.headers(ask):
            words += ["-H", header]
        if ask.scheme == "https":
            words += ["--sni", ask.sni]
        return words

    def by_command(self, cluster: Cluster, ask: Ask) -> Run:
        """What a user sees who asks the live cluster."""
        return cluster.kgdiag(*self.command(ask), "-A", "-o", "json")


def predictor(cluster: Cluster, file: Path) -> Predictor:
    """Take a snapshot of the cluster and predict from it."""
    done = cluster.kgdiag("snapshot", "save", str(file), "--force", "-A")
    assert file.exists(), f"kgdiag snapshot save: {done.err}"
    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    node = next(item["address"] for item in nodes[0]["status"]["addresses"] if item["type"] == "InternalIP")
    return Predictor(app.open_files([str(file)], namespace=None, complete=True), file, node)
