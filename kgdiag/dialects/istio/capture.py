"""Which connections of a pod its sidecar takes: the rules that injection writes into iptables.

Sources: istio tools/istio-iptables/pkg/cmd/root.go (flags) and capture/run.go (their order);
istio.io/docs/reference/config/annotations (traffic.sidecar.istio.io).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from kgdiag.model.obj import Obj

_PREFIX = "traffic.sidecar.istio.io/"
_AGENT_PORTS = ("15090", "15021", "15020")
_INIT = ("istio-init", "istio-validation")
_FLAGS = {
    "-i": "includeOutboundIPRanges",
    "-x": "excludeOutboundIPRanges",
    "-q": "includeOutboundPorts",
    "-o": "excludeOutboundPorts",
    "-b": "includeInboundPorts",
    "-d": "excludeInboundPorts",
    "-m": "interceptionMode",
}
_LONG = {
    "--istio-service-cidr": "-i",
    "--istio-service-exclude-cidr": "-x",
    "--istio-outbound-ports": "-q",
    "--istio-local-outbound-ports-exclude": "-o",
    "--istio-inbound-ports": "-b",
    "--istio-local-exclude-ports": "-d",
    "--istio-inbound-interception-mode": "-m",
}


@dataclass(frozen=True, slots=True)
class Capture:
    """The settings of one pod: what its init container was told, else its annotations, else the defaults."""

    settings: Mapping[str, str]
    addresses: tuple[str, ...] = ()  # the pod's own, which it reaches over its loopback device

    def outbound(self, address: str, port: int) -> bool:
        """Whether the sidecar takes a connection to this destination. Host names count as any address."""
        if self._mode() == "NONE" or _local(address) or address in self.addresses:
            return False
        if str(port) in self._list("excludeOutboundPorts"):
            return False
        if str(port) in self._list("includeOutboundPorts"):
            return True
        if any(_within(address, one) for one in self._list("excludeOutboundIPRanges")):
            return False
        included = self._list("includeOutboundIPRanges", "*")
        return "*" in included or any(_within(address, one) for one in included)

    def inbound(self, port: int) -> bool:
        """Whether the sidecar takes connections to this port of the pod."""
        if self._mode() == "NONE" or str(port) in (*_AGENT_PORTS, *self._list("excludeInboundPorts")):
            return False
        included = self._list("includeInboundPorts", "*")
        return "*" in included or str(port) in included

    def _mode(self) -> str:
        return self.settings.get("interceptionMode", "REDIRECT")

    def _list(self, name: str, default: str = "") -> list[str]:
        return [part.strip() for part in self.settings.get(name, default).split(",") if part.strip()]


def capture_of(pod: Obj) -> Capture:
    """The settings of a pod."""
    found = {
        name: pod.annotations[_PREFIX + name] for name in _FLAGS.values() if _PREFIX + name in pod.annotations
    }
    mode = pod.annotations.get("sidecar.istio.io/interceptionMode")
    if mode:
        found["interceptionMode"] = mode
    for container in pod.maps("spec.initContainers"):
        arguments = container.get("args")
        if container.get("name") in _INIT and isinstance(arguments, list):
            found.update(_arguments([str(item) for item in arguments]))
    own = (pod.text("status.podIP"), *(str(one.get("ip")) for one in pod.maps("status.podIPs")))
    return Capture(found, tuple(dict.fromkeys(one for one in own if one)))


def _arguments(words: list[str]) -> dict[str, str]:
    found = {}
    for flag, value in zip(words, [*words[1:], ""], strict=True):
        name = _FLAGS.get(_LONG.get(flag, flag))
        if name:
            found[name] = value
    return found


def _local(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _within(address: str, network: str) -> bool:
    try:
        return ip_address(address) in ip_network(network, strict=False)
    except ValueError:
        return False
