"""What ``kgdiag explain-log`` and ``kgdiag logs`` do: lines in, requests out, explained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kgdiag.app import Answer, Session, locate
from kgdiag.collect.logs import Container, Limits, Log, follow_logs, read_logs
from kgdiag.dialects import dialects
from kgdiag.errors import InputError, NotFoundError, UsageError
from kgdiag.explain.proxy import pods_behind
from kgdiag.graph.ask import ask
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxies import admin_of, envoy_container
from kgdiag.model.read import Origin, Read
from kgdiag.model.ref import Ref
from kgdiag.traffic import curl
from kgdiag.traffic.explain import explain
from kgdiag.traffic.formats import Format, json_format, parse_format, read_lines
from kgdiag.traffic.join import Joined, join
from kgdiag.traffic.line import Line
from kgdiag.traffic.model import Cause, Ended, Explained, Requests

LARGEST = 64 << 20
"""Bytes of a file of pasted lines."""
MOST_CONTAINERS = 60
"""Logs that one command reads; more are said to be left out."""
ROUNDS = 4
"""How often the way of the requests that were found is followed to further proxies."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which requests are wanted: all that is given must hold for one and the same hop. Empty wants all.

    ``path`` is what the path begins with, ``status`` has numbers (``503``) and classes (``5xx``).
    """

    request_id: str = ""
    host: str = ""
    path: str = ""
    status: tuple[str, ...] = ()
    user_agent: str = ""

    def wants(self, joined: Joined) -> bool:
        return any(self._wants(line) for line in joined.lines)

    def _wants(self, line: Line) -> bool:
        host = line.authority.lower()
        bare = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        status = "" if line.status is None else str(line.status)
        return (
            (not self.request_id or line.request_id == self.request_id)
            and (not self.host or self.host.lower() in (host, bare, line.sni.lower()))
            and (not self.path or line.path.startswith(self.path))
            and (not self.user_agent or line.user_agent == self.user_agent)
            and (not self.status or any(_is_status(status, one) for one in self.status))
        )


def _is_status(status: str, wanted: str) -> bool:
    if wanted.endswith("xx"):
        return len(status) == 3 and status[0] == wanted[0]
    return status == wanted


def statuses(text: str) -> tuple[str, ...]:
    """``503,404,5xx`` as a filter; raises UsageError."""
    found = tuple(word.strip().lower() for word in text.split(",") if word.strip())
    for word in found:
        if not (
            word == "0" or (len(word) == 3 and word[0] in "12345" and (word[1:] == "xx" or word.isdigit()))
        ):
            raise UsageError(f"{word} is no status", subject="--status", hint="write 503, 404,503 or 5xx")
    return found


# -- explain-log -------------------------------------------------------------------------------------------


def pasted_text(path: str, stdin: Any) -> str:
    """The pasted text of a file or of standard input (``-``); raises InputError."""
    from kgdiag.collect.pasted import read_pasted

    return read_pasted(path, stdin, LARGEST)


def formats_of(texts: Sequence[str]) -> tuple[Format, ...]:
    """The formats that were given as options; raises UsageError."""
    try:
        return tuple(parse_format(text) for text in texts)
    except ValueError as error:
        raise UsageError(
            str(error), subject="--format", hint="give accessLogFormat as it is, with %OPERATORS%"
        ) from None


def explain_log(
    session: Session | None, text: str, formats: tuple[Format, ...], *, failing: bool = True
) -> Answer:
    """Pasted access log lines, or what ``curl -v`` printed; raises InputError where the text is neither.

    Without a session only the names in the lines are used.
    """
    exchanges = curl.parse(text) if curl.is_curl(text) else []
    lines, other = read_lines(text, formats)
    if other and not exchanges and session is not None:
        known = ask(session.source, session.world, declared_formats)
        if known:
            lines, other = read_lines(text, (*formats, *known))
    if not lines and not exchanges:
        raise InputError(
            "there is no access log line and no output of curl -v in it",
            hint="lines of a custom format need --format, as the mesh's accessLogFormat has it",
        )
    joined = join(lines)

    def question(world: World | None) -> Requests:
        found, notes = explain(joined, world, dialects() if world is not None else ())
        seen = tuple(_of_curl(one, world) for one in exchanges)
        return Requests((*seen, *found), 0 if exchanges else other, notes)

    if session is None:
        return _answer(None, question(None), (), failing)
    body = ask(session.source, session.world, question)
    return _answer(session.world, body, (), failing)


def _of_curl(exchange: curl.Exchange, world: World | None) -> Explained:
    """What a client saw, and what the declared objects say of the same request."""
    seen = curl.explain(exchange)
    if world is None or seen.ended is Ended.ANSWERED or not exchange.url or not exchange.method:
        return seen
    from kgdiag.errors import KgdiagError
    from kgdiag.model.trace import Result
    from kgdiag.trace import trace
    from kgdiag.trace.question import parse_question
    from kgdiag.traffic.explain import causes_of

    try:
        question = parse_question(
            exchange.url, method=exchange.method, headers=[f"Host: {exchange.authority}"]
        )
        paths = trace(world, question, dialects()).paths
    except (KgdiagError, ValueError):
        return seen
    same = [
        path
        for path in paths
        if path.outcome.result is Result.REFUSED and path.outcome.status == exchange.status
    ]
    return replace(seen, causes=causes_of(same))


def declared_formats(world: World) -> list[Format]:
    """The formats that the mesh's configuration and Envoy Gateway's EnvoyProxies declare.

    Sources: istio.io/docs/reference/config/istio.mesh.v1alpha1 (accessLogFormat, accessLogEncoding,
    extensionProviders.envoyFileAccessLog); gateway.envoyproxy.io ProxyAccessLogFormat.
    """
    from kgdiag.dialects.envoy_gateway import ENVOY_PROXY

    found: list[Format] = []
    for config in world.named(kinds.CONFIG_MAP, "istio", optional=True):
        found += _of_mesh(config.text("data.mesh"))
    for proxy in world.all(ENVOY_PROXY, optional=True):
        for setting in proxy.maps("spec.telemetry.accessLog.settings"):
            given = setting.get("format")
            if isinstance(given, dict):
                found += _format(given.get("text"), given.get("json"))
    return found


def _of_mesh(text: str) -> Iterator[Format]:
    import yaml

    try:
        mesh = yaml.safe_load(text)
    except yaml.YAMLError:
        return
    if not isinstance(mesh, dict):
        return
    own = str(mesh.get("accessLogFormat") or "")
    if own:
        yield from _format(own, None)
    providers = mesh.get("extensionProviders")
    for provider in providers if isinstance(providers, list) else ():
        file = provider.get("envoyFileAccessLog") if isinstance(provider, dict) else None
        given = file.get("logFormat") if isinstance(file, dict) else None
        if isinstance(given, dict):
            yield from _format(given.get("text"), given.get("labels"))


def _format(text: Any, keys: Any) -> list[Format]:
    try:
        if isinstance(keys, dict):
            return [json_format(keys)]
        if isinstance(text, str) and text:
            return [parse_format(text)]
    except ValueError:
        pass
    return []


# -- logs --------------------------------------------------------------------------------------------------


def logs(
    session: Session,
    targets: Sequence[str],
    wanted: Filter,
    limits: Limits,
    *,
    formats: tuple[Format, ...] = (),
    most: int = 50,
    failing: bool = True,
) -> Answer:
    """The requests in the logs of the proxies that are named (else all of the scope), and of those on the way
    of what was found; raises UsageError, NotFoundError or ReadFailed for the targets."""
    work = _Reading(session, limits, formats)
    work.read_on(_containers(session, targets), wanted, most)
    every = [one for one in join(work.lines) if wanted.wants(one)]
    shown = every[-most:]
    notes = list(work.notes)
    if len(every) > len(shown):
        notes.append(f"the last {len(shown)} of {len(every)} requests (--last {len(every)} shows all)")
    if not every:
        notes.append(work.nothing(wanted))

    def question(world: World) -> Requests:
        found, more = explain(shown, world, dialects())
        return Requests(found, 0, (*notes, *more))

    body = ask(session.source, session.world, question)
    return _answer(session.world, body, work.failed, failing)


def follow(
    session: Session,
    targets: Sequence[str],
    wanted: Filter,
    *,
    formats: tuple[Format, ...] = (),
    pause: float = 1.0,
    failing: bool = True,
) -> Iterator[Answer]:
    """What the proxies that are named (else all of the scope) log from now on, request by request, endlessly.

    A request is told when none of its lines came for ``pause`` seconds.
    """
    containers = _containers(session, targets)
    known = (*formats, *ask(session.source, session.world, declared_formats))
    yield _answer(
        session.world, Requests((), 0, (f"following the logs of {len(containers)} proxies",)), (), failing
    )
    fresh: list[Line] = []
    for batch in follow_logs(_cluster(session), containers, pause=pause):
        if isinstance(batch, Read):
            yield _answer(session.world, Requests(()), (batch,), failing)
            continue
        if batch:
            for container, text in batch:
                lines, _ = read_lines(text, known, joined=False)
                fresh += [replace(line, proxy=_pod_ref(container)) for line in lines]
            if len(fresh) < 2000:
                continue
        joined = [one for one in join(fresh) if wanted.wants(one)]
        fresh = []
        if joined:
            ready = tuple(joined)

            def question(world: World, ready: tuple[Joined, ...] = ready) -> Requests:
                found, notes = explain(ready, world, dialects())
                return Requests(found, 0, notes)

            yield _answer(session.world, ask(session.source, session.world, question), (), failing)


def read_requests(
    session: Session, pods: Sequence[Ref], wanted: Filter, limits: Limits
) -> tuple[Explained, ...]:
    """The requests in the logs of the Envoys of these pods, and of those on the way, explained."""
    work = _Reading(session, limits, ())
    found = ask(
        session.source,
        session.world,
        lambda world: [world.get(kinds.POD, pod.namespace, pod.name) for pod in pods],
    )
    containers = [_container(pod) for pod in found if pod is not None]
    work.read_on([one for one in containers if one is not None], wanted, 50)
    joined = [one for one in join(work.lines) if wanted.wants(one)]
    return ask(session.source, session.world, lambda world: explain(joined, world, dialects())[0])


class _Reading:
    """The logs that were read so far."""

    def __init__(self, session: Session, limits: Limits, formats: tuple[Format, ...]) -> None:
        self.session = session
        self.limits = limits
        self.formats = (*formats, *ask(session.source, session.world, declared_formats))
        self.lines: list[Line] = []
        self.failed: list[Read] = []
        self.notes: dict[str, None] = {}
        self._read: set[Container] = set()
        self._other = 0

    def read(self, containers: Iterable[Container]) -> None:
        new = [one for one in dict.fromkeys(containers) if one not in self._read]
        room = MOST_CONTAINERS - len(self._read)
        if len(new) > room:
            self.notes[f"{len(new) - room} more logs were not read: name a pod, or a namespace (-n)"] = None
        new = new[: max(room, 0)]
        for log in read_logs(_cluster(self.session), new, self.limits) if new else ():
            self._read.add(log.container)
            self._take(log)

    def read_on(self, containers: Iterable[Container], wanted: Filter, most: int) -> None:
        """Read these logs, then those on the way of the requests that are wanted."""
        self.read(containers)
        for _ in range(ROUNDS):
            further = self.further([one for one in join(self.lines) if wanted.wants(one)][-most:])
            if not further:
                break
            self.read(further)

    def _take(self, log: Log) -> None:
        if log.read is not None:
            self.failed.append(log.read)
            return
        lines, other = read_lines(log.text, self.formats, joined=False)
        self._other += other
        ref = _pod_ref(log.container)
        self.lines += [replace(line, proxy=ref, number=len(self.lines) + at) for at, line in enumerate(lines)]
        if log.cut:
            where = f"{log.container.namespace}/{log.container.pod}"
            self.notes[f"the log of {where} has more than was read (--tail, --since)"] = None

    def further(self, joined: Sequence[Joined]) -> list[Container]:
        """Proxies on the way of these requests whose logs were not read: where they came from and went to."""
        ips = dict.fromkeys(
            address.ip
            for one in joined
            for line in one.lines
            for address in (line.upstream, line.remote)
            if address is not None
        )
        if not ips:
            return []

        def look(world: World) -> list[Container]:
            pods = world.all(kinds.POD, optional=True)
            found = [_container(pod) for pod in pods if pod.text("status.podIP") in ips]
            return [one for one in found if one is not None and one not in self._read]

        return ask(self.session.source, self.session.world, look)

    def nothing(self, wanted: Filter) -> str:
        """Why there is nothing to tell."""
        if self.lines:
            return f"none of the {len(self.lines)} access log lines that were read matches"
        where = f"the logs of {len(self._read)} proxies"
        if self._other:
            return (
                f"{where} have no access log lines: access logging may be off (Istio: accessLogFile or a "
                "Telemetry; Envoy Gateway: EnvoyProxy telemetry.accessLog), or the format needs --format"
            )
        return f"{where} are empty for that time: no request came, or access logging is off"


def _cluster(session: Session) -> Any:
    return session.source


def _containers(session: Session, targets: Sequence[str]) -> list[Container]:
    if session.world.origin is not Origin.LIVE:
        raise UsageError(
            "logs are read from a cluster, and files have none", subject="-f", hint="kgdiag explain-log"
        )
    pods: dict[Ref, Obj] = {}
    for target in targets:
        own = _pods_of(session, target if "/" in target else f"pod/{target}")
        if not any(_container(pod) for pod in own):
            raise NotFoundError(
                "no pod of it runs an Envoy", subject=target, hint="its callers' proxies may log it"
            )
        pods |= {pod.ref: pod for pod in own}
    if not targets:
        where = None if session.all_namespaces else session.namespace
        own = ask(session.source, session.world, lambda world: world.all(kinds.POD, where))
        pods = {pod.ref: pod for pod in own}
        if not any(_container(pod) for pod in own):
            place = f"namespace {where}" if where else "the cluster"
            raise NotFoundError(
                f"no pod of {place} runs an Envoy",
                hint="name a gateway or a pod, or say -A for all namespaces",
            )
    found = (_container(pod) for pod in pods.values() if pod.text("status.phase") != "Pending")
    return [one for one in found if one is not None]


def _container(pod: Obj) -> Container | None:
    name = envoy_container(pod) if admin_of(pod) is not None else ""
    return Container(pod.namespace, pod.name, name) if name else None


def _pod_ref(container: Container) -> Ref:
    return Ref("", "Pod", container.namespace, container.pod)


def _pods_of(session: Session, name: str) -> list[Obj]:
    """The pods whose proxy a name means: a pod's own, or those of a workload, a Service or a Gateway."""
    obj = locate(session, name)
    return ask(session.source, session.world, lambda world: pods_behind(world, obj, dialects()))


# -- the answer --------------------------------------------------------------------------------------------


def _answer(world: World | None, body: Requests, failed: Sequence[Read], failing: bool) -> Answer:
    gaps = tuple(world.gaps()) if world is not None else ()
    return Answer(body, (*failed, *gaps), exit_code(body, failed, failing))


def exit_code(body: Requests, failed: Sequence[Read] = (), failing: bool = True) -> int:
    """1 where a proxy refused a request or it got no answer; else 3 where that is not known of one, or a log
    could not be read; else 0: every request was answered by its application (whatever it said), or there was
    none."""
    ends = {one.ended for one in body.requests}
    if failing and ends & {Ended.REFUSED, Ended.UNANSWERED}:
        return 1
    return 3 if failed or Ended.UNKNOWN in ends else 0


__all__ = [
    "Cause",
    "Filter",
    "Limits",
    "explain_log",
    "follow",
    "formats_of",
    "logs",
    "pasted_text",
    "statuses",
]
