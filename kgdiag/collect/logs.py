"""Access logs of proxies: the logs of their containers, read through the API server (GET ``pods/log``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import NamedTuple
from urllib.parse import quote

from kgdiag.collect.cluster import Cluster
from kgdiag.collect.connection import PARALLEL
from kgdiag.collect.http import Deadline, GetFailed
from kgdiag.collect.workers import Workers
from kgdiag.model.kind import Kind
from kgdiag.model.read import Need, Read, Status

POD_LOG = Kind("", "PodLog", "pods/log")
_PLAIN = "text/plain, */*"  # an error comes as JSON all the same


class Container(NamedTuple):
    """Whose log it is."""

    namespace: str
    pod: str
    container: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What is read of a log: the last ``lines``, of the last ``seconds`` (None: all), at most ``bytes``."""

    seconds: int | None = 600
    lines: int = 5000
    bytes: int = 8 << 20


@dataclass(frozen=True, slots=True)
class Log:
    """One log, or why it could not be read. ``cut`` says that a limit left out some of what was asked for."""

    container: Container
    text: str = ""
    cut: bool = False
    read: Read | None = None


def read_logs(cluster: Cluster, containers: Sequence[Container], limits: Limits) -> list[Log]:
    """The logs, in parallel and in the order given; each within the request timeout, never raising."""
    cluster.require_contact()
    workers = Workers(PARALLEL)
    jobs = [workers.submit(_read, cluster, one, limits) for one in containers]
    return [job.result() for job in jobs]


def _read(cluster: Cluster, one: Container, limits: Limits) -> Log:
    query = [
        ("container", one.container),
        ("tailLines", str(limits.lines)),
        ("limitBytes", str(limits.bytes)),
    ]
    if limits.seconds is not None:
        query.append(("sinceSeconds", str(limits.seconds)))
    try:
        http = cluster.connection.http
        reply = http.get(_path(one), query, accept=_PLAIN, deadline=Deadline(cluster.timeout))
    except GetFailed as error:
        return Log(one, read=Read(_need(one), Status.FAILED, message=str(error)))
    if reply.status != 200:
        status = Status.FORBIDDEN if reply.status == 403 else Status.FAILED
        return Log(one, read=Read(_need(one), status, message=reply.error()[0]))
    text = reply.body.decode("utf-8", "replace")
    cut = len(reply.body) >= limits.bytes or text.count("\n") >= limits.lines
    return Log(one, text, cut)


def follow_logs(
    cluster: Cluster, containers: Sequence[Container], *, pause: float, stop: Callable[[], bool] | None = None
) -> Iterator[list[tuple[Container, str]] | Read]:
    """What is written from now on, until the streams end: lists of lines, an empty one where ``pause``
    seconds brought nothing, and a failed Read for each log that cannot be followed (any longer)."""
    cluster.require_contact()
    queue: SimpleQueue[tuple[Container, str] | Read | None] = SimpleQueue()
    for one in containers:
        threading.Thread(target=_follow, args=(cluster, one, queue), name="kgdiag-logs", daemon=True).start()
    left = len(containers)
    while left and not (stop and stop()):
        batch: list[tuple[Container, str]] = []
        try:
            item = queue.get(timeout=pause)
            while True:
                if item is None:
                    left -= 1
                elif isinstance(item, Read):
                    yield item
                else:
                    batch.append(item)
                item = queue.get_nowait()
        except Empty:
            pass
        yield batch


def _follow(
    cluster: Cluster, one: Container, queue: SimpleQueue[tuple[Container, str] | Read | None]
) -> None:
    query = [("container", one.container), ("follow", "true"), ("sinceSeconds", "1")]
    try:
        for line in cluster.connection.http.lines(_path(one), query, accept=_PLAIN):
            queue.put((one, line.decode("utf-8", "replace")))
    except GetFailed as error:
        status = Status.FORBIDDEN if getattr(error, "status", 0) == 403 else Status.FAILED
        queue.put(Read(_need(one), status, message=str(error)))
    finally:
        queue.put(None)


def _path(one: Container) -> str:
    return f"/api/v1/namespaces/{quote(one.namespace, safe='')}/pods/{quote(one.pod, safe='')}/log"


def _need(one: Container) -> Need:
    return Need(POD_LOG, one.namespace, one.pod)
