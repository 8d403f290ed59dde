"""Commands that prove what an explanation says, each with an expectation that a machine can check."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kgdiag.explain.words import count, labels_text
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Match
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj, Path, parse_path

_LONG = 240  # characters of a value that a person would not compare


def shows(obj: Obj, path: str, *, expect: str = "") -> Command | None:
    """``kubectl get … -o jsonpath`` of a field, which prints what it has there; None where nothing is.

    kubectl prints lists and objects as JSON, all else as text. A path takes keys with dots in brackets, as
    everywhere here.
    """
    value = obj.get(path)
    if value is None or _odd(parse_path(path)):
        return None
    if isinstance(value, Mapping | list):
        text, match = json.dumps(value, separators=(",", ":"), ensure_ascii=False), Match.JSON
        shown = json.dumps(value, ensure_ascii=False)  # with blanks, where lines can be broken
    else:
        text, match = _scalar(value), Match.EQUALS
        shown = text
    if len(shown) > _LONG:
        shown = "what is written there"
    return commands.get(
        obj.kind, obj.namespace, obj.name, jsonpath=_jsonpath(parse_path(path)),
        expect=expect or shown or "nothing: it is empty", match=match, value=text,
    )  # fmt: skip


def _scalar(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _odd(path: Path) -> bool:
    """Keys that jsonpath's own syntax would take apart."""
    return any(isinstance(step, str) and set(step) & set("'\"{}[]()@$* ") for step in path)


def _jsonpath(path: Path) -> str:
    out = ""
    for step in path:
        out += f"[{step}]" if isinstance(step, int) else "." + step.replace(".", "\\.")
    return out


def condition(obj: Obj, kind: str) -> Command | None:
    """The status of one condition of an object."""
    for item in obj.maps("status.conditions"):
        if item.get("type") == kind:
            status = str(item.get("status"))
            return commands.get(
                obj.kind, obj.namespace, obj.name,
                jsonpath=f'.status.conditions[?(@.type=="{kind}")].status',
                expect=f"{kind}={status}", match=Match.EQUALS, value=status,
            )  # fmt: skip
    return None


def exists(kind: Kind, namespace: str, name: str) -> Command:
    """That an object is there."""
    return commands.get(
        kind, namespace, name, names_only=True, expect=f"{kind.name} {name}, by its name",
        match=Match.CONTAINS, value=f"/{name}",
    )  # fmt: skip


def gone(kind: Kind, namespace: str, name: str) -> Command:
    """That an object is not there: kubectl says so on standard error."""
    return commands.get(
        kind, namespace, name, names_only=True, expect="NotFound", match=Match.CONTAINS, value="NotFound"
    )


def pods(namespace: str | None, labels: Mapping[str, Any], found: Sequence[Obj], what: str = "") -> Command:
    """The pods with these labels, as many as were found (finished ones among them)."""
    wanted = {str(key): str(value) for key, value in labels.items()}
    said = what or labels_text(wanted)
    if not found:
        return commands.get(
            kinds.POD, namespace, labels=wanted, names_only=True,
            expect=f"nothing: no pod has {said}", match=Match.EMPTY,
        )  # fmt: skip
    listed = f"{count(len(found), 'pod')}, {found[0].name} among them"
    if len(found) == 1:
        listed = f"1 pod: {found[0].name}"
    return commands.get(
        kinds.POD, namespace, labels=wanted, names_only=True, expect=listed,
        match=Match.LINES, value=str(len(found)),
    )  # fmt: skip


def ready(pod: Obj) -> Command | None:
    """The pod's Ready condition."""
    return condition(pod, "Ready")


def listens(pod: Obj, port: int, said: bool) -> Command:
    """Whether the pod's Istio proxy has a listener on a port."""
    return commands.istioctl(
        "listeners", pod.name, pod.namespace, "--port", str(port),
        expect=f"a listener on {port}" if said else f"no listener on {port}",
        match=Match.CONTAINS if said else Match.LACKS, value=f"{port} ",
    )  # fmt: skip
