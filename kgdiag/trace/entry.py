"""Where a request enters: the client, and the places that could take its connection.

Sources: kubernetes.io/docs concepts/services-networking (service, dns-pod-service), reference/networking/
virtual-ips; minikube site/content/en/docs/handbook/accessing.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kgdiag.dialects.base import Dialect
from kgdiag.errors import NotFoundError, ReadFailed, UsageError
from kgdiag.graph import names
from kgdiag.graph.core import (
    cluster_ips,
    is_ready,
    pods_of,
    resolve_target,
    service_ports,
    services_of,
)
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.finding import Command
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Listener, Peer, Proxy
from kgdiag.model.read import Origin
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Act, Backend, Outcome, PathTaken, Question, Result, Trace
from kgdiag.trace import assumed, curl, ingress, losers, network, openshift
from kgdiag.trace.envoy import HTTP_ALPN, MESH_HTTP_ALPN, MESH_TCP_ALPN, Hello
from kgdiag.trace.flow import Branch, Flow, Notes, Target
from kgdiag.trace.question import certificate, is_ip, is_tls, split_port
from kgdiag.trace.walk import Walker

_NODE_PORTS = range(30000, 32768)
_KINDS = {"svc": "svc", "pod": "pod", "gateway": "gateway", "route": "route.route.openshift.io", "ing": "ing"}


def trace(
    world: World, question: Question, dialects: Sequence[Dialect], walker: type[Walker] = Walker
) -> Trace:
    """The ways of one request. A pure function of the World: what it lacks is asked of it.

    ``walker`` decides by what proxies are walked: as declared, or as they are (``trace.effect``).

    Raises UsageError for an entry or a client that is ambiguous, NotFoundError where there is none, and
    ReadFailed where it could not be read.
    """
    return _Tracer(world, question, dialects, walker).run()


def first_flow(question: Question, source: Obj | None) -> Flow:
    """The request as its client sends it."""
    peer = Peer()
    if source is not None:
        peer = Peer(
            address=source.text("status.podIP") or None,
            namespace=source.namespace,
            labels=tuple(sorted((str(key), str(value)) for key, value in source.labels.items())),
        )
    layers: tuple[Hello, ...] = ()
    scheme = question.request.scheme
    if is_tls(scheme):
        cert = certificate(question)
        alpn: tuple[str, ...] = () if scheme == "tls" else ("h2",) if scheme == "grpcs" else HTTP_ALPN
        principal = None
        if cert == "mesh":
            alpn = MESH_TCP_ALPN if scheme == "tls" else MESH_HTTP_ALPN
            if source is not None:
                account = source.text("spec.serviceAccountName") or "default"
                principal = f"cluster.local/ns/{source.namespace}/sa/{account}"
        layers = (Hello(question.sni, alpn, cert, principal, principal is not None or cert == "none"),)
    return Flow(question.request, layers, source, peer)


def _finished(
    question: Question,
    found: Iterable[tuple[Ref, list[Branch]]],
    notes: Notes,
    verify: tuple[Command, ...] = (),
) -> Trace:
    paths: list[PathTaken] = []
    for entry, branches in found:
        paths += [PathTaken(entry, branch.weight, branch.hops, branch.outcome) for branch in branches]
    return Trace(question, tuple(paths), notes=tuple(notes.texts), verify=verify)


@dataclass(frozen=True, slots=True)
class _Client:
    """``outside`` and ``inside`` are where names resolve; ``own`` follows that pod's way alone."""

    namespace: str
    pod: Obj | None = None
    inside: bool = False
    own: bool = False


class _Tracer:
    def __init__(
        self, world: World, question: Question, dialects: Sequence[Dialect], walker: type[Walker]
    ) -> None:
        self.world = world
        self.question = question
        self.dialects = dialects
        self.notes = Notes()
        self.walk = walker(world, dialects, self.notes)

    def run(self) -> Trace:
        try:
            client = self._client()
            self.flow = first_flow(self.question, client.pod)
            found = self._via(client) if self.question.via else self._by_address(client)
        except _NotYet:
            return Trace(self.question, ())
        ways = _labelled(found)
        return _finished(self.question, ways, self.notes, tuple(self._request(client, ways)))

    def _request(self, client: _Client, found: list[tuple[Ref, list[Branch]]]) -> Iterator[Command]:
        """How a person sends the request from outside, to each entry that it has."""
        if client.inside or client.pod is not None or self.world.lacking:
            return
        for entry, ways in found[:3]:
            known = [way for way in ways if way.outcome.result in (Result.DELIVERED, Result.REFUSED)]
            first = next((hop.object for way in known for hop in way.hops[:1]), None)
            if first is None:
                continue
            is_service = (first.group, first.kind) == kinds.SERVICE.key
            service = self.world.get(kinds.SERVICE, first.namespace, first.name) if is_service else None
            if service is None and entry.kind not in ("Route", "Ingress"):
                continue
            command = curl.request(self.question, service, self._port(), known, self._node_address(service))
            if command is not None:
                yield command

    def _node_address(self, service: Obj | None) -> str:
        """A node's address, where it takes one to reach a Service whose load balancer has none."""
        if service is None or service.text("spec.type") != "LoadBalancer" or _external_addresses(service):
            return ""
        for node in self.world.all(kinds.NODE, optional=True):
            for item in node.maps("status.addresses"):
                if item.get("type") == "InternalIP" and item.get("address"):
                    return str(item["address"])
        return ""

    def _port(self) -> int:
        """The port that is connected to: of ``--via svc/NAME:PORT``, else the URL's."""
        word, _, name = self.question.via.partition("/")
        named = split_port(name, self.question.via)[1] if word == "svc" else None
        return named or self.question.port

    # -- objects that the question names ---------------------------------------------------------------

    def _named(self, text: str, option: str) -> Obj:
        """The object that an option names. ``_NotYet`` while the World has not read what it takes."""
        asked = names.parse(text, self.question.namespace)
        found = names.candidates(self.world, asked)
        if found and not self.world.lacking:
            return names.choose(found, replace(asked, text=f"{option} {text}"))
        if self.world.lacking:
            raise _NotYet
        namespace, name = asked.places[-1]
        for kind in asked.kinds:
            if self.world.missing(kind, namespace, name) is Missing.UNREADABLE:
                raise ReadFailed(f"{kind} {name} could not be read", subject=f"{option} {text}")
        error = names.not_found(self.world, replace(asked, text=f"{option} {text}"))
        if self.world.lacking:
            raise _NotYet
        raise error

    # -- the client ------------------------------------------------------------------------------------

    def _client(self) -> _Client:
        origin, namespace = self.question.origin, self.question.namespace
        if origin == "outside":
            return _Client(namespace)
        if origin == "":
            inside = self._is_cluster_address(namespace)
            return _Client(namespace, inside=inside)
        word, _, name = origin.partition("/")
        if word == "ns":
            return _Client(name, self._pod_in(name), inside=True)
        obj = self._named(f"{word}/{name}", "--from")
        if word == "pod":
            return _Client(obj.namespace, obj, inside=True, own=True)
        labels = obj.mapping("spec.selector.matchLabels")
        pods = self.world.select(kinds.POD, obj.namespace, labels) if labels else []
        if not pods:
            if self.world.lacking:
                raise _NotYet
            raise NotFoundError("no pod of it runs", subject=f"--from {origin}")
        pod = min(pods, key=lambda one: (not is_ready(one), one.name))
        return _Client(obj.namespace, pod, inside=True, own=True)

    def _pod_in(self, name: str) -> Obj | None:
        """Some pod of a namespace: with a sidecar where the namespace has them injected, else none at all."""
        namespace = self.world.get(kinds.NAMESPACE, "", name, optional=True)
        labels = namespace.labels if namespace is not None else {}
        injected = labels.get("istio-injection") == "enabled" or (
            bool(labels.get("istio.io/rev")) and "istio-injection" not in labels
        )
        injected = injected and self.world.origin is not Origin.FILES  # else dialects say it
        container = [{"name": "istio-proxy", "args": ["proxy", "sidecar"]}] if injected else []
        labelled = {"security.istio.io/tlsMode": "istio"} if injected else {}
        status = {"sidecar.istio.io/status": "{}"} if injected else {}
        raw = {
            "metadata": {"name": "client", "namespace": name, "labels": labelled, "annotations": status},
            "spec": {"containers": [{"name": "client"}, *container]},
        }
        return Obj(kinds.POD, raw)

    def _is_cluster_address(self, namespace: str) -> bool:
        host = self.question.address
        if is_ip(host):
            owner = cluster_ips(self.world).get(host)
            if owner is not None:
                return host not in _external_addresses(owner)
            return not self.question.via and network.pod_at(self.world, host) is not None
        return self._cluster_target(host, namespace) is not None or host.endswith((".svc", ".cluster.local"))

    # -- cluster names ---------------------------------------------------------------------------------

    def _cluster_target(self, host: str, namespace: str) -> Target | None:
        """A name that the cluster's DNS knows: of a Service, or of one pod of a headless Service."""
        name = host.rstrip(".").lower()
        labels = name.split(".")
        for suffix in (["svc", "cluster", "local"], ["svc"]):
            if labels[-len(suffix) :] == suffix:
                labels = labels[: -len(suffix)]
                break
        else:
            if len(labels) > 2:
                return None
        if len(labels) == 1:
            labels = [labels[0], namespace]
        if len(labels) == 3:
            return self._pod_name(host, labels)
        if len(labels) != 2 or not all(labels):
            return None
        service = self.world.get(kinds.SERVICE, labels[1], labels[0])
        return self._target(host, service, self.question.port) if service is not None else None

    def _pod_name(self, host: str, labels: list[str]) -> Target | None:
        name, subdomain, namespace = labels
        service = self.world.get(kinds.SERVICE, namespace, subdomain)
        if service is None:
            return None
        for pod in pods_of(self.world, service):
            if (pod.text("spec.hostname") or pod.name) == name and pod.text(
                "spec.subdomain", subdomain
            ) == subdomain:
                return Target(host, self.question.port, pod.text("status.podIP"), pod=pod)
        return None

    @staticmethod
    def _target(host: str, service: Obj, port: int) -> Target:
        ip = service.text("spec.clusterIP")
        full = f"{service.name}.{service.namespace}.svc.cluster.local"
        return Target(host, port, ip if ip and ip != "None" else full, service=service)

    # -- entries without --via -------------------------------------------------------------------------

    def _by_address(self, client: _Client) -> list[tuple[Ref, list[Branch]]]:
        host, port = self.question.address, self.question.port
        if is_ip(host):
            found = self._by_ip(client, host)
            if found:
                return found
        elif client.inside or self.question.origin == "outside":
            inside = self._by_cluster_name(client, host)
            if inside:
                return inside
        if port in _NODE_PORTS and (found := self._by_node_port(port)):
            return found
        if client.own:
            return self._own_way(client, host)
        wanted = self.question.request.host or (self.question.sni or host)
        found = self._by_host(wanted) or self._by_load_balancer(host)
        if found and client.inside and not is_ip(host):
            self.notes.add(
                f"{host} is no name of the cluster's DNS: in a pod it resolves only where the DNS outside of "
                "the cluster has it"
            )
        if found:
            return found
        at = Ref("", "Host", "", host)
        reason = f"nothing in the cluster takes {wanted}: no Gateway, Route, Ingress or Service has that host"
        if port in _NODE_PORTS:
            reason += f", and {self._node_ports(port)}"
        return [
            (at, [Branch(1.0, (), Outcome(Result.UNKNOWN, f"{reason}; where it resolves to is not known"))])
        ]

    def _node_ports(self, port: int) -> str:
        """That a node port is none, with those that there are."""
        used = [
            f"{s.namespace}/{s.name} {p.port}:{p.node_port}"
            for s in self.world.all(kinds.SERVICE)
            for p in service_ports(s)
            if p.node_port
        ]
        return f"no Service has nodePort {port} (there are {', '.join(used[:8]) or 'none'})"

    def _by_cluster_name(self, client: _Client, host: str) -> list[tuple[Ref, list[Branch]]]:
        target = self._cluster_target(host, client.namespace)
        full = host.rstrip(".").endswith((".svc", ".cluster.local"))
        if target is None and not full:
            return []
        owner = target.service or target.pod if target else None
        ref = owner.ref if owner is not None else _service_ref(host)
        if not client.inside:
            reason = f"{host} is a name of the cluster's DNS: it does not resolve outside of it"
            fix = "ask with --from ns/NAME or --from pod/NAME, or name the entry with --via"
            return [(ref, self.walk.refused(self.flow, ref, reason, fix=fix))] if full or target else []
        if target is not None:
            return [(ref, self.walk.connect(target, self.flow))]
        lacks = self.walk.lacking(self.flow, ref)
        return [
            (
                ref,
                lacks
                or self.walk.failed(
                    self.flow, ref, "refused", f"{host} does not resolve: {ref} does not exist"
                ),
            )
        ]

    def _own_way(self, client: _Client, host: str) -> list[tuple[Ref, list[Branch]]]:
        assert client.pod is not None
        target = Target(host, self.question.port, host)
        return [(client.pod.ref, self.walk.connect(target, self.flow))]

    def _by_ip(self, client: _Client, host: str) -> list[tuple[Ref, list[Branch]]]:
        port = self.question.port
        services = self.world.all(kinds.SERVICE)
        fronts = [one for one in services if host in _external_addresses(one)]
        if fronts:
            able = [one for one in fronts if any(p.port == port for p in service_ports(one))] or fronts[:1]
            return [(one.ref, self.walk.connect(self._target(host, one, port), self.flow)) for one in able]
        owner = cluster_ips(self.world).get(host)
        if owner is not None:
            if not client.inside:
                reason = (
                    f"{host} is the cluster IP of {owner.ref}: it is reached from inside of the cluster only"
                )
                return [(owner.ref, self.walk.refused(self.flow, owner.ref, reason))]
            return [(owner.ref, self.walk.connect(self._target(host, owner, port), self.flow))]
        node = self._node(host)
        if node is not None:
            return self._by_node_port(port, node)
        pod = network.pod_at(self.world, host)
        if pod is not None:
            return [(pod.ref, self.walk.connect(Target(host, port, host, pod=pod), self.flow))]
        return []

    def _node(self, address: str) -> Obj | None:
        for node in self.world.all(kinds.NODE, optional=True):
            if any(item.get("address") == address for item in node.maps("status.addresses")):
                return node
        return None

    def _by_node_port(self, port: int, node: Obj | None = None) -> list[tuple[Ref, list[Branch]]]:
        for service in self.world.all(kinds.SERVICE):
            for declared in service_ports(service):
                if declared.node_port == port:
                    ways = self._at_node(service, declared.port, node)
                    return [(service.ref, [_by_node(port, way) for way in ways])]
        if node is None:
            return []
        return [(node.ref, self.walk.refused(self.flow, node.ref, self._node_ports(port)))]

    def _at_node(self, service: Obj, port: int, node: Obj | None) -> list[Branch]:
        """To a node's port; with externalTrafficPolicy Local only to the node's own endpoints."""
        if node is not None and service.text("spec.externalTrafficPolicy") == "Local":
            declared = next(one for one in service_ports(service) if one.port == port)
            found = network.endpoints_of(self.world, service, declared)
            here = [one for one in found if self._on_node(one.pod, node.name)]
            if found and not here:
                reason = f"externalTrafficPolicy Local, and node {node.name} has no endpoint of {service.ref}"
                return self.walk.failed(
                    self.flow,
                    service.ref,
                    "timeout",
                    reason,
                    evidence=(service.evidence("spec.externalTrafficPolicy"),),
                )
            flow = self.flow.to(
                backend=Backend(service.ref, port), declared=network.declared_protocol(declared)
            )
            return self.walk.over_service(service, declared, here, flow)
        return self.walk.service(service, port, self.flow)

    def _on_node(self, ref: Ref | None, node: str) -> bool:
        pod = self.world.get(kinds.POD, ref.namespace, ref.name) if ref else None
        return pod is None or pod.text("spec.nodeName") in ("", node)

    def _by_load_balancer(self, host: str) -> list[tuple[Ref, list[Branch]]]:
        found = [one for one in self.world.all(kinds.SERVICE) if host in _external_addresses(one)]
        return [(one.ref, self.walk.service(one, self.question.port, self.flow)) for one in found]

    def _by_host(self, host: str) -> list[tuple[Ref, list[Branch]]]:
        """Every Route, Ingress and Gateway that has the host."""
        found: list[tuple[Ref, list[Branch]]] = []
        if self.question.port in (80, 443) and (routed := openshift.by_host(self.walk, host, self.flow)):
            found.append((routed[0].ref, routed[1]))
        done: set[str] = set()
        for one in ingress.serving(self.world, host):
            if ingress.class_of(one) not in done:
                done.add(ingress.class_of(one))
                found.append((one.ref, ingress.enter(self.walk, one, host, self.flow)))
        ways = list(self._by_gateways(host))
        reached = [(entry, branches) for entry, branches, open_, _ in ways if open_]
        if not reached and not found:
            reached = [(entry, branches) for entry, branches, _, _ in ways]
        kept = _with_route(reached, keep_all=not found)
        for entry, branches, _, notes in ways:
            for text in notes if any(entry == one and branches is way for one, way in kept) else ():
                self.notes.add(text)
        return found + kept

    def _by_gateways(self, host: str) -> Iterator[tuple[Ref, list[Branch], bool, list[str]]]:
        """(entry, ways, whether the outside reaches it, notes on them) of every Gateway with the host."""
        done: set[object] = set()
        for gateway in self._gateways(host):
            before = len(self.notes.texts)
            for entry, key, branches in self._into_gateway(gateway, explicit=False):
                notes = self.notes.taken(before)
                if key not in done:
                    done.add(key)
                    service = self.world.get(kinds.SERVICE, entry.namespace, entry.name)
                    inner = entry.kind == "Service" and service is not None and not _public(service)
                    yield entry, branches, not inner, notes

    def _gateways(self, host: str) -> list[Obj]:
        found = [one for one in self.world.all(kinds.ISTIO_GATEWAY) if _istio_covers(one, host)]
        return found + [one for one in self.world.all(kinds.GATEWAY) if _gateway_covers(one, host)]

    # -- --via -----------------------------------------------------------------------------------------

    def _via(self, client: _Client) -> list[tuple[Ref, list[Branch]]]:
        word, _, name = self.question.via.partition("/")
        base = word.partition(".")[0]
        if base == "dump":
            raise UsageError("a dump is read before the trace begins", subject=f"--via {self.question.via}")
        bare, port = split_port(name, self.question.via) if base in ("svc", "pod") else (name, None)
        kind = word if "." in word else _KINDS[word]
        obj = self._named(f"{kind}/{bare}", "--via")
        number = port or self.question.port
        if base == "svc":
            return [(obj.ref, self.walk.connect(self._target(self.question.address, obj, number), self.flow))]
        if base == "pod":
            address = obj.text("status.podIP")
            return [(obj.ref, self.walk.connect(Target(address, number, address, pod=obj), self.flow))]
        if base == "route":
            return [(obj.ref, self._via_route(obj))]
        if base == "ing":
            return [(obj.ref, self._via_ingress(obj))]
        ways = [(entry, branches) for entry, _, branches in self._into_gateway(obj, explicit=True)]
        return ways[:1] if ways else []

    def _via_route(self, route: Obj) -> list[Branch]:
        host = self.question.request.host
        if (self.flow.layers and route.text("spec.tls.termination") == "passthrough") or (
            self.flow.layers and not self.flow.request.is_http
        ):
            host = (self.question.sni or "").lower()
        if not openshift.takes(route, host):
            reason = f"{route.ref} is for {route.text('spec.host')}, and the request for {host or 'no host'}"
            if self.flow.layers and route.text("spec.tls.termination") == "passthrough":
                return self.walk.failed(self.flow, route.ref, "reset", reason)
            return self.walk.refused(self.flow, route.ref, f"{reason}: the router answers 503", status=503)
        winner = openshift.by_host(self.walk, host, self.flow)
        return openshift.enter(self.walk, route, self.flow, ()) if winner is None else winner[1]

    def _via_ingress(self, obj: Obj) -> list[Branch]:
        if ingress.controller(self.world, obj) != ingress.ISTIO:
            return ingress.enter(self.walk, obj, self.question.request.host, self.flow)
        for dialect in self.dialects:
            for ref in dialect.data_plane(self.world, obj) if dialect.data_plane else ():
                service = self.world.get(kinds.SERVICE, ref.namespace, ref.name)
                if service is not None:
                    return self.walk.connect(
                        self._target(self.question.address, service, self.question.port), self.flow
                    )
        service = self.world.get(kinds.SERVICE, "istio-system", "istio-ingressgateway")
        if service is None:
            ref = Ref("", "Service", "istio-system", "istio-ingressgateway")
            return self.walk.lacking(self.flow, ref) or self.walk.failed(
                self.flow, obj.ref, "refused", "no gateway of Istio serves Ingresses here"
            )
        return self.walk.connect(self._target(self.question.address, service, self.question.port), self.flow)

    # -- Gateways --------------------------------------------------------------------------------------

    def _into_gateway(self, gateway: Obj, *, explicit: bool) -> Iterator[tuple[Ref, object, list[Branch]]]:
        """(entry, what it is the same as, ways) of each front of a Gateway on the URL's port, best first."""
        port = self.question.port
        pods = self._gateway_pods(gateway)
        fronts = list(self._fronts(gateway, pods))
        right = [one for one in fronts if one[2]]
        outer = [one for one in right if _public(one[0])]
        for service, number, _ in (right if explicit else outer or right)[:8]:
            self._pending(service)
            target = self._target(self.question.address, service, number)
            entry = gateway.ref if explicit else service.ref
            yield entry, (service.ref, number), self.walk.connect(target, self.flow)
        if right:
            return
        if pods:
            yield from self._without_front(
                gateway, pods, [(one[0], one[1]) for one in fronts], port, explicit
            )
            return
        services = self._data_plane(gateway) if gateway.kind == kinds.GATEWAY else []
        for service in services[:1]:
            self._pending(service)
            target = self._target(self.question.address, service, port)
            entry = gateway.ref if explicit else service.ref
            yield entry, (service.ref, port), self.walk.connect(target, self.flow)
        if not services:
            yield from self._virtual(gateway, port)

    def _pending(self, service: Obj) -> None:
        if service.text("spec.type") != "LoadBalancer" or _external_addresses(service):
            return
        if self.world.origin.value == "live" or service.mapping("status"):
            self.notes.add(
                f"{service.ref} has no address yet (EXTERNAL-IP pending): `minikube tunnel` gives one on "
                "minikube; "
                "kind has none without cloud-provider-kind or MetalLB; a nodePort or port-forward works too"
            )

    def _gateway_pods(self, gateway: Obj) -> list[Obj]:
        """One pod of each kind that runs a Gateway's proxy."""
        if gateway.kind == kinds.ISTIO_GATEWAY:
            selector = gateway.mapping("spec.selector")
            pods = self.world.select(kinds.POD, None, selector) if selector else []
            pods = pods or assumed.pods_of_gateway(self.world, gateway)
        else:
            pods = self.world.select(kinds.POD, gateway.namespace, {_GATEWAY_NAME: gateway.name})
            for service in self._data_plane(gateway):
                pods = [*pods, *pods_of(self.world, service)]
        unique: dict[object, Obj] = {}
        for pod in pods:
            if pod.text("status.phase") not in ("Succeeded", "Failed"):
                unique.setdefault(network.signature(pod), pod)
        return list(unique.values())

    def _data_plane(self, gateway: Obj) -> list[Obj]:
        refs = [ref for one in self.dialects if one.data_plane for ref in one.data_plane(self.world, gateway)]
        found = [self.world.get(kinds.SERVICE, ref.namespace, ref.name) for ref in dict.fromkeys(refs)]
        return [one for one in found if one is not None]

    def _fronts(self, gateway: Obj, pods: Sequence[Obj]) -> Iterator[tuple[Obj, int, bool]]:
        """(Service, port, whether it ends on a listener of the Gateway) on the URL's port."""
        seen: set[tuple[Ref, int]] = set()
        for pod in pods:
            proxy = self.walk.declared(pod)
            services = services_of(self.world, pod)
            for service in sorted(services, key=lambda one: (not _public(one), one.ref)):
                for declared in service_ports(service):
                    if declared.port != self.question.port or (service.ref, declared.port) in seen:
                        continue
                    seen.add((service.ref, declared.port))
                    number = resolve_target(pod, declared)
                    listener = proxy.listener_at(number) if proxy and number and not proxy.unknown else None
                    right = (proxy is not None and bool(proxy.unknown)) or _is_of(listener, gateway.ref)
                    yield service, declared.port, right

    def _without_front(
        self, gateway: Obj, pods: Sequence[Obj], fronts: Sequence[tuple[Obj, int]], port: int, explicit: bool
    ) -> Iterator[tuple[Ref, object, list[Branch]]]:
        """A Gateway whose pods no Service reaches on the URL's port."""
        for pod in pods:
            proxy = self.walk.declared(pod)
            if proxy is not None and _is_of(proxy.listener_at(port), gateway.ref):
                self.notes.add(
                    f"no Service with port {port} leads to {gateway.ref}: taken straight to its pods"
                )
                way = self.walk.connect(Target("", port, pod.text("status.podIP"), pod=pod), self.flow)
                yield gateway.ref, (pod.ref, port), way
                return
        if fronts:
            service, number = fronts[0]
            target = self._target(self.question.address, service, number)
            entry = gateway.ref if explicit else service.ref
            yield entry, (service.ref, number), self.walk.connect(target, self.flow)
            return
        if not explicit:
            return
        listed = sorted(
            {
                f"{s.namespace}/{s.name}:{p.port}"
                for pod in pods
                for s in services_of(self.world, pod)
                for p in service_ports(s)
            }
        )
        there = ", ".join(listed) or "none"
        reason = f"no Service with port {port} leads to the pods of {gateway.ref} (there are {there})"
        yield gateway.ref, gateway.ref, self.walk.failed(self.flow, gateway.ref, "refused", reason)

    def _virtual(self, gateway: Obj, port: int) -> Iterator[tuple[Ref, object, list[Branch]]]:
        """A Gateway without any pod: as files describe it, or nobody listens."""
        selector = gateway.mapping("spec.selector") if gateway.kind == kinds.ISTIO_GATEWAY else {}
        if selector and (self.world.complete or self.world.origin.value != "files"):
            shown = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
            yield (
                gateway.ref,
                gateway.ref,
                self.walk.failed(
                    self.flow,
                    gateway.ref,
                    "refused",
                    f"no pod has {shown}: nothing runs {gateway.ref}",
                    evidence=(gateway.evidence("spec.selector"),),
                ),
            )
            return
        for dialect in self.dialects:
            proxy = dialect.gateway_proxy(self.world, gateway) if dialect.gateway_proxy else None
            if proxy is None:
                continue
            self.notes.add(
                f"the pods of {gateway.ref} are not in these files: its proxy is taken as declared"
            )
            yield gateway.ref, gateway.ref, self._declared(gateway, proxy, port)
            return
        yield (
            gateway.ref,
            gateway.ref,
            self.walk.unknown(
                self.flow,
                gateway.ref,
                f"no pods of {gateway.ref} are known, and no implementation that kgdiag knows has it",
            ),
        )

    def _declared(self, gateway: Obj, proxy: Proxy, port: int) -> list[Branch]:
        if proxy.unknown:
            return self.walk.unknown(self.flow, gateway.ref, proxy.unknown)
        numbers = {number: assumed.own_ports(gateway, proxy, number) for number in proxy.ports()}
        fitting = [number for number, own in numbers.items() if port in own] or [port]
        listener = proxy.listener_at(fitting[0])
        if listener is None:
            ports = (
                ", ".join(str(one) for one in sorted({p for own in numbers.values() for p in own})) or "none"
            )
            reason = f"{gateway.ref} has no listener on port {port} (it has {ports})"
            rejected = tuple(losers.excluded(proxy.excluded_at(fitting[0])))
            return self.walk.failed(self.flow, gateway.ref, "refused", reason, rejected=rejected)
        return self.walk.through(proxy, listener, "", fitting[0], self.flow)


_GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"


def _by_node(port: int, way: Branch) -> Branch:
    """The way with the node port that leads to it."""
    if not way.hops or way.hops[0].action is not Act.SELECTS:
        return way
    first = way.hops[0]
    words = f"nodePort {port} on every node; "
    first = replace(first, detail=words + first.detail, brief=words + first.brief if first.brief else "")
    return replace(way, hops=(first, *way.hops[1:]))


class _NotYet(Exception):  # noqa: N818 -- no error: the World is asked for more first
    """The question names an object that has not been read yet."""


def _is_of(listener: Listener | None, gateway: Ref) -> bool:
    """Whether a listener has a part of this Gateway."""
    if listener is None:
        return False
    if any(origin.ref == gateway for origin in listener.origins):
        return True
    return any(chain.origin is not None and chain.origin.ref == gateway for chain in listener.chains)


def _public(service: Obj) -> bool:
    return service.text("spec.type") in ("LoadBalancer", "NodePort") or bool(
        service.items("spec.externalIPs")
    )


def _external_addresses(service: Obj) -> set[str]:
    """The addresses and host names that a Service has for the world."""
    found = {str(ip) for ip in service.items("spec.externalIPs")}
    for item in service.maps("status.loadBalancer.ingress"):
        found |= {str(item[key]) for key in ("ip", "hostname") if item.get(key)}
    return found


def _service_ref(host: str) -> Ref:
    labels = host.rstrip(".").split(".")
    return Ref("", "Service", labels[1] if len(labels) > 1 else "", labels[0])


def _istio_covers(gateway: Obj, host: str) -> bool:
    return any(
        _covers(str(name).rpartition("/")[2].lower(), host)
        for server in gateway.maps("spec.servers")
        for name in server.get("hosts") or ()
    )


def _gateway_covers(gateway: Obj, host: str) -> bool:
    return any(
        _covers(str(one.get("hostname") or "*").lower(), host) for one in gateway.maps("spec.listeners")
    )


def _covers(pattern: str, host: str) -> bool:
    return pattern in ("*", host) or (pattern.startswith("*") and host.endswith(pattern[1:]))


def _with_route(ways: list[tuple[Ref, list[Branch]]], *, keep_all: bool) -> list[tuple[Ref, list[Branch]]]:
    """The ways of Gateways that do something for the request; all of them where none does."""
    able = [one for one in ways if not all(_turned_away(branch) for branch in one[1])]
    return able or (ways if keep_all else [])


def _turned_away(branch: Branch) -> bool:
    outcome = branch.outcome
    if outcome.routeless:
        return True
    if outcome.result is not Result.REFUSED:
        return False
    if any(hop.action in (Act.MATCHES, Act.ROUTES) for hop in branch.hops):
        return False
    return outcome.status is None or outcome.flag == "NR"


def _labelled(found: Iterable[tuple[Ref, list[Branch]]]) -> list[tuple[Ref, list[Branch]]]:
    """Ways by entry, each with shares that add up to one."""
    merged: dict[Ref, list[Branch]] = {}
    for entry, branches in found:
        if entry in merged:
            continue
        total = sum(branch.weight for branch in branches)
        merged[entry] = [branch.scaled(1 / total) for branch in branches] if total > 0 else branches
    return list(merged.items())
