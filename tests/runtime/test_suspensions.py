"""Turns that wait outside the queue, as hosts report them and clients see them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from settled import Policy
from settled_local.memory import MemoryBackend
from settled_runtime import Client, DeadLettered, EventOutcomeError, Host, HostEvent, Postponed
from tests.runtime.machines import cooling

DAY = 86400.0


class Oven:
    """An instance in a backend whose queue keeps messages for 14 days, by a clock that is set."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.backend = MemoryBackend(clock=lambda: self.now)
        self.backend.retention = timedelta(days=14)
        self.events: list[HostEvent] = []
        self.client = Client(cooling(timedelta(days=20)), self.backend)
        policy = Policy(max_attempts=1, failed_events="skip")
        self._host = Host([cooling(timedelta(days=20))], self.backend, policy=policy, observers=[self.events.append])
        self.client.start("ada")

    def note(self, n: int) -> str:
        return self.client.send("ada", {"type": "NOTE", "n": n}, message_id=f"note{n}")

    def work(self) -> None:
        while deliveries := self.backend.queue.receive(10):
            self._host.handle(deliveries)

    def cool(self) -> None:
        self.client.send("ada", {"type": "COOL"})
        self.work()

    def wait(self) -> None:
        """Let the 20 days pass, and the second by which timers may be late."""
        self.now += 20 * DAY + 1
        self.work()

    def dead_lettered(self) -> list[str]:
        return [event.dead_letter.message.id for event in self.events if isinstance(event, DeadLettered)]


@pytest.fixture
def oven() -> Oven:
    return Oven()


def test_whoever_waits_for_the_outcome_of_a_postponed_event_goes_on_waiting(oven: Oven) -> None:
    oven.cool()
    id = oven.note(1)
    oven.work()
    with pytest.raises(TimeoutError):
        oven.client.outcome("ada", id, timeout=timedelta())
    oven.wait()
    assert oven.client.outcome("ada", id, timeout=timedelta()).context["notes"] == [1]


def test_it_is_told_if_the_instance_is_deleted(oven: Oven) -> None:
    oven.cool()
    id = oven.note(1)
    oven.work()
    oven.client.delete("ada")
    with pytest.raises(EventOutcomeError, match="dead-lettered"):
        oven.client.outcome("ada", id, timeout=timedelta())


def test_a_postponed_event_is_not_reported_as_a_dead_letter(oven: Oven) -> None:
    oven.cool()
    id = oven.note(1)
    oven.work()
    oven.wait()
    assert [event.message_id for event in oven.events if isinstance(event, Postponed)] == [id]
    assert oven.dead_lettered() == []


def test_an_older_dead_letter_is_reported_once(oven: Oven) -> None:
    bad = oven.note(-1)
    oven.cool()
    oven.now += DAY
    oven.note(1)
    worse = oven.note(-2)
    oven.work()
    oven.wait()
    assert oven.dead_lettered() == [bad, worse]
    assert [letter.message.id for letter in oven.client.dead_letters("ada")] == [bad, worse]
