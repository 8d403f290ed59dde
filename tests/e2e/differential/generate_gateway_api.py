"""Random Gateways and HTTPRoutes, the same for Istio and for Envoy Gateway."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.e2e.differential import pool
from tests.e2e.differential.generate_istio import HEADERS, METHODS, PLAIN, TARGETS, VALUES
from tests.e2e.differential.model import NODE, OUTSIDE, Ask, Case, Client, Dice, Manifest, manifest
from tests.e2e.lab import ENVOY_GATEWAY_HTTP, ENVOY_GATEWAY_HTTPS, ISTIO_API_HTTP, ISTIO_API_HTTPS

GATEWAY = "gateway.networking.k8s.io/v1"
GRANT = "gateway.networking.k8s.io/v1beta1"
PATHS = ("/", "/a", "/a/b", "/ab", "/A", "/b", "/v1/models/iris", "/a/")
REGEXES = ("/a.*", "/[ab]", "/a/.+", "/a|/b", ".*b")


@dataclass(frozen=True)
class Flavour:
    """One implementation: the namespace of the own Gateway, the shared Gateway and where they are reached."""

    name: str
    space: str
    class_name: str
    shared: str
    node_port: int
    tls_port: int
    kind: str


ISTIO = Flavour("istio", pool.API_ISTIO, "istio", "shop-istio", ISTIO_API_HTTP, ISTIO_API_HTTPS, "ConfigMap")
ENVOY = Flavour(
    "envoy",
    pool.API_ENVOY,
    "envoy-gateway",
    "shop-envoy-gateway",
    ENVOY_GATEWAY_HTTP,
    ENVOY_GATEWAY_HTTPS,
    "EnvoyProxy",
)
FLAVOURS = (ISTIO, ENVOY)


def match(dice: Dice) -> Manifest:
    found: Manifest = {}
    if dice.chance(0.85):
        kind = dice.pick(("Exact", "PathPrefix", "PathPrefix", "PathPrefix", "RegularExpression"))
        found["path"] = {"type": kind, "value": dice.pick(REGEXES if kind == "RegularExpression" else PATHS)}
        if dice.chance(0.1):
            del found["path"]["type"]
            found["path"]["value"] = dice.pick(PATHS)
    if dice.chance(0.3):
        found["headers"] = [
            {
                "name": name,
                **dice.pick(({"value": "1"}, {"value": "2"}, {"type": "RegularExpression", "value": "1.*"})),
            }
            for name in dice.some(HEADERS, 1, 2)
        ]
    if dice.chance(0.15):
        found["queryParams"] = [
            {
                "name": dice.pick(("q", "r")),
                **dice.pick(({"value": "1"}, {"value": "2"}, {"type": "RegularExpression", "value": "[12]"})),
            }
        ]
    if dice.chance(0.2):
        found["method"] = dice.pick(("GET", "POST", "PUT"))
    return found


def header_filter(dice: Dice, kind: str) -> Manifest:
    names = ("x-a", "x-b", "x-c", "x-d")
    edit: Manifest = {}
    if dice.chance(0.6):
        edit["set"] = [{"name": dice.pick(names), "value": dice.pick(("s1", "s2"))}]
    if dice.chance(0.5):
        edit["add"] = [{"name": dice.pick(names), "value": dice.pick(("n1", "n2"))}]
    if dice.chance(0.4):
        edit["remove"] = dice.some(names, 1, 2)
    key = "requestHeaderModifier" if kind == "RequestHeaderModifier" else "responseHeaderModifier"
    return {"type": kind, key: edit or {"set": [{"name": "x-c", "value": "s"}]}}


def path_modifier(dice: Dice, prefix: bool) -> Manifest:
    if not prefix or dice.chance(0.35):
        return {"type": "ReplaceFullPath", "replaceFullPath": dice.pick(("/full", "/", "/full/"))}
    return {"type": "ReplacePrefixMatch", "replacePrefixMatch": dice.pick(("/", "/new", "/new/", "", "/a"))}


def url_rewrite(dice: Dice, prefix: bool) -> Manifest:
    edit: Manifest = {}
    if dice.chance(0.8):
        edit["path"] = path_modifier(dice, prefix)
    if dice.chance(0.4) or not edit:
        edit["hostname"] = "backend.example"
    return {"type": "URLRewrite", "urlRewrite": edit}


def redirect(dice: Dice, prefix: bool) -> Manifest:
    edit: Manifest = {}
    if dice.chance(0.3):
        edit["scheme"] = dice.pick(("https", "http"))
    if dice.chance(0.4):
        edit["hostname"] = "moved.example"
    if dice.chance(0.4):
        edit["path"] = path_modifier(dice, prefix)
    if dice.chance(0.25):
        edit["port"] = dice.pick((443, 80, 8443))
    if dice.chance(0.4):
        edit["statusCode"] = dice.pick((301, 302))
    return {"type": "RequestRedirect", "requestRedirect": edit}


def backend(dice: Dice, home: str) -> Manifest:
    good = ("v1", "v2", "web", "odd", "multi", "detect", "headless")
    bad = ("nothing", "empty", "sick", "dead", "ext", "unnamed", "bare", "shifted")
    name = dice.pick(good if dice.chance(0.8) else bad)
    found: Manifest = {}
    space = home
    if dice.chance(0.15):
        space = dice.pick((pool.FAR, pool.APP))
    if space == pool.FAR:
        name = dice.pick(("web", "far"))
    if space != home or dice.chance(0.1):
        found["namespace"] = space
    port = {"odd": 8000, "headless": 8080, "far": 8080, "multi": dice.pick((80, 81))}.get(name, 80)
    found |= {"name": name, "port": port if dice.chance(0.95) else 4444}
    if dice.chance(0.02):
        found |= {"group": "example.org", "kind": "Thing"}
    if dice.chance(0.12):
        found["filters"] = [header_filter(dice, "RequestHeaderModifier")]
    return found


def _one_prefix(item: Manifest) -> bool:
    """Whether the API takes ReplacePrefixMatch here: one match, by prefix."""
    matches = item.get("matches", [{}])
    path = matches[0].get("path", {})
    return len(matches) == 1 and path.get("type", "PathPrefix") == "PathPrefix"


def rule(dice: Dice, home: str) -> Manifest:
    found: Manifest = {}
    if dice.chance(0.88):
        found["matches"] = [match(dice) for _ in range(dice.pick((1, 1, 1, 2, 3)))]
    prefix = _one_prefix(found)
    if dice.chance(0.13):
        found["filters"] = [redirect(dice, prefix)]
        return found
    filters = []
    if dice.chance(0.25):
        filters.append(header_filter(dice, "RequestHeaderModifier"))
    if dice.chance(0.2):
        filters.append(header_filter(dice, "ResponseHeaderModifier"))
    if dice.chance(0.25):
        filters.append(url_rewrite(dice, prefix))
    if filters:
        found["filters"] = filters
    if dice.chance(0.95):
        count = dice.pick((1, 1, 1, 1, 2, 3))
        found["backendRefs"] = [backend(dice, home) for _ in range(count)]
        if count == 2 and dice.chance(0.6):
            for item, share in zip(
                found["backendRefs"], dice.pick(([1, 1], [1, 0], [0, 0], [5, 5])), strict=True
            ):
                item["weight"] = share
    return found


def route(
    dice: Dice,
    flavour: Flavour,
    home: str,
    name: str,
    hosts: list[str],
    parents: list[Manifest],
    rules: list[Manifest],
) -> Manifest:
    spec: Manifest = {"parentRefs": parents, "rules": rules}
    if hosts:
        spec["hostnames"] = hosts
    return manifest(GATEWAY, "HTTPRoute", home, f"{name}-{flavour.name}", spec)


def _requests(
    dice: Dice,
    hosts: list[str],
    where: list[tuple[Client, str, int]],
    count: int,
    times: int,
    paths: tuple[str, ...] = (),
) -> list[Ask]:
    found = []
    for _ in range(count):
        host = dice.pick(hosts)
        if dice.chance(0.1):
            host = dice.pick((host.upper(), f"{host}:8080", f"zz.{host}", host.partition(".")[2]))
        headers: list[tuple[str, str]] = []
        if dice.chance(0.4):
            headers = [(header, dice.pick(VALUES)) for header in dice.some(HEADERS, 1, 2)]
        method = dice.pick(METHODS) if dice.chance(0.4) else "GET"
        path = dice.pick(_near(paths) if paths and dice.chance(0.6) else TARGETS)
        for client, address, port in where:
            found.append(Ask(client, address, port, path, host, "http", method, tuple(headers), "", times))
    return found


def _near(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Paths that the routes of a case name, and such as are near them."""
    ends = ("", "", "/", "/x", "?q=1", "x")
    found = (f"{path.rstrip('/')}{end}" for path in paths for end in ends)
    return tuple(path if path.startswith("/") else f"/{path}" for path in found)


def _weighted(rules: list[Manifest]) -> bool:
    return any(len(item.get("backendRefs", ())) > 1 for item in rules)


def routes_case(dice: Dice, name: str, base: str) -> Case:
    """HTTPRoutes of different age and namespace on a listener without hostname."""
    case = Case(name)
    hosts = [f"a.{base}", f"b.{base}", f"*.{base}"]
    weighted = False
    secure = dice.chance(0.15)
    section = "https" if secure else "http"
    for number in range(dice.randint(1, 4)):
        home = dice.pick((pool.APP, pool.APP, pool.APP, pool.FAR))
        wanted = dice.some(hosts, 1, 2)
        rules = [rule(dice, home) for _ in range(dice.randint(1, 3))]
        weighted = weighted or _weighted(rules)
        batch = case.older if dice.chance(0.5) else case.newer
        own = f"{name}-r{dice.randint(0, 99)}-{number}"
        for flavour in FLAVOURS:
            parents = [{"name": "web", "namespace": flavour.shared, "sectionName": section}]
            batch.append(route(dice, flavour, home, own, wanted, parents, rules))
    if dice.chance(0.4):
        case.add(dice, _grant(dice, name))
    if dice.chance(0.15):
        case.add(dice, _denial(dice, name, base))
    ports = [flavour.tls_port if secure else flavour.node_port for flavour in FLAVOURS]
    where = [(OUTSIDE, NODE, port) for port in ports]
    asked = [host.replace("*", "w") for host in hosts]
    named = tuple(
        path["value"]
        for item in case.objects
        if item["kind"] == "HTTPRoute"
        for one in item["spec"]["rules"]
        for entry in one.get("matches", ())
        if (path := entry.get("path", {})).get("type", "PathPrefix") != "RegularExpression" and path
    )
    asks = _requests(dice, asked, where, 6, 14 if weighted else 1, named)
    if secure:
        odd = dice.pick(("", f"other.{base}"))
        asks = [
            replace(ask, scheme="https", sni=odd if index // 2 % 4 == 3 else f"a.{base}")
            for index, ask in enumerate(asks)
        ]
    case.asks += asks
    return case


def _denial(dice: Dice, name: str, base: str) -> Manifest:
    """An AuthorizationPolicy on Istio's shared Gateway, for hosts of this case only."""
    operation: Manifest = {"hosts": dice.pick(([f"a.{base}"], [f"*.{base}"], [f"b.{base}", f"b.{base}:*"]))}
    if dice.chance(0.6):
        operation["paths"] = dice.some(["/a", "/a/*", "*b", "/b*"], 1, 2)
    spec = {
        "action": "DENY",
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"}],
        "rules": [{"to": [{"operation": operation}]}],
    }
    return manifest("security.istio.io/v1", "AuthorizationPolicy", ISTIO.shared, name, spec)


def _grant(dice: Dice, name: str) -> Manifest:
    """A grant to another namespace's Services. It holds for all cases of the round, as it does in life."""
    to: Manifest = {"group": "", "kind": "Service"}
    if dice.chance(0.5):
        to["name"] = dice.pick(("web", "far"))
    spec = {
        "from": [
            {
                "group": "gateway.networking.k8s.io",
                "kind": dice.pick(("HTTPRoute", "HTTPRoute", "GRPCRoute")),
                "namespace": dice.pick((pool.APP, pool.FAR)),
            }
        ],
        "to": [to],
    }
    return manifest(GRANT, "ReferenceGrant", dice.pick((pool.FAR, pool.FAR, pool.APP)), name, spec)


def listeners_case(
    dice: Dice, name: str, base: str, port: int, listeners: list[Manifest], addresses: dict[str, str]
) -> Case:
    """Several listeners on one port: hostnames, sectionName, port, allowedRoutes."""
    case = Case(name)
    names: list[str] = []
    tls = dice.chance(0.2)
    for number, hostname in enumerate(dice.some(["", f"*.{base}", f"a.{base}", f"b.{base}"], 1, 3)):
        listener: Manifest = {
            "name": f"{name}l{number}",
            "port": port,
            "protocol": "HTTPS" if tls else "HTTP",
        }
        if tls:
            listener["tls"] = {
                "mode": "Terminate",
                "certificateRefs": [{"name": dice.pick((pool.CERTIFICATE,) * 6 + ("no-cert",))}],
            }
        if hostname:
            listener["hostname"] = hostname
        allowed = dice.pick(
            (
                {"from": "All"},
                {"from": "All"},
                {"from": "Same"},
                {"from": "Selector", "selector": {"matchLabels": {"team": "far"}}},
                None,
            )
        )
        if allowed:
            listener["allowedRoutes"] = {"namespaces": allowed}
        listeners.append(listener)
        names.append(listener["name"])
    for number in range(dice.randint(1, 3)):
        home = dice.pick((pool.APP, pool.APP, pool.FAR))
        wanted = dice.pick(
            (
                [],
                [f"a.{base}"],
                [f"*.{base}"],
                [f"b.{base}", f"a.{base}"],
                [f"x.{base}"],
                ["*.example"],
                ["no.org"],
            )
        )
        name_of = dice.pick(("v1", "v2")) if home == pool.APP else "web"
        rules: list[Manifest] = [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": dice.pick(("/", "/a"))}}],
                "backendRefs": [{"name": name_of, "port": 80}],
            }
        ]
        batch = case.older if dice.chance(0.5) else case.newer
        # A route without sectionName that fits two listeners of a port breaks Envoy Gateway's whole port; it
        # is a new port, so there are no older routes to go on with.
        parent: Manifest = {"name": "web", "sectionName": dice.pick([*names, *names, "nowhere"])}
        if dice.chance(0.2):
            parent["port"] = dice.pick((port, port, 4444))
        if len(names) == 1 and dice.chance(0.5):
            parent = {"name": "web", "port": port}
        if dice.chance(0.12):
            parent = {"name": "web", "port": port}
        for flavour in FLAVOURS:
            parents = [{**parent, "namespace": flavour.space}]
            batch.append(route(dice, flavour, home, f"{name}-r{number}", wanted, parents, rules))
    hosts = [f"a.{base}", f"b.{base}", f"x.{base}", "other.example"]
    for _ in range(6):
        host, path = dice.pick(hosts), dice.pick(("/", "/a", "/b"))
        sni = dice.pick((host, host, dice.pick(hosts), "")) if tls else ""
        for flavour in FLAVOURS:
            scheme = "https" if tls else "http"
            case.asks.append(Ask(PLAIN, addresses[flavour.name], port, path, host, scheme, sni=sni))
    return case


def grpc_case(dice: Dice, name: str, base: str) -> Case:
    """GRPCRoutes; requests are HTTP/1.1 with gRPC's content type."""
    case = Case(name)
    hosts = [f"a.{base}", f"*.{base}"]
    services, methods = ("shop.Cart", "shop.Cart2", "shop"), ("Get", "Put", "GetAll")
    for number in range(dice.randint(1, 2)):
        rules: list[Manifest] = []
        for _ in range(dice.randint(1, 3)):
            item: Manifest = {
                "backendRefs": [{"name": dice.pick(("v1", "v2", "nothing", "empty")), "port": 80}]
            }
            if dice.chance(0.8):
                which: Manifest = {"service": dice.pick(services), "method": dice.pick(methods)}
                if dice.chance(0.4):
                    del which[dice.pick(("service", "method"))]
                item["matches"] = [{"method": which}]
                if dice.chance(0.2):
                    which["type"] = "RegularExpression"
                if dice.chance(0.3):
                    item["matches"][0]["headers"] = [{"name": "x-a", "value": "1"}]
            rules.append(item)
        wanted = dice.some(hosts, 1)
        batch = case.older if dice.chance(0.5) else case.newer
        for flavour in FLAVOURS:
            parents = [{"name": "web", "namespace": flavour.shared, "sectionName": "http"}]
            made = route(dice, flavour, pool.APP, f"{name}-r{number}", wanted, parents, rules)
            made["kind"] = "GRPCRoute"
            batch.append(made)
    for _ in range(6):
        path = dice.pick((f"/{dice.pick(services)}/{dice.pick(methods)}", "/other.Thing/Get", "/shop"))
        headers: list[tuple[str, str]] = []
        if dice.chance(0.85):
            headers.append(("content-type", "application/grpc"))
        if dice.chance(0.4):
            headers.append(("x-a", dice.pick(("1", "2"))))
        host = dice.pick((f"a.{base}", f"w.{base}"))
        for flavour in FLAVOURS:
            ask = Ask(OUTSIDE, NODE, flavour.node_port, path, host, "http", "POST", tuple(headers))
            case.asks.append(ask)
    return case


def gateways(listeners: list[Manifest]) -> list[Manifest]:
    """The Gateways of this round: a listener that is always there, and those of the cases."""
    found = []
    always = {
        "name": "always",
        "port": 80,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    for flavour in FLAVOURS:
        group = "gateway.envoyproxy.io" if flavour is ENVOY else ""
        spec = {
            "gatewayClassName": flavour.class_name,
            "infrastructure": {"parametersRef": {"group": group, "kind": flavour.kind, "name": "cluster-ip"}},
            "listeners": [always, *listeners],
        }
        item = manifest(GATEWAY, "Gateway", flavour.space, "web", spec)
        item["metadata"]["labels"] = {"dif": "gateway"}
        found.append(item)
    return found


def cases(dice: Dice, seed: str, count: int, addresses: dict[str, str]) -> tuple[list[Case], list[Manifest]]:
    """Gateway API configurations, and the Gateways that they share."""
    found: list[Case] = []
    listeners: list[Manifest] = []
    ports = iter(dice.sample(range(10100, 14000), 20))
    for number in range(count):
        name = f"g{seed}x{number}"
        base = f"{name}.dif.example"
        port = next(ports, None) if dice.chance(0.3) else None
        if port is None and dice.chance(0.12):
            found.append(grpc_case(dice, name, base))
        elif port is None:
            found.append(routes_case(dice, name, base))
        else:
            found.append(listeners_case(dice, name, base, port, listeners, addresses))
    return found, gateways(listeners)
