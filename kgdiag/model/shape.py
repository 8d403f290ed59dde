"""The shape of objects in files: what is no list, mapping or scalar where its kind has one counts as missing.

An API server refuses such an object; a file may hold it all the same. It is taken out where files are read,
so that no question has to doubt every field, and it is told (``NoteCode.WRONG_TYPE``).

The fields are those of ``kgdiag.model.schema``. Scalars are not told apart: a port may be a name or a number.
"""

from __future__ import annotations

from typing import Any

from kgdiag.model import schema

Step = tuple[str | int, ...]
Misfit = tuple[Step, str]

_CONDITIONS = [{"*": None}]
_PARENTS = [{"conditions": _CONDITIONS, "parentRef": {"*": None}, "controllerName": None}]
_ANCESTORS = [{"conditions": _CONDITIONS, "ancestorRef": {"*": None}, "controllerName": None}]
_ADDRESSES = [{"*": True}]
_CONTAINERS = [{"state": {"*": True}, "lastState": {"*": True}, "*": True}]
_LOAD_BALANCER = {"ingress": [{"ports": [{"*": None}], "*": None}]}
# What statuses have in common (the API references of Kubernetes, Gateway API, Knative, KServe and OpenShift);
# the tables of fields have no status.
_STATUS: dict[str, Any] = {
    "*": True,
    "addresses": _ADDRESSES,
    "ancestors": _ANCESTORS,
    "conditions": _CONDITIONS,
    "containerStatuses": _CONTAINERS,
    "ingress": [{"conditions": _CONDITIONS, "*": None}],
    "initContainerStatuses": _CONTAINERS,
    "listeners": [
        {"attachedRoutes": None, "conditions": _CONDITIONS, "supportedKinds": [{"*": None}], "*": None}
    ],
    "loadBalancer": _LOAD_BALANCER,
    "parents": _PARENTS,
    "podIPs": [{"*": None}],
    "privateLoadBalancer": _LOAD_BALANCER,
    "publicLoadBalancer": _LOAD_BALANCER,
    "traffic": [{"*": None}],
}


# What kgdiag never looks into, and pods have much of.
_UNREAD = frozenset(("affinity", "resources", "securityContext", "tolerations", "volumeMounts", "volumes"))


# A Secret as kgdiag keeps it: without values, with the facts of its certificate (kgdiag.collect.secrets).
_SECRET = {"keys": [None], "certificate": {"sans": [None], "caBundle": [{"*": True}], "*": None}, "*": True}


def fit(raw: dict[str, Any]) -> list[Misfit]:
    """Take out of an object what has not the shape of its kind; (path, words) of each.

    Changes ``raw``, which must be the caller's own. Of a kind whose fields are not known only metadata and
    status are looked at.
    """
    fields = schema.fields_of(str(raw.get("apiVersion") or ""), str(raw.get("kind") or ""))
    found: list[Misfit] = []
    if fields is None:
        own = _SECRET if raw.get("kind") == "Secret" and raw.get("apiVersion") == "v1" else {"*": True}
        fields = schema.Fields({**own, "metadata": schema.METADATA}, [])
    _mapping(raw, {**fields.root, "status": _STATUS}, (), fields, found)
    return found


def _mapping(
    value: dict[str, Any], tree: dict[str, Any], path: Step, fields: schema.Fields, found: list[Misfit]
) -> None:
    rest = tree.get("*", True)
    wrong = []
    for key, inner in value.items():
        if inner is None or key in _UNREAD:
            continue
        branch = tree.get(key, rest) if key != "*" else rest
        if branch is None or branch is True:  # nearly all
            if branch is None and isinstance(inner, (dict, list)):
                found.append(((*path, key), f"{_what(inner)}, not a single value"))
                wrong.append(key)
        elif not _fits(inner, branch, (*path, key), fields, found):
            wrong.append(key)
    for key in wrong:
        del value[key]


def _fits(value: Any, tree: Any, path: Step, fields: schema.Fields, found: list[Misfit]) -> bool:
    """Whether a value may stay; what is inside of it is taken out where it may not."""
    tree = fields.resolve(tree)
    if tree is True:
        return True
    if isinstance(tree, dict):
        if isinstance(value, dict):
            _mapping(value, tree, path, fields, found)
            return True
        found.append((path, f"{_what(value)}, not a mapping"))
    elif isinstance(tree, list):
        if isinstance(value, list):
            _items(value, fields.resolve(tree[0]), path, fields, found)
            return True
        found.append((path, f"{_what(value)}, not a list"))
    elif isinstance(value, (dict, list)):
        found.append((path, f"{_what(value)}, not a single value"))
    else:
        return True
    return False


def _items(value: list[Any], tree: Any, path: Step, fields: schema.Fields, found: list[Misfit]) -> None:
    if tree is True:
        return
    scalar = tree is None or isinstance(tree, str)
    kept = []
    for at, item in enumerate(value):
        if item is None and scalar:
            continue  # built-in kinds read it as ""
        if (scalar and not isinstance(item, (dict, list))) or _fits(item, tree, (*path, at), fields, found):
            kept.append(item)
    if len(kept) < len(value):
        value[:] = kept


def _what(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else "a string"
