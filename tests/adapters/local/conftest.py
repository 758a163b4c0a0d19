"""Each test that uses `env` runs on both local backends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import pytest

from settled_local import MemoryBackend, SQLiteBackend
from tests.adapters.local.fixtures import LEASE, BackendEnv, Clock


@pytest.fixture(params=["memory", "sqlite"])
def env(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BackendEnv]:
    clock = Clock()
    if request.param == "memory":
        memory = MemoryBackend(timedelta(seconds=LEASE), clock=clock)
        yield BackendEnv(clock, memory, lambda: memory)
        return
    with ExitStack() as opened:

        def reopen() -> SQLiteBackend:
            return opened.enter_context(
                closing(SQLiteBackend.open(tmp_path / "settled.db", timedelta(seconds=LEASE), clock=clock))
            )

        yield BackendEnv(clock, reopen(), reopen)
