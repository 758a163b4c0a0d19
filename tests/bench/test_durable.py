"""The benchmark of durable instances runs, and its report is complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import main


def test_it_reports_each_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["durable", "--json", "--quick", "--folder", str(tmp_path)])
    report = json.loads(capsys.readouterr().out)
    assert set(report["ratios"]) == {"sqlite.single", "sqlite.folded", "sqlite.many", "sqlite.apart"}
    assert all(ratio > 0 for ratio in report["ratios"].values())
    sqlite = report["backends"]["sqlite"]
    assert set(sqlite["ways"]["raw"]) == {"per_second", "cpu_us", "p50_us", "p99_us", "bytes"}
    assert set(sqlite["curve"]) == {"5", "50"}
    assert list(tmp_path.iterdir()) == []


def test_it_measures_redis_beside_sqlite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["durable", "--json", "--quick", "--backend", "redis", "--folder", str(tmp_path)])
    ratios = json.loads(capsys.readouterr().out)["ratios"]
    assert {f"{name}.{way}" for name in ("sqlite", "redis") for way in ("single", "folded", "many")} <= set(ratios)
    assert list(tmp_path.iterdir()) == []


def test_without_json_it_prints_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["durable", "--quick", "--folder", str(tmp_path)])
    assert "| sqlite | single |" in capsys.readouterr().out
