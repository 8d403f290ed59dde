"""What kinds and fields exist: which apiVersion was probably meant, and which fields do nothing.

Two sorts of knowledge, both shipped as data in ``schemas/``:

- ``known.txt``: API groups with their kinds and versions (written by hand, see its head).
- ``GROUP.json``: the fields of the kinds that decide how requests travel, made by ``scripts/make_schemas.py``
  from the projects' CRDs and from the Kubernetes client's models.

Both age. A group that is not listed is somebody's own CRD and never reported; a kind or field that is not
listed may be newer than this table, so reports say what is near, and ``unknown_fields`` takes the
CustomResourceDefinition of the cluster or of the files instead, where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

from kgdiag.model import kinds
from kgdiag.model.kind import Kind

CORE_ROUTING = ("", "apps", "networking.k8s.io", "gateway.networking.k8s.io", "networking.istio.io")
"""Groups whose kinds, found in a group that does not have them, were certainly meant."""


# Kinds


@dataclass(frozen=True, slots=True)
class Unknown:
    """An apiVersion and kind that no server knows.

    ``reason`` is ``group``, ``kind``, ``version`` or ``removed``; ``nearest`` is the ``apiVersion Kind`` that
    was probably meant, as ``networking.istio.io/v1 Gateway``.
    """

    reason: str
    message: str
    nearest: str


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: Kind
    moved: str = ""  # group/version where the kind is now, for versions that are gone


@dataclass(slots=True)
class _Group:
    whole: bool
    entries: dict[str, _Entry] = field(default_factory=dict)
    gone: dict[tuple[str, str], str] = field(default_factory=dict)  # (version, kind) → group/version


@lru_cache(maxsize=1)
def _groups() -> dict[str, _Group]:
    out: dict[str, _Group] = {}
    text = files("kgdiag.model").joinpath("schemas/known.txt").read_text("utf-8")
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        head, _, names = line.partition(":")
        name, certainty, versions = head.split()
        name = "" if name == "core" else name
        group = out.setdefault(name, _Group(certainty == "all"))
        for word in names.split():
            word, _, moved = word.partition(">")
            word, _, own = word.partition("@")
            word, _, plural = word.partition("=")
            kind = word.rstrip("*")
            served = tuple((own or versions).split(","))
            if certainty == "gone":
                group.gone |= {(version, kind): moved for version in served}
            else:
                full = Kind(name, kind, plural or plural_of(kind), (), served, not word.endswith("*"))
                group.entries[kind] = _Entry(full)
    return out


@lru_cache(maxsize=1)
def _own() -> dict[tuple[str, str], Kind]:
    return {kind.key: kind for kind in kinds.ALL}


def known_kind(group: str, kind: str) -> Kind | None:
    """The kind with its plural and scope: kgdiag's own or a well-known one, else None."""
    own = _own().get((group, kind))
    if own is not None:
        return own
    listed = _groups().get(group)
    entry = listed.entries.get(kind) if listed else None
    return entry.kind if entry else None


def plural_of(kind: str) -> str:
    """The plural that most definitions give a kind: ``policies``, ``ingresses``, ``gateways``."""
    name = kind.lower()
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch", "sh")) else f"{name}s"


@lru_cache(maxsize=4096)
def unknown_kind(api_version: str, kind: str) -> Unknown | None:
    """Why no server can know this apiVersion and kind, and what was probably meant; None where it may.

    A group that is not in the table is foreign, not wrong, unless it is a slip of the pen away from one that
    has this very kind.
    """
    group, _, version = api_version.rpartition("/")
    listed = _groups().get(group)
    if listed is None:
        return _foreign(group, kind)
    moved = listed.gone.get((version, kind))
    if moved:
        message = f"{api_version} {kind} is served by no current Kubernetes: it moved to {moved}"
        return Unknown("removed", message, f"{moved} {kind}")
    entry = listed.entries.get(kind)
    if entry is None:
        return _no_kind(api_version, group, kind, listed)
    if version in entry.kind.versions:
        return None
    if not listed.whole and not _odd_version(version) and not _implausible(version, entry.kind.versions):
        return None  # a version newer than the table
    close = [other for other in entry.kind.versions if distance(version, other) == 1]
    best = close[0] if close and not _odd_version(version) else entry.kind.versions[0]
    nearest = f"{_join(group, best)} {kind}"
    return Unknown("version", f"{kind} has no version {api_version!r}; did you mean {nearest}?", nearest)


def _implausible(version: str, served: tuple[str, ...]) -> bool:
    """Whether no later release can bring this version: an alpha or beta of a kind that has v1 already."""
    return "v1" in served and version.startswith(("v1alpha", "v1beta"))


def _odd_version(version: str) -> bool:
    """Whether this is no version at all: ``1``, ``V1``, ``v1.0``, or a group without its version."""
    digits = version[1:]
    for stage in ("alpha", "beta"):
        major, found, minor = digits.partition(stage)
        if found:
            return not (version[:1] == "v" and major.isdecimal() and minor.isdecimal())
    return not (version[:1] == "v" and digits.isdecimal())


def _foreign(group: str, kind: str) -> Unknown | None:
    best: tuple[int, str] | None = None
    for other, listed in _groups().items():
        if not other or kind not in listed.entries or not _slip(group, other):
            continue
        score = (distance(group, other), other)
        best = min(best, score) if best else score
    if best is None:
        return None
    nearest = _reference(_groups()[best[1]].entries[kind].kind)
    return Unknown("group", f"no server knows the API group {group!r}; did you mean {nearest}?", nearest)


def _slip(group: str, other: str) -> bool:
    """Whether one name is the other with a slip of the pen: one label or two letters differ."""
    if abs(len(group) - len(other)) > 3:
        return False
    if distance(group, other) <= (2 if len(other) > 6 else 1):
        return True
    pairs = list(zip(group.split("."), other.split("."), strict=False))
    if group.count(".") != other.count("."):
        return False
    differing = [(left, right) for left, right in pairs if left != right]
    return len(differing) == 1 and distance(*differing[0]) * 3 <= len(differing[0][1])


def _no_kind(api_version: str, group: str, kind: str, listed: _Group) -> Unknown | None:
    label = group or "the core group"
    close = [name for name in listed.entries if name.lower() == kind.lower() or _typo(kind, name)]
    if close:
        best = min(close, key=lambda name: (distance(kind, name), name))
        nearest = _reference(listed.entries[best].kind)
        return Unknown("kind", f"{label} has no kind {kind}; did you mean {nearest}?", nearest)
    elsewhere = [
        entry.entries[kind].kind
        for name, entry in _groups().items()
        if kind in entry.entries and (name in CORE_ROUTING or listed.whole)
    ]
    if elsewhere:
        best_kind = min(elsewhere, key=lambda found: (_apart(group, found.group), found.group))
        nearest = _reference(best_kind)
        return Unknown("kind", f"{label} has no kind {kind}; did you mean {nearest}?", nearest)
    if listed.whole and _standard_version(api_version):
        return Unknown("kind", f"{label} has no kind {kind}", "")
    return None


def _standard_version(api_version: str) -> bool:
    return not _odd_version(api_version.rpartition("/")[2])


def _typo(kind: str, name: str) -> bool:
    """One letter wrong, missing, too many or swapped; not a prefix, as ``XListenerSet`` has one."""
    return len(name) > 4 and distance(kind, name) == 1 and kind[1:] != name and name[1:] != kind


def _apart(group: str, other: str) -> tuple[int, int]:
    """How far two groups are from each other: labels in common first, then letters."""
    common = len(set(group.split(".")) & set(other.split(".")) - {""})
    return (-common, CORE_ROUTING.index(other) if other in CORE_ROUTING else len(CORE_ROUTING))


def _join(group: str, version: str) -> str:
    return f"{group}/{version}" if group else version


def _reference(kind: Kind) -> str:
    return f"{_join(kind.group, kind.versions[0])} {kind.name}"


def distance(left: str, right: str) -> int:
    """How many letters are wrong, missing, too many, or swapped with their neighbour."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        earlier, before, row = before, row, [i] + [0] * len(right)
        for j, b in enumerate(right, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                row[j] = min(row[j], earlier[j - 2] + 1)
    return row[-1]


# Fields
#
# A tree says which fields an object may have:
#   None    a scalar             "A|B"  a scalar with these values      True   anything
#   [tree]  a list               {field: tree}   an object       {"*": tree}   a map, or other keys as well
#   7       the tree number 7 of the file's "shared", for what is there more than once


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field that the kind does not have and that the API therefore drops or refuses.

    ``path`` is as in ``spec.http[0].rout``; ``nearest`` is the path where such a field would do something, or
    ``""`` where none is near.
    """

    path: str
    nearest: str


class Fields:
    """The field tree of one kind."""

    __slots__ = ("_shared", "root")

    def __init__(self, root: Mapping[str, Any], shared: list[Any]) -> None:
        self.root = root
        self._shared = shared

    def resolve(self, tree: Any) -> Any:
        """The tree itself, where a number stands for it."""
        while isinstance(tree, int) and not isinstance(tree, bool):
            tree = self._shared[tree]
        return tree

    def unknown(self, raw: Mapping[str, Any]) -> list[UnknownField]:
        """The fields of an object that the tree does not have, in the order of the object."""
        if self._has_all(raw, self.root):
            return []
        return [
            UnknownField(path_text(path), self._near(path, value, parent))
            for path, value, parent in self._walk(raw, self.root, ())
        ]

    def _has_all(self, value: Any, tree: Any) -> bool:
        """Whether the tree has every field, told without paths: nearly all objects are right."""
        if type(tree) is int:
            tree = self.resolve(tree)
        if type(value) is dict and type(tree) is dict:
            other = tree.get("*")
            for key, item in value.items():
                below = tree.get(key) if key != "*" else None
                if below is None and key not in tree:
                    if other is None and "*" not in tree:
                        return False
                    below = other
                kind = type(item)
                if (kind is dict or kind is list) and not self._has_all(item, below):
                    return False
            return True
        if type(value) is list and type(tree) is list:
            return all(self._has_all(item, tree[0]) for item in value)
        return not isinstance(value, Mapping) or type(value) is dict

    def _walk(self, value: Any, tree: Any, path: _Path) -> Iterator[tuple[_Path, Any, Mapping[str, Any]]]:
        tree = self.resolve(tree)
        if isinstance(tree, list) and isinstance(value, list):
            for index, item in enumerate(value):
                yield from self._walk(item, tree[0], (*path, index))
        elif isinstance(tree, dict) and (type(value) is dict or isinstance(value, Mapping)):
            for key, item in value.items():
                if key in tree and key != "*":
                    yield from self._walk(item, tree[key], (*path, key))
                elif "*" in tree:
                    yield from self._walk(item, tree["*"], (*path, key))
                elif not key.startswith("$"):  # $patch and the like are words to kustomize and kubectl
                    yield (*path, key), item, tree

    def _near(self, path: _Path, value: Any, parent: Mapping[str, Any]) -> str:
        """Where the field would do something: under a name that is near, at another depth, by its value."""
        key = str(path[-1])
        siblings = [name for name in parent if name != "*"]
        folded = [name for name in siblings if _fold(name) == _fold(key)]
        if moved := _MOVED.get(key):
            top = moved.partition(".")[0]
            if top in siblings:
                return path_text((*path[:-1], *moved.split(".")))
        typos = [name for name in siblings if distance(key, name) <= max(1, min(len(key), len(name)) // 4)]
        for names in (folded, [name for name in typos if self._fits(value, parent[name])]):
            if names:
                return path_text((*path[:-1], min(names, key=lambda name: (distance(key, name), name))))
        by_value = [name for name in siblings if _is_value(value, self.resolve(parent[name]))]
        if len(by_value) == 1:
            return path_text((*path[:-1], by_value[0]))
        return self._elsewhere(path, value)

    def _elsewhere(self, path: _Path, value: Any) -> str:
        """The nearest place that has a field of this name and shape, ``""`` where two are as near."""
        names = tuple(step for step in path[:-1] if isinstance(step, str))
        found: dict[tuple[int, int], list[tuple[str, ...]]] = {}
        for place in self._places(str(path[-1]), value):
            common = 0
            for left, right in zip(names, place, strict=False):
                if left != right.removesuffix("[]"):
                    break
                common += 1
            steps = len(names) + len(place) - 2 * common
            found.setdefault((steps, len(place)), []).append(place)
        # Farther than two steps away it is another field of the same name.
        if not found or min(found)[0] > 2 or len(found[min(found)]) > 1:
            return ""
        return _with_indexes((*found[min(found)][0], str(path[-1])), path)

    def _places(self, key: str, value: Any) -> Iterator[tuple[str, ...]]:
        """The parents that have a field of this name into which the value fits; lists are ``name[]``."""
        level: list[tuple[tuple[str, ...], Any, frozenset[int]]] = [((), self.root, frozenset())]
        seen = 0
        while level and seen < 20_000:
            deeper = []
            for names, tree, above in level:
                seen += 1
                while isinstance(tree := self.resolve(tree), list):
                    names, tree = (*names[:-1], f"{names[-1]}[]"), tree[0]
                if not isinstance(tree, dict) or id(tree) in above:
                    continue
                if key in tree and self._fits(value, tree[key], need_inside=True):
                    yield names
                inside = above | {id(tree)}
                deeper += [((*names, name), child, inside) for name, child in tree.items() if name != "*"]
            level = deeper

    def _fits(self, value: Any, tree: Any, *, need_inside: bool = False) -> bool:
        """Whether a value has the shape of a tree, and (``need_inside``) fields that the tree knows."""
        tree = self.resolve(tree)
        if tree is True:
            return not need_inside
        if isinstance(value, list):
            return isinstance(tree, list) and all(
                self._fits(item, tree[0], need_inside=need_inside) for item in value
            )
        if isinstance(value, Mapping):
            return isinstance(tree, dict) and (
                "*" in tree or not value or sum(name in tree for name in value) * 2 > len(value)
            )
        if isinstance(tree, str):
            return not isinstance(value, str) or value in tree.split("|")
        return tree is None


_Path = tuple[str | int, ...]


def unknown_fields(raw: Mapping[str, Any], crd: Mapping[str, Any] | None = None) -> list[UnknownField]:
    """The fields of an object that its kind does not have; empty where the kind's fields are not known.

    ``crd`` is the kind's CustomResourceDefinition where there is one: then its schema is what counts. A
    ``status`` is the server's own and not looked at. Fields of any version of the kind are taken for known,
    since servers convert between them.
    """
    fields = fields_of_crd(crd) if crd is not None else None
    if fields is None:
        fields = fields_of(str(raw.get("apiVersion") or ""), str(raw.get("kind") or ""))
    if fields is None:
        return []
    return fields.unknown({key: value for key, value in raw.items() if key != "status"})


@lru_cache(maxsize=64)
def _file(group: str) -> Mapping[str, Any] | None:
    path = files("kgdiag.model").joinpath(f"schemas/{group or 'core'}.json")
    try:
        loaded = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) else None


@lru_cache(maxsize=512)
def fields_of(api_version: str, kind: str) -> Fields | None:
    """The fields of a kind that is shipped, None for other kinds and for versions that the table lacks."""
    group, _, version = api_version.rpartition("/")
    if any(letter not in _GROUP_LETTERS for letter in group):
        return None
    found = _file(group)
    entry = found["kinds"].get(kind) if found else None
    if found is None or entry is None or version not in entry["versions"]:
        return None
    return Fields({**_top_level(), **entry["fields"]}, found["shared"])


_GROUP_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")


def _top_level() -> dict[str, Any]:
    return {"apiVersion": None, "kind": None, "metadata": METADATA, "status": True}


_OWNER = {
    "apiVersion": None,
    "blockOwnerDeletion": None,
    "controller": None,
    "kind": None,
    "name": None,
    "uid": None,
}
METADATA: dict[str, Any] = {
    "annotations": {"*": None},
    "creationTimestamp": None,
    "deletionGracePeriodSeconds": None,
    "deletionTimestamp": None,
    "finalizers": [None],
    "generateName": None,
    "generation": None,
    "labels": {"*": None},
    "managedFields": True,
    "name": None,
    "namespace": None,
    "ownerReferences": [_OWNER],
    "resourceVersion": None,
    "selfLink": None,
    "uid": None,
    "clusterName": None,  # until Kubernetes 1.24
    "initializers": True,  # until Kubernetes 1.16
}
"""The fields of ``metadata`` (k8s.io/apimachinery ObjectMeta), with those of old versions."""


def fields_of_crd(crd: Mapping[str, Any]) -> Fields | None:
    """The fields that a CustomResourceDefinition declares, in all versions; None where it declares none."""
    trees = [tree for _, tree in crd_trees(crd)]
    if not trees or any(not isinstance(tree, dict) for tree in trees):
        return None
    merged = trees[0]
    for tree in trees[1:]:
        merged = merge(merged, tree)
    return Fields({**merged, **_top_level()}, [])


def crd_trees(crd: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(version, field tree) of every version of a CustomResourceDefinition that has a schema."""
    spec = crd.get("spec")
    versions = spec.get("versions") if isinstance(spec, Mapping) else None
    out = []
    for version in versions if isinstance(versions, list) else ():
        schema = version.get("schema") if isinstance(version, Mapping) else None
        schema = schema.get("openAPIV3Schema") if isinstance(schema, Mapping) else None
        if isinstance(schema, Mapping):
            out.append((str(version.get("name") or ""), tree_of(schema)))
    return out


def tree_of(schema: Mapping[str, Any]) -> Any:
    """The field tree of an OpenAPI v3 schema as CRDs have it (structural schemas)."""
    properties, extra = schema.get("properties"), schema.get("additionalProperties")
    free = schema.get("x-kubernetes-preserve-unknown-fields") is True
    if isinstance(properties, Mapping) and properties:
        out = {str(name): tree_of(inner) for name, inner in properties.items() if isinstance(inner, Mapping)}
        if free:
            out["*"] = True
        if schema.get("x-kubernetes-embedded-resource") is True:
            out = {"apiVersion": None, "kind": None, "metadata": True, **out}
        return out
    if free:
        return True
    if isinstance(extra, Mapping):
        return {"*": tree_of(extra)}
    if schema.get("type") == "array" and isinstance(schema.get("items"), Mapping):
        return [tree_of(schema["items"])]
    if schema.get("type") in ("object", "array") or extra is True:
        return True
    return _scalar(schema.get("enum"))


def _scalar(enum: Any) -> str | None:
    if isinstance(enum, list) and len(enum) > 1 and all(isinstance(value, str) for value in enum):
        return "|".join(sorted(enum))
    return None


def merge(left: Any, right: Any) -> Any:
    """A tree that allows what either allows."""
    if left is True or right is True:
        return True
    if isinstance(left, dict) and isinstance(right, dict):
        return {
            key: merge(left[key], right[key])
            if key in left and key in right
            else left.get(key, right.get(key))
            for key in [*left, *(key for key in right if key not in left)]
        }
    if isinstance(left, list) and isinstance(right, list):
        return [merge(left[0], right[0])]
    if isinstance(left, str) and isinstance(right, str):
        return "|".join(sorted({*left.split("|"), *right.split("|")}))
    if isinstance(left, (dict, list)) or isinstance(right, (dict, list)):
        return True  # a scalar in one version, an object in another
    return None


_MOVED = {"serviceName": "service.name", "servicePort": "service.port.number"}
"""Fields that later versions of a kind have elsewhere: the backends of Ingress v1beta1."""


def _with_indexes(names: tuple[str, ...], path: _Path) -> str:
    """A place in the object's own terms: with its indexes as far as the two go the same way, ``[]`` after."""
    out: list[str | int] = []
    rest = list(path)
    for name in names:
        bare = name.removesuffix("[]")
        same = bool(rest) and rest[0] == bare
        rest = rest[1:] if same else []
        if bare != name and rest and isinstance(rest[0], int):
            out += [bare, rest.pop(0)]
        else:
            out.append(name)
    return path_text(out)


def _is_value(value: Any, tree: Any) -> bool:
    return isinstance(value, str) and isinstance(tree, str) and value in tree.split("|")


def _fold(name: str) -> str:
    """The name without case, dashes and plural: ``time_out`` and ``timeout``, ``retry`` and ``retries``."""
    bare = name.replace("_", "").replace("-", "").lower()
    if bare.endswith("ies"):
        return f"{bare[:-3]}y"
    return bare[:-2] if bare.endswith(("ches", "sses")) else bare.removesuffix("s")


def path_text(path: Iterable[str | int]) -> str:
    """The path as ``kgdiag.model.obj.parse_path`` reads it."""
    out = ""
    for step in path:
        if isinstance(step, int):
            out += f"[{step}]"
        elif "." in step or "[" in step.removesuffix("[]") or not step:
            out += f"['{step}']"
        else:
            out += f".{step}" if out else step
    return out
