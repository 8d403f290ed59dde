"""What istiod knows as services: Kubernetes Services and the hosts of ServiceEntries, as one type.

Sources: istio pilot/pkg/serviceregistry/kube/conversion.go (ConvertService), serviceentry/conversion.go
(convertServices), pkg/config/kube/conversion.go (ConvertProtocol), pilot/pkg/model/push_context.go
(initServiceRegistry, resolveServiceAliases).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Any

from kgdiag.dialects.istio.mesh import Mesh, discovered, visible
from kgdiag.graph.core import ServicePort, cluster_name, service_ports
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

EXPORT_TO = "networking.istio.io/exportTo"
UNKNOWN_IP = "0.0.0.0"

_HTTP = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"})
_HTTP2 = frozenset({"HTTP2", "GRPC", "GRPC-WEB"})
_TCP = frozenset({"TCP", "HTTPS", "TLS", "MONGO", "REDIS", "MYSQL"})
_APP_PROTOCOLS = {"kubernetes.io/h2c": "HTTP2", "kubernetes.io/ws": "HTTP", "kubernetes.io/wss": "HTTPS"}
_SERVER_FIRST = frozenset({25, 53, 3306, 27017})


class Resolution(StrEnum):
    """How a proxy finds the endpoints of a service."""

    ENDPOINTS = "endpoints"
    PASSTHROUGH = "passthrough"  # headless, or a ServiceEntry with resolution NONE
    DNS = "dns"
    DYNAMIC_DNS = "dynamic dns"
    ALIAS = "alias"  # ExternalName from Istio 1.21 on


@dataclass(frozen=True, slots=True)
class Port:
    """A port with the protocol that Istio takes it for; ``""`` is detected from the bytes."""

    name: str
    number: int
    protocol: str
    service_port: ServicePort | None = None  # of Kubernetes Services
    target: int = 0  # of ServiceEntries, 0 where it is the number itself
    index: int = 0

    @property
    def http(self) -> bool:
        return self.protocol in _HTTP

    @property
    def http2(self) -> bool:
        return self.protocol in _HTTP2

    @property
    def tcp(self) -> bool:
        return self.protocol in _TCP

    @property
    def tls(self) -> bool:
        return self.protocol in ("TLS", "HTTPS")

    @property
    def auto(self) -> bool:
        return self.protocol == ""


@dataclass(frozen=True, slots=True)
class Service:
    """One host in istiod's registry.

    ``addresses`` are its VIPs, without those that stand for "none"; ``allocated`` are those that istiod made
    up for a ServiceEntry, which only proxies with DNS capture know.
    """

    host: str
    namespace: str
    obj: Obj
    ports: tuple[Port, ...]
    resolution: Resolution
    export_to: tuple[str, ...]
    external: bool = False
    addresses: tuple[str, ...] = ()
    alias_of: str = ""
    kubernetes: bool = True
    allocated: tuple[str, ...] = ()

    def port(self, number: int) -> Port | None:
        """The port with a number; of two, the one that is not UDP."""
        found = [port for port in self.ports if port.number == number]
        return next((port for port in found if port.protocol != "UDP"), found[0] if found else None)

    @property
    def headless(self) -> bool:
        return self.kubernetes and self.resolution is Resolution.PASSTHROUGH

    @property
    def age(self) -> tuple[str, str, str]:
        """istiod's order of services: by creation, then host name, then namespace."""
        return (self.obj.created, self.host, self.namespace)


def is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


# -- protocols -----------------------------------------------------------------------------------------


def protocol_named(name: str) -> str:
    """The protocol of a name without suffix, ``""`` for names that Istio does not know."""
    upper = name.upper()
    return upper if upper in _HTTP or upper in _TCP or upper == "UDP" else ""


def protocol_of(port: ServicePort) -> str:
    """The protocol of a Service port, by ``appProtocol``, else by the name up to its first dash."""
    if port.protocol == "UDP":
        return "UDP"
    name = port.app_protocol or port.name
    if port.app_protocol in _APP_PROTOCOLS:
        return _APP_PROTOCOLS[port.app_protocol]
    if name.lower().startswith("grpc-web"):
        return "GRPC-WEB"
    found = protocol_named(name.partition("-")[0])
    return "TCP" if not found and port.port in _SERVER_FIRST else found


# -- conversion ----------------------------------------------------------------------------------------


def of_service(mesh: Mesh, service: Obj) -> Service:
    """A Kubernetes Service as istiod has it."""
    external = service.text("spec.externalName") if service.text("spec.type") == "ExternalName" else ""
    alias = bool(external) and mesh.since(1, 21) and mesh.switch("ENABLE_EXTERNAL_NAME_ALIAS", True)
    cluster_ip = service.text("spec.clusterIP")
    if external:
        resolution = Resolution.ALIAS if alias else Resolution.DNS
    elif cluster_ip == "None":
        resolution = Resolution.PASSTHROUGH
    else:
        resolution = Resolution.ENDPOINTS
    annotation = service.annotations.get(EXPORT_TO, "")
    export = tuple(part.strip() for part in annotation.split(",")) if annotation else mesh.service_export_to
    ips = [ip for ip in (cluster_ip, *service.items("spec.clusterIPs")) if isinstance(ip, str)]
    return Service(
        host=f"{service.name}.{service.namespace}.svc.{mesh.domain}",
        namespace=service.namespace,
        obj=service,
        ports=tuple(
            Port(port.name, port.port, protocol_of(port), service_port=port, index=port.index)
            for port in service_ports(service)
        ),
        resolution=resolution,
        export_to=export,
        external=bool(external),
        addresses=tuple(dict.fromkeys(ip for ip in ips if ip and ip not in ("None", UNKNOWN_IP))),
        alias_of=external if alias else "",
    )


_RESOLUTIONS = {
    "STATIC": Resolution.ENDPOINTS,
    "DNS": Resolution.DNS,
    "DNS_ROUND_ROBIN": Resolution.DNS,
    "DYNAMIC_DNS": Resolution.DYNAMIC_DNS,
}


def of_entry(mesh: Mesh, entry: Obj) -> list[Service]:
    """The hosts of a ServiceEntry as istiod has them."""
    export = tuple(str(item) for item in entry.items("spec.exportTo")) or mesh.service_export_to
    ports = tuple(
        Port(
            str(raw.get("name") or ""),
            number,
            protocol_named(str(raw.get("protocol") or "")),
            target=_number(raw.get("targetPort")) or 0,
            index=at,
        )
        for at, raw in enumerate(entry.maps("spec.ports"))
        if (number := _number(raw.get("number"))) is not None
    )
    return [
        Service(
            host=host.lower(),
            namespace=entry.namespace,
            obj=entry,
            ports=ports,
            resolution=_RESOLUTIONS.get(entry.text("spec.resolution"), Resolution.PASSTHROUGH),
            export_to=export,
            external=entry.text("spec.location", "MESH_EXTERNAL") == "MESH_EXTERNAL",
            addresses=tuple(_declared_addresses(entry)),
            kubernetes=False,
            allocated=tuple(_allocated_addresses(entry, host)),
        )
        for host in entry.items("spec.hosts")
        if isinstance(host, str)
    ]


def _declared_addresses(entry: Obj) -> Iterable[str]:
    for item in entry.items("spec.addresses"):
        address, slash, bits = str(item).partition("/")
        yield address if slash and bits in ("32", "128") else str(item)


def _allocated_addresses(entry: Obj, host: str) -> Iterable[str]:
    if entry.items("spec.addresses"):
        return
    for given in entry.maps("status.addresses"):
        if given.get("host") in (None, host) and isinstance(given.get("value"), str):
            yield given["value"]


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# -- looking up ----------------------------------------------------------------------------------------


def exported(service: Service, viewer_namespace: str) -> bool:
    """Whether ``exportTo`` shows the service to proxies of a namespace."""
    return visible(service.export_to, service.namespace, viewer_namespace)


def entries(world: World, mesh: Mesh) -> list[Service]:
    """The hosts of all ServiceEntries. Reads them whole."""
    found = world.all(kinds.SERVICE_ENTRY)

    def convert() -> list[Service]:
        return sorted(
            (service for entry in found for service in of_entry(mesh, entry)), key=lambda one: one.age
        )

    return [
        one
        for one in world.memo(("istio service entries", mesh.revision), convert)
        if discovered(world, mesh, one.namespace)
    ]


def everything(world: World, mesh: Mesh) -> list[Service]:
    """Every service of the mesh. Reads every Service and ServiceEntry: narrower questions ask ``named``.

    Nothing is read, and nobody found, while narrower reads are outstanding that may settle the question.
    """
    services = [] if world.lacking else world.all(kinds.SERVICE)
    found = [of_service(mesh, one) for one in services] + entries(world, mesh)
    return sorted((one for one in found if discovered(world, mesh, one.namespace)), key=lambda one: one.age)


def named(world: World, mesh: Mesh, host: str) -> list[Service]:
    """The services that have exactly this host: a Kubernetes Service, then ServiceEntries, oldest first."""
    found = []
    name = cluster_name(host, mesh.domain) if host.endswith(f".svc.{mesh.domain}") else None
    if name:
        service = world.get(kinds.SERVICE, name[1], name[0])
        if service is not None and discovered(world, mesh, service.namespace):
            found.append(of_service(mesh, service))
    return found + [one for one in entries(world, mesh) if one.host == host]


def with_address(world: World, mesh: Mesh, address: str) -> list[Service]:
    """The services that own a VIP. Reads every Service."""
    return [one for one in everything(world, mesh) if address in (*one.addresses, *one.allocated)]


def concrete(world: World, mesh: Mesh, service: Service) -> str:
    """The host that an alias leads to in the end (ExternalName of ExternalName), ``""`` for a loop."""
    seen = {service.host}
    target = service.alias_of
    while target and target not in seen:
        seen.add(target)
        further = [one for one in named(world, mesh, target) if one.alias_of]
        if not further:
            return target
        target = further[0].alias_of
    return ""
