"""The contract of the command line and of its JSON, statement by statement, on one small shop.

Each test is named after the statement that it holds; tables have one line for each case.
"""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest

from kgdiag.cli.commands import run
from kgdiag.cli.options import FailOn, Format

SHOP = """\
apiVersion: v1
kind: Service
metadata: {name: ingress, namespace: infra}
spec:
  type: LoadBalancer
  selector: {app: ingress}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: https, port: 443, targetPort: 8443}
  - {name: spare, port: 9443, targetPort: 9443}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress, namespace: infra}
spec:
  selector: {matchLabels: {app: ingress}}
  template:
    metadata: {labels: {app: ingress, istio: ingress}}
    spec: {containers: [{name: istio-proxy, image: istio/proxyv2, args: [proxy, router]}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec:
  selector: {istio: ingress}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*.example.com"]
  - port: {number: 443, name: tls, protocol: TLS}
    tls: {mode: PASSTHROUGH}
    hosts: ["*.example.com"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.example.com]
  gateways: [web]
  tls:
  - match: [{sniHosts: [cart.example.com]}]
    route: [{destination: {host: cart, port: {number: 443}}}]
  http:
  - match: [{uri: {exact: /old}}]
    redirect: {uri: /new}
  - match: [{uri: {exact: /tea}}]
    directResponse: {status: 418}
  - match: [{uri: {prefix: /split}}]
    route:
    - {destination: {host: cart, port: {number: 80}}, weight: 75}
    - {destination: {host: other, port: {number: 80}}, weight: 25}
    - {destination: {host: never, port: {number: 80}}, weight: 0}
  - match: [{uri: {prefix: /out}}]
    route: [{destination: {host: api.partner.test, port: {number: 80}}}]
  - match: [{uri: {prefix: /gone}}]
    route: [{destination: {host: nobody, port: {number: 80}}}]
  - match: [{uri: {prefix: /lost}}]
    route: [{destination: {host: elsewhere.other.svc.cluster.local, port: {number: 80}}}]
  - match: [{uri: {prefix: /v1/}}]
    rewrite: {uri: /}
    headers:
      request: {set: {x-team: cart}}
      response: {set: {x-a: "1"}, add: {x-b: "2"}, remove: [server]}
    corsPolicy: {allowOrigins: [{exact: "http://ui.example.com"}], allowMethods: [GET]}
    route: [{destination: {host: cart, port: {number: 80}, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec:
  host: cart
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: partner, namespace: shop}
spec:
  hosts: [api.partner.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  selector: {app: cart}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tls, port: 443, targetPort: 8443}]
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: cart.shop.svc.cluster.local, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: never, namespace: shop}
spec: {selector: {app: never}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: shop}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop, labels: {app: cart, version: v1}}
spec: {containers: [{name: app, image: cart, ports: [{containerPort: 8080}, {containerPort: 8443}]}]}
status: {podIP: 10.0.0.7, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec: {gatewayClassName: none, listeners: [{name: http, port: 80, protocol: HTTP, hostname: x.test}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: a.b, namespace: shop}
spec:
  selector: {istio: ingress}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [dotted.test]}]
"""
CART = "http://cart.example.com"
VIA = ("--via", "svc/ingress.infra")
SCHEMA = json.loads((Path(__file__).parent.parent / "kgdiag/report/schema.json").read_text())


class Ran(NamedTuple):
    """One run: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        found = json.loads(self.out)
        jsonschema.Draft202012Validator(SCHEMA).validate(found)
        return found


class Tool:
    """kgdiag with the shop's files behind every command that reads."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.shop = self.file("shop.yaml", SHOP)

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def bare(self, *args: str) -> Ran:
        self._capsys.readouterr()
        return Ran(run(list(args)), *self._capsys.readouterr())

    def __call__(self, *args: str) -> Ran:
        return self.bare(*args, "-f", self.shop)

    def trace(self, *args: str) -> Any:
        return self("trace", *args, "-o", "json").document

    def outcome(self, *args: str) -> Any:
        (path,) = self.trace(*args)["paths"]
        return path["outcome"]

    def outcome_in(self, text: str, *args: str) -> Any:
        found = self.bare("trace", *args, "-o", "json", "-f", self.file("own.yaml", text))
        (path,) = found.document["paths"]
        return path["outcome"]


@pytest.fixture
def kg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Tool:
    return Tool(tmp_path, capsys)


# Command line

READING = ("explain svc/cart -n shop", f"trace {CART}/v1/x", "check -n shop")


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize(
    "options",
    [
        ["-n", "shop"], ["--namespace", "shop"], ["-A"], ["--all-namespaces"], ["--request-timeout", "30s"],
        ["-v"], ["-q"], ["--no-color"], ["--complete"], ["--output", "wide"], ["--fail-on", "never"],
    ],
)  # fmt: skip
def test_options_follow_every_command_that_reads(kg: Tool, command: str, options: list[str]) -> None:
    ran = kg(*command.split(), *options)
    assert ran.code in (0, 1), ran.err
    assert ran.out


@pytest.mark.parametrize(
    "command", [*(line.split()[0] for line in READING), "proxy", "snapshot save", "logs"]
)
def test_every_command_that_reads_lists_the_options(kg: Tool, command: str) -> None:
    words = kg.bare(*command.split(), "--help").out
    for option in (
        "--namespace", "--all-namespaces", "--context", "--kubeconfig", "--as ", "--as-group",
        "--request-timeout", "--filename", "--output", "--verbose", "--quiet", "--no-color",
    ):  # fmt: skip
        assert option in words, option


@pytest.mark.parametrize("option", ["--context", "--kubeconfig", "--as", "--as-group"])
def test_with_files_no_cluster_is_contacted(kg: Tool, option: str) -> None:
    ran = kg("check", option, "x")
    assert (ran.code, ran.out) == (2, "")
    assert option in ran.err


def test_filename_is_repeatable_and_minus_is_standard_input(
    kg: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, rest = SHOP.partition("---\n")
    folder = kg.folder / "parts"
    folder.mkdir()
    (folder / "first.yaml").write_text(first)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rest.encode())))
    ran = kg.bare("trace", f"{CART}/v1/x", *VIA, "-f", str(folder), "-f", "-", "-o", "json")
    assert ran.document["paths"][0]["outcome"]["result"] == "delivered"


@pytest.mark.parametrize("output", ["text", "wide", "json", "yaml", "markdown"])
@pytest.mark.parametrize("command", READING)
def test_results_on_standard_output_all_else_on_standard_error(kg: Tool, command: str, output: str) -> None:
    for more in ([], ["-v"]):
        ran = kg(*command.split(), "-o", output, *more)
        assert ran.out
        assert bool(ran.err) == bool(more)
    assert kg(*command.split(), "-o", output, "-v", "-q").err == ""


def test_nothing_but_errors_on_standard_error(kg: Tool) -> None:
    for args in (
        ["explain", "svc/none"],
        ["trace", "x"],
        ["check", "--only", "KG000"],
        ["explain"],
        ["nothing"],
    ):
        ran = kg(*args)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err


@pytest.mark.parametrize(
    ("environment", "args", "colour"),
    [
        ({}, [], True),
        ({"NO_COLOR": "1"}, [], False),
        ({"TERM": "dumb"}, [], False),
        ({}, ["--no-color"], False),
    ],
)
def test_colour_only_where_a_terminal_shows_it(
    kg: Tool, environment: dict[str, str], args: list[str], colour: bool
) -> None:
    ours, theirs = pty.openpty()
    clean = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    command = [
        sys.executable,
        "-m",
        "kgdiag",
        "explain",
        "svc/cart.shop",
        "-f",
        kg.shop,
        *args,
    ]
    process = subprocess.Popen(
        command, stdout=theirs, stdin=subprocess.DEVNULL, env={**clean, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 65536):
            seen += part
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert process.wait() in (0, 1)
    assert (b"\x1b[" in seen) == colour


# Names


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("svc/cart.shop", "Service", "shop/cart"),
        ("service/cart.shop", "Service", "shop/cart"),
        ("services/cart.shop", "Service", "shop/cart"),
        ("Service/cart.shop", "Service", "shop/cart"),
        ("po/cart-1.shop", "Pod", "shop/cart-1"),
        ("deploy/ingress.infra", "Deployment", "infra/ingress"),
        ("deployment.apps/ingress.infra", "Deployment", "infra/ingress"),
        ("vs/cart.shop", "VirtualService", "shop/cart"),
        ("virtualservices.networking.istio.io/cart.shop", "VirtualService", "shop/cart"),
        ("dr/cart.shop", "DestinationRule", "shop/cart"),
        ("gateway.networking.istio.io/web.shop", "Gateway", "shop/web"),
        ("gateway.gateway.networking.k8s.io/web.shop", "Gateway", "shop/web"),
        ("gateway/a.b.shop", "Gateway", "shop/a.b"),
    ],
)
@pytest.mark.parametrize("everywhere", [False, True])
def test_names(kg: Tool, name: str, kind: str, found: str, everywhere: bool) -> None:
    ran = kg("explain", name, "-o", "json", *(["-A"] if everywhere else []))
    assert ran.code in (0, 1), ran.err
    ref = ran.document["object"]
    assert (ref["kind"], f"{ref['namespace']}/{ref['name']}") == (kind, found)
    if "." in name.partition("/")[0]:
        assert ref["group"] == name.partition("/")[0].partition(".")[2]


def test_a_name_with_dots_in_the_namespace_that_was_asked_for(kg: Tool) -> None:
    assert kg("explain", "gateway/a.b", "-n", "shop", "-o", "json").document["object"]["name"] == "a.b"


def test_a_kind_that_two_groups_share_asks_back(kg: Tool) -> None:
    ran = kg("explain", "gateway/web.shop")
    assert ran.code == 2
    assert "gateway.networking.istio.io/web" in ran.err
    assert "gateway.gateway.networking.k8s.io/web" in ran.err


# Exit codes


@pytest.mark.parametrize("output", [item.value for item in Format])
def test_exit_codes_are_the_same_in_every_format(kg: Tool, output: str) -> None:
    for args, code in (
        (["trace", f"{CART}/v1/x", *VIA], 0),
        (["trace", f"{CART}/none", *VIA], 1),
        (["trace", f"{CART}/none", *VIA, "--fail-on", "never"], 1),
        (["trace", f"{CART}/lost", *VIA], 3),
        (["explain", "svc/cart.shop"], 0),
        (["explain", "svc/none.shop"], 2),
        (["check", "-A", "--fail-on", "never"], 0),
    ):
        ran = kg(*args, "-o", output)
        fits = (output not in ("mermaid", "sarif", "junit")) or {"mermaid": "trace"}.get(
            output, "check"
        ) == args[0]
        assert ran.code == (code if fits else 2), (args, ran.err)


def test_fail_on(kg: Tool) -> None:
    report = kg("check", "-A", "-o", "json").document
    worst = {level: number for level, number in report["summary"].items() if number}
    order = ["error", "warning", "info"]
    for level in FailOn:
        failing = [
            one for one in order[: order.index(level.value) + 1 if level != "never" else 0] if one in worst
        ]
        assert kg("check", "-A", "--fail-on", level.value).code == (1 if failing else 0)


# URLs, --sni, --from, --via


@pytest.mark.parametrize(
    ("args", "result"),
    [
        ([f"{CART}/v1/x"], "delivered"),
        (["https://cart.example.com/"], "delivered"),
        (["tls://cart.example.com"], "delivered"),
        (["grpcs://cart.example.com/a/b"], "delivered"),
        (["grpc://cart.example.com/v1/x"], "delivered"),
        (["tcp://cart.example.com:80"], "refused"),
        (["https://10.9.9.9/", "-H", "Host: cart.example.com"], "refused"),  # an address has no server name
        (["https://10.9.9.9/", "--sni", "cart.example.com"], "delivered"),
        (["https://cart.example.com/", "--sni", "none.example.com"], "refused"),
        (["http://10.9.9.9/v1/x", "-H", "Host: cart.example.com:80"], "delivered"),
        (["http://10.9.9.9/v1/x"], "refused"),
        (["http://cart.example.com/v1/x", "-H", "Host: no.example.com"], "refused"),
        ([f"{CART}/v1/x", "--client-cert", "none"], "delivered"),
        ([f"{CART}/v1/x", "--client-cert", "mesh"], "delivered"),
    ],
)
def test_the_url_gives_the_connection_and_host_the_authority(kg: Tool, args: list[str], result: str) -> None:
    assert kg.outcome(*args, *VIA)["result"] == result


def test_a_client_certificate_is_a_file_that_is_there(kg: Tool) -> None:
    assert kg("trace", f"{CART}/", "--client-cert", str(kg.folder / "none.pem")).code == 2
    assert kg("trace", f"{CART}/v1/x", *VIA, "--client-cert", kg.file("c.pem", "x")).code == 0


@pytest.mark.parametrize(
    ("args", "entry", "result"),
    [
        (["--via", "svc/ingress.infra"], "ingress", "delivered"),
        (["--via", "svc/ingress.infra:80"], "ingress", "delivered"),
        (["--via", "svc/ingress.infra:81"], "ingress", "refused"),
        (["--via", "svc/ingress:80", "-n", "infra"], "ingress", "delivered"),
        (["--via", "gateway.networking.istio.io/web.shop"], "web", "delivered"),
        (["--via", "gateway/a.b.shop"], "a.b", "delivered"),
        ([], "ingress", "delivered"),
        (["--from", "outside"], "ingress", "delivered"),
    ],
)
def test_entries(kg: Tool, args: list[str], entry: str, result: str) -> None:
    found = kg.trace(f"{CART}/v1/x", *args)["paths"]
    assert {(path["entry"]["name"], path["outcome"]["result"]) for path in found} == {(entry, result)}


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://cart/", "pod/cart-1.shop"),
        ("http://cart/", "ns/shop"),
        ("http://cart.shop/", "deploy/ingress.infra"),
        ("http://cart.shop.svc.cluster.local/", None),
        ("http://alias.shop/", None),
    ],
)
def test_places_inside(kg: Tool, url: str, origin: str | None) -> None:
    found = kg.trace(url, *(["--from", origin] if origin else []))
    assert found["request"]["from"] == (origin or "outside")
    (path,) = found["paths"]
    assert path["outcome"]["result"] == "delivered"
    assert path["outcome"]["backend"]["service"]["name"] == "cart"
    assert path["outcome"]["backend"]["port"] == 80


def test_a_pods_own_way_is_followed_whatever_the_host(kg: Tool) -> None:
    (path,) = kg.trace(f"{CART}/v1/x", "--from", "pod/cart-1.shop")["paths"]
    assert (path["entry"], path["outcome"]["result"]) == (_POD, "external")
    found = kg.trace(f"{CART}/v1/x", "--from", "pod/cart-1.shop", *VIA)
    assert [one["outcome"]["result"] for one in found["paths"]] == ["delivered"]


@pytest.mark.parametrize(
    "args",
    [
        ["cart.example.com"], ["ftp://x"], ["http://"], ["http://x:0/"], ["http://x:99999/"], ["tcp://x"],
        ["http://[::1/"], ["http://a b/"], ["http://x/", "-H", "nothing"], ["http://x/", "-X", "A B"],
        ["http://x/", "--sni", "x"], ["http://x/", "--from", "mars"], ["http://x/", "--from", "pod/none"],
        ["http://x/", "--via", "mars/x"], ["http://x/", "--via", "svc/none"],
        ["http://x/", "--via", "dump/none.json"], ["http://x/", "--via", "svc/ingress.infra:http"],
    ],
)  # fmt: skip
def test_wrong_usage_is_2(kg: Tool, args: list[str]) -> None:
    ran = kg("trace", *args)
    assert (ran.code, ran.out) == (2, ""), ran.out
    assert ran.err.startswith("kgdiag: ")


# Outcomes

_SET = {"set": {"x-a": "1"}, "add": {"x-b": "2"}, "remove": ["server"]}
_NONE: dict[str, Any] = {"set": {}, "add": {}, "remove": []}
_CART = {"group": "", "kind": "Service", "namespace": "shop", "name": "cart"}
_POD = {"group": "", "kind": "Pod", "namespace": "shop", "name": "cart-1"}
_ENTRY = {"group": "networking.istio.io", "kind": "ServiceEntry", "namespace": "shop", "name": "partner"}
_PREFLIGHT = [
    "-X",
    "OPTIONS",
    "-H",
    "Origin: http://ui.example.com",
    "-H",
    "Access-Control-Request-Method: GET",
]


@pytest.mark.parametrize(
    ("url", "args", "expected"),
    [
        (
            f"{CART}/v1/x",
            [],
            {
                "result": "delivered", "status": None, "flag": None, "location": None, "pods": [_POD],
                "backend": {"service": _CART, "port": 80, "subset": "v1"},
                "cluster": "outbound|80|v1|cart.shop.svc.cluster.local", "response_headers": _SET,
            },
        ),
        (
            f"{CART}/out",
            [],
            {
                "result": "external", "status": None, "flag": None, "pods": [],
                "backend": {"service": _ENTRY, "port": 80, "subset": None},
                "cluster": "outbound|80||api.partner.test",
            },
        ),
        (
            f"{CART}/old",
            [],
            {
                "result": "refused", "status": 301, "flag": None, "location": "http://cart.example.com/new",
                "backend": None, "cluster": None, "pods": [], "response_headers": _NONE,
            },
        ),
        (f"{CART}/tea", [], {"result": "refused", "status": 418, "flag": None, "location": None}),
        (f"{CART}/none", [], {"result": "refused", "status": 404, "flag": "NR", "cluster": None, "pods": []}),
        (
            f"{CART}/gone",
            [],
            {
                "result": "refused", "status": 503, "flag": "UH", "pods": [],
                "cluster": "outbound|80||nobody.shop.svc.cluster.local",
            },
        ),
        (f"{CART}/v1/x", _PREFLIGHT, {"result": "refused", "status": 200, "flag": None, "pods": []}),
        ("grpc://cart.example.com/a/b", [], {"result": "refused", "status": 200, "grpc_status": 12}),
        ("tcp://cart.example.com:80", [], {"result": "refused", "flag": None, "status": None}),
        ("http://cart.example.com:443/", [], {"result": "refused", "flag": None, "status": None}),
        ("https://cart.example.com:9443/", [], {"result": "refused", "flag": None, "status": None}),
        ("https://no.example.com/", [], {"result": "refused", "status": None}),
        (f"{CART}/lost", [], {"result": "unknown", "status": None, "flag": None, "pods": []}),
    ],
)  # fmt: skip
def test_outcomes(kg: Tool, url: str, args: list[str], expected: dict[str, Any]) -> None:
    found = kg.outcome(url, *args, *VIA)
    assert {key: found.get(key) for key in expected} == expected
    assert ("grpc_status" in found) == ("grpc_status" in expected)
    assert found["reason"]


def test_a_pod_reached_by_its_own_address_has_no_backend(kg: Tool) -> None:
    found = kg.outcome("http://10.0.0.7:8080/", "--from", "ns/shop")
    assert (found["result"], found["backend"], found["pods"]) == ("delivered", None, [_POD])


def test_weights_add_up_and_a_backend_of_weight_0_is_no_path(kg: Tool) -> None:
    paths = kg.trace(f"{CART}/split", *VIA)["paths"]
    assert {path["outcome"]["backend"]["service"]["name"]: path["weight"] for path in paths} == {
        "cart": 0.75,
        "other": 0.25,
    }


@pytest.mark.parametrize(
    ("args", "request_", "last"),
    [
        (
            [f"{CART}/v1/x?q=1"],
            {"method": "GET", "url": f"{CART}/v1/x?q=1", "headers": {}, "from": "outside"},
            {"method": "GET", "host": "cart.example.com", "path": "/x?q=1", "headers": {"x-team": ["cart"]}},
        ),
        (
            ["http://cart.example.com:80/v1/", "-X", "put", "-H", "A: 1", "-H", "a: 2", "-H", "X-Team: me"],
            {
                "method": "PUT", "url": "http://cart.example.com:80/v1/", "from": "outside",
                "headers": {"a": "1,2", "x-team": "me"},
            },
            {
                "method": "PUT", "host": "cart.example.com", "path": "/",
                "headers": {"a": ["1", "2"], "x-team": ["cart"]},
            },
        ),
        (
            ["http://10.9.9.9/v1/x", "-H", "Host: cart.example.com"],
            {
                "method": "GET", "url": "http://10.9.9.9/v1/x", "headers": {"host": "cart.example.com"},
                "from": "outside",
            },
            {"method": "GET", "host": "cart.example.com", "path": "/x", "headers": {"x-team": ["cart"]}},
        ),
    ],
)  # fmt: skip
def test_the_request_as_it_was_asked_and_as_the_backend_sees_it(
    kg: Tool, args: list[str], request_: dict[str, Any], last: dict[str, Any]
) -> None:
    found = kg.trace(*args, *VIA)
    assert found["request"] == request_
    assert found["paths"][0]["hops"][-1]["request"] == last


# Files instead of a cluster

_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: a}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
_SLICE = """\
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: a, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.1.1.1], conditions: {ready: true}, targetRef: {kind: Pod, name: sliced, namespace: a}}
"""
_PODS = """\
---
apiVersion: v1
kind: Pod
metadata: {name: loose, namespace: a, labels: {app: web}}
spec: {containers: [{name: app, image: web}]}
"""
_TEMPLATE = """\
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: made, namespace: a}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: web}]}}
"""


@pytest.mark.parametrize(
    ("text", "pod"),
    [
        (_SERVICE + _SLICE + _TEMPLATE, "sliced"),
        (_SERVICE + _PODS, "loose"),  # without status: it says nothing
        (_SERVICE + _TEMPLATE, "made"),
    ],
)
def test_endpoints_from_slices_else_pods_else_templates(kg: Tool, text: str, pod: str) -> None:
    found = kg.outcome_in(text, "http://web.a/")
    assert (found["result"], [one["name"] for one in found["pods"]]) == ("delivered", [pod])


def test_what_is_assumed_is_marked(kg: Tool) -> None:
    assert "assumed" in kg.bare("explain", "svc/web.a", "-f", kg.file("own.yaml", _SERVICE + _TEMPLATE)).out


_ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: a}
spec:
  hosts: [x.test]
  gateways: [gone/away]
  http: [{route: [{destination: {host: web.b.svc.cluster.local}}]}]
"""


def test_what_leaves_the_files_is_not_in_them_and_missing_with_complete(kg: Tool) -> None:
    file = kg.file("own.yaml", _ROUTE)
    loose = kg.bare("check", "-A", "-f", file, "-o", "json")
    assert loose.code == 0
    assert {item["severity"] for item in loose.document["findings"]} <= {"info"}
    relations = kg.bare("explain", "vs/v.a", "-f", file, "-o", "json").document["relations"]
    assert "not in these files" in {item["state"] for item in relations}
    whole = kg.bare("check", "-A", "-f", file, "--complete", "-o", "json")
    assert whole.code == 1
    assert "error" in {item["severity"] for item in whole.document["findings"]}


_INGRESS = """\
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio}
spec: {controllerName: istio.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: a}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: NAMESPACE}
spec:
  parentRefs: [{name: g, namespace: a}]
  rules:
  - filters: [{type: RequestRedirect, requestRedirect: {hostname: other.test}}]
    matches: [{headers: [{name: x, value: here}]}]
  - backendRefs: [{name: web, namespace: a, port: 80}]
"""


@pytest.mark.parametrize(
    ("namespace", "args", "expected"),
    [
        ("a", [], ("delivered", None)),  # path prefix /, weight 1
        ("a", ["-H", "x: here"], ("refused", 302)),  # a redirect is a 302
        ("b", [], ("refused", 404)),  # allowedRoutes.namespaces.from is Same
    ],
)
def test_defaults_of_the_api(
    kg: Tool, namespace: str, args: list[str], expected: tuple[str, int | None]
) -> None:
    text = _SERVICE + _PODS + _INGRESS.replace("NAMESPACE", namespace)
    found = kg.outcome_in(text, "http://any.test/deep/path", "--via", "gateway/g.a", *args)
    assert (found["result"], found["status"]) == expected


# JSON


def test_the_frame_of_every_document(kg: Tool) -> None:
    for args, kind in (
        (["explain", "svc/cart.shop"], "Explanation"),
        (["trace", f"{CART}/v1/x"], "Trace"),
        (["check", "-A"], "Report"),
    ):
        found = kg(*args, "-o", "json").document
        assert list(found)[:3] == ["apiVersion", "kind", "incomplete"]
        assert (found["apiVersion"], found["kind"], found["incomplete"]) == ("kgdiag.dev/v1", kind, [])
    assert json.loads(kg.bare("rules", "-o", "json").out)["kind"] == "Rules"
    assert json.loads(kg.bare("rules", "KG101", "-o", "json").out)["id"] == "KG101"


def test_a_finding_has_every_field_and_its_place(kg: Tool) -> None:
    found = kg("check", "-A", "--complete", "-o", "json").document
    (finding,) = [item for item in found["findings"] if item["object"]["name"] == "nobody"]
    assert {
        "rule", "name", "severity", "object", "message", "evidence", "fix", "verify", "equivalents", "docs",
    } <= set(finding)  # fmt: skip
    line = SHOP[: SHOP.index("app: nobody")].count("\n") + 1
    assert f"{kg.shop}:{line}" in {item["file"] for item in finding["evidence"]}
    assert all(item["command"] and item["expect"] for item in finding["verify"])
    assert sum(found["summary"].values()) == len(found["findings"])


def test_hops_say_what_decided_and_why_others_lost(kg: Tool) -> None:
    (path,) = kg.trace(f"{CART}/v1/x", *VIA)["paths"]
    assert path["entry"]["name"] == "ingress"
    actions = [hop["action"] for hop in path["hops"]]
    assert actions[0] == "selects"
    assert {"accepts", "matches", "rewrites", "forwards"} <= set(actions)
    matched = next(
        hop for hop in path["hops"] if hop["action"] == "matches" and hop["object"]["name"] == "cart"
    )
    assert {hop["truth"] for hop in path["hops"]} == {"intent"}
    assert any(one["rule"].startswith("spec.http[") and one["reason"] for one in matched["rejected"])


# What the contract does not say, and people rely on


def test_a_bug_is_no_finding(kg: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        encoding = "utf-8"

        def write(self, text: str) -> int:
            raise ValueError("no disk")

    monkeypatch.setattr(sys, "stdout", Broken())
    assert run(["explain", "svc/cart.shop", "-f", kg.shop]) == 3


@pytest.mark.parametrize("args", [["explain", "svc/a"], ["trace", "http://a/"], ["check"]])
def test_empty_input_is_not_a_sound_cluster(kg: Tool, args: list[str]) -> None:
    ran = kg.bare(*args, "-f", kg.file("empty.yaml", "# the command before the pipe failed\n"))
    assert (ran.code, ran.out) == (2, "")
    assert kg.bare("check", "-f", kg.file("none.yaml", "apiVersion: v1\nkind: List\nitems: []\n")).code == 0


def test_what_of_the_files_is_not_read_is_said(kg: Tool) -> None:
    folder = kg.folder / "mixed"
    folder.mkdir()
    (folder / "shop.yaml").write_text(SHOP)
    (folder / "values.yaml").write_text("replicas: 3\n")
    ran = kg.bare("explain", "svc/cart.shop", "-f", str(folder))
    assert ran.code == 0
    assert f"{folder / 'values.yaml'}:1: " in ran.err
    assert kg.bare("explain", "svc/cart.shop", "-f", str(folder), "-q").err == ""


def test_a_kind_without_namespaces_has_all_of_the_name(kg: Tool) -> None:
    text = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n"
    file = kg.file("node.yaml", f"{text}---\n{text.replace('n1', 'n1.example.com')}")
    assert kg.bare("explain", "node/n1.example.com", "-f", file, "-o", "json").document["object"]["name"] == (
        "n1.example.com"
    )
    assert kg.bare("explain", "node/n1.elsewhere", "-f", file).code == 2


def test_a_document_of_an_unknown_kind_is_explained(kg: Tool) -> None:
    file = kg.file("odd.yaml", "apiVersion: networkin.istio.io/v1\nkind: Gateway\nmetadata: {name: x}\n")
    found = kg.bare("explain", "gateway/x", "-f", file, "-o", "json")
    assert found.code == 1
    assert [item["rule"] for item in found.document["findings"]] == ["KG001"]


@pytest.mark.parametrize("output", [item.value for item in Format])
def test_rules_in_formats(kg: Tool, output: str) -> None:
    for args in (["rules"], ["rules", "KG101"]):
        ran = kg.bare(*args, "-o", output)
        assert (ran.code == 0) == (output in ("text", "wide", "json", "yaml", "markdown"))
        assert bool(ran.out) == (ran.code == 0)
        if output == "json":
            assert ran.document["kind"] in ("Rule", "Rules")


COMMANDS = ("", "explain", "trace", "check", "proxy", "logs", "explain-log", "rules", "snapshot save")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(kg: Tool, command: str) -> None:
    assert "Example" in kg.bare(*command.split(), "--help").out
