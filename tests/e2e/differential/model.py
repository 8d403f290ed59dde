"""What a generator makes: cases, each with objects and requests, and the dice that it throws."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
Manifest = dict[str, Any]
LABEL = "round"


@dataclass(frozen=True)
class Client:
    """Where a request starts: a pod, or this machine (both empty)."""

    namespace: str = ""
    pod: str = ""

    @property
    def origin(self) -> str:
        """As `--from` has it."""
        return f"pod/{self.pod}.{self.namespace}" if self.pod else "outside"


OUTSIDE = Client()


@dataclass(frozen=True)
class Ask:
    """One request. `address` and `port` are where it is sent; `host` is the Host header where it differs.

    A client outside sends to 127.0.0.1 where `address` is NODE. `sni` is the server name of an https request,
    "" for none. `times` is how often it is sent (for weights).
    """

    client: Client
    address: str
    port: int
    path: str = "/"
    host: str | None = None
    scheme: str = "http"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    sni: str = ""
    times: int = 1

    def __str__(self) -> str:
        more = "".join(f" -H '{name}: {value}'" for name, value in self.headers)
        sni = f" --sni '{self.sni}'" if self.scheme == "https" else ""
        host = f" -H 'Host: {self.host}'" if self.host is not None else ""
        return (
            f"{self.scheme}://{self.address}:{self.port}{self.path} -X {self.method}{host}{more}{sni} "
            f"--from {self.client.origin}"
        )


NODE = "NODE"


@dataclass
class Case:
    """One configuration: objects that are applied first (older) and then (newer), and requests."""

    name: str
    older: list[Manifest] = field(default_factory=list)
    newer: list[Manifest] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)

    @property
    def objects(self) -> list[Manifest]:
        return [*self.older, *self.newer]

    def add(self, dice: Dice, item: Manifest) -> Manifest:
        """Put an object into one of the two batches by chance."""
        (self.older if dice.chance(0.5) else self.newer).append(item)
        return item


class Dice(random.Random):
    """A seeded source of choices."""

    def chance(self, share: float) -> bool:
        """True in this share of all throws."""
        return self.random() < share

    def pick(self, values: Sequence[T]) -> T:
        return values[self.randrange(len(values))]

    def some(self, values: Sequence[T], least: int = 0, most: int | None = None) -> list[T]:
        """Some of the values, in any order."""
        top = len(values) if most is None else min(most, len(values))
        return self.sample(list(values), self.randint(min(least, top), top))

    def maybe(self, share: float, make: Callable[[], Manifest]) -> Manifest:
        """What `make` makes, in this share of all throws, else nothing."""
        return make() if self.chance(share) else {}


def manifest(api: str, kind: str, namespace: str, name: str, spec: Any) -> Manifest:
    """An object that the next round deletes."""
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": {"dif": LABEL}},
        "spec": spec,
    }


def headers_of(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(pairs)
