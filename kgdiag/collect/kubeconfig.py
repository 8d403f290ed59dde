"""The kubeconfig and the service account: which server, which namespace, and the login.

Reading them, exec plugins, OIDC and token files are left to the ``kubernetes`` package, so that they work as
in every other Python client. Put right is what it does otherwise than kubectl: the ``current-context`` of the
first file counts, not of the last; and a failing exec plugin ends the run instead of in a line of a log.
"""

# The package's loaders have no annotations.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import base64
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.config import ConfigException
from kubernetes.config.exec_provider import ExecProvider
from kubernetes.config.incluster_config import InClusterConfigLoader
from kubernetes.config.kube_config import (
    ENV_KUBECONFIG_PATH_SEPARATOR,
    ConfigNode,
    KubeConfigLoader,
    KubeConfigMerger,
)

from kgdiag.collect.workers import within
from kgdiag.errors import ConnectionFailed, InputError, UsageError

MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What the package raises on YAML that is no kubeconfig."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a configuration leads: see Connection. ``user_entry`` is the kubeconfig's, ``{}`` without one."""

    context: str
    namespace: str
    user: str
    origin: str
    user_entry: Mapping[str, Any]
    compressed: bool = True


def from_service_account(directory: Path, configuration: Any) -> Target:
    """Fill the configuration from a pod's service account and environment."""
    loader = InClusterConfigLoader(
        token_filename=str(directory / "token"), cert_filename=str(directory / "ca.crt"), environ=os.environ
    )
    try:
        loader.load_and_set(configuration)
    except (ConfigException, OSError) as error:
        raise InputError(
            f"the service account of this pod cannot be used: {error}",
            subject=str(directory),
            hint="give the pod a service account token, or name a kubeconfig with --kubeconfig",
        ) from error
    own = directory / "namespace"
    namespace = os.environ.get("POD_NAMESPACE") or (own.read_text().strip() if own.exists() else "")
    return Target("", namespace or "default", "service account", str(directory), {})


def from_files(files: list[Path], context: str, configuration: Any, timeout: float | None) -> Target:
    """Fill the configuration from the context of that name (the current one for ``""``), logging in."""
    origin = ", ".join(map(str, files))
    merger = _merge(files, origin)
    try:
        names = [str(item["name"]) for item in merger.config.value["contexts"]]
        name = _choose(names, context, _current(merger), origin)
        entry = _entry(merger.config, "contexts", "context", name)
        cluster = _entry(merger.config, "clusters", "cluster", str(entry.value.get("cluster") or ""))
        user_name = str(entry.value.get("user") or "")
        user = _entry(merger.config, "users", "user", user_name) if user_name else None
        if not cluster.value.get("server"):
            raise ConfigException(f"cluster {entry.value['cluster']} has no server")
    except ConfigException as error:
        raise InputError(f"not usable: {error}", subject=origin) from error
    except MALFORMED as error:
        raise InputError(f"not a kubeconfig: {error}", subject=origin) from error
    _log_in(_Login(merger, name, user_name, user, cluster, origin), configuration, timeout)
    if cluster.value.get("proxy-url"):  # before version 37, the package passes over it
        configuration.proxy = str(cluster.value["proxy-url"])
    return Target(
        context=name,
        namespace=str(entry.value.get("namespace") or "default"),
        user=user_name,
        origin=origin,
        user_entry=user.value if user else {},
        compressed=not cluster.value.get("disable-compression"),
    )


def _merge(files: list[Path], origin: str) -> Any:
    try:
        merger = KubeConfigMerger(ENV_KUBECONFIG_PATH_SEPARATOR.join(map(str, files)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{mark.name}:{mark.line + 1}" if mark else origin
        raise InputError(f"not YAML: {error.problem}", subject=place) from error
    except (OSError, UnicodeError, yaml.YAMLError, ConfigException) as error:
        raise InputError(f"cannot be read: {error}", subject=origin) from error
    except MALFORMED as error:
        raise InputError(f"not a kubeconfig: {error}", subject=origin) from error
    if merger.config is None:
        raise InputError("not a kubeconfig: it is empty", subject=origin)
    return merger


def _current(merger: Any) -> str:
    """The first file that sets it wins (client-go tools/clientcmd/loader.go)."""
    return next(
        (str(text) for one in merger.config_files.values() if (text := one.get("current-context"))), ""
    )


def _choose(names: list[str], asked: str, current: str, origin: str) -> str:
    name = asked or current
    if name in names:
        return name
    known = ", ".join(sorted(names)) or "none"
    if not name:
        raise UsageError(
            "no current-context is set", subject=origin, hint=f"choose one with --context; there are: {known}"
        )
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? there are: {known}" if near else f"there are: {known}"
    subject = f"--context {name}" if asked else f"current-context {name}"
    raise UsageError(f"no such context in {origin}", subject=subject, hint=hint)


def _entry(merged: Any, section: str, field: str, name: str) -> Any:
    """The named entry of a section, with the file it came from."""
    found = merged[section].get_with_name(name, safe=True) if merged.value.get(section) else None
    if found is None:
        raise ConfigException(f"no {field} is named {name!r}")
    node = found[field]
    if not isinstance(node, ConfigNode) or not isinstance(node.value, dict):
        raise ConfigException(f"{field} {name!r} is empty")
    return node


@dataclass(frozen=True, slots=True)
class _Login:
    merger: Any
    context: str
    user_name: str
    user: Any
    cluster: Any
    origin: str


def _log_in(login: _Login, configuration: Any, timeout: float | None) -> None:
    """Put server, TLS and credentials into the configuration."""
    user = login.user.value if login.user else {}
    provider = user.get("auth-provider")
    config, persist = login.merger.config, None
    if provider:
        name = provider.get("name") if isinstance(provider, Mapping) else provider
        if name not in ("oidc", "gcp"):
            raise ConnectionFailed(
                f"auth-provider {name} of user {login.user_name} is not supported (kubectl dropped it too)",
                subject=login.origin,
                hint="use an exec plugin instead",
            )
        # A renewed token is written back, as kubectl does: the old refresh token may be good no more.
        persist = login.merger.save_changes
    elif "exec" in user and not user.get("token") and not user.get("tokenFile"):
        config = _with_credentials(login, _run_plugin(login))
    try:
        loader = KubeConfigLoader(
            config, active_context=login.context, config_base_path=None, config_persister=persist
        )
        if provider:
            # An issuer that is silent must not hang the run; its client has no timeout of its own.
            within(timeout, loader.load_and_set, configuration)
        else:
            loader.load_and_set(configuration)
    except ConfigException as error:
        raise InputError(f"not usable: {error}", subject=login.origin) from error
    except Exception as error:
        if provider:  # an issuer and two client libraries may raise anything
            raise ConnectionFailed(
                f"the login of user {login.user_name} could not be renewed: {error or type(error).__name__}",
                subject=login.origin,
                hint="log in again",
            ) from error
        if isinstance(error, (*MALFORMED, OSError)):
            raise InputError(
                f"user {login.user_name} or its cluster is not usable: {error}", subject=login.origin
            ) from error
        raise


def _run_plugin(login: _Login) -> Mapping[str, Any]:
    """What the exec plugin returns: a token, a client certificate, or both."""
    plugin = login.user["exec"]
    command = plugin.value.get("command") if isinstance(plugin, ConfigNode) else plugin
    subject = f"exec plugin {command} of user {login.user_name}"
    base = os.path.abspath(os.path.dirname(login.user.path or ""))  # noqa: PTH100, PTH120 -- "" is the cwd
    try:
        status = ExecProvider(plugin, base, login.cluster).run()
    except FileNotFoundError as error:
        hint = str(plugin.value.get("installHint") or "").strip()
        raise ConnectionFailed("no such program", subject=subject, hint=hint or "install it") from error
    except (ConfigException, OSError) as error:
        raise ConnectionFailed(f"failed: {error}", subject=subject, hint="log in again") from error
    except MALFORMED as error:
        raise InputError(f"not usable: {error}", subject=subject) from error
    if not isinstance(status, dict) or not (status.get("token") or status.get("clientCertificateData")):
        raise ConnectionFailed("returned neither a token nor a certificate", subject=subject)
    if status.get("clientCertificateData") and not status.get("clientKeyData"):
        raise ConnectionFailed("returned a certificate without its key", subject=subject)
    return status


def _with_credentials(login: _Login, status: Mapping[str, Any]) -> Any:
    """The kubeconfig with one user, who has what the plugin returned. A copy: it must never be written."""
    user = {key: value for key, value in login.user.value.items() if key != "exec"}
    if status.get("token"):
        user["token"] = status["token"]
    if status.get("clientCertificateData"):
        for key, name in (("clientCertificateData", "certificate"), ("clientKeyData", "key")):
            user[f"client-{name}-data"] = base64.b64encode(str(status[key]).encode()).decode()
    path = login.user.path
    node = ConfigNode(f"user {login.user_name}", {"name": login.user_name, "user": user}, path)
    return ConfigNode("kubeconfig", {**login.merger.config.value, "users": [node]}, path)
