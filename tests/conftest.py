"""A test that did not run is not a test that passed: in CI a skip fails the run.

The one exception is a part of the world that no registry can install. Its tests skip with a reason that begins as in
`ALLOWED`, and what did not run is said in the last lines of the output, where nobody can miss it.

Properties have no deadline, since a busy machine is not a fault; in CI they try the same examples each time, so that
a failure is the change's and not the day's.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

pytest_plugins = ["pytester"]

ALLOWED = ("NOT RUN: firestore",)
CI = os.environ.get("CI", "").lower() in {"1", "true"}

settings.register_profile("settled", deadline=None, derandomize=CI)
settings.load_profile("settled")

_skipped: pytest.StashKey[list[tuple[str, str]]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_skipped] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that left out what it had to run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    assert isinstance(reporter, pytest.TerminalReporter)
    skipped = [(report.nodeid, _reason(report)) for report in reporter.stats.get("skipped", [])]
    session.config.stash[_skipped] = skipped
    passed = session.exitstatus == pytest.ExitCode.OK
    if CI and passed and any(not _allowed(reason) for _, reason in skipped):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say last what did not run: this comes after pytest's own summary."""
    skipped = config.stash[_skipped]
    terminal = config.get_terminal_writer()
    for test, reason in skipped:
        if not _allowed(reason) and CI:
            terminal.line(f"SKIPPED IN CI, WHICH IS A FAILURE: {test}: {reason}", red=True, bold=True)
    for reason in sorted({reason for _, reason in skipped if _allowed(reason)}):
        count = sum(reason == other for _, other in skipped)
        terminal.line(f"{reason} ({count} {'test' if count == 1 else 'tests'})", yellow=True, bold=True)


def _allowed(reason: str) -> bool:
    return reason.startswith(ALLOWED)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    where_and_why = report.longrepr
    text = where_and_why[2] if isinstance(where_and_why, tuple) else str(where_and_why)
    return text.removeprefix("Skipped: ")
