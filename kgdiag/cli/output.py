"""The terminal: results to standard output, every other word to standard error."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from kgdiag.report.escape import clean

if TYPE_CHECKING:
    from kgdiag.app import Answer
    from kgdiag.cli.options import Reading


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
