"""Inference pool that cannot be used

## What it finds
- A backendRef to an InferencePool that does not exist, or that exists in the other API group
  (`inference.networking.x-k8s.io` before v1, `inference.networking.k8s.io` since).
- An InferencePool whose endpoint picker's Service does not exist or lacks the port.
- An InferencePool whose selector matches no pod.
- With Istio: an endpoint picker that speaks TLS (its default) without a DestinationRule that makes the
  gateway speak TLS to it.

## Why it matters
The gateway asks the picker for every request (ext_proc). Without its answer requests get 500 or 503, unless
`failureMode` is FailOpen; without the pool, 500.

## How to prove it
`kubectl get inferencepools NAME -n NAMESPACE -o yaml`, then the Service that it names.

## How to fix it
Correct the name that is reported; for TLS a DestinationRule with `mode: SIMPLE, insecureSkipVerify: true`, or
`--secure-serving=false` for the picker.

## What it does not report
Objects that are not in files that are not a whole cluster (a fact).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kgdiag.dialects.gateway_api.attach import attachments
from kgdiag.dialects.gateway_api.backends import BackendRef, backend_refs
from kgdiag.dialects.inference import OLD_POOL, POOL
from kgdiag.dialects.istio.destination_rules import applied, setting_of
from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.istio.registry import of_service
from kgdiag.graph.core import containers, pods_of, service_ports
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import MESH_NAMES, MESH_READS, Rule, Scope, rule
from kgdiag.rules.common import (
    gone_or_unseen,
    known,
    labels_text,
    listed,
    near,
    port_text,
    prove_field,
    prove_gone,
    prove_no_pods,
    prove_ports,
)

_POOLS = {POOL.key: POOL, OLD_POOL.key: OLD_POOL}
_ROUTES = (kinds.HTTP_ROUTE, kinds.GRPC_ROUTE)


@rule(
    "KG415", "inference-pool", Severity.ERROR, needs=(kinds.SERVICE, kinds.POD),
    about=(*_ROUTES, POOL, OLD_POOL),
    reads=(*_ROUTES, POOL, OLD_POOL, kinds.DESTINATION_RULE, *MESH_READS),
    names=(kinds.GATEWAY, kinds.GATEWAY_CLASS, *MESH_NAMES),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each broken link of the chain route, pool, picker, pods."""
    for kind in _ROUTES:
        for route in scope.all(world, kind):
            for ref in _pool_refs(route):
                yield from _route(self, world, route, ref)
    for pool in (*scope.all(world, POOL), *scope.all(world, OLD_POOL)):
        yield from _picker(self, world, pool)
        yield from _pods(self, world, pool)


def _pool_refs(route: Obj) -> Iterator[BackendRef]:
    for number, _ in enumerate(route.items("spec.rules")):
        yield from (ref for ref in backend_refs(route, number) if (ref.group, ref.kind) in _POOLS)


def _route(self: Rule, world: World, route: Obj, ref: BackendRef) -> Iterable[Finding]:
    kind = _POOLS[ref.group, ref.kind]
    if world.get(kind, ref.namespace, ref.name) is not None:
        return
    severity, words = gone_or_unseen(world, kind, ref.namespace, ref.name)
    if severity is None:
        return
    other = OLD_POOL if kind is POOL else POOL
    twin = world.get(other, ref.namespace, ref.name, optional=True)
    alike = near(ref.name, [one.name for one in world.all(kind, ref.namespace, optional=True)])
    hint = f"; one of this name is in group {other.group}" if twin is not None else (
        f"; did you mean {alike[0]}?" if alike else ""
    )  # fmt: skip
    error = severity is Severity.ERROR
    yield self.finding(
        route.ref,
        f"backendRef InferencePool {ref.namespace}/{ref.name} of group {ref.group} {words}{hint}"
        + (": its share of the requests gets 500" if error else ""),
        severity=severity,
        evidence=[route.evidence(ref.part)],
        fix=f"set {ref.part}.group to {other.group}" if twin is not None
        else f"set {ref.part}.name to {alike[0]}" if alike else f"create the InferencePool {ref.name}",
        verify=[prove_gone(kind, ref.namespace, ref.name)] if error else [],
    )  # fmt: skip


def _picker_of(pool: Obj) -> tuple[str, Mapping[str, Any], int | None]:
    """(field, reference, port) of a pool's endpoint picker; 9002 is the port of the older API."""
    field = "spec.endpointPickerRef" if pool.mapping("spec.endpointPickerRef") else "spec.extensionRef"
    raw = pool.mapping(field)
    port = raw.get("port")
    number = port.get("number") if isinstance(port, Mapping) else raw.get("portNumber")
    if number is None and field == "spec.extensionRef":
        number = 9002
    return field, raw, number if isinstance(number, int) else None


def _picker(self: Rule, world: World, pool: Obj) -> Iterable[Finding]:
    field, raw, port = _picker_of(pool)
    name = str(raw.get("name") or "")
    if not name or str(raw.get("kind") or "Service") != "Service":
        return
    fails = str(raw.get("failureMode") or "FailClose") != "FailOpen"
    does = "requests to the pool get 500 or 503" if fails else "requests are spread without it (FailOpen)"
    service = world.get(kinds.SERVICE, pool.namespace, name)
    if service is None:
        severity, words = gone_or_unseen(world, kinds.SERVICE, pool.namespace, name)
        if severity is not None:
            error = severity is Severity.ERROR
            yield self.finding(
                pool.ref,
                f"its endpoint picker, Service {pool.namespace}/{name}, {words}"
                + (f": {does}" if error else ""),
                severity=Severity.WARNING if error and not fails else severity,
                evidence=[pool.evidence(f"{field}.name")],
                fix=f"create Service {name}, or set {field}.name",
                verify=[prove_gone(kinds.SERVICE, pool.namespace, name)] if error else [],
            )
        return
    ports = service_ports(service)
    if port is not None and port not in [one.port for one in ports]:
        yield self.finding(
            pool.ref,
            f"its endpoint picker {service.ref} has no port {port} (it has "
            f"{listed(map(port_text, ports), 6)}): {does}",
            severity=Severity.ERROR if fails else Severity.WARNING,
            evidence=[pool.evidence(field), service.evidence("spec.ports")],
            fix=f"set the port of {field} to {ports[0].port}" if ports else f"give {service.ref} the port",
            verify=[prove_ports(service)],
        )
        return
    yield from _tls(self, world, pool, service, port, does)


def _tls(self: Rule, world: World, pool: Obj, service: Obj, port: int | None, does: str) -> Iterable[Finding]:
    """Istio's gateways speak plaintext to a picker that speaks TLS, unless a rule says otherwise."""
    if not _on_istio(world, pool) or not world.readable(kinds.DESTINATION_RULE):
        return
    for pod in pods_of(world, service)[:1]:
        args = [str(arg) for item in containers(pod) for arg in _texts(item)]
        if not any("secure-serving" in arg or "secureServing" in arg for arg in args) or _plain(args):
            return
        mesh = mesh_of(world)
        rule_ = applied(world, mesh, of_service(mesh, service), pool.namespace, {})
        setting = setting_of(rule_, port or 9002, "", "tls")
        if (setting is None or setting.value.get("mode") == "DISABLE") and known(
            world, kinds.DESTINATION_RULE, pool.namespace
        ):
            yield self.finding(
                pool.ref,
                f"its endpoint picker {service.ref} speaks TLS (--secure-serving), and no DestinationRule "
                f"makes the gateway do so: {does}",
                severity=Severity.WARNING,
                evidence=[pool.evidence("spec"), pod.evidence("spec.containers[0].args")],
                fix=f"create a DestinationRule for {service.name}.{service.namespace}.svc.{mesh.domain} with "
                "trafficPolicy.tls {mode: SIMPLE, insecureSkipVerify: true}, or give the picker "
                "--secure-serving=false",
                verify=[prove_field(service, ".metadata.name", service.name, "the picker's Service")],
            )


def _texts(container: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for key in ("command", "args"):
        value = container.get(key)
        found += value if isinstance(value, list) else []
    return found


def _plain(args: list[str]) -> bool:
    joined = " ".join(args).lower().replace("secureserving", "secure-serving").replace("=", " ")
    return "secure-serving false" in joined


def _on_istio(world: World, pool: Obj) -> bool:
    for kind in _ROUTES:
        for route in world.all(kind, pool.namespace, optional=True):
            if any(ref.name == pool.name for ref in _pool_refs(route)):
                for item in attachments(world, route):
                    if item.accepted and item.provider is not None and item.provider.name == "istio":
                        return True
    return False


def _pods(self: Rule, world: World, pool: Obj) -> Iterable[Finding]:
    labels = pool.mapping("spec.selector.matchLabels")
    field = "spec.selector.matchLabels"
    if not labels and pool.kind == OLD_POOL:
        labels, field = pool.mapping("spec.selector"), "spec.selector"
    if not labels or world.select(kinds.POD, pool.namespace, labels) or not known(
        world, kinds.POD, pool.namespace
    ):  # fmt: skip
        return
    yield self.finding(
        pool.ref,
        f"no pod in {pool.namespace} has {labels_text(labels)}: the pool is empty, requests to it get 503",
        evidence=[pool.evidence(field)],
        fix=f"set {field} to the labels of the model servers",
        verify=[prove_no_pods(pool.namespace, labels)],
    )
