"""What kgdiag knows of a resource kind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource kind.

    ``versions`` are the versions that files may use, preferred first; which one a live server serves is
    decided by its discovery, never by this list.
    """

    group: str
    name: str
    plural: str
    short: tuple[str, ...] = ()
    versions: tuple[str, ...] = ("v1",)
    namespaced: bool = True

    def __str__(self) -> str:
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def key(self) -> tuple[str, str]:
        """(group, kind), which is what identifies a kind."""
        return (self.group, self.name)

    def __hash__(self) -> int:
        return hash((self.group, self.name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kind) and other.group == self.group and other.name == self.name

    def __lt__(self, other: Kind) -> bool:
        return self.key < other.key

    @property
    def resource(self) -> str:
        """The plural with its group, as kubectl takes it: ``gateways.networking.istio.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural
