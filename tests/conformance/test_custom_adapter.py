"""The adapter that the documentation builds is as good as the documentation says: the suite, as one's own tests."""

from __future__ import annotations

import pytest

from examples.custom_adapter.harness import make
from settled_conformance import GUARANTEES, BackendConformance

ASKED = [id for id, each in GUARANTEES.items() if each.needs is None or each.needs in make().capabilities]
"""What it declares nothing of would be skipped, and what is skipped is not tested."""


class TestFileBackend(BackendConformance):
    harness = staticmethod(make)
    budget = 8.0

    @pytest.mark.parametrize("guarantee", ASKED)
    def test_guarantee(self, guarantee: str) -> None:
        super().test_guarantee(guarantee)
