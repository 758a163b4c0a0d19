"""The adapter that the documentation builds is as good as the documentation says: the suite, as one's own tests."""

from __future__ import annotations

from examples.custom_adapter.harness import make
from settled_conformance import BackendConformance


class TestFileBackend(BackendConformance):
    harness = staticmethod(make)
    budget = 8.0
