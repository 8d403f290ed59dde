"""Read-only commands that prove a hop."""

from __future__ import annotations

from dataclasses import replace

from kgdiag.graph.world import kind_of
from kgdiag.model import commands
from kgdiag.model.finding import Command, Match
from kgdiag.model.proxy import Proxy
from kgdiag.model.trace import Hop


def with_commands(
    hop: Hop, proxy: Proxy | None = None, what: str = "", *, port: int = 0, name: str = ""
) -> Hop:
    """The hop with the commands that show its object, and the proxy's own view where istioctl gives it."""
    found: list[Command] = []
    kind = kind_of(hop.object)
    evidence = next((one for one in hop.evidence if one.object == hop.object and one.value is not None), None)
    if kind is not None and hop.object.name:
        place = hop.object.namespace if kind.namespaced else ""
        if (
            evidence is not None
            and isinstance(evidence.value, str | int)
            and not isinstance(evidence.value, bool)
        ):
            found.append(
                commands.get(
                    kind,
                    place,
                    hop.object.name,
                    expect=f"{evidence.field} is {evidence.value}",
                    jsonpath=f".{evidence.field}",
                    match=Match.EQUALS,
                    value=str(evidence.value),
                )
            )
        else:
            found.append(
                commands.get(kind, place, hop.object.name, expect=f"{hop.object} exists", match=Match.ANY)
            )
    if proxy is not None and what and proxy.dialect.startswith("istio"):
        found += _istioctl(proxy, what, port, name)
    return replace(hop, verify=(*hop.verify, *found))


def _istioctl(proxy: Proxy, what: str, port: int, name: str) -> list[Command]:
    pod, namespace = proxy.pod.name, proxy.pod.namespace
    if what == "listener" and port:
        number = 15006 if proxy.role == "sidecar" else port
        expect = f"a listener on port {number}"
        return [
            commands.istioctl(
                "listeners",
                pod,
                namespace,
                "--port",
                str(number),
                expect=expect,
                match=Match.CONTAINS,
                value=str(number),
            )
        ]
    if what == "route" and name:
        return [
            commands.istioctl(
                "routes",
                pod,
                namespace,
                "--name",
                name,
                expect=f"the virtual hosts of {name}",
                match=Match.CONTAINS,
                value=name,
            )
        ]
    parts = name.split("|")
    if what == "cluster" and len(parts) == 4:
        options = ["--fqdn", parts[3], "--port", parts[1]]
        options += ["--subset", parts[2]] if parts[2] else []
        return [
            commands.istioctl(
                "clusters",
                pod,
                namespace,
                *options,
                expect=f"the cluster {name}",
                match=Match.CONTAINS,
                value=parts[3],
            )
        ]
    if what == "endpoint" and name:
        return [
            commands.istioctl(
                "endpoints",
                pod,
                namespace,
                "--cluster",
                name,
                expect="the endpoints, HEALTHY",
                match=Match.ANY,
            )
        ]
    return []
