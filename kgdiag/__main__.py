"""`python -m kgdiag`."""

from kgdiag.cli import main

main()
