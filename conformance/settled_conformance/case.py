"""`BackendConformance`: the suite as a base class for an adapter's own tests.

Unsupported guarantees are determined here, from the harness's declaration, and not in the subclass that users write: a
subclass cannot skip a guarantee by overriding something.
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
    """Return the session of `factory`; one is shared by all tests of this process.

    Raises:
        HarnessError: `factory` does not return a harness.
    """
    if factory not in _sessions:
        _sessions[factory] = Session(make_harness(factory, name), schedules, budget)
    return _sessions[factory]


def settle(verdict: Verdict) -> None:
    """Pass, skip, xfail or fail the running test according to `verdict`."""
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
    """Every guarantee as a test. Subclasses set ``harness = staticmethod(make)``."""

    harness: ClassVar[Callable[[], Harness]]
    schedules: ClassVar[int | None] = None
    """The number of schedules to run; None runs as many as fit into `budget` seconds."""
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
