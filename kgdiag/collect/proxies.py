"""What an Envoy's admin interface says, read through the API server, without anything secret in it.

Only GETs of ``PATHS`` are ever sent. The way is a port-forward to the admin port of the pod; where that is
forbidden or fails, and the pod has Istio's agent, ``pilot-agent request GET PATH`` by exec. Both need a right
of their own (``pods/portforward``, ``pods/exec``), which is why nobody does it without being asked to.
"""

from __future__ import annotations

import base64
import binascii
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from kgdiag.collect import forward
from kgdiag.collect.connection import Connection
from kgdiag.collect.http import Broken, Deadline, GetFailed, TimedOut
from kgdiag.collect.secrets import certificate_facts
from kgdiag.model.kinds import POD
from kgdiag.model.obj import Obj
from kgdiag.model.proxies import PROXY_DUMP, SYNC_STATUS, Admin, admin_of
from kgdiag.model.read import Need, Read, Status

_STATS = r"update_rejected|connected_state|update_failure"
PATHS = {
    "config_dump": "/config_dump?include_eds",
    "clusters": "/clusters?format=json",
    "certs": "/certs",
    "server_info": "/server_info",
    "stats": f"/stats?format=json&usedonly&filter={_STATS.replace('|', '%7C')}",
}
"""The parts of a dump and the admin path of each. All of them only read."""
ISTIOD_PATHS = {"syncz": "/debug/syncz"}
ISTIOD_PORT = 15014
LIMIT = 256 << 20
"""Bytes of one answer; a mesh of 5,000 services has config dumps of some 50 MB."""

_SENSITIVE = (
    "private_key",
    "password",
    "session_ticket_keys",
    "generic_secret",
    "hmac_secret",
    "token_secret",
    "client_secret",
    "pkcs12",
)
_REDACTED = "[redacted]"


class Proxies:
    """Reads ``ProxyDump`` needs, one by namespace and pod name. ``pod`` reads the pod itself."""

    def __init__(self, connection: Connection, pod: Callable[[Need], Read]) -> None:
        self._connection = connection
        self._pod = pod

    def read(self, need: Need, deadline: Deadline) -> Read:
        """The dump of one pod's proxy; never raises. A pod without a known proxy is an ok read of nothing."""
        if need.namespace is None or need.name is None:
            return Read(need, Status.FAILED, message="proxies are asked one at a time, by namespace and pod")
        found = self._pod(Need(POD, need.namespace, need.name))
        if found.status is not Status.OK or not found.objects:
            return Read(need, found.status, message=found.message)
        if need.kind == SYNC_STATUS:
            return self._sync(need, deadline)
        admin = admin_of(found.objects[0])
        if admin is None:
            return Read(need, Status.OK, message="no Envoy is known to run in it")
        refused: list[tuple[str, GetFailed]] = []
        for how, ask in self._ways(need, admin, deadline):
            try:
                parts, unread = ask(PATHS)
                return Read(need, Status.OK, (_dump(need, how, parts, unread),))
            except TimedOut as error:
                return Read(need, Status.FAILED, message=f"{how}: {error}")
            except GetFailed as error:
                refused.append((how, error))
        words = "; ".join(f"{how}: {error}" for how, error in refused)
        forbidden = all(isinstance(error, forward.Forbidden) for _, error in refused)
        return Read(need, Status.FORBIDDEN if forbidden else Status.FAILED, message=words)

    def _sync(self, need: Need, deadline: Deadline) -> Read:
        how = f"port-forward to port {ISTIOD_PORT}"
        try:
            parts, unread = self._forwarded(need, ISTIOD_PORT, deadline)(ISTIOD_PATHS)
        except forward.Forbidden as error:
            return Read(need, Status.FORBIDDEN, message=f"{how}: {error}")
        except GetFailed as error:
            return Read(need, Status.FAILED, message=f"{how}: {error}")
        return Read(need, Status.OK, (_object(need, how, parts, unread),))

    def _ways(self, need: Need, admin: Admin, deadline: Deadline) -> list[tuple[str, _Ask]]:
        ways = [(f"port-forward to port {admin.port}", self._forwarded(need, admin.port, deadline))]
        if admin.agent:
            ways.append(
                (f"exec of pilot-agent in {admin.agent}", self._executed(need, admin.agent, deadline))
            )
        return ways

    def _forwarded(self, need: Need, port: int, deadline: Deadline) -> _Ask:
        def ask(paths: Mapping[str, str]) -> _Parts:
            where = need.namespace or "", need.name or ""
            with forward.PortForward(self._connection, *where, port, deadline) as stream:
                return _all(paths, lambda path: stream.get(path, LIMIT))

        return ask

    def _executed(self, need: Need, container: str, deadline: Deadline) -> _Ask:
        def get(path: str) -> bytes:
            return forward.execute(
                self._connection,
                need.namespace or "",
                need.name or "",
                container,
                ["pilot-agent", "request", "GET", path.removeprefix("/")],
                limit=LIMIT,
                deadline=deadline,
            )

        return lambda paths: _all(paths, get)


_Parts = tuple[dict[str, Any], dict[str, str]]
_Ask = Callable[[Mapping[str, str]], _Parts]


def _all(paths: Mapping[str, str], get: Callable[[str], bytes]) -> _Parts:
    """Every part that comes, and why others do not; raises where the first does not."""
    parts: dict[str, Any] = {}
    unread: dict[str, str] = {}
    for name, path in paths.items():
        try:
            parts[name] = parsed(get(path))
        except GetFailed as error:
            if not parts:
                raise
            unread[name] = str(error)
            if not isinstance(error, Broken) or isinstance(error, forward.TooLarge):
                unread |= {left: str(error) for left in paths if left not in parts}
                break
    return parts, unread


def parsed(body: bytes) -> Any:
    """An answer's JSON without secret values; Broken where it is no JSON."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Broken("the answer is no JSON") from error
    return without_secrets(value, body)


def without_secrets(value: Any, body: bytes | None = None) -> Any:
    """A dump (of any shape) whose secrets have names and facts in the place of values.

    ``body`` are its bytes: where the words that secrets stand under are nowhere but in the part for
    secrets, the rest (tens of megabytes) is not walked over.
    """
    configs = value.get("configs") if isinstance(value, dict) else None
    if not isinstance(configs, list):
        return _walked(value)
    rest = []
    known = dict.fromkeys(_SENSITIVE, 0)
    for item in configs:
        if isinstance(item, dict) and str(item.get("@type", "")).endswith("SecretsConfigDump"):
            own = orjson.dumps(item)
            known = {word: count + own.count(word.encode()) for word, count in known.items()}
            rest.append(_secrets(item))
        else:
            rest.append(item)
    if body is None or any(body.count(word.encode()) > count for word, count in known.items()):
        rest = [_walked(item) for item in rest]
    return {**value, "configs": rest}


def _walked(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _REDACTED if key in _SENSITIVE and inner else _walked(inner) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_walked(item) for item in value]
    return value


def _secrets(part: dict[str, Any]) -> dict[str, Any]:
    return {
        key: [_secret(item) for item in value if isinstance(item, dict)] if isinstance(value, list) else value
        for key, value in part.items()
    }


def _secret(item: dict[str, Any]) -> dict[str, Any]:
    """An entry with its names and times, the kind of secret, and what its certificate says."""
    kept = {key: value for key, value in item.items() if isinstance(value, str)}
    inner = item.get("secret")
    if not isinstance(inner, dict):
        return kept
    out: dict[str, Any] = {key: value for key, value in inner.items() if isinstance(value, str)}
    for key, value in inner.items():
        if key == "tls_certificate":
            out[key] = {"certificate": _facts("tls.crt", value, "certificate_chain")}
        elif key == "validation_context":
            out[key] = {"certificate": _facts("ca.crt", value, "trusted_ca")}
        elif not isinstance(value, str):
            out[key] = _REDACTED
    if "error_state" in item:
        kept["error_state"] = item["error_state"]
    return {**kept, "secret": out}


def _facts(key: str, value: Any, field: str) -> dict[str, Any] | None:
    source = value.get(field) if isinstance(value, dict) else None
    if not isinstance(source, dict):
        return value.get("certificate") if isinstance(value, dict) else None
    try:
        pem = base64.b64decode(str(source.get("inline_bytes") or ""))
    except (binascii.Error, ValueError):
        pem = b""
    pem = pem or str(source.get("inline_string") or "").encode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on serial numbers that RFC 5280 disallows: not ours to judge
        return certificate_facts({key: pem}) if pem else None


def _dump(need: Need, how: str, parts: dict[str, Any], unread: dict[str, str]) -> Obj:
    if not isinstance(parts["config_dump"], dict):
        raise Broken("the config dump is no JSON object")
    return _object(need, how, parts, unread)


def _object(need: Need, how: str, parts: dict[str, Any], unread: dict[str, str]) -> Obj:
    raw = {
        "apiVersion": f"{need.kind.group}/v1",
        "kind": need.kind.name,
        "metadata": {"namespace": need.namespace, "name": need.name},
        "via": how,
        **parts,
        "unread": unread,
    }
    return Obj(need.kind, raw)


__all__ = ["LIMIT", "PATHS", "PROXY_DUMP", "Proxies", "parsed", "without_secrets"]
