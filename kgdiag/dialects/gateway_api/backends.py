"""What the backendRefs of a rule lead to, before an implementation makes clusters of them.

Source: gateway-api apis/v1/httproute_types.go (HTTPBackendRef, BackendRefs) and object_reference_types.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kgdiag.dialects.gateway_api.grants import granted
from kgdiag.dialects.gateway_api.spec import GROUP
from kgdiag.graph.core import Address, ServicePort, addresses, service_ports
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import ClientTls, Cluster, Endpoint, Health, Origin
from kgdiag.model.ref import Ref

NOT_FOUND, NOT_PERMITTED, INVALID_KIND = "BackendNotFound", "RefNotPermitted", "InvalidKind"
NO_PORT, UNSUPPORTED = "PortNotSpecified", "UnsupportedValue"


@dataclass(frozen=True)
class BackendRef:
    """One backendRef with its defaults; ``part`` is ``spec.rules[0].backendRefs[1]``."""

    route: Obj
    part: str
    rule: int
    index: int
    group: str
    kind: str
    namespace: str
    name: str
    port: int | None
    weight: int
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def ref(self) -> Ref:
        return Ref(self.group, self.kind, self.namespace, self.name)

    @property
    def origin(self) -> Origin:
        return Origin(self.route.ref, self.part, (self.route.evidence(self.part),))

    @property
    def filters(self) -> list[Mapping[str, Any]]:
        raw = self.raw.get("filters")
        return [item for item in raw if isinstance(item, Mapping)] if isinstance(raw, list) else []


def backend_ref(route: Obj, raw: Mapping[str, Any], part: str, rule: int = 0, index: int = 0) -> BackendRef:
    """A reference as written, with the defaults that the API gives it."""
    weight, port = raw.get("weight"), raw.get("port")
    return BackendRef(
        route=route,
        part=part,
        rule=rule,
        index=index,
        group=str(raw.get("group") or ""),
        kind=str(raw.get("kind") or "Service"),
        namespace=str(raw.get("namespace") or route.namespace),
        name=str(raw.get("name") or ""),
        port=port if isinstance(port, int) else None,
        weight=weight if isinstance(weight, int) else 1,
        raw=raw,
    )


def backend_refs(route: Obj, rule: int) -> list[BackendRef]:
    """The backendRefs of a rule."""
    below = f"spec.rules[{rule}].backendRefs"
    return [
        backend_ref(route, raw, f"{below}[{index}]", rule, index)
        for index, raw in enumerate(route.items(below))
        if isinstance(raw, Mapping)
    ]


@dataclass(frozen=True)
class Backend:
    """A backendRef and what it leads to.

    ``problem`` is the specification's reason why it is invalid, with ``detail`` in words. ``doubt`` says
    what could not be read, so that nothing is known. ``service`` and ``port`` are set where they exist.
    """

    ref: BackendRef
    problem: str = ""
    detail: str = ""
    doubt: str = ""
    service: Obj | None = None
    port: ServicePort | None = None

    @property
    def valid(self) -> bool:
        """Whether it can be sent requests as far as is known; a doubtful one counts as valid."""
        return not self.problem


def resolve(world: World, ref: BackendRef) -> Backend:
    """What a backendRef leads to. Kinds other than Service are invalid here: who knows them asks first."""
    route = ref.route
    permitted = may_refer(world, ref)
    if permitted is False:
        who = f"{route.kind.name}s of {route.namespace}"
        detail = f"no ReferenceGrant in {ref.namespace} lets {who} refer to {ref.ref}"
        return Backend(ref, NOT_PERMITTED, detail)
    if (ref.group, ref.kind) != ("", "Service"):
        return Backend(
            ref, INVALID_KIND, f"{ref.kind}{'.' if ref.group else ''}{ref.group} is no kind of backend"
        )
    service = world.get(kinds.SERVICE, ref.namespace, ref.name)
    if permitted is None:
        return Backend(ref, doubt=f"the ReferenceGrants of {ref.namespace} are not known", service=service)
    if service is None:
        missing = world.missing(kinds.SERVICE, ref.namespace, ref.name)
        if missing is Missing.GONE:
            return Backend(ref, NOT_FOUND, f"{ref.ref} does not exist")
        return Backend(ref, doubt=f"{ref.ref} {missing.value}")
    if ref.port is None:
        return Backend(ref, NO_PORT, f"{ref.part} has no port", service=service)
    port = next((item for item in service_ports(service) if item.port == ref.port), None)
    if port is None:
        has = ", ".join(str(item.port) for item in service_ports(service)) or "none"
        return Backend(ref, NOT_FOUND, f"{ref.ref} has no port {ref.port} (ports: {has})", service=service)
    return Backend(ref, service=service, port=port)


def may_refer(world: World, ref: BackendRef) -> bool | None:
    """Whether a route may refer to a backend, by its namespace or a ReferenceGrant."""
    source = (GROUP, ref.route.kind.name, ref.route.namespace)
    return granted(world, source, (ref.group, ref.kind, ref.namespace, ref.name))


def endpoints(
    world: World, service: Obj, port: ServicePort, *, unready: bool = False
) -> tuple[Endpoint, ...]:  # fmt: skip
    """The endpoints of a Service port as an EDS cluster has them; ``unready`` keeps those that are not
    ready, as draining."""
    out = []
    for address in addresses(world, service, port):
        health = _health(address)
        if health is Health.HEALTHY or unready:
            out.append(Endpoint(address.ip, address.port, address.pod, health, address.assumed))
    return tuple(out)


def _health(address: Address) -> Health:
    if address.terminating or not address.serving or not address.ready:
        return Health.DRAINING
    return Health.HEALTHY


def endpoints_doubt(world: World, service: Obj) -> str | None:
    """Why a Service's endpoints cannot be known."""
    if not world.readable(kinds.ENDPOINT_SLICE, service.namespace):
        return f"the EndpointSlices of {service.namespace} could not be read"
    if addresses_known(world, service):
        return None
    return f"the pods of {service.ref} are not in these files"


def addresses_known(world: World, service: Obj) -> bool:
    """Whether no endpoints means that there are none: not so for files without any workload that matches."""
    if world.whole(service.namespace):
        return True
    return any(addresses(world, service, port) for port in service_ports(service))


@dataclass(frozen=True)
class BackendTls:
    """What a proxy speaks to a backend by BackendTLSPolicy. ``problem`` says why the policy is unusable."""

    policy: Obj
    sni: str
    problem: str = ""
    doubt: str = ""

    @property
    def origin(self) -> Origin:
        return Origin(self.policy.ref, "spec.targetRefs", (self.policy.evidence("spec"),))


def backend_tls(world: World, service: Obj, port: ServicePort) -> BackendTls | None:
    """The BackendTLSPolicy of a Service port: one that names the port before one that names none, then the
    oldest.

    Source: gateway-api apis/v1/backendtlspolicy_types.go.
    """
    policies = world.all(kinds.BACKEND_TLS_POLICY, service.namespace)
    named: list[tuple[int, Obj]] = []
    for policy in policies:
        for target in policy.maps("spec.targetRefs"):
            if (target.get("group") or "", target.get("kind"), target.get("name")) != (
                "",
                "Service",
                service.name,
            ):
                continue
            section = target.get("sectionName")
            if section in (None, "", port.name):
                named.append((0 if section else 1, policy))
    if not named:
        return None
    policy = min(named, key=lambda item: (item[0], item[1].created, item[1].namespace, item[1].name))[1]
    problem, doubt = _ca_problem(world, policy)
    return BackendTls(policy, policy.text("spec.validation.hostname"), problem, doubt)


def _ca_problem(world: World, policy: Obj) -> tuple[str, str]:
    if policy.text("spec.validation.wellKnownCACertificates"):
        return "", ""
    refs = policy.maps("spec.validation.caCertificateRefs")
    if not refs:
        return "it names no CA certificate", ""
    for ref in refs:
        name, kind = str(ref.get("name") or ""), str(ref.get("kind") or "ConfigMap")
        known = {"ConfigMap": kinds.CONFIG_MAP, "Secret": kinds.SECRET}.get(kind)
        if known is None or (ref.get("group") or ""):
            return f"its CA certificate is a {kind}, not a ConfigMap", ""
        found = world.get(known, policy.namespace, name)
        if found is None:
            missing = world.missing(known, policy.namespace, name)
            said = f"{kind} {policy.namespace}/{name} {missing.value}"
            return (said, "") if missing is Missing.GONE else ("", said)
        if known == kinds.CONFIG_MAP and not found.mapping("data").get("ca.crt"):
            return f"ConfigMap {policy.namespace}/{name} has no ca.crt", ""
    return "", ""


def with_tls(cluster: Cluster, tls: BackendTls | None) -> Cluster:
    """The cluster with what a BackendTLSPolicy makes of it."""
    if tls is None:
        return cluster
    origins = (*cluster.origins, tls.origin)
    unknown = cluster.unknown or tls.doubt or None
    return replace(cluster, tls=ClientTls.SIMPLE, sni=tls.sni or None, origins=origins, unknown=unknown)


HTTP2_PROTOCOLS = ("kubernetes.io/h2c", "grpc", "http2")


def speaks_http2(route: Obj, port: ServicePort | None) -> bool:
    """Whether a proxy speaks HTTP/2 to a backend: gRPC routes, and ports that say so."""
    return route.kind == kinds.GRPC_ROUTE or (port is not None and port.app_protocol in HTTP2_PROTOCOLS)
