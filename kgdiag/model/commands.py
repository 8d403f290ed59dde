"""Read-only commands that prove claims, built in one place so that all of them are quoted right.

Every builder takes the namespace of what it names; ``--context`` and ``--kubeconfig`` are put in by the CLI
where the user gave them.
"""

from __future__ import annotations

from collections.abc import Mapping

from kgdiag.model.finding import Command, Match
from kgdiag.model.kind import Kind


def _namespace(namespace: str | None) -> tuple[str, ...]:
    return ("-A",) if namespace is None else ("-n", namespace) if namespace else ()


def get(
    kind: Kind, namespace: str | None, name: str = "", *, expect: str, match: Match = Match.ANY,
    value: str = "", jsonpath: str = "", labels: Mapping[str, str] | None = None, names_only: bool = False,
) -> Command:  # fmt: skip
    """``kubectl get KIND [NAME] -n NS``; ``namespace`` None asks in all namespaces, "" is cluster scope.

    ``jsonpath`` is the expression without its braces: ``.spec.selector``.
    """
    resource = kind.plural if not kind.group or kind.group in ("apps", "discovery.k8s.io") else kind.resource
    argv: tuple[str, ...] = ("kubectl", "get", resource)
    if name:
        argv += (name,)
    argv += _namespace(namespace)
    if labels:
        argv += ("-l", ",".join(f"{key}={val}" for key, val in labels.items()))
    if jsonpath:
        argv += ("-o", f"jsonpath={{{jsonpath}}}")
    elif names_only:
        argv += ("-o", "name")
    return Command(argv, expect or "nothing: it is empty", match, value)


def istioctl(
    what: str, pod: str, namespace: str, *options: str, expect: str, match: Match = Match.ANY, value: str = ""
) -> Command:
    """``istioctl proxy-config WHAT POD.NAMESPACE [OPTIONS]``."""
    return Command(("istioctl", "proxy-config", what, f"{pod}.{namespace}", *options), expect, match, value)
