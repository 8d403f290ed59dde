"""The way of one request, predicted: entries, Services, pods, proxies, outcomes.

``trace`` is a pure function of a World. One walker answers for every truth, since it knows proxies only as
``kgdiag.model.proxy.Proxy`` values, whoever made them.
"""

from __future__ import annotations

from kgdiag.trace.alone import trace_proxy
from kgdiag.trace.entry import trace

__all__ = ["trace", "trace_proxy"]
