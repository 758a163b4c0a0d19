"""What is opened in a ``with`` statement is closed at its end."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from settled import AccessDeniedError, BackendClosedError, Call, Key
from settled_local.memory import MemoryBackend
from settled_runtime import AsyncHost, Client, Host, Worker, connect
from tests.durable.machines import add, appending
from tests.runtime.machines import greeter
from tests.runtime.test_worker import FailingBackend


@pytest.fixture
def others() -> set[threading.Thread]:
    """The threads that run before the test."""
    return set(threading.enumerate())


def names_of_new(others: set[threading.Thread]) -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread not in others}


class TestABackend:
    def test_is_closed(self, tmp_path: Path) -> None:
        with connect(f"sqlite:///{tmp_path / 'orders.db'}") as backend:
            assert backend.store.load(Key("order", "42")) is None
        with pytest.raises(BackendClosedError):
            backend.store.load(Key("order", "42"))

    def test_is_closed_after_an_error_too(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), connect(f"sqlite:///{tmp_path / 'orders.db'}") as backend:
            _ = 1 / 0
        with pytest.raises(BackendClosedError):
            backend.store.load(Key("order", "42"))


class TestAHost:
    def test_renews_no_leases_any_more(self, others: set[threading.Thread]) -> None:
        backend = MemoryBackend()
        with Host([appending()], backend) as host, AsyncHost([appending()], backend):
            Client(appending(), backend).start("ada")
            host.handle(backend.queue.receive(1))
            assert names_of_new(others) == {"settled-leases"}
        assert names_of_new(others) == set()


class TestAClient:
    def test_leaves_the_backend_open(self) -> None:
        backend = MemoryBackend()
        with Client(appending(), backend) as client:
            client.start("ada")
        assert len(backend.queue.receive(1)) == 1


class TestARunningWorker:
    def test_takes_messages_within_the_block_and_none_after_it(self, others: set[threading.Thread]) -> None:
        backend, machine = MemoryBackend(), appending()
        client = Client(machine, backend)
        with Worker([machine], backend, receive_wait=timedelta(seconds=0.05)).running():
            client.start("ada")
            assert client.ask("ada", add(1)).context["applied"] == [1]
        client.send("ada", add(2))
        assert names_of_new(others) == set()
        assert len(backend.queue.receive(1)) == 1

    def test_raises_at_the_end_of_the_block_what_ended_it(self) -> None:
        backend = FailingBackend(AccessDeniedError("the password was changed"))
        with pytest.raises(AccessDeniedError, match="password"), Worker([appending()], backend).running():
            while backend.errors:
                time.sleep(0.01)

    def test_is_stopped_by_an_error_in_the_block_which_is_the_one_to_be_raised(
        self, others: set[threading.Thread]
    ) -> None:
        with (
            pytest.raises(ZeroDivisionError),
            Worker([appending()], MemoryBackend(), receive_wait=timedelta(seconds=0.05)).running(),
        ):
            _ = 1 / 0
        assert names_of_new(others) == set()

    def test_says_that_it_had_ended_if_the_block_raises(self) -> None:
        backend = FailingBackend(AccessDeniedError("the password was changed"))
        with pytest.raises(TimeoutError) as raised, Worker([appending()], backend).running():
            while backend.errors:
                time.sleep(0.01)
            raise TimeoutError("no answer")
        assert "the password was changed" in "".join(raised.value.__notes__)

    def test_is_waited_for_when_it_is_closed_elsewhere(self) -> None:
        began, ended = threading.Event(), threading.Event()

        def slow(_input: object, _call: Call) -> str:
            began.set()
            time.sleep(0.2)
            ended.set()
            return "hello"

        machine, backend = greeter(slow), MemoryBackend()
        client = Client(machine, backend)
        client.start("ada")
        client.send("ada", {"type": "GREET"})
        with Worker([machine], backend, receive_wait=timedelta(seconds=0.05)) as worker:
            thread = threading.Thread(target=worker.run)
            thread.start()
            assert began.wait(10)
        assert ended.is_set()
        thread.join()
        found = client.get("ada")
        assert found is not None and found.value == "greeted"
