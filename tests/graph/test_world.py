"""The World: what is asked, what is lacking, what a failed read means."""

from __future__ import annotations

from kgdiag.dialects.core import owner_ref
from kgdiag.graph.world import Missing, World
from kgdiag.model import kinds
from kgdiag.model.kind import Kind
from kgdiag.model.obj import Obj
from kgdiag.model.read import Need, Origin, Read, Status


def obj(kind: Kind, name: str, namespace: str = "", **labels: str) -> Obj:
    return Obj(kind, {"metadata": {"name": name, "namespace": namespace, "labels": labels}})


def test_an_object_of_a_name_in_any_namespace_is_one_narrow_list() -> None:
    world = World(Origin.LIVE)
    assert world.named(kinds.CONFIG_MAP, "settings") == []
    assert world.lacking == [Need(kinds.CONFIG_MAP, None, "settings")]
    world.add(
        [Read(Need(kinds.CONFIG_MAP, None, "settings"), objects=(obj(kinds.CONFIG_MAP, "settings", "a"),))]
    )
    assert [item.namespace for item in world.named(kinds.CONFIG_MAP, "settings")] == ["a"]
    assert world.get(kinds.CONFIG_MAP, "b", "settings") is None
    assert not world.lacking  # the list of that name is knowledge of every namespace


def test_a_forbidden_list_of_a_name_falls_back_to_the_home_namespaces() -> None:
    world = World(Origin.LIVE, home=("mine",))
    need = Need(kinds.CONFIG_MAP, None, "settings")
    world.named(kinds.CONFIG_MAP, "settings")
    world.add([Read(need, Status.FORBIDDEN)])
    world.named(kinds.CONFIG_MAP, "settings")
    assert world.lacking == [Need(kinds.CONFIG_MAP, "mine", "settings")]


def test_a_forbidden_list_falls_back_and_stays_a_gap() -> None:
    world = World(Origin.LIVE, home=("mine",))
    world.all(kinds.SERVICE)
    world.add([Read(Need(kinds.SERVICE), Status.FORBIDDEN, message="no")])
    world.all(kinds.SERVICE)
    assert world.lacking == [Need(kinds.SERVICE, "mine")]
    world.add([Read(Need(kinds.SERVICE, "mine"), objects=(obj(kinds.SERVICE, "web", "mine"),))])
    assert [item.name for item in world.all(kinds.SERVICE)] == ["web"]
    assert [read.status for read in world.gaps(needed_only=True)] == [Status.FORBIDDEN]
    assert world.missing(kinds.SERVICE, "other", "x") is Missing.UNREADABLE
    assert world.missing(kinds.SERVICE, "mine", "x") is Missing.GONE


def test_optional_reads_are_no_needed_gaps() -> None:
    world = World(Origin.LIVE)
    world.all(kinds.INGRESS, "a", optional=True)
    world.add([Read(Need(kinds.INGRESS, "a"), Status.FORBIDDEN)])
    assert world.gaps() and not world.gaps(needed_only=True)
    world.all(kinds.INGRESS, "a")
    assert world.gaps(needed_only=True)


def test_asking_for_what_a_wider_need_brings_is_one_read() -> None:
    world = World(Origin.LIVE)
    world.all(kinds.SERVICE)
    world.get(kinds.SERVICE, "a", "web")
    world.all(kinds.SERVICE, "a")
    world.select(kinds.SERVICE, "b", {"app": "web"})
    assert world.lacking == [Need(kinds.SERVICE)]


def test_what_is_pending_can_be_waited_for() -> None:
    world = World(Origin.LIVE)
    assert not world.pending(kinds.DEPLOYMENT, "a", {"app": "istiod"})
    world.select(kinds.DEPLOYMENT, "a", {"app": "istiod"})
    assert world.pending(kinds.DEPLOYMENT, "a", {"app": "istiod"})
    world.add([Read(world.lacking[0])])
    assert not world.pending(kinds.DEPLOYMENT, "a", {"app": "istiod"})


def test_questions_that_may_read_no_more_leave_nothing_lacking() -> None:
    world = World(Origin.LIVE)
    world.add([Read(Need(kinds.POD, "a"), objects=(obj(kinds.POD, "web", "a"),))])
    with world.only_read() as unread:
        assert [pod.name for pod in world.all(kinds.POD, "a")] == ["web"]
        assert world.all(kinds.NETWORK_POLICY, "a") == []
    assert unread == [Need(kinds.NETWORK_POLICY, "a")]
    assert not world.lacking
    assert world.has(kinds.POD, "a") and not world.has(kinds.POD, "b")
    world.all(kinds.NETWORK_POLICY, "a")
    assert world.lacking == [Need(kinds.NETWORK_POLICY, "a")]


def test_owners_without_a_namespace_have_none() -> None:
    assert owner_ref("gateway.networking.k8s.io", "GatewayClass", "a", "eg").namespace == ""
    assert owner_ref("apps", "Deployment", "a", "web").namespace == "a"
