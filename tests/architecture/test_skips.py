"""The rule of `conftest.py`, tried on runs of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = (Path(__file__).parents[1] / "conftest.py").read_text(encoding="utf-8")

SILENT = """
    import pytest
    def test_ran(): pass
    def test_left_out(): pytest.skip("no redis here")
"""
LOUD = """
    import pytest
    @pytest.mark.parametrize("n", [1, 2])
    def test_left_out(n): pytest.skip("NOT RUN: firestore, no emulator on this machine")
"""
MODULE = """
    import pytest
    pytest.importorskip("no_such_module_anywhere")
"""
EXPECTED_FAILURE = """
    import pytest
    @pytest.mark.xfail(reason="known")
    def test_known(): assert False
"""


def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, test: str) -> pytest.RunResult:
    monkeypatch.setenv("CI", ci)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test)
    return pytester.runpytest_subprocess()


@pytest.mark.parametrize("test", [SILENT, MODULE], ids=["test", "module"])
def test_in_ci_a_skip_fails_the_run_and_is_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, test: str
) -> None:
    result = run(pytester, monkeypatch, "true", test)
    assert result.ret != pytest.ExitCode.OK
    assert result.outlines[-1].startswith("SKIPPED IN CI, WHICH IS A FAILURE: ")


def test_elsewhere_a_skip_is_a_skip(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(pytester, monkeypatch, "", SILENT).ret == pytest.ExitCode.OK


def test_what_no_registry_has_may_be_left_out_but_is_said_last(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(pytester, monkeypatch, "true", LOUD)
    assert result.ret == pytest.ExitCode.OK
    assert result.outlines[-1] == "NOT RUN: firestore, no emulator on this machine (2 tests)"


def test_an_expected_failure_is_no_skip(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(pytester, monkeypatch, "true", EXPECTED_FAILURE).ret == pytest.ExitCode.OK
