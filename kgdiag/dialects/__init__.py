"""Gateway implementations, one file or package each. ``ALL`` is the one explicit list."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from kgdiag.dialects.base import Dialect
from kgdiag.graph.relations import Relation
from kgdiag.model import kinds
from kgdiag.model.kind import Kind

# Modules with a DIALECT, in the order in which they are asked whose proxy a pod is.
ALL = (
    "core",
    "envoy_gateway",
    "kgateway",
    "istio_gateway_api",
    "istio",
    "gateway_api",
    "inference",
    "ingress",
    "knative",
    "kserve",
    "openshift",
)


@lru_cache(maxsize=1)
def dialects() -> tuple[Dialect, ...]:
    """Every dialect, imported when first asked for."""
    return tuple(import_module(f"{__name__}.{name}").DIALECT for name in ALL)


def all_kinds() -> tuple[Kind, ...]:
    """The kinds of the model and of every dialect."""
    return (*kinds.ALL, *(kind for dialect in dialects() for kind in dialect.kinds))


def all_relations() -> tuple[Relation, ...]:
    """The relations of every dialect, in the dialects' order."""
    return tuple(relation for dialect in dialects() for relation in dialect.relations)
