"""Config dumps of proxies from files, as parsed JSON (gzip is unpacked)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import orjson

from kgdiag.errors import InputError

_LARGEST = 1 << 30


def read_dump(path: str) -> Any:
    """The JSON of a dump; raises InputError for a file that is missing, unreadable, too large or no JSON."""
    return parse_dump(dump_text(path), path)


def dump_text(path: str) -> bytes:
    """The text of a dump, unpacked; raises InputError for a file that is missing, unreadable or too large."""
    file = Path(path)
    try:
        if file.is_dir():
            raise InputError("is a folder, not a config dump", subject=path)
        if file.stat().st_size > _LARGEST:
            raise InputError("is larger than 1 GiB", subject=path)
        data = file.read_bytes()
    except OSError as error:
        raise InputError(error.strerror or str(error), subject=path, hint="name a config dump") from None
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"cannot be unpacked: {error}", subject=path) from None
    return data


def parse_dump(data: bytes, path: str) -> Any:
    """The text of a dump as JSON; raises InputError where it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        how = "kubectl exec POD -c istio-proxy -- pilot-agent request GET 'config_dump?include_eds'"
        raise InputError(f"is no JSON: {error}", subject=path, hint=f"make one with: {how}") from None
