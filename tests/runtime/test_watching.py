"""`Client.watch`, and waiting for an instance: told of each commit where the backend can, looking where it cannot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import pytest

from settled import AccessDeniedError, Key, UnavailableError, setup
from settled.durable import Capability
from settled_local import MemoryBackend
from settled_runtime import Client, Host, InstanceUpdate

machine = setup().machine(
    {
        "id": "counter",
        "initial": "even",
        "states": {
            "even": {"tags": ["settled"], "on": {"NEXT": "odd", "END": "over"}},
            "odd": {"tags": ["settled"], "on": {"NEXT": "even"}},
            "over": {"type": "final"},
        },
    }
)


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def client(backend: MemoryBackend) -> Client[Any]:
    return Client(machine, backend)


def work(backend: MemoryBackend) -> None:
    host = Host([machine], backend)
    while deliveries := backend.queue.receive(1):
        host.handle(deliveries)


def take(backend: MemoryBackend, client: Client[Any], *types: str) -> None:
    for type in types:
        client.send("ada", {"type": type})
        work(backend)


def values(updates: Iterator[InstanceUpdate[Any]]) -> list[Any]:
    return [update.snapshot and update.snapshot.value for update in updates]


class Later:
    """Runs `function` in a thread, once the watcher has been told to wait."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._thread = threading.Thread(target=function)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()


class TestWatch:
    def test_begins_with_the_newest_state_and_ends_with_the_instance(
        self, backend: MemoryBackend, client: Client[Any]
    ) -> None:
        client.start("ada")
        work(backend)
        take(backend, client, "NEXT", "NEXT")
        updates = client.watch("ada")
        first = next(updates)
        assert (first.snapshot and first.snapshot.value, first.version) == ("even", 3)
        take(backend, client, "NEXT", "NEXT", "END")
        assert values(updates) == ["over"]

    def test_yields_each_state_that_is_seen_and_says_how_many_were_not(
        self, backend: MemoryBackend, client: Client[Any]
    ) -> None:
        client.start("ada")
        work(backend)
        updates = client.watch("ada")
        next(updates)
        take(backend, client, "NEXT")
        second = next(updates)
        assert (second.snapshot and second.snapshot.value, second.skipped) == ("odd", 0)
        take(backend, client, "NEXT", "NEXT", "NEXT")
        third = next(updates)
        assert (third.snapshot and third.snapshot.value, third.version, third.skipped) == ("even", 5, 2)

    def test_waits_for_the_start_of_an_instance(self, backend: MemoryBackend, client: Client[Any]) -> None:
        def start() -> None:
            client.start("ada")
            work(backend)
            take(backend, client, "END")

        with Later(start):
            assert values(client.watch("ada"))[-1] == "over"

    def test_ends_at_once_if_the_instance_must_exist(self, client: Client[Any]) -> None:
        assert list(client.watch("ada", must_exist=True)) == []

    def test_ends_when_the_instance_is_deleted(self, backend: MemoryBackend, client: Client[Any]) -> None:
        client.start("ada")
        work(backend)
        updates = client.watch("ada")
        next(updates)
        client.delete("ada")
        assert values(updates) == [None]

    def test_ends_after_its_timeout(self, backend: MemoryBackend, client: Client[Any]) -> None:
        client.start("ada")
        work(backend)
        begun = time.monotonic()
        assert values(client.watch("ada", timeout=timedelta(seconds=0.2))) == ["even"]
        assert 0.2 <= time.monotonic() - begun < 2
        assert values(client.watch("ada", timeout=timedelta(0))) == ["even"]

    def test_refuses_a_timeout_that_is_no_duration_before_it_begins(self, client: Client[Any]) -> None:
        with pytest.raises(TypeError, match="timeout"):
            client.watch("ada", timeout=3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


class Counting(MemoryBackend):
    """Counts the reads of records."""

    loads = 0

    def __init__(self) -> None:
        super().__init__()
        load = self.store.load

        def counted(key: Key) -> Any:
            self.loads += 1
            return load(key)

        self.store.load = counted  # type: ignore[method-assign]


class WithoutWatch(Counting):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - {Capability.WATCH}

    def watch(self, key: Key, changed: Callable[[], object]) -> AbstractContextManager[None]:
        raise AssertionError("it does not declare this")


class MayNotWatch(Counting):
    @contextmanager
    def watch(self, key: Key, changed: Callable[[], object]) -> Generator[None]:
        raise AccessDeniedError("no permission to be told")
        yield


class CutOff(Counting):
    @contextmanager
    def watch(self, key: Key, changed: Callable[[], object]) -> Generator[None]:
        raise UnavailableError("no connection")
        yield


class TestHowManyReadsItTakes:
    def test_one_for_each_commit_where_the_backend_tells(self) -> None:
        backend = Counting()
        with pytest.raises(TimeoutError):
            Client(machine, backend).wait_for("ada", timeout=timedelta(seconds=0.5))
        assert backend.loads == 2

    @pytest.mark.parametrize("kind", [WithoutWatch, MayNotWatch, CutOff])
    def test_some_at_growing_intervals_where_it_does_not(self, kind: type[Counting]) -> None:
        backend = kind()
        with pytest.raises(TimeoutError):
            Client(machine, backend).wait_for("ada", timeout=timedelta(seconds=0.5))
        assert 5 < backend.loads < 20


@pytest.mark.parametrize("kind", [Counting, WithoutWatch, MayNotWatch])
def test_an_answer_is_found_either_way(kind: type[Counting]) -> None:
    backend = kind()
    client: Client[Any] = Client(machine, backend)

    def start() -> None:
        time.sleep(0.05)
        client.start("ada")
        work(backend)

    with Later(start):
        assert client.wait_for("ada", timeout=timedelta(seconds=5)).value == "even"
