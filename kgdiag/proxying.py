"""What ``kgdiag proxy`` does: one Envoy's config, read live, from a snapshot or from a dump, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

from kgdiag.app import Answer, Session, exit_code, locate
from kgdiag.dialects import dialects
from kgdiag.dialects.envoy.dump import dumps_of
from kgdiag.dialects.envoy.proxy import dump_proxy, pod_of
from kgdiag.errors import InputError, NotFoundError, ReadFailed, UsageError
from kgdiag.explain.proxy import Narrow, picture, pods_behind
from kgdiag.graph.ask import ask
from kgdiag.graph.world import World
from kgdiag.model.finding import Severity
from kgdiag.model.obj import Obj
from kgdiag.model.picture import Picture
from kgdiag.model.proxies import PROXY_DUMP
from kgdiag.model.read import Origin
from kgdiag.rules.effect import refusals
from kgdiag.trace.effect import dump_of, effective, unread
from kgdiag.trace.match import string_matches


def show(session: Session, name: str, narrow: Narrow, *, fail_on: Severity | None) -> Answer:
    """The picture of the proxy in a pod, or in the readiest pod behind a Gateway, workload or Service.

    Raises UsageError and NotFoundError for names that lead to no proxy, ReadFailed where it could not be
    asked.
    """
    found = locate(session, name if "/" in name else f"pod/{name}")
    pods = ask(session.source, session.world, lambda world: pods_behind(world, found, dialects()))
    if not pods:
        raise NotFoundError(
            "no pod of it runs an Envoy that kgdiag knows",
            subject=name,
            hint="name a pod with a container istio-proxy or envoy, a Gateway, or a Deployment",
        )
    made = ask(session.source, session.world, lambda world: _picture(world, pods, narrow))
    if made is None:
        read = unread(session.world, pods[0].ref)
        live = session.world.origin is Origin.LIVE
        words = "it answered with no config dump" if live else "these files do not have its config"
        hint = "" if live else "save it with them: kgdiag snapshot save --proxies FILE"
        raise ReadFailed(read.message if read is not None else words, subject=name, hint=hint)
    return Answer(made, tuple(session.world.gaps()), exit_code(session.world, made, fail_on))


def _picture(world: World, pods: Sequence[Obj], narrow: Narrow) -> Picture | None:
    pod = pods[0]
    declared = next(
        (proxy for one in dialects() if one.proxy_of and (proxy := one.proxy_of(world, pod))), None
    )
    obj = world.get(PROXY_DUMP, pod.namespace, pod.name)
    dump = dump_of(world, obj) if obj is not None else None
    if obj is None or dump is None:
        return None
    proxy = effective(world, pod, obj, declared)
    if proxy is None:
        return None
    notes = [f"{part} was not read: {why}" for part, why in obj.mapping("unread").items()]
    if len(pods) > 1:
        others = ", ".join(one.name for one in pods[1:4])
        notes.append(f"one of {len(pods)} pods; the others: {others}{', …' if len(pods) > 4 else ''}")
    return picture(proxy, dump, narrow, via=obj.text("via"), findings=tuple(refusals(world)), notes=notes)


def show_file(path: str, narrow: Narrow, *, fail_on: Severity | None) -> Answer:
    """The picture of a config dump in a file; raises InputError for a file that is none."""
    from kgdiag.collect.dumps import read_dump
    from kgdiag.collect.proxies import without_secrets

    try:
        found = dumps_of(without_secrets(read_dump(path)))
    except ValueError as error:
        raise InputError(str(error), subject=path) from None
    if len(found) > 1:
        names = ", ".join(name for name, _ in found)
        raise UsageError(
            f"the file has {len(found)} dumps: {names}", subject=path, hint="give it one of them"
        )
    name, dump = found[0]
    proxy = dump_proxy(dump, string_matches, pod=pod_of(dump, name))
    world = World(Origin.FILES)
    missing = [f"the file has no {part}" for part in sorted(dump.missing)]
    made = picture(proxy, dump, narrow, via=path, notes=missing)
    return Answer(made, (), exit_code(world, made, fail_on))
