"""The conformance suite as tests of the adapter, one for each guarantee."""

from __future__ import annotations

from examples.custom_adapter.harness import make
from settled_conformance import BackendConformance


class TestFileBackend(BackendConformance):
    harness = staticmethod(make)
