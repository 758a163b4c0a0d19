"""A receive for some machines looks at their messages only, however many of others wait."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from settled.durable.ports import Write
from settled.key import Key
from settled_local import SQLiteBackend
from settled_local.sqlite.connection import Connection
from tests.adapters.local.fixtures import ADA, BEN, BackendEnv, ids, message, stored, timer

BILL = Key("billing", "1")

BACKLOG = 100_000


def test_two_machines_take_turns_in_a_receive_for_both(env: BackendEnv) -> None:
    """Even if one of them has a backlog, and each receive takes one message."""
    for number in range(20):
        env.send(Key("signup", f"{number}"), f"{number}")
    env.send(BILL, "bill")
    received = [id for _ in range(21) for id in ids(env.queue.receive(1, machines=("signup", "billing")))]
    assert len(received) == 21
    assert received.index("bill") <= 20


def test_a_joint_write_brings_messages_of_the_machines_asked_for(env: BackendEnv) -> None:
    env.send(BILL, "bill")
    env.send(BEN, "ben")
    write = Write(ADA, stored(1), 0)
    assert ids(env.backend.finish_all([write], 10, {"signup"}).deliveries) == ["ben"]


def test_a_receive_for_one_machine_wakes_another_whose_timer_it_fires(
    env: BackendEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("settled_local.memory.queue.POLL_INTERVAL", 30)
    monkeypatch.setattr("settled_local.sqlite.queue.LONGEST_WAIT", 30)
    env.timers.schedule(timer("reminder", env.clock.now + 3600, BILL))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(env.queue.receive, 1, 60, {"billing"})
        time.sleep(0.05)
        env.clock.now += 3600
        assert not env.queue.receive(1, machines={"signup"})
        assert ids(waiting.result(timeout=10)) == ["reminder"]


def test_a_backlog_of_another_machine_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "settled.db"
    with closing(SQLiteBackend.open(path)) as backend, closing(Connection(str(path), 5.0)) as db:
        before = min(_seconds_to_receive(backend, str(number)) for number in range(20))
        _add_backlog(db)
        after = min(_seconds_to_receive(backend, str(number)) for number in range(20, 40))
        assert after < 5 * before


def _seconds_to_receive(backend: SQLiteBackend, id: str) -> float:
    """Receive one message of the machine that has no backlog, and then none."""
    backend.queue.send([message(BILL, id)])
    begun = time.perf_counter()
    (delivery,) = backend.queue.receive(10, machines={"billing"})
    assert not backend.queue.receive(10, machines={"billing"})
    taken = time.perf_counter() - begun
    backend.queue.ack([delivery])
    return taken


def _add_backlog(db: Connection) -> None:
    """Add `BACKLOG` instances of another machine, each with a message: with rows, because sending them takes long."""
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i+1 FROM n WHERE i<{BACKLOG + 99})"
    db.run(
        f"{numbers} INSERT INTO message_groups SELECT i, 'signup', i, 1, 0, 0, 0, i FROM n",
    )
    db.run(f"{numbers} INSERT INTO messages SELECT i, 1, 0, 0, 'a', '{{}}', '' FROM n")
