"""What a rule is: a function over the World with its metadata and its page.

A rule module holds one rule: a docstring that is the rule's page, and one function decorated with
``@rule(...)``. Dropping the file into this folder registers it. Ids are never reused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Command, Fault, Finding, Severity
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Evidence, Obj
from kgdiag.model.patch import Patch
from kgdiag.model.ref import Ref

# What everything asks that must know how a mesh is configured (dialects/istio/mesh.py).
MESH_READS = (kinds.DEPLOYMENT,)
MESH_NAMES = (kinds.CONFIG_MAP, kinds.MESH_MEMBER_ROLL)
DOCS = "https://kgdiag.dev/rules/{id}"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a rule is run over: namespaces (None: all), or single objects.

    ``objects`` narrows findings to those that concern one of them.
    """

    namespaces: frozenset[str] | None = None
    objects: frozenset[Ref] = field(default_factory=frozenset)

    def all(self, world: World, kind: Kind) -> Iterator[Obj]:
        """The objects of a kind in scope. Cluster-scoped kinds are in every scope."""
        if self.objects:
            for ref in sorted(self.objects):
                if (ref.group, ref.kind) == kind.key and (obj := world.get(kind, ref.namespace, ref.name)):
                    yield obj
        elif self.namespaces is None or not kind.namespaced:
            yield from world.all(kind)
        else:
            for namespace in sorted(self.namespaces):
                yield from world.all(kind, namespace)


Check = Callable[[World, Scope], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``needs`` are the kinds without which it says nothing: where one of them could not be
    read, the rule is skipped with that reason. ``about`` are the kinds that its findings are on.
    ``reads`` are the further kinds that it lists, ``names`` those that it reads by name only."""

    id: str
    name: str
    severity: Severity
    needs: tuple[Kind, ...]
    about: tuple[Kind, ...]
    check: Check
    page: str
    equivalents: tuple[str, ...] = ()
    reads: tuple[Kind, ...] = ()
    names: tuple[Kind, ...] = ()

    @property
    def docs(self) -> str:
        return DOCS.format(id=self.id)

    @property
    def title(self) -> str:
        """The first line of the page."""
        return self.page.partition("\n")[0]

    def finding(
        self,
        on: Ref,
        message: str,
        *,
        severity: Severity | None = None,
        evidence: Iterable[Evidence] = (),
        fix: str = "",
        verify: Iterable[Command] = (),
        equivalents: Iterable[str] | None = None,
        consequences: Iterable[str] = (),
        patch: Patch | None = None,
        causes: Iterable[Fault] = (),
        follows: Iterable[Fault] = (),
    ) -> Finding:
        """A finding of this rule, with the rule's severity unless another is given."""
        return Finding(
            rule=self.id,
            name=self.name,
            severity=severity or self.severity,
            object=on,
            message=message,
            evidence=tuple(evidence),
            fix=fix,
            verify=tuple(verify),
            equivalents=tuple(self.equivalents if equivalents is None else equivalents),
            docs=self.docs,
            consequences=tuple(consequences),
            patch=patch,
            causes=tuple(causes),
            follows=tuple(follows),
        )


RuleCheck = Callable[[Rule, World, Scope], Iterable[Finding]]


def rule(
    id: str,
    name: str,
    severity: Severity,
    *,
    needs: tuple[Kind, ...],
    about: tuple[Kind, ...],
    equivalents: tuple[str, ...] = (),
    reads: tuple[Kind, ...] = (),
    names: tuple[Kind, ...] = (),
) -> Callable[[RuleCheck], Rule]:
    """Make a rule of a function ``(rule, world, scope) -> findings``; its page is the module's docstring."""

    def make(check: RuleCheck) -> Rule:
        module = inspect.getmodule(check)
        page = inspect.cleandoc(module.__doc__ or "") if module else ""
        made: Rule

        def run(world: World, scope: Scope) -> Iterable[Finding]:
            return check(made, world, scope)

        made = Rule(id, name, severity, needs, about, run, page, equivalents, reads, names)
        return made

    return make
