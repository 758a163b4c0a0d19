"""When timers ring (T1 to T4)."""

from __future__ import annotations

from tests.adapters.local.fixtures import ADA, BEN, Place, ids, message, timer


class TestATimer:
    def test_rings_when_it_is_due_and_not_earlier(self, place: Place) -> None:
        """T1, T2."""
        due = place.clock.now + 10
        place.timers.schedule(timer("t", due, message_id="rings"))
        place.clock.now = due - 0.001
        assert place.take() == []
        place.clock.now = due
        assert [delivery.message for delivery in place.take()] == [message(ADA, "rings")]

    def test_rings_no_earlier_because_something_else_is_ready(self, place: Place) -> None:
        """T1."""
        place.timers.schedule(timer("t", place.clock.now + 10))
        place.clock.now += 9.999
        place.send(BEN, "b")
        assert ids(place.take(5)) == ["b"]

    def test_rings_once(self, place: Place) -> None:
        """T2: and if the same is scheduled again after it rang, its message is known."""
        for _ in range(2):
            place.timers.schedule(timer("t", place.clock.now, message_id="rings"))
            place.drain()
        place.clock.now += 100
        assert place.take() == []

    def test_rings_although_it_is_long_past(self, place: Place) -> None:
        """T2."""
        place.timers.schedule(timer("t", 0.0))
        assert ids(place.take()) == ["t"]

    def test_rings_after_everything_was_opened_again(self, place: Place) -> None:
        """T2, D1."""
        place.timers.schedule(timer("t", place.clock.now + 10))
        place.clock.now += 10
        assert ids(place.again().queue.receive(1)) == ["t"]

    def test_joins_its_key_at_the_end(self, place: Place) -> None:
        """T2, F1: and waits like any message while the key is leased."""
        place.timers.schedule(timer("t", place.clock.now + 10))
        place.send(ADA, "a", "b")
        held = place.take()
        place.clock.now += 10
        assert place.take() == []
        place.queue.ack(held)
        assert place.drain() == ["b", "t"]

    def test_rings_while_others_keep_the_queue_busy(self, place: Place) -> None:
        """T2: a backlog starves no timer."""
        place.send(ADA, *(f"a{n}" for n in range(20)))
        place.timers.schedule(timer("t", place.clock.now, BEN))
        first = place.take()
        place.queue.ack(first)
        assert ids([*first, *place.take()]) == ["a0", "t"]

    def test_rings_within_a_finish(self, place: Place) -> None:
        """T2."""
        place.send(ADA, "a")
        place.timers.schedule(timer("t", place.clock.now + 10, BEN))
        held = place.take()
        place.clock.now += 10
        place.queue.ack(held)
        assert ids(place.take()) == ["t"]


def test_several_ring_in_the_order_in_which_they_are_due(place: Place) -> None:
    """T2: all of them, however many have waited."""
    names = [f"t{n}" for n in range(250)]
    for n in reversed(range(250)):
        place.timers.schedule(timer(names[n], place.clock.now + n))
    place.clock.now += 250
    assert place.drain() == names


def test_a_cancelled_one_does_not_ring(place: Place) -> None:
    """T3."""
    place.timers.schedule(timer("t", place.clock.now))
    place.timers.schedule(timer("u", place.clock.now))
    place.timers.cancel("t")
    place.timers.cancel("never scheduled")
    assert place.drain() == ["u"]


class TestAReplacedOne:
    def test_rings_at_the_new_time_only(self, place: Place) -> None:
        """T4: later or earlier."""
        now = place.clock.now
        place.timers.schedule(timer("t", now + 10))
        place.timers.schedule(timer("t", now + 20))
        place.timers.schedule(timer("u", now + 20))
        place.timers.schedule(timer("u", now + 10))
        place.clock.now = now + 10
        assert place.drain() == ["u"]
        place.clock.now = now + 20
        assert place.drain() == ["t"]

    def test_rings_with_the_new_message_only(self, place: Place) -> None:
        """T4."""
        place.timers.schedule(timer("t", place.clock.now + 10, message_id="old"))
        place.timers.schedule(timer("t", place.clock.now + 10, BEN, message_id="new"))
        place.clock.now += 10
        assert [delivery.message for delivery in place.take(2)] == [message(BEN, "new")]
