"""VirtualService bound to a gateway that does not exist

## What it finds
A name in `spec.gateways` (or in a match's `gateways`) that is no Gateway: missing, or in another namespace,
since a name without `namespace/` is looked for in the VirtualService's own namespace. Gateways of the same
name elsewhere are named.

## Why it matters
The VirtualService is not served at that gateway: requests for its hosts get 404 with flag NR there.

## How to prove it
`kubectl get gateways.networking.istio.io -n NAMESPACE NAME` answers NotFound.

## How to fix it
Write `namespace/name`.

## What it does not report
`mesh`, which stands for all sidecars. In files that are not a whole cluster, a Gateway that is not in them
is a fact (info), not a fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kgdiag.dialects.istio.routes import gateway_name
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Finding, Severity
from kgdiag.model.obj import Obj
from kgdiag.model.patch import set_fields
from kgdiag.model.ref import Ref
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import gone_or_unseen, listed, mappings, namesakes, near, prove_gone, texts
from kgdiag.rules.istio import find_gateway


@rule(
    "KG201", "gateway-not-found", Severity.ERROR, needs=(kinds.VIRTUAL_SERVICE, kinds.ISTIO_GATEWAY),
    about=(kinds.VIRTUAL_SERVICE,), equivalents=("IST0101", "KIA1102"),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each gateway that a VirtualService names and that is not there."""
    for route in scope.all(world, kinds.VIRTUAL_SERVICE):
        seen = set()
        for field, written in named_gateways(route):
            name = gateway_name(written, route.namespace)
            if name == "mesh" or name in seen:
                continue
            seen.add(name)
            if find_gateway(world, name) is None:
                yield from _missing(self, world, route, field, written, name)


def named_gateways(route: Obj) -> Iterator[tuple[str, str]]:
    """(field, name as written) of every gateway that a VirtualService names."""
    for at, name in enumerate(route.items("spec.gateways")):
        yield f"spec.gateways[{at}]", str(name)
    for kind in ("http", "tls", "tcp"):
        for at, entry in mappings(route.get(("spec", kind))):
            for number, match in mappings(entry.get("match")):
                for index, name in enumerate(texts(match.get("gateways"))):
                    yield f"spec.{kind}[{at}].match[{number}].gateways[{index}]", name


def _missing(self: Rule, world: World, route: Obj, field: str, written: str, name: str) -> Iterable[Finding]:
    namespace, _, short = name.partition("/")
    severity, words = gone_or_unseen(world, kinds.ISTIO_GATEWAY, namespace, short)
    if severity is None:
        return
    others = [f"{obj.namespace}/{obj.name}" for obj in namesakes(world, kinds.ISTIO_GATEWAY, short)]
    if not others:
        here = world.all(kinds.ISTIO_GATEWAY, namespace, optional=True)
        others = [f"{namespace}/{other}" for other in near(short, (obj.name for obj in here))]
    meant = f"; did you mean {listed(others)}?" if others else ""
    lost = ": requests for its hosts get 404 (NR) there" if severity is Severity.ERROR else ""
    fields = [at for at, text in named_gateways(route) if gateway_name(text, route.namespace) == name]
    yield self.finding(
        route.ref,
        f"gateway {name} {words}{lost}{meant}",
        severity=severity,
        evidence=[route.evidence(field)],
        fix=f"write {others[0]} as {field}" if others else f"create Gateway {name}, or name an existing one",
        patch=set_fields(route, dict.fromkeys(fields, others[0]))
        if len(others) == 1 and severity is Severity.ERROR
        else None,
        follows=[("missing", Ref(kinds.ISTIO_GATEWAY.group, "Gateway", namespace, short))],
        verify=[prove_gone(kinds.ISTIO_GATEWAY, namespace, short)] if severity is Severity.ERROR else [],
    )
