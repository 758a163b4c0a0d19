"""The benchmark of the core runs, and says what it should."""

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


def test_without_node_it_says_so_and_measures_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(node.Missing, match="node"):
        node.installed()


def test_it_can_say_where_the_time_goes(capsys: pytest.CaptureFixture[str]) -> None:
    main(["core", "--profile", "flat3", "--events", "10"])
    assert "transition" in capsys.readouterr().out


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(SystemExit, match="core"):
        main(["nothing"])
