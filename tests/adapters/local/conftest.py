"""Every test of a promise runs over both local backends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from settled_local import MemoryBackend, SQLiteBackend
from tests.adapters.local.fixtures import LEASE, Clock, Place


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    clock = Clock()
    if request.param == "memory":
        memory = MemoryBackend(LEASE, clock=clock)
        yield Place(clock, memory, lambda: memory)
        return
    with ExitStack() as opened:

        def again() -> SQLiteBackend:
            return opened.enter_context(closing(SQLiteBackend.open(tmp_path / "settled.db", LEASE, clock=clock)))

        yield Place(clock, again(), again)
