"""Rules read what they declare and nothing else, so that rights can be derived from the declarations."""

from __future__ import annotations

import io
from collections import defaultdict
from functools import lru_cache
from typing import Any

import pytest
import yaml

from kgdiag.collect.files import read_files
from kgdiag.graph.ask import ask
from kgdiag.graph.assumed import AssumedPods
from kgdiag.graph.world import World
from kgdiag.model.kind import Kind
from kgdiag.model.read import Need, Origin, Read, Source, Status
from kgdiag.rules import catalogue
from kgdiag.rules.base import Rule, Scope
from kgdiag.rules.run import run
from tests.check.support import Run
from tests.test_scenarios import cases


class Recorder:
    """A source that notes what it was asked for, as a live one; what is not ``allowed`` is forbidden."""

    def __init__(self, source: Source, allowed: set[tuple[Kind, str]] | None = None) -> None:
        self.source = source
        self.allowed = allowed
        self.asked: list[Need] = []

    @property
    def origin(self) -> Origin:
        return Origin.LIVE

    def read(self, needs: list[Need]) -> list[Read]:
        self.asked += needs
        refused = [need for need in needs if self.allowed is not None and verb(need) not in self.allowed]
        granted = self.source.read([need for need in needs if need not in refused])
        return [*granted, *(Read(need, Status.FORBIDDEN, message="not granted") for need in refused)]


def verb(need: Need) -> tuple[Kind, str]:
    """What the API calls a read: one object of a known place is ``get``, everything else ``list``."""
    one = need.name is not None and (need.namespace is not None or not need.kind.namespaced)
    return need.kind, "get" if one else "list"


def run_alone(rule: Rule, text: str, allowed: set[tuple[Kind, str]] | None = None) -> tuple[Recorder, Any]:
    files = read_files(["-"], complete=True, stdin=io.BytesIO(text.encode()))
    source = Recorder(AssumedPods(files), allowed)  # a cluster runs the pods of its Deployments
    world = World(Origin.LIVE, home=("default",))
    return source, ask(source, world, lambda world: (run(world, [rule], Scope()), world.gaps()))


@lru_cache(maxsize=1)
def observed() -> dict[str, set[tuple[Kind, str]]]:
    """What each rule asked for over all scenarios, each run alone."""
    found: dict[str, set[tuple[Kind, str]]] = defaultdict(set)
    for case in cases():
        for rule in catalogue().values():
            source, _ = run_alone(rule, case.text)
            found[rule.id] |= {verb(need) for need in source.asked}
    return found


def declared(rule: Rule) -> set[tuple[Kind, str]]:
    listed = {(kind, word) for kind in (*rule.needs, *rule.reads) for word in ("get", "list")}
    return listed | {(kind, "get") for kind in rule.names}


@pytest.mark.parametrize("rule", catalogue().values(), ids=lambda rule: rule.id)
def test_a_rule_reads_what_it_declares(rule: Rule) -> None:
    """Add what is missing to ``reads=`` of the rule, or to ``names=`` where it is read by its name only."""
    missing = observed()[rule.id] - declared(rule)
    assert sorted(f"{kind.name} {word}" for kind, word in missing) == []


@pytest.mark.parametrize("rule", catalogue().values(), ids=lambda rule: rule.id)
def test_a_rule_declares_what_it_reads(rule: Rule) -> None:
    """A right that no scenario makes the rule use is too much. What it needs is its own to say."""
    used = {kind for kind, _ in observed()[rule.id]}
    assert sorted(kind.name for kind in {*rule.reads, *rule.names} - used) == []


def granted(text: str) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of a role."""
    role = yaml.safe_load(text)
    assert (role["apiVersion"], role["kind"]) == ("rbac.authorization.k8s.io/v1", "ClusterRole")
    return {
        (group, resource, word)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for word in rule["verbs"]
    }


@pytest.mark.parametrize("only", [[], ["KG110"], ["KG406"], ["KG101", "KG501"], ["KG001"]])
def test_the_role_is_what_the_rules_declare(check: Run, only: list[str]) -> None:
    code, out, err = check("--rbac", *(word for rule in only for word in ("--only", rule)))
    assert (code, err) == (0, "")
    rules = [rule for rule in catalogue().values() if not only or rule.id in only]
    expected = {(kind.group, kind.plural, word) for rule in rules for kind, word in declared(rule)}
    assert granted(out) == expected
    assert {word for _, _, word in granted(out)} <= {"get", "list"}


def test_secrets_are_read_by_name_only(check: Run) -> None:
    assert ("", "secrets", "list") not in granted(check("--rbac")[1])


@pytest.mark.parametrize("rule", catalogue().values(), ids=lambda rule: rule.id)
def test_with_the_role_nothing_is_skipped(rule: Rule) -> None:
    for case in cases():
        _, ((_, skipped), gaps) = run_alone(rule, case.text, declared(rule))
        assert (skipped, gaps) == ([], []), case.name


@pytest.mark.parametrize(
    "rule", [rule for rule in catalogue().values() if rule.needs], ids=lambda rule: rule.id
)
def test_a_rule_without_its_kinds_is_skipped_with_the_reason(rule: Rule) -> None:
    """Nothing may be read: the rule says that it was not run, and claims nothing."""
    _, ((found, skipped), _) = run_alone(rule, cases()[0].text, set())
    assert [item.rule for item in skipped] == [rule.id]
    assert "forbidden" in skipped[0].reason
    assert [item for item in found if item.severity == "error"] == []
