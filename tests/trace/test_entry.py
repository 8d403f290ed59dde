"""Where requests enter: names, addresses, node ports, Gateways, and the words of --from and --via."""

from __future__ import annotations

import pytest

from kgdiag.errors import NotFoundError, UsageError
from kgdiag.graph.ask import ask
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import Proxy
from kgdiag.model.read import Need, Origin, Read, Status
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Result
from kgdiag.trace import trace, trace_proxy
from kgdiag.trace.question import parse_question
from tests.trace.world import (
    GATEWAY,
    ask_of,
    at,
    chain,
    cluster,
    config,
    listener,
    only,
    pod,
    proxy,
    route,
    run,
    service,
)

WEB = service("web", "apps", "80:8080", clusterIP="10.96.0.1") + pod("web-1", "apps", "web", ip="10.1.0.1")
NODE = (
    "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n"
    "status: {addresses: [{type: InternalIP, address: 172.18.0.2}]}\n"
)


def balanced(text: str, *addresses: str) -> str:
    """The Service with addresses for the world."""
    entries = ", ".join(f"{{{address}}}" for address in addresses)
    return f"{text}status: {{loadBalancer: {{ingress: [{entries}]}}}}\n"


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://web.apps.svc.cluster.local/", {}),
        ("http://web.apps.svc/", {}),
        ("http://WEB.apps/", {}),
        ("http://web/", {"namespace": "apps"}),
        ("http://web/", {"origin": "ns/apps"}),
        ("http://10.96.0.1/", {}),
        ("http://web.apps.svc.cluster.local./", {}),
    ],
)
def test_names_of_a_service(url: str, asked: dict[str, str]) -> None:
    path = only(run(WEB, url, **asked))
    assert path.entry == Ref("", "Service", "apps", "web") and path.outcome.result is Result.DELIVERED
    assert path.outcome.cluster is None and path.outcome.backend and path.outcome.backend.port == 80


@pytest.mark.parametrize(
    ("url", "asked", "words"),
    [
        ("http://web.apps/", {"origin": "outside"}, "does not resolve outside"),
        ("http://10.96.0.1/", {"origin": "outside"}, "from inside of the cluster only"),
        ("http://web.apps:8080/", {}, "has no port 8080 (it has 80→8080)"),
        ("http://gone.apps.svc.cluster.local/", {}, "does not exist"),
        ("http://x/", {"via": "svc/web.apps:81"}, "has no port 81"),
    ],
)
def test_refused_before_anything_answers(url: str, asked: dict[str, str], words: str) -> None:
    out = only(run(WEB, url, **asked)).outcome
    assert (out.result, out.status, out.flag) == (Result.REFUSED, None, None) and words in out.reason


def test_a_name_without_dots_is_of_the_clients_namespace() -> None:
    out = run(WEB, "http://web/", origin="ns/other")
    assert all(path.outcome.result is not Result.DELIVERED for path in out.paths)


def test_a_pods_address_and_name() -> None:
    assert only(run(WEB, "http://10.1.0.1:8080/")).entry == Ref("", "Pod", "apps", "web-1")
    headless = service("set", "apps", "8080", clusterIP="None") + pod("set-0", "apps", "set")
    path = only(run(headless, "http://set-0.set.apps.svc.cluster.local:8080/"))
    assert path.outcome.pods == (Ref("", "Pod", "apps", "set-0"),) and path.outcome.backend is None


def test_headless_services_map_no_ports() -> None:
    headless = service("db", "apps", "80:8080", clusterIP="None") + pod("db-0", "apps", "db")
    path = only(run(headless, "http://db.apps:8080/"))
    assert path.outcome.result is Result.DELIVERED and "headless" in path.hops[0].detail
    refused = only(run(headless, "http://db.apps:80/"))
    assert "not mapped to targetPort 8080" in refused.hops[0].detail
    assert (refused.outcome.result, refused.outcome.status) == (Result.REFUSED, None)


def test_an_external_name_leads_to_its_target_with_port_and_host_kept() -> None:
    text = WEB + service(
        "alias", "other", "80", "", type="ExternalName", externalName="web.apps.svc.cluster.local"
    )
    path = only(run(text, "http://alias.other/"))
    assert path.outcome.backend and path.outcome.backend.service == Ref("", "Service", "apps", "web")
    assert path.hops[-1].request and path.hops[-1].request.authority == "alias.other"
    assert only(run(text, "http://alias.other:8080/")).outcome.result is Result.REFUSED
    away = service("alias", "other", "80", "", type="ExternalName", externalName="api.org")
    assert only(run(away, "http://alias.other/")).outcome.result is Result.EXTERNAL


def test_external_names_that_point_at_each_other_end() -> None:
    text = service("a", "x1", "80", "", type="ExternalName", externalName="b.x1.svc.cluster.local")
    text += service("b", "x1", "80", "", type="ExternalName", externalName="a.x1.svc.cluster.local")
    assert only(run(text, "http://a.x1/")).outcome.reason.startswith("loop")


@pytest.mark.parametrize("host", ["NODE", "172.18.0.2", "192.168.49.2"])
def test_node_ports(host: str) -> None:
    text = WEB.replace("targetPort: 8080}", "targetPort: 8080, nodePort: 31380}") + NODE
    path = only(run(text, f"http://{host}:31380/"))
    assert path.entry == Ref("", "Service", "apps", "web") and path.outcome.result is Result.DELIVERED


def test_local_traffic_policy_needs_an_endpoint_on_the_node() -> None:
    text = WEB.replace("targetPort: 8080}", "targetPort: 8080, nodePort: 31380}")
    text = text.replace("  clusterIP", "  externalTrafficPolicy: Local\n  clusterIP")
    assert only(run(text + NODE, "http://172.18.0.2:31380/")).outcome.result is Result.DELIVERED
    other = NODE.replace("n1", "n2").replace("0.2", "0.3")
    assert only(run(text + other, "http://172.18.0.3:31380/")).outcome.result is Result.REFUSED


def test_a_node_without_that_port() -> None:
    assert "no Service has nodePort 31000" in only(run(WEB + NODE, "http://172.18.0.2:31000/")).outcome.reason


@pytest.mark.parametrize("address", ["ip: 1.2.3.4", "hostname: 1.2.3.4"])
def test_load_balancers(address: str) -> None:
    text = balanced(service("web", "apps", "80:8080", type="LoadBalancer"), address) + pod(
        "web-1", "apps", "web"
    )
    assert only(run(text, "http://1.2.3.4/")).entry == Ref("", "Service", "apps", "web")
    assert only(run(text, "http://1.2.3.4:81/")).outcome.result is Result.REFUSED


def test_a_load_balancers_host_name() -> None:
    text = balanced(service("web", "apps", "80:8080", type="LoadBalancer"), "hostname: lb.aws.com")
    assert (
        only(run(text + pod("web-1", "apps", "web"), "http://lb.aws.com/")).outcome.result is Result.DELIVERED
    )


def test_minikubes_balancer_address_is_the_cluster_ip() -> None:
    text = balanced(
        service("web", "apps", "80:8080", type="LoadBalancer", clusterIP="10.96.0.9"), "ip: 10.96.0.9"
    )
    assert (
        only(run(text + pod("web-1", "apps", "web"), "http://10.96.0.9/", origin="outside")).outcome.result
        is Result.DELIVERED
    )


# -- endpoints -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (service("web", "apps", "80:8080") + pod("web-1", "apps", "web", ready=False), "not ready"),
        (
            service("web", "apps", "80:8080", "wbe") + pod("web-1", "apps", "web"),
            "no pod in apps has app=wbe (web-1 has app=web)",
        ),
        (
            service("web", "apps", "80:http") + pod("web-1", "apps", "web"),
            "of its pods has a port named http",
        ),
        (service("web", "apps", "80:8080", ""), "no selector"),
    ],
)
def test_why_a_service_has_no_endpoints(text: str, words: str) -> None:
    out = only(run(text, "http://web.apps/")).outcome
    assert (out.result, out.status) == (Result.REFUSED, None) and words in out.reason


def test_files_that_hold_a_part_leave_endpoints_unknown() -> None:
    assert (
        only(run(service("web", "apps", "80:8080"), "http://web.apps/", complete=False)).outcome.result
        is Result.UNKNOWN
    )


def test_a_port_that_no_container_declares_is_delivered_with_a_remark() -> None:
    path = only(run(service("web", "apps", "80:9999") + pod("web-1", "apps", "web"), "http://web.apps/"))
    assert (
        path.outcome.result is Result.DELIVERED and "no container declares port 9999" in path.hops[-1].detail
    )


def test_a_service_tells_of_virtual_services_that_its_clients_do_not_apply() -> None:
    text = WEB + (
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        "metadata: {name: web, namespace: apps}\n"
        "spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}\n"
    )
    assert "has no effect here" in only(run(text, "http://web.apps/")).hops[0].rejected[0].reason


def test_network_policies_are_notes_and_no_verdicts() -> None:
    text = WEB + (
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        "metadata: {name: deny, namespace: apps}\n"
        "spec: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]}\n"
    )
    friend = text + pod("friend", "apps") + pod("foe", "apps")
    foe = run(friend, "http://web.apps/", origin="pod/foe.apps")
    assert only(foe).outcome.result is Result.DELIVERED
    assert any(
        "if NetworkPolicies are enforced, deny in apps deny ingress to web-1:8080" in note
        for note in foe.notes
    )
    assert not run(friend, "http://web.apps/", origin="pod/friend.apps").notes


# -- Gateways ------------------------------------------------------------------------------------------

ISTIO = (
    "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: infra}\n"
    "spec: {selector: {app: gw}, "
    "servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.shop.com']}]}\n"
)
FRONT = service("front", "infra", "80:8080", "gw", type="LoadBalancer")
LOCAL = service("local", "infra", "80:8081", "gw")
POD = pod("gw-1", "infra", "gw")


def gateway_proxy(port: int = 8080) -> Proxy:
    return proxy("gw-1", "infra", [listener(port, chain(config(route("/"))))], [cluster("web", at("web-1"))])


def test_a_host_is_looked_for_in_gateways() -> None:
    path = only(run(WEB + ISTIO + FRONT + LOCAL + POD, "http://a.shop.com/", gateway_proxy()))
    assert path.entry == Ref("", "Service", "infra", "front") and path.outcome.result is Result.DELIVERED
    none = only(run(WEB + ISTIO + FRONT + LOCAL + POD, "http://b.org/", gateway_proxy()))
    assert (none.outcome.result, none.entry.kind) == (Result.UNKNOWN, "Host")


def test_via_a_gateway_goes_through_the_service_whose_port_ends_on_it() -> None:
    path = only(
        run(WEB + ISTIO + FRONT + LOCAL + POD, "http://x.y/", gateway_proxy(8081), via="gateway/gw.infra")
    )
    assert path.entry == GATEWAY and path.hops[0].object == Ref("", "Service", "infra", "local")


def test_via_a_gateway_on_a_port_that_nobody_fronts() -> None:
    out = only(
        run(WEB + ISTIO + FRONT + POD, "http://x.y:81/", gateway_proxy(), via="gateway/gw.infra")
    ).outcome
    assert out.result is Result.REFUSED and "no Service with port 81" in out.reason


def test_a_gateway_whose_selector_has_no_pod() -> None:
    out = only(run(WEB + ISTIO, "http://x.y/", via="gateway/gw.infra")).outcome
    assert out.result is Result.REFUSED and "no pod has app=gw" in out.reason


def test_two_kinds_of_gateway_with_one_name_are_ambiguous() -> None:
    other = ISTIO.replace("networking.istio.io/v1", "gateway.networking.k8s.io/v1").replace(
        "selector: {app: gw}, ", ""
    )
    with pytest.raises(UsageError, match="several objects"):
        run(ISTIO + other, "http://x.y/", via="gateway/gw.infra")
    run(
        ISTIO + other + POD + FRONT,
        "http://x.y/",
        gateway_proxy(),
        via="gateway.networking.istio.io/gw.infra",
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"via": "svc/none.apps"},
        {"via": "gateway/none"},
        {"origin": "pod/none.apps"},
        {"origin": "deploy/none"},
    ],
)
def test_what_does_not_exist(asked: dict[str, str]) -> None:
    with pytest.raises(NotFoundError):
        run(WEB, "http://x.y/", **asked)


def test_a_pods_own_way_alone() -> None:
    text = WEB + ISTIO + FRONT + POD + pod("client", "apps")
    path = only(run(text, "http://a.shop.com/", gateway_proxy(), origin="pod/client.apps"))
    assert (path.entry, path.outcome.result) == (Ref("", "Pod", "apps", "client"), Result.EXTERNAL)


def test_a_pending_balancer_is_said() -> None:
    notes = run(
        WEB + ISTIO + FRONT + "status: {loadBalancer: {}}\n" + POD, "http://a.shop.com/", gateway_proxy()
    ).notes
    assert any("EXTERNAL-IP pending" in note and "minikube tunnel" in note for note in notes)


# -- what cannot be read -------------------------------------------------------------------------------


class Guarded:
    """A live server of these objects that forbids some kinds."""

    origin = Origin.LIVE

    def __init__(self, objects: list[Obj], forbidden: set[str]) -> None:
        self.objects, self.forbidden = objects, forbidden
        self.asked: list[Need] = []

    def read(self, needs: list[Need]) -> list[Read]:
        self.asked += needs
        return [self._one(need) for need in needs]

    def _one(self, need: Need) -> Read:
        if need.kind.name in self.forbidden:
            return Read(need, Status.FORBIDDEN, message="no")
        found = tuple(
            one
            for one in self.objects
            if one.kind == need.kind
            and need.namespace in (None, one.namespace)
            and need.name in (None, one.name)
            and all(one.labels.get(key) == value for key, value in need.labels)
        )
        return Read(need, Status.OK, found)


def _objects(text: str) -> list[Obj]:
    found: list[Obj] = ask_of(
        text, lambda w: [one for kind in (kinds.SERVICE, kinds.POD) for one in w.all(kind)]
    )
    return found


@pytest.mark.parametrize(
    ("forbidden", "words"),
    [
        ({"EndpointSlice", "Endpoints"}, "endpointslices of namespace apps could not be read"),
        ({"Service"}, "Service apps/web could not be read"),
    ],
)
def test_what_cannot_be_read_is_unknown_and_named(forbidden: set[str], words: str) -> None:
    source = Guarded(_objects(WEB), forbidden)
    question = parse_question("http://web.apps.svc.cluster.local/")
    found = ask(source, World(Origin.LIVE), lambda world: trace(world, question, ()))
    assert (only(found).outcome.result, words in only(found).outcome.reason) == (Result.UNKNOWN, True)


def test_a_live_trace_reads_only_what_its_way_needs() -> None:
    source = Guarded(_objects(WEB), set())
    question = parse_question("http://web.apps.svc.cluster.local/")
    ask(source, World(Origin.LIVE), lambda world: trace(world, question, ()))
    assert not [
        need for need in source.asked if need.kind in (kinds.POD, kinds.SERVICE) and need.namespace is None
    ]


def test_many_replicas_are_one_read_by_labels() -> None:
    text = service("web", "apps", "80:8080") + "".join(pod(f"web-{n}", "apps", "web") for n in range(60))
    slices = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
    slices += (
        "metadata: {name: s, namespace: apps, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\n"
    )
    slices += "ports: [{name: http-0, port: 8080}]\nendpoints:\n"
    for n in range(60):
        slices += f"- {{addresses: [10.0.0.{n}], targetRef: {{kind: Pod, name: web-{n}, namespace: apps}}}}\n"
    objects = ask_of(
        text + slices,
        lambda w: [o for kind in (kinds.SERVICE, kinds.POD, kinds.ENDPOINT_SLICE) for o in w.all(kind)],
    )
    source = Guarded(objects, set())
    question = parse_question("http://web.apps.svc.cluster.local/")
    found = ask(source, World(Origin.LIVE), lambda world: trace(world, question, ()))
    assert len(only(found).outcome.pods) == 60
    assert [need for need in source.asked if need.kind == kinds.POD] == [
        Need(kinds.POD, "apps", None, (("app", "web"),))
    ]


def test_a_proxy_alone_is_walked_without_a_cluster() -> None:
    from kgdiag.model.proxy import Endpoint

    alone = proxy(
        "dump", "", [listener(80, chain(config(route("/"))))], [cluster("web", Endpoint("10.0.0.1", 8080))]
    )
    world = World(Origin.FILES)
    question = parse_question("http://x.y/")
    out = only(ask_of("", lambda w: trace_proxy(w, question, alone, 80))).outcome
    assert out.cluster == "web" and world is not None
    refused = only(ask_of("", lambda w: trace_proxy(w, question, alone, 81))).outcome
    assert refused.result is Result.REFUSED
