"""Findings on what proxies do: what they refused, and where they differ from what is declared.

The rules KG901 to KG906 say what each means. A difference is one of two traces of the same request, one by
the declared objects and one by the proxies' own config; so it takes a request, and ``check`` knows none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kgdiag.graph.core import pods_of
from kgdiag.graph.world import World, kind_of
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Finding, Severity
from kgdiag.model.obj import Obj, dig
from kgdiag.model.proxies import PROXY_DUMP, SYNC_STATUS
from kgdiag.model.ref import Ref
from kgdiag.model.trace import Act, Hop, Outcome, PathTaken, Result, Trace
from kgdiag.rules import catalogue
from kgdiag.rules.base import Rule
from kgdiag.trace.effect import dump_of

_SAME = 0.005  # shares that differ by less are equal: weights are whole numbers, and Envoy's may be of 10,000
_WORDS = 240


# -- what a proxy refused ------------------------------------------------------------------------------


def refusals(world: World) -> Iterator[Finding]:
    """KG905 for everything that the proxies whose dumps are read were sent and refused, and KG906 for those
    that have lost their control plane."""
    rule, stale = catalogue()["KG905"], catalogue()["KG906"]
    for obj in world.known(PROXY_DUMP):
        pod = _pod(obj)
        dump = dump_of(world, obj)
        for what, words in dump.rejected if dump is not None else ():
            yield rule.finding(
                pod,
                f"{pod} refused {what}: {_short(words)}",
                fix="mend the object that it comes from; until then the proxy keeps what it had before",
                verify=_commands(obj, "listeners" if what.startswith("listener") else "clusters"),
                consequences=[f"{pod} goes on with the last {what} that it accepted, or without it"],
            )
        if _disconnected(obj):
            yield stale.finding(
                pod,
                f"{pod} is not connected to its control plane: what changes does not reach it",
                fix="look why: the control plane's pods, and the proxy's log",
                verify=_commands(obj, "all"),
            )


def _disconnected(obj: Obj) -> bool:
    stats = obj.mapping("stats").get("stats")
    return any(
        isinstance(item, Mapping)
        and item.get("name") == "control_plane.connected_state"
        and item.get("value") == 0
        for item in (stats if isinstance(stats, list) else ())
    )


# -- where effect differs ------------------------------------------------------------------------------


@dataclass
class _End:
    """All paths of one entry that end alike: their share, their pods, and one of them."""

    path: PathTaken
    weight: float = 0.0
    pods: set[Ref] = field(default_factory=set)


def disagreements(world: World, intent: Trace, effect: Trace) -> Iterator[Finding]:
    """A finding for each entry whose requests the proxies treat otherwise than the objects declare.

    Outcomes that cannot be known, on either side, are no difference.
    """
    declared, real = _by_entry(intent), _by_entry(effect)
    for entry in dict.fromkeys((*declared, *real)):
        before, after = declared.get(entry, []), real.get(entry, [])
        if any(path.outcome.result is Result.UNKNOWN for path in (*before, *after)):
            continue
        if not before or not after:
            yield from _one_sided(world, entry, before, after)
            continue
        yield from _compared(world, _ends(before), _ends(after))


def _by_entry(trace: Trace) -> dict[Ref, list[PathTaken]]:
    found: dict[Ref, list[PathTaken]] = {}
    for path in trace.paths:
        found.setdefault(path.entry, []).append(path)
    return found


def _ends(paths: Sequence[PathTaken]) -> dict[object, _End]:
    found: dict[object, _End] = {}
    for path in paths:
        end = found.setdefault(_key(path), _End(path))
        end.weight += path.weight
        end.pods |= set(path.outcome.pods)
        if path.weight > end.path.weight:
            end.path = path
    return found


def _key(path: PathTaken) -> object:
    """What a client and a backend can tell of the end of a path, without which replica it was."""
    outcome, last = path.outcome, path.hops[-1] if path.hops else None
    backend = outcome.backend
    request = last.request if last is not None and outcome.result is Result.DELIVERED else None
    return (
        outcome.result,
        outcome.status,
        outcome.flag,
        outcome.grpc_status,
        outcome.location,
        (backend.service, backend.port, backend.subset) if backend is not None else None,
        str(outcome.response_headers.to_json()),
        str(request.to_json()) if request is not None else "",
    )


def _compared(
    world: World, declared: Mapping[object, _End], real: Mapping[object, _End]
) -> Iterator[Finding]:
    lost = [end for key, end in declared.items() if key not in real or _less(real[key], end)]
    new = [end for key, end in real.items() if key not in declared or _less(declared[key], end)]
    if lost or new:
        before = max(lost or declared.values(), key=lambda end: end.weight)
        after = max(new or real.values(), key=lambda end: end.weight)
        yield _Difference(world, before, after).finding()
        return
    for key, end in declared.items():
        if end.pods != real[key].pods and end.path.outcome.result is Result.DELIVERED:
            yield _Difference(world, end, real[key]).endpoints()
            return


def _less(one: _End, other: _End) -> bool:
    return one.weight < other.weight - _SAME


def _one_sided(
    world: World, entry: Ref, before: Sequence[PathTaken], after: Sequence[PathTaken]
) -> Iterator[Finding]:
    """Entries that only the one trace followed, since the other has them turn the request away."""
    if before and any(path.outcome.result is not Result.REFUSED for path in before):
        yield _Difference(world, _End(before[0], 1.0), None).finding()
    elif after and any(path.outcome.result is not Result.REFUSED for path in after):
        yield _Difference(world, None, _End(after[0], 1.0)).finding()


class _Difference:
    """One difference: what was declared, what the proxies do, and what explains it."""

    def __init__(self, world: World, before: _End | None, after: _End | None) -> None:
        self._world = world
        self._before = before
        self._after = after
        self._declared = _decisions(before)
        self._real = _decisions(after)
        self._at = next(
            (
                at
                for at, (one, other) in enumerate(zip(self._declared, self._real, strict=False))
                if _differ(one, other)
            ),
            min(len(self._declared), len(self._real)),
        )
        self._proxy = self._where()

    def finding(self) -> Finding:
        """The one finding that names the difference best."""
        one = self._declared[self._at] if self._at < len(self._declared) else None
        other = self._real[self._at] if self._at < len(self._real) else None
        if one is not None and other is None:
            return self._made("KG901", one.object, f"{one.object} is declared to take the request")
        if other is not None and (one is None or self._gone(other.object)):
            return self._made("KG902", other.object, self._undeclared(other))
        if one is not None and other is not None:
            words = f"{one.object} is declared to take the request, and {other.object} takes it"
            return self._made("KG903", one.object, words)
        after = self._after.path.outcome if self._after else None
        made = self._declared or self._real
        at = made[-1].object if made else self._entry()
        if after is not None and after.flag == "UH":
            return self.endpoints()
        rule = "KG901" if after is not None and after.result is Result.REFUSED else "KG903"
        return self._made(rule, at, f"{at} decides the request")

    def endpoints(self) -> Finding:
        """The same decisions, and other pods behind them."""
        before, after = self._before, self._after
        assert before is not None and after is not None
        backend = before.path.outcome.backend or after.path.outcome.backend
        at = backend.service if backend is not None and backend.service is not None else self._entry()
        missing, extra = sorted(before.pods - after.pods), sorted(after.pods - before.pods)
        parts = []
        if missing:
            parts.append(f"does not send to {_names(missing)}")
        if extra:
            parts.append(f"sends to {_names(extra)}, which no EndpointSlice has as ready")
        who = self._proxy.ref if self._proxy is not None else "the proxy"
        words = f"{who} {' and '.join(parts) or 'has no healthy endpoint'} for {at}"
        return self._made("KG904", at, words, what="endpoints", outcomes=False)

    def _undeclared(self, hop: Hop) -> str:
        gone = "does not exist (any more), and" if self._gone(hop.object) else "is not declared to, and"
        return f"{hop.object} {gone} takes the request in the proxy"

    def _made(
        self, rule_id: str, at: Ref, words: str, *, what: str = "routes", outcomes: bool = True
    ) -> Finding:
        rule = catalogue()[rule_id]
        before = self._before.path.outcome if self._before else None
        after = self._after.path.outcome if self._after else None
        facts = f": as declared {_told(before)}, by the proxy {_told(after)}" if outcomes else ""
        why = _causes(self._world, self._proxy)
        because = f"; {'; '.join(why)}" if why else ""
        worse = (
            after is not None
            and after.result is Result.REFUSED
            and (before is None or before.result is not Result.REFUSED or before.location is not None)
        )
        hops = [*(self._declared[self._at : self._at + 1]), *(self._real[self._at : self._at + 1])]
        return rule.finding(
            at,
            f"{words}{facts}{because}",
            severity=Severity.ERROR if worse else Severity.WARNING,
            evidence=[item for hop in hops for item in hop.evidence][:4],
            fix=_fix(why),
            verify=_commands(self._proxy, what) if self._proxy is not None else _object_command(at),
        )

    def _gone(self, ref: Ref) -> bool:
        kind = kind_of(ref)
        if kind is None or (ref.group, ref.kind) == ("", "Pod"):
            return False
        found = self._world.get(kind, ref.namespace, ref.name, optional=True)
        return found is None and self._world.readable(kind, ref.namespace)

    def _entry(self) -> Ref:
        end = self._before or self._after
        assert end is not None
        return end.path.entry

    def _where(self) -> Obj | None:
        """The dump of the proxy where the ways part: the last one that both came to."""
        end = self._after or self._before
        dumps = {_pod(obj): obj for obj in self._world.known(PROXY_DUMP)}
        passed: list[Obj] = []
        decided = 0
        for hop in end.path.hops if end is not None else ():
            if hop.action is Act.MATCHES:
                decided += 1
            if decided > self._at and passed:
                break
            passed += [obj for pod, obj in dumps.items() if _mentions(hop, pod)][:1]
        return passed[-1] if passed else next(iter(dumps.values()), None)


def _mentions(hop: Hop, pod: Ref) -> bool:
    accepts = hop.action in (Act.ACCEPTS, Act.REJECTS)
    return hop.object == pod if not accepts else hop.object == pod or str(pod) in hop.detail


def _decisions(end: _End | None) -> list[Hop]:
    return [hop for hop in end.path.hops if hop.action is Act.MATCHES] if end is not None else []


def _differ(one: Hop, other: Hop) -> bool:
    """Whether two decisions are other objects'; an entry without a declared object says nothing."""
    plain = ("Pod", "Service")
    return one.object != other.object and one.object.kind not in plain and other.object.kind not in plain


def _told(outcome: Outcome | None) -> str:
    if outcome is None:
        return "it turns the request away"
    if outcome.result is Result.DELIVERED:
        where = outcome.backend.service if outcome.backend and outcome.backend.service else None
        return f"delivered to {where or ', '.join(map(str, outcome.pods[:2])) or 'an endpoint'}"
    if outcome.result is Result.EXTERNAL:
        return "sent out of the cluster"
    flag = f" {outcome.flag}" if outcome.flag else ""
    if outcome.location:
        return f"redirected ({outcome.status}) to {outcome.location}"
    return f"refused with {outcome.status}{flag}" if outcome.status else f"refused{flag} ({outcome.reason})"


def _names(pods: Sequence[Ref]) -> str:
    more = f" and {len(pods) - 3} more" if len(pods) > 3 else ""
    return ", ".join(map(str, pods[:3])) + more


# -- what explains it ----------------------------------------------------------------------------------


def _causes(world: World, proxy: Obj | None) -> list[str]:
    """What is known to keep a proxy from what is declared, the surest first."""
    if proxy is None:
        return []
    dump = dump_of(world, proxy)
    found = [f"it refused {what}: {_short(words)}" for what, words in dump.rejected[:2]] if dump else []
    if _disconnected(proxy):
        found.append("it is not connected to its control plane")
    address = dig(dump.bootstrap, "node.metadata.PROXY_CONFIG.discoveryAddress", "") if dump else ""
    if isinstance(address, str) and address:
        found += _sync(world, proxy, address)
    return found


def _sync(world: World, proxy: Obj, address: str) -> list[str]:
    """What istiod says of a proxy: not connected, or something that was sent and not acknowledged.

    ``address`` is the proxy's discovery address, ``istiod.istio-system.svc:15012``. Source: istio
    pilot/pkg/xds/debug.go, Syncz.
    """
    labels = address.partition(":")[0].split(".")
    if len(labels) < 2:
        return []
    service = world.get(kinds.SERVICE, labels[1], labels[0], optional=True)
    if service is None:
        return (
            []
            if world.lacking
            else [f"Service {labels[1]}/{labels[0]} does not exist: nobody sends it anything"]
        )
    pods = [pod for pod in pods_of(world, service) if pod.text("status.phase") == "Running"]
    if not pods:
        return [] if world.lacking else [f"no istiod runs behind {service.ref}: nothing is sent to it"]
    name = f"{proxy.name}.{proxy.namespace}"
    answers = [world.get(SYNC_STATUS, pod.namespace, pod.name, optional=True) for pod in pods[:4]]
    known = [obj for obj in answers if obj is not None]
    for obj in known:
        for entry in _entries(obj.raw.get("syncz")):
            if entry.get("proxy") == name:
                late = [
                    kind
                    for kind in ("cluster", "listener", "route", "endpoint")
                    if entry.get(f"{kind}_sent") and entry.get(f"{kind}_sent") != entry.get(f"{kind}_acked")
                ]
                return (
                    [f"{obj.name} sent {', '.join(late)} config that it has not acknowledged"] if late else []
                )
    return [f"no istiod knows {name}: it is not connected"] if known and len(known) == len(pods) else []


def _entries(value: Any) -> Iterator[Mapping[str, Any]]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, Mapping):
            yield item


def _fix(why: Sequence[str]) -> str:
    if any("refused" in text for text in why):
        return "mend the object that the proxy refuses"
    if any("istiod" in text or "connected" in text for text in why):
        return "let istiod run and the proxy reach it; it sends what is missing on its own"
    return "wait for the control plane to settle and ask again; if it stays, read the control plane's log"


# -- commands ------------------------------------------------------------------------------------------


def _commands(dump: Obj, what: str) -> list[Command]:
    pod, namespace = dump.name, dump.namespace
    if not str(dump.get("via") or "").endswith(("15000", "istio-proxy")):
        expect = f"the {what} of the proxy with the objects that they come from"
        return [Command(("kgdiag", "proxy", pod, "-n", namespace), expect)]
    return [
        commands.istioctl(what, pod, namespace, expect=f"the {what} that the proxy has"),
        Command(("istioctl", "proxy-status", f"{pod}.{namespace}"), "whether it has what istiod sent"),
    ]


def _object_command(ref: Ref) -> list[Command]:
    kind = kind_of(ref)
    return [commands.get(kind, ref.namespace, ref.name, expect=f"{ref}")] if kind is not None else []


def _pod(obj: Obj) -> Ref:
    return Ref("", "Pod", obj.namespace, obj.name)


def _short(words: str) -> str:
    text = " ".join(words.split())
    return text if len(text) <= _WORDS else f"{text[: _WORDS - 1]}…"


__all__ = ["Iterable", "Rule", "disagreements", "refusals"]
