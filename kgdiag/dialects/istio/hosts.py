"""Host names with wildcards, as Istio compares them.

Source: istio pkg/config/host/name.go and names.go. A wildcard is a leading ``*``; ``*.foo.com`` covers
``a.foo.com`` and ``a.b.foo.com``, not ``foo.com``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def subset_of(name: str, other: str) -> bool:
    """Whether ``other`` covers ``name``."""
    if other.startswith("*"):
        if name.startswith("*"):
            return len(name) >= len(other) and name[1:].endswith(other[1:])
        return name.endswith(other[1:])
    return name == other


def overlap(name: str, other: str) -> bool:
    """Whether one of the two covers the other."""
    return subset_of(name, other) or subset_of(other, name)


def specificity(name: str) -> tuple[bool, int, str]:
    """Sort key: names before wildcards, long before short, then by letters."""
    return (name.startswith("*"), -len(name), name)


def split(host: str) -> tuple[str, str]:
    """(namespace, name) of ``namespace/name``; the namespace is ``""`` where there is none."""
    namespace, slash, name = host.partition("/")
    return (namespace, name) if slash else ("", host)


def sanitized(hosts: Iterable[str], namespace: str) -> tuple[str, ...]:
    """A server's hosts with ``./`` and ``*/`` resolved; ``*/*`` replaces them all by ``*``.

    Source: istio pilot/pkg/model/gateway.go sanitizeServerHostNamespace.
    """
    out: list[str] = []
    for host in hosts:
        owner, name = split(host)
        if owner == "*" and name == "*":
            return ("*",)
        if owner == ".":
            out.append(f"{namespace}/{name}")
        else:
            out.append(name if owner == "*" else host)
    return tuple(out)


def for_namespace(hosts: Iterable[str], namespace: str) -> list[str]:
    """The hosts that VirtualServices of a namespace may use, without their namespaces."""
    pairs = (split(host) for host in hosts)
    return [name for owner, name in pairs if owner in ("", "*", namespace)]


class Hosts:
    """A server's hosts, to intersect many hosts with them: linear in the wildcards, not in the names."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(dict.fromkeys(names))
        self._exact = {name for name in self.names if not name.startswith("*")}
        self._wild = [name for name in self.names if name.startswith("*")]

    def intersection(self, others: Iterable[str]) -> list[str]:
        """The more specific one of each overlapping pair, without repetition."""
        found: dict[str, None] = {}
        for other in others:
            if other in self._exact or any(subset_of(other, wild) for wild in self._wild):
                found.setdefault(other)
            if other.startswith("*"):
                for name in self.names:
                    if subset_of(name, other):
                        found.setdefault(name)
        return list(found)

    def covers(self, other: str) -> bool:
        """Whether a host lies within these."""
        return other in self._exact or any(subset_of(other, wild) for wild in self._wild)
