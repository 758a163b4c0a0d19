"""Two of the ways in: a base class for one's own test suite, and the plain file that ``--adapter`` runs.

The guards are here and not in a class that users write, so that nothing can be overridden away: what is not supported
is found in the harness's own declaration, and a verdict that was never reached is a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from settled_conformance.guarantees import GUARANTEES
from settled_conformance.harness import Harness
from settled_conformance.loading import HarnessError, make_harness
from settled_conformance.session import Session, Verdict, VerdictStatus

_sessions: dict[Callable[[], Harness], Session] = {}


def session_of(factory: Callable[[], Harness], name: str, schedules: int | None, budget: float) -> Session:
    """The one session of `factory` in this process.

    Raises:
        NoHarness: it makes no harness.
    """
    if factory not in _sessions:
        _sessions[factory] = Session(make_harness(factory, name), schedules, budget)
    return _sessions[factory]


def settle(verdict: Verdict) -> None:
    """Let `verdict` be the outcome of the test that is running."""
    match verdict.status:
        case VerdictStatus.PASS:
            return
        case VerdictStatus.UNSUPPORTED:
            pytest.skip(f"UNSUPPORTED: {verdict.detail}")
        case VerdictStatus.XFAIL:
            pytest.xfail(verdict.detail)
        case VerdictStatus.FAIL | VerdictStatus.VACUOUS:
            pytest.fail(f"{verdict.guarantee}: {verdict.status}\n{verdict.detail}", pytrace=False)


class BackendConformance:
    """Every guarantee as a test: a class of one's own derives from this, and says ``harness = staticmethod(make)``."""

    harness: ClassVar[Callable[[], Harness]]
    schedules: ClassVar[int | None] = None
    """How many schedules are run; None: as many as fit into `budget` seconds."""
    budget: ClassVar[float] = 25.0

    @pytest.mark.parametrize("guarantee", list(GUARANTEES))
    def test_guarantee(self, guarantee: str) -> None:
        """The backend keeps `guarantee`."""
        factory = getattr(type(self), "harness", None)
        if factory is None:
            pytest.fail(f"{type(self).__name__}.harness is missing: expected staticmethod(make)", pytrace=False)
        try:
            session = session_of(factory, f"{type(self).__name__}.harness", self.schedules, self.budget)
        except HarnessError as error:
            pytest.fail(str(error), pytrace=False)
        settle(session.verdict(guarantee))
