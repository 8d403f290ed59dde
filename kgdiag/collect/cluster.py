"""A live cluster as a source of objects."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from typing import Any
from urllib.parse import quote

from kgdiag.collect.clean import clean
from kgdiag.collect.connection import PARALLEL, Connection, ConnectionOptions, open_connection
from kgdiag.collect.discovery import Catalogue, Resource, Unknown
from kgdiag.collect.http import (
    Broken,
    Deadline,
    GetFailed,
    Reply,
    Statistics,
    TimedOut,
    Unreachable,
    Untrusted,
)
from kgdiag.collect.workers import Workers
from kgdiag.errors import ConnectionFailed
from kgdiag.model.kinds import SECRET
from kgdiag.model.obj import Obj, dig
from kgdiag.model.proxies import PROXY_DUMP, SYNC_STATUS
from kgdiag.model.read import Need, Origin, Read, Status

PAGE = 500
"""Objects asked for at once, as kubectl does."""
RESTARTS = 2
"""How often a list that expired while it was paged is begun again in pages; then it is read in one piece."""

Params = list[tuple[str, str]]


def connect(options: ConnectionOptions, *, ask_proxies: bool = False) -> Cluster:
    """The cluster that the options lead to. Pods are only touched (``collect.proxies``) with ``ask_proxies``.

    What is wrong with the options or the kubeconfig is raised here (UsageError, InputError,
    ConnectionFailed). Whether the server answers shows at the first ``read`` or ``catalogue``, which raise
    ConnectionFailed: the first reads are sent together with discovery, so that neither waits for the other.
    """
    return Cluster(open_connection(options), options.request_timeout, ask_proxies=ask_proxies)


class Cluster:
    """A live cluster: ``kgdiag.model.read.Source``. Reads in parallel, and nothing but reads."""

    def __init__(self, connection: Connection, timeout: float | None, *, ask_proxies: bool = False) -> None:
        self.connection = connection
        self.ask_proxies = ask_proxies
        self.timeout = timeout
        self._http = connection.http
        self._workers = Workers(PARALLEL)
        self._catalogue = Catalogue(self._http, self._workers, timeout)
        self._contact: Future[Reply] = self._workers.submit(self._catalogue.load)
        self._version: str | None = None

    @property
    def origin(self) -> Origin:
        return Origin.LIVE

    @property
    def context(self) -> str:
        """The kubeconfig's context, ``""`` for a pod's service account."""
        return self.connection.context

    @property
    def default_namespace(self) -> str:
        return self.connection.namespace

    @property
    def server_version(self) -> str:
        """``v1.34.4``; ``""`` where the server does not say. Costs one request, once."""
        if self._version is None:
            try:
                document = self._http.get("/version", deadline=Deadline(self.timeout)).json()
                self._version = str(document.get("gitVersion") or "")
            except GetFailed:
                self._version = ""
        return self._version

    @property
    def statistics(self) -> Statistics:
        """Requests sent and bytes received so far."""
        return self._http.statistics

    def catalogue(self) -> Catalogue:
        """What the server serves. Raises ConnectionFailed."""
        self.require_contact()
        return self._catalogue

    def read(self, needs: list[Need]) -> list[Read]:
        """Answer every need, in the order given. Raises ConnectionFailed where the server itself fails."""
        jobs: dict[Need, Future[Read]] = {}
        for need in needs:
            if need not in jobs:
                jobs[need] = self._workers.submit(self._read, need)
        self.require_contact()
        return [jobs[need].result() for need in needs]

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- the server as a whole ----------------------------------------------------------------------------

    def require_contact(self) -> None:
        """Wait for discovery, the first answer of the server; raises ConnectionFailed where it was none."""
        # Name resolution knows no time limit, so the waiting has its own, a little longer than the request's.
        limit = None if self.timeout is None else self.timeout + 0.5
        where = self.connection
        try:
            reply = self._contact.result(limit)
        except NotDone as error:
            raise self._failed(TimedOut(f"no answer within {self.timeout:g}s (--request-timeout)")) from error
        except GetFailed as error:
            raise self._failed(error) from error
        if reply.status == 401:
            raise ConnectionFailed(
                f"the server does not accept the credentials of {where.user or 'nobody'}: {reply.error()[0]}",
                subject=where.server,
                hint=f"log in again; the token or certificate in {where.origin} may have expired",
            )
        if reply.status not in (200, 403):
            raise ConnectionFailed(
                f"the server does not answer as an API server: {reply.error()[0]}",
                subject=where.server,
                hint=f"check the server's address in {where.origin}",
            )

    def _failed(self, error: GetFailed) -> ConnectionFailed:
        where = self.connection
        if isinstance(error, Untrusted):
            words, hint = "TLS failed", "check certificate-authority, tls-server-name and client-certificate"
        elif isinstance(error, TimedOut | Unreachable):
            words, hint = "the API server is not reachable", "is the cluster running, and is this its address"
        else:
            words, hint = "this is no Kubernetes API server", "check the server's address"
        return ConnectionFailed(f"{words}: {error}", subject=where.server, hint=f"{hint} ({where.origin})?")

    # --- one need -----------------------------------------------------------------------------------------

    def _read(self, need: Need) -> Read:
        """One need, with everything it takes, within the time limit. Runs in a worker thread."""
        deadline = Deadline(self.timeout)
        if need.kind in (PROXY_DUMP, SYNC_STATUS):
            return self._ask_proxy(need, deadline)
        if need.kind == SECRET and not (need.name and need.namespace):
            return Read(need, Status.FAILED, message="Secrets are read one at a time, by namespace and name")
        try:
            if need.kind.group:
                self._contact.result(deadline.remaining())
            candidates = self._catalogue.served(need.kind)
        except Unknown as unknown:
            return Read(need, unknown.status, message=str(unknown))
        except (GetFailed, NotDone) as error:
            return Read(need, Status.FAILED, message=str(error) or "no answer to discovery in time")
        try:
            return self._first_served(need, candidates, deadline)
        except GetFailed as error:
            return Read(need, Status.FAILED, message=str(error))

    def _ask_proxy(self, need: Need, deadline: Deadline) -> Read:
        if not self.ask_proxies:
            return Read(need, Status.FAILED, message="proxies are not asked without --truth effect or both")
        from kgdiag.collect.proxies import Proxies

        return Proxies(self.connection, self._read).read(need, deadline)

    def _first_served(self, need: Need, candidates: list[Resource], deadline: Deadline) -> Read:
        for resource in candidates:
            read = self._read_one(need, resource, deadline)
            if read.status is not Status.ABSENT:
                return read
        return Read(need, Status.ABSENT, message=f"the server does not serve {need.kind.resource}")

    def _read_one(self, need: Need, resource: Resource, deadline: Deadline) -> Read:
        path, params = _address(need, resource)
        if path is None:
            return Read(need, Status.OK)
        by_name = need.name is not None and not params
        reply, items = self._get(path, deadline) if by_name else self._list(path, params, deadline)
        if reply.status == 200:
            return Read(need, Status.OK, _objects(need, resource, items))
        message, document = reply.error()
        if reply.status == 404:
            # "pods x not found" names the object; a path that is not served has no details.
            missing = by_name and bool(dig(document, "details.name"))
            return Read(need, Status.OK if missing else Status.ABSENT, message="" if missing else message)
        status = Status.FORBIDDEN if reply.status == 403 else Status.FAILED
        return Read(need, status, message=message)

    def _get(self, path: str, deadline: Deadline) -> tuple[Reply, list[dict[str, Any]]]:
        reply = self._http.get(path, deadline=deadline)
        return reply, [reply.json()] if reply.status == 200 else []

    def _list(self, path: str, params: Params, deadline: Deadline) -> tuple[Reply, list[dict[str, Any]]]:
        """All pages of a list. One that expires on the way (410) is begun again: the halves would not fit."""
        for paging in [True] * (RESTARTS + 1) + [False]:
            items: list[dict[str, Any]] = []
            more = ""
            while True:
                page = [("limit", str(PAGE))] if paging else []
                page += [("continue", more)] if more else []
                reply = self._http.get(path, params + page, deadline=deadline)
                if reply.status != 200:
                    break
                found, more = _page(reply.json())
                items += found
                if not more:
                    return reply, items
            if reply.status != 410:
                break
        return reply, []


def _page(document: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The items of a list and the token for those that follow; Broken where it is no list of objects."""
    items = document.get("items", ...)
    items = [] if items is None else items  # Go's empty slice
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Broken("the answer is not a list of objects")
    return items, str(dig(document, "metadata.continue", ""))


def _address(need: Need, resource: Resource) -> tuple[str | None, Params]:
    """The path and query of a need; no path where no object can have such a name."""
    kind_path = quote(resource.plural, safe="")
    path = f"{resource.root}/{kind_path}"
    params: Params = []
    if resource.namespaced and need.namespace:
        if not _segment(need.namespace):
            return None, params
        path = f"{resource.root}/namespaces/{quote(need.namespace, safe='')}/{kind_path}"
    if need.labels:
        params.append(("labelSelector", ",".join(f"{key}={value}" for key, value in need.labels)))
    if need.name is not None:
        if not _segment(need.name):
            return None, params
        if not need.labels and (need.namespace or not resource.namespaced):
            return f"{path}/{quote(need.name, safe='')}", params
        params.append(("fieldSelector", f"metadata.name={need.name}"))
    return path, params


def _segment(name: str) -> bool:
    """Whether a name can be one step of a path (apimachinery api/validation/path IsValidPathSegmentName)."""
    return name not in ("", ".", "..") and "/" not in name and "%" not in name


def _objects(need: Need, resource: Resource, items: list[dict[str, Any]]) -> tuple[Obj, ...]:
    """The objects in the order of namespace and name; items of a list do not say their own kind."""
    out = []
    for item in items:
        item.setdefault("apiVersion", resource.api_version)
        item.setdefault("kind", resource.kind)
        out.append(Obj(need.kind, clean(item)))
    return tuple(sorted(out, key=lambda obj: (obj.namespace, obj.name)))
