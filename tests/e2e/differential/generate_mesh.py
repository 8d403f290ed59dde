"""Random configurations of sidecars: routes on `mesh`, DestinationRules, mTLS, policies, Sidecars."""

from __future__ import annotations

from tests.e2e.differential import pool
from tests.e2e.differential.generate_istio import (
    GATE,
    NETWORK,
    PLAIN,
    SECURITY,
    destination_rule,
    gateway,
    http_rule,
    requests,
    service,
)
from tests.e2e.differential.model import Ask, Case, Client, Dice, Manifest, manifest

RED, BLUE = Client(pool.CLIENTS, "red"), Client(pool.MESH, "blue")
MODES = ("STRICT", "PERMISSIVE", "DISABLE", "UNSET")


def fqdn(name: str, namespace: str) -> str:
    return f"{name}.{namespace}.svc.cluster.local"


def routes_case(dice: Dice, name: str, base: str) -> Case:
    """VirtualServices for Services of the case's own, asked in all ways of naming a Service."""
    case = Case(name)
    owned = []
    for number in range(dice.pick((1, 2))):
        space, own = dice.pick((pool.APP, pool.MESH)), f"{name}-s{number}"
        case.add(dice, service(dice, space, own, {"app": "web"}))
        owned.append((own, space))
        if dice.chance(0.4):
            home = dice.pick((space, space, pool.CLIENTS, "istio-system"))
            rule = destination_rule(dice, home, f"{name}-d{number}", fqdn(own, space), tls=dice.chance(0.4))
            case.add(dice, rule)
    entry = None
    if dice.chance(0.3):
        entry = f"ext.{base}"
        case.add(dice, _service_entry(dice, name, entry))
    names = [fqdn(*pair) for pair in owned]
    double = {
        (item["metadata"]["name"], item["metadata"]["namespace"])
        for item in case.objects
        if item["kind"] == "Service" and len(item["spec"]["ports"]) > 1
    }
    for number in range(dice.pick((0, 1, 1, 2))):
        own, space = dice.pick(owned)
        home = dice.pick((space, space, pool.CLIENTS))
        hosts = [fqdn(own, space) if home != space or dice.chance(0.6) else own]
        if dice.chance(0.15):
            hosts.append(f"plus.{base}")
        if entry and dice.chance(0.3):
            hosts.append(entry)
        if dice.chance(0.08):
            hosts = [dice.pick((f"*.{space}.svc.cluster.local", f"*.{base}"))]
            # A wildcard over a namespace would hide the other cases' Services from their own rules.
            hosts = [host for host in hosts if base in host] or [f"*.{base}"]
        gateways = dice.pick(([], ["mesh"], ["mesh"], ["mesh", "dif-gw/none"]))
        count = dice.randint(1, 3)
        rules = [
            http_rule(dice, hosts, 80, [], home, (own,) if home == space else (), index == count - 1)
            for index in range(count)
        ]
        for rule in rules:
            for item in rule.get("match", ()):
                if dice.chance(0.1):
                    item["sourceLabels"] = dice.pick(({"app": "red"}, {"app": "blue"}, {"app": "plain"}))
                if dice.chance(0.06):
                    item["sourceNamespace"] = dice.pick((pool.CLIENTS, pool.MESH))
        spec: Manifest = {"hosts": hosts, "http": rules}
        if dice.chance(0.08):
            spec["tcp"] = _tcp_rules(dice)
            if dice.chance(0.5):
                del spec["http"]
        if gateways:
            spec["gateways"] = gateways
        if dice.chance(0.1):
            spec["exportTo"] = dice.pick((["."], ["*"], [pool.CLIENTS]))
        case.add(dice, manifest(NETWORK, "VirtualService", home, f"{name}-v{number}", spec))
    weighted = any(
        len(rule.get("route", ())) > 1 for vs in case.objects for rule in vs["spec"].get("http", ())
    )
    for _ in range(6 if weighted else 8):
        own, space = dice.pick(owned)
        client = dice.pick((RED, RED, BLUE, PLAIN))
        names_of = (fqdn(own, space), f"{own}.{space}", f"{own}.{space}.svc", f"{own}.{space}".upper())
        address = dice.pick((*names_of, f"IP/{space}/{own}"))
        if client.namespace == space and dice.chance(0.4):
            address = own
        # A port that a Service lacks leaves the node: what answers there is not the cluster's.
        port = 80 if dice.chance(0.92) or (own, space) not in double else 81
        found = requests(dice, 1, [address], (client, address, port), times=14 if weighted else 1)[0]
        host = None
        if dice.chance(0.2):
            host = dice.pick(
                [
                    *names,
                    f"plus.{base}",
                    f"x.{base}",
                    "nobody.example",
                    f"web.{pool.FAR}",
                    *([entry] * 3 if entry else []),
                ]
            )
        case.asks.append(
            Ask(client, address, port, found.path, host, "http", found.method, found.headers, "", found.times)
        )
    return case


def _service_entry(dice: Dice, name: str, host: str) -> Manifest:
    protocol = dice.pick(("HTTP", "HTTP", "HTTP", "TCP"))
    spec: Manifest = {
        "hosts": [host],
        "location": dice.pick(("MESH_EXTERNAL", "MESH_INTERNAL")),
        "ports": [{"number": 80, "name": dice.pick(("http", "http", "tcp", "web")), "protocol": protocol}],
    }
    spec["resolution"] = dice.pick(("DNS", "DNS", "STATIC", "NONE"))
    home = dice.pick((pool.APP, pool.APP, pool.CLIENTS))
    if spec["resolution"] == "DNS":
        spec["endpoints"] = [{"address": fqdn(dice.pick(("v1", "v2")), pool.APP)}]
    elif spec["resolution"] == "STATIC":
        if dice.chance(0.5):
            spec["workloadSelector"] = {"labels": {"app": "web", "version": dice.pick(("v1", "v2"))}}
        else:
            spec["endpoints"] = [{"address": "10.0.0.1"}] if dice.chance(0.1) else []
        spec["ports"][0]["targetPort"] = 8080
        home = pool.APP
    if dice.chance(0.2):
        spec["exportTo"] = dice.pick((["."], [pool.CLIENTS], ["*"]))
    return manifest(NETWORK, "ServiceEntry", home, name, spec)


def _tcp_rules(dice: Dice) -> list[Manifest]:
    target = {"host": fqdn(dice.pick(("v1", "v2")), pool.APP), "port": {"number": 80}}
    rule: Manifest = {"route": [{"destination": target}]}
    if dice.chance(0.4):
        rule["match"] = [{"port": dice.pick((80, 81))}]
    return [rule]


def peer_authentication(dice: Dice, namespace: str, name: str, app: str | None) -> Manifest:
    spec: Manifest = {}
    if app:
        spec["selector"] = {"matchLabels": {"app": app}}
    if dice.chance(0.85):
        spec["mtls"] = {"mode": dice.pick(MODES)}
    if app and dice.chance(0.4):
        ports = dice.some([8080, 8081, 80], 1, 2)
        spec["portLevelMtls"] = {str(port): {"mode": dice.pick(MODES)} for port in ports}
    return manifest(SECURITY, "PeerAuthentication", namespace, name, spec)


def _source(dice: Dice, namespace: str) -> Manifest:
    found: Manifest = {}
    red = f"cluster.local/ns/{pool.CLIENTS}/sa/red"
    if dice.chance(0.6):
        key = dice.pick(("principals", "notPrincipals"))
        found[key] = dice.some(
            [red, f"cluster.local/ns/{pool.MESH}/sa/blue", "*", "*/sa/red", "cluster.local/ns/dif-cl/*"], 1, 2
        )
    if dice.chance(0.35):
        key = dice.pick(("namespaces", "notNamespaces"))
        found[key] = dice.some([pool.CLIENTS, pool.MESH, "dif-*", pool.GATEWAY], 1, 2)
    if dice.chance(0.1):
        found[dice.pick(("ipBlocks", "notIpBlocks"))] = ["10.0.0.0/8"]
    if dice.chance(0.08):
        found["requestPrincipals"] = ["*"]
    if dice.chance(0.08):
        found["serviceAccounts"] = [f"{pool.CLIENTS}/red"]
    return found or {"namespaces": [pool.CLIENTS]}


def _operation(dice: Dice, name: str) -> Manifest:
    found: Manifest = {}
    if dice.chance(0.6):
        found[dice.pick(("paths", "paths", "notPaths"))] = dice.some(
            ["/a", "/a/*", "*b", "/b*", "*", "/a/{*}", "/{**}/c", "/A"], 1, 2
        )
    if dice.chance(0.35):
        found[dice.pick(("methods", "notMethods"))] = dice.some(["GET", "POST", "P*"], 1, 2)
    if dice.chance(0.2):
        found[dice.pick(("ports", "notPorts"))] = dice.some(["8080", "80", "8081"], 1, 2)
    if dice.chance(0.2):
        found[dice.pick(("hosts", "notHosts"))] = dice.some(
            [f"*{name}*", f"{name}.*", name, "*.svc.cluster.local"], 1, 2
        )
    return found or {"methods": ["GET"]}


def _condition(dice: Dice) -> Manifest:
    key = dice.pick(
        (
            "request.headers[x-a]",
            "request.headers[x-b]",
            "source.namespace",
            "source.principal",
            "destination.port",
            "connection.sni",
            "request.headers[user-agent]",
        )
    )
    values = {
        "source.namespace": ["dif-cl", "dif-mesh"],
        "source.principal": ["cluster.local/ns/dif-cl/sa/red", "*"],
        "destination.port": ["8080", "8081"],
        "connection.sni": ["outbound_*", "*"],
        "request.headers[user-agent]": ["dif*"],
    }.get(key, ["1", "1*", "*"])
    return {"key": key, dice.pick(("values", "values", "notValues")): dice.some(values, 1, 1)}


def authorization(dice: Dice, namespace: str, name: str, app: str | None, host: str) -> Manifest:
    spec: Manifest = {"action": dice.pick(("ALLOW", "ALLOW", "DENY"))}
    if app:
        spec["selector"] = {"matchLabels": {"app": app}}
    rules: list[Manifest] = []
    for _ in range(dice.pick((0, 1, 1, 1, 2))):
        rule: Manifest = {}
        if dice.chance(0.55):
            rule["from"] = [{"source": _source(dice, namespace)} for _ in range(dice.pick((1, 1, 2)))]
        if dice.chance(0.6):
            rule["to"] = [{"operation": _operation(dice, host)} for _ in range(dice.pick((1, 1, 2)))]
        if dice.chance(0.3):
            rule["when"] = [_condition(dice) for _ in range(dice.pick((1, 1, 2)))]
        rules.append(rule)
    if rules or dice.chance(0.3):
        spec["rules"] = rules
    return manifest(SECURITY, "AuthorizationPolicy", namespace, name, spec)


def workload_case(dice: Dice, name: str, base: str, server: str) -> Case:
    """Policies and client TLS for one workload, asked with and without sidecar and by a gateway."""
    case = Case(name)
    for number in range(dice.pick((0, 1, 1, 1, 2))):
        case.add(dice, peer_authentication(dice, pool.MESH, f"{name}-p{number}", server))
    for number in range(dice.pick((0, 1, 1, 2))):
        case.add(dice, authorization(dice, pool.MESH, f"{name}-a{number}", server, server))
    address = fqdn(server, pool.MESH)
    if dice.chance(0.4):
        home = dice.pick((pool.MESH, pool.MESH, pool.CLIENTS))
        case.add(dice, destination_rule(dice, home, f"{name}-d", address, tls=True))
    through = _through_gateway(dice, case, name, base, address)
    for _ in range(10):
        client = dice.pick((RED, BLUE, PLAIN, PLAIN, None) if through else (RED, BLUE, PLAIN))
        where = (PLAIN, GATE, 9001) if client is None else (client, address, dice.pick((80, 80, 80, 81)))
        host = f"g.{base}" if client is None else address
        found = requests(dice, 1, [host], where)[0]
        asked = host if client is None else (None if dice.chance(0.7) else found.host)
        case.asks.append(
            Ask(where[0], where[1], where[2], found.path, asked, "http", found.method, found.headers)
        )
    return case


def _through_gateway(dice: Dice, case: Case, name: str, base: str, address: str) -> bool:
    if dice.chance(0.4):
        return False
    server = {"port": {"number": 9001, "name": "http", "protocol": "HTTP"}, "hosts": [f"g.{base}"]}
    case.newer.append(gateway(pool.GATEWAY, f"{name}-g", [server], {"istio": "dif"}))
    spec = {
        "hosts": [f"g.{base}"],
        "gateways": [f"{pool.GATEWAY}/{name}-g"],
        "http": [{"route": [{"destination": {"host": address, "port": {"number": 80}}}]}],
    }
    case.newer.append(manifest(NETWORK, "VirtualService", pool.GATEWAY, f"{name}-v", spec))
    return True


def namespace_case(dice: Dice, name: str, base: str, space: str) -> Case:
    """Policies on a whole namespace and on a workload in it; one pod with, one without a sidecar."""
    case = Case(name)
    case.add(dice, peer_authentication(dice, space, f"{name}-p", None))
    if dice.chance(0.4):
        case.add(dice, peer_authentication(dice, space, f"{name}-q", dice.pick(("in", "out"))))
    for number in range(dice.pick((0, 1, 1, 2))):
        app = dice.pick((None, None, "in", "out"))
        case.add(dice, authorization(dice, space, f"{name}-a{number}", app, "in"))
    if dice.chance(0.4):
        host = dice.pick((f"*.{space}.svc.cluster.local", fqdn("in", space), fqdn("out", space), "in"))
        rule = destination_rule(
            dice, space if host == "in" else dice.pick((space, pool.CLIENTS)), f"{name}-d", host, tls=True
        )
        case.add(dice, rule)
    for _ in range(10):
        server, client = dice.pick(("in", "in", "out")), dice.pick((RED, BLUE, PLAIN))
        address, port = fqdn(server, space), 80
        if server == "in":
            port = dice.pick((80, 80, 81))
        found = requests(dice, 1, [address], (client, address, port))[0]
        if dice.chance(0.25):
            address = dice.pick((f"POD/{space}/{server}", f"IP/{space}/{server}"))
            port = {80: 8080, 81: 8081}[port] if address.startswith("POD") else port
        case.asks.append(Ask(client, address, port, found.path, None, "http", found.method, found.headers))
    return case


def sidecar_case(dice: Dice, name: str, base: str, space: str) -> Case:
    """A Sidecar object: what its client still reaches."""
    case = Case(name)
    hosts = dice.some(
        [
            "./*",
            "istio-system/*",
            f"{pool.APP}/*",
            f"{pool.FAR}/*",
            f"*/web.{pool.APP}.svc.cluster.local",
            f"{pool.MESH}/{fqdn('v1', pool.MESH)}",
            "~/*",
        ],
        1,
        3,
    )
    if len(hosts) > 1 and "~/*" in hosts:
        hosts.remove("~/*")
    spec: Manifest = {"egress": [{"hosts": hosts}]}
    if dice.chance(0.6):
        spec["outboundTrafficPolicy"] = {"mode": dice.pick(("REGISTRY_ONLY", "ALLOW_ANY"))}
    if dice.chance(0.3):
        spec["workloadSelector"] = {"labels": {"app": dice.pick(("red", "blue"))}}
    case.add(dice, manifest(NETWORK, "Sidecar", space, name, spec))
    client = Client(space, "red")
    for _ in range(10):
        home = dice.pick((pool.APP, pool.APP, pool.FAR, pool.MESH))
        target = dice.pick(
            ("web", "far")
            if home == pool.FAR
            else ("web", "v1", "v2", "odd", "multi", "dead", "empty", "sick", "ext", "headless", "tcp")
        )
        ports = {"odd": 8000, "headless": 8080, "far": 8080}
        port = ports.get(target, 80)
        address = dice.pick((fqdn(target, home), f"{target}.{home}"))
        found = requests(dice, 1, [address], (client, address, port))[0]
        host = dice.pick((None, None, None, found.host, fqdn("v1", pool.MESH)))
        if dice.chance(0.15):
            address, port = f"POD/{home}/v1", 8080
        case.asks.append(Ask(client, address, port, found.path, host, "http", found.method, found.headers))
    return case


def fixed_case(dice: Dice, name: str) -> Case:
    """The pool's Services as they are, good and bad, from clients with and without a sidecar."""
    case = Case(name)
    for _ in range(10):
        client = dice.pick((RED, BLUE, PLAIN))
        home = dice.pick((pool.APP, pool.MESH))
        target = dice.pick(
            (
                "web",
                "v1",
                "odd",
                "multi",
                "dead",
                "unnamed",
                "tcp",
                "detect",
                "empty",
                "bare",
                "sick",
                "headless",
                "shifted",
                "ext",
                "ext0",
            )
        )
        port = {"odd": 8000, "headless": 8080}.get(target, 80)
        if target == "multi":
            port = dice.pick((80, 81))
        address = dice.pick((fqdn(target, home), f"{target}.{home}"))
        host = dice.pick(
            (
                None,
                None,
                None,
                "nobody.example",
                fqdn("v2", pool.APP),
                f"V1.{pool.APP}",
                f"web.{pool.FAR}:80",
                "v1",
            )
        )
        path = dice.pick(("/", "/a?b=c", "/a//b", "/%61/../x"))
        if target not in ("ext", "ext0", "headless", "shifted") and dice.chance(0.2):
            address = f"IP/{home}/{target}"
        if dice.chance(0.1):
            address, port = f"POD/{home}/{dice.pick(('v1', 'sick'))}", dice.pick((8080, 8081))
        case.asks.append(Ask(client, address, port, path, host))
    return case


def cases(dice: Dice, seed: str, count: int) -> list[Case]:
    """Sidecar configurations; no more than there are workloads and namespaces for policies."""
    found: list[Case] = []
    servers, spaces, sidecars = iter(pool.SERVERS), iter(pool.POLICY), iter(pool.SIDECARS)
    for number in range(count):
        name = f"m{seed}x{number}"
        base = f"{name}.dif.example"
        kind = dice.random()
        made: Case | None = None
        if kind < 0.3 and (server := next(servers, None)):
            made = workload_case(dice, name, base, server)
        elif kind < 0.5 and (space := next(spaces, None)):
            made = namespace_case(dice, name, base, space)
        elif kind < 0.6 and (space := next(sidecars, None)):
            made = sidecar_case(dice, name, base, space)
        elif kind < 0.66:
            made = fixed_case(dice, name)
        found.append(made or routes_case(dice, name, base))
    return found
