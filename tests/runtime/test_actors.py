"""Function actors under both hosts: ``def`` and ``async def``, concurrent, timed out, interrupted."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from settled import Backoff, Call, Key, Retry, TurnEnd, actor
from settled.durable import ReleaseReason
from settled_runtime import StopSignal
from settled_runtime.events import ActorFinished, ActorStarted, Released
from tests.runtime.conftest import Running
from tests.runtime.machines import choir, greeter

Make = Callable[..., Running]
ADA = Key("greeter", "ada")


def plain(input: Any, call: Call) -> str:
    return f"hello {input['name']}"


async def awaiting(input: Any, call: Call) -> str:
    await asyncio.sleep(0)
    return f"hello {input['name']}"


def greeted(host: Running) -> Any:
    host.client.start("ada")
    host.client.send("ada", {"type": "GREET"})
    assert host.work() == {ADA: TurnEnd.DONE}
    return host.client.get("ada")


class TestAFunctionActor:
    def test_may_be_def(self, running: Make) -> None:
        assert greeted(running(greeter(plain))).context == {"answer": "hello ada"}

    def test_may_be_async_def(self, running: Make) -> None:
        assert greeted(running(greeter(awaiting))).context == {"answer": "hello ada"}

    def test_gets_the_headers_of_the_message(self, running: Make) -> None:
        seen: list[Mapping[str, str]] = []
        host = running(greeter(lambda _input, call: seen.append(call.headers)))
        host.client.start("ada")
        host.client.send("ada", {"type": "GREET"}, headers={"traceparent": "00-1"})
        host.work()
        assert seen == [{"traceparent": "00-1"}]

    def test_that_raises_sends_the_machine_the_name_and_message_of_its_error(self, running: Make) -> None:
        def refuse(_input: Any, _call: Call) -> None:
            raise PermissionError("not today")

        snapshot = greeted(running(greeter(refuse)))
        assert snapshot.value == "refused"
        assert snapshot.context["answer"] == {"name": "PermissionError", "message": "not today"}

    def test_fails_if_its_output_is_not_json(self, running: Make) -> None:
        snapshot = greeted(running(greeter(lambda input, call: {"a": [object()]})))
        assert snapshot.context["answer"] == {"name": "TypeError", "message": "greet: output.a[0]: object is not JSON"}

    def test_gets_its_key_its_attempt_its_deadline_and_its_fence(self, running: Make) -> None:
        calls: list[Call] = []
        host = running(greeter(actor(lambda input, call: calls.append(call), timeout=timedelta(seconds=60))))
        greeted(host)
        (call,) = calls
        assert (call.key, call.attempt) == (ADA, 1)
        assert re.fullmatch(r"greeter/ada/[0-9a-f]{16}\.1/1/0", call.idempotency_key)
        assert call.deadline is not None
        assert 50 < call.deadline - time.time() <= 60
        assert call.fence == 1
        assert call.lease_lost() is False


class TestSeveralFunctionActors:
    def test_run_concurrently(self, running: Make) -> None:
        together = threading.Barrier(3, timeout=5)

        def sing(_input: Any, _call: Call) -> int:
            return together.wait()

        host = running(choir(sing, sing, sing))
        host.client.start("ada")
        host.client.send("ada", {"type": "SING"})
        host.work()
        found = host.client.get("ada")
        assert found is not None
        assert found.value == "over"

    def test_finish_one_by_one_each_in_a_commit_of_its_own(self, running: Make) -> None:
        host = running(choir(plain_song, plain_song))
        host.client.start("ada")
        host.client.send("ada", {"type": "SING"})
        host.work()
        assert len([event for event in host.events if isinstance(event, ActorFinished)]) == 2

    def test_do_not_wait_for_one_that_hangs(self, running: Make) -> None:
        async def hang(_input: Any, _call: Call) -> None:
            await asyncio.sleep(60)

        host = running(choir(actor(hang, timeout=timedelta(milliseconds=100)), plain_song))
        host.client.start("ada")
        host.client.send("ada", {"type": "SING"})
        host.work()
        found = host.client.get("ada")
        assert found is not None
        assert found.value == "over"


def plain_song(_input: Any, _call: Call) -> str:
    return "la"


class TestATimeout:
    def test_fails_the_attempt(self, running: Make) -> None:
        released = threading.Event()
        host = running(greeter(actor(lambda input, call: released.wait(5), timeout=timedelta(milliseconds=50))))
        snapshot = greeted(host)
        released.set()
        assert snapshot.value == "refused"
        assert snapshot.context["answer"]["name"] == "TimeoutError"

    def test_is_retried_if_the_actor_has_a_retry(self, running: Make) -> None:
        attempts: list[int] = []

        async def slow_at_first(_input: Any, call: Call) -> str:
            attempts.append(call.attempt)
            await asyncio.sleep(60 if call.attempt == 1 else 0)
            return "at last"

        retry = Retry(attempts=2, backoff=Backoff(timedelta(milliseconds=50)))
        host = running(greeter(actor(slow_at_first, retry=retry, timeout=timedelta(milliseconds=50))))
        host.client.start("ada")
        host.client.send("ada", {"type": "GREET"})
        assert host.work() == {ADA: TurnEnd.RELEASED}
        time.sleep(0.08)
        assert host.work() == {ADA: TurnEnd.DONE}
        assert attempts == [1, 2]
        assert [event.attempt for event in host.events if isinstance(event, ActorStarted)] == [1, 2]


class TestAStopSignal:
    def test_releases_the_message_at_once(self, running: Make) -> None:
        stop_signal, began = StopSignal(), threading.Event()

        async def hang(_input: Any, _call: Call) -> None:
            began.set()
            await asyncio.sleep(60)

        def stop() -> None:
            began.wait(5)
            stop_signal.set()

        threading.Thread(target=stop).start()
        host = running(greeter(hang))
        host.client.start("ada")
        host.client.send("ada", {"type": "GREET"})
        assert host.work(stop_signal) == {ADA: TurnEnd.RELEASED}
        assert [each for each in host.events if isinstance(each, Released)] == [
            Released(ADA, 0.0, ReleaseReason.STOPPING)
        ]

    def test_has_the_same_effect_as_a_deadline_that_passed(self, running: Make) -> None:
        async def hang(_input: Any, call: Call) -> str:
            await asyncio.sleep(60 if call.attempt == 1 else 0)
            return "done"

        host = running(greeter(hang))
        host.client.start("ada")
        host.client.send("ada", {"type": "GREET"})
        assert host.work(deadline=time.time() + 0.1) == {ADA: TurnEnd.RELEASED}
        assert host.work() == {ADA: TurnEnd.DONE}

    def test_lets_interrupted_actors_run_again_under_the_same_key(self, running: Make) -> None:
        calls: list[Call] = []

        async def hang_once(_input: Any, call: Call) -> str:
            calls.append(call)
            await asyncio.sleep(60 if call.attempt == 1 else 0)
            return "done"

        host = running(greeter(hang_once))
        host.client.start("ada")
        host.client.send("ada", {"type": "GREET"})
        host.work(deadline=time.time() + 0.1)
        host.work()
        assert len(calls) == 2
        assert len({call.idempotency_key for call in calls}) == 1
        assert calls[0].fence < calls[1].fence
