"""How Gateway API objects relate.

Sources: gateway-api apis/v1 and apis/v1beta1; for data planes the implementations' own labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kgdiag.dialects.gateway_api.attach import attachments
from kgdiag.dialects.gateway_api.backends import BackendRef, backend_ref, backend_refs
from kgdiag.dialects.gateway_api.provider import implementation, providers
from kgdiag.dialects.gateway_api.spec import GROUP, listeners_of, parent_refs
from kgdiag.graph.relations import Link, Relation
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj, dig
from kgdiag.model.ref import Ref

_ROUTES = (kinds.HTTP_ROUTE, kinds.GRPC_ROUTE, kinds.TLS_ROUTE, kinds.TCP_ROUTE)
_SETS = (kinds.LISTENER_SET, kinds.XLISTENER_SET)


def _class_of(world: World, gateway: Obj) -> Iterator[Link]:
    name = gateway.text("spec.gatewayClassName")
    if name:
        yield Link(Ref(GROUP, "GatewayClass", "", name), "spec.gatewayClassName")


def _programs(world: World, gateway: Obj) -> Iterator[Link]:
    provider = implementation(world, gateway).provider
    plane = provider.data_plane(world, gateway) if provider else None
    for pod in plane.pods if plane else ():
        yield Link(pod.ref, "spec.gatewayClassName", f"data plane of {provider.title if provider else ''}")


def _gateways_of_pod(world: World, pod: Obj) -> Iterator[Obj]:
    for provider in providers():
        for ref in provider.gateways_of(world, pod) or ():
            gateway = world.get(kinds.GATEWAY, ref.namespace, ref.name)
            if gateway is not None:
                yield gateway


def _fronted(world: World, gateway: Obj) -> Iterator[Link]:
    provider = implementation(world, gateway).provider
    plane = provider.data_plane(world, gateway) if provider else None
    for ref in plane.services if plane else ():
        yield Link(ref, "spec.gatewayClassName", "the Service before its data plane")


_NAME = "gateway.networking.k8s.io/gateway-name"
_OWNER, _OWNER_NAMESPACE = (
    "gateway.envoyproxy.io/owning-gateway-name",
    "gateway.envoyproxy.io/owning-gateway-namespace",
)


def _gateways_of_service(world: World, service: Obj) -> Iterator[Obj]:
    """The Gateways that a Service says it belongs to, by labels, owner or, for kgateway, its name."""
    labels = service.labels
    names = {(service.namespace, str(labels[_NAME]))} if _NAME in labels else set()
    if _OWNER in labels:
        names.add((str(labels.get(_OWNER_NAMESPACE) or ""), str(labels[_OWNER])))
    for owner in service.maps("metadata.ownerReferences"):
        if owner.get("kind") == "Gateway" and str(owner.get("apiVersion") or "").startswith(GROUP):
            names.add((service.namespace, str(owner.get("name") or "")))
    for namespace, name in sorted(names):
        gateway = world.get(kinds.GATEWAY, namespace, name)
        if gateway is not None:
            yield gateway


def _attached(world: World, route: Obj) -> Iterator[Link]:
    for item in attachments(world, route):
        parent = item.parent
        if item.mesh:
            continue
        if item.accepted:
            names = ", ".join(said.listener.name for said in item.admissions if said.accepted)
            detail = f"listener {names}"
        else:
            detail = f"not attached: {item.detail}" if item.accepted is False else f"not known: {item.detail}"
        yield Link(parent.ref, parent.part, detail)


def _mesh_parents(world: World, route: Obj) -> Iterator[Link]:
    for parent in parent_refs(route):
        if (parent.group, parent.kind) == ("", "Service"):
            yield Link(parent.ref, parent.part, "mesh route")


def _routes_to(world: World, route: Obj) -> Iterator[Link]:
    for rule in range(len(route.items("spec.rules"))):
        for ref in backend_refs(route, rule):
            if (ref.group, ref.kind) == ("", "Service"):
                yield Link(
                    ref.ref, ref.part, _port(ref) + (f", weight {ref.weight}" if ref.weight != 1 else "")
                )
        for index, item in enumerate(route.maps(f"spec.rules[{rule}].filters")):
            raw = dig(item, "requestMirror.backendRef")
            if isinstance(raw, Mapping):
                part = f"spec.rules[{rule}].filters[{index}].requestMirror.backendRef"
                ref = backend_ref(route, raw, part)
                if (ref.group, ref.kind) == ("", "Service"):
                    yield Link(ref.ref, part, f"{_port(ref)}, mirrored")


def _port(ref: BackendRef) -> str:
    return f"port {ref.port}" if ref.port is not None else "no port"


def _secrets(world: World, owner: Obj) -> Iterator[Link]:
    for index, listener in enumerate(owner.items("spec.listeners")):
        refs = dig(listener, "tls.certificateRefs", [])
        for at, raw in enumerate(refs if isinstance(refs, list) else ()):
            if isinstance(raw, Mapping) and (raw.get("kind") or "Secret") == "Secret":
                namespace = str(raw.get("namespace") or owner.namespace)
                target = Ref("", "Secret", namespace, str(raw.get("name") or ""))
                field = f"spec.listeners[{index}].tls.certificateRefs[{at}]"
                yield Link(target, field, f"certificate of listener {listener.get('name')}")


def _adds_to(world: World, owner: Obj) -> Iterator[Link]:
    namespace = owner.text("spec.parentRef.namespace", owner.namespace)
    name = owner.text("spec.parentRef.name")
    if not name:
        return
    target = Ref(GROUP, "Gateway", namespace, name)
    gateway = world.get(kinds.GATEWAY, namespace, name)
    admitted = gateway is not None and any(
        item.owner.ref == owner.ref for item in listeners_of(world, gateway)
    )
    yield Link(
        target, "spec.parentRef", "" if admitted or gateway is None else "the Gateway does not admit it"
    )


def _grants(world: World, grant: Obj) -> Iterator[Link]:
    """The objects that a grant names."""
    for index, item in enumerate(grant.maps("spec.to")):
        if item.get("name"):
            target = Ref(
                str(item.get("group") or ""), str(item.get("kind") or ""), grant.namespace, str(item["name"])
            )
            yield Link(target, f"spec.to[{index}]", _who(grant))


def _lets_in(world: World, grant: Obj) -> Iterator[Link]:
    """The namespaces whose objects a grant lets refer into its own."""
    what = ", ".join(sorted({f"{item.get('kind')}s" for item in grant.maps("spec.to")}))
    for index, item in enumerate(grant.maps("spec.from")):
        namespace = Ref("", "Namespace", "", str(item.get("namespace") or ""))
        yield Link(namespace, f"spec.from[{index}]", f"its {item.get('kind')}s may refer to {what}")


def _who(grant: Obj) -> str:
    return ", ".join(f"{item.get('kind')}s of {item.get('namespace')}" for item in grant.maps("spec.from"))


def _tls_targets(world: World, policy: Obj) -> Iterator[Link]:
    for index, item in enumerate(policy.maps("spec.targetRefs")):
        if (item.get("group") or "", item.get("kind")) == ("", "Service"):
            section = item.get("sectionName")
            detail = f"port {section}" if section else "all ports"
            target = Ref("", "Service", policy.namespace, str(item.get("name") or ""))
            yield Link(target, f"spec.targetRefs[{index}]", f"{detail}: the proxy speaks TLS to it")


def _tls_policies(world: World, service: Obj) -> Iterable[Obj]:
    return world.all(kinds.BACKEND_TLS_POLICY, service.namespace)


def _authorities(world: World, policy: Obj) -> Iterator[Link]:
    for index, item in enumerate(policy.maps("spec.validation.caCertificateRefs")):
        kind = str(item.get("kind") or "ConfigMap")
        target = Ref(str(item.get("group") or ""), kind, policy.namespace, str(item.get("name") or ""))
        yield Link(target, f"spec.validation.caCertificateRefs[{index}]", "CA of the backend")


def _parameters(world: World, gateway: Obj) -> Iterator[Link]:
    raw: Mapping[str, Any] = gateway.mapping("spec.infrastructure.parametersRef")
    if raw.get("name"):
        target = Ref(
            str(raw.get("group") or ""), str(raw.get("kind") or ""), gateway.namespace, str(raw["name"])
        )
        yield Link(target, "spec.infrastructure.parametersRef")


def _same_namespace(kind: Kind) -> Callable[[World, Obj], Iterable[Obj]]:
    return lambda world, target: world.all(kind, target.namespace)


RELATIONS: tuple[Relation, ...] = (
    Relation("of-class", "class-of", kinds.GATEWAY, (kinds.GATEWAY_CLASS,), _class_of),
    Relation("configured-by", "configures", kinds.GATEWAY, (kinds.CONFIG_MAP,), _parameters,
             _same_namespace(kinds.GATEWAY), optional=True),
    Relation("programs", "programmed-by", kinds.GATEWAY, (kinds.POD,), _programs, _gateways_of_pod),
    Relation("fronted-by", "fronts", kinds.GATEWAY, (kinds.SERVICE,), _fronted, _gateways_of_service),
    Relation("refers-to", "certificate-of", kinds.GATEWAY, (kinds.SECRET,), _secrets),
    *(Relation("refers-to", "certificate-of", kind, (kinds.SECRET,), _secrets, optional=True)
      for kind in _SETS),
    *(Relation("adds-listeners-to", "has-listeners-of", kind, (kinds.GATEWAY,), _adds_to, optional=True)
      for kind in _SETS),
    *(Relation("attached-to", "attaches", kind, (kinds.GATEWAY, *_SETS), _attached) for kind in _ROUTES),
    *(Relation("routes-to", "routed-from", kind, (kinds.SERVICE,), _routes_to) for kind in _ROUTES),
    *(Relation("reroutes", "rerouted-by", kind, (kinds.SERVICE,), _mesh_parents, optional=True)
      for kind in _ROUTES[:2]),
    Relation("grants", "granted-by", kinds.REFERENCE_GRANT, (kinds.SERVICE, kinds.SECRET), _grants,
             _same_namespace(kinds.REFERENCE_GRANT)),
    Relation("lets-in", "let-in-by", kinds.REFERENCE_GRANT, (kinds.NAMESPACE,), _lets_in),
    Relation("applies-to", "tls-by", kinds.BACKEND_TLS_POLICY, (kinds.SERVICE,), _tls_targets, _tls_policies),
    Relation("refers-to", "authority-of", kinds.BACKEND_TLS_POLICY, (kinds.CONFIG_MAP, kinds.SECRET),
             _authorities, _same_namespace(kinds.BACKEND_TLS_POLICY)),
)  # fmt: skip
