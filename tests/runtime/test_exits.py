"""Code of the machine that raises what would end a thread, a task or the process: it fails, and nothing else ends."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from settled import Backoff, Call, Key, Retry, TurnEnd, actor, setup
from settled.durable.commands import ReleaseReason
from settled_local.memory import MemoryBackend
from settled_runtime import AsyncHost, Client, HostEvent, StopSignal, Worker
from settled_runtime.events import ActionPerformed, Released
from tests.runtime.conftest import Running
from tests.runtime.machines import greeter

Make = Callable[..., Running]
ADA = Key("greeter", "ada")
LEAVING = (SystemExit(2), asyncio.CancelledError(), GeneratorExit(), StopIteration())


def raising(error: BaseException) -> Callable[[Any, Call], Any]:
    def leave(_input: Any, _call: Call) -> None:
        raise error

    return leave


def raising_async(error: BaseException) -> Callable[[Any, Call], Any]:
    async def leave(_input: Any, _call: Call) -> None:
        raise error

    return leave


def send_greeting(host: Running) -> None:
    host.client.start("ada")
    host.client.send("ada", {"type": "GREET"})


class TestAnActor:
    @pytest.mark.parametrize("error", [*LEAVING, KeyboardInterrupt()], ids=repr)
    def test_fails_with_whatever_it_raises(self, running: Make, error: BaseException) -> None:
        host = running(greeter(raising(error)))
        send_greeting(host)
        assert host.work() == {ADA: TurnEnd.DONE}
        snapshot = host.client.get("ada")
        assert snapshot is not None
        assert snapshot.context["answer"] == {"name": type(error).__name__, "message": str(error)}

    @pytest.mark.parametrize("error", LEAVING[:3], ids=repr)
    def test_may_be_async(self, running: Make, error: BaseException) -> None:
        host = running(greeter(raising_async(error)))
        send_greeting(host)
        assert host.work() == {ADA: TurnEnd.DONE}
        snapshot = host.client.get("ada")
        assert snapshot is not None
        assert snapshot.context["answer"] == {"name": type(error).__name__, "message": str(error)}

    def test_is_retried(self) -> None:
        attempts: list[int] = []

        def leave(_input: Any, call: Call) -> None:
            attempts.append(call.attempt)
            raise SystemExit

        backend = MemoryBackend()
        machine = greeter(actor(leave, retry=Retry(attempts=2, backoff=Backoff(timedelta(milliseconds=1)))))
        client = Client(machine, backend)
        client.start("ada")
        client.send("ada", {"type": "GREET"})
        with Worker([machine], backend, observers=(), receive_wait=timedelta(seconds=0.05)).running():
            client.wait_for("ada", value="refused", timeout=timedelta(seconds=5))
        assert attempts == [1, 2]


class TestAnAction:
    @pytest.mark.parametrize("error", LEAVING[:3], ids=repr)
    def test_fails_with_whatever_it_raises(self, running: Make, error: BaseException) -> None:
        def note(_args: Any) -> None:
            raise error

        host = running(greeter(lambda input, call: None, note=note))
        host.client.start("ada")
        host.client.send("ada", {"type": "NOTE"})
        assert host.work() == {ADA: TurnEnd.RELEASED}
        (performed,) = [event for event in host.events if isinstance(event, ActionPerformed)]
        assert performed.error == f"{type(error).__name__}: {error}"


class TestAGuard:
    @pytest.mark.parametrize("error", LEAVING[:2], ids=repr)
    def test_fails_its_message_with_whatever_it_raises(self, running: Make, error: BaseException) -> None:
        def leave(_args: Any) -> bool:
            raise error

        machine = setup(guards={"g": leave}).machine(
            {"id": "m", "initial": "a", "states": {"a": {"on": {"GO": {"target": "b", "guard": "g"}}}, "b": {}}}
        )
        host = running(machine)
        host.client.start("ada")
        host.client.send("ada", {"type": "GO"})
        host.client.start("ben")
        assert host.work() == {Key("m", "ada"): TurnEnd.RELEASED, Key("m", "ben"): TurnEnd.DONE}
        (released,) = [event for event in host.events if isinstance(event, Released)]
        assert released.reason is ReleaseReason.FAILED
        assert f"{type(error).__name__}: {error}" in released.detail


@pytest.fixture
def sys_exit_on_sigterm() -> Iterator[None]:
    def leave(_number: int, _frame: object) -> None:
        raise SystemExit(3)

    before = signal.signal(signal.SIGTERM, leave)
    yield
    signal.signal(signal.SIGTERM, before)


class TestTheProcess:
    @pytest.mark.usefixtures("sys_exit_on_sigterm")
    def test_still_ends_by_a_signal_in_the_middle_of_an_action(self, running: Make) -> None:
        host = running(greeter(lambda input, call: None, note=lambda _: os.kill(os.getpid(), signal.SIGTERM)))
        host.client.start("ada")
        host.client.send("ada", {"type": "NOTE"})
        with pytest.raises(SystemExit):
            host.work()

    def test_still_ends_by_ctrl_c_in_the_middle_of_an_action(self, running: Make) -> None:
        def interrupt(_args: Any) -> None:
            raise KeyboardInterrupt

        host = running(greeter(lambda input, call: None, note=interrupt))
        host.client.start("ada")
        host.client.send("ada", {"type": "NOTE"})
        with pytest.raises(KeyboardInterrupt):
            host.work()

    def test_renews_nothing_after_it(self, running: Make) -> None:
        """A program that goes on must not keep the messages from every other worker."""

        def interrupt(_args: Any) -> None:
            raise KeyboardInterrupt

        host = running(greeter(lambda input, call: None, note=interrupt), lease=timedelta(seconds=0.3))
        for name in ("ada", "ben"):
            host.client.start(name)
            host.client.send(name, {"type": "NOTE"})
        with pytest.raises(KeyboardInterrupt):
            host.work()
        time.sleep(0.6)
        assert {each.message.key.instance for each in host.backend.queue.receive(10)} == {"ada", "ben"}


class TestACancelledHost:
    def test_ends_in_the_middle_of_an_action_and_reports_no_failure(self) -> None:
        backend, began, events = MemoryBackend(), threading.Event(), list[HostEvent]()

        async def hang(_args: Any) -> None:
            began.set()
            await asyncio.sleep(60)

        machine = greeter(lambda input, call: None, note=hang)
        client = Client(machine, backend)
        client.start("ada")
        client.send("ada", {"type": "NOTE"})

        async def cancelled() -> None:
            with AsyncHost([machine], backend, observers=[events.append]) as host:
                task = asyncio.create_task(host.handle(backend.queue.receive(10)))
                await asyncio.to_thread(began.wait, 5)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        asyncio.run(cancelled())
        assert [each for each in events if isinstance(each, ActionPerformed)] == []

    def test_cancels_its_actors_and_reports_no_failure(self) -> None:
        backend, began, ended = MemoryBackend(), threading.Event(), list[str]()

        async def hang(_input: Any, _call: Call) -> None:
            began.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        machine = greeter(hang)
        client = Client(machine, backend)
        client.start("ada")
        client.send("ada", {"type": "GREET"})

        async def cancelled() -> None:
            with AsyncHost([machine], backend, observers=()) as host:
                task = asyncio.create_task(host.handle(backend.queue.receive(10), StopSignal()))
                await asyncio.to_thread(began.wait, 5)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        asyncio.run(cancelled())
        assert ended == ["cancelled"]
        snapshot = client.get("ada")
        assert snapshot is not None
        assert snapshot.value == "greeting"
