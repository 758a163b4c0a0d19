"""A small storm passes its audit, on each backend that is a file or a server of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import main


@pytest.mark.parametrize("backend", ["sqlite", "redis"])
def test_nothing_is_lost_in_a_storm(backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["storm", "--quick", "--json", "--backend", backend, "--folder", str(tmp_path)])
    report = json.loads(capsys.readouterr().out)
    assert report["violations"] == {}
    assert report["ends of workers"]["ended by an actor"]
    assert report["strikes"]["replaced by version 2"] == 4
    assert report["hostile"]["accepted"] and report["hostile"]["refused"]
