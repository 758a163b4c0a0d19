"""The client: what a person sends, and what they hear of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import frozen

from settled import ABSENT, EventError, Machine, Outcome, RecordError, setup
from settled_local.memory import MemoryBackend
from settled_runtime import Client, EventRejectedError, Host, Worker
from tests.runtime.machines import greeter


def hello(_input: Any, _call: Any) -> str:
    return "hello"


def refuse(_input: Any, _call: Any) -> None:
    raise PermissionError("not today")


class Office:
    """A worker on a backend in memory, and a client of it."""

    def __init__(self, machine: Machine[Any, Any]) -> None:
        self.backend = MemoryBackend()
        self.client = Client(machine, self.backend)
        self._host = Host([machine], self.backend)
        self._worker = Worker(self._host, concurrency=2, receive_wait=0.05)
        self._thread = threading.Thread(target=self._worker.run)

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._worker.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._host.close()


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office(greeter(hello))
    office.open()
    yield office
    office.close()


@pytest.fixture
def strict() -> Iterator[Office]:
    office = Office(greeter(refuse))
    office.open()
    yield office
    office.close()


@pytest.fixture
def closed() -> Iterator[Office]:
    office = Office(greeter(hello))
    yield office
    office.close()


class TestAsking:
    def test_waits_for_the_turn_that_took_the_event(self, office: Office) -> None:
        office.client.start("ada")
        snapshot = office.client.ask("ada", {"type": "GREET"}, timeout=5)
        assert snapshot.value == "greeted"
        assert snapshot.context == {"answer": "hello"}

    def test_that_ends_in_a_reject_raises_with_what_was_found(self, strict: Office) -> None:
        strict.client.start("ada")
        with pytest.raises(EventRejectedError) as caught:
            strict.client.ask("ada", {"type": "GREET"}, timeout=5)
        assert caught.value.outcome is Outcome.REJECTED
        assert caught.value.snapshot is not None
        assert caught.value.snapshot.value == "refused"

    def test_an_instance_that_was_never_started_raises(self, office: Office) -> None:
        with pytest.raises(EventRejectedError, match=r"greeter/bob: the message .* was invalid") as caught:
            office.client.ask("bob", {"type": "GREET"}, timeout=5)
        assert caught.value.snapshot is None

    def test_gives_up_in_time_and_can_be_repeated_under_the_same_id(self, closed: Office) -> None:
        closed.client.start("ada")
        with pytest.raises(TimeoutError, match=r"waited 0\.05 s for the turn of q"):
            closed.client.ask("ada", {"type": "GREET"}, message_id="q", timeout=0.05)
        closed.open()
        assert closed.client.ask("ada", {"type": "GREET"}, message_id="q", timeout=5).value == "greeted"
        found = closed.client.get("ada")
        assert found is not None


class TestWaiting:
    def test_for_a_tag(self, office: Office) -> None:
        office.client.start("ada")
        office.client.send("ada", {"type": "GREET"})
        assert office.client.wait_for("ada", tag="resolve", timeout=5).value == "greeted"

    def test_for_a_value(self, office: Office) -> None:
        office.client.start("ada")
        assert office.client.wait_for("ada", value="idle", timeout=5).has_tag("settled")

    def test_for_the_end_gives_up_in_time(self, office: Office) -> None:
        office.client.start("ada")
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match="its end"):
            office.client.wait_for("ada", done=True, timeout=0.1)
        assert time.monotonic() - begin < 1


@frozen
class Verify:
    code: int


class TestAnEventThatDoesNotFit:
    @pytest.mark.parametrize(
        ("event", "says"),
        [
            ({"type": "xstate.done.actor.greet"}, "xstate."),
            ("GREET", "object"),
            ({"kind": "GREET"}, "type"),
            ({"type": "GREET", "at": object()}, "at"),
        ],
    )
    def test_is_refused_before_it_is_sent(self, closed: Office, event: Any, says: str) -> None:
        with pytest.raises(EventError, match=says):
            closed.client.send("ada", event)
        assert closed.backend.queue.receive(10) == []

    def test_its_declared_class_is_refused_with_the_path(self) -> None:
        machine = setup(events={"VERIFY": Verify}).machine(
            {"id": "m", "initial": "a", "states": {"a": {"on": {"VERIFY": "b"}}, "b": {}}}
        )
        client = Client(machine, MemoryBackend())
        with pytest.raises(EventError, match="code"):
            client.send("ada", {"type": "VERIFY", "code": "four"})
        client.send("ada", Verify(code=4))

    def test_an_instance_without_a_name_is_refused(self, closed: Office) -> None:
        with pytest.raises(EventError, match="empty"):
            closed.client.start("")


class TestLooking:
    def test_at_nothing_finds_none(self, closed: Office) -> None:
        assert closed.client.get("nobody") is None

    def test_lists_instances_with_their_status(self, office: Office) -> None:
        for name in ("ada", "bob"):
            office.client.start(name)
            office.client.wait_for(name, value="idle", timeout=5)
        office.client.ask("bob", {"type": "GREET"}, timeout=5)
        rows = list(office.client.list())
        assert [(row.id, row.status) for row in rows] == [("ada", "active"), ("bob", "active")]
        snapshot = rows[1].snapshot
        assert snapshot is not None
        assert snapshot.value == "greeted"
        assert [row.id for row in office.client.list(after="ada")] == ["bob"]
        assert list(office.client.list(status="done")) == []

    def test_shows_dead_letters_and_redrives_them(self, office: Office) -> None:
        with pytest.raises(EventRejectedError):
            office.client.ask("ada", {"type": "GREET"}, message_id="early", timeout=5)
        assert [letter.message.id for letter in office.client.dead_letters("ada")] == ["early"]
        office.client.start("ada")
        office.client.wait_for("ada", value="idle", timeout=5)
        assert office.client.redrive("ada") == 1
        assert office.client.wait_for("ada", value="greeted", timeout=5).output is ABSENT
        assert list(office.client.dead_letters("ada")) == []

    def test_at_a_redrive_of_nobody_says_so(self, closed: Office) -> None:
        with pytest.raises(RecordError, match="greeter/nobody: there is no such instance"):
            closed.client.redrive("nobody")


class TestForgetting:
    def test_deletes_an_instance_once(self, office: Office) -> None:
        office.client.start("ada")
        office.client.wait_for("ada", value="idle", timeout=5)
        assert office.client.delete("ada") is True
        assert office.client.get("ada") is None
        assert office.client.delete("ada") is False
