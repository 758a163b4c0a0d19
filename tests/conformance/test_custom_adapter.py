"""The adapter that the documentation builds is as good as the documentation says: the suite, as one's own tests."""

from __future__ import annotations

from examples.custom_adapter.test_adapter import TestFileBackend

__all__ = ["TestFileBackend"]
