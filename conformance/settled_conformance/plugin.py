"""The pytest plugin behind ``pytest --pyargs settled_conformance --adapter module:factory``.

It is an installed plugin, because pytest accepts command-line options only from plugins loaded before collection.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from settled_conformance.session import Session

# pytest loads this module in every project that has settled installed, so the suite is imported only when it is used.

_session: pytest.StashKey[Session] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the suite."""
    group = parser.getgroup("settled", "settled's conformance suite")
    group.addoption("--adapter", metavar="MODULE:FACTORY", help="the adapter to test, as the factory of its harness")
    group.addoption("--schedules", type=int, metavar="N", help="how many random schedules (default: as time allows)")
    group.addoption("--schedule-seed", type=int, default=0, metavar="SEED", help="the seed of the random schedules")


def pytest_configure(config: pytest.Config) -> None:
    """Load the harness of ``--adapter``, or fail with a one-line message."""
    adapter = config.getoption("--adapter")
    if adapter is None:
        return
    from settled_conformance.loading import HarnessError, load_harness  # noqa: PLC0415
    from settled_conformance.session import Session  # noqa: PLC0415

    try:
        harness = load_harness(adapter)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error
    seed = int(config.getoption("--schedule-seed") or 0)
    config.stash[_session] = Session(harness, config.getoption("--schedules"), seed=seed)


@pytest.fixture(scope="session")
def conformance_session(pytestconfig: pytest.Config) -> Session:
    """Return the session of ``--adapter``."""
    session = pytestconfig.stash.get(_session, None)
    if session is None:
        pytest.fail("no adapter: give --adapter MODULE:FACTORY", pytrace=False)
    return session


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if no test was collected: an adapter of which nothing was tested has not passed."""
    if session.config.stash.get(_session, None) is not None and session.testscollected == 0:
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore the suite's test file unless it was asked for, by ``--adapter`` or by ``--pyargs``."""
    is_ours = collection_path == Path(__file__).with_name("test_conformance.py")
    return True if is_ours and config.getoption("--adapter") is None and not config.getoption("pyargs") else None
