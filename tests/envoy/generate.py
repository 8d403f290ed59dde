"""Random Envoy configurations and requests to them, from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.envoy.server import address

Json = dict[str, Any]

BACKEND_HEADERS = (("x-base", "base"), ("x-drop", "drop"), ("x-twice", "1"), ("x-twice", "2"))
REQUEST_NAMES = ("x-a", "x-b", "x-num", "x-new")
RESPONSE_NAMES = ("x-base", "x-drop", "x-twice", "x-r")
_TYPES = "type.googleapis.com/envoy.extensions."
_HCM = _TYPES + "filters.network.http_connection_manager.v3.HttpConnectionManager"
_HOSTS = (
    "a.example.com",
    "b.example.com",
    "deep.a.example.com",
    "example.com",
    "shop.test",
    "shop.test.internal",
    "my-api.example.com",
    "10.1.2.3",
    "single",
)
_DOMAINS = (
    *_HOSTS,
    "*.example.com",
    "*.a.example.com",
    "*-api.example.com",
    "*.com",
    "*example.com",
    "shop.*",
    "shop.test.*",
    "sh*",
    "a.example.com:8080",
    "*.example.com:8080",
    "A.Example.COM",
    "*.EXAMPLE.org",
    "[::1]",
)
_PATHS = (
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/a/b/c",
    "/ab",
    "/api",
    "/api/",
    "/api/v1",
    "/API/v1",
    "/items/7",
    "/items/seven",
    "/a%2Fb",
    "/a%20b",
    "/a;p=1/b",
    "/%61/b",
    "/a.b",
)
_ODD = (
    "//a",
    "/a//b",
    "/a/../b",
    "/a/./b",
    "/../a",
    "/a/..",
    "/a/.",
    "/a/b%2f..%2fc",
    "/a%5Cb",
    "/a\\b",
    "/..%2fa",
    "/a/%2e%2e/b",
    "/%7Ea",
    "/a%zzb",
    "/a/b//",
    "/.",
    "/a/...",
    "/" + "long" * 300,
    "/a%2F%2Fb",
    "/A/B",
)
_REGEXES = (
    "/a/.*",
    "/items/[0-9]+",
    "/(a|api)(/.*)?",
    ".*",
    "/api/v\\d",
    "(?i)/a/b",
    "/[^/]+/[^/]+",
    "/a",
    "/.+",
)
_VALUES = ("1", "42", "blue", "Blue", "blue-green", "green", "-7", "007", "x,y")
_QUERIES = (
    "",
    "v=1",
    "v=2&w=3",
    "v",
    "v=",
    "w=1&v=1",
    "v=1&v=2",
    "debug=true",
    "v=blue",
    "a%20b=1",
    "v=%31",
    "&v=1&",
    "v=a=b",
)


@dataclass
class Entry:
    """One listener to send requests to."""

    port: int
    tls: bool = False
    tcp: bool = False
    virtual_hosts: list[Json] = field(default_factory=list)
    names: tuple[str, ...] = ()


@dataclass
class Setup:
    """A configuration with the places to send requests to."""

    config: Json
    entries: list[Entry]


@dataclass(frozen=True)
class Sent:
    """One request: what goes over the wire and how."""

    port: int
    tls: bool
    sni: str | None
    alpn: tuple[str, ...]
    method: str
    target: str
    authority: str
    headers: tuple[tuple[str, str], ...]
    http: bool = True


class Generator:
    """Configurations and requests of one seed."""

    def __init__(self, random: Random, echo: list[int], ports: list[int], certificate: Json) -> None:
        self.random = random
        self.echo = echo
        self.ports = list(ports)
        self.certificate = certificate
        self.count = 0

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, items: Any) -> Any:
        return self.random.choice(items)

    # -- configuration ---------------------------------------------------------------------------------

    def setup(self) -> Setup:
        entries: list[Entry] = []
        self.onward = False
        own = Entry(self.ports.pop())
        listeners: list[Json] = [self.plain(own.port, own)]
        inner_manager = self.manager(Entry(0))
        self.onward = True
        for make in (self.plain, self.plain, self.plain, self.plain, self.secure, self.mixed, self.raw):
            port = self.ports.pop()
            entry = Entry(port)
            listeners.append(make(port, entry))
            entries.append(entry)
        inner = {
            "name": "inner",
            "internal_listener": {},
            "filter_chains": [{"filters": [inner_manager]}],
        }
        clusters = self.clusters(own.port)
        config = {
            "node": {"id": "gateway~127.0.0.1~proxy-1.shop~shop.svc.cluster.local", "cluster": "shop"},
            "bootstrap_extensions": [
                {
                    "name": "envoy.bootstrap.internal_listener",
                    "typed_config": {"@type": _TYPES + "bootstrap.internal_listener.v3.InternalListener"},
                }
            ],
            "static_resources": {"listeners": [*listeners, inner], "clusters": clusters},
        }
        return Setup(config, entries)

    def clusters(self, own: int) -> list[Json]:
        found = [
            self.cluster(f"c{at}", [{"endpoint": {"address": address(port)}}])
            for at, port in enumerate(self.echo)
        ]
        two = [{"endpoint": {"address": address(port)}} for port in self.echo[:2]]
        sick = [{**item, "health_status": "UNHEALTHY"} for item in two]
        found.append(self.cluster("outbound|80||two.shop.svc.cluster.local", two))
        found.append(self.cluster("half", [sick[0], two[1]], {"healthy_panic_threshold": {"value": 0}}))
        found.append(self.cluster("sick", sick, {"healthy_panic_threshold": {"value": 0}}))
        found.append(self.cluster("panic", sick))
        found.append(self.cluster("empty", []))
        found.append({**self.cluster("dns", two[:1]), "type": "STRICT_DNS", "dns_lookup_family": "V4_ONLY"})
        found.append(self.cluster("self", [{"endpoint": {"address": address(own)}}]))
        tunnel = {"envoy_internal_address": {"server_listener_name": "inner"}}
        found.append(self.cluster("internal", [{"endpoint": {"address": tunnel}}]))
        return found

    def cluster(self, name: str, endpoints: list[Json], common: Json | None = None) -> Json:
        out = {
            "name": name,
            "connect_timeout": "5s",
            "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        }
        return {**out, "common_lb_config": common} if common else out

    def listener(self, port: int, chains: list[Json], **more: Any) -> Json:
        return {"name": f"l{port}", "address": address(port), "filter_chains": chains, **more}

    def plain(self, port: int, entry: Entry) -> Json:
        return self.listener(port, [{"filters": [self.manager(entry)]}])

    def secure(self, port: int, entry: Entry) -> Json:
        """Chains by server name, on TLS."""
        entry.tls = True
        chains = []
        names = self.random.sample(
            ("a.example.com", "*.example.com", "*.com", "b.example.com", "shop.test", "*.a.example.com"), 3
        )
        entry.names = tuple(name.replace("*", "w") for name in names)
        for at, name in enumerate(names):
            match: Json = {"server_names": [name]}
            if self.chance(0.3):
                match["transport_protocol"] = "tls"
            if self.chance(0.3):
                match["application_protocols"] = [self.pick(("http/1.1", "h2", "other"))]
            chains.append(self.chain(f"s{at}", match, entry, tls=True))
        if self.chance(0.5):
            chains.append(self.chain("any", {"transport_protocol": "tls"}, entry, tls=True))
        if self.chance(0.3):
            chains.append(self.chain("port", {"destination_port": self.pick((port, 1))}, entry, tls=True))
        more: Json = {"listener_filters": [_inspector()]}
        if self.chance(0.3):
            more["default_filter_chain"] = self.chain("default", {}, entry, tls=self.chance(0.5))
        return self.listener(port, chains, **more)

    def mixed(self, port: int, entry: Entry) -> Json:
        """TLS and plaintext on one port, some of it passed through."""
        entry.tls = self.chance(0.6)
        entry.names = ("a.example.com", "pass.example.com", "none.example.com")
        chains = [
            self.chain(
                "tls", {"transport_protocol": "tls", "server_names": ["a.example.com"]}, entry, tls=True
            ),
            {
                "name": "passed",
                "filter_chain_match": {"transport_protocol": "tls", "server_names": ["pass.example.com"]},
                "filters": [self.proxy(self.pick(("missing", "empty")))],
            },
        ]
        if self.chance(0.7):
            chains.append(self.chain("raw", {"transport_protocol": "raw_buffer"}, entry, tls=False))
        return self.listener(port, chains, listener_filters=[_inspector()])

    def raw(self, port: int, entry: Entry) -> Json:
        """A TCP proxy."""
        entry.tcp = True
        filters = [self.proxy(self.pick(("c0", "c1", "empty", "missing", "dns", "sick", "weighted")))]
        if self.chance(0.3):
            filters.insert(0, self.network_rbac(port))
        return self.listener(port, [{"filters": filters}])

    def network_rbac(self, port: int) -> Json:
        rules = {
            "action": self.pick(("ALLOW", "DENY")),
            "policies": {
                "p": {
                    "permissions": [{"destination_port": self.pick((port, 1))}],
                    "principals": [{"any": True}],
                }
            },
        }
        kind = _TYPES + "filters.network.rbac.v3.RBAC"
        config = {"@type": kind, "stat_prefix": "tcp", "rules": rules}
        return {"name": "envoy.filters.network.rbac", "typed_config": config}

    def proxy(self, cluster: str) -> Json:
        config: Json = {"@type": _TYPES + "filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp"}
        if cluster == "weighted":
            config["weighted_clusters"] = {
                "clusters": [{"name": "c0", "weight": 1}, {"name": "c1", "weight": 2}]
            }
        else:
            config["cluster"] = cluster
        return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}

    def chain(self, name: str, match: Json, entry: Entry, *, tls: bool) -> Json:
        out: Json = {"name": name, "filters": [self.manager(entry, name)]}
        if match:
            out["filter_chain_match"] = match
        if tls:
            out["transport_socket"] = {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": _TYPES + "transport_sockets.tls.v3.DownstreamTlsContext",
                    "common_tls_context": {
                        "tls_certificates": [self.certificate],
                        "alpn_protocols": ["http/1.1"],
                    },
                },
            }
        return out

    def manager(self, entry: Entry, name: str = "") -> Json:
        route_config = self.route_config(name)
        entry.virtual_hosts += route_config["virtual_hosts"]
        config: Json = {
            "@type": _HCM,
            "stat_prefix": "http",
            "route_config": route_config,
            "http_filters": self.filters(),
        }
        if self.chance(0.5):
            config["normalize_path"] = True
        if self.chance(0.3):
            config["merge_slashes"] = True
        if self.chance(0.5):
            config["path_with_escaped_slashes_action"] = self.pick(
                ("KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD")
            )
        if self.chance(0.2):
            config["strip_any_host_port"] = True
        elif self.chance(0.15):
            config["strip_matching_host_port"] = True
        if self.chance(0.15):
            config["strip_trailing_host_dot"] = True
        if self.chance(0.4):
            config["use_remote_address"] = True
        return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}

    # -- HTTP filters ----------------------------------------------------------------------------------

    def filters(self) -> list[Json]:
        found = []
        if self.chance(0.4):
            item = _filter("rbac", {"@type": _TYPES + "filters.http.rbac.v3.RBAC", **self.rbac()})
            if self.chance(0.2):
                item["disabled"] = True
            found.append(item)
        if self.chance(0.15):
            config = {"@type": _TYPES + "filters.http.fault.v3.HTTPFault"}
            if self.chance(0.3):
                config["abort"] = {"http_status": 418, "percentage": {"numerator": 100}}
            found.append(_filter("fault", config))
        if self.chance(0.5):
            found.append(_filter("cors", {"@type": _TYPES + "filters.http.cors.v3.Cors"}))
        if self.chance(0.4) and not any(item["name"].endswith("fault") for item in found):
            found.append(_filter("fault", {"@type": _TYPES + "filters.http.fault.v3.HTTPFault"}))
        found.append(_filter("router", {"@type": _TYPES + "filters.http.router.v3.Router"}))
        return found

    def rbac(self) -> Json:
        rules: Json = {"action": self.pick(("ALLOW", "DENY", "LOG"))}
        if self.chance(0.9):
            rules["policies"] = {f"p{at}": self.policy() for at in range(self.random.randint(1, 2))}
        return {"rules": rules} if self.chance(0.95) else {}

    def policy(self) -> Json:
        return {
            "permissions": [self.permission(2) for _ in range(self.random.randint(1, 2))],
            "principals": [self.principal(2) for _ in range(self.random.randint(1, 2))],
        }

    def permission(self, depth: int) -> Json:
        kind = self.random.randint(0, 7 if depth else 4)
        if kind == 0:
            return {"any": True}
        if kind == 1:
            return {"header": self.header_matcher()}
        if kind == 2:
            return {"url_path": {"path": self.path_string()}}
        if kind == 3:
            return {"destination_port": self.pick((1, 80))}
        if kind == 4:
            return {"requested_server_name": self.string(("a.example.com", "", "b.example.com"))}
        rules = [self.permission(depth - 1) for _ in range(self.random.randint(1, 2))]
        if kind == 5:
            return {"and_rules": {"rules": rules}}
        if kind == 6:
            return {"or_rules": {"rules": rules}}
        return {"not_rule": rules[0]}

    def principal(self, depth: int) -> Json:
        kind = self.random.randint(0, 6 if depth else 3)
        if kind <= 1:
            return {"any": True}
        if kind == 2:
            return {"header": self.header_matcher()}
        if kind == 3:
            return {"url_path": {"path": self.path_string()}}
        ids = [self.principal(depth - 1) for _ in range(self.random.randint(1, 2))]
        if kind == 4:
            return {"and_ids": {"ids": ids}}
        if kind == 5:
            return {"or_ids": {"ids": ids}}
        return {"not_id": ids[0]}

    def path_string(self) -> Json:
        return self.string(("/a", "/a/b", "/api", "/", "b"))

    # -- routes ----------------------------------------------------------------------------------------

    def route_config(self, name: str) -> Json:
        self.count += 1
        left = list(_DOMAINS)
        self.random.shuffle(left)
        hosts = []
        seen: set[str] = set()
        for at in range(self.random.randint(1, 5)):
            domains = []
            for _ in range(self.random.randint(1, 3)):
                domain = left.pop()
                if domain.lower() not in seen:
                    seen.add(domain.lower())
                    domains.append(domain)
            if domains:
                hosts.append(self.virtual_host(f"v{at}", domains))
        if self.chance(0.5) or not hosts:
            hosts.append(self.virtual_host("all", ["*"]))
        self.random.shuffle(hosts)
        out: Json = {"name": f"routes{self.count}{name}", "virtual_hosts": hosts, "validate_clusters": False}
        out.update(self.edits(0.2))
        if self.chance(0.5):
            out["ignore_port_in_host_matching"] = True
        if self.chance(0.2):
            out["most_specific_header_mutations_wins"] = True
        if self.chance(0.1):
            out["typed_per_filter_config"] = self.per_filter()
        return out

    def virtual_host(self, name: str, domains: list[str]) -> Json:
        out: Json = {
            "name": name,
            "domains": domains,
            "routes": [self.route() for _ in range(self.random.randint(1, 6))],
            **self.edits(0.25),
        }
        if self.chance(0.08):
            out["require_tls"] = self.pick(("ALL", "EXTERNAL_ONLY"))
        if self.chance(0.15):
            out["typed_per_filter_config"] = self.per_filter()
        return out

    def route(self) -> Json:
        out: Json = {"match": self.match(), **self.edits(0.3)}
        kind = self.random.random()
        if kind < 0.18:
            out["redirect"] = self.redirect()
        elif kind < 0.3:
            out["direct_response"] = {"status": self.pick((200, 204, 404, 418, 503, 401))}
            body = self.chance(0.5)
            if body and out["direct_response"]["status"] != 204:  # HTTP has no such answer
                out["direct_response"]["body"] = {"inline_string": "said"}
        else:
            out["route"] = self.forward()
        action = out.get("redirect") or out.get("route") or {}
        if "path_match_policy" in out["match"]:  # Envoy refuses this pair
            action.pop("prefix_rewrite", None)
        if self.chance(0.25):
            out["typed_per_filter_config"] = self.per_filter()
        return out

    def per_filter(self) -> Json:
        out: Json = {}
        if self.chance(0.3):
            rbac: Json = {"@type": _TYPES + "filters.http.rbac.v3.RBACPerRoute"}
            if self.chance(0.7):
                rbac["rbac"] = self.rbac()
            out["envoy.filters.http.rbac"] = rbac
        elif self.chance(0.2):
            out["envoy.filters.http.rbac"] = {
                "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                **(
                    {"disabled": True}
                    if self.chance(0.5)
                    else {
                        "config": {"@type": _TYPES + "filters.http.rbac.v3.RBACPerRoute", "rbac": self.rbac()}
                    }
                ),
            }
        if self.chance(0.3):
            fault: Json = {"@type": _TYPES + "filters.http.fault.v3.HTTPFault"}
            if self.chance(0.8):
                fault["abort"] = {"http_status": self.pick((503, 429, 500)), "percentage": {"numerator": 100}}
            out["envoy.filters.http.fault"] = fault
        if self.chance(0.5):
            out["envoy.filters.http.cors"] = self.cors()
        return out

    def cors(self) -> Json:
        out: Json = {"@type": _TYPES + "filters.http.cors.v3.CorsPolicy"}
        if self.chance(0.85):
            out["allow_origin_string_match"] = [self.string(("https://shop.test", "https://", ".test"))]
        out["allow_methods"] = "GET,POST"
        if self.chance(0.3):
            out["forward_not_matching_preflights"] = self.chance(0.5)
        if self.chance(0.3):
            out["max_age"] = "60"
        return out

    def match(self) -> Json:
        kind = self.random.randint(0, 6)
        out: Json
        if kind == 0:
            out = {"path": self.pick(_PATHS)}
        elif kind in (1, 2):
            out = {"prefix": self.pick(("/", "/a", "/a/", "/api", "/api/", "/items", "", "/a/b", "/A"))}
        elif kind == 3:
            out = {"path_separated_prefix": self.pick(("/a", "/api", "/a/b", "/items", "/API"))}
        elif kind == 4:
            out = {"safe_regex": {"regex": self.pick(_REGEXES)}}
        elif kind == 5:
            template = self.pick(
                ("/a/*", "/**", "/api/{version}", "/items/{id=*}", "/*/b", "/a/**", "/{x}/{y=**}", "/a/b")
            )
            kind_ = _TYPES + "path.match.uri_template.v3.UriTemplateMatchConfig"
            policy = {"name": "template", "typed_config": {"@type": kind_, "path_template": template}}
            out = {"path_match_policy": policy}
        else:
            out = {"prefix": "/"}
        if self.chance(0.2) and kind in (0, 1, 2, 3):
            out["case_sensitive"] = False
        if self.chance(0.35):
            out["headers"] = [self.header_matcher() for _ in range(self.random.randint(1, 2))]
        if self.chance(0.2):
            out["query_parameters"] = [self.query_matcher() for _ in range(self.random.randint(1, 2))]
        if self.chance(0.05):
            out["grpc"] = {}
        return out

    def string(self, values: Any = _VALUES) -> Json:
        value = self.pick(values)
        kind = self.random.randint(0, 4)
        out: Json
        if kind == 0 or not value:
            out = {"exact": value}
        elif kind == 4:
            regex = self.pick((".*", ".+", "[a-z]+", "\\d+", value.replace(".", "\\."), ".*u.*"))
            return {"safe_regex": {"regex": regex}}
        else:
            cut = self.random.randint(1, len(value))
            out = [{}, {"prefix": value[:cut]}, {"suffix": value[-cut:]}, {"contains": value[:cut][-3:]}][
                kind
            ]
        if self.chance(0.25):
            out["ignore_case"] = True
        return out

    def header_matcher(self) -> Json:
        name = self.pick(
            (
                "x-a",
                "x-b",
                "x-num",
                "x-a",
                ":method",
                ":path",
                ":authority",
                ":scheme",
                "X-A",
                "host",
                "cookie",
            )
        )
        out: Json = {"name": name}
        values: Any = _VALUES
        if name == ":method":
            values = ("GET", "POST", "OPTIONS")
        elif name == ":path":
            values = ("/a", "/a/b?v=1", "/api")
        elif name in (":authority", "host"):
            values = _HOSTS
        elif name == ":scheme":
            values = ("http", "https")
        kind = self.random.randint(0, 5)
        if kind == 0:
            out["present_match"] = self.chance(0.7)
        elif kind == 1:
            low = self.pick((-10, 0, 5, 40))
            out["range_match"] = {"start": low, "end": low + self.pick((1, 3, 100, 5000))}
        elif kind == 2 and self.chance(0.5):
            pass
        else:
            out["string_match"] = self.string(values)
        if self.chance(0.2):
            out["invert_match"] = True
        if self.chance(0.2):
            out["treat_missing_header_as_empty"] = True
        return out

    def query_matcher(self) -> Json:
        out: Json = {"name": self.pick(("v", "w", "debug", "a%20b", "a b"))}
        kind = self.random.randint(0, 3)
        if kind == 0:
            out["present_match"] = self.chance(0.7)
        elif kind > 1:
            out["string_match"] = self.string(("1", "2", "blue", "true", "%31", ""))
        return out

    def redirect(self) -> Json:
        out: Json = {}
        if self.chance(0.4):
            out["host_redirect"] = self.pick(("new.example.com", "new.example.com:8443"))
        scheme = self.random.random()
        if scheme < 0.3:
            out["https_redirect"] = True
        elif scheme < 0.5:
            out["scheme_redirect"] = self.pick(("http", "https", "ftp", "HTTPS"))
        if self.chance(0.3):
            out["port_redirect"] = self.pick((80, 443, 8443))
        path = self.random.random()
        if path < 0.25:
            out["path_redirect"] = self.pick(("/new", "/new?x=1", "/", "new"))
        elif path < 0.5:
            out["prefix_rewrite"] = self.pick(("/new", "/", "/new/", "/n?x=1"))
        elif path < 0.65:
            out["regex_rewrite"] = self.regex_rewrite()
        if self.chance(0.4):
            out["response_code"] = self.pick(
                ("MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT")
            )
        if self.chance(0.25):
            out["strip_query"] = True
        return out

    def regex_rewrite(self) -> Json:
        regex, to = self.pick(
            (
                ("/a", "/z"),
                ("^/([^/]+)/(.*)$", "/\\2/\\1"),
                ("[0-9]+", "<\\0>"),
                ("/", "//"),
                ("b", ""),
                ("(a)|(b)", "[\\1\\2]"),
            )
        )
        return {"pattern": {"regex": regex}, "substitution": to}

    def forward(self) -> Json:
        out: Json = {}
        kind = self.random.random()
        good = ("c0", "c1", "c2", "c3", "outbound|80||two.shop.svc.cluster.local", "half", "panic", "dns")
        if kind < 0.55:
            out["cluster"] = self.pick(good)
        elif kind < 0.72:
            bad = ("missing", "empty", "sick")
            out["cluster"] = self.pick((*bad, "self", "internal") if self.onward else bad)
        elif kind < 0.8:
            out["cluster_header"] = self.pick(("x-cluster", "x-a"))
        else:
            members = []
            for name in self.random.sample((*good[:4], "missing", "empty"), self.random.randint(1, 3)):
                item: Json = {"name": name, "weight": self.pick((1, 2, 50, 0)), **self.edits(0.3)}
                if self.chance(0.2):
                    item["host_rewrite_literal"] = "weighted.internal"
                members.append(item)
            if not any(item["weight"] for item in members):
                members[0]["weight"] = 3
            out["weighted_clusters"] = {"clusters": members}
        if self.chance(0.3):
            out["cluster_not_found_response_code"] = self.pick(
                ("SERVICE_UNAVAILABLE", "NOT_FOUND", "INTERNAL_SERVER_ERROR")
            )
        path = self.random.random()
        if path < 0.25:
            out["prefix_rewrite"] = self.pick(("/new", "/", "/new/", "/n?x=1"))
        elif path < 0.38:
            out["regex_rewrite"] = self.regex_rewrite()
        host = self.random.random()
        if host < 0.15:
            out["host_rewrite_literal"] = self.pick(("rewritten.internal", "rewritten.internal:81"))
        elif host < 0.2:
            out["auto_host_rewrite"] = self.chance(0.8)
        elif host < 0.25:
            out["host_rewrite_header"] = self.pick(("x-a", "x-b"))
        elif host < 0.3:
            out["host_rewrite_path_regex"] = {
                "pattern": {"regex": "^/([^/?]*).*$"},
                "substitution": "\\1.internal",
            }
        return out

    # -- header edits ----------------------------------------------------------------------------------

    def edits(self, share: float) -> Json:
        out: Json = {}
        if self.chance(share):
            out["request_headers_to_add"] = [
                self.addition(REQUEST_NAMES) for _ in range(self.random.randint(1, 3))
            ]
        if self.chance(share / 2):
            out["request_headers_to_remove"] = [self.pick(REQUEST_NAMES)]
        if self.chance(share):
            out["response_headers_to_add"] = [
                self.addition(RESPONSE_NAMES, response=True) for _ in range(self.random.randint(1, 3))
            ]
        if self.chance(share / 2):
            out["response_headers_to_remove"] = [self.pick(RESPONSE_NAMES)]
        return out

    def addition(self, names: tuple[str, ...], *, response: bool = False) -> Json:
        values = ["v1", "v2", "50%%", ""]
        values += (
            []
            if response
            else ["%REQ(x-a)%", "%REQ(x-none)%", "pre-%REQ(x-none?x-b)%", "%REQ(X-A):2%", "%REQ(:path)%"]
        )
        header = {"key": self.pick(names), "value": self.pick(values)}
        out: Json = {"header": header}
        actions = (
            "APPEND_IF_EXISTS_OR_ADD",
            "ADD_IF_ABSENT",
            "OVERWRITE_IF_EXISTS_OR_ADD",
            "OVERWRITE_IF_EXISTS",
            None,
        )
        action = self.pick(actions)
        if action:
            out["append_action"] = action
        if not header["value"]:
            out["keep_empty_value"] = self.chance(0.5)
        return out

    # -- requests --------------------------------------------------------------------------------------

    def request(self, entry: Entry) -> Sent:
        if entry.tcp:
            http = self.chance(0.8)
            return Sent(entry.port, False, None, (), "GET", "/tcp", "x", (), http)
        host = self.pick(entry.virtual_hosts) if entry.virtual_hosts and self.chance(0.85) else None
        route = self.pick(host["routes"]) if host and self.chance(0.9) else None
        authority = self.authority(host)
        path = self.path(route)
        headers = self.headers(route)
        query = self.query(route)
        method = self.pick(("GET", "GET", "GET", "GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE"))
        if self.chance(0.12):
            method = "OPTIONS" if self.chance(0.9) else "GET"
            headers.append(
                ("origin", self.pick(("https://shop.test", "http://evil.test", "https://SHOP.test")))
            )
            if self.chance(0.8):
                headers.append(("access-control-request-method", "POST"))
        if self.chance(0.06):
            headers.append(
                (
                    "content-type",
                    self.pick(
                        (
                            "application/grpc",
                            "application/grpc+proto",
                            "application/grpc-web",
                            "application/grpc;x",
                        )
                    ),
                )
            )
        if self.chance(0.05):
            headers.append(("x-forwarded-proto", self.pick(("https", "http", "ftp", "HTTPS"))))
        target = path + (f"?{query}" if query is not None else "")
        if method == "OPTIONS" and self.chance(0.08):
            target = "*"
        tls = entry.tls if self.chance(0.9) else not entry.tls
        sni = None
        if tls:
            pool = (
                *entry.names,
                "a.example.com",
                "b.example.com",
                "x.a.example.com",
                "shop.test",
                "other.test",
            )
            sni = self.pick(pool) if self.chance(0.9) else None
        return Sent(entry.port, tls, sni, ("h2", "http/1.1"), method, target, authority, tuple(headers))

    def authority(self, host: Json | None) -> str:
        name = self.pick(_HOSTS)
        if host:
            domain = self.pick(host["domains"])
            stand = self.pick(("w", "x.y", "my"))
            name = domain.replace("*", stand) if domain != "*" else name
            if "*" in domain and self.chance(0.1):
                name = domain.replace("*.", "").replace("*", "")
        if self.chance(0.15) and not name.rpartition(":")[2].isdigit():
            name += self.pick((":8080", ":80", ":443", ":81"))
        elif self.chance(0.05):
            name += "."
        if self.chance(0.15):
            name = self.pick((name.upper(), name.title()))
        return name or "x"

    def path(self, route: Json | None) -> str:
        if self.chance(0.12):
            return self.pick(_ODD)
        if route is None or self.chance(0.15):
            return self.pick(_PATHS)
        match = route["match"]
        if "path" in match:
            found = match["path"]
        elif "prefix" in match:
            found = match["prefix"] + self.pick(("", "/x", "x", "b/c"))
        elif "path_separated_prefix" in match:
            found = match["path_separated_prefix"] + self.pick(("", "/", "/x", "x"))
        else:
            found = self.pick(("/a/b", "/items/7", "/api/v1", "/a", "/A/b", "/x/y/z", "/api/"))
        if self.chance(0.1):
            found = self.pick((found.upper(), found.lower(), found + "/"))
        return found if found.startswith("/") else "/" + found

    def headers(self, route: Json | None) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for item in (route or {}).get("match", {}).get("headers", ()):
            name = item["name"]
            if name.startswith(":") or name.lower() == "host" or self.chance(0.15):
                continue
            match = item.get("string_match", {})
            value = next(
                (match[key] for key in ("exact", "prefix", "suffix", "contains") if key in match), None
            )
            value = value if value is not None and self.chance(0.8) else self.pick(_VALUES)
            found.append((self.pick((name, name.upper())), value))
        for name in ("x-a", "x-b", "X-Num", "x-cluster"):
            if self.chance(0.2):
                value = (
                    self.pick(("c0", "c1", "nowhere")) if name == "x-cluster" else self.pick((*_VALUES, ""))
                )
                found.append((name, value))
                if self.chance(0.15) and name != "x-cluster":
                    found.append((name, self.pick(_VALUES)))
        return found

    def query(self, route: Json | None) -> str | None:
        matchers = (route or {}).get("match", {}).get("query_parameters", ())
        if matchers and self.chance(0.8):
            parts = []
            for item in matchers:
                match = item.get("string_match", {})
                value = next(
                    (match[key] for key in ("exact", "prefix", "suffix", "contains") if key in match), "1"
                )
                parts.append(f"{item['name'].replace(' ', '%20')}={value}")
            return "&".join(parts)
        return self.pick(_QUERIES) if self.chance(0.4) else None


def _inspector() -> Json:
    kind = _TYPES + "filters.listener.tls_inspector.v3.TlsInspector"
    return {"name": "envoy.filters.listener.tls_inspector", "typed_config": {"@type": kind}}


def _filter(name: str, config: Json) -> Json:
    return {"name": f"envoy.filters.http.{name}", "typed_config": config}
