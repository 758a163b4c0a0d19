"""The benchmark of the core runs, and its report is complete."""

from __future__ import annotations

import json

import pytest

from bench import core, node
from bench.__main__ import main


def test_it_reports_a_ratio_for_each_machine_and_measure(capsys: pytest.CaptureFixture[str]) -> None:
    main(["core", "--json", "--events", "24", "--rounds", "1"])
    report = json.loads(capsys.readouterr().out)
    wanted = {f"{machine}.{measure}" for machine in core.MACHINES for measure in core.MEASURES}
    assert set(report["ratios"]) == (set() if "skipped" in report else wanted)
    for result in report["results"].values():
        assert all(result["settled"][measure]["cpu"] > 0 for measure in core.MEASURES)
    assert report["import_ratios"]["import settled"] <= 2, "against import attrs"


def test_without_node_it_says_why_there_is_no_xstate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(node.XStateMissingError, match="node"):
        node.install()


def test_it_can_profile_a_machine(capsys: pytest.CaptureFixture[str]) -> None:
    main(["core", "--profile", "flat3", "--events", "10"])
    assert "transition" in capsys.readouterr().out


def test_an_unknown_benchmark_is_a_usage_error() -> None:
    with pytest.raises(SystemExit, match="core"):
        main(["nothing"])
