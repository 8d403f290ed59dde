"""The walk of one request through proxies, Services and pods.

One walker for every truth: it knows ``Proxy`` values and Kubernetes networking, and no control plane.
Sources: for what each proxy does see ``envoy``; for Services kubernetes.io/docs, virtual-ips; for failures
envoy docs, response flags and source/common/router/router.cc.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kgdiag.dialects.base import Dialect
from kgdiag.graph.core import ASSUMED, ServicePort, cluster_name, is_assumed, service_ports
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.obj import Evidence, Obj
from kgdiag.model.proxy import (
    Cluster,
    Endpoint,
    HeaderEdits,
    Health,
    Listener,
    Origin,
    Proxy,
    TlsMode,
)
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Act, Backend, Hop, Outcome, Rejected, Request, Result, Truth
from kgdiag.trace import assumed, brief, losers, network, verify
from kgdiag.trace.envoy import (
    find_chain,
    fitting_chains,
    grpc_status,
)
from kgdiag.trace.flow import (
    Branch,
    Failure,
    Flow,
    Front,
    Notes,
    Target,
    behind,
    blaming,
    merged,
    response_headers,
    scaled,
)
from kgdiag.trace.match import is_grpc
from kgdiag.trace.passage import Passage

_DEEPEST = 24
_BEHIND = 100  # filters of this stage on judge after fault injection and CORS
_PLAIN = "speak plaintext to it: a DestinationRule for its host with trafficPolicy.tls.mode DISABLE"
_AGENT_PORTS = {15020: "merged metrics", 15021: "readiness", 15090: "Envoy's metrics"}


class Walker:
    """Walks over a World. Holds no answers beyond one trace: only the notes on its way."""

    def __init__(self, world: World, dialects: Sequence[Dialect], notes: Notes | None = None) -> None:
        self.world = world
        self.dialects = dialects
        self.notes = notes or Notes()
        self.asked: dict[Ref, None] = {}  # pods that were asked for the config of their proxies

    # -- outcomes --------------------------------------------------------------------------------------

    def proxy_of(self, pod: Obj) -> Proxy | None:
        """The proxy in a pod that is walked through: as it is declared, for this walker."""
        return self.declared(pod)

    def declared(self, pod: Obj) -> Proxy | None:
        """The proxy in a pod as objects declare it: of the first dialect that has one there."""
        for dialect in self.dialects:
            if dialect.proxy_of and (proxy := dialect.proxy_of(self.world, pod)):
                return proxy
        return None

    def refused(
        self,
        flow: Flow,
        at: Ref,
        reason: str,
        *,
        status: int | None = None,
        flag: str | None = None,
        envoy: bool = False,
        detail: str = "",
        evidence: tuple[Evidence, ...] = (),
        rejected: tuple[Rejected, ...] = (),
        blame: tuple[Ref, ...] = (),
        fix: str = "",
        location: str | None = None,
        action: Act = Act.REJECTS,
        truth: Truth = "intent",
        response: tuple[HeaderEdits, ...] | None = None,
    ) -> list[Branch]:
        """One branch that ends here. ``envoy`` says that an Envoy answers, so that gRPC gets its own form."""
        grpc = None
        if envoy and status is not None and is_grpc(flow.request):
            status, grpc = 200, grpc_status(status)
        outcome = Outcome(
            Result.REFUSED,
            reason,
            status,
            flag,
            location,
            flow.backend,
            flow.cluster,
            grpc_status=grpc,
            response_headers=response_headers(flow.response if response is None else response),
            blame=blame or (at,),
            fix=fix,
        )
        hop = Hop(at, action, detail or reason, evidence, losers.nearest(rejected), truth)
        return [Branch(1.0, (verify.with_commands(hop),), outcome)]

    def failed(self, flow: Flow, at: Ref, failure: Failure, reason: str, **more: object) -> list[Branch]:
        """One branch whose connection fails here, as whoever waits for it answers."""
        status, flag = flow.front.answer(failure)
        ways = self.refused(
            flow,
            at,
            reason,
            status=status,
            flag=flag,
            envoy=flow.front.name == "envoy",
            **more,  # type: ignore[arg-type]
        )
        return blaming(flow.suspects, ways) if flow.suspects else ways

    def unknown(
        self, flow: Flow, at: Ref, reason: str, *, evidence: tuple[Evidence, ...] = ()
    ) -> list[Branch]:
        """One branch whose end cannot be known."""
        outcome = Outcome(
            Result.UNKNOWN,
            reason,
            backend=flow.backend,
            cluster=flow.cluster,
            blame=(at,),
            response_headers=response_headers(flow.response),
        )
        return [Branch(1.0, (Hop(at, Act.FORWARDS, reason, evidence),), outcome)]

    def lacking(self, flow: Flow, ref: Ref, what: str = "") -> list[Branch] | None:
        """An unknown branch where an object was not found for want of reading it; None where it is gone."""
        kind = next((kind for kind in kinds.ALL if kind.key == (ref.group, ref.kind)), None)
        if kind is None:
            return None
        missing = self.world.missing(kind, ref.namespace, ref.name)
        if missing in (Missing.UNREADABLE, Missing.NOT_IN_FILES):
            why = f"{what + ': ' if what else ''}{ref} {missing.value}"
            return self.unknown(flow, ref, why)
        return None

    # -- connecting ------------------------------------------------------------------------------------

    def connect(self, target: Target, flow: Flow) -> list[Branch]:
        """A pod (or whoever) opens a connection; its own sidecar takes it first, where it has one."""
        flow = flow.to(target=target)
        proxy = self.proxy_of(flow.source) if flow.source is not None else None
        if proxy is None or proxy.role != "sidecar" or flow.source is None:
            return self.deliver(target, flow)
        if proxy.unknown:
            return self.unknown(flow, proxy.pod, proxy.unknown)
        listener = proxy.capture(target.address, target.port)
        if listener is None:
            return self.deliver(target, flow)
        return self.through(proxy, listener, target.address, target.port, flow, outbound=True)

    def deliver(self, target: Target, flow: Flow) -> list[Branch]:
        """A connection on the network, without any proxy of its client's before it."""
        if target.pod is not None:
            backend = flow.backend or Backend(None, target.port)
            return self.arrive(target.pod, target.port, flow.to(backend=backend))
        if target.service is not None:
            return self.service(target.service, target.port, flow)
        return self.external(target.host, target.port, flow)

    def external(self, host: str, port: int, flow: Flow, service: Ref | None = None) -> list[Branch]:
        """The request leaves the cluster."""
        backend = Backend(service, port if service else None)
        reason = f"the request leaves the cluster for {host}:{port}"
        outcome = Outcome(
            Result.EXTERNAL,
            reason,
            backend=backend,
            cluster=flow.cluster,
            response_headers=response_headers(flow.response),
        )
        at = service or Ref("", "Host", "", host)
        return [Branch(1.0, (Hop(at, Act.FORWARDS, reason, request=flow.request),), outcome)]

    # -- Services --------------------------------------------------------------------------------------

    def host(self, host: str, port: int, flow: Flow) -> list[Branch] | None:
        """A host name of the cluster, as DNS has it; None for any other."""
        named = cluster_name(host.rstrip(".").lower())
        if named is None:
            return None
        service = self.world.get(kinds.SERVICE, named[1], named[0])
        ref = Ref("", "Service", named[1], named[0])
        if service is None:
            return self.lacking(flow, ref) or self.failed(
                flow, ref, "refused", f"{host} does not resolve: {ref} does not exist"
            )
        return self.service(service, port, flow)

    def service(self, service: Obj, port: int, flow: Flow) -> list[Branch]:
        """A connection to a Service, as DNS and kube-proxy treat it."""
        key = ("service", service.ref, port, flow.request.authority, flow.request.path)
        if flow.depth > _DEEPEST or (service.text("spec.type") == "ExternalName" and key in flow.seen):
            return self.loop(flow, service.ref)
        if service.text("spec.type") == "ExternalName":
            return self._external_name(service, port, flow.to(seen=flow.seen | {key}, depth=flow.depth + 1))
        if service.get("spec.clusterIP") == "None":
            return self._headless(service, port, flow)
        declared = next(
            (one for one in service_ports(service) if one.port == port and one.protocol == "TCP"), None
        )
        if declared is None:
            return self._no_port(service, port, flow)
        backend = Backend(service.ref, port)
        flow = flow.to(backend=backend, declared=network.declared_protocol(declared))
        found = network.endpoints_of(self.world, service, declared)
        return self.over_service(service, declared, found, flow)

    def over_service(
        self, service: Obj, declared: ServicePort, found: Sequence[Endpoint], flow: Flow
    ) -> list[Branch]:
        """From a Service's port to its endpoints."""
        ready = [one for one in found if one.health is Health.HEALTHY]
        serving = ready or [one for one in found if one.health is Health.DRAINING]
        if not serving:
            return self._no_endpoints(service, declared, found, flow)
        unapplied = tuple(network.unapplied(self.world, service)) if flow.front == Front() else ()
        hop = Hop(
            service.ref,
            Act.SELECTS,
            f"port {declared.port}{f' ({declared.name})' if declared.name else ''} → targetPort "
            f"{declared.target}"
            f"; {network.describe(self.world, serving)}{self._policies(service)}",
            network.service_evidence(service, declared),
            losers.nearest((*network.unready(found), *unapplied)),
            brief=f"port {declared.port}: {'kube-proxy shares evenly between' if len(serving) > 1 else 'to'} "
            f"{brief.endpoints(serving, service.namespace)}{self._policies(service)}",
        )
        ways = self.spread(serving, flow, service)
        outside = [one.object for one in unapplied if flow.source is None]
        return behind([verify.with_commands(hop)], blaming(outside, ways))

    def _policies(self, service: Obj) -> str:
        notes = []
        if service.text("spec.internalTrafficPolicy") == "Local":
            notes.append("internalTrafficPolicy Local: clients reach endpoints of their own node only")
        if service.text("spec.externalTrafficPolicy") == "Local":
            notes.append("externalTrafficPolicy Local: from outside only nodes with a ready endpoint answer")
        if service.text("spec.sessionAffinity") == "ClientIP":
            notes.append("sessionAffinity ClientIP: one client stays with one endpoint")
        return "".join(f"; {note}" for note in notes)

    def _external_name(self, service: Obj, port: int, flow: Flow) -> list[Branch]:
        name = service.text("spec.externalName").rstrip(".").lower()
        hop = Hop(
            service.ref,
            Act.SELECTS,
            f"ExternalName: DNS answers with {name}; the port stays {port} and Host stays "
            f"{flow.request.authority}",
            (service.evidence("spec.externalName"),),
            brief=f"ExternalName {name}: port {port} and Host {flow.request.authority} stay as they are",
        )
        onward = self.host(name, port, flow)
        if onward is None:
            onward = self.external(name, port, flow)
        return behind([verify.with_commands(hop)], onward)

    def _headless(self, service: Obj, port: int, flow: Flow) -> list[Branch]:
        """DNS gives the pods' addresses, and nobody maps ports: the number in the URL is the pod's port."""
        ports = service_ports(service)
        declared = next((one for one in ports if one.port == port), ports[0] if ports else None)
        declared = declared or ServicePort("", port, port)
        found = network.endpoints_of(self.world, service, declared)
        serving = [replace(one, port=port) for one in found if one.health is Health.HEALTHY]
        flow = flow.to(backend=Backend(service.ref, port), declared=network.declared_protocol(declared))
        if not serving:
            return self._no_endpoints(service, declared, found, flow)
        mapped = declared.port == port and declared.target != port
        detail = f"headless: DNS answers with the addresses of {network.describe(self.world, serving)}"
        if mapped:
            detail += f"; port {port} is not mapped to targetPort {declared.target}: use the target's number"
        hop = Hop(service.ref, Act.SELECTS, detail, network.service_evidence(service, declared))
        return behind([verify.with_commands(hop)], self.spread(serving, flow.to(mapped=not mapped), service))

    def _no_port(self, service: Obj, port: int, flow: Flow) -> list[Branch]:
        ports = ", ".join(f"{one.port}→{one.target}" for one in service_ports(service)) or "none"
        reason = f"{service.ref} has no port {port} (it has {ports})"
        return self.failed(
            flow,
            service.ref,
            "refused",
            reason,
            evidence=(service.evidence("spec.ports"),),
            fix=f"use a port that {service.ref} has: {ports}",
        )

    def _no_endpoints(
        self, service: Obj, declared: ServicePort, found: Sequence[Endpoint], flow: Flow
    ) -> list[Branch]:
        from kgdiag.trace import knative

        if (
            not found
            and (ways := knative.public_endpoints(self, service, declared, lambda _: flow)) is not None
        ):
            return ways
        doubt = network.doubt(self.world, service)
        if doubt and not found and (ways := self.assumed_gateway(service, declared, flow)) is not None:
            return ways
        if doubt and not found:
            return self.unknown(flow, service.ref, f"endpoints of {service.ref}: {doubt}")
        why = network.why_empty(self.world, service, declared, found)
        return self.failed(
            flow,
            service.ref,
            "refused",
            f"{service.ref} has no ready endpoints: {why}",
            evidence=network.service_evidence(service, declared),
            rejected=tuple(network.unready(found)),
            blame=(service.ref, *(one.pod for one in found if one.pod)),
            fix=network.how_to_fill(service, found),
        )

    def assumed_gateway(self, service: Obj, declared: ServicePort, flow: Flow) -> list[Branch] | None:
        """On to the gateway that files imply behind a Service; None where they do not."""
        pod = assumed.gateway_pod(self.world, service)
        if pod is None or not isinstance(declared.target, int):
            return self._declared_gateway(service, declared, flow)
        self.notes.add(f"pods of {service.ref} are not in these files: taken for Istio's gateway {pod.ref}")
        hop = Hop(
            service.ref,
            Act.SELECTS,
            f"port {declared.port} → targetPort {declared.target} of the gateway {pod.ref}, assumed",
            network.service_evidence(service, declared),
            brief=f"port {declared.port} leads to port {declared.target} of its gateway pods (assumed)",
        )
        return behind([verify.with_commands(hop)], self.arrive(pod, declared.target, flow))

    def _declared_gateway(self, service: Obj, declared: ServicePort, flow: Flow) -> list[Branch] | None:
        found = assumed.gateway_before(self.world, self.dialects, service)
        if found is None:
            return None
        gateway, proxy = found
        if proxy.unknown:
            return self.unknown(flow, gateway.ref, proxy.unknown)
        self.notes.add(f"pods of {service.ref} are not in these files: {gateway.ref} is taken as declared")
        target = declared.target if isinstance(declared.target, int) else 0
        if proxy.listener_at(target) is None:
            fitting = [
                one for one in proxy.ports() if declared.port in assumed.own_ports(gateway, proxy, one)
            ]
            target = fitting[0] if fitting and not target else target
        listener = proxy.listener_at(target)
        detail = (
            f"port {declared.port} → targetPort {declared.target} of the proxies of {gateway.ref}, assumed"
        )
        hop = Hop(service.ref, Act.SELECTS, detail, network.service_evidence(service, declared))
        if listener is None:
            reason = f"{gateway.ref} has no listener on port {target} of its proxies"
            ways = self.failed(flow, gateway.ref, "refused", reason)
        else:
            ways = self.through(proxy, listener, "", target, flow)
        return behind([verify.with_commands(hop)], ways)

    def loop(self, flow: Flow, at: Ref) -> list[Branch]:
        """The way comes back to where it was with the same request: it never ends."""
        reason = f"loop: the request comes back to {at} as it was, and would go round until it times out"
        return self.refused(flow, at, reason)

    # -- endpoints -------------------------------------------------------------------------------------

    def original(self, cluster: Cluster, flow: Flow, port: int) -> list[Branch] | None:
        """On from a cluster that sends to where its client meant, where that is not known; None: unknown."""
        return None

    def spread(self, endpoints: Sequence[Endpoint], flow: Flow, service: Obj | None) -> list[Branch]:
        """On to the endpoints, replicas that are alike as one. Shares go by their weights."""
        groups = network.alike(self.world, endpoints, service)
        total = sum(one.weight for one in endpoints) or 1.0
        branches: list[Branch] = []
        for group in groups:
            ways = self.reach(group, flow)
            pods = tuple(dict.fromkeys(one.pod for one in group.members if one.pod is not None))
            ways = [self._with_pods(way, group.first.pod, pods) for way in ways]
            branches += scaled(sum(one.weight for one in group.members) / total, ways)
        return merged(branches)

    @staticmethod
    def _with_pods(way: Branch, first: Ref | None, pods: tuple[Ref, ...]) -> Branch:
        if first is None or way.outcome.pods != (first,):
            return way
        return replace(way, outcome=replace(way.outcome, pods=pods))

    def reach(self, group: network.Group, flow: Flow) -> list[Branch]:
        """A connection to one endpoint."""
        endpoint = group.first
        if group.pod is not None:
            return self.arrive(group.pod, endpoint.port, flow)
        backend = flow.backend.service if flow.backend else None
        if endpoint.pod is not None:
            service = self.world.get(kinds.SERVICE, backend.namespace, backend.name) if backend else None
            there = assumed.pod_of_endpoint(
                self.world, endpoint.pod, endpoint.address, endpoint.port, service
            )
            if there is not None:
                self.notes.add(f"{there.ref} is not in these files: an EndpointSlice says that it is there")
                return self.arrive(there, endpoint.port, flow)
            lacks = self.lacking(flow, endpoint.pod, "whether a proxy guards it")
            if lacks:
                return lacks
            return self.failed(flow, endpoint.pod, "timeout", f"{endpoint.pod} is an endpoint and is gone")
        if endpoint.hostname and (way := self.host(endpoint.hostname, endpoint.port, flow)) is not None:
            return way
        owner = network.pod_at(self.world, endpoint.address)
        if owner is not None:
            return self.arrive(owner, endpoint.port, flow)
        where = endpoint.hostname or endpoint.address
        return self.external(where, endpoint.port, flow, backend)

    def arrive(self, pod: Obj, port: int, flow: Flow) -> list[Branch]:
        """A connection reaches a port of a pod."""
        flow = flow.to(depth=flow.depth + 1)
        if flow.depth > _DEEPEST:
            return self.loop(flow, pod.ref)
        if flow.source is not None or flow.front == Front():  # else it comes from a controller's own pods
            for text in network.policies(self.world, flow.source, pod, port):
                self.notes.add(text)
        proxy = self.proxy_of(pod)
        if proxy is None:
            return self.application(pod, port, flow)
        if proxy.unknown:
            return self.unknown(flow, pod.ref, proxy.unknown)
        if proxy.role == "sidecar":
            listener = proxy.inbound(port)
            if listener is None:
                return self.application(pod, port, flow)
            return self.through(proxy, listener, pod.text("status.podIP"), port, flow, inbound=pod)
        listener = proxy.listener_at(port)
        if listener is None:
            return self._nothing_listens(pod, proxy, port, flow)
        return self.through(proxy, listener, pod.text("status.podIP"), port, flow)

    def _nothing_listens(self, pod: Obj, proxy: Proxy, port: int, flow: Flow) -> list[Branch]:
        if port in _AGENT_PORTS and network.declares(pod, "istio-proxy"):
            return self.application(pod, port, flow, detail=f"the agent answers there: {_AGENT_PORTS[port]}")
        ports = sorted(proxy.ports())
        others = ", ".join(str(one) for one in ports) or "none"
        reason = f"nothing listens on port {port} of the {proxy.role} {pod.ref} (listeners: {others})"
        found = losers.nearest(losers.excluded(proxy.excluded_at(port)))
        blame = (flow.backend.service,) if flow.backend and flow.backend.service else ()
        return self.failed(
            flow,
            pod.ref,
            "refused",
            reason,
            rejected=found,
            truth=proxy.truth,
            blame=(*(one.object for one in found[:3]), *blame, pod.ref),
            fix=losers.hint(found)
            or f"let a Gateway of these pods open port {port}, or use a port that is open there",
        )

    def application(self, pod: Obj, port: int, flow: Flow, *, detail: str = "") -> list[Branch]:
        """The last stop: whatever the pod itself runs."""
        from kgdiag.trace import knative

        onward = knative.activator(self, pod, port, flow)
        if onward is not None:
            return onward
        if not flow.mapped and not network.declares_port(pod, port):
            reason = (
                f"nothing is declared to listen on port {port} of {pod.ref}: a headless Service maps no ports"
            )
            return self.failed(flow, pod.ref, "refused", reason, fix="use the targetPort's number in the URL")
        if network.declares(pod, "queue-proxy"):
            flow = flow.to(request=knative.restored(flow.request))
        speaks = network.speaks(pod, port, flow.declared)
        if flow.layers:
            top = flow.layers[0]
            if top.cert == "mesh" and any(one.startswith("istio") for one in top.alpn):
                reason = f"{pod.ref} has no sidecar, and the client speaks the mesh's TLS to port {port}"
                return self.failed(flow, pod.ref, "tls", reason, fix=_PLAIN)
            if speaks == "http":
                reason = f"TLS to port {port} of {pod.ref}, which is declared as plaintext HTTP"
                return self.failed(flow, pod.ref, "tls", reason, fix=_PLAIN)
            self.notes.add(
                f"{pod.ref} port {port} gets TLS: whether its application speaks it is not in its objects"
            )
        elif speaks == "tls" and flow.request.is_http:
            self.notes.add(f"{pod.ref} port {port} is declared as TLS and gets plaintext")
        remarks = [detail] if detail else []
        remarks += network.port_remarks(pod, port)
        if is_assumed(pod):
            whole = pod.annotations.get(ASSUMED) != "EndpointSlice"
            remarks += ["assumed running and ready: files hold its workload only"] if whole else []
        who = network.container_at(pod, port)
        text = f"{who or 'the pod'} gets {self._shown(flow.request)} on port {port}"
        hop = Hop(
            pod.ref,
            Act.ANSWERS,
            "; ".join([text, *remarks]),
            request=flow.request if flow.request.is_http else None,
        )
        via = flow.backend.service if flow.backend else None
        reason = f"delivered through {via}" if via else f"delivered to {pod.ref}"
        outcome = Outcome(
            Result.DELIVERED,
            reason,
            backend=flow.backend if via else None,
            cluster=flow.cluster,
            pods=(pod.ref,),
            response_headers=response_headers(flow.response),
        )
        return [Branch(1.0, (verify.with_commands(hop),), outcome)]

    @staticmethod
    def _shown(request: Request) -> str:
        if not request.is_http:
            return "bytes"
        return f"{request.method} {request.target} (Host {request.authority})"

    # -- proxies ---------------------------------------------------------------------------------------

    def through(
        self,
        proxy: Proxy,
        listener: Listener,
        address: str,
        port: int,
        flow: Flow,
        *,
        outbound: bool = False,
        inbound: Obj | None = None,
    ) -> list[Branch]:
        """A connection enters a proxy at a listener."""
        sni = flow.layers[0].sni if flow.layers else None
        mark = (
            proxy.pod.namespace,
            self._crowd(proxy),
            listener.name,
            port,
            flow.request.authority,
            flow.request.path,
            flow.request.query,
            sni,
        )
        if not inbound and mark in flow.seen:
            return self.loop(flow, proxy.pod)
        flow = flow.to(seen=flow.seen | {mark}, depth=flow.depth + 1)
        hello = flow.layers[0] if flow.layers else None
        chain = find_chain(listener, address, port, hello, flow.request)
        left = fitting_chains(listener, address, port, hello, flow.request)
        if asked := next((one.match.dynamic for one in left if one.match.dynamic), ""):
            reason = f"which filter chain of {listener.name} takes the connection depends on its {asked}"
            return self.unknown(flow, proxy.pod, reason)
        if chain is None:
            return self._no_chain(proxy, listener, flow, port, inbound)
        trip = Passage(self, proxy, listener, chain, port, outbound, inbound)
        return trip.run(flow)

    def _crowd(self, proxy: Proxy) -> object:
        """Replicas of a proxy count as one when loops are looked for."""
        pod = self.world.get(kinds.POD, proxy.pod.namespace, proxy.pod.name)
        return network.workload(pod) if pod is not None else proxy.pod.name

    def _no_chain(
        self, proxy: Proxy, listener: Listener, flow: Flow, port: int, inbound: Obj | None
    ) -> list[Branch]:
        sni = flow.layers[0].sni if flow.layers else None
        if not flow.layers:
            what = "plaintext" if flow.request.is_http else "bytes without TLS"
        else:
            what = f"TLS with server name {sni}" if sni else "TLS without server name"
        where = f"port {port} of {proxy.pod}"
        wanted = _wanted(listener, bool(flow.layers))
        reason = f"the client sends {what}, and {where} takes {wanted}: the connection is closed"
        if inbound is not None and not flow.layers:
            reason = f"{proxy.pod} takes mutual TLS only on port {port}, and the client sends plaintext"
        origin = _first(
            origin for origin in (*listener.origins, *(c.origin for c in listener.chains)) if origin
        )
        evidence = tuple(one for chain in listener.chains if chain.origin for one in chain.origin.evidence)
        return self.failed(
            flow,
            origin.ref if origin else proxy.pod,
            # A handshake that does not end is a connection that was never made: Envoy's flag is UF, not UC.
            "tls" if flow.layers else "reset",
            reason,
            evidence=evidence[:4],
            rejected=(*losers.other_chains(listener, None, sni), *losers.excluded(listener.excluded)),
            truth=proxy.truth,
            blame=tuple(dict.fromkeys(o.ref for o in listener.origins)) or (proxy.pod,),
            fix=_speak(flow, sni, listener, inbound is not None),
        )


def _wanted(listener: Listener, tls: bool) -> str:
    """What a listener's filter chains take, of a client that sends TLS or does not."""
    if tls:
        names = list(dict.fromkeys(name for chain in listener.chains for name in chain.match.server_names))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"server names {', '.join(names[:3])}{more} only" if names else "no TLS"
    mesh = any(chain.tls.mode is TlsMode.MESH for chain in listener.chains)
    return "the mesh's mutual TLS only" if mesh else "TLS only"


def _speak(flow: Flow, sni: str | None, listener: Listener, sidecar: bool) -> str:
    """What a client would have to do to find a filter chain."""
    if flow.layers:
        return f"send a server name that is served there instead of {sni or 'none'}, or add it to the hosts"
    mesh = any(chain.tls.mode is TlsMode.MESH for chain in listener.chains)
    known = flow.target.service if flow.target is not None else None
    if flow.cluster == "PassthroughCluster" and known is not None and sidecar:
        return (
            f"let the client's sidecar see {known.ref} (Sidecar egress, exportTo, mesh membership): "
            "what it does not know it passes on in plaintext"
        )
    if mesh and flow.cluster == "PassthroughCluster":
        return (
            f"give the mesh a VirtualService with host {flow.request.host}, gateways: [mesh] and a Service "
            "of the mesh as its destination; without one the sidecar passes the connection on as it is"
        )
    host = (flow.cluster or "").rpartition("|")[2]
    if mesh and host and flow.cluster and flow.cluster.startswith("outbound|"):
        return f"give clients of {host} a DestinationRule with trafficPolicy.tls.mode ISTIO_MUTUAL"
    if sidecar:
        return "give the client a sidecar, or let PeerAuthentication be PERMISSIVE for this port"
    if mesh:
        return (
            "give the client a sidecar, or open a server with protocol HTTP for clients outside of the mesh "
            "(a Gateway, a Service that leads to its port, and a VirtualService bound to it)"
        )
    return "speak TLS to this port (https, or a DestinationRule with tls), or open a plaintext server on it"


def _first(items: object) -> Origin | None:
    return next(iter(items), None)  # type: ignore[call-overload]


__all__ = ["Walker"]
