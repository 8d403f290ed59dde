"""What the commands do, without a word printed: a source in, an answer out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol

from kgdiag.dialects import all_kinds, dialects
from kgdiag.errors import InputError, ReadFailed, UsageError
from kgdiag.graph import names
from kgdiag.graph.ask import ask
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.proxies import PROXY_DUMP, is_gateway
from kgdiag.model.proxy import Proxy
from kgdiag.model.read import Origin, Read, Source
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Question, Result, Trace

Early = Callable[[World, Kind, str, str], None]


class Body(Protocol):
    """A document of the contract."""

    @property
    def findings(self) -> tuple[Finding, ...]: ...

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with what could not be read. ``code`` is the exit code, the same in every format."""

    body: Body
    incomplete: tuple[Read, ...]
    code: int

    def to_json(self) -> dict[str, Any]:
        """The contract's document."""
        body = self.body.to_json()
        return {
            "apiVersion": "kgdiag.dev/v1",
            "kind": body.pop("kind"),
            "incomplete": [read.to_json() for read in self.incomplete],
            **body,
        }


@dataclass(frozen=True, slots=True)
class Session:
    """A source, its World and the scope that was asked for."""

    source: Source
    world: World
    namespace: str
    kinds: tuple[Kind, ...]
    explicit_namespace: bool = False
    all_namespaces: bool = False


def open_files(
    paths: Sequence[str], *, namespace: str | None, complete: bool, all_namespaces: bool = False
) -> Session:
    """A session over files, folders, a snapshot or standard input; raises InputError."""
    from kgdiag.collect.files import read_files
    from kgdiag.graph.assumed import AssumedPods

    files = read_files(paths, complete=complete, stdin=sys.stdin.buffer, namespace=namespace or "")
    if files.blank:  # what a pipe gives whose first command failed
        raise InputError(
            "nothing in it", subject=", ".join("standard input" if path == "-" else path for path in paths)
        )
    origin = files.origin
    source: Source = AssumedPods(files) if origin is Origin.FILES else files
    world = World(origin, complete=complete, home=(namespace or "default",))
    world.documents = tuple(files.documents)
    chosen = namespace or files.default_namespace
    known = tuple(dict.fromkeys((*all_kinds(), *files.kinds)))  # and what only these files have
    return Session(source, world, chosen, known, namespace is not None, all_namespaces)


def open_cluster(
    options: Any, *, namespace: str | None, all_namespaces: bool = False, ask_proxies: bool = False
) -> Session:
    """A session with a live cluster (``ConnectionOptions``); raises ConnectionFailed or UsageError.

    ``ask_proxies`` allows what touches pods: port-forward and exec to the admin interface of their Envoys.
    """
    from kgdiag.collect.cluster import connect

    cluster = connect(options, ask_proxies=ask_proxies)
    chosen = namespace or cluster.default_namespace
    world = World(Origin.LIVE, home=(chosen,))
    return Session(cluster, world, chosen, all_kinds(), namespace is not None, all_namespaces)


def explain(session: Session, name: str, *, fail_on: Severity | None) -> Answer:
    """Explain one object by its name; raises NotFoundError, UsageError or ReadFailed."""
    from kgdiag.explain import explain as explain_object
    from kgdiag.explain import foresee

    obj = locate(session, name, foresee)
    found = ask(session.source, session.world, lambda world: explain_object(world, obj, dialects()))
    return _answer(session.world, found, fail_on)


def trace_dump(question: Question, *, fail_on: Severity | None) -> Answer:
    """Trace one request through a proxy's own config alone (``--via dump/FILE[:PORT]``).

    Without a port it is the one listener that the URL's port means, else the only one; raises UsageError
    where several could be meant, InputError for a file that is no dump.
    """
    from kgdiag.collect.dumps import dump_text, parse_dump
    from kgdiag.dialects.envoy.dump import MalformedError, dumps_of
    from kgdiag.dialects.envoy.printed import printed_dump
    from kgdiag.dialects.envoy.proxy import dump_proxy, pod_of
    from kgdiag.trace import trace_proxy
    from kgdiag.trace.match import string_matches

    file, wanted = _dump_file(question.via.partition("/")[2])
    try:
        data = dump_text(file)
        printed = printed_dump(data)
        found = [("", printed)] if printed is not None else dumps_of(parse_dump(data, file))
    except ValueError as error:
        raise InputError(str(error), subject=file) from None
    if len(found) > 1:
        names = ", ".join(name for name, _ in found)
        raise UsageError(
            f"the file has {len(found)} dumps: {names}", subject=file, hint="give it one of them"
        )
    name, dump = found[0]
    proxy = dump_proxy(dump, string_matches, pod=pod_of(dump, name))
    world = World(Origin.FILES)
    try:
        port = question.port if proxy.unknown else wanted or _listener_port(proxy, question)
        found_trace = trace_proxy(world, question, proxy, port)
    except MalformedError as error:
        raise InputError(str(error), subject=file) from None
    notes = [f"{what} was refused by the proxy: {why}" for what, why in dump.rejected]
    return _answer(world, replace(found_trace, notes=(*found_trace.notes, *notes)), fail_on)


def _dump_file(text: str) -> tuple[str, int | None]:
    """``FILE[:PORT]``; a colon with digits behind it at the end is a port."""
    head, colon, tail = text.rpartition(":")
    return (head, int(tail)) if colon and head and tail.isdigit() else (text, None)


def _listener_port(proxy: Proxy, question: Question) -> int:
    """The listener that a URL means where no port was named: its own port, the ports that control planes move
    80 and 443 to, else the only listener that is none of the proxy's own (readiness, metrics)."""
    ports = [port for port in proxy.ports() if port not in _ADMIN_PORTS]
    for port in (question.port, question.port + 8000, question.port + 10000):
        if port in ports:
            return port
    if len(ports) == 1:
        return ports[0]
    raise UsageError(
        "which listener is meant?",
        subject=f"--via {question.via}",
        hint=f"add :PORT, one of {', '.join(map(str, ports))}",
    )


# Listeners that proxies have for themselves: Istio's and Envoy Gateway's readiness and metrics.
_ADMIN_PORTS = (15021, 15090, 15020, 19001, 19002, 19003)


def trace(session: Session, question: Question, *, fail_on: Severity | None, truth: str = "intent") -> Answer:
    """Trace one request; raises UsageError for an entry that does not exist.

    ``truth`` is ``intent`` (as declared), ``effect`` (by what the proxies say), or ``both``: the paths of
    effect, with a finding for each difference from what is declared.
    """
    from kgdiag.trace import trace as trace_request

    def traced(world: World) -> Trace:
        if truth == "intent":
            found = trace_request(world, question, dialects())
            if world.lacking:
                return found  # it is asked again, with more read
            return replace(found, findings=_where_it_ends(world, found))
        from kgdiag.rules.effect import disagreements, refusals
        from kgdiag.trace.effect import EffectWalker, as_declared

        found = trace_request(world, question, dialects(), EffectWalker)
        findings = [*refusals(world), *_where_it_ends(world, found)]
        if truth == "both":
            intent = trace_request(world, question, dialects())
            findings = [*disagreements(world, intent, found), *findings]
        unique = {item.identity: item for item in findings}
        ordered = tuple(sorted(unique.values(), key=lambda item: item.sort_key))
        return replace(found, findings=ordered, notes=(*found.notes, *as_declared(world, found)))

    return _answer(session.world, ask(session.source, session.world, traced), fail_on)


def _where_it_ends(world: World, trace: Trace) -> tuple[Finding, ...]:
    """The findings on the objects where paths end that do not deliver, or not as somebody meant them to."""
    from kgdiag.rules import catalogue
    from kgdiag.rules.base import Scope
    from kgdiag.rules.run import run

    blamed: dict[Ref, None] = {}
    for path in trace.paths:
        if path.outcome.result in (Result.REFUSED, Result.UNKNOWN) and not path.outcome.location:
            last = path.hops[-1:] if path.hops else ()
            blamed |= dict.fromkeys((*path.outcome.blame, *(hop.object for hop in last)))
            blamed |= dict.fromkeys(loser.object for hop in last for loser in hop.rejected[:2])
        elif path.outcome.result is Result.DELIVERED:  # what was meant to decide the way and does not
            blamed |= dict.fromkeys(path.outcome.blame)
    failed = any(path.outcome.result is Result.REFUSED for path in trace.paths)
    unread: list[Finding] = []
    if world.origin is Origin.FILES:  # a server has taken what a cluster holds
        passed = frozenset(hop.object for path in trace.paths for hop in path.hops)
        unread = _never_applied(world, None if failed else passed)
    if not blamed:
        return tuple(unread)
    wanted = {(ref.group, ref.kind) for ref in blamed}
    rules = [rule for rule in catalogue().values() if any(kind.key in wanted for kind in rule.about)]
    found, _ = run(world, rules, Scope(objects=frozenset(blamed)))
    return (*unread, *(item for item in found if item.severity is not Severity.INFO))


_DECIDING = frozenset(
    ("Gateway", "VirtualService", "DestinationRule", "HTTPRoute", "GRPCRoute", "Service", "Ingress", "Route")
)


def _never_applied(world: World, passed: frozenset[Ref] | None) -> list[Finding]:
    """Documents of files that would decide a way and that no server takes, or not as they are written.

    ``passed`` are the objects on the way; None asks of all, since what is missing may be among them.
    """
    from kgdiag.rules import catalogue
    from kgdiag.rules.base import Scope
    from kgdiag.rules.run import run

    if passed is not None and not passed:
        return []
    rules = [rule for ident, rule in catalogue().items() if ident in ("KG001", "KG002", "KG004")]
    found, _ = run(world, rules, Scope(objects=passed or frozenset()))
    return [item for item in found if item.severity is Severity.ERROR and item.object.kind in _DECIDING]


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of a snapshot: words for the user and the exit code."""

    words: str
    code: int


# Kinds that are read by the names that something refers to, never whole.
_BY_NAME = (kinds.SECRET, kinds.CONFIG_MAP)


def save_snapshot(session: Session, file: str, *, force: bool, proxies: bool = False) -> Saved:
    """Read all kinds, and what the rules refer to, into one file; raises InputError where it exists.

    ``proxies`` reads the config of all gateway proxies too, which touches their pods.
    """
    from pathlib import Path

    from kgdiag.collect.snapshot import save_snapshot as write
    from kgdiag.rules import catalogue
    from kgdiag.rules.base import Scope
    from kgdiag.rules.run import run

    if Path(file).exists() and not force:
        raise InputError("the file exists", subject=file, hint="name another one, or say --force")

    def everything(world: World) -> None:
        for kind in session.kinds:
            if kind not in _BY_NAME:
                world.all(kind, optional=True)
        run(world, catalogue().values(), Scope())
        for pod in world.all(kinds.POD, optional=True) if proxies else ():
            if is_gateway(pod):
                world.get(PROXY_DUMP, pod.namespace, pod.name, optional=True)

    ask(session.source, session.world, everything)
    source = session.source
    count = write(
        file,
        session.world.reads,
        server_version=str(getattr(source, "server_version", "")),
        context=str(getattr(source, "context", "")),
        namespace=session.namespace,
    )
    gaps = session.world.gaps()
    missing = "".join(f"\nnot read: {read.need.kind.resource}: {read.status} {read.message}" for read in gaps)
    return Saved(f"{count} objects in {file}{missing}", 3 if gaps else 0)


def locate(session: Session, name: str, early: Early | None = None) -> Obj:
    """The object that a name means. ``early`` asks for what will be needed of it while it is looked for."""
    asked = names.parse(name, session.namespace, _known_kinds(session, name))
    search = names.anywhere if session.all_namespaces else names.candidates

    def look(world: World) -> list[Obj]:
        if early is not None and not session.all_namespaces:
            early(world, asked.kinds[0], *asked.places[-1])
        return search(world, asked)

    found = ask(session.source, session.world, look)
    if found:
        return names.choose(found, asked)
    for kind, (namespace, wanted) in product(asked.kinds, reversed(asked.places)):
        if "." in wanted and kind == kinds.SERVICE:
            continue  # a DNS label: the part behind the dot was a namespace
        if session.world.missing(kind, namespace, wanted) is Missing.UNREADABLE:
            reads = [read for read in session.world.gaps() if read.need.kind == kind]
            why = reads[-1].message if reads else "the read failed"  # the narrowest of them
            raise ReadFailed(f"{kind} {wanted} could not be read: {why}", subject=name)
    raise ask(session.source, session.world, lambda world: names.not_found(world, asked))


def _known_kinds(session: Session, name: str) -> tuple[Kind, ...]:
    """kgdiag's kinds, and what the server's discovery has under that word where kgdiag knows none."""
    word = name.partition("/")[0]
    if names.find_kinds(word, session.kinds) or not hasattr(session.source, "catalogue"):
        return session.kinds
    return (*session.kinds, *session.source.catalogue().find(word))


def _answer(world: World, body: Body, fail_on: Severity | None) -> Answer:
    return Answer(body, tuple(world.gaps()), exit_code(world, body, fail_on))


def exit_code(world: World, body: Body, fail_on: Severity | None) -> int:
    """0 sound, 1 a finding at or above ``fail_on`` or a refused request, 3 no verdict. See the contract."""
    if isinstance(body, Trace):
        results = {path.outcome.result for path in body.paths}
        if Result.REFUSED in results or _fails(body.findings, fail_on):
            return 1
        return 3 if Result.UNKNOWN in results or not results else 0
    if _fails(body.findings, fail_on):
        return 1
    return 3 if world.gaps(needed_only=True) else 0


def _fails(findings: Iterable[Finding], fail_on: Severity | None) -> bool:
    return fail_on is not None and any(item.severity.rank <= fail_on.rank for item in findings)
