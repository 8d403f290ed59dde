"""Inference gateways: the pools of model servers that routes of the Gateway API may lead to.

Source: kubernetes-sigs/gateway-api-inference-extension api/v1/inferencepool_types.go and
apix/v1alpha2/inferencepool_types.go.
"""

from __future__ import annotations

from kgdiag.dialects.base import Dialect
from kgdiag.model.kind import Kind

POOL = Kind("inference.networking.k8s.io", "InferencePool", "inferencepools", ("infpool",), ("v1",))
OLD_POOL = Kind(
    "inference.networking.x-k8s.io", "InferencePool", "inferencepools", ("xinfpool",), ("v1alpha2",)
)

DIALECT = Dialect("inference", kinds=(POOL, OLD_POOL))
