"""OpenShift's router as a hop: which Route takes a request, and what HAProxy does with it.

Sources: openshift/api route/v1/types.go; openshift/router images/router/haproxy/conf/haproxy-config.template
(terminations, insecure policies, the 503 page), pkg/router/template/template_helper.go endpointsForAlias
(targetPort), pkg/router/template/util/util.go GenerateRouteRegexp (paths), pkg/router/controller/
unique_host.go (the namespace of the oldest Route owns a host).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kgdiag.graph.core import ServicePort, service_ports
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Endpoint, Health, Peer
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Act, Backend, Hop, Rejected
from kgdiag.trace import brief, losers, network, verify
from kgdiag.trace.envoy import Hello
from kgdiag.trace.flow import Branch, Flow, Front, behind, scaled

if TYPE_CHECKING:
    from kgdiag.trace.walk import Walker

_REWRITE = ("metadata", "annotations", "haproxy.router.openshift.io/rewrite-target")


def serving(world: World, host: str) -> list[Obj]:
    """The Routes that take a host, the owner's namespace only, longest path first, then oldest."""
    found = [route for route in world.all(kinds.ROUTE) if takes(route, host)]
    admitted = [route for route in found if not _turned_down(route)]
    if not admitted:
        return []
    exact = [route for route in admitted if route.text("spec.host").lower() == host] or admitted
    owner = min(exact, key=lambda route: (route.created, route.namespace, route.name)).namespace
    mine = [route for route in exact if route.namespace == owner]
    return sorted(mine, key=lambda route: (-len(route.text("spec.path")), route.created, route.name))


def takes(route: Obj, host: str) -> bool:
    """Whether a Route is for a host; ``wildcardPolicy: Subdomain`` takes its host's siblings too."""
    own = route.text("spec.host").lower()
    if own == host:
        return True
    return (
        route.text("spec.wildcardPolicy") == "Subdomain"
        and host.partition(".")[2] == own.partition(".")[2]
        and bool(own)
    )


def _turned_down(route: Obj) -> bool:
    """Whether every router that looked at it says Admitted False."""
    said = [
        condition.get("status")
        for ingress in route.maps("status.ingress")
        for condition in ingress.get("conditions") or ()
        if isinstance(condition, Mapping) and condition.get("type") == "Admitted"
    ]
    return bool(said) and all(one == "False" for one in said)


def by_host(walk: Walker, host: str, flow: Flow) -> tuple[Obj, list[Branch]] | None:
    """The way through the router for a host, None where no Route has it."""
    routes = serving(walk.world, host)
    if not routes:
        return None
    passthrough = [route for route in routes if route.text("spec.tls.termination") == "passthrough"]
    if flow.layers and passthrough:
        return passthrough[0], enter(walk, passthrough[0], flow, ())
    rejected: list[Rejected] = []
    for route in routes:
        if path_matches(route, flow.request.path):
            return route, enter(walk, route, flow, rejected)
        rejected.append(
            Rejected(route.ref, "", f"path {flow.request.path} is not under {route.text('spec.path')}", 1)
        )
    at = routes[-1]
    return at, _page(walk, at, flow, f"no Route of {host} has path {flow.request.path}", rejected)


def path_matches(route: Obj, path: str) -> bool:
    """By whole elements, case-sensitive."""
    own = route.text("spec.path")
    if own in ("", "/"):
        return True
    return path == own or path.startswith(own if own.endswith("/") else own + "/")


def _page(
    walk: Walker, route: Obj, flow: Flow, reason: str, rejected: Sequence[Rejected] = (), fix: str = ""
) -> list[Branch]:
    """The router's own 503 page."""
    status = 503 if flow.request.is_http else None
    evidence = (route.evidence("spec.host"), route.evidence("spec.tls"))
    return walk.refused(
        flow,
        route.ref,
        f"{reason}: the router answers 503",
        status=status,
        rejected=tuple(rejected),
        evidence=evidence,
        fix=fix,
    )


def enter(walk: Walker, route: Obj, flow: Flow, rejected: Sequence[Rejected]) -> list[Branch]:
    """The router takes a connection for this Route."""
    if _turned_down(route):
        reasons = [
            str(one.get("reason") or "")
            for ingress in route.maps("status.ingress")
            for one in ingress.get("conditions") or ()
            if isinstance(one, Mapping) and one.get("type") == "Admitted"
        ]
        return _page(
            walk, route, flow, f"{route.ref} is not admitted ({', '.join(dict.fromkeys(reasons))})", rejected
        )
    termination = route.text("spec.tls.termination")
    host = route.text("spec.host")
    if flow.layers:
        return _secure(walk, route, flow, rejected, termination, host)
    if not flow.request.is_http:
        return walk.refused(flow, route.ref, "the router takes HTTP and TLS, and gets other bytes")
    if not termination:
        return _onward(walk, route, flow, rejected, "plain HTTP")
    policy = route.text("spec.tls.insecureEdgeTerminationPolicy", "None") or "None"
    evidence = (route.evidence("spec.tls.insecureEdgeTerminationPolicy", policy),)
    if policy == "Redirect":
        where = f"https://{flow.request.host}{flow.request.target}"
        return walk.refused(
            flow,
            route.ref,
            f"insecureEdgeTerminationPolicy Redirect sends plaintext to {where}",
            status=302,
            location=where,
            action=Act.REDIRECTS,
            evidence=evidence,
            rejected=tuple(rejected),
        )
    if policy == "Allow" and termination != "passthrough":
        return _onward(walk, route, flow, rejected, f"{termination}, and plaintext is allowed")
    return _page(
        walk,
        route,
        flow,
        f"termination {termination} takes no plaintext (insecureEdgeTerminationPolicy {policy})",
        rejected,
    )


def _secure(
    walk: Walker, route: Obj, flow: Flow, rejected: Sequence[Rejected], termination: str, host: str
) -> list[Branch]:
    sni = flow.layers[0].sni or ""
    if termination == "passthrough":
        if not takes(route, sni.lower()):
            reason = f"server name {sni or 'none'} is not {host}, and passthrough knows a Route by it"
            return walk.failed(flow, route.ref, "reset", reason)
        return _onward(walk, route, flow, rejected, f"passthrough by server name {sni}")
    if not termination:
        return _page(walk, route, flow, f"{route.ref} has no TLS, and the request comes by https", rejected)
    return _onward(
        walk, route, flow.to(layers=flow.layers[1:]), rejected, f"{termination}: the router ends TLS"
    )


def _onward(walk: Walker, route: Obj, flow: Flow, rejected: Sequence[Rejected], how: str) -> list[Branch]:
    target = route.text("spec.port.targetPort")
    detail = f"host {route.text('spec.host')}{route.text('spec.path')}; {how}; targetPort {target or 'any'}"
    evidence = (
        route.evidence("spec.host"),
        route.evidence("spec.port.targetPort"),
        route.evidence("spec.tls"),
    )
    words = how.partition(" by server name ")
    short = f"{''.join(words[:2]).rstrip()}; targetPort {target or 'any'}"
    if route.text("spec.path"):
        short = f"path {route.text('spec.path')}; {short}"
    hop = verify.with_commands(
        Hop(route.ref, Act.MATCHES, detail, evidence, losers.nearest(rejected), brief=short)
    )
    termination = route.text("spec.tls.termination")
    http = termination != "passthrough"
    flow = flow.to(
        front=Front("haproxy", http=http) if http else replace(flow.front, cut=True), source=None, peer=Peer()
    )
    if http:
        flow = flow.to(request=replace(flow.request, scheme="grpc" if flow.request.grpc else "http"))
    if http and (rewrite := str(route.get(_REWRITE, "") or "")):
        flow = flow.to(request=replace(flow.request, path=_rewritten(route, rewrite, flow.request.path)))
    shares = _shares(route)
    total = sum(weight for _, weight in shares)
    if not total:
        return behind([hop], _page(walk, route, flow, f"{route.ref} has no Service with a weight"))
    branches: list[Branch] = []
    for field, weight in shares:
        name = str(field.get("name") or "")
        branches += scaled(weight / total, _to_service(walk, route, name, target, flow, termination))
    return behind([hop], branches)


def _shares(route: Obj) -> list[tuple[Mapping[str, Any], int]]:
    backends = [route.mapping("spec.to"), *route.maps("spec.alternateBackends")]
    if len(backends) == 1:
        return [(backends[0], 1 if backends[0].get("weight") != 0 else 0)]
    weights = [one.get("weight") if isinstance(one.get("weight"), int) else 100 for one in backends]
    return [
        (one, weight)
        for one, weight in zip(backends, weights, strict=True)
        if isinstance(weight, int) and weight
    ]


def _rewritten(route: Obj, rewrite: str, path: str) -> str:
    """``rewrite-target`` replaces spec.path. Source: haproxy-config.template, processRewriteTarget."""
    own = route.text("spec.path") or "/"
    rest = path[len(own) :] if path.startswith(own) else path
    if rest and not rewrite.endswith("/") and not rest.startswith("/"):
        rest = "/" + rest
    return (rewrite + (rest.lstrip("/") if rewrite.endswith("/") else rest)) or "/"


def _to_service(
    walk: Walker, route: Obj, name: str, target: str, flow: Flow, termination: str
) -> list[Branch]:
    ref = Ref("", "Service", route.namespace, name)
    service = walk.world.get(kinds.SERVICE, route.namespace, name)
    flow = flow.to(backend=Backend(ref, None))
    if service is None:
        lacks = walk.lacking(flow, ref)
        return lacks or _page(walk, route, flow, f"{ref} does not exist")
    ports = service_ports(service)
    chosen = _ports(walk, service, ports, target)
    if not chosen and target:
        doubt = network.doubt(walk.world, service)
        if doubt:
            return walk.unknown(flow, ref, f"endpoints of {ref}: {doubt}")
        listed = ", ".join(f"{one.name or one.port}→{one.target}" for one in ports) or "none"
        hint = ""
        if any(str(one.port) == target for one in ports):
            hint = f" ({target} is a Service port: a Route names the Service port's name or the pod's port)"
        names = ", ".join(one.name or str(one.target) for one in ports)
        return _page(
            walk,
            route,
            flow,
            f"targetPort {target} is no endpoint port of {ref}: it has {listed}{hint}",
            fix=f"set spec.port.targetPort to one of {names}",
        )
    found = [
        (port, one) for port in (chosen or ports) for one in network.endpoints_of(walk.world, service, port)
    ]
    if chosen and target.isdigit():
        found = [(port, one) for port, one in found if str(one.port) == target or port.name == target]
    ready = [(port, one) for port, one in found if one.health is Health.HEALTHY]
    if not ready:
        doubt = network.doubt(walk.world, service) if not found else ""
        usual = next(iter(chosen or ports), None)
        if doubt and usual is not None and (ways := walk.assumed_gateway(service, usual, flow)) is not None:
            return ways
        if doubt:
            return walk.unknown(flow, ref, f"endpoints of {ref}: {doubt}")
        port = (chosen or ports or [ServicePort("", 0, 0)])[0]
        why = network.why_empty(walk.world, service, port, [one for _, one in found])
        return _page(walk, route, flow, f"{ref} has no ready endpoints: {why}")
    port = ready[0][0]
    endpoints: list[Endpoint] = [one for _, one in ready]
    detail = f"the router sends to the pods themselves: {network.describe(walk.world, endpoints)}"
    hop = Hop(
        ref,
        Act.SELECTS,
        detail,
        network.service_evidence(service, port),
        tuple(network.unready([o for _, o in found])),
        brief=f"the router sends to the pods themselves: {brief.endpoints(endpoints, service.namespace)}",
    )
    flow = flow.to(backend=Backend(ref, port.port), declared=network.declared_protocol(port))
    if termination == "reencrypt":
        flow = flow.to(layers=(Hello(None, ("h2", "http/1.1")),))
        flow = flow.to(request=replace(flow.request, scheme="grpcs" if flow.request.grpc else "https"))
    return behind([verify.with_commands(hop)], walk.spread(endpoints, flow, service))


def _ports(walk: Walker, service: Obj, ports: Sequence[ServicePort], target: str) -> list[ServicePort]:
    """The Service ports whose endpoints a targetPort names: by the port's name or the pod's port number."""
    if not target:
        return []
    found = []
    for port in ports:
        if (
            port.name == target
            or str(port.target) == target
            or (
                target.isdigit()
                and any(str(one.port) == target for one in network.endpoints_of(walk.world, service, port))
            )
        ):
            found.append(port)
    return found
