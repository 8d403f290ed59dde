"""Read-only commands that prove a hop."""

from __future__ import annotations

import json
from dataclasses import replace

from kgdiag.graph.world import kind_of
from kgdiag.model import commands
from kgdiag.model.finding import Command, Match
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Evidence
from kgdiag.model.proxy import Proxy
from kgdiag.model.trace import Hop


def with_commands(
    hop: Hop,
    proxy: Proxy | None = None,
    what: str = "",
    *,
    port: int = 0,
    name: str = "",
    proven: str = "",
) -> Hop:
    """The hop with the commands that show its object, and the proxy's own view where istioctl gives it.

    ``proven`` is what that view has to contain, where it is not ``name``.
    """
    found: list[Command] = []
    kind = kind_of(hop.object)
    evidence = next(
        (one for one in hop.evidence if one.object == hop.object and one.field and _is_value(one.value)), None
    )
    if kind is not None and hop.object.name:
        place = hop.object.namespace if kind.namespaced else ""
        if evidence is not None:
            found.append(_field(kind, place, hop.object.name, evidence))
        else:
            found.append(
                commands.get(kind, place, hop.object.name, expect=f"{hop.object} exists", match=Match.ANY)
            )
    if proxy is not None and what and proxy.dialect.startswith("istio"):
        found += _istioctl(proxy, what, port, name, proven or name)
    return replace(hop, verify=(*hop.verify, *found))


def _is_value(value: object) -> bool:
    return (isinstance(value, str | int | dict | list) and value != "") and not isinstance(value, bool)


def _field(kind: Kind, namespace: str, name: str, evidence: Evidence) -> Command:
    """``kubectl get`` of the field that decided. jsonpath prints objects and lists as JSON."""
    plain = isinstance(evidence.value, str | int)
    value = str(evidence.value) if plain else json.dumps(evidence.value)
    return commands.get(
        kind,
        namespace,
        name,
        expect=f"{evidence.field} is {value}",
        jsonpath=f".{evidence.field}",
        match=Match.EQUALS if plain else Match.JSON,
        value=value,
    )


def _istioctl(proxy: Proxy, what: str, port: int, name: str, proven: str) -> list[Command]:
    pod, namespace = proxy.pod.name, proxy.pod.namespace
    if what == "listener" and port:
        expect = f"a listener on port {port}"
        return [
            commands.istioctl(
                "listeners",
                pod,
                namespace,
                "--port",
                str(port),
                expect=expect,
                match=Match.CONTAINS,
                value=str(port),
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
                expect=f"a row with {proven}" if proven != name else f"the virtual hosts of {name}",
                match=Match.CONTAINS,
                value=proven,
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
