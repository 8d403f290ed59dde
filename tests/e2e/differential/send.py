"""Sending many requests: one curl for many, on this machine or in a pod, with connections kept open."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.differential.model import NODE, Ask, Client
from tests.e2e.lab import Answer, Cluster, parse_answer

_END = "@@@dif"
_CHUNK = 40


def send(cluster: Cluster, asks: Sequence[Ask], marks: Sequence[str]) -> list[list[Answer]]:
    """The answers to each request, as often as it was to be sent. `marks` are the user agents."""
    groups: dict[Client, list[int]] = {}
    for number, ask in enumerate(asks):
        groups.setdefault(ask.client, []).append(number)
    chunks = [
        (client, numbers[start : start + _CHUNK])
        for client, numbers in groups.items()
        for start in range(0, len(numbers), _CHUNK)
    ]
    with ThreadPoolExecutor(5) as pool:
        done = pool.map(lambda chunk: _send(cluster, chunk[0], chunk[1], asks, marks), chunks)
        found = {number: answers for part in done for number, answers in part.items()}
    return [found[number] for number in range(len(asks))]


def _send(
    cluster: Cluster, client: Client, numbers: Sequence[int], asks: Sequence[Ask], marks: Sequence[str]
) -> dict[int, list[Answer]]:
    config = "next\n".join(
        _config(asks[number], f"{number}", marks[number])
        for number in numbers
        for _ in range(asks[number].times)
    )
    command = ["curl", "-K", "-"]
    if client.pod:
        command = [
            "kubectl",
            "exec",
            "-i",
            "-n",
            client.namespace,
            client.pod,
            "-c",
            "client",
            "--",
            *command,
        ]
    done = subprocess.run(
        command, input=config.encode(), capture_output=True, env=cluster.environment, check=False, timeout=400
    )
    text = done.stdout.decode(errors="replace")
    found: dict[int, list[Answer]] = {number: [] for number in numbers}
    at = 0
    for match in re.finditer(rf"\n{_END} (\d+) (\d+) ([^\n]*)\n", text):
        found[int(match[1])].append(parse_answer(f"{text[at : match.start()]}\n{match[2]} {match[3]}"))
        at = match.end()
    missing = [number for number in numbers if len(found[number]) != asks[number].times]
    assert not missing, f"curl in {client}: {done.stderr.decode()[:500]} {text[-500:]}"
    return found


def _config(ask: Ask, number: str, mark: str) -> str:
    """One request in curl's config file; every option is of this request alone."""
    lines = ["silent", "include", "insecure", "path-as-is", "globoff", "max-time = 6", "http1.1"]
    address = "127.0.0.1" if ask.address == NODE else ask.address
    if ask.scheme == "https":
        name = ask.sni or "127.0.0.1"
        lines.append(f"url = {_quoted(f'https://{name}:{ask.port}{ask.path}')}")
        lines.append(f"connect-to = {_quoted(f'::{address}:{ask.port}')}")
    else:
        lines.append(f"url = {_quoted(f'http://{address}:{ask.port}{ask.path}')}")
    if ask.host is not None:
        lines.append(f"header = {_quoted(f'Host: {ask.host}')}")
    for header, value in ask.headers:
        lines.append(f"header = {_quoted(f'{header}: {value}' if value else f'{header};')}")
    if ask.times > 1:
        # Without a proxy in the way, a connection stays with its pod.
        lines.append('header = "Connection: close"')
    if ask.method == "HEAD":
        lines.append("head")
    else:
        lines.append(f"request = {ask.method}")
    lines.append(f"user-agent = {_quoted(mark)}")
    lines.append(f"write-out = {_quoted(chr(10) + f'{_END} {number} %{{exitcode}} %{{errormsg}}' + chr(10))}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
