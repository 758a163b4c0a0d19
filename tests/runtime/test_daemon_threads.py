"""Threads for code that may hang: none waits for another, and those that are idle are used again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial

import pytest

from settled_runtime import daemon_threads
from settled_runtime.daemon_threads import DaemonThreads

MANY = 500


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Calls(list[threading.Thread]):
    """A function that keeps the thread and its name, of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __call__(self) -> None:
        self.names.append(threading.current_thread().name)
        self.append(threading.current_thread())


def idle(threads: DaemonThreads) -> int:
    return len(threads._idle)  # pyright: ignore[reportPrivateUsage]


class TestAFunction:
    def test_runs_in_a_daemon_thread_of_its_name(self) -> None:
        threads, calls = DaemonThreads(), Calls()
        threads.call(calls, "settled-greet")
        wait_until(lambda: len(calls) == 1)
        assert calls.names == ["settled-greet"]
        assert calls[0].daemon

    def test_never_waits_for_one_that_hangs(self) -> None:
        threads, end, began = DaemonThreads(), threading.Event(), threading.Barrier(10)

        def hang() -> None:
            began.wait(5)
            end.wait(5)

        for _ in range(9):
            threads.call(hang, "hangs")
        began.wait(5)
        calls = Calls()
        threads.call(calls, "quick")
        wait_until(lambda: len(calls) == 1)
        end.set()

    def test_gets_the_thread_of_one_that_has_ended(self) -> None:
        threads, calls = DaemonThreads(), Calls()
        for count in (1, 2, 3):
            threads.call(calls, f"number {count}")
            wait_until(lambda: idle(threads) == 1)
        assert len(set(calls)) == 1
        assert calls.names == ["number 1", "number 2", "number 3"]


class TestAnIdleThread:
    def test_ends_after_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(daemon_threads, "IDLE_TIME", 0.02)
        threads, calls = DaemonThreads(), Calls()
        threads.call(calls, "quick")
        wait_until(lambda: len(calls) == 1)
        calls[0].join(5)
        assert not calls[0].is_alive()
        assert idle(threads) == 0

    def test_that_is_about_to_end_loses_no_function(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(daemon_threads, "IDLE_TIME", 0.001)
        threads, called = DaemonThreads(), set[int]()
        for number in range(MANY):
            threads.call(partial(called.add, number), "quick")
            time.sleep(0.001)
        wait_until(lambda: len(called) == MANY)


VARIABLE = ContextVar("VARIABLE", default="nothing")


def test_a_function_does_not_see_the_context_variables_of_the_one_before() -> None:
    threads, seen = DaemonThreads(), list[str]()

    def look() -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set("something")

    for count in (1, 2):
        threads.call(look, "look")
        wait_until(lambda count=count: len(seen) == count and idle(threads) == 1)  # type: ignore[misc]
    assert seen == ["nothing", "nothing"]
