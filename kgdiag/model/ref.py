"""Identity of an object, whether it exists or not."""

from __future__ import annotations

from typing import NamedTuple


class Ref(NamedTuple):
    """Identity of an object: stable, hashable and ordered.

    ``group`` is ``""`` for the core group, ``namespace`` is ``""`` for cluster-scoped kinds.
    """

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """``Service istio-system/knative-local-gateway``, the way messages name objects."""
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place}"

    def to_json(self) -> dict[str, str]:
        """The contract's REF."""
        return {"group": self.group, "kind": self.kind, "namespace": self.namespace, "name": self.name}
