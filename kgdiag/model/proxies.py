"""Which pods run an Envoy, where its admin interface is, and the pseudo kind that its answers are.

A ``ProxyDump`` is no object of the API server: it is what the admin interface of a pod's Envoy says, read
with GETs of a fixed list of paths (``kgdiag.collect.proxies``). Its raw JSON::

    {"apiVersion": "kgdiag.dev/v1", "kind": "ProxyDump", "metadata": {"namespace", "name"},  # the pod's
     "via": "port-forward to port 15000",      # or the exec that was taken instead
     "config_dump": {…}, "clusters": {…}, "certs": {…}, "server_info": {…}, "stats": {…},
     "unread": {"stats": "why"}}               # parts that did not come; config_dump is always there

Secrets in it have names and facts in the place of values, as ``kgdiag.collect.secrets`` has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj

PROXY_DUMP = Kind("kgdiag.dev", "ProxyDump", "proxydumps")
SYNC_STATUS = Kind("kgdiag.dev", "SyncStatus", "syncstatuses")


@dataclass(frozen=True, slots=True)
class Admin:
    """An Envoy's admin interface on its pod's loopback. ``agent`` is the container whose ``pilot-agent`` can
    ask it too, "" where there is none."""

    port: int
    agent: str = ""


_ENVOYS = ("envoy", "kgateway-proxy", "gloo-gateway")


def admin_of(pod: Obj) -> Admin | None:
    """Where the Envoy in a pod can be asked; None where its containers show none.

    Sources: istio pkg/config/constants (15000); envoyproxy/gateway internal/xds/bootstrap (19000) and
    kgateway-dev/kgateway internal/kgateway/helm/envoy (19000).
    """
    for container in (*pod.maps("spec.containers"), *pod.maps("spec.initContainers")):
        if container.get("name") == "istio-proxy" and not _is_ztunnel(container):
            return Admin(15000, "istio-proxy")
    for container in pod.maps("spec.containers"):
        if container.get("name") in _ENVOYS:
            return Admin(19000)
    return None


def envoy_container(pod: Obj) -> str:
    """The name of the container that runs a pod's Envoy, whose log is its access log; ``""`` without one."""
    admin = admin_of(pod)
    if admin is None:
        return ""
    names = [str(container.get("name")) for container in pod.maps("spec.containers")]
    return admin.agent or next((name for name in names if name in _ENVOYS), "")


def is_gateway(pod: Obj) -> bool:
    """Whether a pod's Envoy is a gateway (or waypoint) and not a sidecar, by its containers."""
    admin = admin_of(pod)
    if admin is None or not admin.agent:
        return admin is not None
    for container in pod.maps("spec.containers"):
        arguments = container.get("args")
        if container.get("name") == "istio-proxy" and isinstance(arguments, list):
            return "router" in arguments or "waypoint" in arguments
    return False


def _is_ztunnel(container: Mapping[str, Any]) -> bool:
    arguments = container.get("args")
    return isinstance(arguments, list) and "ztunnel" in arguments
