"""An actor that ends its worker's process costs only its own instance; a real process dies each time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from settled import Key, TurnEnd
from settled.durable import record_from_json
from settled.durable.commands import ReleaseReason
from settled.durable.record import Watch
from settled.durable.record_json import record_to_stored
from settled_local.memory import MemoryBackend
from settled_runtime import AsyncHost, Client, StopSignal, Worker, connect
from settled_runtime.events import ActorFinished, ActorStarted, Released, SuspectIsolated
from settled_runtime.host_context import HostContext
from settled_runtime.joint_commit import commit_together
from settled_runtime.turn_gate import PATIENCE, TurnGate
from settled_runtime.turn_runner import turns_for
from tests.runtime.conftest import Running
from tests.runtime.machines import greeter

ROOT = Path(__file__).parents[2]
NEIGHBOURS = [f"n{number}" for number in range(40)]

deadly = greeter(lambda input, call: os._exit(1) if call.key.instance == "deadly" else time.sleep(0.5))
"""Its actor ends the process for the instance `deadly`, and takes half a second for all others."""


@contextmanager
def supervised(url: str) -> Generator[list[int]]:
    """Within this block, run a worker, and start another one whenever it has ended; yield its exit codes."""
    over, ends = threading.Event(), list[int]()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    command = (sys.executable, "-m", "settled_cli", "worker", "tests.runtime.test_suspects:deadly", "--backend", url)

    def supervise() -> None:
        while not over.is_set():
            worker = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            while worker.poll() is None and not over.wait(0.05):
                pass
            worker.terminate()
            ends.append(worker.wait(20))

    supervisor = threading.Thread(target=supervise)
    supervisor.start()
    try:
        yield ends
    finally:
        over.set()
        supervisor.join()


def test_forty_neighbours_of_an_actor_that_ends_its_process_are_served(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/deadly.db?lease=1"
    with connect(url) as backend:
        client = Client(deadly, backend)
        for name in ("deadly", *NEIGHBOURS):
            client.start(name)
            client.send(name, {"type": "GREET"})
        with supervised(url) as ends:
            guilty = client.wait_for("deadly", value="refused", timeout=timedelta(seconds=60))
            for name in NEIGHBOURS:
                client.wait_for(name, value="greeted", timeout=timedelta(seconds=60))
            client.send("deadly", {"type": "NOTE"}, message_id="note")
        answer = guilty.context["answer"]
        assert answer["name"] == "WorkerLost"
        assert "the actor 'greet' of greeter/deadly" in answer["message"]
        assert set(ends[:-1]) == {1}
        assert list(client.list(status="halted")) == []


def make_suspect(backend: MemoryBackend, name: str, *, is_alone: bool = False) -> None:
    """Leave the record of `name` as a worker does that was lost while it ran the message ``greet``."""
    key = Key("greeter", name)
    stored, machine = backend.store.load(key), greeter(lambda input, call: None)
    assert stored is not None
    record = evolve(record_from_json(machine, key, stored.body), watch=Watch("greet", is_alone=is_alone))
    backend.store.commit(key, record_to_stored(machine, record, stored.version + 1, backend.now()), stored.version)


def isolated(events: list[Any]) -> list[str]:
    return [event.key.instance for event in events if isinstance(event, SuspectIsolated)]


class TestAHost:
    @pytest.fixture
    def host(self, running: Callable[..., Running]) -> Running:
        host = running(greeter(lambda input, call: time.sleep(0.05)))
        names = ("ada", "ben", "cem", "dan")
        for name in names:
            host.client.start(name)
        host.work()
        for name in names:
            host.client.send(name, {"type": "GREET"}, message_id="greet")
        for name in ("ada", "cem"):
            make_suspect(host.backend, name)
        host.events.clear()
        return host

    def test_runs_suspects_last_and_one_at_a_time(self, host: Running) -> None:
        ends = host.work()
        assert set(ends.values()) == {TurnEnd.DONE}
        actors = [event for event in host.events if isinstance(event, ActorStarted | ActorFinished)]
        last = [(type(event), event.key.instance) for event in actors][-4:]
        assert last == [
            (ActorStarted, "ada"),
            (ActorFinished, "ada"),
            (ActorStarted, "cem"),
            (ActorFinished, "cem"),
        ]
        assert isolated(host.events) == ["ada", "cem"]

    def test_runs_the_least_suspicious_first(self, host: Running) -> None:
        make_suspect(host.backend, "ada", is_alone=True)
        host.work()
        assert isolated(host.events) == ["cem", "ada"]

    def test_leaves_no_note_if_it_has_to_stop_while_one_of_them_runs(self, running: Callable[..., Running]) -> None:
        stop_signals: list[StopSignal] = [StopSignal(), StopSignal()]
        end = threading.Event()

        def greet(_input: Any, call: Any) -> None:
            stop_signals[int(call.attempt) - 1].set()
            end.wait(10)

        host = running(greeter(greet))
        host.client.start("ada")
        host.work()
        host.client.send("ada", {"type": "GREET"}, message_id="greet")
        for stop_signal in stop_signals:
            assert set(host.work(stop_signal).values()) == {TurnEnd.RELEASED}
            if stop_signal is stop_signals[0]:
                make_suspect(host.backend, "ada")
        end.set()
        stored = host.backend.store.load(Key("greeter", "ada"))
        assert stored is not None and '"watch"' not in stored.body
        assert isolated(host.events) == ["ada"]

    def test_gives_them_back_if_it_has_to_stop(self, host: Running) -> None:
        stop_signal = StopSignal()
        stop_signal.set()
        ends = host.work(stop_signal)
        assert ends[Key("greeter", "ada")] is TurnEnd.RELEASED
        assert isolated(host.events) == []

    def test_runs_other_turns_again_afterwards(self, host: Running) -> None:
        host.work()
        host.client.send("ben", {"type": "GREET"})
        assert set(host.work().values()) == {TurnEnd.DONE}


class TestAWorker:
    def test_gives_a_suspect_back_if_it_cannot_run_it_alone_in_time(self) -> None:
        end = threading.Event()
        machine = greeter(lambda input, call: end.wait(20) and None)
        backend, events = MemoryBackend(lease=timedelta(seconds=1)), list[Any]()
        client = Client(machine, backend)
        for name in ("slow", "ada", "ben"):
            client.start(name)
        worker = Worker([machine], backend, observers=[events.append], receive_wait=timedelta(seconds=0.05))
        with worker.running():
            for name in ("slow", "ada", "ben"):
                client.wait_for(name)
            client.send("slow", {"type": "GREET"})
            while not any(isinstance(event, ActorStarted) for event in events):
                time.sleep(0.01)
            make_suspect(backend, "ada")
            client.send("ada", {"type": "GREET"}, message_id="greet")
            reasons: list[ReleaseReason] = []
            latest = time.monotonic() + 10
            while ReleaseReason.SUSPECT not in reasons and time.monotonic() < latest:
                reasons = [event.reason for event in list(events) if isinstance(event, Released)]
                time.sleep(0.01)
            assert ReleaseReason.SUSPECT in reasons
            assert client.ask("ben", {"type": "NOTE"}, timeout=timedelta(seconds=2)).value == "idle"
            end.set()
            client.wait_for("ada", value="greeted")
        assert isolated(events) == ["ada"]

    def test_begins_no_other_turn_while_it_runs_a_suspect(self) -> None:
        began, end = threading.Event(), threading.Event()

        def hang(a: Any) -> None:
            if a.event["hangs"]:
                began.set()
                end.wait(20)

        machine = greeter(lambda input, call: None, hang)
        backend, events = MemoryBackend(lease=timedelta(seconds=5)), list[Any]()
        client = Client(machine, backend)
        worker = Worker([machine], backend, observers=[events.append], receive_wait=timedelta(seconds=0.05))
        with worker.running():
            for name in ("ada", "ben"):
                client.start(name)
                client.wait_for(name)
            make_suspect(backend, "ada")
            client.send("ada", {"type": "NOTE", "hangs": True}, message_id="greet")
            assert began.wait(10)
            note = client.send("ben", {"type": "NOTE", "hangs": False})
            with pytest.raises(TimeoutError):
                client.outcome("ben", note, timeout=timedelta(seconds=0.5))
            end.set()
            client.outcome("ben", note)
        released = [event for event in events if isinstance(event, Released)]
        assert len(released) <= 1, "at most what had been received before"


class TestAHostThatWaitsAtTheGate:
    def test_puts_its_messages_back_when_it_has_no_time_left(self, running: Callable[..., Running]) -> None:
        host = running(greeter(lambda input, call: None))
        host.client.start("ada")
        gate = host.gate
        gate.ask("another", 0, 60)
        began = time.monotonic()
        host.work(deadline=host.backend.now() + 0.2)
        assert time.monotonic() - began < 5
        (released,) = [event for event in host.events if isinstance(event, Released)]
        assert released.reason is ReleaseReason.BUSY
        gate.end("another")
        host.work()
        assert host.client.get("ada") is not None

    def test_leaves_nothing_at_the_gate_if_it_is_cancelled(self) -> None:
        machine, backend = greeter(lambda input, call: None), MemoryBackend()
        Client(machine, backend).start("ada")

        async def cancel(host: AsyncHost) -> None:
            handling = asyncio.create_task(host.handle(backend.queue.receive(10)))
            await asyncio.sleep(0.1)
            handling.cancel()
            await asyncio.wait([handling])

        with AsyncHost([machine], backend) as host:
            gate = host._context.gate  # pyright: ignore[reportPrivateUsage]
            gate.admit(["suspect"])
            gate.ask("suspect", 0, 60)
            asyncio.run(cancel(host))
            gate.end("suspect")
            time.sleep(0.2)
            gate.admit(["another"])
            gate.ask("another", 0, 60)
            assert gate.isolate("another", 1, StopSignal()) == (True, False)


class TestAJointCommit:
    """A turn that has to wait, or that may end the process, has a thread of its own before it begins that."""

    @pytest.mark.parametrize("is_suspect", [True, False])
    def test_puts_it_back_if_no_thread_is_free(self, is_suspect: bool) -> None:
        machine, backend = greeter(lambda input, call: None), MemoryBackend()
        client, context = Client(machine, backend), HostContext.of([machine], backend, None, ())
        client.start("ada")
        commit_together(context, turns_for(context, backend.queue.receive(1)))
        context.record_cache.pop(Key("greeter", "ada"), backend.now)
        client.send("ada", {"type": "IGNORED"}, message_id="greet")
        for _ in range(1 if is_suspect else 9):
            backend.queue.release(backend.queue.receive(10))
        if is_suspect:
            make_suspect(backend, "ada")
        (turn,) = turns_for(context, backend.queue.receive(10))
        commit_together(context, [turn], take_thread=lambda: False)
        assert turn.end is TurnEnd.RELEASED
        stored = backend.store.load(Key("greeter", "ada"))
        assert stored is not None and stored.version == (2 if is_suspect else 1)
        context.leases.close()


class TestTheGate:
    def test_is_closed_while_a_turn_waits_to_run_alone_and_while_it_runs(self) -> None:
        gate = TurnGate()
        assert gate.admit(["a", "b"])
        gate.ask("a", 0, 10)
        assert not gate.admit(["c"])
        gate.end("b")
        assert gate.isolate("a", 10, StopSignal()) == (True, False)
        assert not gate.admit(["c"])
        gate.end("a")
        assert gate.admit(["c"])

    def test_opens_when_the_turn_that_runs_alone_asks_for_it(self) -> None:
        gate = TurnGate()
        gate.admit(["a"])
        gate.ask("a", 0, 10)
        gate.isolate("a", 10, StopSignal())
        gate.end_isolation("a")
        assert gate.admit(["c"])

    def test_opens_after_a_time_whatever_the_turn_does(self) -> None:
        gate = TurnGate()
        gate.admit(["a"])
        gate.ask("a", 0, 0.1)
        gate.isolate("a", 0.1, StopSignal())
        began = time.monotonic()
        assert gate.wait_until_open(5)
        assert time.monotonic() - began < 0.1 * PATIENCE + 0.5

    def test_is_not_waited_for_any_longer_once_the_host_has_to_stop(self) -> None:
        gate, stop_signal = TurnGate(), StopSignal()
        gate.admit(["a"])
        gate.ask("a", 0, 60)
        threading.Timer(0.1, stop_signal.set).start()
        began = time.monotonic()
        assert not gate.wait_until_open(60, stop_signal)
        assert time.monotonic() - began < 5

    def test_lets_the_least_suspicious_go_first(self) -> None:
        gate, order, threads = TurnGate(), list[str](), list[threading.Thread]()

        def run(turn: str) -> None:
            assert gate.isolate(turn, 10, StopSignal())[0]
            order.append(turn)
            gate.end(turn)

        gate.admit(["guilty", "ada", "ben"])
        for turn, losses in (("guilty", 1), ("ada", 0), ("ben", 0)):
            gate.ask(turn, losses, 10)
            threads.append(threading.Thread(target=run, args=(turn,)))
            threads[-1].start()
        for thread in threads:
            thread.join(10)
        assert order == ["ada", "ben", "guilty"]

    def test_does_not_wait_for_ever_for_turns_that_run(self) -> None:
        gate = TurnGate()
        gate.admit(["a", "hangs"])
        gate.ask("a", 0, 0.1)
        assert gate.isolate("a", 0.1, StopSignal()) == (False, False)
        assert gate.admit(["c"])

    def test_does_not_wait_any_longer_once_the_host_stops(self) -> None:
        gate, stop_signal = TurnGate(), StopSignal()
        gate.admit(["a", "runs"])
        gate.ask("a", 0, 60)
        threading.Timer(0.05, stop_signal.set).start()
        assert gate.isolate("a", 60, stop_signal) == (False, True)
