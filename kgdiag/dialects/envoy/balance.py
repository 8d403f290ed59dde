"""Which share of a cluster's requests each of its endpoints gets.

Sources: envoy docs, intro/arch_overview/upstream/load_balancing (priority levels, locality weighted load
balancing, panic threshold); api/envoy/config/endpoint/v3/endpoint_components.proto (weights; a locality
without a weight gets nothing where localities are weighted).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kgdiag.model.obj import dig

Json = Mapping[str, Any]
_FACTOR = 140  # overprovisioning, in percent
_GOOD = ("HEALTHY", "UNKNOWN", "DEGRADED")


def weights(load: Json, cluster: Json) -> dict[int, float]:
    """The weight of each ``lb_endpoints`` entry of a ClusterLoadAssignment, by the entry's ``id``.

    0 for endpoints of priorities and localities that get no request. Unhealthy endpoints keep a weight, since
    they are told apart by their health.
    """
    groups = [item for item in load.get("endpoints") or () if isinstance(item, Mapping)]
    by_priority: dict[int, list[Json]] = {}
    for group in groups:
        by_priority.setdefault(int(group.get("priority") or 0), []).append(group)
    factor = int(dig(load, "policy.overprovisioning_factor", _FACTOR))
    shares = _priorities([by_priority[key] for key in sorted(by_priority)], factor)
    weighted = _by_locality(cluster)
    found: dict[int, float] = {}
    for key, share in zip(sorted(by_priority), shares, strict=True):
        level = by_priority[key]
        total = sum(_level(group, weighted, factor) for group in level)
        for group in level:
            part = _level(group, weighted, factor) / total if total else 1 / len(level)
            own = sum(_weight(item) for item in _healthy(group)) or 1
            for item in _items(group):
                found[id(item)] = share * part * _weight(item) / own
    return found


def locality(group: Json) -> str:
    """``region/zone/sub_zone`` of a group of endpoints."""
    place = dig(group, "locality", {})
    parts = (str(place.get(key) or "") for key in ("region", "zone", "sub_zone"))
    return "/".join(part for part in parts if part)


def _level(group: Json, weighted: bool, factor: int) -> float:
    """What a locality counts for within its priority."""
    if not weighted:
        return float(sum(_weight(item) for item in _healthy(group)))
    items = _items(group)
    healthy = len(_healthy(group)) / len(items) if items else 0.0
    return _weight(group, 0) * min(1.0, healthy * factor / 100)


def _priorities(levels: Sequence[Sequence[Json]], factor: int) -> list[float]:
    """The share of each priority: what the ones before it, by their health, leave to it."""
    health = []
    for level in levels:
        items = [item for group in level for item in _items(group)]
        healthy = sum(len(_healthy(group)) for group in level)
        health.append(min(1.0, healthy / len(items) * factor / 100) if items else 0.0)
    total = min(1.0, sum(health))
    if not total:
        return [1.0 if at == 0 else 0.0 for at in range(len(levels))]
    shares, left = [], 1.0
    for one in health:
        shares.append(min(left, one / total))
        left -= shares[-1]
    return shares


def _by_locality(cluster: Json) -> bool:
    if isinstance(dig(cluster, "common_lb_config.locality_weighted_lb_config"), Mapping):
        return True
    policies = dig(cluster, "load_balancing_policy.policies", [])
    first = policies[0] if policies else {}
    path = "typed_extension_config.typed_config.locality_lb_config.locality_weighted_lb_config"
    return isinstance(dig(first, path), Mapping)


def _items(group: Json) -> list[Json]:
    return [item for item in group.get("lb_endpoints") or () if isinstance(item, Mapping)]


def _healthy(group: Json) -> list[Json]:
    return [item for item in _items(group) if str(item.get("health_status", "HEALTHY")) in _GOOD]


def _weight(item: Json, default: int = 1) -> int:
    found = item.get("load_balancing_weight")
    return found if isinstance(found, int) else default
