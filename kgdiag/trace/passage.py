"""One pass of a connection through one proxy: TLS, filters, route, cluster, endpoints.

Sources: envoy docs, life of a request; source/common/router/router.cc (what is answered without an upstream);
istio pilot/pkg/networking/core/listener_builder.go (fault and CORS stand behind authorization).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kgdiag.graph.core import cluster_name, service_ports
from kgdiag.model import kinds
from kgdiag.model.obj import Evidence, Obj
from kgdiag.model.proxy import (
    ClientTls,
    Cluster,
    Direct,
    Endpoint,
    Fault,
    FilterChain,
    FilterRequest,
    Forward,
    HeaderEdits,
    Health,
    HttpConnections,
    HttpFilter,
    Listener,
    Peer,
    Proxy,
    Redirect,
    Route,
    RouteConfig,
    Ruling,
    TcpConnections,
    TlsMode,
    Verdict,
    VirtualHost,
    WeightedCluster,
)
from kgdiag.model.read import Origin as Source
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Act, Backend, Hop, Rejected, Request
from kgdiag.trace import brief, losers, network, verify
from kgdiag.trace.envoy import (
    HTTP_ALPN,
    MESH_H2_ALPN,
    MESH_HTTP_ALPN,
    MESH_TCP_ALPN,
    Hello,
    edit,
    expanded,
    find_virtual_host,
    first_value,
    location,
    merged_slashes,
    normalize,
    rewrite_path,
    substituted,
    without_port,
)
from kgdiag.trace.flow import (
    Branch,
    Flow,
    Front,
    behind,
    blaming,
    merged,
    response_headers,
    scaled,
)
from kgdiag.trace.match import compiled, is_grpc, miss, string_matches

_DEEPEST = 24
_BEHIND = 100  # filters of this stage on judge after fault injection and CORS
_AGENT_PORTS = {15020: "merged metrics", 15021: "readiness", 15090: "Envoy's metrics"}


if TYPE_CHECKING:
    from kgdiag.trace.walk import Walker


_PLAIN = "let the client speak plaintext to this port (http, or tls.mode DISABLE in its DestinationRule)"
_SECURE = "let the client speak TLS to this port (https, or a DestinationRule with tls), or serve plaintext"
# What Envoy's codecs take for a Host. Source: nghttp2_check_authority.
_AUTHORITY = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:\[\]%@]+")
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+|0")
_NAMED = 3  # as many domains as a sentence takes


class Passage:
    """One pass through one proxy: TLS, filters, route, cluster."""

    def __init__(
        self,
        walk: Walker,
        proxy: Proxy,
        listener: Listener,
        chain: FilterChain,
        port: int,
        outbound: bool,
        inbound: Obj | None,
    ) -> None:
        self.walk = walk
        self.proxy = proxy
        self.listener = listener
        self.chain = chain
        self.port = port
        self.outbound = outbound
        self.inbound = inbound
        self.at = (
            chain.origin.ref if chain.origin else listener.origins[0].ref if listener.origins else proxy.pod
        )
        self.sni: str | None = None
        self.scheme = self.forwarded = "http"
        self.remarks: list[str] = []
        self.routed: Ref | None = None  # the object whose route was taken
        self.pod = walk.world.get(kinds.POD, proxy.pod.namespace, proxy.pod.name)

    def run(self, flow: Flow) -> list[Branch]:
        hello = flow.layers[0] if flow.layers else None
        self.sni = hello.sni if hello else None
        problem = self._tls(hello, flow)
        if problem is not None:
            return problem
        mode = self.chain.tls.mode
        tls = False
        if hello is not None and mode not in (TlsMode.NONE, TlsMode.PASSTHROUGH):
            tls = True
            peer = replace(flow.peer, principal=hello.principal, principal_known=hello.principal_known)
            flow = flow.to(layers=flow.layers[1:], peer=peer)
        elif mode is TlsMode.NONE and not flow.layers:
            flow = flow.to(peer=replace(flow.peer, principal=None, principal_known=True))
        accept = self._accept(flow, tls)
        if self.inbound is None:
            flow = flow.to(cluster=None, backend=None)  # what this proxy chooses counts from here on
        if isinstance(self.chain.network, HttpConnections):
            return behind([accept], self._http(self.chain.network, flow, tls))
        return behind([accept], self._tcp(self.chain.network, flow))

    # -- TLS -------------------------------------------------------------------------------------------

    def _tls(self, hello: Hello | None, flow: Flow) -> list[Branch] | None:
        """Why the connection ends with its handshake, or None."""
        tls, walk = self.chain.tls, self.walk
        more: dict[str, object] = {"evidence": tls.evidence, "truth": self.proxy.truth}
        if tls.mode is TlsMode.PASSTHROUGH:
            return None
        if tls.mode is TlsMode.NONE:
            http = isinstance(self.chain.network, HttpConnections)
            if hello is not None and http:
                reason = (
                    f"the client speaks TLS, and port {self.port} of {self.proxy.pod} takes plaintext HTTP"
                )
                return walk.failed(flow, self.at, "tls", reason, **more, fix=_PLAIN)
            return None
        if hello is None:
            where = f"port {self.port} of {self.proxy.pod}"
            reason = f"the client sends plaintext, and {where} takes TLS ({tls.mode.value})"
            return walk.failed(flow, self.at, "reset", reason, **more, fix=_SECURE)
        if tls.problem:
            return walk.failed(flow, self.at, "tls", f"no TLS handshake succeeds: {tls.problem}", **more)
        if tls.mode is TlsMode.MESH and hello.cert != "mesh":
            reason = f"port {self.port} of {self.proxy.pod} demands a client certificate of the mesh"
            return walk.failed(flow, self.at, "tls", reason, **more)
        if tls.mode is TlsMode.MUTUAL and hello.cert != "file":
            reason = f"port {self.port} of {self.proxy.pod} demands a client certificate" + (
                ", and the mesh's is of another authority" if hello.cert == "mesh" else ""
            )
            return walk.failed(flow, self.at, "tls", reason, **more)
        if tls.doubt and walk.world.origin is not Source.FILES:
            return walk.unknown(
                flow, self.at, f"whether a TLS handshake succeeds: {tls.doubt}", evidence=tls.evidence
            )
        if tls.doubt:
            self.remarks.append(f"certificate not checked: {tls.doubt}")
        if hello.cert == "file" and tls.mode in (TlsMode.MUTUAL, TlsMode.OPTIONAL_MUTUAL):
            self.remarks.append("the client's certificate is taken for a valid one")
        return None

    def _accept(self, flow: Flow, tls: bool) -> Hop:
        where = f"{self.proxy.pod} listens on port {self.port} ({self.listener.name})"
        if self.outbound:
            where = f"the sidecar of {self.proxy.pod} takes the outbound connection ({self.listener.name})"
        elif self.inbound is not None:
            where = f"the sidecar of {self.proxy.pod} guards port {self.port}"
        parts = [where]
        if self.chain.tls.mode is TlsMode.PASSTHROUGH:
            parts.append(f"TLS is passed through, server name {self.sni or 'none'}")
        elif tls:
            parts.append(f"TLS {self.chain.tls.mode.value}, server name {self.sni or 'none'}")
        elif not self.outbound:
            parts.append("plaintext")
        part = self.chain.origin.part if self.chain.origin else ""
        if part:
            parts.append(f"{self.at} {part}")
        origins = {origin.ref for origin in self.listener.origins} - {self.at}
        if origins:
            parts.append("merged with " + ", ".join(str(ref) for ref in sorted(origins)[:4]))
        evidence = self.chain.origin.evidence if self.chain.origin else ()
        rejected = (
            *losers.other_chains(self.listener, self.chain, self.sni),
            *losers.excluded(self.listener.excluded),
        )
        at = self.at
        if self.inbound is not None and (at.group, at.kind) == ("", "Service"):
            at = self.proxy.pod  # nothing but the pod's own sidecar decides here
        hop = Hop(
            at,
            Act.ACCEPTS,
            "; ".join([*parts, *self.remarks]),
            (*evidence, *self.chain.tls.evidence),
            losers.nearest(rejected),
            self.proxy.truth,
            brief="; ".join([self._accept_brief(at, origins), *map(brief.remark, self.remarks)]),
        )
        number = 15006 if self.inbound is not None else self.port
        return verify.with_commands(hop, self.proxy, "listener", port=number)

    def _accept_brief(self, at: Ref, others: set[Ref]) -> str:
        """``listens on port 8443 of pod gw-1 (spec.servers[0], 443): TLS ends here (SIMPLE)``."""
        pod = self.proxy.pod
        mine = at == pod
        if self.outbound:
            return f"{'its sidecar' if mine else f'the sidecar of {pod.name}'} takes the connection"
        evidence = self.chain.tls.evidence
        mode = brief.tls_mode(self.chain.tls.mode, evidence)
        if self.inbound is not None:
            who = "its sidecar" if mine else f"the sidecar of pod {brief.pod_name(pod, at.namespace)}"
            mode = f"{mode}, as this demands" if not mine and self.chain.tls.mode is TlsMode.MESH else mode
            return f"{who} takes port {self.port}: {mode}"
        origin = self.chain.origin
        part = brief.server(origin.part, self.port, origin.evidence) if origin and origin.part else ""
        text = f"listens on port {self.port} of pod {brief.pod_name(pod, at.namespace)}"
        text += f" by {part}: {mode}" if part else f": {mode}"
        if others:
            shown = ", ".join(f"{one.namespace}/{one.name}" for one in sorted(others)[:3])
            text += f"; {shown} share{'s' if len(others) == 1 else ''} the port"
        return text

    # -- TCP -------------------------------------------------------------------------------------------

    def _tcp(self, network_: TcpConnections, flow: Flow) -> list[Branch]:
        ruling = self._judge(network_.filters, flow, http=False)
        if ruling is not None:
            return ruling
        front = replace(flow.front, cut=True)
        if self.inbound is not None:
            return self.walk.application(self.inbound, self.port, flow.to(front=front))
        shares = [one for one in network_.clusters if one.weight > 0]
        if not shares:
            reason = f"no route takes this connection on port {self.port}: it is closed"
            return self.walk.failed(
                flow,
                self.at,
                "reset",
                reason,
                truth=self.proxy.truth,
                rejected=tuple(losers.excluded(self.listener.excluded)),
            )
        total = sum(one.weight for one in shares)
        branches: list[Branch] = []
        for share in shares:
            ways = self._cluster(share, flow.to(front=front), None, http=False)
            branches += scaled(share.weight / total, behind([self._routes(share, total, None)], ways))
        return branches

    # -- filters ---------------------------------------------------------------------------------------

    def _judge(self, filters: Sequence[HttpFilter], flow: Flow, *, http: bool) -> list[Branch] | None:
        """The branch of the first filter that denies, or that cannot say; None where all allow."""
        unknown: Ruling | None = None
        asked = FilterRequest(
            method=flow.request.method,
            authority=flow.request.authority,
            path=flow.request.path,
            query=flow.request.query,
            headers=flow.request.headers,
            sni=self.sni,
            peer=flow.peer,
            local_port=self.port,
            http=http,
            scheme=self.scheme,
        )
        for one in sorted(filters, key=lambda item: item.stage):
            ruling = one.judge(asked)
            if ruling.verdict is Verdict.DENY:
                return self._denied(one, ruling, flow, http)
            if ruling.verdict is Verdict.UNKNOWN and unknown is None:
                unknown = ruling
                where = ruling.origin or one.origin
                at = where.ref if where else self.at
                undecided = self.walk.unknown(flow, at, ruling.reason, evidence=ruling.evidence)
            elif ruling.verdict is Verdict.ALLOW and ruling.origin is not None:
                self.remarks.append(ruling.reason)
        return undecided if unknown is not None else None

    def _denied(self, one: HttpFilter, ruling: Ruling, flow: Flow, http: bool) -> list[Branch]:
        where = ruling.origin or one.origin
        at = where.ref if where else self.at
        evidence = ruling.evidence or (where.evidence if where else ())
        if not http:
            return self.walk.failed(
                flow,
                at,
                "reset",
                f"{ruling.reason}: the connection is closed",
                evidence=evidence,
                truth=self.proxy.truth,
            )
        return self.walk.refused(
            flow,
            at,
            ruling.reason,
            status=ruling.status,
            flag=ruling.flag,
            envoy=True,
            evidence=evidence,
            truth=self.proxy.truth,
            fix=self._let_in(at, ruling),
        )

    def _let_in(self, at: Ref, ruling: Ruling) -> str:
        """What would let a denied request through."""
        if at.kind == "RequestAuthentication":
            return f"send a token that {at} accepts: Authorization: Bearer …"
        if at.kind != "AuthorizationPolicy" or ruling.status != 403:
            return ""
        policy = self.walk.world.get(kinds.AUTHORIZATION_POLICY, at.namespace, at.name)
        action = policy.text("spec.action", "ALLOW") if policy is not None else ""
        if action == "DENY":
            return f"send what {at} does not deny, or narrow its rules"
        if action != "ALLOW":
            return ""
        return (
            f"let an ALLOW AuthorizationPolicy of namespace {self.proxy.pod.namespace} that selects "
            f"{self.proxy.pod.name} match this request"
        )

    # -- HTTP ------------------------------------------------------------------------------------------

    def _http(self, connections: HttpConnections, flow: Flow, tls: bool) -> list[Branch]:
        early = self._unparsable(flow, tls)
        if early is not None:
            return early
        early = self._paths(connections, flow, tls)
        if early is not None:
            return self._routed(early, connections, flow)
        tls = self._forwarded(connections, flow, tls)
        request = _normalized(connections, _stripped(connections, flow.request, self.port))
        flow = flow.to(request=_schemed(request, tls=self.scheme == "https"), forwarded=self.forwarded)
        if self.inbound is not None:
            return self._inbound(connections, flow)
        config = connections.route_config
        if config.unknown:
            return self.walk.unknown(flow, self.at, config.unknown)
        found = find_virtual_host(config, flow.request.authority)
        if found is not None and found[0].require_tls != "none" and not tls:
            return self._judge(_filters(connections, None), flow, http=True) or self._to_https(found[0], flow)
        route = _first_route(found[0], flow.request) if found else None
        filters = _filters(connections, route)
        early = self._judge([one for one in filters if one.stage < _BEHIND], flow, http=True)
        if early is not None:
            if found is None or route is None:
                return _routeless(early)
            return _answered(early, (config, found[0], route), flow)
        if found is None or route is None:
            late = self._judge([one for one in filters if one.stage >= _BEHIND], flow, http=True)
            return _routeless(late) if late else self._no_route(config, found[0] if found else None, flow)
        if not (connections.faults and connections.cors):
            route = replace(
                route,
                fault=route.fault if connections.faults else None,
                cors=route.cors if connections.cors else None,
            )
        return self._take(connections, found[0], found[1], route, filters, flow, tls)

    def _routed(self, early: list[Branch], connections: HttpConnections, flow: Flow) -> list[Branch]:
        """Answers before a route is looked for. Envoy looks for it to answer, finds none where the request
        still lacks X-Forwarded-Proto, and edits the answer as the route says (measured on Envoy 1.40;
        source/common/router/config_impl.cc, getRouteFromEntries)."""
        said = flow.forwarded or flow.request.header("x-forwarded-proto")
        config = connections.route_config
        request = flow.request
        if early[0].outcome.location:
            request = _normalized(replace(connections, escaped_slashes="decode"), request)
        found = find_virtual_host(config, request.authority) if said and not self.inbound else None
        route = _first_route(found[0], request) if found else None
        if found is None or route is None or (found[0].require_tls != "none" and said != "https"):
            return early
        return _answered(early, (config, found[0], route), flow)

    def _forwarded(self, connections: HttpConnections, flow: Flow, tls: bool) -> bool:
        """Whether the request counts as https: by its connection, or by a trusted X-Forwarded-Proto.

        Source: envoy source/common/http/conn_manager_utility.cc, mutateRequestHeaders.
        """
        said = flow.forwarded or flow.request.header("x-forwarded-proto")
        self.scheme = "https" if tls else "http"
        self.forwarded = self.scheme
        if connections.trusts_forwarded and said:
            self.forwarded = said
            self.scheme = said.lower() if said.lower() in ("http", "https") else self.scheme
        return self.forwarded == "https"

    def _inbound(self, connections: HttpConnections, flow: Flow) -> list[Branch]:
        assert self.inbound is not None
        ruling = self._judge(connections.filters, flow, http=True)
        if ruling is not None:
            return ruling
        front = Front("envoy", http=True)
        return self.walk.application(self.inbound, self.port, flow.to(front=front))

    def _unparsable(self, flow: Flow, tls: bool) -> list[Branch] | None:
        if flow.layers:
            reason = f"port {self.port} of {self.proxy.pod} expects HTTP and gets TLS"
            return self.walk.failed(flow, self.at, "tls", reason, truth=self.proxy.truth)
        if not flow.request.is_http:
            reason = f"port {self.port} of {self.proxy.pod} expects HTTP and gets other bytes"
            return self.walk.refused(flow, self.at, reason, truth=self.proxy.truth)
        if not flow.request.authority or not _AUTHORITY.fullmatch(flow.request.authority):
            what = f"Host {flow.request.authority} is none" if flow.request.authority else "there is no Host"
            return self.walk.refused(flow, self.at, what, status=400, envoy=True, truth=self.proxy.truth)
        return None

    def _paths(self, connections: HttpConnections, flow: Flow, tls: bool) -> list[Branch] | None:
        """What Envoy answers to a path before it looks for a route."""
        path = flow.request.path
        if not path.startswith("/"):
            return self.walk.refused(
                flow, self.at, f"path {path} is not absolute", status=404, envoy=True, truth=self.proxy.truth
            )
        if connections.normalize_path and "%00" in path:
            reason = f"path {path} cannot be normalized"
            return self.walk.refused(flow, self.at, reason, status=400, envoy=True, truth=self.proxy.truth)
        escaped = any(mark in path.lower() for mark in ("%2f", "%5c"))
        if not escaped or connections.escaped_slashes in ("keep", "decode"):
            return None
        if connections.escaped_slashes == "reject" or is_grpc(flow.request):  # gRPC is not redirected
            return self.walk.refused(
                flow,
                self.at,
                f"path {path} holds escaped slashes",
                status=400,
                envoy=True,
                truth=self.proxy.truth,
            )
        where = _normalized(replace(connections, escaped_slashes="decode"), flow.request).target
        return self.walk.refused(
            flow,
            self.at,
            f"path {path} holds escaped slashes: redirect to the decoded path",
            status=307,
            location=where,
            envoy=True,
            action=Act.REDIRECTS,
            truth=self.proxy.truth,
        )

    def _to_https(self, host: VirtualHost, flow: Flow) -> list[Branch]:
        where = f"https://{flow.request.authority}{flow.request.target}"  # the port in Host stays
        at = host.origin.ref if host.origin else self.at
        evidence = host.origin.evidence if host.origin else ()
        return self.walk.refused(
            flow,
            at,
            f"plaintext is redirected to {where}",
            status=301,
            location=where,
            envoy=True,
            action=Act.REDIRECTS,
            evidence=evidence,
            truth=self.proxy.truth,
        )

    def _no_route(self, config: RouteConfig, host: VirtualHost | None, flow: Flow) -> list[Branch]:
        request = flow.request
        rejected: list[Rejected] = []
        if host is None:
            names = losers.nearest_hosts(config, request.host)
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            there = f"; its hosts are {', '.join(names[:_NAMED])}{more}" if names else ""
            reason = f"nothing on port {self.port} ({config.name}) has Host {request.authority}{there}"
        else:
            asked = f"{request.method} {request.target}"
            reason = f"Host {request.authority} is served, and none of its routes takes {asked}"
            rejected += losers.earlier_routes(host.routes, None, request)
            rejected += losers.excluded(host.excluded)
            if not host.routes:
                reason = f"there are no routes for Host {request.authority}"
        rejected += losers.excluded(config.excluded_for(request.host))
        rejected += losers.other_hosts(config, request.authority, host)
        rejected += losers.excluded(config.excluded)
        rejected += self._elsewhere(request)
        if host is None:
            rejected += losers.other_parents(self.walk.world, self.at)
        ordered = losers.nearest(rejected)
        origin = host.origin if host and host.origin else None
        at = origin.ref if origin else self.at
        blame = tuple(dict.fromkeys([*[one.object for one in ordered if one.nearness <= 2][:3], at]))
        return self._verified(
            self.walk.refused(
                flow,
                at,
                reason,
                status=404,
                flag="NR",
                envoy=True,
                rejected=ordered,
                blame=blame,
                truth=self.proxy.truth,
                evidence=origin.evidence if origin else (),
                fix=losers.hint(ordered)
                or (losers.no_rule(at, request) if host else losers.no_host(at, request.host, config)),
            ),
            "route",
            name=config.name,
        )

    def _elsewhere(self, request: Request) -> list[Rejected]:
        """Other listeners of the proxy that would take the request."""
        found = []
        ports = sorted(port for port in self.proxy.ports() if port != self.port)
        for port in ports[:16] if not self.outbound else ():
            listener = self.proxy.listener_at(port)
            ref = losers.would_match(listener, request) if listener else None
            if listener is not None and ref is not None:
                found.append(Rejected(ref, "", f"it would match on port {port} ({listener.name})", 2))
        return found

    def _take(
        self,
        connections: HttpConnections,
        host: VirtualHost,
        domain: str,
        route: Route,
        filters: Sequence[HttpFilter],
        flow: Flow,
        tls: bool,
    ) -> list[Branch]:
        config = connections.route_config
        at = route.origin.ref if route.origin else self.at
        self.routed = at
        if route.match.dynamic:
            reason = f"{_named(route, at)} matches only if {' and '.join(route.match.dynamic)}"
            return self.walk.unknown(flow, at, reason)
        hop = Hop(
            at,
            Act.MATCHES,
            f"Host {flow.request.authority} is {domain} of {config.name}; {_why(route, at)}"
            + "".join(f"; {remark}" for remark in self.remarks if remark not in self._said()),
            route.origin.evidence if route.origin else (),
            truth=self.proxy.truth,
            brief="; ".join([self._match_brief(route, at, domain, flow), *map(brief.remark, self.remarks)]),
        )
        proven = f"{at.name}.{at.namespace}" if at.kind == "VirtualService" else config.name
        hop = verify.with_commands(hop, self.proxy, "route", name=config.name, proven=proven)
        levels = (config, host, route)
        preflight = self._preflight(route, flow, at)
        if preflight and connections.cors_first:
            return behind([hop], preflight)
        branches = [*self._faults(levels, route, filters, flow, at)]
        left = 1.0 - sum(branch.weight for branch in branches)
        if left > 1e-9:
            late = [one for one in filters if one.stage >= _BEHIND]
            ahead = [one for one in late if one.stage < connections.cors_stage]
            ruled = self._judge(ahead, flow, http=True)
            if ruled is None and not preflight:
                ruled = self._judge([one for one in late if one not in ahead], flow, http=True)
            if ruled is not None:
                ways = _answered(ruled, levels, flow)
            else:
                ways = preflight or self._act(levels, route, flow, tls, at)
            branches += scaled(left, ways)
        if self.walk.world.lacking:  # asked again anyway: losers cost as much as the way itself
            return behind([hop], branches)
        rejected = losers.nearest(
            [
                *losers.earlier_routes(host.routes, route, flow.request),
                *losers.excluded(host.excluded),
                *losers.excluded(config.excluded_for(flow.request.host)),
                *losers.other_hosts(config, flow.request.authority, host),
                *losers.excluded(config.excluded),
            ]
        )
        hop = replace(hop, rejected=rejected)
        if self.outbound and (at.group, at.kind) == ("", "Service"):  # what was meant for it and is not bound
            meant = [
                one.object for one in rejected if one.nearness == 0 and one.object.kind == "VirtualService"
            ]
            branches = blaming(meant, branches)
        return behind([hop], branches)

    def _match_brief(self, route: Route, at: Ref, domain: str, flow: Flow) -> str:
        """Which of an object's rules takes the request; of what no object decided, why not."""
        forward = route.action if isinstance(route.action, Forward) else None
        if at == self.proxy.pod or (forward and any(_is_through(one) for one in forward.clusters)):
            return f"the mesh knows no host {flow.request.host} on port {self.port}"
        if (at.group, at.kind) == ("", "Service"):
            return "no VirtualService of the mesh has this host: straight to the Service"
        return brief.matches(route, flow.request, domain)

    def _said(self) -> Sequence[str]:
        return ()

    def _faults(
        self,
        levels: tuple[RouteConfig, VirtualHost, Route],
        route: Route,
        filters: Sequence[HttpFilter],
        flow: Flow,
        at: Ref,
    ) -> list[Branch]:
        fault = route.fault
        if fault is None or fault.abort_status is None or fault.abort_percent <= 0:
            return []
        share = min(fault.abort_percent, 100.0) / 100
        return scaled(
            share,
            self._fault(levels, fault, flow, at),
        )

    def _fault(
        self, levels: tuple[RouteConfig, VirtualHost, Route], fault: Fault, flow: Flow, at: Ref
    ) -> list[Branch]:
        return _answered(
            self.walk.refused(
                flow,
                at,
                f"fault injection answers {fault.abort_percent:g} % of requests with {fault.abort_status}",
                status=fault.abort_status,
                flag="FI",
                envoy=True,
                action=Act.ANSWERS,
                truth=self.proxy.truth,
            ),
            levels,
            flow,
        )

    def _preflight(self, route: Route, flow: Flow, at: Ref) -> list[Branch] | None:
        """The answer of the CORS filter, which gets no header edits and leaves redirects alone (measured)."""
        request = flow.request
        asked = request.header("access-control-request-method")
        origin = request.header("origin")
        if (
            route.cors is not None
            and isinstance(route.action, Forward)
            and request.method == "OPTIONS"
            and origin
            and asked
            and (route.cors.answers_all or any(string_matches(one, origin) for one in route.cors.origins))
        ):
            return self.walk.refused(
                flow,
                at,
                f"the CORS filter answers the preflight of {origin}",
                status=200,
                action=Act.ANSWERS,
                truth=self.proxy.truth,
            )
        return None

    def _act(
        self, levels: tuple[RouteConfig, VirtualHost, Route], route: Route, flow: Flow, tls: bool, at: Ref
    ) -> list[Branch]:
        answers = _answers(levels, None, flow.request)
        evidence = route.origin.evidence if route.origin else ()
        if isinstance(route.action, Redirect):
            asked, path = flow.request, route.match.path
            where = location(route.action, asked, path, tls=self.scheme == "https", said=self.forwarded)
            return self.walk.refused(
                flow,
                at,
                f"{_named(route, at)} redirects to {where}",
                status=route.action.status,
                location=where,
                envoy=True,
                action=Act.REDIRECTS,
                truth=self.proxy.truth,
                response=(*answers, *flow.response),
                evidence=evidence,
            )
        if isinstance(route.action, Direct):
            said = route.action.reason or f"{_named(route, at)} answers {route.action.status} itself"
            return self.walk.refused(
                flow,
                at,
                said,
                status=route.action.status,
                envoy=True,
                action=Act.ANSWERS,
                truth=self.proxy.truth,
                response=(*answers, *flow.response),
                evidence=evidence,
            )
        return self._forward(levels, route, route.action, flow, at)

    def _forward(
        self,
        levels: tuple[RouteConfig, VirtualHost, Route],
        route: Route,
        action: Forward,
        flow: Flow,
        at: Ref,
    ) -> list[Branch]:
        if action.dynamic:
            return self.walk.unknown(flow, at, f"{_named(route, at)}: {action.dynamic}")
        if action.cluster_header:
            name = first_value(flow.request, action.cluster_header) or ""
            action = replace(action, clusters=(WeightedCluster(name),))
        shares = [one for one in action.clusters if one.weight > 0] or list(action.clusters[:1])
        if len(action.clusters) > 1 and not any(one.weight > 0 for one in action.clusters):
            shares = []
        if not shares:
            return self.walk.refused(
                flow,
                at,
                f"{_named(route, at)} has no destination",
                status=action.not_found,
                flag="NC",
                envoy=True,
                truth=self.proxy.truth,
            )
        total = sum(max(one.weight, 0) for one in shares) or 1
        branches: list[Branch] = []
        for share in shares:
            request = edit(flow.request, [one.request_headers for one in _levels(levels, share)])
            request = _rewritten(share, action, route, request)
            answers = _answers(levels, share, flow.request)
            answers_too = (*answers, *flow.response)  # the proxy's own answers have them too
            onward = flow.to(request=request, front=Front("envoy", http=True), response=answers_too)
            hops = [
                hop
                for hop in (
                    self._rewrites(flow.request, request, at, route),
                    self._routes(share, total, route),
                )
                if hop
            ]
            ways = self._cluster(share, onward, action, http=True)
            weight = 1.0 if len(shares) == 1 else share.weight / total
            branches += scaled(weight, behind(hops, ways))
        return branches

    def _rewrites(self, before: Request, after: Request, at: Ref, route: Route) -> Hop | None:
        if before == after:
            return None
        parts = []
        if before.authority != after.authority:
            parts.append(f"Host {before.authority} → {after.authority}")
        if before.target != after.target:
            parts.append(f"path {before.target} → {after.target}")
        if before.method != after.method:
            parts.append(f"method {before.method} → {after.method}")
        gone = [name for name, _ in before.headers if after.header(name) is None]
        new = [pair for pair in after.headers if pair not in before.headers]
        parts += [f"header {name} removed" for name in dict.fromkeys(gone)]
        parts += [f"header {name}: {value}" for name, value in new]
        evidence = route.origin.evidence if route.origin else ()
        return Hop(
            at,
            Act.REWRITES,
            "; ".join(parts) or "headers",
            evidence,
            truth=self.proxy.truth,
            request=after,
            brief=brief.rewrites(before, after),
        )

    def _routes(self, share: WeightedCluster, total: int, route: Route | None) -> Hop:
        origin = share.origin or (route.origin if route else None)
        at = origin.ref if origin else self.at
        part = f"{origin.part}: " if origin and origin.part else ""
        weight = f" ({share.weight} of {total})" if total and share.weight != total and total != 1 else ""
        extra = []
        if route is not None and isinstance(route.action, Forward):
            if route.action.timeout:
                odd = (
                    "" if _DURATION.fullmatch(route.action.timeout) else " (no duration: the proxy has none)"
                )
                extra.append(f"timeout {route.action.timeout}{odd}")
            if route.action.retries:
                extra.append(f"retries {route.action.retries}")
        if route is not None and route.fault and route.fault.delay and route.fault.delay_percent > 0:
            extra.append(f"{route.fault.delay_percent:g} % of requests are delayed by {route.fault.delay}")
        if route is not None and route.mirrors:
            extra.append("mirrored to " + ", ".join(one.cluster for one in route.mirrors))
        detail = f"{part}to cluster {share.cluster}{weight}" + "".join(f"; {one}" for one in extra)
        said = [one for one in extra if not one.startswith("retries")]
        short = brief.destination(share.cluster, self.proxy.cluster(share.cluster)) + weight
        hop = Hop(
            at,
            Act.ROUTES,
            detail,
            origin.evidence if origin else (),
            truth=self.proxy.truth,
            brief="; ".join([short, *said]),
        )
        return verify.with_commands(hop, self.proxy, "cluster", name=share.cluster)

    # -- clusters --------------------------------------------------------------------------------------

    def _cluster(
        self,
        share: WeightedCluster,
        flow: Flow,
        action: Forward | None,
        *,
        http: bool,
        answers: tuple[HeaderEdits, ...] = (),
    ) -> list[Branch]:
        own = flow.to(cluster=share.cluster, backend=None)
        cluster = self.proxy.cluster(share.cluster)
        if cluster is None:
            return self._no_cluster(share, own, action, http)
        if not cluster.parts:
            return self._into(cluster, own, action, http=http, answers=answers)
        ways: list[Branch] = []
        for weight, part in cluster.parts:
            ways += scaled(weight, self._into(part, own, action, http=http, answers=answers))
        return merged(ways)

    def _into(
        self,
        cluster: Cluster,
        own: Flow,
        action: Forward | None,
        *,
        http: bool,
        answers: tuple[HeaderEdits, ...] = (),
    ) -> list[Branch]:
        name, service = cluster.name, cluster.service
        backend = Backend(service, cluster.port, cluster.subset) if service else None
        own = own.to(backend=backend)
        if cluster.unknown:
            implied = self._implied(cluster, self._onward(own, answers), http)
            return implied or self.walk.unknown(own, _cluster_ref(cluster, self.at), cluster.unknown)
        if cluster.kind == "blackhole":
            if not http:
                return self.walk.failed(own, self.at, "reset", f"cluster {name} closes every connection")
            return self._empty(cluster, own, f"cluster {name} has no endpoints by intent")
        onward = self._onward(own, answers)
        if cluster.kind == "original_dst":
            return self._original(cluster, onward, http)
        return self._endpoints(cluster, own, onward, action, http)

    def _onward(self, flow: Flow, answers: tuple[HeaderEdits, ...]) -> Flow:
        """The flow from this proxy on: it is the peer now, and its edits to the answer come first."""
        source = self.pod
        peer = Peer(
            address=source.text("status.podIP") or None if source else None,
            namespace=self.proxy.namespace or self.proxy.pod.namespace,
            labels=tuple(sorted(source.labels.items())) if source else (),
        )
        return flow.to(source=source, peer=peer, response=(*answers, *flow.response))

    def _no_cluster(
        self, share: WeightedCluster, flow: Flow, action: Forward | None, http: bool
    ) -> list[Branch]:
        name = share.cluster
        at = share.origin.ref if share.origin else self.at
        evidence = share.origin.evidence if share.origin else ()
        why = self.proxy.why_no_cluster(name)
        reason, blame = f"the proxy has no cluster {name}", [at]
        doubt = self._why_no_cluster(name, flow, reason)
        if isinstance(doubt, list):
            return doubt
        if why:
            doubt = f": {why[0].reason}"
        elif not doubt and share.origin is not None and (named := _backend_name(evidence)):
            reason, doubt = f"{at} {share.origin.part} leads to no Service port that there is", f" ({named})"
        blame += [one.ref for one in why[:2]]
        rejected = tuple(losers.excluded(why))
        if not http:
            text = f"{reason}{doubt}: the connection is closed"
            return self.walk.failed(flow, at, "reset", text, evidence=evidence, rejected=rejected)
        return self.walk.refused(
            flow,
            at,
            f"{reason}{doubt}",
            status=action.not_found if action else 503,
            flag="NC",
            envoy=True,
            evidence=evidence,
            blame=tuple(dict.fromkeys(blame)),
            truth=self.proxy.truth,
            rejected=rejected,
            fix=f"let {at} name a Service, port and subset that exist",
        )

    def _why_no_cluster(self, name: str, flow: Flow, reason: str) -> str | list[Branch]:
        """What the Services say of a cluster that is not there, or the branch where they were not read."""
        parts = name.split("|")
        named = cluster_name(parts[3]) if len(parts) == 4 and parts[0].startswith("outbound") else None
        if named is None:
            return ""
        ref = Ref("", "Service", named[1], named[0])
        service = self.walk.world.get(kinds.SERVICE, ref.namespace, ref.name)
        if service is None:
            unknown = self.walk.lacking(flow, ref, reason) if self.proxy.truth == "intent" else None
            return unknown or f": {ref} does not exist"
        ports = [str(one.port) for one in service_ports(service)]
        if parts[1] not in ports:
            return f": {ref} has no port {parts[1]} (it has {', '.join(ports) or 'none'})"
        if parts[2]:
            return f": no DestinationRule that applies here gives {parts[3]} a subset {parts[2]}"
        return ""

    def _empty(self, cluster: Cluster, flow: Flow, reason: str, **more: object) -> list[Branch]:
        at = _cluster_ref(cluster, self.at)
        return self.walk.refused(
            flow,
            at,
            reason,
            status=cluster.empty_status,
            flag=cluster.empty_flag,
            envoy=True,
            truth=self.proxy.truth,
            **more,  # type: ignore[arg-type]
        )

    def _original(self, cluster: Cluster, flow: Flow, http: bool) -> list[Branch]:
        """To the address that the client meant."""
        target = flow.target
        if target is None and (ways := self.walk.original(cluster, flow, self.port)) is not None:
            return ways
        if target is None or (not self.outbound and target is not None):
            where = flow.target.host if flow.target else "the original destination"
            return self.walk.unknown(
                flow, self.at, f"cluster {cluster.name} sends to {where}, which is not known"
            )
        hop = Hop(
            _cluster_ref(cluster, self.proxy.pod),
            Act.FORWARDS,
            f"cluster {cluster.name} sends to the address that the client meant, {target.host}:{target.port}"
            f", in {self._spoken(cluster)}",
            truth=self.proxy.truth,
            request=flow.request,
            brief=f"to {target.host}:{target.port}, in {self._spoken(cluster)}",
        )
        if not (cluster.endpoints and cluster.tls is ClientTls.AUTO):
            return behind([hop], self.walk.deliver(target, self._secured(cluster, flow, None, http)))
        service = self._service(cluster)
        ports = [] if service is None else service_ports(service)
        flow = flow.to(mapped=all(one.target == one.port for one in ports if one.port == target.port))
        endpoints = [one for one in cluster.endpoints if one.health is Health.HEALTHY]
        if target.pod is not None:
            endpoints = [one for one in endpoints if one.pod == target.pod.ref] or endpoints
        return behind(
            [hop], self._fan_out(cluster, [replace(one, port=target.port) for one in endpoints], flow, http)
        )

    @staticmethod
    def _spoken(cluster: Cluster) -> str:
        return "plaintext" if cluster.tls in (ClientTls.PLAIN, ClientTls.AUTO) else "TLS"

    def _endpoints(
        self, cluster: Cluster, own: Flow, onward: Flow, action: Forward | None, http: bool
    ) -> list[Branch]:
        endpoints = cluster.endpoints
        usable = [one for one in endpoints if one.health is Health.HEALTHY]
        panic = not usable and cluster.panic and bool(endpoints)
        if panic:
            usable = list(endpoints)
        service = self._service(cluster)
        if not usable and not endpoints and (ways := self._implied(cluster, onward, http)) is not None:
            return ways
        if not usable:
            doubt = network.doubt(self.walk.world, service) if service is not None and not endpoints else ""
            if doubt and self.proxy.truth == "intent":
                return self.walk.unknown(
                    own, _cluster_ref(cluster, self.at), f"endpoints of {cluster.name}: {doubt}"
                )
            why = self._why_empty(cluster, service, endpoints)
            rejected = (*network.unready(endpoints), *losers.excluded(cluster.excluded))
            blame = (_cluster_ref(cluster, self.at), *(one.ref for one in cluster.origins))
            if not http:
                return self.walk.failed(
                    own, _cluster_ref(cluster, self.at), "reset", why, rejected=rejected, blame=blame
                )
            return self._empty(cluster, own, why, rejected=rejected, blame=blame)
        if action is not None and action.auto_host and usable[0].hostname:
            onward = onward.to(request=replace(onward.request, authority=usable[0].hostname))
        if cluster.external and not any(one.pod for one in usable):
            return self._outside(cluster, usable[0], onward)
        beside = self._beside(cluster, service)
        hop = self._forwards(cluster, usable, endpoints, beside)
        suspects = [one for one in (self.routed, *(origin.ref for origin in cluster.origins)) if one]
        onward = onward.to(suspects=tuple(dict.fromkeys(suspects)))
        ways = self._fan_out(cluster, usable, onward, http)
        if beside and self.routed is not None:
            ways = blaming([self.routed], ways)
        if panic:
            words = "none is ready, so the proxy tries them all"
            hop = replace(hop, detail=f"{hop.detail}; {words}", brief=f"{hop.brief}; {words}")
            ways = blaming([hop.object], ways)
        return behind([hop], ways)

    def _beside(self, cluster: Cluster, service: Obj | None) -> tuple[Rejected, ...]:
        """VirtualServices for the mesh that a gateway's own route goes past."""
        if service is None or cluster.subset or self.proxy.role != "gateway":
            return ()
        reason = "it is for sidecars: a gateway's route does not go through it"
        found = network.unapplied(self.walk.world, service)
        return tuple(replace(one, reason=reason) for one in found if one.object != self.routed)

    def _implied(self, cluster: Cluster, flow: Flow, http: bool) -> list[Branch] | None:
        """The way on where files lack endpoints and imply them: Knative's, or those of a gateway."""
        from kgdiag.trace import knative

        service = self._service(cluster)
        if service is None or cluster.subset:
            return None
        declared = next((one for one in service_ports(service) if one.port == cluster.port), None)

        def secured(sidecar: bool) -> Flow:
            return self._secured(cluster, flow, Endpoint("", 0, tls=sidecar), http)

        ways = knative.public_endpoints(self.walk, service, declared, secured)
        if ways is not None or declared is None or not network.doubt(self.walk.world, service):
            return ways
        return self.walk.assumed_gateway(service, declared, secured(False))

    def _outside(self, cluster: Cluster, endpoint: Endpoint, flow: Flow) -> list[Branch]:
        host = endpoint.hostname or endpoint.address
        inside = self.walk.host(host, endpoint.port, self._secured(cluster, flow, endpoint, True))
        if inside is not None:
            return inside
        return self.walk.external(host, endpoint.port, flow, cluster.service)

    def _service(self, cluster: Cluster) -> Obj | None:
        ref = cluster.service
        if ref is None or (ref.group, ref.kind) != ("", "Service"):
            return None
        return self.walk.world.get(kinds.SERVICE, ref.namespace, ref.name)

    def _why_empty(self, cluster: Cluster, service: Obj | None, endpoints: Sequence[Endpoint]) -> str:
        head = f"cluster {cluster.name} has no healthy endpoint"
        if service is None or cluster.subset:
            subset = f": no ready pod has the labels of subset {cluster.subset}" if cluster.subset else ""
            return head + subset
        declared = next((one for one in service_ports(service) if one.port == cluster.port), None)
        if declared is None:
            return head
        return f"{head}: {network.why_empty(self.walk.world, service, declared, endpoints)}"

    def _forwards(
        self,
        cluster: Cluster,
        usable: Sequence[Endpoint],
        all_: Sequence[Endpoint],
        beside: Sequence[Rejected] = (),
    ) -> Hop:
        at = _cluster_ref(cluster, self.at)
        secure = [one for one in usable if self._is_mesh(cluster, one)]
        if cluster.tls in (ClientTls.SIMPLE, ClientTls.MUTUAL):
            how = f"TLS, server name {cluster.sni or 'none'}"
        elif len(secure) == len(usable):
            how = "the mesh's TLS"
        else:
            how = "plaintext" if not secure else f"the mesh's TLS to {len(secure)} of {len(usable)}"
        detail = f"{network.describe(self.walk.world, usable)}; {how}"
        evidence = tuple(item for origin in cluster.origins for item in origin.evidence)
        rejected = (*network.unready(all_), *beside, *losers.excluded(cluster.excluded))
        hop = Hop(
            at,
            Act.FORWARDS,
            detail,
            evidence,
            losers.nearest(rejected),
            self.proxy.truth,
            brief=f"to {brief.endpoints(usable, at.namespace)}, in {how}",
        )
        return verify.with_commands(hop, self.proxy, "endpoint", name=cluster.name)

    @staticmethod
    def _is_mesh(cluster: Cluster, endpoint: Endpoint | None) -> bool:
        auto = cluster.tls is ClientTls.AUTO and endpoint is not None and endpoint.tls
        return cluster.tls is ClientTls.MESH or auto

    def _fan_out(self, cluster: Cluster, usable: Sequence[Endpoint], flow: Flow, http: bool) -> list[Branch]:
        service = self._service(cluster)
        declared = flow.declared
        if service is not None:
            port = next((one for one in service_ports(service) if one.port == cluster.port), None)
            declared = network.declared_protocol(port) if port else ""
        flow = flow.to(declared=declared)
        total = sum(one.weight for one in usable) or 1.0
        kinds_of: dict[bool, list[Endpoint]] = {}
        for one in usable:
            kinds_of.setdefault(self._is_mesh(cluster, one), []).append(one)
        branches: list[Branch] = []
        for members in kinds_of.values():
            ways = self.walk.spread(members, self._secured(cluster, flow, members[0], http), service)
            branches += scaled(sum(one.weight for one in members) / total, ways)
        return merged(branches)

    def _secured(self, cluster: Cluster, flow: Flow, endpoint: Endpoint | None, http: bool) -> Flow:
        """The flow with the TLS that the cluster speaks, and the request's scheme to go with it."""
        h2 = bool(cluster.http2) or flow.request.grpc
        if self._is_mesh(cluster, endpoint):
            alpn: tuple[str, ...] = (MESH_H2_ALPN if h2 else MESH_HTTP_ALPN) if http else MESH_TCP_ALPN
            identity = self.proxy.identity
            layer = Hello(
                cluster.sni or _mesh_sni(cluster.name), alpn, "mesh", identity, identity is not None
            )
        elif cluster.tls in (ClientTls.SIMPLE, ClientTls.MUTUAL):
            alpn = (("h2",) if h2 else HTTP_ALPN[1:]) if http else ()
            layer = Hello(cluster.sni, alpn, "file" if cluster.tls is ClientTls.MUTUAL else "none")
        else:
            return flow.to(request=_schemed(flow.request, tls=False)) if http else flow
        request = _schemed(flow.request, tls=True) if http else flow.request
        return flow.to(layers=(layer, *flow.layers), request=request)

    def _verified(self, branches: list[Branch], what: str, **where: str) -> list[Branch]:
        return [
            replace(one, hops=(verify.with_commands(one.hops[0], self.proxy, what, **where), *one.hops[1:]))  # type: ignore[arg-type]
            for one in branches
        ]


# -- small things --------------------------------------------------------------------------------------


def _schemed(request: Request, *, tls: bool) -> Request:
    if not request.is_http:
        return request
    base = "grpc" if request.grpc else "http"
    return replace(request, scheme=base + "s" if tls else base)


def _mesh_sni(name: str) -> str | None:
    """``outbound_.80_.v1_.host`` of ``outbound|80|v1|host``. Source: istio BuildDNSSrvSubsetKey."""
    parts = name.split("|")
    return "{}_.{}_.{}_.{}".format(*parts) if len(parts) == 4 else None


def _normalized(connections: HttpConnections, request: Request) -> Request:
    path = request.path
    if connections.escaped_slashes == "decode":
        path = _decoded(path)
    if connections.normalize_path:
        path = normalize(path, merge_slashes=connections.merge_slashes)
    elif connections.merge_slashes:
        path = merged_slashes(path)
    return request if path == request.path else replace(request, path=path)


def _decoded(path: str) -> str:
    for mark, plain in (("%2F", "/"), ("%2f", "/"), ("%5C", "\\"), ("%5c", "\\")):
        path = path.replace(mark, plain)
    return path


def _stripped(connections: HttpConnections, request: Request, port: int) -> Request:
    """The request with what the connection manager strips from its Host.

    Source: envoy source/common/http/conn_manager_utility.cc, maybeNormalizeHost; header_utility.cc.
    """
    authority = request.authority
    bare = without_port(authority)
    number = authority[len(bare) + 1 :]
    if number and not number.isdigit():
        bare, number = authority, ""
    if connections.strip_dot and bare.endswith("."):
        bare = bare[:-1]
        authority = f"{bare}:{number}" if number else bare
    if connections.strip_port == "any" or (connections.strip_port == "own" and number == str(port)):
        authority = bare
    return request if authority == request.authority else replace(request, authority=authority)


def _filters(connections: HttpConnections, route: Route | None) -> tuple[HttpFilter, ...]:
    """The filters that judge a request to a route: the chain's, as the route has them, and its own."""
    found = []
    for one in connections.filters:
        own = route.overrides.get(one.key) if route is not None and one.key else None
        made = one.override(own) if own is not None and one.override else one if one.enabled else None
        if made is not None:
            found.append(made)
    return (*found, *(route.filters if route is not None else ()))


Levels = tuple[RouteConfig, VirtualHost, Route]


def _levels(
    levels: Levels, share: WeightedCluster | None
) -> list[RouteConfig | VirtualHost | Route | WeightedCluster]:
    """The levels of header edits in the order in which Envoy applies them."""
    ordered = levels if levels[0].specific_last else levels[::-1]
    return [share, *ordered] if share is not None else [*ordered]


def _answers(levels: Levels, share: WeightedCluster | None, request: Request) -> tuple[HeaderEdits, ...]:
    """What is done to answers on a route."""
    return tuple(
        expanded(one.response_headers, request)
        for one in _levels(levels, share)
        if one.response_headers.ops or one.response_headers.remove
    )


def _answered(branches: list[Branch], levels: Levels, flow: Flow) -> list[Branch]:
    """What the proxy answers itself for a request that it would forward gets the route's header edits too
    (measured on Envoy 1.40), those of its weighted clusters among them."""
    action = levels[2].action
    if not isinstance(action, Forward):
        return branches
    shares = [one for one in action.clusters if one.weight > 0]
    if not any(one.response_headers.ops or one.response_headers.remove for one in shares):
        return _with_answers(branches, (*_answers(levels, None, flow.request), *flow.response))
    total = sum(one.weight for one in shares)
    return merged(
        branch
        for share in shares
        for branch in scaled(
            share.weight / total,
            _with_answers(branches, (*_answers(levels, share, flow.request), *flow.response)),
        )
    )


def _backend_name(evidence: Sequence[Evidence]) -> str:
    """``shop/cart:80``, what a backendRef names; "" where the evidence is none."""
    for one in evidence:
        if isinstance(one.value, dict) and one.value.get("name"):
            space = f"{one.value['namespace']}/" if one.value.get("namespace") else ""
            port = f":{one.value['port']}" if one.value.get("port") else ""
            return f"{space}{one.value['name']}{port}"
    return ""


def _is_through(share: WeightedCluster) -> bool:
    return share.cluster == "PassthroughCluster"


def _routeless(branches: list[Branch]) -> list[Branch]:
    """Answers of a proxy that would have had no route either."""
    return [replace(one, outcome=replace(one.outcome, routeless=True)) for one in branches]


def _with_answers(branches: list[Branch], edits: tuple[HeaderEdits, ...]) -> list[Branch]:
    found = response_headers(edits)
    return [replace(one, outcome=replace(one.outcome, response_headers=found)) for one in branches]


def _first_route(host: VirtualHost, request: Request) -> Route | None:
    return next((route for route in host.routes if miss(route.match, request) is None), None)


def _rewritten(share: WeightedCluster, action: Forward, route: Route, request: Request) -> Request:
    """Host and path after the rewrites of a destination, or of its route."""
    host = action.host_rewrite
    if not host and action.host_header:
        host = first_value(request, action.host_header)
    if not host and action.host_regex and (pattern := compiled(action.host_regex[0])) is not None:
        host = substituted(pattern, action.host_regex[1], request.path)
    host = host or share.host_rewrite  # measured with Istio 1.31: the route's wins over the destination's
    if host:
        request = replace(request, authority=host)
    rewrite = share.path_rewrite or action.path_rewrite
    if rewrite is None:
        return request
    path = rewrite_path(rewrite, route.match.path, request.path) + request.target[len(request.path) :]
    bare, mark, query = path.partition("?")
    return replace(request, path=bare, query=query, bare_query=bool(mark) and not query)


def _named(route: Route, at: Ref) -> str:
    return f"{at} {route.origin.part}" if route.origin and route.origin.part else str(at)


def _why(route: Route, at: Ref) -> str:
    from kgdiag.trace.match import describe

    conditions = []
    if route.match.path is not None:
        conditions.append(f"path {describe(route.match.path)}")
    for header in route.match.headers:
        wanted = describe(header.match) if header.match else "present"
        conditions.append(f"{header.name} {'not ' if header.invert else ''}{wanted}")
    for parameter in route.match.query:
        conditions.append(
            f"query {parameter.name} {describe(parameter.match) if parameter.match else 'present'}"
        )
    return f"{_named(route, at)} matches{': ' + ', '.join(conditions) if conditions else ' everything'}"


def _cluster_ref(cluster: Cluster, otherwise: Ref) -> Ref:
    return cluster.service or (cluster.origins[0].ref if cluster.origins else otherwise)
