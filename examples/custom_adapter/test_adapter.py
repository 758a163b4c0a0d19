"""The suite as a part of one's own tests: each guarantee is one of them."""

from __future__ import annotations

from examples.custom_adapter.harness import make
from settled_conformance import BackendConformance


class TestFileBackend(BackendConformance):
    harness = staticmethod(make)
