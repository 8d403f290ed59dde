"""Virtual hosts of a sidecar: whose route a Host gets, on each port.

Sources: istio pilot/pkg/networking/core/httproute.go (BuildSidecarOutboundVirtualHosts,
generateVirtualHostDomains, buildCatchAllVirtualHost), route/route.go (BuildSidecarVirtualHostWrapper,
separateVSHostsAndServices, buildSidecarVirtualHostsForVirtualService), pilot/pkg/model/sidecar.go
(computeWildcardHostVirtualServiceIndex), push_context.go (resolveServiceAliases).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from kgdiag.dialects.istio import clusters, registry, routes
from kgdiag.dialects.istio.hosts import overlap, specificity, subset_of
from kgdiag.dialects.istio.mesh import Mesh, proxy_env
from kgdiag.dialects.istio.registry import Resolution, Service
from kgdiag.dialects.istio.scope import Egress, Scope, bound_to_mesh, export_rank, mesh_routes, route_hosts
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import (
    Direct,
    Excluded,
    Forward,
    How,
    Origin,
    Route,
    RouteConfig,
    RouteMatch,
    StringMatch,
    VirtualHost,
    WeightedCluster,
)
from kgdiag.model.read import Origin as Source
from kgdiag.model.ref import Ref

UNREAD = "unread|"  # a cluster of ours that stands for what could not be read
EVERY_PATH = RouteMatch(StringMatch(How.PREFIX, "/"))


@dataclass(frozen=True)
class View:
    """What one sidecar is told of."""

    world: World
    mesh: Mesh
    pod: Obj
    scope: Scope

    def visible(self, entry: Egress, found: Sequence[Service], port: int) -> Service | None:
        """The one of several services that the entry shows: with the port, of the own namespace, oldest."""
        shown = [one for one in found if self.scope.shows(one, entry)]
        own = self.pod.namespace
        chosen = min(
            shown,
            key=lambda one: (one.port(port) is None, one.namespace != own, not one.kubernetes, one.age),
            default=None,
        )
        if chosen is None or not chosen.allocated or not self.dns_capture:
            return chosen
        return replace(chosen, addresses=(*chosen.addresses, *chosen.allocated))

    @property
    def dns_capture(self) -> bool:
        """Whether the proxy answers DNS, and so knows addresses that istiod made up."""
        declared = self.mesh.raw.get("defaultConfig")
        metadata = declared.get("proxyMetadata") if isinstance(declared, Mapping) else None
        general = metadata.get("ISTIO_META_DNS_CAPTURE") if isinstance(metadata, Mapping) else None
        own = proxy_env(self.pod).get("ISTIO_META_DNS_CAPTURE")
        return str(own or general or "").lower() == "true"

    def by_host(self, entry: Egress, host: str, port: int) -> Service | None:
        return self.visible(entry, registry.named(self.world, self.mesh, host), port) if host else None

    def unknown_cluster(self) -> tuple[str, Origin | None]:
        """Where unknown destinations go, and the Sidecar that says so."""
        scope = self.scope
        origin = None
        if scope.sidecar is not None:
            part = "spec.outboundTrafficPolicy"
            if scope.sidecar.get(part) is not None:
                origin = Origin(scope.sidecar.ref, part, (scope.sidecar.evidence(part),))
        if not scope.outbound.startswith("ALLOW_ANY"):
            return clusters.BLACK_HOLE, origin
        proxy = scope.egress_proxy
        if proxy and proxy.get("host"):
            port = proxy.get("port")
            number = port.get("number", 0) if isinstance(port, dict) else 0
            return routes.cluster_key(str(proxy["host"]), number, str(proxy.get("subset") or "")), origin
        return clusters.PASSTHROUGH, origin

    def context(self, entry: Egress, port: int) -> routes.RouteContext:
        """For routes of the mesh gateway on one port.

        Sidecars know a destination's service only where it has the listener's port, and then that port alone.
        """

        def service_of(_route: Obj, host: str) -> Service | None:
            found = self.by_host(entry, host, port)
            declared = found.port(port) if found else None
            return replace(found, ports=(declared,)) if found and declared else None

        return routes.RouteContext(
            world=self.world, mesh=self.mesh, gateway=routes.MESH, server_port=port,
            proxy_namespace=self.pod.namespace, proxy_labels=self.pod.labels, proxy_pod=self.pod,
            service_of=service_of,
        )  # fmt: skip

    def doubt(self) -> str:
        """What could not be read and decides over virtual hosts."""
        for kind in (kinds.VIRTUAL_SERVICE, kinds.SERVICE_ENTRY):
            if not self.world.readable(kind):
                return f"{kind.name}s of all namespaces could not be read"
        for namespace in (self.pod.namespace, self.mesh.root_namespace):
            if not self.world.readable(kinds.SIDECAR, namespace):
                return f"Sidecars of namespace {namespace} could not be read"
        return ""

    def catch_all(self) -> VirtualHost:
        """``allow_any`` or ``block_all``."""
        name, origin = self.unknown_cluster()
        if name != clusters.BLACK_HOLE:
            return catch_all("allow_any", name, origin)
        text = "no service has this host, and the outbound traffic policy is REGISTRY_ONLY"
        route = Route(EVERY_PATH, Direct(502, reason=text), origin, "block_all")
        return VirtualHost("block_all", ("*",), lambda: (route,), origin=origin)


def catch_all(name: str, cluster: str, origin: Origin | None) -> VirtualHost:
    route = Route(EVERY_PATH, Forward((WeightedCluster(cluster, origin=origin),)), origin, name)
    return VirtualHost(name, ("*",), lambda: (route,), origin=origin)


def port_origin(service: Service, number: int) -> Origin:
    port = service.port(number)
    part = f"spec.ports[{port.index}]" if port else "spec.ports"
    return Origin(service.obj.ref, part, (service.obj.evidence(part),))


class Later(Sequence[VirtualHost]):
    """Virtual hosts that are made when somebody looks at them."""

    def __init__(self, make: Callable[[], tuple[VirtualHost, ...]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> tuple[VirtualHost, ...]:
        return self._make()

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, at: int | slice) -> VirtualHost:  # type: ignore[override]
        return self._made[at]  # type: ignore[return-value]

    def __iter__(self) -> Iterator[VirtualHost]:
        return iter(self._made)


class _Domains(dict[str, VirtualHost]):
    """Virtual hosts by domain, each looked up when it is asked for: one Host needs one Service."""

    def __init__(self, find: Callable[[str], VirtualHost | None]) -> None:
        super().__init__()
        self._find = find
        self._absent: set[str] = set()

    def __missing__(self, domain: str) -> VirtualHost:
        found = None if domain in self._absent else self._find(domain)
        if found is None:
            self._absent.add(domain)
            raise KeyError(domain)
        self[domain] = found
        return found

    def __contains__(self, domain: object) -> bool:
        return isinstance(domain, str) and self.get(domain) is not None

    def get(self, domain: str, default: VirtualHost | None = None) -> VirtualHost | None:  # type: ignore[override]
        try:
            return self[domain]
        except KeyError:
            return default


@dataclass(frozen=True)
class LazyRouteConfig(RouteConfig):
    """A route config that finds a domain without making all virtual hosts."""

    find: Callable[[str], VirtualHost | None] = lambda _domain: None

    @cached_property
    def by_domain(self) -> dict[str, VirtualHost]:
        return _Domains(self.find)


# -- the virtual hosts of one port ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Wrapper:
    """Routes for some hosts that are no services, and for some services."""

    origin: Origin
    make: Callable[[], tuple[Route, ...]]
    make_excluded: Callable[[], tuple[Excluded, ...]]
    hosts: tuple[str, ...]
    services: tuple[Service, ...]


@dataclass(frozen=True)
class PortHosts:
    """The virtual hosts that HTTP on one port is told apart by.

    ``find`` answers for one domain with the services that could own it and the VirtualServices that name it
    or them; istiod's algorithm runs over these few, which gives the same as over all.
    """

    view: View
    entry: Egress
    port: int
    found: dict[str, VirtualHost] = field(default_factory=dict, compare=False)  # by name, what was asked for

    def find(self, domain: str) -> VirtualHost | None:
        """The virtual host of one domain: a host, ``*.suffix`` or ``*``."""
        host = self._lookup(domain)
        if host is not None:
            self.found[host.name] = host
        return host

    def winner(self, host: str) -> VirtualHost | None:
        """The virtual host of a request: by its Host, the longest suffix, or none of them."""
        suffixes = (f"*{host[at:]}" for at in range(1, len(host)) if host[at] == ".")
        domains = (host, *suffixes, "*")
        return next((one for domain in domains if (one := self.find(domain)) is not None), None)

    def _lookup(self, domain: str) -> VirtualHost | None:
        world, view = self.view.world, self.view
        if domain == "*":
            return view.catch_all()
        scope = view.scope.sidecar and view.scope.sidecar.ref
        key = ("istio virtual host", view.mesh.revision, view.pod.ref, scope, self.entry.index)
        return world.memo((*key, self.port, domain), lambda: self._find(domain))

    def _find(self, domain: str) -> VirtualHost | None:
        if domain.startswith("*") and not self._possible_wildcard(domain):
            return None
        for host in self.build(self._concerned(domain)):
            if domain in host.domains:
                return host
        return None

    def known(self) -> tuple[VirtualHost, ...]:
        """Virtual hosts to name near misses from: all of files, of a live cluster those of what is read."""
        world, mesh = self.view.world, self.view.mesh
        if world.origin is Source.LIVE:
            found = [registry.of_service(mesh, one) for one in world.known(kinds.SERVICE)]
            found += registry.entries(world, mesh)
        else:
            found = registry.everything(world, mesh)
        made = (*self.build(found), self.view.catch_all())
        return tuple(self.found.get(host.name, host) for host in made)

    # -- which services ------------------------------------------------------------------------------

    def _possible_wildcard(self, domain: str) -> bool:
        """Wildcard domains come of VirtualServices and ServiceEntries, and of headless Services."""
        world, mesh = self.view.world, self.view.mesh
        if any(one.host == domain.rstrip(".") for one in registry.entries(world, mesh)):
            return True
        if any(domain in route_hosts(mesh, route) for route in self._routes()):
            return True
        return domain.startswith("*.") and any(one.headless for one in self._owners(domain[2:]))

    def _routes(self) -> list[Obj]:
        view = self.view
        return mesh_routes(view.world, view.mesh, view.scope, self.entry)

    def _concerned(self, domain: str) -> list[Service]:
        """The services that have a say in who owns a domain."""
        world, mesh = self.view.world, self.view.mesh
        owners = self._owners(domain)
        if domain.startswith("*."):
            owners += self._owners(domain[2:])
        hosts = {domain, *(one.host for one in owners)}
        for route in self._routes():
            named = route_hosts(mesh, route)
            if not any(host in hosts for host in named) and not any(
                host.startswith("*") and any(overlap(host, one) for one in hosts) for host in named
            ):
                continue
            if any(host.startswith("*") and domain.startswith("*") for host in named):
                return registry.everything(world, mesh)  # a wildcard is a domain where no service is in it
            for host in named:
                if not host.startswith("*"):
                    owners += registry.named(world, mesh, host)
        for one in list(owners):
            if one.alias_of:
                owners += registry.named(world, mesh, registry.concrete(world, mesh, one))
        unique = {(one.host, one.namespace, one.obj.ref): one for one in owners}
        return sorted(unique.values(), key=lambda one: one.age)

    def _owners(self, domain: str) -> list[Service]:
        """Services that have this domain: by a full or short name, or by a VIP."""
        world, mesh = self.view.world, self.view.mesh
        if registry.is_ip(domain.strip("[]")):
            return registry.with_address(world, mesh, domain.strip("[]"))
        found = registry.named(world, mesh, domain.rstrip("."))
        full = self._full_name(domain.rstrip("."))
        return found + (registry.named(world, mesh, full) if full else [])

    def _full_name(self, domain: str) -> str:
        """The Service that a short form names, ``""`` where it is none or names a namespace that is not."""
        parts = domain.split(".")
        suffix = f"svc.{self.view.mesh.domain}"
        if len(parts) == 1:
            return f"{domain}.{self.view.pod.namespace}.{suffix}"
        if len(parts) == 3 and parts[2] == "svc":
            return f"{parts[0]}.{parts[1]}.{suffix}"
        if len(parts) == 2:
            world = self.view.world
            namespace = world.get(kinds.NAMESPACE, "", parts[1], optional=True)
            if world.origin is Source.LIVE and namespace is None and world.readable(kinds.NAMESPACE):
                return ""  # example.com is no Service of a namespace "com"
            return f"{parts[0]}.{parts[1]}.{suffix}"
        return ""

    # -- istiod's algorithm --------------------------------------------------------------------------

    def build(self, services: Iterable[Service]) -> list[VirtualHost]:
        """The virtual hosts that these services and the VirtualServices give, first come first served."""
        known, aliases = self._registry(services)
        wrappers = [one for route in self._routes() if (one := self._wrapper(route, known)) is not None]
        taken = {service.host for one in wrappers for service in one.services}
        wrappers += [
            self._plain(service)
            for service in known.values()
            if service.host not in taken and service.resolution is not Resolution.ALIAS
            and _speaks_http(service, self.port)
        ]  # fmt: skip
        return list(self._hosts(wrappers, aliases))

    def _registry(self, services: Iterable[Service]) -> tuple[dict[str, Service], dict[str, list[str]]]:
        """The services by host that this listener is told of and that have the port; and the names that
        ExternalName Services, which need no ports for that, give to services."""
        world, mesh = self.view.world, self.view.mesh
        by_host: dict[str, list[Service]] = {}
        for service in services:
            by_host.setdefault(service.host, []).append(service)
        known: dict[str, Service] = {}
        aliases: dict[str, list[str]] = {}
        for host, several in by_host.items():
            chosen = self.view.visible(self.entry, several, self.port)
            if chosen is not None and chosen.port(self.port) is not None:
                known[host] = chosen
            if several[0].alias_of:
                aliases.setdefault(registry.concrete(world, mesh, several[0]), []).append(host)
        for host, names in aliases.items():
            # names count by what the entry shows of the namespace that the service itself is in
            where = known[host].namespace if host in known else ""
            aliases[host] = [name for name in names if where and self.entry.imports_name(where, name)]
        return known, aliases

    def _wrapper(self, route: Obj, known: dict[str, Service]) -> _Wrapper | None:
        """What a VirtualService claims on this port; None where it claims nothing."""
        view = self.view
        named = route_hosts(view.mesh, route)
        if self.port != 80 and not any(overlap(host, one) for host in named for one in known):
            return None
        context = view.context(self.entry, self.port)
        if not routes.any_route(context, route):
            return None
        plain, services = self._split(route, named, known)
        speaking = [one for one in services if _speaks_http(one, self.port)]
        if not speaking and self.port != 80:
            return None
        return _Wrapper(
            Origin(route.ref, "spec.http"),
            lambda: routes.http_routes(context, route),
            lambda: routes.http_excluded(context, route),
            tuple(plain),
            tuple(speaking),
        )

    def _split(
        self, route: Obj, named: Sequence[str], known: dict[str, Service]
    ) -> tuple[list[str], list[Service]]:
        """A VirtualService's hosts that are no services, and the services that the others are."""
        plain, services = [], []
        for host in named:
            if not host.startswith("*"):
                if host in known:
                    services.append(known[host])
                else:
                    plain.append(host)
        for host in named:
            if host.startswith("*"):
                within = [one for name, one in known.items() if subset_of(name, host)]
                services += [one for one in within if self._most_specific(one.host) == route.ref]
                if not within:
                    plain.append(host)
        return plain, services

    def _most_specific(self, host: str) -> object:
        """The VirtualService whose host fits a service best: the exact one, else the longest wildcard."""
        best: tuple[tuple[bool, int, str], int, object] | None = None
        for at, route in enumerate(self._routes()):
            for named in route_hosts(self.view.mesh, route):
                if subset_of(host, named):
                    key = (specificity(named), at, route.ref)
                    best = key if best is None or key[:2] < best[:2] else best
        return best[2] if best else None

    def _plain(self, service: Service) -> _Wrapper:
        """A service without a VirtualService: one route to its own cluster."""
        origin = port_origin(service, self.port)
        cluster = WeightedCluster(routes.cluster_key(service.host, self.port), origin=origin)
        action = Forward((cluster,), retries=routes.DEFAULT_RETRIES)
        route = Route(EVERY_PATH, action, origin, "default")
        return _Wrapper(origin, lambda: (route,), tuple, (), (service,))

    def _hosts(self, wrappers: Sequence[_Wrapper], aliases: Mapping[str, list[str]]) -> Iterator[VirtualHost]:
        """One virtual host for each host and service, without names and domains that are taken."""
        names: set[str] = set()
        domains: set[str] = set()
        full = {service.host for one in wrappers for service in one.services}
        for wrapper in wrappers:
            for host in wrapper.hosts:
                yield from self._host(wrapper, host, [host], names, domains)
            for service in wrapper.services:
                own, short = self._domains(service, aliases.get(service.host, []))
                wanted = [one for one in own if not (one in short and one in full)]
                yield from self._host(wrapper, service.host, wanted, names, domains)

    def _host(
        self, wrapper: _Wrapper, host: str, wanted: Iterable[str], names: set[str], domains: set[str]
    ) -> Iterator[VirtualHost]:
        if host in names:
            return
        names.add(host)
        free = [one for one in dict.fromkeys(wanted) if one.lower() not in domains]
        domains.update(one.lower() for one in free)
        if free:
            yield VirtualHost(
                f"{host}:{self.port}",
                tuple(free),
                wrapper.make,
                origin=wrapper.origin,
                make_excluded=lambda: (*wrapper.make_excluded(), *self.excluded_for(host)),
            )

    def _domains(self, service: Service, aliases: Sequence[str]) -> tuple[list[str], set[str]]:
        """All domains of a service, and those that are short forms."""
        found: list[str] = []
        short: set[str] = set()
        for host in (service.host, *aliases):
            forms = self._short(host)
            found += [host, *forms]
            short.update(forms)
        if service.headless:
            found += [f"*.{one}" for one in list(found)]
        found += [f"[{one}]" if ":" in one else one for one in service.addresses]
        return found, short

    def _short(self, host: str) -> list[str]:
        """``name`` (own namespace), ``name.namespace``, ``name.namespace.svc`` and the absolute form."""
        mesh = self.view.mesh
        forms = []
        if mesh.since(1, 26) and mesh.switch("PILOT_ENABLE_ABSOLUTE_FQDN_VHOST_DOMAIN", True):
            forms.append(f"{host}.")
        suffix = f".svc.{mesh.domain}"
        if not host.endswith(suffix):
            return forms
        inner = host[: -len(suffix)]
        name, dot, namespace = inner.partition(".")
        if not dot:
            return forms
        if namespace == self.view.pod.namespace:
            forms.append(name)
        return [*forms, inner, f"{inner}.svc"]

    # -- losers --------------------------------------------------------------------------------------

    def excluded_for(self, host: str) -> tuple[Excluded, ...]:
        """Objects that name a host and do not serve it here, with what keeps them out."""
        winner = self.winner(host)
        taken = winner.origin.ref if winner and winner.origin else None
        found = [*self._services_out(host, taken), *self._routes_out(host, taken)]
        return tuple(sorted(found, key=lambda one: one.nearness))

    def _services_out(self, host: str, taken: object) -> Iterator[Excluded]:
        view = self.view
        for service in self._owners(host):
            ref = service.obj.ref
            if ref == taken:
                continue
            port = service.port(self.port)
            sidecar = view.scope.sidecar
            if not registry.exported(service, view.pod.namespace):
                shown = ", ".join(service.export_to)
                text = f"it is exported to {shown}, not to namespace {view.pod.namespace}"
            elif not view.scope.shows(service, self.entry) and sidecar is not None:
                text = f"the egress hosts of {sidecar.ref} do not show it to this sidecar"
            elif port is None:
                ports = ", ".join(str(one.number) for one in service.ports) or "none"
                text = f"it has no port {self.port} (it has {ports}), so it is no host on this port"
                if service.alias_of:
                    continue
            elif not _speaks_http(service, self.port):
                text = f"its port {self.port} is {port.protocol}, which is not routed by Host"
            else:
                continue
            yield Excluded(ref, "spec", text, 0)

    def _routes_out(self, host: str, taken: object) -> Iterator[Excluded]:
        view = self.view
        names = {host, *(one.host for one in self._owners(host))}
        shown = {route.ref for route in self._routes()}
        for route in view.world.all(kinds.VIRTUAL_SERVICE):
            if route.ref == taken:
                continue
            hosts = route_hosts(view.mesh, route)
            if not any(overlap(one, name) for one in hosts for name in names):
                continue
            part, reason, nearness = self._route_out(route, hosts, names, shown, taken)
            named = any(one in names for one in hosts)  # a wildcard that happens to cover it is a far miss
            yield Excluded(route.ref, part, reason, nearness if named else max(nearness, 4))

    def _route_out(
        self, route: Obj, hosts: Sequence[str], names: set[str], shown: set[Ref], taken: object
    ) -> tuple[str, str, int]:
        view = self.view
        if not bound_to_mesh(route):
            gateways = ", ".join(str(one) for one in route.items("spec.gateways"))
            return (
                "spec.gateways",
                f"it is bound to {gateways} and not to mesh, so sidecars do not have it",
                0,
            )
        if export_rank(view.mesh, route, view.pod.namespace) is None:
            return "spec.exportTo", f"exportTo does not name namespace {view.pod.namespace}", 0
        if route.ref not in shown:
            sidecar = view.scope.sidecar
            return (
                "spec.hosts",
                f"the egress hosts of {sidecar.ref if sidecar else 'Sidecar'} do not show it",
                0,
            )
        if not routes.any_route(view.context(self.entry, self.port), route):
            return "spec.http", "it has no http route for this proxy", 3
        if self.port != 80 and not any(one.port(self.port) for host in hosts for one in self._owners(host)):
            text = (
                f"none of its hosts is a service with port {self.port}, and only on port 80 do others count"
            )
            return "spec.hosts", text, 0
        if taken is not None and not (self.view.scope.sidecar and taken == self.view.scope.sidecar.ref):
            return "spec.hosts", f"{taken} has the host first: on sidecars VirtualServices are not merged", 1
        return "spec.hosts", "another host of it was meant", 3


def _speaks_http(service: Service, number: int) -> bool:
    port = service.port(number)
    return port is not None and (port.http or port.auto)
