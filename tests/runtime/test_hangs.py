"""Code of a machine that hangs: it is named, keeps its own instance only, and does not keep a process from ending."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from settled import Call, Machine, actor, setup
from settled.chart.implementations import ACTOR_TIMEOUT
from settled_local.memory import MemoryBackend
from settled_local.sqlite import SQLiteBackend
from settled_runtime import Client, Host, HostEvent, TurnHangs, Worker
from settled_runtime import worker as worker_module
from tests.runtime.conftest import Running
from tests.runtime.machines import greeter

Make = Callable[..., Running]
SOON = timedelta(seconds=0.05)
LEASE = timedelta(seconds=0.4)


def guarded(guard: Callable[[Any], bool]) -> Machine[Any]:
    """Takes GO if `guard` returns True."""
    return setup(guards={"g": guard}).machine(
        {
            "id": "guarded",
            "initial": "a",
            "states": {
                "a": {"tags": ["settled"], "on": {"GO": {"target": "b", "guard": "g"}}},
                "b": {"tags": ["settled"]},
            },
        }
    )


@pytest.fixture
def end() -> Iterator[threading.Event]:
    """The event that the code of the machines waits for; set at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


class Hangs(list[TurnHangs]):
    """An observer that keeps the hangs."""

    def __call__(self, event: HostEvent) -> None:
        if isinstance(event, TurnHangs):
            self.append(event)

    def first(self) -> TurnHangs:
        deadline = time.monotonic() + 5
        while not self:
            assert time.monotonic() < deadline, "no hang was reported"
            time.sleep(0.01)
        return self[0]


class TestAWorkerWithAGuardThatHangs:
    def test_leaves_all_other_instances_to_another_worker(self, end: threading.Event) -> None:
        def hang(args: Any) -> bool:
            return args.event["n"] != 0 or end.wait(10)

        backend, machine = MemoryBackend(lease=LEASE), guarded(hang)
        client, names = Client(machine, backend), [f"i{n}" for n in range(20)]
        for name in names:
            client.start(name)
        host = Host([machine], backend, observers=())
        host.handle(backend.queue.receive(100))
        client.send("i0", {"type": "GO", "n": 0})
        for name in names[1:]:
            client.send(name, {"type": "GO", "n": 1})
        with Worker([machine], backend, observers=(), receive_wait=SOON, concurrency=20).running():
            time.sleep(0.2)
            with Worker([machine], backend, observers=(), receive_wait=SOON).running():
                for name in names[1:]:
                    client.wait_for(name, value="b", timeout=timedelta(seconds=5))
            assert backend.queue.receive(10) == []  # the guard would hang in another worker, too
            end.set()
        host.close()

    def test_names_the_instance_and_the_function(self, end: threading.Event) -> None:
        def is_paid(_args: Any) -> bool:
            return end.wait(10)

        backend, machine, hangs = MemoryBackend(lease=LEASE), guarded(is_paid), Hangs()
        client = Client(machine, backend)
        client.start("ada")
        client.send("ada", {"type": "GO"})
        with Worker([machine], backend, observers=[hangs], receive_wait=SOON).running():
            hang = hangs.first()
            end.set()
        assert str(hang.key) == "guarded/ada"
        assert hang.seconds >= LEASE.total_seconds()
        assert hang.doing.startswith("the machine's functions, ")
        assert f"is_paid ({__file__}:" in hang.doing

    def test_names_it_too_if_it_has_kept_the_record(self, end: threading.Event) -> None:
        backend, machine, hangs = MemoryBackend(lease=LEASE), guarded(lambda args: end.wait(10)), Hangs()
        client = Client(machine, backend)
        with Worker([machine], backend, observers=[hangs], receive_wait=SOON).running():
            client.start("ada")
            client.wait_for("ada", timeout=timedelta(seconds=5))
            client.send("ada", {"type": "GO"})
            assert str(hangs.first().key) == "guarded/ada"
            assert backend.queue.receive(10) == []  # it is renewed, too
            end.set()


class TestAHang:
    def test_of_an_actor_without_a_timeout_is_reported_once(self, running: Make, end: threading.Event) -> None:
        host = running(greeter(actor(lambda input, call: end.wait(10), timeout=None)), lease=LEASE)
        hangs = self.watch(host, "GREET", end, 3 * LEASE.total_seconds())
        assert [each.doing for each in hangs] == ["the actor greet"]

    def test_of_an_action_is_reported(self, running: Make, end: threading.Event) -> None:
        host = running(greeter(lambda input, call: None, note=lambda _args: end.wait(10)), lease=LEASE)
        (hang,) = self.watch(host, "NOTE", end, 2 * LEASE.total_seconds())
        assert hang.doing.startswith("the action note, ")
        assert f"({__file__}:" in hang.doing

    def test_of_an_actor_with_a_timeout_is_not_as_its_failure_is(self, running: Make, end: threading.Event) -> None:
        host = running(greeter(actor(lambda input, call: end.wait(10), timeout=3 * LEASE)), lease=LEASE)
        assert self.watch(host, "GREET", end, 2 * LEASE.total_seconds()) == []

    def watch(self, host: Running, event: str, end: threading.Event, seconds: float) -> list[TurnHangs]:
        """Return the hangs that `host` reports in `seconds`, while `event` is handled."""
        host.client.start("ada")
        host.client.send("ada", {"type": event})
        timer = threading.Timer(seconds, end.set)
        timer.start()
        host.work()
        timer.join()
        return [each for each in host.events if isinstance(each, TurnHangs)]


class TestAHost:
    def test_does_not_renew_what_waits_for_another_instance(self, end: threading.Event) -> None:
        backend = MemoryBackend(lease=LEASE)
        machine = greeter(actor(lambda input, call: end.wait(10), timeout=None))
        client = Client(machine, backend)
        client.start("ada")
        client.send("ada", {"type": "GREET"})
        client.start("ben")
        with Host([machine], backend, observers=()) as host:
            thread = threading.Thread(target=host.handle, args=(backend.queue.receive(10),))
            thread.start()
            time.sleep(1.5 * LEASE.total_seconds())
            assert {each.message.key.instance for each in backend.queue.receive(10)} == {"ben"}
            end.set()
            thread.join()


class TestAnActor:
    def test_has_a_timeout_unless_it_says_otherwise(self) -> None:
        assert actor(lambda input, call: None).timeout == ACTOR_TIMEOUT == timedelta(minutes=5)
        assert actor(lambda input, call: None, timeout=None).timeout is None

    def test_that_is_a_plain_function_has_one_too(self, running: Make) -> None:
        calls: list[Call] = []
        host = running(greeter(lambda input, call: calls.append(call)))
        host.client.start("ada")
        host.client.send("ada", {"type": "GREET"})
        host.work()
        assert calls[0].deadline is not None
        assert 290 < calls[0].deadline - time.time() <= 300


PROGRAM = """
import sys, time
from datetime import timedelta
from pathlib import Path
from settled import actor
from settled_runtime import Worker, connect
from tests.runtime.machines import greeter
from tests.runtime.test_hangs import guarded
import logging, settled_runtime.worker
logging.basicConfig(format="%(message)s")
settled_runtime.worker.INTERRUPTION_GRACE = 0.2

def hang(*_):
    Path(sys.argv[2]).touch()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

machine = guarded(hang) if sys.argv[3] == "guard" else greeter(lambda input, call: None, note=hang)
soon = timedelta(seconds=float(sys.argv[4]))
Worker([machine], connect(sys.argv[1]), shutdown_grace=soon, receive_wait=timedelta(seconds=0.1)).run()
"""


class TestAProcess:
    """`Worker.run` in its main thread."""

    def hanging(self, folder: Path, code: str, grace: float) -> subprocess.Popen[str]:
        """Return a worker whose guard or action hangs."""
        (folder / "program.py").write_text(PROGRAM)
        with SQLiteBackend.open(folder / "w.db") as backend:
            machine = guarded(bool) if code == "guard" else greeter(lambda input, call: None)
            client = Client(machine, backend)
            client.start("ada")
            client.send("ada", {"type": "GO" if code == "guard" else "NOTE"})
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
            sign = folder / "began"
            arguments = [
                sys.executable,
                str(folder / "program.py"),
                f"sqlite:///{folder / 'w.db'}",
                str(sign),
                code,
                str(grace),
            ]
            process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
            while not sign.exists():
                assert process.poll() is None
                time.sleep(0.01)
        return process

    @pytest.mark.parametrize("code", ["guard", "action"])
    def test_ends_after_the_grace_time_whatever_hangs(self, tmp_path: Path, code: str) -> None:
        process = self.hanging(tmp_path, code, grace=0.2)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)
        assert process.returncode == 70
        assert "/ada: hangs" in log
        assert "hang (" in log
        assert "the worker does not end: its process is ended, with exit code 70" in log

    def test_ends_at_once_at_the_second_sigint(self, tmp_path: Path) -> None:
        process = self.hanging(tmp_path, "guard", grace=60)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode == 130


class TestAWorkerInTheMainThread:
    def test_waits_for_what_hangs_if_no_signal_has_stopped_it(
        self, end: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker_module, "INTERRUPTION_GRACE", 0.05)
        exits: list[int] = []
        monkeypatch.setattr(os, "_exit", exits.append)
        backend = MemoryBackend()

        def hang(_args: Any) -> None:
            worker.stop()
            end.wait(10)

        machine = greeter(lambda input, call: None, note=hang)
        client = Client(machine, backend)
        client.start("ada")
        client.send("ada", {"type": "NOTE"})
        threading.Timer(0.6, end.set).start()
        worker = Worker([machine], backend, observers=(), receive_wait=SOON, shutdown_grace=SOON)
        worker.run()
        worker.close()
        assert end.is_set()
        assert exits == []


class TestAnEmbeddedWorker:
    def test_waits_for_what_hangs(self, end: threading.Event) -> None:
        """The process is not its own to end."""
        backend, began = MemoryBackend(), threading.Event()

        def hang(_args: Any) -> None:
            began.set()
            end.wait(10)

        machine = greeter(lambda input, call: None, note=hang)
        client = Client(machine, backend)
        client.start("ada")
        client.send("ada", {"type": "NOTE"})
        threading.Timer(0.6, end.set).start()
        with Worker([machine], backend, observers=(), receive_wait=SOON, shutdown_grace=SOON).running():
            assert began.wait(5)
        assert end.is_set()
