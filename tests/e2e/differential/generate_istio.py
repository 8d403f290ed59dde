"""Random configurations of classic Istio gateways: Gateways, VirtualServices, DestinationRules, policies."""

from __future__ import annotations

from typing import Any

from tests.e2e.differential import pool
from tests.e2e.differential.model import NODE, OUTSIDE, Ask, Case, Client, Dice, Manifest, manifest
from tests.e2e.lab import ISTIO_SPARE

NETWORK, SECURITY = "networking.istio.io/v1", "security.istio.io/v1"
PLAIN = Client(pool.CLIENTS, "plain")
GATE = f"gw.{pool.GATEWAY}"

PATHS = (
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/ab",
    "/A",
    "/a/b/c",
    "/b",
    "/b/a",
    "/v1/models/iris:predict",
    "/a.b",
    "/A/b",
)
TARGETS = (
    *PATHS,
    *("/a?q=1", "/a/b?q=2&r=1", "/b?r", "/a//b", "//a", "/a/../b", "/%61", "/a%2Fb", "/a?x=%31&q=1"),
    *("/a;x=1", "/a%2fb", "/%2e%2e/b", "/a/./b", "/a?", "/?x", "/a/..", "/../b", "/%C3%A9", "/a+b", "/a%20b"),
    *(
        "/a?q=1&q=2",
        "/a?q",
        "/a?Q=1",
        "/a?q=%31",
        "/a/b/",
        "/A?q=1",
        "/a%3Fq=1",
        "/a/b/c/d",
        "/~a",
        "/%7Ea",
        "/a/%62",
    ),
    *(
        "/a\\b",
        "/a%5Cb",
        "/v1/models/iris",
        "/v1/models/iris:predict?x=a:b",
        "/a?q=/b",
        "/a&b",
        "/a,b",
        "/ab/c",
    ),
)
PREFIXES = ("/", "/a", "/a/", "/b", "/v1", "/a/b", "/A")
REGEXES = ("/a.*", "/a|/b", "/[ab]", "/a/.+", "^/a$", ".*b", "/a(/b)?", "(?i)/a", "/v1/models/[^/]+", "/\\w+")
VALUES = ("1", "2", "12", "", "1,2", "a b", "1 ")
METHODS = ("GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "PROPFIND")
HEADERS = ("x-a", "x-b")
SPACES = (pool.APP, pool.FAR, pool.MESH)
GOOD = ("v1", "v2", "web", "odd", "multi", "detect", "ext", "tcp", "headless")
BAD = ("nothing", "empty", "bare", "sick", "dead", "unnamed", "shifted", "ext0")


def string_match(
    dice: Dice, exact: tuple[str, ...], prefix: tuple[str, ...], regex: tuple[str, ...]
) -> Manifest:
    kind = dice.pick(("exact", "exact", "prefix", "prefix", "regex"))
    return {kind: dice.pick({"exact": exact, "prefix": prefix, "regex": regex}[kind])}


def value_match(dice: Dice) -> Manifest:
    if dice.chance(0.15):
        return {}
    return string_match(dice, ("1", "2"), ("1", "2"), ("1|2", "[0-9]+", "1.*", ".*"))


def match(dice: Dice, hosts: list[str], port: int, gateways: list[str]) -> Manifest:
    found: Manifest = {}
    if dice.chance(0.75):
        found["uri"] = string_match(dice, PATHS, PREFIXES, REGEXES)
        if dice.chance(0.2):
            found["ignoreUriCase"] = True
    if dice.chance(0.25):
        found["headers"] = {name: value_match(dice) for name in dice.some(HEADERS, 1, 2)}
    if dice.chance(0.12):
        found["withoutHeaders"] = {dice.pick(HEADERS): value_match(dice)}
    if dice.chance(0.15):
        found["method"] = string_match(dice, ("GET", "POST"), ("P", "G"), ("GET|PUT", "P.*"))
    if dice.chance(0.12):
        found["queryParams"] = {
            dice.pick(("q", "r")): dice.pick(
                ({"exact": "1"}, {"regex": "[12]"}, {"prefix": "2"}, {"exact": "2"})
            )
        }
    if dice.chance(0.08):
        found["authority"] = string_match(dice, tuple(hosts), ("a.", "b"), ("a\\..*", ".*example"))
    if dice.chance(0.05):
        found["port"] = dice.pick((port, port, 80, 9999))
    if dice.chance(0.04):
        found["scheme"] = {"exact": dice.pick(("http", "https"))}
    if dice.chance(0.07) and gateways:
        found["gateways"] = dice.some([*gateways, "mesh"], 1, 2)
    return found or {"uri": {"prefix": "/"}}


def destination(dice: Dice, home: str, extra: tuple[str, ...] = ()) -> Manifest:
    name = dice.pick(extra) if extra and dice.chance(0.5) else dice.pick(GOOD if dice.chance(0.8) else BAD)
    space = home if dice.chance(0.6) else dice.pick(SPACES)
    if name in extra:
        space = home
    if space == pool.FAR and name not in ("nothing",):
        name = dice.pick(("web", "far"))
    host = f"{name}.{space}.svc.cluster.local"
    if space == home and dice.chance(0.5):
        host = name
    elif dice.chance(0.05):
        host = f"{name}.{space}"
    found: Manifest = {"host": host}
    ports = {"odd": 8000, "multi": dice.pick((80, 81)), "headless": 8080, "far": 8080}
    if dice.chance(0.55) or name == "multi":
        found["port"] = {"number": ports.get(name, 80) if dice.chance(0.93) else 4444}
    return found


def header_edit(dice: Dice) -> Manifest:
    found: Manifest = {}
    names = ("x-a", "x-b", "x-c", "x-d")
    for direction in dice.some(("request", "response"), 1, 2):
        edit: Manifest = {}
        if dice.chance(0.6):
            edit["set"] = {dice.pick(names): dice.pick(("s1", "s2"))}
        if dice.chance(0.5):
            edit["add"] = {dice.pick(names): dice.pick(("n1", "n2"))}
        if dice.chance(0.4):
            edit["remove"] = dice.some(names, 1, 2)
        if direction == "response" and dice.chance(0.2):
            edit["remove"] = ["x-envoy-upstream-service-time"]
        if edit:
            found[direction] = edit
    return found


def rewrite(dice: Dice) -> Manifest:
    found: Manifest = {}
    kind = dice.pick(("uri", "uri", "authority", "both", "regex"))
    if kind in ("uri", "both"):
        found["uri"] = dice.pick(("/", "/new", "/new/", "/x/y"))
    if kind in ("authority", "both"):
        found["authority"] = dice.pick(("backend.example", "v2", "x.y:80"))
    if kind == "regex":
        found["uriRegexRewrite"] = dice.pick(
            (
                {"match": "^/a(.*)$", "rewrite": "/r\\1"},
                {"match": "/([ab])/(.*)", "rewrite": "/\\2/\\1"},
                {"match": "b", "rewrite": "zz"},
            )
        )
    return found


def redirect(dice: Dice) -> Manifest:
    found: Manifest = {}
    if dice.chance(0.6):
        found["uri"] = dice.pick(("/moved", "/moved?z=1", "/"))
    if dice.chance(0.4):
        found["authority"] = dice.pick(("other.example", "other.example:8080"))
    if dice.chance(0.3):
        found["scheme"] = dice.pick(("https", "http"))
    if dice.chance(0.25):
        found["port"] = dice.pick((443, 8443, 80))
    elif dice.chance(0.2):
        found["derivePort"] = dice.pick(("FROM_REQUEST_PORT", "FROM_PROTOCOL_DEFAULT"))
    if dice.chance(0.4):
        found["redirectCode"] = dice.pick((302, 303, 307, 308))
    return found or {"uri": "/moved"}


def without_overlap(hosts: list[str]) -> list[str]:
    """Hosts that the webhook takes: a VirtualService's wildcard may not cover another of its hosts."""
    wild = [host[1:] for host in hosts if host.startswith("*")]
    return [host for host in hosts if host.startswith("*") or not any(host.endswith(end) for end in wild)]


def weights(dice: Dice, count: int) -> list[int]:
    return {1: [dice.pick((100, 0, 1))], 2: dice.pick(([50, 50], [100, 0], [1, 1])), 3: [34, 33, 33]}[count]


def http_rule(
    dice: Dice,
    hosts: list[str],
    port: int,
    gateways: list[str],
    home: str,
    extra: tuple[str, ...],
    last: bool,
) -> Manifest:
    rule: Manifest = {}
    if not (last and dice.chance(0.5)):
        rule["match"] = [match(dice, hosts, port, gateways) for _ in range(dice.pick((1, 1, 1, 2, 3)))]
    kind = dice.random()
    if kind < 0.12:
        rule["redirect"] = redirect(dice)
        return rule
    if kind < 0.2:
        rule["directResponse"] = {"status": dice.pick((200, 204, 403, 418, 503))}
        if dice.chance(0.5):
            rule["directResponse"]["body"] = {"string": "direct"}
        if dice.chance(0.3):
            rule["headers"] = {"response": {"set": {"x-d": "direct"}}}
        return rule
    count = dice.pick((1, 1, 1, 1, 2, 3))
    shares = weights(dice, count)
    rule["route"] = []
    for share in shares:
        entry: Manifest = {"destination": destination(dice, home, extra)}
        if count > 1 or share != 100:
            entry["weight"] = share
        if dice.chance(0.15):
            entry["headers"] = header_edit(dice)
        rule["route"].append(entry)
    if extra and dice.chance(0.5):
        for entry in rule["route"]:
            if entry["destination"]["host"].split(".")[0] in extra:
                entry["destination"]["subset"] = dice.pick(("v1", "v2", "none", "gone"))
    if dice.chance(0.3):
        rule["rewrite"] = rewrite(dice)
    if dice.chance(0.25):
        rule["headers"] = header_edit(dice)
    if dice.chance(0.06):
        rule["fault"] = {
            "abort": {
                "httpStatus": dice.pick((500, 429, 400)),
                "percentage": {"value": dice.pick((100, 100, 0))},
            }
        }
    if dice.chance(0.05):
        rule["corsPolicy"] = {"allowOrigins": [{"exact": "https://ok.example"}], "allowMethods": ["GET"]}
    if dice.chance(0.05):
        rule["retries"] = {"attempts": 0}
    return rule


def virtual_service(
    dice: Dice,
    name: str,
    hosts: list[str],
    all_hosts: list[str],
    gateways: list[str],
    port: int,
    home: str,
    extra: tuple[str, ...],
) -> Manifest:
    count = dice.randint(1, 4)
    spec: Manifest = {
        "hosts": hosts,
        "http": [
            http_rule(dice, all_hosts, port, gateways, home, extra, number == count - 1)
            for number in range(count)
        ],
    }
    if gateways:
        spec["gateways"] = gateways
    if dice.chance(0.1):
        spec["exportTo"] = dice.pick((["."], ["*"], [pool.GATEWAY], ["istio-system"], [pool.FAR]))
    return manifest(NETWORK, "VirtualService", home, name, spec)


def destination_rule(dice: Dice, namespace: str, name: str, host: str, *, tls: bool = False) -> Manifest:
    spec: Manifest = {"host": host}
    subsets = [
        {"name": "v1", "labels": {"version": "v1"}},
        {"name": "v2", "labels": {"version": "v2"}},
        {"name": "none", "labels": {"version": "v9"}},
    ]
    spec["subsets"] = dice.some(subsets, 1)
    if tls and dice.chance(0.7):
        policy: Manifest = {"mode": dice.pick(("DISABLE", "ISTIO_MUTUAL", "SIMPLE", "DISABLE"))}
        spec["trafficPolicy"] = {"tls": policy}
        if dice.chance(0.3):
            spec["trafficPolicy"] = {"portLevelSettings": [{"port": {"number": 80}, "tls": policy}]}
        if dice.chance(0.3):
            spec["subsets"][0]["trafficPolicy"] = {"tls": {"mode": dice.pick(("DISABLE", "ISTIO_MUTUAL"))}}
    if dice.chance(0.1):
        spec["exportTo"] = dice.pick((["."], ["*"], [pool.GATEWAY]))
    return manifest(NETWORK, "DestinationRule", namespace, name, spec)


def service(dice: Dice, namespace: str, name: str, selector: Manifest, *, plain: bool = False) -> Manifest:
    port: Manifest = {"name": "http", "port": 80, "targetPort": 8080}
    if not plain and dice.chance(0.25):
        port["name"] = dice.pick(("http2", "web", "tcp-x", "grpc", "x-http"))
    if not plain and dice.chance(0.1):
        port["appProtocol"] = dice.pick(("http", "tcp", "kubernetes.io/h2c"))
    found = manifest("v1", "Service", namespace, name, {"selector": selector, "ports": [port]})
    if not plain and dice.chance(0.12):
        found["spec"]["ports"].append({"name": "http-alt", "port": 81, "targetPort": "http-alt"})
    return found


def gateway(namespace: str, name: str, servers: list[Manifest], selector: Manifest) -> Manifest:
    return manifest(NETWORK, "Gateway", namespace, name, {"selector": selector, "servers": servers})


def requests(
    dice: Dice,
    count: int,
    hosts: list[str],
    where: tuple[Client, str, int],
    *,
    times: int = 1,
    tls: list[str] | None = None,
) -> list[Ask]:
    """Requests to random hosts and paths; half of them plain, half with headers and methods."""
    client, address, port = where
    found = []
    for _ in range(count):
        host = dice.pick(hosts)
        if dice.chance(0.1):
            other = (
                f"zz.{host}",
                host.partition(".")[2] or host,
                f"{host}.",
                f"x{host}",
                f"{host}:80",
                f"{host}:443",
            )
            host = dice.pick((host.upper(), f"{host}:8080", f"zz.{host}", *other))
        headers: list[tuple[str, str]] = []
        if dice.chance(0.4):
            headers += [(name, dice.pick(VALUES)) for name in dice.some(HEADERS, 1, 2)]
        if dice.chance(0.05):
            headers.append(("x-a", dice.pick(("1", "9"))))
        if dice.chance(0.03):
            headers.append(("Origin", dice.pick(("https://ok.example", "https://bad.example"))))
            if dice.chance(0.7):
                headers.append(("Access-Control-Request-Method", dice.pick(("GET", "PUT"))))
        if dice.chance(0.04):
            name = dice.pick(
                ("X-Forwarded-Proto", "X-Forwarded-Host", "X-Envoy-Original-Path", "Content-Type", "X-A")
            )
            values = {"X-Forwarded-Proto": "https", "Content-Type": "application/grpc"}
            headers.append((name, values.get(name, "1")))
        method = dice.pick(METHODS) if dice.chance(0.4) else "GET"
        target = dice.pick(TARGETS)
        found.append(
            Ask(
                client,
                address,
                port,
                target,
                host,
                "https" if tls is not None else "http",
                method,
                tuple(headers),
                dice.pick(tls) if tls else "",
                times,
            )
        )
    return found


def routes_case(dice: Dice, name: str, base: str) -> Case:
    """VirtualServices of different age and namespace on hosts of Gateways that share a port."""
    case = Case(name)
    port = dice.pick((9001, 9002, 9003))
    if dice.chance(0.5):
        selector, where = {"istio": "ingressgateway"}, (OUTSIDE, NODE, ISTIO_SPARE[port])
    else:
        selector, where = {"istio": "dif"}, (PLAIN, GATE, port)
    hosts = [f"a.{base}", f"b.{base}", f"*.{base}", base]
    names = []
    for number in range(dice.pick((1, 1, 2))):
        space = dice.pick((pool.GATEWAY, pool.APP))
        own = f"{name}-g{number}"
        wanted = dice.some(hosts, 1, 3)
        if dice.chance(0.4):
            wanted = [f"*.{base}", base]
        if dice.chance(0.15):
            prefix = dice.pick((".", pool.APP, pool.FAR, "*"))
            wanted[0] = f"{prefix}/{wanted[0]}"
        server = {"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": wanted}
        servers = [server]
        if dice.chance(0.1):
            server["tls"] = {"httpsRedirect": True}
        case.add(dice, gateway(space, own, servers, selector))
        names.append(f"{space}/{own}")
    extra = _with_subsets(dice, case, name)
    for number in range(dice.randint(1, 4)):
        home = pool.APP if extra and dice.chance(0.7) else dice.pick((pool.APP, pool.MESH, pool.FAR))
        bound = dice.some(names, 1)
        if dice.chance(0.05):
            bound = [*bound, "mesh"]
        if dice.chance(0.03):
            bound = [bound[0].partition("/")[2]]
        wanted = without_overlap(dice.some(hosts, 1, 2))
        extras = extra if home == pool.APP else ()
        service_name = f"{name}-v{dice.randint(0, 99)}-{number}"
        case.add(dice, virtual_service(dice, service_name, wanted, hosts, bound, port, home, extras))
    if dice.chance(0.2):
        case.add(dice, _gateway_denial(dice, f"{name}-deny", base, selector))
    asked = [host.replace("*", "w") for host in hosts]
    weighted = any(
        len(rule.get("route", ())) > 1 for vs in case.objects for rule in vs["spec"].get("http", ())
    )
    case.asks += requests(dice, 8 if weighted else 10, asked, where, times=14 if weighted else 1)
    return case


def _with_subsets(dice: Dice, case: Case, name: str) -> tuple[str, ...]:
    """A Service of the case's own with DestinationRules, or nothing."""
    if dice.chance(0.5):
        return ()
    own = f"{name}-s"
    case.add(dice, service(dice, pool.APP, own, {"app": "web"}, plain=dice.chance(0.7)))
    for number in range(dice.pick((0, 1, 1, 2))):
        space = dice.pick((pool.APP, pool.APP, pool.FAR, pool.GATEWAY, "istio-system"))
        host = own if space == pool.APP and dice.chance(0.5) else f"{own}.{pool.APP}.svc.cluster.local"
        rule = destination_rule(dice, space, f"{name}-d{number}", host, tls=dice.chance(0.3))
        case.add(dice, rule)
    return (own,)


def _gateway_denial(dice: Dice, name: str, base: str, selector: Manifest) -> Manifest:
    """A DENY for hosts of this case only, so that it does not touch the others."""
    operation: Manifest = {"hosts": dice.pick(([f"a.{base}"], [f"*.{base}"], [f"a.{base}", f"b.{base}"]))}
    if dice.chance(0.5):
        operation["paths"] = dice.some(["/a", "/a/*", "*b", "/b", "*"], 1, 2)
    if dice.chance(0.3):
        operation["methods"] = dice.some(["GET", "POST"], 1)
    if dice.chance(0.15):
        operation["notPaths"] = ["/a/*"]
    rule: Manifest = {"to": [{"operation": operation}]}
    if dice.chance(0.3):
        rule["when"] = [
            {"key": "request.headers[x-a]", **dice.pick(({"values": ["1"]}, {"notValues": ["1"]}))}
        ]
    space = "istio-system" if selector["istio"] == "ingressgateway" else pool.GATEWAY
    spec = {"action": "DENY", "selector": {"matchLabels": selector}, "rules": [rule]}
    return manifest(SECURITY, "AuthorizationPolicy", space, name, spec)


def delegate_case(dice: Dice, name: str, base: str) -> Case:
    """A VirtualService that delegates, and what it delegates to."""
    case = Case(name)
    port, host = 9001, f"a.{base}"
    server = {"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": [f"*.{base}"]}
    case.add(dice, gateway(pool.GATEWAY, f"{name}-g", [server], {"istio": "dif"}))
    rules: list[Manifest] = []
    for number in range(dice.randint(1, 3)):
        rule: Manifest = {"delegate": {"name": f"{name}-d{dice.pick((number, 7))}"}}
        if dice.chance(0.7):
            rule["delegate"]["namespace"] = dice.pick((pool.APP, pool.APP, pool.FAR))
        if dice.chance(0.8):
            root: Manifest = {"uri": {"prefix": dice.pick(("/a", "/b", "/"))}}
            if dice.chance(0.2):
                root["headers"] = {"x-a": {"exact": "1"}}
            rule["match"] = [root]
        if dice.chance(0.15):
            rule["rewrite"] = {"uri": "/root"}
        if dice.chance(0.15):
            rule["headers"] = header_edit(dice)
        rules.append(rule)
        if dice.chance(0.85):
            leaf: Manifest = {"http": []}
            for _ in range(dice.randint(1, 2)):
                item: Manifest = {
                    "route": [{"destination": {"host": f"{dice.pick(('v1', 'v2'))}.{pool.APP}"}}]
                }
                item["route"][0]["destination"]["host"] += ".svc.cluster.local"
                if dice.chance(0.7):
                    item["match"] = [
                        {"uri": string_match(dice, PATHS, ("/a", "/a/b", "/b", "/"), ("/a.*", "/b.*"))}
                    ]
                    if dice.chance(0.2):
                        item["match"][0]["headers"] = {dice.pick(HEADERS): {"exact": "1"}}
                if dice.chance(0.2):
                    item["rewrite"] = {"uri": "/leaf"}
                leaf["http"].append(item)
            if dice.chance(0.15):
                leaf["exportTo"] = dice.pick((["."], [pool.APP], [pool.GATEWAY]))
            space = dice.pick((pool.APP, pool.APP, pool.FAR))
            case.add(dice, manifest(NETWORK, "VirtualService", space, f"{name}-d{number}", leaf))
    if dice.chance(0.6):
        rules.append({"route": [{"destination": {"host": "v2"}}]})
    spec = {"hosts": [host], "gateways": [f"{pool.GATEWAY}/{name}-g"], "http": rules}
    case.add(dice, manifest(NETWORK, "VirtualService", pool.APP, f"{name}-root", spec))
    case.asks += requests(dice, 8, [host], (PLAIN, GATE, port))
    return case


def servers_case(dice: Dice, name: str, base: str, port: int) -> Case:
    """Servers of several kinds on one port of their own: TLS, passthrough, conflicts, redirects, policies."""
    case = Case(name)
    names: list[str] = []
    snis = [f"a.{base}", f"b.{base}", f"w.{base}"]
    for number in range(dice.pick((1, 2, 2, 3))):
        own, space = (
            f"{name}-g{dice.randint(0, 9)}{number}",
            dice.pick((pool.GATEWAY, pool.GATEWAY, pool.APP)),
        )
        servers = [_server(dice, base, port, number) for number in range(dice.pick((1, 1, 2)))]
        # After the routes: a refused listener is absent when it is new, and stays as it was otherwise.
        case.newer.append(gateway(space, own, servers, {"istio": "dif"}))
        names.append(f"{space}/{own}")
    for number in range(dice.randint(1, 3)):
        wanted = without_overlap(dice.some([f"a.{base}", f"b.{base}", f"*.{base}"], 1, 2))
        bound = dice.some(names, 1)
        target = {"destination": {"host": f"{dice.pick(('v1', 'v2'))}.{pool.APP}.svc.cluster.local"}}
        spec: Manifest = {"hosts": wanted, "gateways": bound}
        if dice.chance(0.85):
            spec["http"] = [
                {
                    "match": [{"uri": {"prefix": dice.pick(("/a", "/b"))}}],
                    "route": [{"destination": {"host": f"web.{pool.FAR}.svc.cluster.local"}}],
                },
                {"route": [target]},
            ][dice.pick((0, 0, 1)) :]
        if dice.chance(0.5):
            secure = {"host": f"secure.{pool.APP}.svc.cluster.local", "port": {"number": 443}}
            spec["tls"] = [
                {
                    "match": [{"port": port, "sniHosts": dice.some(wanted, 1)}],
                    "route": [{"destination": secure}],
                }
            ]
        if "http" not in spec and "tls" not in spec:
            spec["tcp"] = [{"route": [{"destination": {"host": f"v1.{pool.APP}.svc.cluster.local"}}]}]
        case.older.append(manifest(NETWORK, "VirtualService", pool.APP, f"{name}-v{number}", spec))
    hosts = [f"a.{base}", f"b.{base}", f"w.{base}"]
    for _ in range(9):
        sni = dice.pick([*snis, *snis, f"other.{base}.org", "", f"A.{base}"])
        host = sni if sni and dice.chance(0.7) else dice.pick(hosts)
        scheme = dice.pick(("https", "https", "https", "http"))
        path = dice.pick(("/", "/a", "/b/x", "/c?q=1"))
        case.asks.append(Ask(PLAIN, GATE, port, path, host, scheme, sni=sni if scheme == "https" else ""))
    return case


def _server(dice: Dice, base: str, port: int, number: int) -> Manifest:
    hosts = dice.some([f"a.{base}", f"b.{base}", f"*.{base}"], 1, 2)
    if dice.chance(0.15):
        hosts = ["*"]
    protocol = dice.pick(("HTTPS", "HTTPS", "HTTPS", "TLS", "HTTP", "TCP"))
    found: Manifest = {"port": {"number": port, "name": f"n{number}", "protocol": protocol}, "hosts": hosts}
    if protocol in ("HTTPS", "TLS"):
        mode = "PASSTHROUGH" if protocol == "TLS" and dice.chance(0.8) else "SIMPLE"
        if protocol == "HTTPS" and dice.chance(0.1):
            mode = dice.pick(("PASSTHROUGH", "ISTIO_MUTUAL"))
        found["tls"] = {"mode": mode}
        if mode == "SIMPLE":
            found["tls"]["credentialName"] = dice.pick(("web-cert",) * 5 + ("no-cert",))
    elif protocol == "HTTP" and dice.chance(0.3):
        found["tls"] = {"httpsRedirect": True}
    return found


def translated_case(dice: Dice, name: str, base: str, number: int) -> Case:
    """Where a server listens: Services of the gateway's namespace map its port, and they may disagree."""
    case = Case(name)
    port, targets = 9100 + 10 * number, [9101 + 10 * number, 9102 + 10 * number]
    for index in range(dice.pick((1, 1, 2))):
        ports = [{"name": "http", "port": port, "targetPort": dice.pick((port, *targets))}]
        if dice.chance(0.3):
            ports.append({"name": "http-2", "port": targets[0], "targetPort": dice.pick((targets[0], port))})
        spec = {"selector": {"istio": "dif"}, "ports": ports}
        if dice.chance(0.1):
            spec["selector"] = {"istio": "dif", "app": dice.pick(("gw", "other"))}
        item = manifest("v1", "Service", pool.GATEWAY, f"{name}-t{index}", spec)
        if dice.chance(0.2):
            item["metadata"]["labels"]["experimental.istio.io/disable-gateway-port-translation"] = "true"
        case.add(dice, item)
    numbers = dice.some([port, targets[0]], 1)
    for index, wanted in enumerate(numbers):
        server = {"port": {"number": wanted, "name": "http", "protocol": "HTTP"}, "hosts": [f"a.{base}"]}
        case.add(dice, gateway(pool.GATEWAY, f"{name}-g{index}", [server], {"istio": "dif"}))
        target = {"destination": {"host": f"v{index + 1}.{pool.APP}.svc.cluster.local"}}
        rules: list[Manifest] = [{"route": [target]}]
        if dice.chance(0.3):
            rules[0]["match"] = [{"port": dice.pick((port, *targets))}]
        spec = {"hosts": [f"a.{base}"], "gateways": [f"{pool.GATEWAY}/{name}-g{index}"], "http": rules}
        case.add(dice, manifest(NETWORK, "VirtualService", pool.GATEWAY, f"{name}-v{index}", spec))
    for item in case.objects:
        if item["kind"] == "Service":
            for entry in item["spec"]["ports"]:
                where = f"{item['metadata']['name']}.{pool.GATEWAY}"
                case.asks.append(Ask(PLAIN, where, entry["port"], "/a", f"a.{base}"))
    case.asks += [Ask(PLAIN, f"POD/{pool.GATEWAY}/gw", one, "/b", f"a.{base}") for one in (port, *targets)]
    return case


def ingress_case(dice: Dice, name: str, base: str) -> Case:
    """Ingresses of Istio's class, on the shared gateway's port 80."""
    case = Case(name)
    hosts = [f"a.{base}", f"b.{base}", f"*.{base}"]
    for number in range(dice.randint(1, 3)):
        rules = []
        for host in dice.some(hosts, 1, 2):
            paths = []
            for _ in range(dice.randint(1, 3)):
                target = dice.pick(("v1", "v2", "web", "multi", "odd", "nothing", "empty"))
                port: Manifest = {"number": 8000 if target == "odd" else 80}
                if dice.chance(0.3):
                    port = {"name": "http"}
                paths.append(
                    {
                        "path": dice.pick(PATHS),
                        "pathType": dice.pick(("Exact", "Prefix", "Prefix", "ImplementationSpecific")),
                        "backend": {"service": {"name": target, "port": port}},
                    }
                )
            rules.append({"host": host, "http": {"paths": paths}})
        spec: Manifest = {"rules": rules, "ingressClassName": dice.pick(("istio", "istio", "istio", "other"))}
        case.add(
            dice,
            manifest(
                "networking.k8s.io/v1", "Ingress", pool.APP, f"{name}-{dice.randint(0, 9)}{number}", spec
            ),
        )
    asked = [host.replace("*", "w") for host in hosts]
    case.asks += requests(dice, 10, asked, (OUTSIDE, NODE, 31080))
    return case


def allowed_case(dice: Dice, name: str, base: str, port: int) -> Case:
    """ALLOW policies on a gateway. The pool's base policy allows all other ports."""
    case = Case(name)
    server = {"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": [f"*.{base}"]}
    case.add(dice, gateway(pool.GATEWAY, f"{name}-g", [server], {"istio": "dif"}))
    rules = [
        {
            "match": [{"uri": {"prefix": "/b"}}],
            "rewrite": {"uri": "/a"},
            "route": [{"destination": {"host": "v2"}}],
        },
        {"route": [{"destination": {"host": "v1"}}]},
    ]
    spec: Manifest = {
        "hosts": [f"a.{base}", f"b.{base}"],
        "gateways": [f"{pool.GATEWAY}/{name}-g"],
        "http": rules,
    }
    case.add(dice, manifest(NETWORK, "VirtualService", pool.APP, f"{name}-v", spec))
    for number in range(dice.randint(1, 2)):
        operation: Manifest = {"ports": [str(port)]}
        if dice.chance(0.7):
            operation[dice.pick(("hosts", "notHosts"))] = dice.some(
                [f"a.{base}", f"*.{base}", f"b.{base}:*"], 1, 2
            )
        if dice.chance(0.6):
            operation[dice.pick(("paths", "paths", "notPaths"))] = dice.some(
                ["/a*", "/b", "*b", "/{*}", "/a/{**}"], 1, 2
            )
        if dice.chance(0.3):
            operation[dice.pick(("methods", "notMethods"))] = dice.some(["GET", "POST", "HEAD"], 1, 2)
        rule: Manifest = {"to": [{"operation": operation}]}
        if dice.chance(0.3):
            rule["from"] = [
                {
                    "source": dice.pick(
                        ({"principals": ["*"]}, {"notPrincipals": ["*"]}, {"ipBlocks": ["10.244.0.0/16"]})
                    )
                }
            ]
        if dice.chance(0.3):
            key = dice.pick(("request.headers[x-a]", "request.headers[x-b]"))
            rule["when"] = [
                {"key": key, dice.pick(("values", "notValues")): [dice.pick(("1", "1*", "*", "*2"))]}
            ]
        action = "ALLOW" if number == 0 else dice.pick(("ALLOW", "DENY"))
        policy: Manifest = {"action": action, "selector": {"matchLabels": {"istio": "dif"}}, "rules": [rule]}
        case.add(dice, manifest(SECURITY, "AuthorizationPolicy", pool.GATEWAY, f"{name}-{number}", policy))
    case.asks += requests(dice, 10, [f"a.{base}", f"b.{base}", f"c.{base}"], (PLAIN, GATE, port))
    return case


def cases(dice: Dice, seed: str, count: int) -> list[Case]:
    """Classic gateway configurations."""
    found: list[Case] = []
    ports, allowed = iter(pool.OWN_PORTS[10:]), iter(pool.ALLOWED_PORTS)
    for number in range(count):
        name = f"i{seed}x{number}"
        base = f"{name}.dif.example"
        kind = dice.random()
        if kind < 0.52:
            found.append(routes_case(dice, name, base))
        elif kind < 0.62:
            found.append(delegate_case(dice, name, base))
        elif kind < 0.68:
            found.append(translated_case(dice, name, base, number))
        elif kind < 0.74:
            found.append(ingress_case(dice, name, base))
        elif kind < 0.81 and (own := next(allowed, None)):
            found.append(allowed_case(dice, name, base, own))
        else:
            port = next(ports, None)
            made: Any = (
                routes_case(dice, name, base) if port is None else servers_case(dice, name, base, port)
            )
            found.append(made)
    return found
