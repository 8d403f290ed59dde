"""Gateways and VirtualServices with fields of any type: nothing that a file holds ends a run."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgdiag.dialects.istio import data_plane, declared_proxy, proxy_of
from kgdiag.dialects.istio.relations import RELATIONS
from kgdiag.graph.ask import ask
from kgdiag.graph.relations import into, out_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import HttpConnections
from kgdiag.model.read import Need, Origin, Read

JUNK: tuple[Any, ...] = (None, 0, -1, "", [], {}, "x", True, [None], {"a": 1}, 1.5, "*", [[]], ["a"])
DESTINATION = {"host": "web", "port": {"number": 80}, "subset": "v1"}
HTTP = [
    {
        "match": [
            {
                "uri": {"prefix": "/a"},
                "headers": {"x": {"exact": "1"}, "@request.auth.claims.a": {"exact": "b"}},
                "gateways": ["gw/public"],
                "sourceLabels": {"istio": "ingressgateway"},
                "port": 80,
            }
        ],
        "delegate": {"name": "leaf", "namespace": "shop"},
    },
    {
        "route": [{"destination": DESTINATION, "weight": 10}, {"destination": DESTINATION, "weight": 90}],
        "headers": {"request": {"set": {"Host": "a"}, "remove": ["x"]}},
        "rewrite": {"uri": "/", "uriRegexRewrite": {"match": "a", "rewrite": "b"}},
        "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 1}}, "delay": {"fixedDelay": "1s"}},
        "corsPolicy": {"allowOrigins": [{"exact": "a"}], "allowMethods": ["GET"], "maxAge": "1h"},
        "retries": {"attempts": 1, "retryOn": "5xx"},
        "timeout": "1s",
        "mirrors": [{"destination": DESTINATION, "percentage": {"value": 10}}],
    },
    {"match": [{"uri": {"exact": "/r"}}], "redirect": {"uri": "/x", "redirectCode": 302, "port": 1}},
    {"directResponse": {"status": 200, "body": {"string": "a"}}},
]
L4 = [{"match": [{"port": 443, "sniHosts": ["a.example"]}], "route": [{"destination": DESTINATION}]}]
SERVERS = [
    {"port": {"number": 80, "name": "a", "protocol": "HTTP"}, "hosts": ["*"], "tls": {"httpsRedirect": True}},
    {
        "port": {"number": 443, "name": "b", "protocol": "HTTPS"},
        "hosts": ["./a.example"],
        "tls": {"mode": "MUTUAL", "credentialName": "c"},
    },
    {"port": {"number": 444, "name": "c", "protocol": "TLS"}, "hosts": ["*"], "tls": {"mode": "PASSTHROUGH"}},
    {"port": {"number": 445, "name": "d", "protocol": "TCP"}, "hosts": ["*"]},
]
INGRESS = {
    "ingressClassName": "istio",
    "tls": [{"hosts": ["a"], "secretName": "c"}],
    "rules": [
        {
            "host": "a.b",
            "http": {
                "paths": [
                    {
                        "path": "/",
                        "pathType": "Prefix",
                        "backend": {"service": {"name": "w", "port": {"number": 1}}},
                    }
                ]
            },
        }
    ],
}
POD = {"serviceAccountName": "a", "containers": [{"name": "istio-proxy", "args": ["proxy", "router"]}]}
SERVICE = {"selector": {"istio": "ingressgateway"}, "ports": [{"port": 80, "targetPort": 8080}]}
WHOLE: tuple[tuple[Kind, str, str, dict[str, Any]], ...] = (
    (kinds.POD, "istio-system", "edge", POD),
    (kinds.SERVICE, "istio-system", "edge", SERVICE),
    (kinds.ISTIO_GATEWAY, "gw", "public", {"selector": {"istio": "ingressgateway"}, "servers": SERVERS}),
    (
        kinds.VIRTUAL_SERVICE,
        "shop",
        "v",
        {"hosts": ["a.example"], "gateways": ["gw/public"], "http": HTTP, "tls": L4, "tcp": L4},
    ),
    (kinds.VIRTUAL_SERVICE, "shop", "leaf", {"http": HTTP[1:]}),
    (kinds.INGRESS, "shop", "i", INGRESS),
    (kinds.DESTINATION_RULE, "shop", "d", {"host": "web", "subsets": [{"name": "v1"}]}),
    (kinds.SERVICE_ENTRY, "shop", "e", {"hosts": ["x.y"], "workloadSelector": {"labels": {"a": "b"}}}),
    (kinds.AUTHORIZATION_POLICY, "shop", "p", {"selector": {"matchLabels": {"a": "b"}}, "targetRefs": [{}]}),
)


class Objects:
    """A source of objects in memory."""

    origin = Origin.FILES

    def __init__(self, objects: list[Obj]) -> None:
        self._objects = objects

    def read(self, needs: list[Need]) -> list[Read]:
        return [Read(need, objects=tuple(self._found(need))) for need in needs]

    def _found(self, need: Need) -> list[Obj]:
        return [
            one
            for one in self._objects
            if one.kind == need.kind
            and need.namespace in (None, one.namespace)
            and need.name in (None, one.name)
            and all(one.labels.get(key) == value for key, value in need.labels)
        ]


@st.composite
def broken(draw: st.DrawFn) -> list[Obj]:
    """All objects with a few of their nodes replaced by something else."""
    share = draw(st.sampled_from((0.0, 0.01, 0.03, 0.1)))
    chance = draw(st.randoms(use_true_random=False))

    def change(value: Any) -> Any:
        if chance.random() < share:
            return chance.choice(JUNK)
        if isinstance(value, dict):
            return {key: change(item) for key, item in value.items()}
        return [change(item) for item in value] if isinstance(value, list) else value

    made = []
    for kind, namespace, name, spec in WHOLE:
        meta = {"name": name, "namespace": namespace, "labels": {"istio": "ingressgateway"}}
        made.append(Obj(kind, {"metadata": meta, "spec": change(spec)}))
    return made


@given(broken())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_field_may_be_of_any_type(objects: list[Obj]) -> None:
    def question(world: World) -> int:
        seen = 0
        for one in objects:
            seen += len([*out_of(world, one, RELATIONS), *into(world, one, RELATIONS)])
            declared_proxy(world, one)
            data_plane(world, one)
        proxy = proxy_of(world, objects[0])
        for port in (*(proxy.ports() if proxy else ()), 80, 443, 8080) if proxy else ():
            found = proxy.listener_at(port)
            seen += len(proxy.excluded_at(port))
            for chain in found.chains if found else ():
                if isinstance(chain.network, HttpConnections):
                    config = chain.network.route_config
                    seen += len(config.excluded) + len(config.excluded_for("a.example"))
                    seen += sum(len(host.routes) + len(host.excluded) for host in config.virtual_hosts)
        return seen

    assert ask(Objects(objects), World(Origin.FILES, complete=True), question) >= 0


def test_the_whole_objects_are_worth_breaking() -> None:
    objects = [
        Obj(kind, {"metadata": {"name": name, "namespace": namespace, "labels": {"istio": "ingressgateway"}},
                   "spec": spec})
        for kind, namespace, name, spec in WHOLE
    ]  # fmt: skip

    def ports(world: World) -> list[int]:
        proxy = proxy_of(world, objects[0])
        return list(proxy.ports()) if proxy else []

    assert ask(Objects(objects), World(Origin.FILES, complete=True), ports) == [443, 8080]
