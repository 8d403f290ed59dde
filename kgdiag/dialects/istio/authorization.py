"""The rules of AuthorizationPolicies, as conditions on one request with three answers: yes, no, unknown.

Sources: istio pilot/pkg/security/authz/model/{model,generator,permission,principal}.go,
authz/matcher/{header,string,template}.go, pilot/pkg/security/trustdomain/trust-domain.go; envoy
source/extensions/path/uri_template_lib for path templates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from kgdiag.dialects.istio.jwt import Locations
from kgdiag.dialects.istio.mesh import Mesh
from kgdiag.model.obj import Obj
from kgdiag.model.proxy import FilterRequest

Tri = bool | None
_DEFAULT_DOMAIN = "cluster.local"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a policy is enforced: what a rule may need to know that is not in the request."""

    mesh: Mesh
    address: str | None = None
    tokens: tuple[Locations, ...] = ()
    port: int | None = None
    sidecar: bool = True


class LeftOutError(Exception):
    """A condition that cannot be made here (HTTP on TCP, a bad value): ALLOW drops the rule, DENY the
    condition."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One field of a rule. ``fact`` says what the request has instead, ``lack`` what nobody can know."""

    part: str
    shown: str
    test: Callable[[FilterRequest], Tri]
    fact: Callable[[FilterRequest], str]
    lack: str = ""

    def told(self, request: FilterRequest) -> str:
        return f"{self.part} {self.shown} ({self.fact(request)})"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A rule's answer with its words, and how many conditions kept it from holding."""

    holds: Tri
    text: str
    misses: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy: some ``to`` and some ``from`` must hold, each a conjunction."""

    policy: Obj
    index: int
    to: tuple[tuple[Condition, ...], ...]
    source: tuple[tuple[Condition, ...], ...]

    @property
    def part(self) -> str:
        return f"spec.rules[{self.index}]"

    @property
    def title(self) -> str:
        return f"{self.policy.ref} rule {self.index}"

    def judge(self, request: FilterRequest) -> Outcome:
        sides = [_any(side, request) for side in (self.to, self.source)]
        misses = sum(side.misses for side in sides)
        for wanted in (False, None):
            for side in sides:
                if side.holds is wanted:
                    return Outcome(wanted, side.text, misses)
        words = [side.text for side in sides if side.text]
        return Outcome(True, " and ".join(words) or "it matches everything")


def _any(side: Sequence[Sequence[Condition]], request: FilterRequest) -> Outcome:
    """The best answer among alternatives, the fewest misses among those that fail."""
    best: Outcome | None = None
    for alternative in side:
        found = _all(alternative, request)
        if found.holds:
            return found
        if best is None or _rank(found) < _rank(best):
            best = found
    return best or Outcome(True, "")


def _rank(outcome: Outcome) -> tuple[bool, int]:
    return (outcome.holds is False, outcome.misses)


def _all(alternative: Sequence[Condition], request: FilterRequest) -> Outcome:
    answers = [(one, one.test(request)) for one in alternative]
    failed = [one for one, answer in answers if answer is False]
    if failed:
        return Outcome(False, " and ".join(one.told(request) for one in failed), len(failed))
    doubtful = [one for one, answer in answers if answer is None]
    if doubtful:
        words = [f"{one.part} {one.shown} holds ({one.lack or one.fact(request)})" for one in doubtful]
        return Outcome(None, " and ".join(words), len(doubtful))
    return Outcome(True, " and ".join(one.told(request) for one, _ in answers))


# -- lowering ------------------------------------------------------------------------------------------


def rules(place: Place, policies: Iterable[Obj], http: bool, *, allow: bool) -> Iterator[Rule]:
    """The rules that istiod makes of policies for one kind of filter chain."""
    for policy in policies:
        for index, raw in enumerate(policy.items("spec.rules")):
            if not isinstance(raw, Mapping):
                continue  # istiod leaves out a rule that is null
            rule = _rule(place, policy, index, raw, http, allow)
            if rule is not None:
                yield rule


def _rule(
    place: Place, policy: Obj, index: int, raw: Mapping[str, Any], http: bool, allow: bool
) -> Rule | None:
    """None where the rule is skipped: an unknown ``when`` key, or (ALLOW) a condition that TCP lacks."""
    part = f"rules[{index}]"
    maker = _Maker(place, policy, http, allow)
    try:
        when = list(maker.when(part, _maps(raw.get("when"))))
        to = [
            (*maker.operation(f"{part}.to[{at}].operation", _mapping(one.get("operation"))),
             *(condition for side, condition in when if side == "to"))
            for at, one in enumerate(_maps(raw.get("to")) or [{}])
        ]  # fmt: skip
        source = [
            (*maker.source(f"{part}.from[{at}].source", _mapping(one.get("source"))),
             *(condition for side, condition in when if side == "from"))
            for at, one in enumerate(_maps(raw.get("from")) or [{}])
        ]  # fmt: skip
    except LeftOutError:
        return None
    return Rule(policy, index, tuple(to), tuple(source))


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


Matcher = Callable[[FilterRequest], Tri]
Fact = Callable[[FilterRequest], str]


@dataclass(frozen=True, slots=True)
class _Attribute:
    """How one attribute is compared: ``matcher`` makes a test of one value, or raises LeftOutError."""

    matcher: Callable[[str], Matcher]
    fact: Fact
    http: bool = False
    lack: str = ""


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes conditions for one rule, leaving out or refusing what the filter chain cannot have."""

    place: Place
    policy: Obj
    http: bool
    allow: bool

    def operation(self, part: str, raw: Mapping[str, Any]) -> Iterator[Condition]:
        for name, attribute in self._operations().items():
            yield from self._field(part, raw, name, attribute)

    def source(self, part: str, raw: Mapping[str, Any]) -> Iterator[Condition]:
        for name, attribute in self._sources().items():
            yield from self._field(part, raw, name, attribute)

    def when(self, part: str, entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Condition]]:
        for at, raw in enumerate(entries):
            key = str(raw.get("key") or "")
            side, attribute = self._attribute(key)
            prefix = f"{part}.when[{at}] {key}"
            for name, negated in (("values", False), ("notValues", True)):
                values = _strings(raw.get(name))
                condition = self._condition(f"{prefix} {name}", values, attribute, negated)
                if condition is not None:
                    yield side, condition

    def _field(
        self, part: str, raw: Mapping[str, Any], name: str, attribute: _Attribute
    ) -> Iterator[Condition]:
        negative = f"not{name[0].upper()}{name[1:]}"
        for field, negated in ((name, False), (negative, True)):
            values = _strings(raw.get(field))
            condition = self._condition(f"{part}.{field}", values, attribute, negated)
            if condition is not None:
                yield condition

    def _condition(
        self, part: str, values: Sequence[str], attribute: _Attribute, negated: bool
    ) -> Condition | None:
        if not values:
            return None
        tests = []
        for value in values:
            try:
                if attribute.http and not self.http:
                    raise LeftOutError
                tests.append(attribute.matcher(value))
            except LeftOutError:
                if self.allow:
                    raise
        if not tests:
            return None
        shown = "[" + ", ".join(values) + "]"
        return Condition(part, shown, _either(tests, negated), attribute.fact, attribute.lack)

    # -- the attributes ------------------------------------------------------------------------------

    def _operations(self) -> dict[str, _Attribute]:
        return {
            "hosts": _Attribute(_host, lambda request: f"host is {request.authority}", http=True),
            "ports": _Attribute(self._port, lambda request: f"port is {self._local_port(request)}"),
            "methods": _Attribute(_method, lambda request: f"method is {request.method}", http=True),
            "paths": _Attribute(_path, lambda request: f"path is {request.path}", http=True),
        }

    def _sources(self) -> dict[str, _Attribute]:
        return {
            "principals": _Attribute(self._principal, _who),
            "serviceAccounts": _Attribute(self._service_account, _who),
            "namespaces": _Attribute(_namespace, _who),
            "trustDomains": _Attribute(_trust_domain, _who),
            "ipBlocks": _Attribute(_direct_address, _address_fact),
            "remoteIpBlocks": _Attribute(self._remote_address, _address_fact),
            "requestPrincipals": self._token("request principal"),
        }

    def _attribute(self, key: str) -> tuple[str, _Attribute]:
        """The attribute of a ``when`` key, and whether it belongs to ``to`` or ``from``."""
        sources, operations = self._sources(), self._operations()
        simple = {
            "source.ip": ("from", sources["ipBlocks"]),
            "remote.ip": ("from", sources["remoteIpBlocks"]),
            "source.namespace": ("from", sources["namespaces"]),
            "source.serviceAccount": ("from", sources["serviceAccounts"]),
            "source.trustDomain": ("from", sources["trustDomains"]),
            "source.principal": ("from", sources["principals"]),
            "request.auth.principal": ("from", sources["requestPrincipals"]),
            "request.auth.audiences": ("from", self._token("audience")),
            "request.auth.presenter": ("from", self._token("presenter")),
            "destination.ip": ("to", _Attribute(self._own_address, self._own_address_fact)),
            "destination.port": ("to", operations["ports"]),
            "connection.sni": ("to", _Attribute(_sni, lambda request: f"SNI is {request.sni or 'empty'}")),
        }
        if key in simple:
            return simple[key]
        if key.startswith("request.headers"):
            return "from", _header(key.removeprefix("request.headers"))
        if key.startswith("request.auth.claims"):
            return "from", self._token(f"claim {key.removeprefix('request.auth.claims')}")
        if key.startswith("experimental.envoy.filters."):
            return "to", _Attribute(
                lambda _: lambda _: None, lambda _: "", lack="Envoy's metadata is not known"
            )
        # an attribute that istiod does not know: it leaves out the whole rule, of DENY policies too
        raise LeftOutError

    def _local_port(self, request: FilterRequest) -> int:
        return request.local_port or self.place.port or 0

    def _port(self, value: str) -> Matcher:
        if not value.isdigit() or int(value) > 65535:
            raise LeftOutError
        return lambda request: self._local_port(request) == int(value)

    def _own_address(self, value: str) -> Matcher:
        test = _in_range(value)
        return lambda _: None if self.place.address is None else test(self.place.address)

    def _own_address_fact(self, _request: FilterRequest) -> str:
        return f"the pod's address is {self.place.address or 'not known'}"

    def _principal(self, value: str) -> Matcher:
        tests = [_text_test(one, "spiffe://") for one in self._trusted(value)]
        return _peer_test(lambda name: any(test(name) for test in tests))

    def _trusted(self, value: str) -> list[str]:
        """A principal in each of the mesh's trust domains, where its own is one of them."""
        raw = self.place.mesh.raw.get("trustDomainAliases")
        aliases = [str(item) for item in raw] if isinstance(raw, list) else []
        domains = list(dict.fromkeys([self.place.mesh.trust_domain, *aliases]))
        domain, slash, rest = value.partition("/")
        if not slash or domain not in (*domains, _DEFAULT_DOMAIN):
            return [value]
        return [f"{one}/{rest}" for one in domains]

    def _service_account(self, value: str) -> Matcher:
        namespace, slash, account = value.partition("/")
        if not slash:
            namespace, account = self.policy.namespace, value
        pattern = re.compile(
            f"spiffe://.+/ns/{re.escape(namespace)}/(.+/|)sa/{re.escape(account)}(/.+)?", re.DOTALL
        )
        return _peer_test(lambda name: pattern.fullmatch(name) is not None)

    def _remote_address(self, value: str) -> Matcher:
        """The client before all proxies: on gateways the peer, on sidecars the end of X-Forwarded-For."""
        test = _in_range(value)

        def judge(request: FilterRequest) -> Tri:
            forwarded = [text for key, text in request.headers if key == "x-forwarded-for"]
            if self.place.sidecar and forwarded:
                last = forwarded[-1].rpartition(",")[2].strip()
                return test(last)
            if self.place.sidecar and request.peer.principal is not None:
                return None
            return None if request.peer.address is None else test(request.peer.address)

        return judge

    def _token(self, what: str) -> _Attribute:
        """What only a verified token says: no token has none, of any other nobody knows."""

        def matcher(_value: str) -> Matcher:
            return lambda request: None if self._carries(request) else False

        def fact(request: FilterRequest) -> str:
            if not self.place.tokens:
                return f"no RequestAuthentication verifies tokens here, so there is no {what}"
            return "a token is sent" if self._carries(request) else f"no token, so no {what}"

        return _Attribute(matcher, fact, http=True, lack="the token cannot be verified here")

    def _carries(self, request: FilterRequest) -> bool:
        return any(place.tokens(request) for place in self.place.tokens)


def _strings(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _either(tests: Sequence[Matcher], negated: bool) -> Matcher:
    def judge(request: FilterRequest) -> Tri:
        answers = [test(request) for test in tests]
        found: Tri = True if True in answers else None if None in answers else False
        return found if found is None or not negated else not found

    return judge


# -- comparing values ----------------------------------------------------------------------------------


def _text_test(value: str, before: str = "") -> Callable[[str], bool]:
    """Istio's string forms: ``*`` any, ``*end``, ``start*``, or the very value."""
    if value == "*":
        return lambda text: bool(text)
    if value.startswith("*"):
        return lambda text: text.startswith(before) and text[len(before) :].endswith(value[1:])
    if value.endswith("*"):
        return lambda text: text.startswith(before + value[:-1])
    return lambda text: text == before + value


def _host(value: str) -> Matcher:
    test = _text_test(value.lower())
    return lambda request: test(request.authority.lower())


def _method(value: str) -> Matcher:
    test = _text_test(value)
    return lambda request: test(request.method)


def _path(value: str) -> Matcher:
    """A path without its query; ``{*}`` is one segment and ``{**}`` any number of them."""
    if "{*}" in value or "{**}" in value:
        pattern = re.compile(_template(value), re.DOTALL)
        return lambda request: pattern.fullmatch(request.path) is not None
    test = _text_test(value)
    return lambda request: test(request.path)


def _template(value: str) -> str:
    parts = re.split(r"(\{\*\*\}|\{\*\}|\*\*|\*)", value)
    some = {"{**}": "[^?#]*", "**": "[^?#]*", "{*}": "[^/?#]+", "*": "[^/?#]+"}
    return "".join(some.get(part, re.escape(part)) for part in parts)


def _sni(value: str) -> Matcher:
    test = _text_test(value)
    return lambda request: test(request.sni or "")


def _header(suffix: str) -> _Attribute:
    name = suffix[1:-1].lower() if suffix.startswith("[") and suffix.endswith("]") else ""

    def matcher(value: str) -> Matcher:
        if not name:
            raise LeftOutError
        test = _text_test(value)

        def judge(request: FilterRequest) -> Tri:
            return any(value == "*" or test(text) for text in _header_values(request, name))

        return judge

    def fact(request: FilterRequest) -> str:
        values = _header_values(request, name)
        return f"header {name} is {','.join(values)}" if values else f"no header {name}"

    return _Attribute(matcher, fact, http=True)


def _header_values(request: FilterRequest, name: str) -> list[str]:
    """The values of a header. One that is sent several times matches where one of its values does (measured
    on Istio 1.31)."""
    pseudo = {":authority": request.authority, "host": request.authority, ":method": request.method}
    if name in pseudo:
        return [pseudo[name]]
    if name == ":path":
        return [f"{request.path}?{request.query}" if request.query else request.path]
    return [value for key, value in request.headers if key == name]


def _peer_test(test: Callable[[str], bool]) -> Matcher:
    """A test of the peer's SPIFFE name: without mTLS there is none, and no positive value holds."""

    def judge(request: FilterRequest) -> Tri:
        peer = request.peer
        if peer.principal is None:
            return False if peer.principal_known else None
        return test(f"spiffe://{peer.principal}")

    return judge


def _namespace(value: str) -> Matcher:
    inner = ".*".join(re.escape(part) for part in value.split("*"))
    pattern = re.compile(f".*/ns/{inner}/.*", re.DOTALL)
    return _peer_test(lambda name: pattern.fullmatch(name) is not None)


def _trust_domain(value: str) -> Matcher:
    if value == "*":
        return _peer_test(lambda name: name.startswith("spiffe://"))
    if "*" not in value:
        return _peer_test(lambda name: name.startswith(f"spiffe://{value}/"))
    start, _, end = value.partition("*")
    pattern = re.compile(f"spiffe://{re.escape(start)}[^/]*{re.escape(end)}/.*", re.DOTALL)
    return _peer_test(lambda name: pattern.fullmatch(name) is not None)


def _in_range(value: str) -> Callable[[str], Tri]:
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise LeftOutError from None

    def judge(text: str) -> Tri:
        try:
            address = ip_address(text)
        except ValueError:
            return None
        return address.version == network.version and address in network

    return judge


def _direct_address(value: str) -> Matcher:
    test = _in_range(value)
    return lambda request: None if request.peer.address is None else test(request.peer.address)


def _who(request: FilterRequest) -> str:
    peer = request.peer
    if peer.principal is not None:
        return f"the peer is {peer.principal}"
    return "the connection is not mTLS, so the peer has no name" if peer.principal_known else "peer not known"


def _address_fact(request: FilterRequest) -> str:
    return f"the peer's address is {request.peer.address or 'not known'}"
