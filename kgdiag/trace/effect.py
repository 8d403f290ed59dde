"""The walk through what the proxies themselves say they do (``--truth effect``).

Everything between proxies (Services, endpoints of Services that no proxy resolves, pods) is as declared,
since nothing else is known of it; each proxy on the way is the one that its own config dump describes. Where
a dump could not be read the way goes on with what is declared, and every hop says which it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from kgdiag.dialects.envoy.dump import Dump, dumps_of
from kgdiag.dialects.envoy.proxy import dump_proxy
from kgdiag.graph.core import service_ports
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxies import PROXY_DUMP, admin_of
from kgdiag.model.proxy import Cluster, Endpoint, Health, Proxy
from kgdiag.model.read import Read, Status
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Trace
from kgdiag.trace import network
from kgdiag.trace.match import string_matches
from kgdiag.trace.walk import Walker


class EffectWalker(Walker):
    """A walker that takes proxies by their dumps. ``asked`` are the pods whose dumps it wanted."""

    def proxy_of(self, pod: Obj) -> Proxy | None:
        """The proxy in a pod as it describes itself, else as it is declared."""
        declared = self.declared(pod)
        if admin_of(pod) is None:
            return declared
        self.asked.setdefault(pod.ref)
        dump = self.world.get(PROXY_DUMP, pod.namespace, pod.name, optional=True)
        if dump is None:
            return declared
        return effective(self.world, pod, dump, declared)


def as_declared(world: World, trace: Trace) -> Iterator[str]:
    """Words for each proxy on the way that was walked as declared, since its config could not be read."""
    words = {f"{hop.object} {hop.detail}" for path in trace.paths for hop in path.hops}
    for read in world.reads:
        if read.need.kind == PROXY_DUMP and not read.objects:
            pod = Ref("", "Pod", read.need.namespace or "", read.need.name or "")
            if any(str(pod) in text for text in words):
                yield f"the config of {pod} could not be read: it is walked as it is declared"


def unread(world: World, pod: Ref) -> Read | None:
    """The read of a pod's dump that failed, None where it did not (or was not tried)."""
    for read in world.gaps():
        need = read.need
        if need.kind == PROXY_DUMP and (need.namespace, need.name) == (pod.namespace, pod.name):
            return read
    return None


def dump_of(world: World, obj: Obj) -> Dump | None:
    """The parts of a ``ProxyDump``, None where it holds no config dump."""

    def make() -> Dump | None:
        try:
            return dumps_of(obj.raw.get("config_dump"))[0][1]
        except ValueError:
            return None

    return world.lasting((PROXY_DUMP,), ("dump", obj.ref), make)


def effective(world: World, pod: Obj, obj: Obj, declared: Proxy | None) -> Proxy | None:
    """The neutral proxy of a dump, its endpoints with the pods that have them."""
    dump = dump_of(world, obj)
    if dump is None:
        return declared
    parsed = world.lasting(
        (PROXY_DUMP,),
        ("effective proxy", obj.ref),
        lambda: dump_proxy(dump, string_matches, pod=pod.ref),
    )

    def make() -> Proxy:
        placed = _Placed(world, parsed, declared, sick_endpoints(obj))
        return replace(
            parsed,
            cluster=placed.cluster,
            role=declared.role if declared is not None else parsed.role,
            dialect=declared.dialect if declared is not None else parsed.dialect,
            namespace=pod.namespace,
        )

    return world.memo(("effective proxy", obj.ref), make)


_FAILED = ("failed_active_health_check", "failed_outlier_check", "failed_active_degraded_check")


def sick_endpoints(obj: Obj) -> frozenset[tuple[str, str, int]]:
    """(cluster, address, port) that the proxy itself has found unhealthy, by its ``/clusters``.

    Source: envoy api/envoy/admin/v3/clusters.proto, HostHealthStatus.
    """
    return frozenset(_sick(obj.mapping("clusters")))


def _sick(raw: Mapping[str, object]) -> Iterator[tuple[str, str, int]]:
    statuses = raw.get("cluster_statuses")
    for cluster in statuses if isinstance(statuses, list) else ():
        for host in cluster.get("host_statuses") or ():
            health = host.get("health_status") or {}
            socket = (host.get("address") or {}).get("socket_address") or {}
            if any(health.get(word) is True for word in _FAILED[:2]) and socket.get("address"):
                yield str(cluster.get("name")), str(socket["address"]), int(socket.get("port_value") or 0)


class _Placed:
    """Clusters of a dump with the Services that they stand for and the pods behind their endpoints."""

    def __init__(
        self, world: World, proxy: Proxy, declared: Proxy | None, sick: frozenset[tuple[str, str, int]]
    ) -> None:
        self._world = world
        self._proxy = proxy
        self._declared = declared
        self._sick = sick
        self._made: dict[str, Cluster | None] = {}

    def cluster(self, name: str) -> Cluster | None:
        if name not in self._made:
            found = self._proxy.cluster(name)
            self._made[name] = self._place(found) if found is not None else None
        return self._made[name]

    def _place(self, cluster: Cluster) -> Cluster:
        named = self._named(cluster, cluster.name)
        return replace(
            named,
            make_endpoints=lambda: tuple(self._with_pods(named, cluster.endpoints)),
            make_parts=lambda: self._parts(cluster),
        )

    def _named(self, cluster: Cluster, name: str) -> Cluster:
        """The cluster with the Service that it stands for, which Envoy Gateway leaves to the route's rule."""
        if cluster.service is not None:
            return cluster
        meant = self._declared.cluster(name) if self._declared is not None else None
        if meant is None and self._declared is not None:
            meant = self._declared.cluster(f"{name}/backend/0")
        if meant is None or meant.service is None:
            return cluster
        return replace(
            cluster,
            service=meant.service,
            port=meant.port,
            subset=cluster.subset or meant.subset,
            external=meant.external,
        )

    def _parts(self, cluster: Cluster) -> tuple[tuple[float, Cluster], ...]:
        """The backends of a rule, which Envoy Gateway makes localities of one cluster.

        Source: envoyproxy/gateway internal/xds/translator/cluster.go, buildXdsClusterLoadAssignment.
        """
        groups: dict[str, list[Endpoint]] = {}
        for one in cluster.endpoints:
            groups.setdefault(one.locality, []).append(one)
        if len(groups) < 2 or not all(key.startswith(f"{cluster.name}/backend/") for key in groups):
            return ()
        healthy = {key: [one for one in own if one.health is Health.HEALTHY] for key, own in groups.items()}
        total = sum(one.weight for own in healthy.values() for one in own)
        return tuple(
            (
                sum(one.weight for one in healthy[key]) / total if total else 1 / len(groups),
                self._part(self._named(replace(cluster, service=None), key), own),
            )
            for key, own in groups.items()
            if healthy[key] or not total
        )

    def _part(self, cluster: Cluster, endpoints: Sequence[Endpoint]) -> Cluster:
        return replace(
            cluster, make_endpoints=lambda: tuple(self._with_pods(cluster, endpoints)), make_parts=tuple
        )

    def _with_pods(self, cluster: Cluster, endpoints: Sequence[Endpoint]) -> Iterator[Endpoint]:
        owners = self._owners(cluster)
        for one in endpoints:
            if (cluster.name, one.address, one.port) in self._sick and one.health is Health.HEALTHY:
                one = replace(one, health=Health.UNHEALTHY)
            if one.pod is None and one.address and not one.hostname and not one.internal:
                pod = owners.get(one.address)
                if pod is None:
                    owner = network.pod_at(self._world, one.address)
                    pod = owner.ref if owner is not None else None
                one = replace(one, pod=pod)
            yield one

    def _owners(self, cluster: Cluster) -> dict[str, Ref]:
        """Pods by address, of the Service that the cluster stands for: a narrow read."""
        ref = cluster.service
        if ref is None or (ref.group, ref.kind) != ("", "Service"):
            return {}
        service = self._world.get(kinds.SERVICE, ref.namespace, ref.name, optional=True)
        if service is None:
            return {}
        found: dict[str, Ref] = {}
        for port in service_ports(service):
            for one in network.endpoints_of(self._world, service, port):
                if one.pod is not None:
                    found.setdefault(one.address, one.pod)
        return found


__all__ = ["EffectWalker", "Status", "dump_of", "effective", "unread"]
