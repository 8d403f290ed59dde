"""An OpenShift Route: whether a router admitted it, who ends TLS, where it leads.

Source: openshift/api route/v1/types.go, openshift/router template_helper.go endpointsForAlias.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft
from kgdiag.explain.ends import End
from kgdiag.explain.words import absent, listed, many, named
from kgdiag.graph.core import addresses, pods_of, resolve_target, service_ports
from kgdiag.graph.world import Missing
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

KINDS = (kinds.ROUTE,)
_TLS = {
    "": "without TLS: only http is served",
    "edge": "TLS ends at the router, which speaks plain HTTP to the pods",
    "reencrypt": "TLS ends at the router, which speaks TLS to the pods",
    "passthrough": "TLS passes through to the pods, by its server name: no paths, no headers",
}
_INSECURE = {
    "": "http gets 503",
    "None": "http gets 503",
    "Allow": "http is served too",
    "Redirect": "http gets 302 to https",
}


def describe(context: Context, route: Obj, draft: Draft) -> None:
    """Fill the draft for a Route."""
    ends = list(_backends(context, route))
    host = route.text("spec.host", "a host that the router chooses")
    path = route.text("spec.path")
    admitted, rows = _admitted(route)
    draft.summary = "; ".join(
        [
            f"route {route.name} serves {host}{path}, {admitted}",
            f"requests go to {listed(end.words for _, end in ends) or 'nothing'}",
            _tls(route),
        ]
    )
    target = route.text("spec.port.targetPort")
    draft.table(
        "Backends", ("weight", "Service and endpoints", "targetPort"),
        [(str(weight), end.words, target or "all ports") for weight, end in ends],
    )  # fmt: skip
    draft.table("Routers", ("router", "admitted", "reason", "host"), rows)
    draft.relate(context, context.out(route), "down")
    draft.relate(context, context.into(route), "up", look=False)
    if target:
        draft.note(
            "targetPort is the name of a Service port or the number of a pod's port, never the number of a "
            "Service port"
        )
    draft.note("the router sends to the pods' own addresses: the Service's cluster IP is not on the way")
    draft.prove(
        proof.shows(route, "spec.host"), proof.shows(route, "spec.to"),
        proof.shows(route, "spec.port.targetPort"),
        proof.shows(route, "spec.tls.termination"),
    )  # fmt: skip
    for item in route.maps("status.ingress")[:1]:
        for at, condition in enumerate(item.get("conditions") or ()):
            if isinstance(condition, Mapping) and condition.get("type") == "Admitted":
                draft.prove(proof.shows(route, f"status.ingress[0].conditions[{at}].status"))


def _backends(context: Context, route: Obj) -> Iterator[tuple[Any, End]]:
    for backend in (route.mapping("spec.to"), *route.maps("spec.alternateBackends")):
        if backend.get("name"):
            yield backend.get("weight", 100), _end(context, route, str(backend["name"]))


def _end(context: Context, route: Obj, name: str) -> End:
    world, target = context.world, route.text("spec.port.targetPort")
    service = world.get(kinds.SERVICE, route.namespace, name)
    if service is None:
        missing = world.missing(kinds.SERVICE, route.namespace, name)
        return End(f"Service {route.namespace}/{name} {absent(missing)}", missing is not Missing.GONE)
    pods, ports = pods_of(world, service), service_ports(service)
    if target:
        ports = [
            port
            for port in ports
            if port.name == target
            or target in {str(resolve_target(pod, port)) for pod in pods}
            or str(port.target) == target
        ]
    if not ports:
        return End(f"{named(service.ref)}, where nothing is called {target}: 503", False, service)
    found = addresses(world, service, ports[0])
    where = sorted({str(item.port) for item in found}) or [str(ports[0].target)]
    ready = sum(item.ready for item in found)
    return End(
        f"{named(service.ref)} on the pods' {many(len(where), 'port')} {listed(where)} "
        f"({ready}/{len(found)} ready)",
        True, service,
    )  # fmt: skip


def _admitted(route: Obj) -> tuple[str, list[tuple[str, str, str, str]]]:
    rows = []
    for item in route.maps("status.ingress"):
        for condition in item.get("conditions") or ():
            if isinstance(condition, Mapping) and condition.get("type") == "Admitted":
                rows.append(
                    (str(item.get("routerName")), str(condition.get("status")),
                     str(condition.get("reason") or condition.get("message") or "-"),
                     str(item.get("host") or ""))
                )  # fmt: skip
    good = [row for row in rows if row[1] == "True"]
    if not rows:
        return (
            "which no router has admitted" if route.raw.get("status") else "not yet seen by a router"
        ), rows
    if good:
        return f"admitted by {many(len(good), 'router')} {listed(row[0] for row in good)}", rows
    return f"refused by {many(len(rows), 'router')} {listed(row[0] for row in rows)}: {rows[0][2]}", rows


def _tls(route: Obj) -> str:
    mode = route.text("spec.tls.termination")
    words = _TLS.get(mode, f"termination {mode}")
    if mode:
        words += f"; {_INSECURE.get(route.text('spec.tls.insecureEdgeTerminationPolicy'), 'http gets 503')}"
    return words
