"""Hostnames of listeners and routes, as the Gateway API compares them.

Source: gateway-api apis/v1/gateway_types.go (Listener.Hostname) and httproute_types.go (Hostnames):
``*.example.com`` covers ``a.example.com`` and ``a.b.example.com``, not ``example.com``; an empty hostname is
every hostname.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def covers(pattern: str, name: str) -> bool:
    """Whether a hostname, perhaps with a wildcard, covers another, perhaps with a wildcard."""
    if pattern in ("", "*") or pattern == name:
        return True
    if not pattern.startswith("*."):
        return False
    return name.lstrip("*").endswith(pattern[1:]) and len(name) >= len(pattern)


def intersect(listener: str, names: Sequence[str]) -> tuple[str, ...]:
    """The hostnames that a listener and a route share, sorted; ``*`` where neither restricts them.

    Of two names of which one covers the other, the narrower one is shared.
    """
    if not names:
        return (listener or "*",)
    shared: set[str] = set()
    for name in names:
        if covers(listener, name):
            shared.add(name)
        elif covers(name, listener):
            shared.add(listener)
    return tuple(sorted(shared))


def normal(names: Iterable[object]) -> tuple[str, ...]:
    """Hostnames in lower case, entries that are no strings left out."""
    return tuple(name.lower() for name in names if isinstance(name, str) and name)


def width(name: str) -> tuple[bool, int, str]:
    """Sort key: names before wildcards, long before short."""
    return (name.startswith("*"), -len(name), name)
