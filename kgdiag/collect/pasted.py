"""Pasted text: from a file or from standard input."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from kgdiag.errors import InputError


def read_pasted(path: str, stdin: BinaryIO, limit: int) -> str:
    """The text of a file, ``-`` for standard input; bytes that are no UTF-8 are replaced.

    Raises InputError for a file that is missing, unreadable or larger than ``limit`` bytes.
    """
    try:
        if path == "-":
            data = stdin.read(limit + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise InputError(
            error.strerror or str(error), subject=path, hint="name a file, or - and paste"
        ) from None
    if len(data) > limit:
        raise InputError(
            f"is larger than {limit >> 20} MiB", subject=path, hint="cut out the lines in question"
        )
    return data.decode("utf-8", "replace")
