"""What is taken off every object before anybody sees it, from servers and from files alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def clean(raw: dict[str, Any]) -> dict[str, Any]:
    """The object without ``managedFields`` and the last-applied annotation; a Secret without its values.

    Changes ``raw``, which must be the caller's own, and returns it (a new object for a Secret).
    """
    if raw.get("kind") == "Secret" and raw.get("apiVersion") == "v1":
        from kgdiag.collect.secrets import redact

        return redact(raw)
    meta = raw.get("metadata")
    if isinstance(meta, dict):
        meta.pop("managedFields", None)
        annotations = meta.get("annotations")
        if isinstance(annotations, Mapping) and LAST_APPLIED in annotations:
            meta["annotations"] = {key: value for key, value in annotations.items() if key != LAST_APPLIED}
    return raw
