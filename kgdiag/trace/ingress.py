"""Ingress as a hop, for controllers that read it themselves: the resource's rules, nginx's annotations.

Ingresses that Istio serves come through Istio's gateway instead. Sources: kubernetes.io/docs concepts/
services-networking/ingress; kubernetes/ingress-nginx docs/user-guide/nginx-configuration/annotations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kgdiag.graph.core import ServicePort, service_ports
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Health, Peer
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Act, Backend, Hop, Rejected
from kgdiag.trace import brief, losers, network, verify
from kgdiag.trace.envoy import Hello
from kgdiag.trace.flow import Branch, Flow, Front, behind, blaming
from kgdiag.trace.match import compiled, path_prefix

if TYPE_CHECKING:
    from kgdiag.trace.walk import Walker

ISTIO = "istio.io/ingress-controller"
_CLASS = ("metadata", "annotations", "kubernetes.io/ingress.class")
_NGINX = "nginx.ingress.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class Rule:
    """One path of one Ingress. ``kind`` is Exact, Prefix or ImplementationSpecific."""

    ingress: Obj
    host: str
    path: str
    kind: str
    backend: Mapping[str, Any]
    part: str

    @property
    def exact(self) -> bool:
        return self.kind == "Exact"

    def matches(self, path: str) -> bool:
        if self.kind == "Exact":
            return path == self.path
        if _annotated(self.ingress, "use-regex") == "true" or "$" in _annotated(
            self.ingress, "rewrite-target"
        ):
            pattern = compiled("(?i)^" + self.path)
            return pattern is not None and pattern.match(path) is not None
        return path_prefix(self.path, path)


def _annotated(ingress: Obj, name: str) -> str:
    return str(ingress.annotations.get(_NGINX + name) or "")


def class_of(ingress: Obj) -> str:
    """The class that an Ingress asks for, "" for the default."""
    return ingress.text("spec.ingressClassName") or str(ingress.get(_CLASS, "") or "")


def controller(world: World, ingress: Obj) -> str:
    """The controller of an Ingress' class, "" where it is not known."""
    name = class_of(ingress)
    if name:
        found = world.get(kinds.INGRESS_CLASS, "", name, optional=True)
        return found.text("spec.controller") if found is not None else (ISTIO if name == "istio" else "")
    for one in world.all(kinds.INGRESS_CLASS, optional=True):
        if one.annotations.get("ingressclass.kubernetes.io/is-default-class") == "true":
            return one.text("spec.controller")
    return ""


def rules(ingress: Obj) -> list[Rule]:
    """The paths of an Ingress, in its order; the default backend last."""
    found = []
    for at, rule in enumerate(ingress.maps("spec.rules")):
        http = rule.get("http")
        paths = http.get("paths") if isinstance(http, Mapping) else None
        for number, path in enumerate(paths if isinstance(paths, list) else ()):
            if isinstance(path, Mapping) and isinstance(path.get("backend"), Mapping):
                found.append(
                    Rule(
                        ingress,
                        str(rule.get("host") or "").lower(),
                        str(path.get("path") or "/"),
                        str(path.get("pathType") or "ImplementationSpecific"),
                        path["backend"],
                        f"spec.rules[{at}].http.paths[{number}]",
                    )
                )
    return found


def takes_host(rule_host: str, host: str) -> bool:
    """A wildcard stands for exactly one label; no host takes all."""
    if not rule_host or rule_host == host:
        return True
    return rule_host.startswith("*.") and host.partition(".")[2] == rule_host[2:]


def serving(world: World, host: str) -> list[Obj]:
    """The Ingresses with a rule for this very host (or its wildcard), served by anyone but Istio."""
    found = [
        one
        for one in world.all(kinds.INGRESS)
        if any(r.host and takes_host(r.host, host) for r in rules(one))
    ]
    return [one for one in found if controller(world, one) != ISTIO]


def enter(walk: Walker, ingress: Obj, host: str, flow: Flow) -> list[Branch]:
    """A controller takes the request: all Ingresses of the class make up its configuration."""
    crowd = [
        one
        for one in sorted(walk.world.all(kinds.INGRESS), key=lambda one: one.age_key)
        if class_of(one) == class_of(ingress)
    ]
    if ingress not in crowd:
        crowd.append(ingress)
    host = flow.request.host or host
    every = [rule for one in crowd for rule in rules(one) if takes_host(rule.host, host)]
    best = min((_host_rank(rule.host, host) for rule in every), default=9)
    mine = [rule for rule in every if _host_rank(rule.host, host) == best]
    ordered = sorted(mine, key=lambda rule: (-len(rule.path), not rule.exact))
    winner = next((rule for rule in ordered if rule.matches(flow.request.path)), None)
    rejected = tuple(
        Rejected(rule.ingress.ref, rule.part, f"path {flow.request.path} is not {rule.kind} {rule.path}", 2)
        for rule in ordered
        if winner is None or ordered.index(rule) < ordered.index(winner)
    )
    early = _insecure(walk, ingress if winner is None else winner.ingress, flow)
    if early is not None:
        return early
    flow = flow.to(layers=()) if flow.layers else flow
    if not flow.request.is_http:
        return walk.refused(flow, ingress.ref, "an Ingress controller takes HTTP, and gets other bytes")
    if winner is None:
        default = next((one for one in crowd if one.mapping("spec.defaultBackend")), None)
        if default is not None:
            rule = Rule(
                default, "", "/", "Prefix", default.mapping("spec.defaultBackend"), "spec.defaultBackend"
            )
            return _onward(walk, rule, flow, rejected)
        reason = f"no Ingress of class {class_of(ingress) or 'default'} has {host}{flow.request.path}"
        return walk.refused(
            flow, ingress.ref, f"{reason}: the default backend answers 404", status=404, rejected=rejected
        )
    return _onward(walk, winner, flow, rejected)


def _host_rank(rule_host: str, host: str) -> int:
    return 0 if rule_host == host else 2 if not rule_host else 1


def _insecure(walk: Walker, ingress: Obj, flow: Flow) -> list[Branch] | None:
    """nginx sends plaintext to https where the host has TLS, unless it is told not to."""
    if flow.layers or not flow.request.is_http:
        return None
    hosts = {str(host).lower() for tls in ingress.maps("spec.tls") for host in tls.get("hosts") or ()}
    forced = _annotated(ingress, "force-ssl-redirect") == "true"
    wanted = flow.request.host in hosts and _annotated(ingress, "ssl-redirect") != "false"
    nginx = "nginx" in class_of(ingress) or "nginx" in controller(walk.world, ingress)
    if not nginx or not (forced or wanted):
        return None
    where = f"https://{flow.request.host}{flow.request.target}"
    return walk.refused(
        flow,
        ingress.ref,
        f"nginx sends plaintext of a TLS host to {where}",
        status=308,
        location=where,
        action=Act.REDIRECTS,
        evidence=(ingress.evidence("spec.tls"),),
    )


def _onward(walk: Walker, rule: Rule, flow: Flow, rejected: tuple[Rejected, ...]) -> list[Branch]:
    ingress = rule.ingress
    hop = Hop(
        ingress.ref,
        Act.MATCHES,
        f"host {rule.host or '*'}, {rule.kind} {rule.path} ({rule.part})",
        (ingress.evidence(rule.part),),
        losers.nearest(rejected),
    )
    hop = verify.with_commands(hop)
    service = rule.backend.get("service")
    service = service if isinstance(service, Mapping) else {}
    for name, status in (("permanent-redirect", 301), ("temporal-redirect", 302)):
        if where := _annotated(ingress, name):
            return behind(
                [hop],
                walk.refused(
                    flow,
                    ingress.ref,
                    f"{name} to {where}",
                    status=status,
                    location=where,
                    action=Act.REDIRECTS,
                ),
            )
    flow = flow.to(front=Front("nginx", http=True), source=None, peer=Peer(), request=_rewritten(rule, flow))
    raw = service.get("port")
    port: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    return behind([hop], _to_service(walk, rule, str(service.get("name") or ""), port, flow))


def _rewritten(rule: Rule, flow: Flow) -> Any:
    request = replace(flow.request, scheme="grpc" if flow.request.grpc else "http")
    if host := _annotated(rule.ingress, "upstream-vhost"):
        request = replace(request, authority=host)
    target = _annotated(rule.ingress, "rewrite-target")
    if not target:
        return request
    pattern = compiled("(?i)^" + rule.path)
    found = pattern.match(request.path) if pattern is not None else None
    if found is None:
        return request
    path = target
    for number in range(1, 10):
        if f"${number}" in path:
            path = path.replace(
                f"${number}", (found.group(number) or "") if number <= found.re.groups else ""
            )
    return replace(request, path=path if path.startswith("/") else f"/{path}")


def _to_service(walk: Walker, rule: Rule, name: str, port: Mapping[str, Any], flow: Flow) -> list[Branch]:
    ref = Ref("", "Service", rule.ingress.namespace, name)
    at = rule.ingress.ref
    flow = flow.to(backend=Backend(ref, None))
    service = walk.world.get(kinds.SERVICE, rule.ingress.namespace, name)
    if service is None:
        return walk.lacking(flow, ref) or walk.refused(
            flow,
            at,
            f"{ref} does not exist",
            status=503,
            blame=(at,),
            evidence=(rule.ingress.evidence(rule.part),),
        )
    declared = _port(service, port)
    if declared is None:
        listed = ", ".join(f"{one.name or '-'}:{one.port}" for one in service_ports(service)) or "none"
        asked = port.get("name") or port.get("number")
        return walk.refused(
            flow, at, f"{ref} has no port {asked} (it has {listed})", status=503, blame=(at, ref)
        )
    flow = flow.to(backend=Backend(ref, declared.port), declared=network.declared_protocol(declared))
    protocol = _annotated(rule.ingress, "backend-protocol").upper()
    if protocol in ("HTTPS", "GRPCS"):
        flow = flow.to(layers=(Hello(None),))
    found = network.endpoints_of(walk.world, service, declared)
    ready = [one for one in found if one.health is Health.HEALTHY]
    if service.text("spec.type") == "ExternalName":
        return walk.service(service, declared.port, flow)
    if not ready:
        doubt = network.doubt(walk.world, service) if not found else ""
        if doubt:
            return walk.unknown(flow, ref, f"endpoints of {ref}: {doubt}")
        why = network.why_empty(walk.world, service, declared, found)
        return walk.refused(
            flow,
            ref,
            f"{ref} has no ready endpoints: {why}",
            status=503,
            rejected=tuple(network.unready(found)),
            evidence=network.service_evidence(service, declared),
        )
    detail = f"the controller sends to the pods themselves: {network.describe(walk.world, ready)}"
    past = losers.nearest(network.unapplied(walk.world, service))
    hop = Hop(
        ref,
        Act.SELECTS,
        detail,
        network.service_evidence(service, declared),
        past,
        brief=f"the controller sends to the pods themselves: {brief.endpoints(ready, service.namespace)}",
    )
    ways = blaming([one.object for one in past], walk.spread(ready, flow, service))
    return behind([verify.with_commands(hop)], ways)


def _port(service: Obj, port: Mapping[str, Any]) -> ServicePort | None:
    name, number = port.get("name"), port.get("number")
    for one in service_ports(service):
        if (name and one.name == name) or (number is not None and one.port == number):
            return one
    return None
