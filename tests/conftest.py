"""What holds for all tests: generated examples are the same on every run, and no test is judged by time."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
# KGDIAG_HYPOTHESIS=search looks for new examples; CI and everybody else gets the same ones.
settings.load_profile(os.environ.get("KGDIAG_HYPOTHESIS", "same"))
