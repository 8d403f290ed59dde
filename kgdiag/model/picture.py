"""What `kgdiag proxy` says of one Envoy: an explanation with its config as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kgdiag.model.explanation import Explanation


@dataclass(frozen=True, slots=True)
class Picture(Explanation):
    """``config`` is the document: ``listeners``, ``route_configs``, ``clusters``, ``certificates``,
    ``rejected``, as ``kgdiag.explain.proxy`` makes them."""

    config: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "Proxy",
            "object": self.object.to_json(),
            "summary": self.summary,
            "truth": "effect",
            **self.config,
            "findings": [item.to_json() for item in self.findings],
            "verify": [item.to_json() for item in self.verify],
            "notes": list(self.notes),
        }
