"""The client: sending, asking, waiting, reading, redriving and deleting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
from attrs import frozen

from settled import ABSENT, EventError, Key, Machine, Outcome, RecordError, TooLargeError, UnavailableError, setup
from settled.durable import Store, Stored
from settled_local.memory import MemoryBackend
from settled_runtime import Client, CompositeBackend, EventOutcomeError, Worker
from tests.runtime.machines import greeter


def hello(_input: Any, _call: Any) -> str:
    return "hello"


def refuse(_input: Any, _call: Any) -> None:
    raise PermissionError("not today")


class Deployment:
    """A backend in memory with a worker, which may be started later, and a client."""

    def __init__(self, machine: Machine[Any]) -> None:
        self.backend = MemoryBackend()
        self.client = Client(machine, self.backend)
        self._worker = Worker([machine], self.backend, concurrency=2, receive_wait=timedelta(seconds=0.05))
        self._thread = threading.Thread(target=self._worker.run)

    def start_worker(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._worker.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._worker.close()


class TestLimits:
    def test_largest_message_is_the_callers_choice(self) -> None:
        backend, large = MemoryBackend(), {"type": "GREET", "text": "x" * 2**20}
        with pytest.raises(TooLargeError, match="the limit is 1,048,576"):
            Client(greeter(hello), backend).send("ada", large)
        Client(greeter(hello), backend, largest_message=2**21).send("ada", large)
        with pytest.raises(TooLargeError, match="the limit is 100"):
            Client(greeter(hello), backend, largest_message=100).start("ada", "x" * 100)
        assert len(backend.queue.receive(10)) == 1

    def test_largest_message_is_that_of_the_backend_by_default(self) -> None:
        client = Client(greeter(hello), MemoryBackend(largest_message=2000))
        client.send("ada", {"type": "GREET", "text": "x" * 1900})
        with pytest.raises(TooLargeError, match="the limit is 2,000"):
            client.send("ada", {"type": "GREET", "text": "x" * 2000})

    @pytest.mark.parametrize("levels", [64, 490, 100_000])
    def test_deeply_nested_data_is_not_sent(self, levels: int) -> None:
        deep: Any = 1
        for _ in range(levels):
            deep = {"in": deep}
        backend = MemoryBackend()
        client = Client(greeter(hello), backend)
        for event in ({"type": "GREET", "n": deep}, [deep]):
            with pytest.raises(EventError):
                client.send("ada", event)
            with pytest.raises(EventError):
                client.ask("ada", event)
        with pytest.raises(EventError, match="nested more than 64 levels deep"):
            client.start("ada", [deep])
        assert not backend.queue.receive(10)


class TestHeaders:
    def test_go_with_what_is_sent(self) -> None:
        deployment = Deployment(greeter(hello))
        client, headers = deployment.client, {"traceparent": "00-1"}
        client.start("ada", headers=headers)
        client.send("ada", {"type": "NOTE"}, headers=headers)
        with pytest.raises(TimeoutError):
            client.ask("ada", {"type": "NOTE"}, headers=headers, timeout=timedelta(0))
        assert [each.message.headers for each in deployment.backend.queue.receive(10)] == [headers] * 3

    def test_that_are_not_allowed_are_not_sent(self) -> None:
        deployment = Deployment(greeter(hello))
        with pytest.raises(EventError, match="the header 'Trace': a name has"):
            deployment.client.start("ada", headers={"Trace": "x"})
        assert not deployment.backend.queue.receive(10)


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    deployment = Deployment(greeter(hello))
    deployment.start_worker()
    yield deployment
    deployment.close()


@pytest.fixture
def rejecting() -> Iterator[Deployment]:
    deployment = Deployment(greeter(refuse))
    deployment.start_worker()
    yield deployment
    deployment.close()


@pytest.fixture
def stopped() -> Iterator[Deployment]:
    deployment = Deployment(greeter(hello))
    yield deployment
    deployment.close()


class TestAsk:
    def test_waits_for_the_turn_that_took_the_event(self, deployment: Deployment) -> None:
        deployment.client.start("ada")
        snapshot = deployment.client.ask("ada", {"type": "GREET"}, timeout=timedelta(seconds=5))
        assert snapshot.value == "greeted"
        assert snapshot.context == {"answer": "hello"}

    def test_raises_with_the_snapshot_if_the_turn_ends_in_a_reject(self, rejecting: Deployment) -> None:
        rejecting.client.start("ada")
        with pytest.raises(EventOutcomeError) as caught:
            rejecting.client.ask("ada", {"type": "GREET"}, timeout=timedelta(seconds=5))
        assert caught.value.outcome is Outcome.REJECTED
        assert caught.value.snapshot is not None
        assert caught.value.snapshot.value == "refused"
        failure = "the failure of 0.greeter.greeting (PermissionError: not today)"
        assert caught.value.reason == f'{failure} left the machine in "greeter.refused"'

    def test_raises_if_no_transition_takes_the_event_and_says_why(self, deployment: Deployment) -> None:
        deployment.client.start("ada")
        reason = 'no transition takes SING in "greeter.idle"; events taken here: GREET, NOTE'
        with pytest.raises(EventOutcomeError) as caught:
            deployment.client.ask("ada", {"type": "SING"}, message_id="song", timeout=timedelta(seconds=5))
        assert str(caught.value) == f"greeter/ada: the message song was ignored: {reason}"
        assert (caught.value.outcome, caught.value.reason) == (Outcome.IGNORED, reason)
        assert caught.value.snapshot is not None
        assert caught.value.snapshot.value == "idle"

    def test_gives_a_repeated_event_the_same_answer_after_others_and_after_a_deletion(
        self, deployment: Deployment
    ) -> None:
        def answer() -> tuple[Outcome, str | None]:
            with pytest.raises(EventOutcomeError) as caught:
                deployment.client.ask("ada", {"type": "SING"}, message_id="song", timeout=timedelta(seconds=5))
            return caught.value.outcome, caught.value.reason

        deployment.client.start("ada")
        first = answer()
        deployment.client.ask("ada", {"type": "GREET"}, timeout=timedelta(seconds=5))
        assert answer() == first
        deployment.client.delete("ada")
        assert answer() == first

    def test_raises_if_the_instance_was_never_started(self, deployment: Deployment) -> None:
        with pytest.raises(EventOutcomeError, match=r"greeter/bob: the message .* was invalid") as caught:
            deployment.client.ask("bob", {"type": "GREET"}, timeout=timedelta(seconds=5))
        assert caught.value.snapshot is None

    def test_times_out_and_can_be_repeated_under_the_same_id(self, stopped: Deployment) -> None:
        stopped.client.start("ada")
        with pytest.raises(TimeoutError, match=r"waited 0\.05 s for the turn of q"):
            stopped.client.ask("ada", {"type": "GREET"}, message_id="q", timeout=timedelta(seconds=0.05))
        stopped.start_worker()
        assert (
            stopped.client.ask("ada", {"type": "GREET"}, message_id="q", timeout=timedelta(seconds=5)).value
            == "greeted"
        )
        found = stopped.client.get("ada")
        assert found is not None


class TestOutcome:
    def test_of_a_start_is_the_snapshot_also_when_it_is_repeated(self, deployment: Deployment) -> None:
        for _ in range(2):
            deployment.client.start("ada", message_id="s")
            assert deployment.client.outcome("ada", "s", timeout=timedelta(seconds=5)).value == "idle"

    def test_of_a_second_start_is_that_it_was_ignored(self, deployment: Deployment) -> None:
        deployment.client.start("ada")
        with pytest.raises(EventOutcomeError, match="was ignored: it was started already"):
            deployment.client.outcome("ada", deployment.client.start("ada"), timeout=timedelta(seconds=5))

    def test_takes_few_reads_of_a_store_that_is_far_away(self, stopped: Deployment) -> None:
        far = FarAway(stopped.backend.store)
        backend = CompositeBackend(cast("Any", far), stopped.backend.queue, stopped.backend.timers)
        client = Client(greeter(hello), backend)
        with pytest.raises(TimeoutError):  # no worker runs, so the instance does not exist
            client.outcome("ada", client.start("ada"), timeout=timedelta(seconds=1))
        assert 1 < far.reads <= 5


class FarAway:
    """A store that takes 20 ms to answer."""

    def __init__(self, store: Any) -> None:
        self._store, self.reads = store, 0

    def load(self, key: Key) -> Stored | None:
        self.reads += 1
        time.sleep(0.02)
        stored: Stored | None = self._store.load(key)
        return stored

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class TestWaitFor:
    def test_waits_for_a_tag(self, deployment: Deployment) -> None:
        deployment.client.start("ada")
        deployment.client.send("ada", {"type": "GREET"})
        assert deployment.client.wait_for("ada", tag="resolve", timeout=timedelta(seconds=5)).value == "greeted"

    def test_waits_for_a_value(self, deployment: Deployment) -> None:
        deployment.client.start("ada")
        assert deployment.client.wait_for("ada", value="idle", timeout=timedelta(seconds=5)).has_tag("settled")

    @pytest.mark.parametrize("value", [[], 1, False])
    def test_a_value_that_is_none_is_an_error(self, stopped: Deployment, value: Any) -> None:
        with pytest.raises(TypeError, match="is no state value: neither text nor a mapping"):
            stopped.client.wait_for("ada", value=value)

    def test_times_out_while_the_machine_has_not_ended(self, deployment: Deployment) -> None:
        deployment.client.start("ada")
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match="its end"):
            deployment.client.wait_for("ada", done=True, timeout=timedelta(seconds=0.1))
        assert time.monotonic() - begin < 1


@frozen
class Verify:
    code: int


class TestAnInvalidEvent:
    @pytest.mark.parametrize(
        ("event", "error"),
        [
            ({"type": "xstate.done.actor.greet"}, "xstate."),
            ("GREET", "object"),
            ({"kind": "GREET"}, "type"),
            ({"type": "GREET", "at": object()}, "at"),
        ],
    )
    def test_raises_and_is_not_sent(self, stopped: Deployment, event: Any, error: str) -> None:
        with pytest.raises(EventError, match=error):
            stopped.client.send("ada", event)
        assert stopped.backend.queue.receive(10) == []

    def test_raises_with_the_path_where_it_does_not_fit_its_declared_class(self) -> None:
        machine = setup(events={"VERIFY": Verify}).machine(
            {"id": "m", "initial": "a", "states": {"a": {"on": {"VERIFY": "b"}}, "b": {}}}
        )
        client = Client(machine, MemoryBackend())
        with pytest.raises(EventError, match="code"):
            client.send("ada", {"type": "VERIFY", "code": "four"})
        client.send("ada", Verify(code=4))

    def test_raises_if_the_name_of_the_instance_is_empty(self, stopped: Deployment) -> None:
        with pytest.raises(EventError, match="empty"):
            stopped.client.start("")


class TestReading:
    def test_get_returns_none_for_an_instance_that_does_not_exist(self, stopped: Deployment) -> None:
        assert stopped.client.get("bob") is None

    def test_list_returns_instances_with_their_status(self, deployment: Deployment) -> None:
        for name in ("ada", "bob"):
            deployment.client.start(name)
            deployment.client.wait_for(name, value="idle", timeout=timedelta(seconds=5))
        deployment.client.ask("bob", {"type": "GREET"}, timeout=timedelta(seconds=5))
        rows = list(deployment.client.list())
        assert [(row.id, row.status) for row in rows] == [("ada", "active"), ("bob", "active")]
        snapshot = rows[1].snapshot
        assert snapshot is not None
        assert snapshot.value == "greeted"
        assert [row.id for row in deployment.client.list(after="ada")] == ["bob"]
        assert list(deployment.client.list(status="done")) == []

    def test_list_raises_for_a_status_that_no_instance_has(self, stopped: Deployment) -> None:
        with pytest.raises(ValueError, match="'bogus' is none of active, done, error, stopped, halted, absent"):
            stopped.client.list(status="bogus")

    def test_dead_letters_are_listed_and_can_be_redriven(self, deployment: Deployment) -> None:
        with pytest.raises(EventOutcomeError):
            deployment.client.ask("ada", {"type": "GREET"}, message_id="early", timeout=timedelta(seconds=5))
        assert [dead_letter.message.id for dead_letter in deployment.client.dead_letters("ada")] == ["early"]
        deployment.client.start("ada")
        deployment.client.wait_for("ada", value="idle", timeout=timedelta(seconds=5))
        assert deployment.client.redrive("ada") == 1
        assert deployment.client.wait_for("ada", value="greeted", timeout=timedelta(seconds=5)).output is ABSENT
        assert list(deployment.client.dead_letters("ada")) == []

    def test_redrive_raises_if_there_is_no_such_instance(self, stopped: Deployment) -> None:
        with pytest.raises(RecordError, match="greeter/bob: there is no such instance"):
            stopped.client.redrive("bob")


class FailsOnce:
    """A store that cannot be reached at first, each time that it is used in another way."""

    def __init__(self, store: Store) -> None:
        self._store, self._reached = store, set[str]()

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name not in self._reached:
                self._reached.add(name)
                raise UnavailableError("no route")
            return getattr(self._store, name)(*args, **kwargs)

        return call


class TestWhileTheStoreCannotBeReached:
    def test_every_method_tries_again(self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
        client = deployment.client
        client.start("ada")
        client.wait_for("ada", timeout=timedelta(seconds=5))
        store = deployment.backend.store

        def try_once(call: Callable[[], Any]) -> Any:
            monkeypatch.setattr(deployment.backend, "store", FailsOnce(store))
            return call()

        assert [row.id for row in try_once(client.list)] == ["ada"]
        assert try_once(lambda: client.get("ada")) is not None
        assert try_once(lambda: client.dead_letters("ada")) == ()
        assert try_once(lambda: client.redrive("ada")) == 0
        assert try_once(lambda: client.delete("ada")) is True


class TestDelete:
    def test_deletes_an_instance_once(self, deployment: Deployment) -> None:
        deployment.client.start("ada")
        deployment.client.wait_for("ada", value="idle", timeout=timedelta(seconds=5))
        assert deployment.client.delete("ada") is True
        assert deployment.client.get("ada") is None
        assert deployment.client.delete("ada") is False
