"""The least ClusterRole that rules need, as YAML."""

from __future__ import annotations

from collections.abc import Iterable

from kgdiag.model.kind import Kind
from kgdiag.rules.base import Rule

NAME = "kgdiag-check"


def render_role(rules: Iterable[Rule]) -> str:
    """A ClusterRole with what the rules declare that they read, and nothing else.

    Kinds that are read only by the names that other objects give get ``get`` alone.
    """
    chosen = list(rules)
    listed = {kind for rule in chosen for kind in (*rule.needs, *rule.reads)}
    named = {kind for rule in chosen for kind in rule.names} - listed
    lines = [
        "# Written by kgdiag check --rbac: what the chosen rules read, and nothing else.",
        "apiVersion: rbac.authorization.k8s.io/v1",
        "kind: ClusterRole",
        "metadata:",
        f"  name: {NAME}",
        "rules:" if listed or named else "rules: []",
    ]
    for verbs, kinds in ((("get", "list"), listed), (("get",), named)):
        for group in sorted({kind.group for kind in kinds}):
            lines += _rule(group, verbs, (kind for kind in kinds if kind.group == group))
    return "\n".join(lines) + "\n"


def _rule(group: str, verbs: tuple[str, ...], kinds: Iterable[Kind]) -> list[str]:
    resources = sorted({kind.plural for kind in kinds})
    return [
        f'  - apiGroups: ["{group}"]',
        "    resources:",
        *(f"      - {resource}" for resource in resources),
        f"    verbs: [{', '.join(verbs)}]",
    ]
