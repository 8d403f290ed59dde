"""Label selectors, resolved through indexes.

Sources: kubernetes.io/docs/concepts/overview/working-with-objects/labels; for Istio, whose empty selectors
differ by where they stand, istio pkg/config/labels/instance.go (SubsetOf and Match).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from kgdiag.model.obj import Obj

T = TypeVar("T")
Pairs = Sequence[tuple[str, str]]


def subset_of(selector: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether all of a selector's equalities hold; an empty selector holds for everything."""
    return all(labels.get(key) == value for key, value in selector.items())


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, Any]) -> bool:
    """A LabelSelector with ``matchLabels`` and ``matchExpressions``; None and ``{}`` match everything."""
    if not selector:
        return True
    wanted = selector.get("matchLabels")
    if isinstance(wanted, Mapping) and not subset_of(wanted, labels):
        return False
    expressions = selector.get("matchExpressions")
    return not isinstance(expressions, list) or all(_holds(item, labels) for item in expressions)


def _holds(expression: Any, labels: Mapping[str, Any]) -> bool:
    if not isinstance(expression, Mapping):
        return True
    key, values = str(expression.get("key", "")), expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def _pairs(labels: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The labels that can be equal to any, sorted: what is no text in a file is nobody's label."""
    return sorted(pair for pair in labels.items() if not isinstance(pair[1], (list, dict)))


class LabelIndex:
    """Objects by each of their labels: a selector costs its rarest label's posting list."""

    def __init__(self, items: Iterable[tuple[Obj, Mapping[str, Any]]]) -> None:
        self._all: list[Obj] = []
        self._labels: list[Mapping[str, Any]] = []
        self._postings: dict[tuple[str, Any], list[int]] = {}
        for obj, labels in items:
            at = len(self._all)
            self._all.append(obj)
            self._labels.append(labels)
            for pair in _pairs(labels):
                self._postings.setdefault(pair, []).append(at)

    def select(self, selector: Pairs) -> list[Obj]:
        """The objects that have all pairs, in the index's order; no pairs select all."""
        if not selector:
            return list(self._all)
        lists = [self._postings.get(pair) for pair in selector]
        if any(posting is None for posting in lists):
            return []
        rarest = min((posting for posting in lists if posting is not None), key=len)
        wanted = dict(selector)
        return [self._all[at] for at in rarest if subset_of(wanted, self._labels[at])]


class SelectorIndex(Generic[T]):
    """Selectors by one of their pairs, to find which of them a set of labels satisfies.

    Empty selectors match everything where ``empty_matches`` (Istio's policies and Gateways), else nothing
    (Services).
    """

    def __init__(self, items: Iterable[tuple[T, Mapping[str, Any]]], *, empty_matches: bool) -> None:
        self._by_pair: dict[tuple[str, Any], list[tuple[int, T, Mapping[str, Any]]]] = {}
        self._empty: list[tuple[int, T]] = []
        for at, (item, selector) in enumerate(items):
            if selector:
                for pair in _pairs(selector)[:1]:
                    self._by_pair.setdefault(pair, []).append((at, item, selector))
            elif empty_matches:
                self._empty.append((at, item))

    def matching(self, labels: Mapping[str, Any]) -> list[T]:
        """The items whose selector the labels satisfy, in the order given."""
        found = list(self._empty)
        for pair in _pairs(labels):
            for at, item, selector in self._by_pair.get(pair, ()):
                if subset_of(selector, labels):
                    found.append((at, item))
        return [item for _, item in sorted(found, key=lambda entry: entry[0])]
