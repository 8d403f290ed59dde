"""What an API server serves: which kinds, in which versions, under which names.

One request tells it all where the server has aggregated discovery (Kubernetes 1.27 and later); older servers
are asked group by group, and only for groups that somebody reads. Sources: k8s.io/api/apidiscovery/v2
types.go, client-go discovery/aggregated_discovery.go.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from kgdiag.collect.http import JSON, Broken, Deadline, GetFailed, Http, Reply
from kgdiag.collect.workers import Workers
from kgdiag.model.kind import Kind
from kgdiag.model.read import Status

T = TypeVar("T")
AGGREGATED = ",".join(
    f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
)


class Unknown(Exception):  # noqa: N818 -- reads as what happened
    """Whether the server serves a kind could not be found out; ``status`` is FORBIDDEN or FAILED."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind in one version, as the server serves it."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    singular: str = ""
    short: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """The path of its version: ``/apis/apps/v1``, ``/api/v1``."""
        return _root(self.group, self.version)

    def names(self) -> set[str]:
        """What one may call it on a command line, in lower case."""
        return {name.lower() for name in (self.plural, self.singular, self.kind, *self.short) if name}


@dataclass(frozen=True, slots=True)
class _Version:
    """A version of a group: what it serves, or why that is not known. None: not asked yet."""

    name: str
    resources: tuple[Resource, ...] | None = None
    stale: bool = False


@dataclass(slots=True)
class _Group:
    """A group with its versions, the one the server prefers first."""

    name: str
    versions: list[_Version] = field(default_factory=list)


class Catalogue:
    """What the server serves. Safe to use from several threads; every question is asked at most once."""

    def __init__(self, http: Http, workers: Workers, timeout: float | None) -> None:
        self._http = http
        self._workers = workers
        self._timeout = timeout
        self._groups: dict[str, _Group] = {}
        self._refused: Unknown | None = None
        self._asked: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()

    # --- first contact ------------------------------------------------------------------------------------

    def load(self) -> Reply:
        """Ask for the groups and return the server's answer. Raises GetFailed.

        An answer other than 200 leaves the catalogue without groups: then kinds are read blindly, in the
        versions that kgdiag knows. Whoever connects decides which answers end the run.
        """
        reply = self._get("/apis")
        if reply.status != 200:
            self._refused = _unknown(reply, "discovery")
            return reply
        for group in _groups(reply.json()):
            self._groups[group.name] = group
        return reply

    # --- what readers ask ---------------------------------------------------------------------------------

    def served(self, kind: Kind) -> list[Resource]:
        """How the kind is read, the versions to try in order; empty where the server does not serve it.

        The server's preferred version is taken among those that kgdiag knows, else among all. More than one
        comes back only where discovery is refused. Raises Unknown.
        """
        if not kind.group:
            # The core group has had one version since 2015, so there is nothing to discover.
            return [_assumed(kind, "v1")]
        if self._refused is not None:
            if self._refused.status is Status.FORBIDDEN:
                return [_assumed(kind, version) for version in kind.versions]
            raise self._refused
        group = self._groups.get(kind.group)
        if group is None:
            return []
        return self._choose(kind, group)

    def find(self, text: str) -> list[Kind]:
        """Every kind that goes by this name: plural, singular, kind or short name, with or without its group.

        ``gateways.networking.istio.io`` and ``gateways.v1.networking.istio.io`` name one group. The order is
        the server's: core first. What could not be found out is in ``problems``.
        """
        name, _, group = text.lower().partition(".")
        found: dict[tuple[str, str], Kind] = {}
        for kind, resources in self._everything():
            if not any(name in resource.names() for resource in resources):
                continue
            if (
                not group
                or group == kind.group
                or any(group == f"{r.version}.{kind.group}" for r in resources)
            ):
                found.setdefault(kind.key, kind)
        return list(found.values())

    def kinds(self) -> list[Kind]:
        """Every kind that is served, in the server's order."""
        return [kind for kind, _ in self._everything()]

    def problems(self) -> list[str]:
        """Why ``find`` and ``kinds`` may lack something; empty where they know all."""
        out = [str(self._refused)] if self._refused is not None else []
        for group in self._groups.values():
            for version in group.versions:
                out += [_stale(group, version)] if version.stale else []
        for path, answer in sorted(self._asked.items()):
            if answer.done() and isinstance(answer.exception(), Unknown):
                out.append(f"{path}: {answer.exception()}")
        return out

    # --- inside -------------------------------------------------------------------------------------------

    def _choose(self, kind: Kind, group: _Group) -> list[Resource]:
        """The one version to read, asking an old server for no more versions than it takes."""
        known = [version for version in group.versions if version.name in kind.versions]
        others = [version for version in group.versions if version.name not in kind.versions]
        gap: Unknown | None = None
        for version in known + others:
            try:
                resources = self._resources(group, version)
            except Unknown as unknown:
                gap = gap or unknown
                continue
            found = next((item for item in resources if item.kind == kind.name), None)
            if found is not None:
                return [found]
            if version.stale:
                gap = gap or Unknown(Status.FAILED, _stale(group, version))
        if gap is not None:
            raise gap
        return []

    def _resources(self, group: _Group, version: _Version) -> tuple[Resource, ...]:
        if version.resources is not None:
            return version.resources
        path = _root(group.name, version.name)
        return self._once(path, lambda: self._old_resources(path, group.name, version.name))

    def _old_resources(self, path: str, group: str, version: str) -> tuple[Resource, ...]:
        """One version's resources from a server without aggregated discovery. Raises Unknown."""
        try:
            reply = self._get(path, accept=JSON)
            if reply.status == 404:  # gone since the groups were listed
                return ()
            if reply.status != 200:
                raise _unknown(reply, f"discovery of {group}/{version}")
            return tuple(_old_items(reply.json(), group, version))
        except GetFailed as error:
            raise Unknown(Status.FAILED, f"discovery of {group}/{version} failed: {error}") from error

    def _everything(self) -> Iterator[tuple[Kind, list[Resource]]]:
        """Every kind with its versions, asking for what has not been asked yet. Not for worker threads."""
        groups = list(self._groups.values())
        with contextlib.suppress(Unknown):  # told by problems()
            groups = [*self._once("/api", self._core), *groups]
        pending = {
            (group.name, version.name): self._workers.submit(self._resources, group, version)
            for group in groups
            for version in group.versions
        }
        for group in groups:
            by_kind: dict[str, list[Resource]] = {}
            for version in group.versions:
                try:
                    resources = pending[group.name, version.name].result()
                except Unknown:
                    continue  # told by problems()
                for resource in resources:
                    by_kind.setdefault(resource.kind, []).append(resource)
            for versions in by_kind.values():
                yield _kind(versions), versions

    def _core(self) -> list[_Group]:
        """The core group, which only names on a command line need."""
        try:
            reply = self._get("/api")
            if reply.status != 200:
                raise _unknown(reply, "discovery of the core group")
            document = reply.json()
        except GetFailed as error:
            raise Unknown(Status.FAILED, f"discovery of the core group failed: {error}") from error
        if document.get("kind") == "APIGroupDiscoveryList":
            return _groups(document)
        return [_Group("", [_Version("v1")])]

    def _get(self, path: str, accept: str = "") -> Reply:
        deadline = Deadline(self._timeout)
        reply = self._http.get(path, accept=accept or f"{AGGREGATED},{JSON}", deadline=deadline)
        if reply.status == 406 and not accept:
            reply = self._http.get(path, accept=JSON, deadline=deadline)
        return reply

    def _once(self, key: str, ask: Callable[[], T]) -> T:
        """The answer to a question that whoever comes first asks, and that everybody else waits for."""
        with self._lock:
            answer: Future[T] | None = self._asked.get(key)
            mine = answer is None
            if answer is None:
                answer = self._asked[key] = Future()
        if mine:
            try:
                answer.set_result(ask())
            except BaseException as error:
                answer.set_exception(error)
        return answer.result()


# --- the server's documents -------------------------------------------------------------------------------


def _root(group: str, version: str) -> str:
    version = quote(version, safe="")
    return f"/apis/{quote(group, safe='')}/{version}" if group else f"/api/{version}"


def _assumed(kind: Kind, version: str) -> Resource:
    return Resource(kind.group, version, kind.name, kind.plural, kind.namespaced)


def _kind(versions: list[Resource]) -> Kind:
    first = versions[0]
    names = tuple(dict.fromkeys(resource.version for resource in versions))
    return Kind(first.group, first.kind, first.plural, first.short, names, first.namespaced)


def _stale(group: _Group, version: _Version) -> str:
    return f"{group.name}/{version.name} is stale: the API service behind it does not answer"


def _unknown(reply: Reply, what: str) -> Unknown:
    status = Status.FORBIDDEN if reply.status == 403 else Status.FAILED
    return Unknown(status, f"{what}: {reply.error()[0]}")


def _groups(document: Mapping[str, Any]) -> list[_Group]:
    """The groups of an APIGroupDiscoveryList, or of the APIGroupList of an older server. Raises Broken."""
    kind = document.get("kind")
    if kind == "APIGroupDiscoveryList":
        return [_new_group(item) for item in _maps(document.get("items"))]
    if kind == "APIGroupList":
        return [_old_group(item) for item in _maps(document.get("groups"))]
    raise Broken(f"the answer is not a list of API groups but {kind or 'something else'}")


def _new_group(item: Mapping[str, Any]) -> _Group:
    name = _text(_map(item.get("metadata")).get("name"))
    versions = []
    for version in _maps(item.get("versions")):
        number = _text(version.get("version"))
        resources = []
        for entry in _maps(version.get("resources")):
            kind = _text(_map(entry.get("responseKind")).get("kind"))
            if kind:  # without one, only its subresources exist
                namespaced = entry.get("scope") == "Namespaced"
                resources.append(_resource(name, number, kind, "resource", entry, namespaced))
        versions.append(_Version(number, tuple(resources), version.get("freshness") == "Stale"))
    return _Group(name, versions)


def _old_group(item: Mapping[str, Any]) -> _Group:
    names = [_text(version.get("version")) for version in _maps(item.get("versions"))]
    preferred = _text(_map(item.get("preferredVersion")).get("version"))
    names.sort(key=lambda name: name != preferred)
    return _Group(_text(item.get("name")), [_Version(name) for name in names])


def _old_items(document: Mapping[str, Any], group: str, version: str) -> Iterator[Resource]:
    for entry in _maps(document.get("resources")):
        if "/" not in _text(entry.get("name")):  # subresources have one
            namespaced = bool(entry.get("namespaced"))
            yield _resource(group, version, _text(entry.get("kind")), "name", entry, namespaced)


def _resource(
    group: str, version: str, kind: str, key: str, entry: Mapping[str, Any], namespaced: bool
) -> Resource:
    singular = entry.get("singularResource") or entry.get("singularName")
    short = entry.get("shortNames")
    names = tuple(_text(name) for name in short) if isinstance(short, list) else ()
    return Resource(group, version, kind, _text(entry.get(key)), namespaced, _text(singular), names)


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
