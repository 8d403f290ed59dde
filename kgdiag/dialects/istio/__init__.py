"""Classic Istio: Gateways and VirtualServices on gateways and sidecars."""

from __future__ import annotations

from kgdiag.dialects.base import Dialect
from kgdiag.dialects.istio.relations import RELATIONS

DIALECT = Dialect("istio", relations=RELATIONS)
