"""The world as far as it was read: the one place that questions get objects from.

A question (explain, trace, check) is a pure function of a World. What it asks for and what nobody has read
yet is noted as lacking; the app reads all that is lacking, in parallel, and asks the question again, until
nothing is lacking. So nothing is read that nobody asked for, and no question does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any, TypeVar

from kgdiag.graph.labels import LabelIndex
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.read import Need, Origin, Read, Status
from kgdiag.model.ref import Ref

T = TypeVar("T")

_WORKLOADS = (kinds.POD, kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.ENDPOINT_SLICE)


class Missing(Enum):
    """What it means that an object was not found."""

    GONE = "does not exist"
    NOT_IN_FILES = "not in these files"
    UNREADABLE = "could not be read"
    NO_KIND = "its kind is not installed"


class World:
    """Objects read so far, how each read ended, and what is still lacking.

    ``home`` are the namespaces to fall back to where a kind may not be listed in all namespaces.
    ``complete`` says that files are a whole cluster. Lists come sorted by namespace and name.
    """

    def __init__(self, origin: Origin, *, complete: bool = False, home: Iterable[str] = ()) -> None:
        self.origin = origin
        self.complete = complete or origin is Origin.LIVE
        self.home = tuple(dict.fromkeys(namespace for namespace in home if namespace))
        self.documents: tuple[Any, ...] = ()  # notes on documents of files that are no objects
        self._reads: dict[Need, Read] = {}
        self._objects: dict[Ref, Obj] = {}
        self._lacking: dict[Need, None] = {}
        self._required: set[Need] = set()
        self._instead: list[Need] | None = None
        self._memo: dict[object, object] = {}
        self._lasting: dict[object, tuple[tuple[int, ...], object]] = {}
        self._reads_of: dict[Kind, int] = {}

    # -- reading ---------------------------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str, name: str, *, optional: bool = False) -> Obj | None:
        """One object, or None; ``missing`` then says what that means.

        ``optional`` marks a read whose failure takes nothing from the verdict.
        """
        if not name:
            return None
        where = namespace if kind.namespaced else None
        self._want(Need(kind, where, name), optional)
        return self._objects.get(Ref(kind.group, kind.name, where or "", name))

    def find(self, ref: Ref, *, optional: bool = False) -> Obj | None:
        """The object with this identity, of a kind that kgdiag knows."""
        kind = kind_of(ref)
        return self.get(kind, ref.namespace, ref.name, optional=optional) if kind else None

    def all(self, kind: Kind, namespace: str | None = None, *, optional: bool = False) -> list[Obj]:
        """All objects of a kind, in one namespace or in all."""
        where = namespace if kind.namespaced else None
        self._want_list(kind, where, (), optional)
        return self.memo(("list", kind, where), lambda: self._known(kind, where))

    def select(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str], *, optional: bool = False
    ) -> list[Obj]:
        """The objects of a kind with all these labels; no labels select every object."""
        if not labels:
            return self.all(kind, namespace, optional=optional)
        wanted = tuple(sorted((str(key), str(value)) for key, value in labels.items()))
        self._want_list(kind, namespace, wanted, optional)
        return self._index(kind, namespace).select(wanted)

    def named(self, kind: Kind, name: str, *, optional: bool = False) -> list[Obj]:
        """The objects of one name in all namespaces: one narrow list, where their namespace is not known."""
        need = Need(kind, None, name)
        self._want(need, optional)
        read = self._reads.get(need)
        if read and read.status is Status.FORBIDDEN and kind.namespaced:
            for home in self.home:
                self._want(Need(kind, home, name), optional)
        return [obj for obj in self.known(kind) if obj.name == name]

    def pending(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> bool:
        """Whether a list was asked for and is not read yet, so that what hangs on it can wait."""
        wanted = tuple(sorted((str(key), str(value)) for key, value in (labels or {}).items()))
        return Need(kind, namespace if kind.namespaced else None, None, wanted) in self._lacking

    def has(self, kind: Kind, namespace: str | None = None) -> bool:
        """Whether a whole kind, or all of it in a namespace, was read already."""
        needs = (Need(kind), Need(kind, namespace if kind.namespaced else None))
        return any(need in self._reads and self._reads[need].status is Status.OK for need in needs)

    @contextmanager
    def only_read(self) -> Iterator[list[Need]]:
        """Within it nothing is noted as lacking: what is asked for and was not read gathers in the list.

        For questions that are worth an answer only where it costs no more reads.
        """
        unread: list[Need] = []
        self._instead, before = unread, self._instead
        try:
            yield unread
        finally:
            self._instead = before

    def known(self, kind: Kind, namespace: str | None = None) -> list[Obj]:
        """What is read of a kind so far, without asking for more: for answers that more could not change."""
        where = namespace if kind.namespaced else None
        return self.memo(("list", kind, where), lambda: self._known(kind, where))

    def status(self, kind: Kind, namespace: str | None = None) -> Status:
        """How the widest read of a kind that covers this namespace ended; OK where nothing was asked."""
        read = self._reads.get(Need(kind)) or self._reads.get(Need(kind, namespace))
        if read and read.status.value != "ok" and namespace is not None:
            read = self._reads.get(Need(kind, namespace), read)
        return read.status if read else Status.OK

    def readable(self, kind: Kind, namespace: str | None = None) -> bool:
        """Whether a list of this kind is knowledge: it was read, or the server does not have the kind."""
        return self.status(kind, namespace) in (Status.OK, Status.ABSENT)

    def missing(self, kind: Kind, namespace: str, name: str = "") -> Missing:
        """What it means that ``get`` found nothing."""
        where = namespace if kind.namespaced else None
        read = self._covering(Need(kind, where, name)) if name else self._covering(Need(kind, where))
        if read is None:
            narrow = self._reads.get(Need(kind, where, name)) or self._reads.get(Need(kind, where))
            read = narrow or self._reads.get(Need(kind))
        if read and read.status in (Status.FORBIDDEN, Status.FAILED):
            return Missing.UNREADABLE
        if self.origin is Origin.FILES and not self.whole(namespace if kind.namespaced else ""):
            return Missing.NOT_IN_FILES
        if read and read.status is Status.ABSENT:
            return Missing.NO_KIND
        return Missing.GONE

    def whole(self, namespace: str) -> bool:
        """Whether what is read of a namespace is all there is, so that what is missing is missing.

        A live cluster and a snapshot are whole; files are where ``complete`` says so, and a namespace of
        files is where they hold Services and workloads of it, as an export of the namespace does.
        """
        if self.complete or self.origin is not Origin.FILES:
            return True
        if not namespace:
            return False
        return bool(self.all(kinds.SERVICE, namespace)) and any(
            self.all(kind, namespace) for kind in _WORKLOADS
        )

    # -- what was read ---------------------------------------------------------------------------------

    @property
    def lacking(self) -> list[Need]:
        """What was asked for and not read yet, in the order of asking, without what a wider need covers."""
        wide = {
            (need.kind, need.namespace) for need in self._lacking if need.name is None and not need.labels
        }
        return [need for need in self._lacking if not self._covered_by_lacking(need, wide)]

    def add(self, reads: Iterable[Read]) -> None:
        """Take in what was read."""
        for read in reads:
            self._reads[read.need] = read
            self._lacking.pop(read.need, None)
            self._reads_of[read.need.kind] = self._reads_of.get(read.need.kind, 0) + 1
            for obj in read.objects:
                self._objects[obj.ref] = obj
        self._lacking.clear()
        self._memo.clear()

    @property
    def reads(self) -> list[Read]:
        """Every read so far, in a fixed order."""
        return sorted(
            self._reads.values(),
            key=lambda read: (read.need.kind.key, read.need[1] or "", read.need[2] or "", read.need.labels),
        )

    def gaps(self, *, needed_only: bool = False) -> list[Read]:
        """Reads that were forbidden or failed, sorted; ``needed_only`` leaves out the optional ones."""
        bad = [read for read in self.reads if read.status in (Status.FORBIDDEN, Status.FAILED)]
        return [read for read in bad if not needed_only or read.need in self._required]

    def absent(self, kind: Kind) -> bool:
        """Whether the server is known not to have the kind."""
        return self.status(kind) is Status.ABSENT

    def memo(self, key: object, make: Callable[[], T]) -> T:
        """A value derived from what is read, made once until more is read.

        Within ``only_read`` it is kept only where it lacked nothing: later questions note what they lack.
        """
        if key in self._memo:
            return self._memo[key]  # type: ignore[return-value]
        unread = len(self._instead) if self._instead is not None else 0
        value = make()
        if self._instead is None or len(self._instead) == unread:
            self._memo[key] = value
        return value

    def lasting(self, kinds_used: Iterable[Kind], key: object, make: Callable[[], T]) -> T:
        """As ``memo``, for what is derived from these kinds alone: kept until more of them is read.

        ``make`` must not ask for anything that was not asked for before, since it may not run again.
        """
        stamp = tuple(self._reads_of.get(kind, 0) for kind in kinds_used)
        kept = self._lasting.get(key)
        if kept is None or kept[0] != stamp:
            kept = self._lasting[key] = (stamp, make())
        return kept[1]  # type: ignore[return-value]

    # -- how -------------------------------------------------------------------------------------------

    def _known(self, kind: Kind, namespace: str | None) -> list[Obj]:
        by_kind = self.memo("by kind", self._group)
        objects = by_kind.get(kind.key, {})
        if namespace is None:
            return [obj for name in sorted(objects) for obj in objects[name]]
        return objects.get(namespace, [])

    def _group(self) -> dict[tuple[str, str], dict[str, list[Obj]]]:
        grouped: dict[tuple[str, str], dict[str, list[Obj]]] = {}
        for ref in sorted(self._objects):
            grouped.setdefault((ref.group, ref.kind), {}).setdefault(ref.namespace, []).append(
                self._objects[ref]
            )
        return grouped

    def _index(self, kind: Kind, namespace: str | None) -> LabelIndex:
        return self.memo(
            ("labels", kind, namespace),
            lambda: LabelIndex((obj, obj.labels) for obj in self._known(kind, namespace)),
        )

    def _want_list(
        self, kind: Kind, namespace: str | None, labels: tuple[tuple[str, str], ...], optional: bool
    ) -> None:
        need = Need(kind, namespace if kind.namespaced else None, None, labels)
        self._want(need, optional)
        read = self._reads.get(need)
        if read and read.status is Status.FORBIDDEN and need.namespace is None and kind.namespaced:
            for home in self.home:
                self._want(Need(kind, home, None, labels), optional)

    def _want(self, need: Need, optional: bool) -> None:
        read = self._covering(need)
        if self._instead is not None:
            if read is None:
                self._instead.append(need)
            return
        if read is None:
            self._lacking.setdefault(need)
        if not optional:
            self._required.add(read.need if read else need)

    def _covering(self, need: Need) -> Read | None:
        """The read that answers a need: itself, or a wider one that is knowledge."""
        own = self._reads.get(need)
        if own is not None:
            return own
        kind = need.kind
        for wider in (
            Need(kind),
            Need(kind, need.namespace),
            Need(kind, None, None, need.labels),
            Need(kind, None, need.name),
        ):
            read = self._reads.get(wider)
            if read is not None and read.status in (Status.OK, Status.ABSENT):
                return read
        return None

    @staticmethod
    def _covered_by_lacking(need: Need, wide: set[tuple[Kind, str | None]]) -> bool:
        if need.name is None and not need.labels:
            return need.namespace is not None and (need.kind, None) in wide
        return (need.kind, None) in wide or (need.kind, need.namespace) in wide


_BY_KEY = {kind.key: kind for kind in kinds.ALL}


def kind_of(ref: Ref) -> Kind | None:
    """The kind of a reference, where kgdiag knows it."""
    return _BY_KEY.get((ref.group, ref.kind))
