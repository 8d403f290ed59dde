"""No false alarms on what projects ship: their own manifests and samples, where they lie beside the project.

Each folder is a partial set of files, so references that leave it are facts; what is reported at warning or
above must be true. What was looked up and is true stands in ``TRUE``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kgdiag.cli.commands import run

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
FOLDERS = sorted(path.name for path in DATA.iterdir() if path.is_dir()) if DATA.is_dir() else []

TRUE = {
    # docs/samples/logger/knative-eventing/broker.yaml writes the kind with a small letter
    ("kserve", "KG001", "broker"),
}

pytestmark = pytest.mark.skipif(not FOLDERS, reason="the public manifests are not beside the project")


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_false(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Silent at warning and above, but for what is true."""
    run(["check", "-A", "-o", "json", "-f", str(DATA / folder)])
    report = json.loads(capsys.readouterr().out)
    alarms = [
        (item["rule"], item["severity"], item["object"], item["message"])
        for item in report["findings"]
        if item["severity"] != "info" and (folder, item["rule"], item["object"]["kind"]) not in TRUE
    ]
    assert alarms == []
    assert [item for item in report["skipped"] if "crashed" in item["reason"]] == []
