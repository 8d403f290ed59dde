"""The command line: parse, ask the app, print, exit. Nothing else is done here."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run `kgdiag`; exits with the contract's codes and never with a traceback for what a user did."""
    from kgdiag.cli.commands import run

    # One command, then the process ends: Python's cyclic garbage collector only goes over what was read,
    # again and again. A trace over 5,000 routes takes twice as long with it.
    gc.disable()
    sys.exit(run(list(sys.argv[1:] if argv is None else argv)))
