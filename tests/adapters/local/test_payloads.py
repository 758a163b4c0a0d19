"""Text is read back exactly as it was written (D6)."""

from __future__ import annotations

import sqlite3
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settled.durable.messages import Message, Timer
from settled.durable.ports import DeadLetter, Index, Stored, Write
from settled.errors import TooLargeError
from settled.key import Key
from settled_local import SQLiteBackend
from tests.adapters.local.fixtures import ADA, BackendEnv, message, stored

runs = count()  # Hypothesis runs all examples on one backend, so each has keys or ids of its own

TEXTS = {
    "empty": "",
    "null": "null",
    "object": "{}",
    "a number past 2^63": '{"n":9223372036854775809}',
    "a long fraction": '{"n":0.1000000000000000055511151231257827}',
    "nul": "a\0b\0",
    "emoji": "\U0001f600",
    "half an emoji": '{"name":"\ud83d"}',
    "not normalised": "e\u0301",
    "lines": "a\r\nb\u2028",
    "70 kB": "x" * 70_000,
    "two megabytes": "\U0001f600" * 500_000,
}


@pytest.fixture(params=list(TEXTS.values()), ids=list(TEXTS))
def text(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_in_a_record(env: BackendEnv, text: str) -> None:
    written = Stored(1, text, Index(text, (text, "b"), 0.1))
    env.store.commit(ADA, written, 0)
    assert env.store.load(ADA) == written
    env.store.commit(ADA, stored(2, text + text), 1)
    assert env.store.load(ADA) == stored(2, text + text)


def test_in_a_message(env: BackendEnv, text: str) -> None:
    sent = Message(Key(text, text), text, text)
    env.queue.send([sent])
    assert [delivery.message for delivery in env.take(2)] == [sent]


def test_in_a_timer(env: BackendEnv, text: str) -> None:
    sent = Message(Key(text, text), text, text)
    env.timers.schedule(Timer(text, sent, 0.0))
    env.timers.schedule(Timer(text + "x", sent, 0.0))
    env.timers.cancel(text + "x")
    assert [delivery.message for delivery in env.take(2)] == [sent]


def test_in_a_dead_letter(env: BackendEnv, text: str) -> None:
    key = Key(text, text)
    buried = DeadLetter(Message(key, text, text), text, 0.1, text)
    env.store.commit(key, stored(1), 0, [buried])
    assert list(env.store.dead_letters(key)) == [buried]
    assert [listed for listed, _ in env.store.scan(text)] == [key]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec=None), max_size=20))
def test_in_random_messages(env: BackendEnv, text: str) -> None:
    sent = Message(Key("any", text), f"{next(runs)}{text}", text)
    env.queue.send([sent])
    received = env.take(2)
    env.queue.ack(received)
    assert [delivery.message for delivery in received] == [sent]


def test_a_text_that_is_too_large_fails_the_whole_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def with_a_low_limit(
        path: str, timeout: float, isolation_level: None, check_same_thread: bool
    ) -> sqlite3.Connection:
        db = connect(path, timeout=timeout, isolation_level=isolation_level, check_same_thread=check_same_thread)
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
        return db

    monkeypatch.setattr(sqlite3, "connect", with_a_low_limit)
    backend = SQLiteBackend.open(tmp_path / "settled.db")
    with pytest.raises(TooLargeError, match="20000 bytes; the limit of one row in SQLite is 10000"):
        backend.queue.send([message(ADA, "fits"), message(ADA, "does not", "é" * 10_000)])
    assert not backend.queue.receive(1)
    with pytest.raises(TooLargeError):
        backend.finish(Write(ADA, stored(1, "x" * 20_000), 0, sends=(message(ADA, "a"),)))
    assert backend.store.load(ADA) is None
    assert not backend.queue.receive(1)
    backend.close()
