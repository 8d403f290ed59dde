"""Reference into another namespace without a ReferenceGrant

## What it finds
A backendRef of a route, or a certificateRef of a Gateway's listener, to an object of another namespace that
no ReferenceGrant there allows. A grant that comes near (another kind, another namespace, another name) is
named.

## Why it matters
The reference counts as invalid. A route's share of the requests is answered with 500; a listener without
its certificate is not programmed.

## How to prove it
`kubectl get referencegrants -n TARGET` shows none for the route's kind and namespace; the route's status
has `ResolvedRefs=False RefNotPermitted`.

## How to fix it
Create a ReferenceGrant in the namespace that is referred to, as `fix` shows it.

## What it does not report
References from routes to Gateways: those are allowed by the listener's `allowedRoutes` (KG403). Files
without the grants of that namespace, where they are not a whole cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kgdiag.dialects.gateway_api.backends import backend_refs
from kgdiag.dialects.gateway_api.grants import granted
from kgdiag.dialects.gateway_api.spec import listeners_of
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Evidence, Obj
from kgdiag.model.patch import Patch, create
from kgdiag.model.ref import Ref
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import mappings

GROUP = "gateway.networking.k8s.io"
ROUTES = (kinds.HTTP_ROUTE, kinds.GRPC_ROUTE, kinds.TLS_ROUTE, kinds.TCP_ROUTE, kinds.UDP_ROUTE)


@dataclass(frozen=True, slots=True)
class _Reference:
    source: Obj
    field: str
    target: Ref
    consequence: str


@rule(
    "KG401", "reference-not-granted", Severity.ERROR,
    needs=(kinds.HTTP_ROUTE, kinds.GATEWAY, kinds.REFERENCE_GRANT), about=(*ROUTES, kinds.GATEWAY),
    reads=(kinds.GRPC_ROUTE, kinds.TCP_ROUTE, kinds.TLS_ROUTE, kinds.UDP_ROUTE),
    names=(kinds.SERVICE, kinds.SECRET),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each reference that is not permitted."""
    for reference in _references(world, scope):
        source, target = reference.source, reference.target
        if source.namespace == target.namespace:
            continue
        asked = (GROUP, source.kind.name, source.namespace)
        if granted(world, asked, (target.group, target.kind, target.namespace, target.name)) is not False:
            continue
        near, facts = _near(world, reference)
        yield self.finding(
            source.ref,
            f"{reference.field} refers to {target}, and no ReferenceGrant in {target.namespace} allows "
            f"{source.kind.name}s of {source.namespace}{near}: {reference.consequence}",
            evidence=[source.evidence(reference.field), *facts],
            fix=_grant(source, target),
            patch=_patch(source, target) if world.find(target, optional=True) else None,
            verify=[
                commands.get(
                    kinds.REFERENCE_GRANT, target.namespace, jsonpath=".items[*].spec.from",
                    expect=f"no entry for {source.kind.name} and {source.namespace}", match=Match.LACKS,
                    value=f'"kind":"{source.kind.name}","namespace":"{source.namespace}"',
                )
            ]
            if not facts
            else [commands.get(kinds.REFERENCE_GRANT, target.namespace, expect="these grants only")],
        )  # fmt: skip


def _references(world: World, scope: Scope) -> Iterator[_Reference]:
    for kind in ROUTES:
        for route in scope.all(world, kind):
            for number, _ in enumerate(route.items("spec.rules")):
                for ref in backend_refs(route, number):
                    yield _Reference(route, ref.part, ref.ref, "ResolvedRefs=False, its share gets 500")
    for gateway in scope.all(world, kinds.GATEWAY):
        for listener in listeners_of(world, gateway):
            tls = listener.raw.get("tls")
            for at, raw in mappings(tls.get("certificateRefs") if isinstance(tls, dict) else None):
                target = Ref(
                    str(raw.get("group") or ""),
                    str(raw.get("kind") or "Secret"),
                    str(raw.get("namespace") or listener.owner.namespace),
                    str(raw.get("name") or ""),
                )
                field = f"{listener.part}.tls.certificateRefs[{at}]"
                words = f"{listener.title} is not programmed (ResolvedRefs=False RefNotPermitted)"
                yield _Reference(listener.owner, field, target, words)


def _near(world: World, reference: _Reference) -> tuple[str, list[Evidence]]:
    """A grant of the namespace that allows something else, and what."""
    for grant in world.all(kinds.REFERENCE_GRANT, reference.target.namespace):
        sources = [f"{item.get('kind')}s of {item.get('namespace')}" for item in grant.maps("spec.from")]
        targets = [f"{item.get('kind')} {item.get('name') or ''}".strip() for item in grant.maps("spec.to")]
        return (
            f" ({grant.name} allows {', '.join(sources)} to {', '.join(targets)})",
            [grant.evidence("spec")],
        )
    return "", []


def _patch(source: Obj, target: Ref) -> Patch:
    spec = {
        "from": [{"group": GROUP, "kind": source.kind.name, "namespace": source.namespace}],
        "to": [{"group": target.group, "kind": target.kind, "name": target.name}],
    }
    metadata = {"name": f"{source.namespace}-to-{target.name}", "namespace": target.namespace}
    head = {"apiVersion": f"{GROUP}/v1beta1", "kind": "ReferenceGrant"}
    return create(kinds.REFERENCE_GRANT, {**head, "metadata": metadata, "spec": spec})


def _grant(source: Obj, target: Ref) -> str:
    """The grant to create, in YAML's flow style."""
    metadata = f"{{name: {source.namespace}-to-{target.name}, namespace: {target.namespace}}}"
    sources = f"[{{group: {GROUP}, kind: {source.kind.name}, namespace: {source.namespace}}}]"
    targets = f'[{{group: "{target.group}", kind: {target.kind}, name: {target.name}}}]'
    head = f"apiVersion: {GROUP}/v1beta1, kind: ReferenceGrant"
    return f"create {{{head}, metadata: {metadata}, spec: {{from: {sources}, to: {targets}}}}}"
