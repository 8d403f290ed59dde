"""Where a backend that names a Service and a port ends: endpoints, readiness, or why it leads nowhere."""

from __future__ import annotations

from dataclasses import dataclass

from kgdiag.explain.base import Context
from kgdiag.explain.words import absent, named
from kgdiag.graph.core import ServicePort, addresses, service_ports
from kgdiag.graph.world import Missing
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref


@dataclass(frozen=True)
class End:
    """``good`` is false only where it is known that requests end here."""

    words: str
    good: bool = True
    service: Obj | None = None


def end_of(context: Context, namespace: str, name: str, port: object = None) -> End:
    """A Service and a port number or name; no port stands for all of them."""
    title = f"{named(Ref('', 'Service', namespace, name))}" + (f":{port}" if port not in (None, "") else "")
    service = context.world.get(kinds.SERVICE, namespace, name)
    if service is None:
        missing = context.world.missing(kinds.SERVICE, namespace, name)
        return End(f"{title} {absent(missing)}", missing is not Missing.GONE)
    if service.text("spec.type") == "ExternalName":
        return End(f"{title} (an alias of {service.text('spec.externalName')})", True, service)
    ports = service_ports(service)
    chosen = _chosen(ports, port)
    if chosen is None:
        has = ", ".join(str(item.port) for item in ports) or "none"
        return End(f"{title}: the Service has no port {port} (ports: {has})", False, service)
    found = addresses(context.world, service, chosen)
    return End(f"{title} ({sum(item.ready for item in found)}/{len(found)} ready)", True, service)


def _chosen(ports: list[ServicePort], port: object) -> ServicePort | None:
    if port in (None, ""):
        return ports[0] if ports else None
    return next((item for item in ports if str(item.port) == str(port) or item.name == port), None)
