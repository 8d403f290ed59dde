"""Host that a pod is told to call and that its sidecar is not told of

## What it finds
A URL in the environment of a container whose host the pod's sidecar does not know: a Service that the
Sidecar's `egress.hosts` or the Service's `exportTo` hide, or, where `outboundTrafficPolicy` is
REGISTRY_ONLY, a host outside of the cluster without a ServiceEntry.

## Why it matters
REGISTRY_ONLY: 502 for HTTP, a reset for the rest (BlackHoleCluster). ALLOW_ANY: the request goes on in
plaintext by its address (PassthroughCluster): a pod that demands mTLS resets it, and no VirtualService,
DestinationRule or telemetry applies.

## How to prove it
`istioctl proxy-config clusters POD -n NAMESPACE --fqdn HOST` prints nothing.

## How to fix it
Add the host to the Sidecar's egress hosts, to `exportTo`, or as a ServiceEntry.

## What it does not report
Hosts that a VirtualService of the pod's namespace leads to: istiod shows them by itself. Plaintext that the
other side takes is a fact. URLs that are not written in the environment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kgdiag.dialects.istio import registry
from kgdiag.dialects.istio import scope as istio_scope
from kgdiag.dialects.istio.hosts import subset_of
from kgdiag.dialects.istio.mesh import PROXY_CONTAINER, Mesh, has_sidecar, mesh_of
from kgdiag.dialects.istio.security import STRICT, peer_mode
from kgdiag.graph.core import containers, pods_of, resolve_target, service_ports
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Finding, Match, Severity
from kgdiag.model.obj import Evidence, Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import known_everywhere, mappings, prove_field
from kgdiag.trace.network import workload

_URL = re.compile(r"(?:https?|grpcs?|h2c|wss?)://([A-Za-z0-9._-]+)(?::(\d+))?(?:[/?#]|$)")


@rule(
    "KG313", "hidden-host", Severity.WARNING, needs=(kinds.POD, kinds.SIDECAR, kinds.SERVICE),
    about=(kinds.POD,),
    reads=(kinds.SERVICE_ENTRY, kinds.VIRTUAL_SERVICE, kinds.PEER_AUTHENTICATION, *MESH_READS),
    names=MESH_NAMES,
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each workload and host."""
    limited = world.all(kinds.SIDECAR)
    services = world.all(kinds.SERVICE)
    exported = any(registry.EXPORT_TO in service.annotations for service in services)
    if not limited and not exported and mesh_of(world).outbound != "REGISTRY_ONLY":
        return
    done = set()
    for pod in scope.all(world, kinds.POD):
        urls = list(_urls(pod))
        if not urls or not has_sidecar(world, pod):
            continue
        mesh = mesh_of(world, pod)
        view = istio_scope.scope_of(world, mesh, pod)
        for host, port, where in urls:
            key = (pod.namespace, workload(pod), host)
            if key not in done:
                done.add(key)
                yield from _judge(self, world, mesh, pod, view, host, port, where)


def _urls(pod: Obj) -> Iterator[tuple[str, int | None, Evidence]]:
    """(host, port, the variable) of every URL in a pod's environment."""
    for path in ("spec.containers", "spec.initContainers"):
        for at, container in mappings(pod.get(path)):
            if container.get("name") == PROXY_CONTAINER or container not in list(containers(pod)):
                continue
            for number, variable in mappings(container.get("env")):
                found = _URL.match(str(variable.get("value") or ""))
                if found:
                    field = f"{path}[{at}].env[{number}].value"
                    yield found[1].lower(), int(found[2]) if found[2] else None, pod.evidence(field)


def _judge(
    self: Rule, world: World, mesh: Mesh, pod: Obj, view: istio_scope.Scope, host: str, port: int | None,
    where: Evidence,
) -> Iterable[Finding]:  # fmt: skip
    closed = view.outbound == "REGISTRY_ONLY"
    service = _service(world, mesh, pod, host)
    if service is None:
        if closed and _outside(world, mesh, view, host):
            yield _finding(self, pod, view, mesh, host, where, "no ServiceEntry names it", closed, "")
        return
    if view.shows(service) or _led_to(world, mesh, view, service):
        return
    hides = f"{view.sidecar.ref} does not show it" if view.sidecar is not None else ""
    if not registry.exported(service, pod.namespace):
        hides = f"{service.obj.ref} is not exported to {pod.namespace}"
    strict = "" if closed else _strict(world, service.obj, port)
    yield _finding(self, pod, view, mesh, host, where, hides, closed, strict)


def _service(world: World, mesh: Mesh, pod: Obj, host: str) -> registry.Service | None:
    """The Service of the cluster that a pod means by a host, as its resolver completes names."""
    bare = host.removesuffix(f".{mesh.domain}").removesuffix(".svc")
    parts = bare.split(".")
    if len(parts) > 2:
        return None
    namespace = parts[1] if len(parts) == 2 else pod.namespace
    found = world.get(kinds.SERVICE, namespace, parts[0])
    return registry.of_service(mesh, found) if found is not None else None


def _outside(world: World, mesh: Mesh, view: istio_scope.Scope, host: str) -> bool:
    """Whether a host is outside of the cluster and surely of no ServiceEntry that the pod is shown."""
    if "." not in host or host.endswith((".svc", f".{mesh.domain}", ".local")) or registry.is_ip(host):
        return False
    if host.count(".") == 1 and not known_everywhere(world, kinds.SERVICE):
        return False
    entries = registry.entries(world, mesh)
    if not known_everywhere(world, kinds.SERVICE_ENTRY):
        return False
    return not any(subset_of(host, one.host) and view.shows(one) for one in entries)


def _led_to(world: World, mesh: Mesh, view: istio_scope.Scope, service: registry.Service) -> bool:
    """Whether a VirtualService that the pod is shown leads there: istiod then shows the Service too."""
    if not world.readable(kinds.VIRTUAL_SERVICE):
        return True
    return any(
        host == service.host
        for entry in view.egress
        for route in istio_scope.mesh_routes(world, mesh, view, entry)
        for host, _ in istio_scope.destinations(mesh, route)
    )


def _strict(world: World, service: Obj, port: int | None) -> str:
    """The pod that resets plaintext, "" where none surely does."""
    for target in pods_of(world, service):
        for one in service_ports(service):
            number = resolve_target(target, one)
            if port not in (None, one.port) or number is None or not has_sidecar(world, target):
                continue
            if peer_mode(world, mesh_of(world, target), target, number)[0] == STRICT:
                return f"{workload(target)}:{number}"
    return ""


def _finding(
    self: Rule, pod: Obj, view: istio_scope.Scope, mesh: Mesh, host: str, where: Evidence, hides: str,
    closed: bool, strict: str,
) -> Finding:  # fmt: skip
    if closed:
        does = "REGISTRY_ONLY: 502, or a reset where it is not HTTP (BlackHoleCluster)"
    elif strict:
        does = f"the request goes on in plaintext (PassthroughCluster), and {strict} demands mTLS: reset"
    else:
        does = "the request goes on in plaintext (PassthroughCluster), past every rule for the host"
    verify = []
    facts = [where]
    if view.sidecar is not None:
        shown = view.sidecar.text("spec.egress[0].hosts[0]")
        facts.append(view.sidecar.evidence("spec.egress"))
        verify = [prove_field(view.sidecar, ".spec.egress[0].hosts[0]", shown, "its first egress host")]
    fix = f"add the host to the egress hosts of {view.sidecar.ref}" if view.sidecar is not None else (
        "create a ServiceEntry for it, or export the Service"
    )  # fmt: skip
    if closed and hides.startswith("no ServiceEntry"):
        fix = f"create a ServiceEntry for {host} that {pod.namespace} is shown"
    return self.finding(
        pod.ref,
        f"{where.field} names {host}, which the sidecar of {workload(pod)} does not know ({hides}): {does}",
        severity=Severity.WARNING if closed or strict else Severity.INFO,
        evidence=facts,
        fix=fix,
        verify=verify or [_prove_config(mesh)],
    )


def _prove_config(mesh: Mesh) -> Command:
    return commands.get(
        kinds.CONFIG_MAP, mesh.control_plane, "istio", jsonpath=".data.mesh",
        expect="outboundTrafficPolicy", match=Match.CONTAINS, value="outboundTrafficPolicy",
    )  # fmt: skip
