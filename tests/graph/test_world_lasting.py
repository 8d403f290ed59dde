"""Values that outlive a round of reading, while nothing more of what they are made of is read."""

from __future__ import annotations

from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.read import Need, Origin, Read


def test_a_lasting_value_is_made_again_when_one_of_its_kinds_is_read() -> None:
    world = World(Origin.FILES, complete=True)
    made: list[int] = []

    def names() -> tuple[str, ...]:
        made.append(1)
        return tuple(one.name for one in world.known(kinds.SERVICE))

    def ask() -> tuple[str, ...]:
        return world.lasting((kinds.SERVICE, kinds.NAMESPACE), "names", names)

    assert (ask(), ask(), len(made)) == ((), (), 1)
    world.add([Read(Need(kinds.POD))])
    assert (ask(), len(made)) == ((), 1)
    service = Obj(kinds.SERVICE, {"metadata": {"name": "web", "namespace": "shop"}})
    world.add([Read(Need(kinds.SERVICE, "shop", "web"), objects=(service,))])
    assert (ask(), len(made)) == (("web",), 2)
    world.add([Read(Need(kinds.NAMESPACE))])
    assert (ask(), len(made)) == (("web",), 3)
