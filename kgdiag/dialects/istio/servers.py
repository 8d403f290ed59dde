"""Which servers of which Gateways a gateway pod opens, on which ports.

Sources: istio pilot/pkg/model/push_context.go (mergeGateways, filterStrictGatewayMerging) and gateway.go
(mergeGateways, resolvePorts, canMergeProtocols, gatewayRDSRouteName); pilot/pkg/model/context.go
(SetServiceTargets: Services by creation, then host name); pilot/pkg/serviceregistry/kube/controller/
controller.go (GetProxyServiceTargetsByPod); pkg/config/gateway/gateway.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kgdiag.dialects.istio import hosts, registry
from kgdiag.dialects.istio.generated import origin as origin_of
from kgdiag.graph.core import resolve_target, service_ports, services_of
from kgdiag.graph.labels import subset_of
from kgdiag.graph.world import World
from kgdiag.model.obj import Evidence, Obj
from kgdiag.model.proxy import Origin
from kgdiag.model.ref import Ref

NO_TRANSLATION = "experimental.istio.io/disable-gateway-port-translation"
_HTTP = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"})
_KNOWN = _HTTP | {"TCP", "UDP", "HTTPS", "TLS", "MONGO", "REDIS", "MYSQL"}


@dataclass(frozen=True)
class Server:
    """One entry of ``spec.servers``. ``hosts`` have ``./`` and ``*/`` resolved, ``tls`` is None without."""

    gateway: Obj
    index: int
    number: int
    protocol: str
    port_name: str
    bind: str
    hosts: tuple[str, ...]
    tls: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """Its Gateway as VirtualServices name it: ``namespace/name``."""
        return f"{self.gateway.namespace}/{self.gateway.name}"

    @property
    def part(self) -> str:
        return f"spec.servers[{self.index}]"

    @property
    def key(self) -> tuple[Ref, int]:
        return (self.gateway.ref, self.index)

    @property
    def mode(self) -> str:
        """The TLS mode; ``tls`` without one is PASSTHROUGH, the enum's zero."""
        return str((self.tls or {}).get("mode") or "PASSTHROUGH")

    @property
    def http(self) -> bool:
        return self.protocol in _HTTP

    @property
    def passthrough(self) -> bool:
        return self.tls is not None and self.mode in ("PASSTHROUGH", "AUTO_PASSTHROUGH")

    @property
    def terminates_https(self) -> bool:
        return self.tls is not None and self.protocol == "HTTPS" and not self.passthrough

    @property
    def is_http_server(self) -> bool:
        return self.http or (self.protocol == "HTTPS" and not self.passthrough)

    @property
    def is_tls_server(self) -> bool:
        """TLS settings on anything but plain HTTP, where they only redirect."""
        return self.tls is not None and not self.http

    @property
    def https_redirect(self) -> bool:
        return self.tls is not None and self.tls.get("httpsRedirect") is True

    @property
    def names(self) -> tuple[str, ...]:
        """Its hosts without namespaces, sorted: what its filter chain matches as SNI."""
        return tuple(sorted({hosts.split(host)[1] for host in self.hosts}))

    def words(self) -> str:
        return f"{self.protocol} server {self.number} for {', '.join(self.hosts)}"

    def evidence(self) -> tuple[Evidence, ...]:
        return (
            self.gateway.evidence(f"{self.part}.port.number"),
            self.gateway.evidence(f"{self.part}.hosts"),
        )


def servers_of(gateway: Obj) -> list[Server]:
    """The servers of a Gateway; those without a port are left out, as istiod does."""
    out = []
    for index, raw in enumerate(gateway.items("spec.servers")):
        port = raw.get("port") if isinstance(raw, Mapping) else None
        number = port.get("number") if isinstance(port, Mapping) else None
        if not isinstance(port, Mapping) or not isinstance(number, int):
            continue
        protocol = str(port.get("protocol") or "").upper()
        named = raw.get("hosts")
        tls = raw.get("tls")
        out.append(
            Server(
                gateway=gateway,
                index=index,
                number=number,
                protocol=protocol if protocol in _KNOWN else "UNSUPPORTED",
                port_name=str(port.get("name") or ""),
                bind=str(raw.get("bind") or ""),
                hosts=hosts.sanitized(
                    (str(host) for host in named) if isinstance(named, list) else (), gateway.namespace
                ),
                tls=tls if isinstance(tls, Mapping) else None,
            )
        )
    return out


# -- ports -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A port of a Service in front of the pod and the pod's port behind it."""

    service: Obj
    port: int
    target: int
    index: int

    def words(self) -> str:
        return f"Service {self.service.namespace}/{self.service.name} {self.port}→{self.target}"


def targets_of(world: World, pod: Obj, domain: str = "cluster.local") -> list[Target]:
    """The ports of the Services that select the pod, oldest Service first, then by host name.

    Of several ports of one Service with the same target and protocol only the first counts.
    """
    services = sorted(
        services_of(world, pod),
        key=lambda one: (one.created, f"{one.name}.{one.namespace}.svc.{domain}"),
    )
    out = []
    for service in services:
        seen: set[tuple[int, str]] = set()
        for port in service_ports(service):
            target = resolve_target(pod, port)
            kind = registry.protocol_of(port)
            if target is None or (target, kind) in seen:
                continue
            seen.add((target, kind))
            out.append(Target(service, port.port, target, port.index))
    return out


def resolve_port(number: int, targets: Iterable[Target]) -> tuple[int, Target | None]:
    """The pod port that a server number opens, and the Service port that translated it."""
    for target in targets:
        if target.port == number and NO_TRANSLATION not in target.service.labels:
            return target.target, target
    return number, None


# -- merging ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ServerPort:
    """What servers are kept together by: a port may have several protocols and addresses."""

    number: int
    protocol: str
    bind: str


@dataclass(frozen=True)
class Skipped:
    """A server that istiod leaves out, and why: only its log says so."""

    server: Server
    port: int
    reason: str


@dataclass
class Merged:
    """All servers of a pod. ``route_names`` are those of plain HTTP ports and of each HTTPS server."""

    ports: list[ServerPort] = field(default_factory=list)
    servers: dict[ServerPort, list[Server]] = field(default_factory=dict)
    route_names: dict[tuple[Ref, int], str] = field(default_factory=dict)
    by_route: dict[str, list[Server]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    translated: dict[tuple[Ref, int], Target] = field(default_factory=dict)
    # state of the merge
    _plain: dict[int, ServerPort] = field(default_factory=dict)
    _taken: set[int] = field(default_factory=set)
    _tls_hosts: dict[int, dict[str, str]] = field(default_factory=dict)
    _owners: dict[tuple[int, str], Server] = field(default_factory=dict)
    _binds: dict[int, set[str]] = field(default_factory=dict)

    def origin(self, server: Server) -> Origin:
        """Where a server's filter chain comes from, with the Service that decided its port."""
        target = self.translated.get(server.key)
        more = (target.service.evidence(f"spec.ports[{target.index}]"),) if target else ()
        return origin_of(server.gateway, server.part, *server.evidence(), *more)

    def add(self, server: Server, port: int) -> str:
        """Take a server in on a pod port; the reason where it is left out."""
        name = _route_name(server, port)
        duplicate = self._duplicates(server, port)
        if duplicate:
            return duplicate
        key = ServerPort(port, server.protocol, server.bind)
        if port not in self._taken:
            self._taken.add(port)
            self._open(server, key, name)
            return ""
        current = self._plain.get(port)
        if current is not None:
            return self._beside_plain(server, key, name, current)
        if not server.is_tls_server:
            self._open(server, key, name)
            return ""
        return self._beside_tls(server, key, name)

    def _duplicates(self, server: Server, port: int) -> str:
        """A host may be served once on a port and address by servers with TLS settings."""
        if server.tls is None:
            return ""
        known = self._tls_hosts.setdefault(port, {})
        twice = [host for host in server.hosts if known.get(host) == server.bind]
        if twice:
            owner = self._owners.get((port, twice[0]))
            by = f" by {owner.gateway.ref} {owner.part}" if owner else ""
            return (
                f"host {twice[0]} is taken on port {port}{by}, which is older: the whole server is left out"
            )
        for host in server.hosts:
            known[host] = server.bind
            self._owners[port, host] = server
        return ""

    def _beside_plain(self, server: Server, key: ServerPort, name: str, current: ServerPort) -> str:
        mergeable = (server.http or server.protocol == current.protocol) and _is_http(current.protocol)
        if current.bind == key.bind:
            first = self.servers[current][0]
            if not mergeable:
                return (
                    f"{server.protocol} cannot share port {key.number} with the {current.protocol} server of "
                    f"{first.gateway.ref} {first.part}, which is older"
                )
            if not name:
                return f"port {key.number} is taken by {first.gateway.ref} {first.part}"
            self.servers[current].append(server)
            self.by_route.setdefault(name, []).append(server)
            self.route_names[server.key] = name
        elif key not in self.servers:
            self._open(server, key, name)
        else:
            self.servers[key].append(server)
            self.by_route.setdefault(name, []).append(server)
            self.route_names[server.key] = name
        return ""

    def _beside_tls(self, server: Server, key: ServerPort, name: str) -> str:
        if server.is_http_server:
            if name in self.by_route:
                first = self.by_route[name][0]
                return f"port name {server.port_name} is used by {first.gateway.ref} {first.part} already"
            self.by_route[name] = [server]
            self.route_names[server.key] = name
        if key in self.servers:
            self.servers[key].append(server)
        else:
            self.servers[key] = [server]
            self.ports.append(key)
        return ""

    def _open(self, server: Server, key: ServerPort, name: str) -> None:
        if not server.is_tls_server:
            self._plain[key.number] = key
        if server.is_http_server:
            self.by_route[name] = [server]
            self.route_names[server.key] = name
        self.servers[key] = [server]
        self.ports.append(key)


def _is_http(protocol: str) -> bool:
    return protocol in _HTTP


def _route_name(server: Server, port: int) -> str:
    bind = f".{server.bind}" if server.bind else ""
    if server.http:
        return f"http.{port}{bind}"
    if server.protocol == "HTTPS" and not server.passthrough:
        owner = server.gateway
        return f"https.{server.number}.{server.port_name}.{owner.name}.{owner.namespace}{bind}"
    return ""


def merge(gateways: Sequence[Obj], targets: Sequence[Target]) -> Merged:
    """The servers of Gateways, oldest first, merged as istiod does for one pod."""
    merged = Merged()
    for gateway in gateways:
        for server in servers_of(gateway):
            port, target = resolve_port(server.number, targets)
            reason = merged.add(server, port)
            if reason:
                merged.skipped.append(Skipped(server, port, reason))
            elif target is not None:
                merged.translated[server.key] = target
    return merged


def selects(gateway: Obj, labels: Mapping[str, Any]) -> bool:
    """Whether a Gateway is for pods with these labels; without a selector it is for every gateway pod."""
    return subset_of(gateway.mapping("spec.selector"), labels)


def difference(gateway: Obj, labels: Mapping[str, Any]) -> tuple[int, str]:
    """In how many labels a pod differs from a Gateway's selector, and how."""
    wrong = [
        f"{key}={value} (these pods have {key}={labels[key]})"
        if key in labels
        else f"{key}={value} (these pods have no label {key})"
        for key, value in gateway.mapping("spec.selector").items()
        if labels.get(key) != value
    ]
    return len(wrong), " and ".join(wrong)
