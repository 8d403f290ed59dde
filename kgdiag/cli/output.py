"""The terminal: results to standard output, every other word to standard error."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kgdiag.report.escape import clean

if TYPE_CHECKING:
    from kgdiag.app import Answer
    from kgdiag.cli.options import Reading
    from kgdiag.model.note import Note
    from kgdiag.model.read import Read

_NOTES = 5


def colored(reading: Reading) -> bool:
    """Colour only where a terminal shows it and nobody asked for none (https://no-color.org)."""
    return (
        not reading.no_color
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
        and sys.stdout.isatty()
    )


def print_answer(answer: Answer, reading: Reading) -> None:
    """The answer in the format that was asked for."""
    from kgdiag.report import render

    width = max(40, shutil.get_terminal_size((100, 24)).columns)
    write(render(answer, reading.output.value, width=width, color=colored(reading)))


def terminal_width() -> int:
    """Columns of the terminal on standard output, 0 where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def write(text: str) -> None:
    """To standard output, whatever its encoding can hold."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def say(text: str) -> None:
    """A word to the user, on standard error."""
    encoding = sys.stderr.encoding or "utf-8"
    safe = "\n".join(clean(line) for line in text.split("\n"))
    sys.stderr.write(safe.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stderr.flush()


def say_notes(notes: Sequence[Note], reading: Reading) -> None:
    """What of the files was not read, or not as it is written; findings tell of the rest."""
    from kgdiag.model.note import NoteCode

    told = (
        NoteCode.NOT_A_MANIFEST, NoteCode.NO_NAME, NoteCode.TEMPLATE, NoteCode.SKIPPED,
        NoteCode.DUPLICATE_OBJECT, NoteCode.IGNORED,
    )  # fmt: skip
    found = [note for note in notes if note.code in told]
    if reading.quiet or not found:
        return
    for note in found if reading.verbose else found[:_NOTES]:
        say(f"{note.place}: {note.message}")
    if not reading.verbose and len(found) > _NOTES:
        say(f"and {len(found) - _NOTES} more documents like these (-v)")


def say_reads(reads: Iterable[Read], reading: Reading) -> None:
    """What was read and how it ended, with ``-v``."""
    if reading.quiet or not reading.verbose:
        return
    for read in reads:
        need = read.need
        what = f"{need.kind.resource} {need.name}" if need.name else need.kind.resource
        where = f" in {need.namespace}" if need.namespace else ""
        labels = "".join(f" {key}={value}" for key, value in need.labels)
        result = f"{read.status}, {len(read.objects)}" if read.status == "ok" else str(read.status)
        say(f"read {what}{where}{labels}: {result}{f' ({read.message})' if read.message else ''}")
