"""The command line, called in this process: a new one for each call would cost half a second."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from settled.durable import Backend
from settled_cli.app import run
from settled_runtime import Host, connect
from tests.cli.door_machine import door


@frozen
class Said:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Settled = Callable[..., Said]


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working directory, and nothing in the environment or on the path that a command could find."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SETTLED_BACKEND", raising=False)
    monkeypatch.delenv("SETTLED_MACHINE", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield


@pytest.fixture
def settled(capfd: pytest.CaptureFixture[str]) -> Settled:
    """``settled("get", "door/front")`` is the command; what it printed and how it ended comes back."""

    def call(*words: str) -> Said:
        capfd.readouterr()
        status = run(words)
        out, err = capfd.readouterr()
        return Said(status, str(out), str(err))

    return call


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The backend that commands are pointed at."""
    url = f"sqlite:///{tmp_path}/doors.db"
    monkeypatch.setenv("SETTLED_BACKEND", url)
    backend = connect(url)
    yield backend
    backend.close()


@pytest.fixture
def work(place: Backend) -> Iterator[Callable[[], None]]:
    """``work()`` is a worker that takes all there is."""
    host = Host([door], place)

    def take_all() -> None:
        while deliveries := place.queue.receive(100):
            host.handle(deliveries)

    yield take_all
    host.close()
