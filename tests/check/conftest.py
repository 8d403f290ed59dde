"""Fixtures: the command, and a folder with one small broken cluster as the working folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.check.support import SHOP, Run, command, written


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Run:
    return command(capsys)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with ``cluster.yaml`` and the root of a repository above which nobody looks."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    written(tmp_path, SHOP)
    return tmp_path
