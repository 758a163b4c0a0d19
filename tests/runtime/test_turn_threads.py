"""How many threads a worker reserves for a batch, and how many messages it receives for them."""

from __future__ import annotations

import threading

import pytest

from settled_runtime import turn_threads
from settled_runtime.turn_threads import TurnThreads


class TestABatch:
    def test_begins_with_a_message_for_each_free_thread(self) -> None:
        assert TurnThreads(8, 128).reserve(0).limit == 8

    def test_grows_while_no_turn_needs_a_thread_and_then_needs_one_thread_only(self) -> None:
        threads = TurnThreads(8, 128)
        for limit in (8, 16, 32, 64, 128, 128, 128, 128):
            batch = threads.reserve(0)
            assert batch.limit == limit
            batch.close(messages=limit, turns=0)
        assert threads.reserve(0).reserved == 1

    def test_is_as_large_as_the_one_before_it_has_shown(self) -> None:
        threads = TurnThreads(8, 128)
        batch = threads.reserve(0)
        assert [batch.take_one() for _ in range(2)] == [True] * 2
        batch.close(messages=8, turns=2)
        assert threads.reserve(0.01).limit == 6 * 4

    def test_waits_a_moment_for_the_threads_of_quick_turns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turn_threads, "GATHERING_WAIT", 5.0)
        threads = TurnThreads(2, 128)
        threads.reserve(0)
        threads.give_back()
        timer = threading.Timer(0.1, threads.give_back)
        timer.start()
        assert threads.reserve(1).reserved == 2
        timer.join()

    def test_that_does_not_wait_gets_all_its_threads_or_none(self) -> None:
        threads = TurnThreads(8, 128)
        assert threads.take_one()
        assert threads.reserve(0).reserved == 0
        assert threads.reserve(0.01).reserved == 7

    def test_is_empty_while_no_thread_is_free(self) -> None:
        threads = TurnThreads(2, 128)
        threads.reserve(0)
        assert threads.reserve(0).limit == 0


class TestATurn:
    def test_gets_a_thread_beyond_the_reserved_ones_if_one_is_free(self) -> None:
        threads = TurnThreads(3, 1)
        batch = threads.reserve(0)
        assert batch.reserved == 1
        assert [batch.take_one() for _ in range(4)] == [True, True, True, False]

    def test_returns_its_thread_when_it_is_over(self) -> None:
        threads = TurnThreads(1, 1)
        batch = threads.reserve(0)
        assert batch.take_one()
        batch.close(messages=1, turns=1)
        assert not threads.take_one()
        threads.give_back()
        assert threads.take_one()
