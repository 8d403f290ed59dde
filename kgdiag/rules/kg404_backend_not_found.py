"""backendRef that leads to no Service port

## What it finds
A backendRef of a route whose Service does not exist, lacks the port (backendRefs take the Service's port,
not the container's), has no port in the reference, or is of a kind that the API group does not have. Near
names and the port that was probably meant are given.

## Why it matters
The reference is invalid (ResolvedRefs=False BackendNotFound): its share of the requests gets 500.

## How to prove it
`kubectl get svc NAME -n NAMESPACE` answers NotFound, or lists other ports.

## How to fix it
Write the Service's name and one of its ports.

## What it does not report
References that are not permitted (KG401), and kinds that the Gateway's implementation knows by itself. In
files that are not a whole cluster, a Service that is not in them is a fact (info).
"""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.dialects.gateway_api.backends import Backend, BackendRef, backend_refs, may_refer, resolve
from kgdiag.graph.core import service_ports
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.patch import Patch, set_field, set_fields
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import gone_or_unseen, listed, namesakes, near, port_text, prove_gone, prove_ports
from kgdiag.rules.kg401_reference_not_granted import ROUTES


@rule(
    "KG404", "backend-not-found", Severity.ERROR, needs=(kinds.HTTP_ROUTE, kinds.SERVICE), about=ROUTES,
    equivalents=("KIA1402",),
    reads=(kinds.GRPC_ROUTE, kinds.REFERENCE_GRANT, kinds.TCP_ROUTE, kinds.TLS_ROUTE, kinds.UDP_ROUTE),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each Service and port of a route that is not there."""
    for kind in ROUTES:
        for route in scope.all(world, kind):
            done = set()
            for number, _ in enumerate(route.items("spec.rules")):
                for ref in backend_refs(route, number):
                    key = (ref.ref, ref.port)
                    if key in done or (ref.group, ref.kind) != ("", "Service"):
                        continue
                    done.add(key)
                    if may_refer(world, ref) is not False:
                        yield from _judge(self, world, route, ref)


def _judge(self: Rule, world: World, route: Obj, ref: BackendRef) -> Iterable[Finding]:
    service = world.get(kinds.SERVICE, ref.namespace, ref.name)
    if service is None:
        yield from _missing(self, world, route, ref)
        return
    found = resolve(world, ref)
    if found.problem and service.text("spec.type") != "ExternalName":
        yield _port(self, route, found, service)


def _missing(self: Rule, world: World, route: Obj, ref: BackendRef) -> Iterable[Finding]:
    severity, words = gone_or_unseen(world, kinds.SERVICE, ref.namespace, ref.name)
    if severity is None:
        return
    here = {obj.name: obj for obj in world.all(kinds.SERVICE, ref.namespace, optional=True)}
    alike = near(ref.name, here)
    meant = alike or [name for name in sorted(here) if name.startswith(f"{ref.name}-")]
    elsewhere = namesakes(world, kinds.SERVICE, ref.name, but=ref.namespace)
    hint = ""
    fix = f"create Service {ref.namespace}/{ref.name}, or name an existing one"
    if meant:
        ports = [port.port for port in service_ports(here[meant[0]])]
        hint = f"; did you mean {meant[0]}{f':{ports[0]}' if ports else ''}?"
        fix = f"set {ref.part}.name to {meant[0]}" + (f" and port to {ports[0]}" if ports else "")
    elif elsewhere:
        hint = f"; a Service of that name is in {listed(obj.namespace for obj in elsewhere)}"
        fix = f"set {ref.part}.namespace to {elsewhere[0].namespace} and grant the reference there"
    lost = ": BackendNotFound, its share of the requests gets 500" if severity is Severity.ERROR else ""
    yield self.finding(
        route.ref,
        f"backendRef Service {ref.namespace}/{ref.name} {words}{lost}{hint}",
        severity=severity,
        evidence=[route.evidence(ref.part)],
        fix=fix,
        patch=_named(route, ref, here[alike[0]]) if alike and severity is Severity.ERROR else None,
        follows=[("missing", ref.ref)],
        verify=[prove_gone(kinds.SERVICE, ref.namespace, ref.name)] if severity is Severity.ERROR else [],
    )


def _named(route: Obj, ref: BackendRef, service: Obj) -> Patch | None:
    """The Service of a like name, with its port where the one that is asked for is not among them."""
    ports = [port.port for port in service_ports(service)]
    if ref.port in ports:
        return set_field(route, f"{ref.part}.name", service.name)
    if len(ports) != 1:
        return None
    return set_fields(route, {f"{ref.part}.name": service.name, f"{ref.part}.port": ports[0]})


def _port(self: Rule, route: Obj, found: Backend, service: Obj) -> Finding:
    ref = found.ref
    ports = service_ports(service)
    mapped = [port for port in ports if port.target == ref.port]
    right = (mapped or ports)[0].port if ports else None
    hint = f"; {ref.port} is the container port, its port is {mapped[0].port}" if mapped else ""
    asked = f"has no port {ref.port}" if ref.port is not None else "needs a port in the reference"
    return self.finding(
        route.ref,
        f"backendRef {service.ref} {asked} (ports: {listed(map(port_text, ports), 6)}){hint}: "
        "its share of the requests gets 500",
        evidence=[route.evidence(f"{ref.part}.port"), service.evidence("spec.ports")],
        fix=f"set {ref.part}.port to {right}" if right else f"give {service.ref} a port",
        patch=set_field(route, f"{ref.part}.port", right) if len(mapped) == 1 else None,
        verify=[prove_ports(service)],
    )
