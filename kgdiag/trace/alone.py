"""The walk of one request through one proxy's own config, and nothing else known (``--via dump/FILE``).

No Services and no pods are known, so the way ends with an endpoint of a cluster; it goes on where that
endpoint is a listener of the same proxy (an internal listener, or the proxy's own address and port).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kgdiag.graph.world import World
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Cluster, Endpoint, Listener, Proxy
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Act, Backend, Hop, Outcome, PathTaken, Question, Result, Trace
from kgdiag.trace import network
from kgdiag.trace.entry import first_flow
from kgdiag.trace.flow import Branch, Flow, Target, merged, response_headers, scaled
from kgdiag.trace.walk import Walker

_INBOUND, _OUTBOUND = 15006, 15001  # Istio's


def trace_proxy(world: World, question: Question, proxy: Proxy, port: int) -> Trace:
    """The ways of one request from a listener of a proxy on, as for ``--via dump/FILE[:PORT]``.

    A sidecar's outbound listeners have no sockets: a port of theirs is what the application connects to, at
    the URL's address. Its inbound listener gets connections for the port in the URL.
    """
    walk = Alone(world, proxy)
    flow = first_flow(question, None)
    sidecar = proxy.role == "sidecar"
    listener = proxy.listener_at(port)
    outbound = sidecar and port != _INBOUND and (listener is None or port == _OUTBOUND)
    if outbound:
        meant = question.port if port == _OUTBOUND else port
        listener = proxy.capture(question.address, meant) or listener
        flow = flow.to(target=Target(question.address, meant, question.address))
    if proxy.unknown:
        branches = walk.unknown(flow, proxy.pod, proxy.unknown)
    elif listener is None:
        ports = ", ".join(str(one) for one in sorted(proxy.ports())) or "none"
        reason = f"nothing listens on port {port} (listeners: {ports})"
        branches = walk.failed(flow, proxy.pod, "refused", reason, truth=proxy.truth)
    else:
        real = question.port if sidecar and port in (_INBOUND, _OUTBOUND) else port
        branches = walk.through(proxy, listener, question.address, real, flow, outbound=outbound)
    paths = tuple(PathTaken(proxy.pod, one.weight, one.hops, one.outcome) for one in branches)
    return Trace(question, paths, notes=tuple(walk.notes.texts))


class Alone(Walker):
    """A walker that knows one proxy."""

    def __init__(self, world: World, proxy: Proxy) -> None:
        super().__init__(world, ())
        self.proxy = proxy

    def host(self, host: str, port: int, flow: Flow) -> list[Branch] | None:
        """No name is known to be one of the cluster's."""
        return None

    def deliver(self, target: Target, flow: Flow) -> list[Branch]:
        """To the address that the client meant: whose it is, the dump does not say."""
        return self.external(target.host, target.port, flow)

    def external(self, host: str, port: int, flow: Flow, service: Ref | None = None) -> list[Branch]:
        """An endpoint that is a host name: the dump knows no more of it than of any other."""
        if flow.cluster is None or (flow.target is not None and flow.target.host == host):
            return super().external(host, port, flow, service)
        return self._endpoint([Endpoint(host, port)], flow)

    def original(self, cluster: Cluster, flow: Flow, port: int) -> list[Branch] | None:
        """A sidecar's inbound clusters send to the port of its own application that the client meant."""
        if not cluster.name.startswith(("inbound|", "InboundPassthroughCluster")):
            return None
        return self._endpoint([Endpoint(f"the application of {self.proxy.pod}", port)], flow)

    def spread(self, endpoints: Sequence[Endpoint], flow: Flow, service: Obj | None) -> list[Branch]:
        """To the endpoints: one way for all that are not this proxy itself."""
        inside: dict[int, tuple[Listener, Endpoint, int]] = {}
        outside = []
        for one in endpoints:
            listener = self.proxy.own_listener(one)
            if listener is None:
                outside.append(one)
            else:
                count = inside[id(listener)][2] if id(listener) in inside else 0
                inside[id(listener)] = (listener, one, count + 1)
        branches = scaled(len(outside) / len(endpoints), self._endpoint(outside, flow)) if outside else []
        for listener, one, count in inside.values():
            ways = self.through(self.proxy, listener, one.address, one.port or listener.port, flow)
            branches += scaled(count / len(endpoints), ways)
        return merged(branches)

    def _endpoint(self, endpoints: Sequence[Endpoint], flow: Flow) -> list[Branch]:
        service = flow.backend.service if flow.backend else None
        first = endpoints[0]
        shown_at = network.describe(self.world, endpoints) if service is None else f"an endpoint of {service}"
        at = service or Ref("", "Host", "", f"{first.hostname or first.address}:{first.port}")
        shown = self._shown(flow.request)
        # over TLS or not: it is the same request, and the same way
        request = replace(flow.request, scheme="http") if flow.request.is_http else None
        hop = Hop(at, Act.ANSWERS, f"{shown_at} gets {shown}", truth=self.proxy.truth, request=request)
        outcome = Outcome(
            Result.DELIVERED,
            f"delivered to an endpoint of cluster {flow.cluster}" if flow.cluster else "delivered",
            backend=Backend(service, flow.backend.port, flow.backend.subset)
            if service is not None and flow.backend is not None
            else None,
            cluster=flow.cluster,
            response_headers=response_headers(flow.response),
        )
        return [Branch(1.0, (hop,), outcome)]
