"""The walker against a real Envoy: random configurations, random requests, no disagreement.

``make envoy-differential SEED=… N=…`` compares more of them.
"""

from __future__ import annotations

from pathlib import Path

from tests.envoy.differential import run


def test_a_real_envoy_does_what_the_walker_says(tmp_path: Path) -> None:
    tally = run(2025, 480, tmp_path)
    assert tally.requests >= 300
    assert tally.differences == []
    assert tally.rejected == 0
    seen = set(tally.statuses)
    assert {"200", "301", "403", "404", "503", "None"} <= seen  # else the generator compares too little
