"""The benchmark of durable instances: that it runs, and that its report has what is looked for in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import main


def test_it_reports_each_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["durable", "--json", "--quick", "--place", str(tmp_path)])
    report = json.loads(capsys.readouterr().out)
    assert set(report["ratios"]) == {"sqlite.single", "sqlite.folded", "sqlite.many", "sqlite.apart"}
    assert all(ratio > 0 for ratio in report["ratios"].values())
    assert set(report["ways"]["raw"]) == {"per_second", "cpu_us", "p50_us", "p99_us", "bytes"}
    assert set(report["curve"]) == {"5", "50"}
    assert list(tmp_path.iterdir()) == []


def test_it_is_a_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["durable", "--quick", "--place", str(tmp_path)])
    assert "| single |" in capsys.readouterr().out
