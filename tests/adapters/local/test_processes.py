"""Several processes on one file, some of them killed (D1, D2, D7, F1, R1, R6, X4)."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest

from settled.key import Key
from settled_local import SQLiteBackend
from tests.adapters.local.fixtures import message

ROOT = Path(__file__).parents[3]
KEYS = [Key("list", name) for name in ("ada", "ben", "cem", "dot")]


class Workers:
    """Processes that apply messages; they can be started and killed."""

    def __init__(self, path: Path, lease: float) -> None:
        self._finished = path.with_suffix(".finished")
        idle = str(1 + min(lease, 1))
        module = "tests.adapters.local.worker"
        self._command = [sys.executable, "-W", "error", "-m", module, str(path), str(lease), idle]
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        with self._finished.open("a") as finished:
            self._processes.append(subprocess.Popen(self._command, cwd=ROOT, stdout=finished))

    def kill(self) -> None:
        """``kill -9`` the oldest one."""
        oldest = next(process for process in self._processes if process.poll() is None)
        oldest.kill()
        assert oldest.wait() == -signal.SIGKILL

    def join(self) -> list[int]:
        """Wait until they end by themselves, and return their exit codes."""
        return [process.wait(timeout=60) for process in self._processes]

    def finished(self) -> list[tuple[str, str]]:
        """Return the instance and id of each message that they reported as finished."""
        lines = self._finished.read_text().splitlines()
        return [(instance, id) for instance, id in map(str.split, lines)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settled.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SQLiteBackend]:
    with closing(SQLiteBackend.open(path, timeout=timedelta(seconds=30))) as backend:
        yield backend


def applied(backend: SQLiteBackend, key: Key) -> list[str]:
    stored = backend.store.load(key)
    assert stored is not None
    assert stored.body is not None
    ids: list[str] = json.loads(stored.body)
    return ids


def test_several_processes_create_a_file_at_once(path: Path) -> None:
    open_it = "import sys, settled_local as s; s.SQLiteBackend.open(f'sqlite:///{sys.argv[1]}?timeout=30').close()"
    processes = [subprocess.Popen([sys.executable, "-W", "error", "-c", open_it, str(path)]) for _ in range(8)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 8


def test_a_message_of_one_wakes_another(path: Path, backend: SQLiteBackend) -> None:
    send = (
        "import sys, settled_local as s; from settled.durable.messages import *; b = s.SQLiteBackend.open(sys.argv[1]);"
        "b.queue.send([Message(Key('list', 'ada'), 'a', '{}')]); b.close()"
    )
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(backend.queue.receive, 1, 30)
        subprocess.run([sys.executable, "-c", send, str(path)], check=True)
        sent = time.monotonic()
        assert [delivery.message.id for delivery in waiting.result()] == ["a"]
        assert time.monotonic() - sent < 1


def test_no_process_is_starved_by_others(path: Path, backend: SQLiteBackend) -> None:
    """With SQLite's busy timeout, one of six gets the lock thousands of times before another."""
    send = (
        "import sys, time, settled_local as s; from settled.durable.messages import *"
        "\nb = s.SQLiteBackend.open(sys.argv[1]);"
        "end = time.monotonic() + 2; n = 0;"
        "\nwhile time.monotonic() < end: b.queue.send([Message(Key('list', sys.argv[2]), str(n), '{}')]); n += 1"
        "\nprint(n); b.close()"
    )
    command = [sys.executable, "-c", send, str(path)]
    with ThreadPoolExecutor(6) as threads:
        runs = [threads.submit(subprocess.check_output, [*command, str(n)], text=True) for n in range(6)]
        counts = [int(run.result()) for run in runs]
    assert max(counts) < 10 * min(counts)


def test_several_processes_share_the_work(path: Path, backend: SQLiteBackend) -> None:
    """R1, R6, F1, X4: each event of each key once, in order."""
    with Workers(path, lease=30) as workers:
        for _ in range(4):
            workers.start()
        for n in range(50):
            backend.queue.send([message(key, f"{n}") for key in KEYS])
        assert workers.join() == [0] * 4
        assert len(workers.finished()) == 50 * len(KEYS)
    for key in KEYS:
        assert applied(backend, key) == [f"{n}" for n in range(50)]


@pytest.mark.parametrize("seed", range(3))
def test_processes_killed_at_any_moment_lose_and_repeat_nothing(path: Path, backend: SQLiteBackend, seed: int) -> None:
    """D1, D2, D7, X4: what a killed process had finished stays finished."""
    chance = random.Random(seed)
    with Workers(path, lease=0.3) as workers:
        for _ in range(3):
            workers.start()
        for n in range(60):
            backend.queue.send([message(key, f"{n}") for key in KEYS])
            if n % 10 == 9:
                time.sleep(chance.uniform(0, 0.3))
                workers.kill()
                workers.start()
        codes = workers.join()
        assert sorted(codes) == [-signal.SIGKILL] * 6 + [0] * 3
        for instance, id in workers.finished():
            assert id in applied(backend, Key("list", instance))
    for key in KEYS:
        assert applied(backend, key) == [f"{n}" for n in range(60)]


def test_a_sender_killed_after_its_send_has_sent(path: Path, backend: SQLiteBackend) -> None:
    """D1, D7."""
    send = (
        "import os, sys, settled_local as s; from settled.durable.messages import *"
        "\nb = s.SQLiteBackend.open(sys.argv[1]);"
        "b.queue.send([Message(Key('list', 'ada'), 'a', '{}')]);"
        "b.store.commit(Key('list', 'ada'), s.sqlite.store.Stored(1, '[]', s.sqlite.store.Index('active')), 0);"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", send, str(path)], check=False).returncode == -signal.SIGKILL
    assert [delivery.message.id for delivery in backend.queue.receive(1)] == ["a"]
    assert applied(backend, KEYS[0]) == []
