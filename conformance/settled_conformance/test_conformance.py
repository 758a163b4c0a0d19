"""The tests that ``pytest --pyargs settled_conformance --adapter module:factory`` runs."""

from __future__ import annotations

import pytest

from settled_conformance.case import settle
from settled_conformance.guarantees import GUARANTEES
from settled_conformance.session import Session


@pytest.mark.parametrize("guarantee", list(GUARANTEES))
def test_guarantee(conformance_session: Session, guarantee: str) -> None:
    """The adapter keeps `guarantee`."""
    settle(conformance_session.verdict(guarantee))
