"""The outbound side of a sidecar: which listener takes a connection of its application.

Sources: istio pilot/pkg/networking/core/listener.go (buildSidecarOutboundListeners and the conflicts it
resolves), tls.go (TLS and TCP filter chains), httproute.go (getVirtualHostsForSniffedServicePort),
listener_builder.go (buildOutboundCatchAllNetworkFiltersOnly).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from kgdiag.dialects.istio import registry, routes
from kgdiag.dialects.istio.hosts import overlap
from kgdiag.dialects.istio.registry import Port, Resolution, Service
from kgdiag.dialects.istio.scope import Egress, mesh_routes
from kgdiag.dialects.istio.virtual_hosts import (
    UNREAD,
    Later,
    LazyRouteConfig,
    PortHosts,
    View,
    catch_all,
    port_origin,
)
from kgdiag.graph.core import addresses, services_of
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import (
    ChainMatch,
    FilterChain,
    HttpConnections,
    Listener,
    Origin,
    RouteConfig,
    TcpConnections,
    VirtualHost,
    WeightedCluster,
)
from kgdiag.model.read import Origin as Source

ANY_IP = "0.0.0.0"
PLAIN_HTTP = ("http/1.1", "h2c")


@dataclass(frozen=True)
class Outbound(View):
    """What a sidecar does with connections of its application. Pure questions to a World."""

    # -- listeners -----------------------------------------------------------------------------------

    def listener(self, address: str, port: int) -> Listener:
        """The listener for a destination. ``address`` is an IP, or a host name where that is not known."""
        entry = self.scope.egress_at(port)
        if entry is None:
            return self._virtual(port)
        if entry.port is not None:
            return self._explicit(entry, address, port)
        owner = self._owner(entry, address, port)
        declared = owner.port(port) if owner else None
        if owner is not None and declared is not None:
            if declared.http:
                return self._wildcard(entry, port, owner) or self._virtual(port)
            if (declared.tcp or declared.auto) and owner.resolution is not Resolution.ALIAS:
                return self._own(entry, owner, declared, address)
        return self._wildcard(entry, port, None) or self._virtual(port)

    def _owner(self, entry: Egress, address: str, port: int) -> Service | None:
        """The service whose address this is: by name, by VIP, or a headless one by its pod's IP."""
        if not address:
            return None
        if not registry.is_ip(address):
            host = address.rstrip(".").lower()
            found = self.visible(entry, registry.named(self.world, self.mesh, host), port)
            alias = found and found.alias_of
            return (
                self.by_host(entry, registry.concrete(self.world, self.mesh, found), port)
                if found and alias
                else found
            )
        known = [registry.of_service(self.mesh, one) for one in self.world.known(kinds.SERVICE)]
        known += registry.entries(self.world, self.mesh)
        found_all = [one for one in known if address in one.addresses]
        headless = self._headless_at(entry, address, port) if not found_all else None
        if headless is not None:
            return headless
        if not found_all:
            found_all = registry.with_address(self.world, self.mesh, address)
        return self.visible(entry, found_all, port)

    def _headless_at(self, entry: Egress, address: str, port: int) -> Service | None:
        """The headless Service that has a listener for this pod's address.

        On a live cluster only pods that are read are looked at: whoever connects to a pod has read it.
        """
        live = self.world.origin is Source.LIVE
        pods = self.world.known(kinds.POD) if live else self.world.all(kinds.POD)
        pod = next((one for one in pods if one.text("status.podIP") == address), None)
        if pod is None or pod.ref == self.pod.ref:
            return None
        found = [registry.of_service(self.mesh, one) for one in services_of(self.world, pod)]
        return self.visible(entry, [one for one in found if one.headless and one.port(port)], port)

    def _virtual(self, port: int) -> Listener:
        """No listener of its own: what the proxy does with destinations that nobody told it of."""
        return Listener("virtualOutbound", ANY_IP, port, (), self._fallthrough())

    def _fallthrough(self) -> FilterChain:
        name, origin = self.unknown_cluster()
        network = TcpConnections((WeightedCluster(name, origin=origin),))
        return FilterChain("PassthroughFilterChain", ChainMatch(), network, origin=origin)

    def _wildcard(self, entry: Egress, port: int, hint: Service | None) -> Listener | None:
        """``0.0.0.0_PORT``: HTTP by Host, and TCP services that have no address of their own."""
        chains: list[FilterChain] = []
        taken: set[object] = set()
        detected = False
        for service in registry.entries(self.world, self.mesh):
            declared = service.port(port)
            ranges = tuple(one for one in service.addresses if "/" in one)
            if declared is None or not self.scope.shows(service, entry) or (service.addresses and not ranges):
                continue
            if declared.tcp or declared.auto:
                chains += self._tcp_chains(entry, service, declared, bound=ANY_IP, taken=taken, cidr=ranges)
            detected = detected or declared.auto
        if detected or (hint is not None) or self._any_http(entry, port):
            chains.append(self._http_chain(lambda: self.route_config(entry, port)))
        return self._listener(f"{ANY_IP}_{port}", ANY_IP, port, chains) if chains else None

    def _any_http(self, entry: Egress, port: int) -> bool:
        """Whether any service has HTTP on this port. What is read already may settle it."""

        def found(services: Iterable[Service]) -> bool:
            return any(
                (declared := one.port(port)) is not None
                and declared.http
                and one.resolution is not Resolution.ALIAS
                and self.scope.shows(one, entry)
                for one in services
            )

        known = [registry.of_service(self.mesh, one) for one in self.world.known(kinds.SERVICE)]
        return found(known) or found(registry.everything(self.world, self.mesh))

    def _own(self, entry: Egress, service: Service, port: Port, address: str) -> Listener:
        """``VIP_PORT``: one service with TCP, TLS or a protocol that is detected."""
        if not service.headless and not service.addresses and not service.kubernetes:
            return self._wildcard(entry, port.number, None) or self._virtual(port.number)
        if service.headless and not self._has_instance(service, port, address):
            return self._wildcard(entry, port.number, None) or self._virtual(port.number)
        chains = self._tcp_chains(entry, service, port, bound=address, taken=set())
        if port.auto:
            chains.append(self._http_chain(lambda: self.detected_config(entry, service, port)))
        return self._listener(f"{address}_{port.number}", address, port.number, chains)

    def _has_instance(self, service: Service, port: Port, address: str) -> bool:
        """A headless Service has a listener for each of its pods' addresses, and for nothing else."""
        if port.service_port is None:
            return False
        found = addresses(self.world, service.obj, port.service_port)
        return bool(found) and (not registry.is_ip(address) or any(one.ip == address for one in found))

    def _explicit(self, entry: Egress, address: str, port: int) -> Listener:
        """A listener that a Sidecar's egress entry declares, with its own protocol and services."""
        protocol = registry.protocol_named(entry.protocol)
        declared = Port("", port, protocol)
        if declared.http:
            bound = entry.bind or ANY_IP
            chain = self._http_chain(lambda: self.route_config(entry, port))
            if bound != ANY_IP:
                chain = replace(chain, match=ChainMatch())
            return self._listener(f"{bound}_{port}", bound, port, [chain])
        owner = self._owner(entry, address, port)
        bound = entry.bind or (address if owner is not None and owner.addresses else ANY_IP)
        mates = [owner] if owner is not None and owner.addresses else self._without_address(entry)
        taken: set[object] = set()
        chains = [
            chain
            for one in mates
            for chain in self._tcp_chains(entry, one, declared, bound=bound, taken=taken)
        ]
        if declared.auto and mates:
            chains.append(self._http_chain(partial(self.detected_config, entry, mates[0], declared)))
        return self._listener(f"{bound}_{port}", bound, port, chains) if chains else self._virtual(port)

    def _without_address(self, entry: Egress) -> list[Service]:
        """The services of an entry that share the listener of every address: headless ones and the like."""
        found = registry.everything(self.world, self.mesh)
        return [
            one
            for one in found
            if self.scope.shows(one, entry) and not one.addresses and one.resolution is not Resolution.ALIAS
            and (not one.kubernetes or one.headless)
        ]  # fmt: skip

    def _listener(self, name: str, address: str, port: int, chains: Sequence[FilterChain]) -> Listener:
        """A chain that matches everything becomes the default one; else unknown connections fall through."""
        every = [chain for chain in chains if chain.match == ChainMatch()]
        others = tuple(chain for chain in chains if chain.match != ChainMatch())
        origin = self.scope.sidecar
        return Listener(
            name,
            address,
            port,
            others,
            every[0] if every else self._fallthrough(),
            origins=(Origin(origin.ref, "spec.egress"),) if origin is not None else (),
        )

    @staticmethod
    def _http_chain(make: Callable[[], RouteConfig]) -> FilterChain:
        match = ChainMatch(transport="raw_buffer", alpn=PLAIN_HTTP)
        return FilterChain("", match, HttpConnections(make))

    # -- TCP and TLS ---------------------------------------------------------------------------------

    def _tcp_chains(
        self,
        entry: Egress,
        service: Service,
        port: Port,
        *,
        bound: str,
        taken: set[object],
        cidr: tuple[str, ...] = (),
    ) -> list[FilterChain]:
        """The chains of one service, without those whose conditions are taken already."""
        made = (
            self._tls(entry, service, port, bound, cidr)
            if port.tls
            else self._plain(entry, service, port, cidr)
        )
        chains = []
        for chain in made:
            key = (frozenset(chain.match.server_names), frozenset(chain.match.addresses))
            if key not in taken:
                taken.add(key)
                chains.append(chain)
        return chains

    def _l4_services(self, entry: Egress, service: Service) -> Iterator[Obj]:
        """The VirtualServices for a service's TCP and TLS: here istiod minds the case of their hosts."""
        for route in mesh_routes(self.world, self.mesh, self.scope, entry):
            if any(overlap(host, service.host) for host in routes.hosts_of(route, self.mesh)):
                yield route

    def _tls(
        self, entry: Egress, service: Service, port: Port, bound: str, cidr: tuple[str, ...]
    ) -> Iterator[FilterChain]:
        found = False
        for route in self._l4_services(entry, service):
            for one in routes.tls_routes(self.context(entry, port.number), route):
                found = True
                names = () if "*" in one.sni_hosts else one.sni_hosts
                match = ChainMatch(server_names=names, addresses=one.subnets or cidr)
                origin = Origin(route.ref, one.part, (route.evidence(one.part),))
                yield FilterChain("", match, TcpConnections(one.clusters), origin=origin)
        if found:
            return
        names = (service.host,) if cidr or bound == ANY_IP or not bound else ()
        yield self._default_chain(service, port, ChainMatch(server_names=names, addresses=cidr))

    def _plain(
        self, entry: Egress, service: Service, port: Port, cidr: tuple[str, ...]
    ) -> Iterator[FilterChain]:
        for route in self._l4_services(entry, service):
            for one in routes.tcp_routes(self.context(entry, port.number), route):
                origin = Origin(route.ref, one.part, (route.evidence(one.part),))
                match = ChainMatch(addresses=one.subnets or cidr)
                yield FilterChain("", match, TcpConnections(one.clusters), origin=origin)
                if not one.subnets:
                    return  # it takes every destination: nothing after it is looked at
        yield self._default_chain(service, port, ChainMatch(addresses=cidr))

    def _default_chain(self, service: Service, port: Port, match: ChainMatch) -> FilterChain:
        number = service.ports[0].number if len(service.ports) == 1 else port.number
        origin = port_origin(service, port.number)
        cluster = WeightedCluster(routes.cluster_key(service.host, number), origin=origin)
        return FilterChain("", match, TcpConnections((cluster,)), origin=origin)

    # -- route configs -------------------------------------------------------------------------------

    def route_config(self, entry: Egress, port: int) -> RouteConfig:
        """The route config that all HTTP services of a port share."""
        doubt = self.doubt()
        if doubt:
            return RouteConfig(str(port), (catch_all("unread", UNREAD + doubt, None),))
        hosts = PortHosts(self, entry, port)
        return LazyRouteConfig(
            name=str(port),
            virtual_hosts=cast("tuple[VirtualHost, ...]", Later(hosts.known)),
            excluded_for=hosts.excluded_for,
            find=hosts.find,
        )

    def detected_config(self, entry: Egress, service: Service, port: Port) -> RouteConfig:
        """The route config of one service whose protocol is detected: it takes every Host."""
        name = f"{service.host}:{port.number}"
        doubt = self.doubt()
        if doubt:
            return RouteConfig(name, (catch_all("unread", UNREAD + doubt, None),))
        hosts = PortHosts(self, entry, port.number)
        found = hosts.find(service.host)
        made = (replace(found, domains=("*",)),) if found else ()
        return RouteConfig(name, made, excluded_for=lambda _host: hosts.excluded_for(service.host))
