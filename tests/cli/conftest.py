"""Run the command line in this process: a new process for each call would take half a second."""

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
class CommandResult:
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Settled = Callable[..., CommandResult]


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use an empty working directory, and nothing in the environment or on the path that a command could find."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SETTLED_BACKEND", raising=False)
    monkeypatch.delenv("SETTLED_MACHINE", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield


@pytest.fixture
def settled(capfd: pytest.CaptureFixture[str]) -> Settled:
    """A function that runs a command: ``settled("get", "door/front")``."""

    def call(*words: str) -> CommandResult:
        capfd.readouterr()
        status = run(words)
        out, err = capfd.readouterr()
        return CommandResult(status, str(out), str(err))

    return call


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The backend of all commands, by the environment."""
    url = f"sqlite:///{tmp_path}/doors.db"
    monkeypatch.setenv("SETTLED_BACKEND", url)
    backend = connect(url)
    yield backend
    backend.close()


@pytest.fixture
def work(backend: Backend) -> Iterator[Callable[[], None]]:
    """A function that processes every message in the queue."""
    host = Host([door], backend)

    def process_all() -> None:
        while deliveries := backend.queue.receive(100):
            host.handle(deliveries)

    yield process_all
    host.close()
