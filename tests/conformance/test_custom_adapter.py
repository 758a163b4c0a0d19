"""The example adapter of the documentation passes the suite, run through `BackendConformance` as an author would."""

from __future__ import annotations

import pytest

from examples.custom_adapter.harness import make
from settled_conformance import GUARANTEES, BackendConformance

ASKED = [id for id, each in GUARANTEES.items() if each.needs is None or each.needs in make().capabilities]
"""The guarantees that the example is asked for; the others would be skipped, and a skip could hide a mistake."""


class TestFileBackend(BackendConformance):
    harness = staticmethod(make)
    budget = 8.0

    @pytest.mark.parametrize("guarantee", ASKED)
    def test_guarantee(self, guarantee: str) -> None:
        super().test_guarantee(guarantee)
