"""The worker: concurrent keys, each in its order, batches, a clean shutdown, and failing backends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from settled import (
    AccessDeniedError,
    BackendConfigError,
    Call,
    CredentialsError,
    Machine,
    OutcomeUnknownError,
    SettledError,
    UnavailableError,
    actor,
)
from settled.durable import Delivery
from settled_local.memory import MemoryBackend
from settled_local.sqlite import SQLiteBackend
from settled_runtime import Client, Host, HostEvent, Worker
from settled_runtime.events import ReceiveFailed, TurnStarted
from tests.durable.machines import add, appending
from tests.runtime.machines import greeter
from tests.runtime.test_joint_finish import WithoutJointFinish
from tests.support.builders import until


def work(machine: Machine[Any], backend: Any, until: Any, **options: Any) -> None:
    """Run a worker until `until` returns True, or for ten seconds."""
    with Worker([machine], backend, receive_wait=timedelta(seconds=0.05), **options).running():
        end = time.monotonic() + 10
        while not until() and time.monotonic() < end:
            time.sleep(0.01)


class TestManyKeys:
    def test_each_applies_its_events_in_order(self) -> None:
        backend, machine = MemoryBackend(), appending()
        client = Client(machine, backend)
        names = [f"i{n}" for n in range(10)]
        for name in names:
            client.start(name)
        for n in range(20):
            for name in names:
                client.send(name, add(n))

        def all_applied() -> bool:
            found = [client.get(name) for name in names]
            return all(each is not None and len(each.context["applied"]) == 20 for each in found)

        work(machine, backend, all_applied, concurrency=4)
        for name in names:
            snapshot = client.get(name)
            assert snapshot is not None
            assert snapshot.context["applied"] == list(range(20))

    def test_a_slow_one_does_not_delay_the_others(self) -> None:
        backend, release = MemoryBackend(), threading.Event()
        machine = greeter(lambda input, call: release.wait(10))
        client = Client(machine, backend)
        for name in ("slow", "quick"):
            client.start(name)
        client.send("slow", {"type": "GREET"})

        def quick_is_there() -> bool:
            return client.get("quick") is not None

        thread = threading.Thread(target=work, args=(machine, backend, release.is_set), kwargs={"concurrency": 2})
        thread.start()
        client.wait_for("quick", value="idle", timeout=timedelta(seconds=5))
        assert quick_is_there()
        release.set()
        thread.join()

    def test_no_more_than_the_concurrency_run_at_a_time(self) -> None:
        running: list[int] = []
        most: list[int] = []
        lock = threading.Lock()

        def slow(_input: Any, _call: Call) -> None:
            with lock:
                running.append(1)
                most.append(len(running))
            time.sleep(0.03)
            with lock:
                running.pop()

        backend, machine = MemoryBackend(), greeter(slow)
        client = Client(machine, backend)
        names = [f"i{n}" for n in range(8)]
        for name in names:
            client.start(name)
            client.send(name, {"type": "GREET"})

        def all_greeted() -> bool:
            found = [client.get(name) for name in names]
            return all(each is not None and each.value == "greeted" for each in found)

        work(machine, backend, all_greeted, concurrency=3)
        assert all_greeted()
        assert max(most) == 3


class TestTheBatchSize:
    def sizes(self, machine: Machine[Any], events: Sequence[Any]) -> list[int]:
        """Return with how many messages each turn started, of `events` for one instance, with a batch of 20."""
        backend, turns, over = MemoryBackend(), list[int](), threading.Event()
        client = Client(machine, backend)
        last = [client.start("ada"), *(client.send("ada", event) for event in events)][-1]

        def watch(event: HostEvent) -> None:
            if isinstance(event, TurnStarted):
                turns.append(len(event.ids))
                if last in event.ids:
                    over.set()

        worker = Worker(
            [machine], backend, observers=[watch], concurrency=2, batch=20, receive_wait=timedelta(seconds=0.05)
        )
        with worker.running():
            assert over.wait(10)
        return turns

    def test_begins_with_a_message_for_each_thread(self) -> None:
        assert self.sizes(appending(), [add(n) for n in range(100)])[0] == 2

    def test_grows_to_the_maximum_while_turns_have_nothing_to_perform(self) -> None:
        assert max(self.sizes(appending(), [add(n) for n in range(100)])) == 20


class TestThreads:
    """A worker takes no message that it cannot run: another one could, and its own threads may hang."""

    @pytest.fixture(params=[MemoryBackend, WithoutJointFinish])
    def backend(self, request: pytest.FixtureRequest) -> MemoryBackend:
        found: MemoryBackend = request.param(lease=timedelta(seconds=5))
        return found

    def test_that_all_hang_keep_no_other_message(self, backend: MemoryBackend) -> None:
        end, hanging = threading.Event(), list[str]()

        def hang(_input: Any, call: Call) -> None:
            hanging.append(call.key.instance)
            end.wait(10)

        machine = greeter(actor(hang, timeout=None))
        client, names = Client(machine, backend), [f"i{n}" for n in range(20)]
        for name in ("ada", *names):
            client.start(name)
        with Host([machine], backend) as host:
            host.handle(backend.queue.receive(100))
        for _ in range(100):
            client.send("ada", {"type": "IGNORED"})  # after many messages for one thread, more are received
        for name in names:
            client.send(name, {"type": "GREET"})
        with Worker([machine], backend, concurrency=2, receive_wait=timedelta(seconds=0.05)).running():
            while len(hanging) < 2:
                time.sleep(0.01)
            others, taken, latest = set(names) - set(hanging), set[str](), time.monotonic() + 6
            # Another worker gets them, at the latest when a lease has ended: this one renews none of them.
            while not others <= taken and time.monotonic() < latest:
                taken |= {each.message.key.instance for each in backend.queue.receive(100, wait=0.1)}
            end.set()
        assert taken - {"ada"} == others

    def test_of_which_none_is_free_take_no_turn_that_has_begun(self) -> None:
        """Its actor must not count as started: by `interruption`, the next worker might not start it at all."""
        backend, end = MemoryBackend(), threading.Event()
        machine = greeter(actor(lambda input, call: end.wait(10), interruption="fail"))
        client, names = Client(machine, backend), [f"i{n}" for n in range(20)]
        for name in names:
            client.start(name)
        work(machine, backend, lambda: all(client.get(name) for name in names), concurrency=2)
        client.start("ada")
        for _ in range(100):
            client.send("ada", {"type": "NOTE"})
        for name in names:
            client.send(name, {"type": "GREET"})
        begun = list[int]()

        def look() -> None:
            begun.append(sum(each is not None and each.value == "greeting" for each in map(client.get, names)))
            end.set()

        threading.Timer(0.3, look).start()

        def is_over() -> bool:
            found = [client.get(name) for name in names]
            return all(each is not None and each.value in ("greeted", "refused") for each in found)

        work(machine, backend, is_over, concurrency=2)
        assert [snapshot.value for name in names if (snapshot := client.get(name))] == ["greeted"] * 20
        assert begun == [2]


class TestShutdown:
    def test_waits_for_running_turns(self) -> None:
        backend, began = MemoryBackend(), threading.Event()

        def slow(_input: Any, _call: Call) -> str:
            began.set()
            time.sleep(0.3)
            return "done"

        machine = greeter(slow)
        client = Client(machine, backend)
        client.start("ada")
        client.send("ada", {"type": "GREET"})
        work(machine, backend, began.is_set)
        snapshot = client.get("ada")
        assert snapshot is not None
        assert snapshot.value == "greeted"

    def test_releases_turns_that_take_longer_than_the_grace(self) -> None:
        backend, began, release = MemoryBackend(), threading.Event(), threading.Event()

        def hang(_input: Any, call: Call) -> str:
            began.set()
            release.wait(10 if call.attempt == 1 else 0)
            return "done"

        machine = greeter(hang)
        client = Client(machine, backend)
        client.start("ada")
        client.send("ada", {"type": "GREET"})
        work(machine, backend, began.is_set, shutdown_grace=timedelta(seconds=0.1))
        assert len(backend.queue.receive(10)) == 1
        release.set()

    def test_starts_with_sigterm_and_releases_everything(self, tmp_path: Path) -> None:
        program = tmp_path / "worker.py"
        program.write_text(
            textwrap.dedent(
                """
                import sys, time
                from datetime import timedelta
                from pathlib import Path
                from settled_runtime import Worker, connect
                from tests.runtime.machines import greeter

                def hang(_input, call):
                    Path(sys.argv[2]).write_text(str(call.attempt))
                    time.sleep(60 if call.attempt == 1 else 0)
                    return "done"

                backend = connect(sys.argv[1])
                soon = timedelta(seconds=0.2)
                Worker([greeter(hang)], backend, shutdown_grace=soon, receive_wait=soon).run()
                backend.close()
                print("a clean end")
                """
            )
        )
        url, sign = f"sqlite:///{tmp_path / 'w.db'}", tmp_path / "began"
        backend = SQLiteBackend.open(tmp_path / "w.db")
        client = Client(greeter(lambda input, call: None), backend)
        client.start("ada")
        client.send("ada", {"type": "GREET"})
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        worker = subprocess.Popen(
            [sys.executable, str(program), url, str(sign)], env=environment, stdout=subprocess.PIPE, text=True
        )
        while not sign.exists():
            assert worker.poll() is None
            time.sleep(0.01)
        worker.send_signal(signal.SIGTERM)
        out, _ = worker.communicate(timeout=10)
        assert (worker.returncode, out.strip()) == (0, "a clean end")
        assert len(backend.queue.receive(10)) == 1
        backend.close()

    def test_does_not_release_a_turn_that_has_committed_before_it_had_a_thread(self) -> None:
        """Its actor would count as interrupted, and has not run."""
        ran, gate, backend = list[str](), threading.Event(), MemoryBackend()

        def greet(_input: Any, call: Call) -> str:
            ran.append(call.key.instance)
            if call.key.instance == "blocker":
                gate.wait(10)
            return "hello"

        machine = greeter(actor(greet, interruption="fail"))
        client = Client(machine, backend)
        with Worker([machine], backend, concurrency=1, receive_wait=timedelta(seconds=0.05)).running() as worker:
            for name in ("blocker", "ada"):
                client.start(name)
                client.wait_for(name)
            for name in ("blocker", "ada"):
                client.send(name, {"type": "GREET"})
            while backend.queue.backlog() or not ran:
                time.sleep(0.01)
            time.sleep(0.1)
            worker.stop()
            gate.set()
        host = Host([machine], backend)
        while deliveries := backend.queue.receive(10):
            host.handle(deliveries)
        host.close()
        assert [snapshot.value for name in ("blocker", "ada") if (snapshot := client.get(name))] == ["greeted"] * 2

    def test_releases_prefetched_messages(self) -> None:
        """Another worker can take them before their leases run out."""
        backend, machine = MemoryBackend(), appending()
        client = Client(machine, backend)
        for name in ("ada", "ben"):
            client.start(name)

        def stop(_event: HostEvent) -> None:
            worker.stop()

        worker = Worker([machine], backend, observers=[stop], batch=1)
        worker.run()
        assert [each.message.key.instance for each in backend.queue.receive(10)] == ["ben"]

    def test_does_not_wait_for_a_backlog_thread_that_finds_nothing_at_that_moment(self) -> None:
        backend, machine = MemoryBackend(), appending()
        client, receive = Client(machine, backend), backend.queue.receive
        for name in ("ada", "ben"):
            client.start(name)

        def receive_while_it_stops(
            limit: int, wait: float = 0.0, machines: Collection[str] | None = None
        ) -> Sequence[Delivery]:
            if threading.current_thread().name != "settled-backlog":
                return receive(limit, wait, machines)
            worker.stop()
            time.sleep(0.2)  # by now the backlog thread was woken for the last time
            return ()

        setattr(backend.queue, "receive", receive_while_it_stops)  # noqa: B010 (a method is not to be assigned to)
        worker = Worker([machine], backend, batch=1, receive_wait=timedelta(seconds=0.05))
        running = threading.Thread(target=worker.run, daemon=True)
        running.start()
        running.join(5)
        assert not running.is_alive()
        worker.close()


class TestABackendThatFails:
    def test_for_good_ends_the_worker_with_its_error(self) -> None:
        backend = FailingBackend(AccessDeniedError("the password was changed"))
        with pytest.raises(AccessDeniedError, match="password"):
            Worker([appending()], backend, receive_wait=timedelta(seconds=0.05)).run()

    @pytest.mark.parametrize("error", [AccessDeniedError("the password was changed"), BackendConfigError("no queue")])
    def test_by_refusing_what_it_has_allowed_is_called_again(self, error: SettledError) -> None:
        backend, machine = FailingBackend(), appending()
        client = Client(machine, backend)
        with Worker([machine], backend, receive_wait=timedelta(seconds=0.05)).running():
            client.start("ada")
            client.wait_for("ada", timeout=timedelta(seconds=10))
            backend.errors.append(error)
            until(lambda: not backend.errors)
            client.start("ben")
            client.wait_for("ben", timeout=timedelta(seconds=10))

    @pytest.mark.parametrize(
        "error", [UnavailableError("no route"), CredentialsError("expired"), OutcomeUnknownError("lost")]
    )
    def test_for_a_while_is_called_again(self, error: SettledError) -> None:
        backend, machine = FailingBackend(error), appending()
        client = Client(machine, backend)
        client.start("ada")
        work(machine, backend, lambda: client.get("ada") is not None)
        assert client.get("ada") is not None

    def test_is_reported_each_time_and_called_again_later_each_time(self) -> None:
        events: list[HostEvent] = []
        backend = FailingBackend(*[OutcomeUnknownError("lost")] * 3)
        worker = Worker([appending()], backend, observers=[events.append])
        with worker.running():
            end = time.monotonic() + 20
            while backend.errors and time.monotonic() < end:
                time.sleep(0.01)
        failed = [each for each in events if isinstance(each, ReceiveFailed)]
        assert [each.delay for each in failed] == pytest.approx([1.0, 1.1, 1.21])
        assert all(isinstance(each.error, OutcomeUnknownError) for each in failed)


class FailingBackend(MemoryBackend):
    """A backend whose first calls of ``receive`` raise `errors`."""

    def __init__(self, *errors: SettledError) -> None:
        super().__init__()
        self.errors, receive = list(errors), self.queue.receive

        def failing(limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
            if self.errors:
                raise self.errors.pop()
            return receive(limit, wait, machines)

        setattr(self.queue, "receive", failing)  # noqa: B010 (a method is not to be assigned to)
