"""Code that hangs under `AsyncHost`: an actor that cannot be cancelled, and code that blocks the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from settled import Call, Json, Key, Machine, actor
from settled_local.memory import MemoryBackend
from settled_runtime import AsyncHost, Client, HostEvent, StopSignal, TurnHangs, async_host
from settled_runtime.events import ActorAbandoned
from tests.runtime.machines import choir, greeter
from tests.runtime.test_hangs import guarded

ADA = Key("greeter", "ada")
GRACE = 0.1
LEASE = timedelta(seconds=0.4)
SHORT = timedelta(milliseconds=50)


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_host, "CANCELLATION_GRACE", GRACE)


@pytest.fixture
def end() -> Iterator[threading.Event]:
    """The event that the code of the machines waits for; set at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


async def swallow_cancellation(_input: Any, _call: Call) -> None:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)


async def swallow_everything(_input: Any, _call: Call) -> None:
    while True:
        with suppress(BaseException):
            await asyncio.sleep(0.01)


async def wait_for_a_task_that_swallows_cancellation(input: Any, call: Call) -> None:
    await asyncio.create_task(stubborn(input, call, 10 * GRACE))


async def stubborn(_input: Any, _call: Call, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)


STUBBORN = (swallow_cancellation, swallow_everything, wait_for_a_task_that_swallows_cancellation)


def run_in_time(program: Callable[[], Awaitable[None]]) -> None:
    """Run `program` in a new event loop, which must have ended within seconds."""
    failures: list[BaseException] = []

    async def main() -> None:
        await program()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), "the event loop has not ended"
    if failures:
        raise failures[0]


def begun(machine: Machine[Any], event: str = "GREET", name: str = "ada") -> MemoryBackend:
    """Return a backend with an instance of `machine` and an event for it."""
    backend = MemoryBackend(lease=LEASE)
    client = Client(machine, backend)
    client.start(name)
    client.send(name, {"type": event})
    return backend


# Python itself complains of code that goes on after GeneratorExit.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestAnActorThatCannotBeCancelled:
    @pytest.mark.parametrize("function", STUBBORN)
    def test_fails_at_its_timeout_and_is_abandoned(self, function: Callable[[Any, Call], Any]) -> None:
        machine, events = greeter(actor(function, timeout=SHORT)), list[HostEvent]()
        backend = begun(machine)

        async def program() -> None:
            with AsyncHost([machine], backend, observers=[events.append]) as host:
                await host.handle(backend.queue.receive(10))

        run_in_time(program)
        snapshot = Client(machine, backend).get("ada")
        assert snapshot is not None
        assert snapshot.context["answer"] == {"name": "TimeoutError", "message": "greet did not end in time"}
        (abandoned,) = [each for each in events if isinstance(each, ActorAbandoned)]
        assert (abandoned.key, abandoned.src, abandoned.attempt) == (ADA, "greet", 1)

    @pytest.mark.parametrize("function", STUBBORN)
    def test_does_not_keep_its_host_from_stopping(self, function: Callable[[Any, Call], Any]) -> None:
        machine, events = greeter(function), list[HostEvent]()
        backend = begun(machine)

        async def program() -> None:
            with AsyncHost([machine], backend, observers=[events.append]) as host:
                stop_signal = StopSignal()
                asyncio.get_running_loop().call_later(0.1, stop_signal.set)
                await host.handle(backend.queue.receive(10), stop_signal)

        run_in_time(program)
        assert len([each for each in events if isinstance(each, ActorAbandoned)]) == 1
        assert len(backend.queue.receive(10)) == 1

    def test_does_not_keep_a_cancelled_host_from_ending(self) -> None:
        machine = greeter(swallow_cancellation)
        backend = begun(machine)

        async def program() -> None:
            with AsyncHost([machine], backend, observers=()) as host:
                handling = asyncio.create_task(host.handle(backend.queue.receive(10)))
                await asyncio.sleep(0.1)
                handling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await handling

        run_in_time(program)

    def test_runs_no_further_once_it_is_abandoned(self) -> None:
        rounds: list[None] = []

        async def count(_input: Any, _call: Call) -> None:
            while True:
                with suppress(BaseException):
                    await asyncio.sleep(0.01)
                rounds.append(None)

        machine = greeter(actor(count, timeout=SHORT))
        backend = begun(machine)

        async def program() -> None:
            with AsyncHost([machine], backend, observers=()) as host:
                await host.handle(backend.queue.receive(10))
                before = len(rounds)
                await asyncio.sleep(0.1)
                assert before >= 1
                assert len(rounds) <= before + 1  # the one that its own cleaning up may take

        run_in_time(program)

    def test_does_not_hold_up_the_others_of_its_turn(self) -> None:
        async def sing(_input: Any, _call: Call) -> str:
            return "la"

        machine = choir(actor(swallow_everything, timeout=SHORT), sing)
        backend = begun(machine, "SING")

        async def program() -> None:
            with AsyncHost([machine], backend, observers=()) as host:
                await host.handle(backend.queue.receive(10))

        run_in_time(program)
        snapshot = Client(machine, backend).get("ada")
        assert snapshot is not None
        assert snapshot.value == "over"


class TestAnActorThatIsCancelled:
    @pytest.mark.parametrize(("timeout", "stop"), [(SHORT, 60.0), (None, 0.05)], ids=["timed out", "stopped"])
    def test_has_a_grace_time_to_clean_up(self, timeout: timedelta | None, stop: float) -> None:
        ended: list[str] = []

        async def clean_up(_input: Any, _call: Call) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(GRACE / 2)
                ended.append("cleaned up")

        machine, events = greeter(actor(clean_up, timeout=timeout)), list[HostEvent]()
        backend = begun(machine)

        async def program() -> None:
            with AsyncHost([machine], backend, observers=[events.append]) as host:
                stop_signal = StopSignal()
                asyncio.get_running_loop().call_later(stop, stop_signal.set)
                await host.handle(backend.queue.receive(10), stop_signal)

        run_in_time(program)
        assert ended == ["cleaned up"]
        assert not [each for each in events if isinstance(each, ActorAbandoned)]

    def test_by_itself_has_failed(self) -> None:
        async def cancel_itself(_input: Any, _call: Call) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(60)

        machine = greeter(cancel_itself)
        backend = begun(machine)

        async def program() -> None:
            with AsyncHost([machine], backend, observers=()) as host:
                await host.handle(backend.queue.receive(10))

        run_in_time(program)
        snapshot = Client(machine, backend).get("ada")
        assert snapshot is not None
        assert isinstance(snapshot.context["answer"], dict)
        assert snapshot.context["answer"]["name"] == "CancelledError"


class TestCodeThatBlocksTheLoop:
    """The messages of the other instances go to other hosts, and its own stay where they are."""

    def names_free_after(self, backend: MemoryBackend, seconds: float) -> set[str]:
        time.sleep(seconds)
        return {each.message.key.instance for each in backend.queue.receive(10)}

    def handle_in_thread(self, host: AsyncHost, backend: MemoryBackend) -> threading.Thread:
        deliveries = backend.queue.receive(10)
        thread = threading.Thread(target=lambda: asyncio.run(host.handle(deliveries)), daemon=True)
        thread.start()
        return thread

    def test_in_a_guard_keeps_its_own_instance_only(self, end: threading.Event) -> None:
        def is_free(args: Any) -> bool:
            return args.event["n"] != 0 or end.wait(10)

        machine, hangs = guarded(is_free), list[HostEvent]()
        backend = MemoryBackend(lease=LEASE)
        client = Client(machine, backend)
        for n, name in enumerate(("ada", "ben", "cyd")):
            client.start(name)
            client.send(name, {"type": "GO", "n": n})
        with AsyncHost([machine], backend, observers=[hangs.append]) as host:
            thread = self.handle_in_thread(host, backend)
            assert self.names_free_after(backend, 3 * LEASE.total_seconds()) == {"ben", "cyd"}
            end.set()
            thread.join(5)
        assert [str(each.key) for each in hangs if isinstance(each, TurnHangs)] == ["guarded/ada"]

    def test_in_an_actor_is_named_and_keeps_its_own_instance_only(self, end: threading.Event) -> None:
        async def greet(input: Json, call: Call) -> None:
            if call.key.instance == "ada":
                end.wait(10)
            else:
                await asyncio.sleep(60)

        machine, hangs = greeter(greet), list[HostEvent]()
        backend = begun(machine)
        Client(machine, backend).start("ben")
        Client(machine, backend).send("ben", {"type": "GREET"})
        stop_signal = StopSignal()
        with AsyncHost([machine], backend, observers=[hangs.append]) as host:
            deliveries = backend.queue.receive(10)
            thread = threading.Thread(target=lambda: asyncio.run(host.handle(deliveries, stop_signal)), daemon=True)
            thread.start()
            assert self.names_free_after(backend, 3 * LEASE.total_seconds()) == {"ben"}
            end.set()
            stop_signal.set()
            thread.join(5)
        (hang,) = [each for each in hangs if isinstance(each, TurnHangs)]
        assert hang.key == ADA
        assert f"greet ({__file__}:" in hang.doing

    def test_for_less_than_a_lease_changes_nothing(self) -> None:
        async def greet(input: Json, call: Call) -> str:
            if call.key.instance == "ada":
                time.sleep(0.8 * LEASE.total_seconds())
            await asyncio.sleep(2.5 * LEASE.total_seconds())
            return "hello"

        machine, events = greeter(greet), list[HostEvent]()
        backend = begun(machine)
        Client(machine, backend).start("ben")
        Client(machine, backend).send("ben", {"type": "GREET"})
        with AsyncHost([machine], backend, observers=[events.append]) as host:
            thread = self.handle_in_thread(host, backend)
            assert self.names_free_after(backend, 2.8 * LEASE.total_seconds()) == set()
            thread.join(5)
        assert not [each for each in events if isinstance(each, TurnHangs)]
