"""The flowchart of a trace: every node declared once, arrows between declared nodes, shares at forks only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kgdiag.cli.commands import run

SCENARIO = Path(__file__).parent.parent / "scenarios" / "gateway-notes" / "cluster.yaml"
NODE = re.compile(r'  (\w+)(?:\["[^"]*"\]|\(\["[^"]*"\]\))')
ARROW = re.compile(r"  (\w+) -->(?:\|([\d.]+) %\|)? (\w+)")
STYLE = re.compile(r"  style (\w+) \S+")


def test_a_split_forks_once(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["trace", "http://192.168.49.2:31380/", "-f", str(SCENARIO), "--complete", "-o", "mermaid"]
    assert run(args) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "flowchart TD"
    nodes = [found[1] for line in lines if (found := NODE.fullmatch(line))]
    arrows = [found.groups() for line in lines if (found := ARROW.fullmatch(line))]
    styles = [found[1] for line in lines if (found := STYLE.fullmatch(line))]
    assert len(nodes) + len(arrows) + len(styles) == len(lines)  # every line is one of these
    assert len(set(nodes)) == len(nodes) and {end for _, _, end in arrows} == set(nodes) - {"client"}
    assert sorted(share for _, share, _ in arrows if share) == ["10", "90"]
    assert set(styles) == {"end0", "end1"}
