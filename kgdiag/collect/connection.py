"""From kubectl's options to a connection to an API server.

Importing this module is cheap; the ``kubernetes`` package is loaded when a connection is opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kgdiag import __version__
from kgdiag.errors import ConnectionFailed, UsageError

if TYPE_CHECKING:
    import urllib3

    from kgdiag.collect.http import Http

DEFAULT_REQUEST_TIMEOUT = 60.0
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PARALLEL = 10
"""Connections to the server at once."""

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)


def parse_timeout(text: str) -> float | None:
    """Seconds of ``--request-timeout``: ``30s``, ``1m30s``, ``500ms``, plain seconds; ``0`` is no limit.

    As kubectl reads it (client-go tools/clientcmd/config.go ParseTimeout, Go's time.ParseDuration).
    Raises UsageError.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text) or None
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(
            f"{text!r} is no duration",
            subject="--request-timeout",
            hint="write it as 30s, 1m30s, 500ms or plain seconds; 0 means no limit",
        )
    return sum(float(number) * _UNITS[unit] for number, unit in parts) or None


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """What the command line says about the cluster; empty means what kubectl would take.

    ``request_timeout`` is in seconds and holds for one read with all its pages and retries; None is no limit.
    """

    context: str = ""
    kubeconfig: str = ""
    as_user: str = ""
    as_groups: tuple[str, ...] = ()
    request_timeout: float | None = DEFAULT_REQUEST_TIMEOUT
    service_account: Path = SERVICE_ACCOUNT


@dataclass(frozen=True, slots=True)
class Connection:
    """An API server and how to speak to it. Opening one sends nothing to it.

    ``context`` is ``""`` in a pod that uses its service account; ``origin`` is where all this stands (a file,
    or the service account), for messages. ``configuration`` is the kubernetes package's, with the credentials
    but without the impersonation, for the streams that ``http`` has not.
    """

    server: str
    context: str
    namespace: str
    user: str
    origin: str
    http: Http = field(repr=False)
    configuration: Any = field(repr=False)
    impersonation: tuple[tuple[str, str], ...] = ()


def open_connection(options: ConnectionOptions) -> Connection:
    """Resolve the options into a connection, running the login that the kubeconfig asks for.

    Raises UsageError (no kubeconfig, no such context), InputError (a kubeconfig that cannot be read or used)
    and ConnectionFailed (the login failed).
    """
    files = _kubeconfig_files(options)

    from kubernetes.client import Configuration

    from kgdiag.collect import kubeconfig

    configuration = Configuration()
    configuration.connection_pool_maxsize = PARALLEL
    if files:
        target = kubeconfig.from_files(files, options.context, configuration, options.request_timeout)
    elif options.context:
        raise UsageError("there is no kubeconfig", subject=f"--context {options.context}")
    else:
        target = kubeconfig.from_service_account(options.service_account, configuration)
    impersonation = tuple(_impersonation(options, target.user_entry))
    return Connection(
        server=configuration.host,
        context=target.context,
        namespace=target.namespace,
        user=target.user,
        origin=target.origin,
        http=_http(configuration, impersonation, compressed=target.compressed),
        configuration=configuration,
        impersonation=impersonation,
    )


def _kubeconfig_files(options: ConnectionOptions) -> list[Path]:
    """The kubeconfig files to merge, in order; none where kubectl would use the pod's service account.

    Files of KUBECONFIG that do not exist or are empty are passed over, as kubectl does.
    """
    if options.kubeconfig:
        path = Path(options.kubeconfig).expanduser()
        if not path.exists():
            raise UsageError("no such file", subject=f"--kubeconfig {options.kubeconfig}")
        return [path]
    listed = os.environ.get("KUBECONFIG", "")
    paths = [Path(text).expanduser() for text in listed.split(os.pathsep) if text]
    if not paths:
        paths = [Path("~/.kube/config").expanduser()]
    found = [path for path in paths if path.exists() and not (path.is_file() and path.stat().st_size == 0)]
    if not found and not os.environ.get("KUBERNETES_SERVICE_HOST"):
        raise UsageError(
            f"no kubeconfig ({', '.join(map(str, paths))} does not exist or is empty)",
            hint="name one with --kubeconfig or KUBECONFIG, or read files instead of a cluster with -f",
        )
    return found


def _impersonation(options: ConnectionOptions, user: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Impersonation headers: the command line's, else what the kubeconfig's user asks for.

    Source: client-go tools/clientcmd/client_config.go getUserIdentificationPartialConfig and
    transport/round_trippers.go impersonatingRoundTripper.
    """
    extra: Mapping[str, Any] = {}
    if options.as_user or options.as_groups:
        name, groups, uid = options.as_user, list(options.as_groups), ""
    else:
        name, uid = str(user.get("as") or ""), str(user.get("as-uid") or "")
        groups = [str(group) for group in user.get("as-groups") or []]
        extra = user.get("as-user-extra") or {}
    if not name and (groups or uid or extra):
        raise UsageError("a group needs a user to impersonate", subject="--as-group", hint="add --as USER")
    headers = [("Impersonate-User", name)] if name else []
    headers += [("Impersonate-Group", group) for group in groups]
    headers += [("Impersonate-Uid", uid)] if uid else []
    for key, values in extra.items():
        headers += [(f"Impersonate-Extra-{quote(str(key), safe='')}", str(value)) for value in values]
    return [(key, _header_text(value)) for key, value in headers]


def _header_text(value: str) -> str:
    """UTF-8 in the one-byte characters that HTTP libraries take."""
    if not value.isprintable():
        raise UsageError("control characters are not possible in a user or group", subject=f"--as {value!r}")
    return value.encode().decode("latin-1")


def _http(configuration: Any, impersonation: Sequence[tuple[str, str]], *, compressed: bool) -> Http:
    """The HTTP layer over the kubernetes package's own pool, which knows its TLS and proxy settings."""
    import urllib3
    from kubernetes.client.rest import RESTClientObject

    from kgdiag.collect.http import Http

    def headers() -> urllib3.HTTPHeaderDict:
        out = urllib3.HTTPHeaderDict({"User-Agent": f"kgdiag/{__version__}"})
        # The package keeps it under the one name or the other, by version; asking for it renews it.
        name = "BearerToken" if "BearerToken" in configuration.api_key else "authorization"
        credentials = configuration.get_api_key_with_prefix(name)
        if credentials:
            out["Authorization"] = credentials
        for header, value in impersonation:
            out.add(header, value)
        return out

    if not configuration.verify_ssl:
        # The kubeconfig says insecure-skip-tls-verify; a warning for every request would only say it again.
        import warnings

        warnings.filterwarnings("ignore", category=urllib3.exceptions.InsecureRequestWarning)
    try:
        pool = RESTClientObject(configuration).pool_manager
    except (ImportError, ValueError, urllib3.exceptions.HTTPError) as error:
        raise ConnectionFailed(
            f"cannot use the proxy {configuration.proxy}: {error}",
            subject=configuration.host,
            hint="see proxy-url in the kubeconfig; a SOCKS proxy needs the Python package PySocks",
        ) from error
    return Http(configuration.host, pool, headers, compressed=compressed)
