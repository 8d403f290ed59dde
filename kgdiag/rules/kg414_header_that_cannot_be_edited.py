"""Header modifier that Envoy Gateway refuses

## What it finds
With Envoy Gateway: a RequestHeaderModifier or ResponseHeaderModifier for the header Host, or for a name with
`:` or `/`.

## Why it matters
The rule answers every request with 500, while the route stays Accepted (PartiallyInvalid, UnsupportedValue).
With Istio the same filter sets the Host: the route worked there.

## How to prove it
`kubectl get httproutes NAME -n NAMESPACE -o jsonpath='{.status.parents[*].conditions}'` has PartiallyInvalid.

## How to fix it
Use URLRewrite with `hostname`.

## What it does not report
Other implementations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kgdiag.dialects.gateway_api.attach import attachments
from kgdiag.graph.world import World
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Finding, Match, Severity
from kgdiag.model.obj import Obj
from kgdiag.rules.base import Rule, Scope, rule
from kgdiag.rules.common import mappings

_FIELDS = ("requestHeaderModifier", "responseHeaderModifier")


@rule(
    "KG414", "header-that-cannot-be-edited", Severity.ERROR,
    needs=(kinds.HTTP_ROUTE, kinds.GATEWAY, kinds.GATEWAY_CLASS), about=(kinds.HTTP_ROUTE,),
)  # fmt: skip
def check(self: Rule, world: World, scope: Scope) -> Iterable[Finding]:
    """One finding for each such filter."""
    for route in scope.all(world, kinds.HTTP_ROUTE):
        edits = list(_edits(route))
        if not edits:
            continue
        gateways = [
            item.gateway
            for item in attachments(world, route)
            if item.gateway is not None
            and item.provider is not None
            and item.provider.name == "envoy-gateway"
        ]
        for part, name in edits if gateways else ():
            yield self.finding(
                route.ref,
                f"{part} edits the header {name}, which Envoy Gateway refuses: requests of this rule get 500 "
                "although the route is Accepted",
                evidence=[route.evidence(part)],
                fix="use a URLRewrite filter with hostname instead" if name.lower() == "host"
                else f"remove {name} from {part}",
                verify=[
                    commands.get(
                        kinds.HTTP_ROUTE, route.namespace, route.name, jsonpath=f".{part}",
                        expect=name, match=Match.CONTAINS, value=name,
                    )
                ],
            )  # fmt: skip


def _edits(route: Obj) -> Iterator[tuple[str, str]]:
    """(field of the filter, name of the header) of every edit that is refused."""
    for number, item in mappings(route.get("spec.rules")):
        for at, filter_ in mappings(item.get("filters")):
            for field in _FIELDS:
                settings = filter_.get(field)
                if not isinstance(settings, dict):
                    continue
                names = [str(one.get("name") or "") for how in ("set", "add")
                         for _, one in mappings(settings.get(how))]  # fmt: skip
                removed = settings.get("remove")
                names += [str(name) for name in removed] if isinstance(removed, list) else []
                for name in names:
                    if name.lower() == "host" or ":" in name or "/" in name:
                        yield f"spec.rules[{number}].filters[{at}].{field}", name
                        break
