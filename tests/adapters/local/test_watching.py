"""Watching on SQLite: it hears of the commits of other processes, and costs nothing while nothing happens."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from settled.durable.ports import Write
from settled.errors import BackendClosedError
from settled_local import SQLiteBackend
from settled_local.sqlite import file_changes
from settled_local.sqlite.connection import Connection
from tests.adapters.local.fixtures import ADA, BEN, message, stored

OTHER_PROCESS = """
import sys, time
from settled.durable import Index, Stored, Write
from settled.key import Key
from settled_local import SQLiteBackend
backend = SQLiteBackend.open(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    version, instance = line.split()
    key = Key("signup", instance)
    backend.finish(Write(key, Stored(int(version), "", Index("active")), int(version) - 1))
    print(version, flush=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settled.db"


@pytest.fixture
def backend(file: Path) -> Iterator[SQLiteBackend]:
    with SQLiteBackend.open(file) as opened:
        yield opened


@pytest.fixture
def commit_elsewhere(file: Path, backend: SQLiteBackend) -> Iterator[Callable[[int, str], None]]:
    """Yield a function that commits a version of an instance in another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    def commit(version: int, instance: str = ADA.instance) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        print(version, instance, file=process.stdin, flush=True)
        assert process.stdout.readline() == f"{version}\n"

    with process:
        yield commit
        process.kill()


@pytest.fixture(params=["told by the kernel", "asking"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "asking":
        monkeypatch.setattr(file_changes, "_Inotify", no_more_of_them)


def no_more_of_them(_log: str) -> object:
    raise OSError("the user's limit of inotify instances is reached")


def followers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "settled-file-changes"]


def ends(condition: Callable[[], bool]) -> bool:
    """Return whether `condition` is true within a few seconds."""
    end = time.monotonic() + 5
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.usefixtures("how")
def test_the_commits_of_another_process_are_told_one_after_the_other(
    backend: SQLiteBackend, commit_elsewhere: Callable[..., None]
) -> None:
    changed = threading.Event()
    with backend.watch(ADA, changed.set):
        for version in range(1, 20):
            changed.clear()
            commit_elsewhere(version)
            assert changed.wait(1), f"version {version} was not told"


def test_the_commits_of_other_keys_are_not_told(backend: SQLiteBackend, commit_elsewhere: Callable[..., None]) -> None:
    ada, ben = threading.Event(), threading.Event()
    with backend.watch(ADA, ada.set), backend.watch(BEN, ben.set):
        commit_elsewhere(1, BEN.instance)
        assert ben.wait(1)
        time.sleep(0.05)
        assert not ada.is_set()


@pytest.mark.usefixtures("how")
def test_a_receive_wakes_when_another_process_sends(
    file: Path, backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("settled_local.sqlite.queue.LONGEST_WAIT", 30)
    found: list[float] = []

    def receive() -> None:
        backend.queue.receive(1, 30)
        found.append(time.monotonic())

    receiving = threading.Thread(target=receive)
    receiving.start()
    assert ends(lambda: bool(followers()))
    time.sleep(0.1)
    with SQLiteBackend.open(file) as other:
        begun = time.monotonic()
        other.queue.send([message(ADA, "a")])
        receiving.join(5)
    assert found
    assert found[0] - begun < 1


def test_nothing_runs_when_nobody_watches_or_waits(backend: SQLiteBackend) -> None:
    assert not followers()
    with backend.watch(ADA, lambda: None):
        assert len(followers()) == 1
    assert ends(lambda: not followers())
    with backend.watch(ADA, lambda: None), backend.watch(BEN, lambda: None):
        assert len(followers()) == 1


def test_closing_the_backend_ends_it_at_once(file: Path) -> None:
    backend = SQLiteBackend.open(file)
    with backend.watch(ADA, lambda: None):
        begun = time.monotonic()
        backend.close()
        assert time.monotonic() - begun < file_changes.LONGEST_QUIET / 2
    assert not followers()
    assert not file.with_name("settled.db-wal").exists(), "a connection was left open"


def test_a_backend_that_was_closed_cannot_be_watched(file: Path) -> None:
    backend = SQLiteBackend.open(file)
    backend.close()
    with pytest.raises(BackendClosedError), backend.watch(ADA, lambda: None):
        pass
    assert ends(lambda: not followers())


@pytest.mark.skipif(sys.platform != "linux", reason="it asks again and again elsewhere")
def test_an_idle_watcher_asks_once_a_second(backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ask = list[float](), file_changes.data_version

    def counted(db: Connection) -> int:
        asked.append(time.monotonic())
        return ask(db)

    with backend.watch(ADA, lambda: None):
        time.sleep(0.5)  # for the questions that follow a commit
        monkeypatch.setattr(file_changes, "data_version", counted)
        time.sleep(2)
    assert len(asked) <= 3


def test_no_file_is_left_open(backend: SQLiteBackend) -> None:
    with backend.watch(ADA, lambda: None):
        pass
    assert ends(lambda: not followers())
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for _ in range(3):
        with backend.watch(ADA, lambda: None):
            pass
        assert ends(lambda: not followers())
    assert sys.platform != "linux" or len(os.listdir("/proc/self/fd")) == before


def test_a_watcher_may_end_its_watch_when_it_is_told(backend: SQLiteBackend) -> None:
    watch = backend.watch(ADA, lambda: watch.__exit__(None, None, None))
    watch.__enter__()
    backend.finish(Write(ADA, stored(1), 0))
    backend.finish(Write(ADA, stored(2), 1))
