"""Who may speak for a message, and until when (R1, R2, R3, R5, X7)."""

from __future__ import annotations

import pytest

from settled.durable.ports import Write
from settled.errors import ConflictError
from tests.adapters.local.fixtures import ADA, BEN, LEASE, Place, ids, stored


class TestALease:
    def test_nobody_else_is_handed_a_message_of_a_leased_key(self, place: Place) -> None:
        """R1."""
        place.send(ADA, "a", "b")
        place.take()
        assert not place.again().queue.receive(10)
        assert not place.queue.receive(10)

    def test_it_says_when_it_ends(self, place: Place) -> None:
        place.send(ADA, "a")
        assert [delivery.until for delivery in place.take()] == [place.clock.now + LEASE]
        assert place.backend.lease == LEASE

    def test_it_is_taken_over_from_its_deadline_on_and_not_earlier(self, place: Place) -> None:
        """R1, R2."""
        place.send(ADA, "a")
        place.take()
        place.clock.now += LEASE - 0.001
        assert place.take() == []
        place.clock.now += 0.001
        assert ids(place.take()) == ["a"]

    def test_it_is_taken_over_no_earlier_because_another_key_is_ready(self, place: Place) -> None:
        """R1."""
        place.send(ADA, "a")
        place.take()
        place.clock.now += LEASE - 0.001
        place.send(BEN, "b")
        assert ids(place.take(5)) == ["b"]

    def test_it_can_be_extended(self, place: Place) -> None:
        """R1, R2: from now on, as often as is wanted, for all that is held of the key."""
        place.send(ADA, "a", "b")
        held = place.take(2)
        place.clock.now += LEASE - 1
        place.queue.extend(held[1:], 100)
        place.clock.now += 99.999
        assert place.take() == []
        place.clock.now += 0.001
        assert ids(place.take(2)) == ["a", "b"]

    def test_it_can_be_given_back(self, place: Place) -> None:
        """With all that is held of the key, at once or after a pause, but not too early."""
        place.send(ADA, "a", "b")
        place.queue.release(place.take(2)[:1])
        place.queue.release(place.take(2)[1:], delay=5)
        place.clock.now += 4.999
        assert place.take() == []
        place.clock.now += 0.001
        assert ids(place.take(2)) == ["a", "b"]


class TestAttempts:
    def test_they_are_counted_for_each_message(self, place: Place) -> None:
        """X7: however the lease ended, and from 1 again for what was not in the batch."""
        place.send(ADA, "a", "b", "c")
        assert [delivery.attempt for delivery in place.take(2)] == [1, 1]
        place.clock.now += LEASE
        held = place.take(1)
        assert [delivery.attempt for delivery in held] == [2]
        place.queue.release(held, delay=1)
        place.clock.now += 1
        assert [(delivery.message.id, delivery.attempt) for delivery in place.take(3)] == [("a", 3), ("b", 2), ("c", 1)]

    def test_a_pause_is_no_attempt(self, place: Place) -> None:
        """X7."""
        place.send(ADA, "a")
        place.queue.release(place.take(), delay=1)
        place.send(ADA, "b")
        place.clock.now += 1
        assert [delivery.attempt for delivery in place.take(2)] == [2, 1]


class TestAZombie:
    """It held "a"; then its lease ended, and somebody else may have it now."""

    @pytest.fixture(params=["nobody yet", "somebody", "gave it back", "parked it"])
    def after(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def become(self, place: Place, after: str) -> Write:
        place.send(ADA, "a", "b")
        held = place.take()
        if after == "gave it back":
            place.queue.release(held)
        elif after == "parked it":
            place.queue.release(held, delay=5)
        else:
            place.clock.now += LEASE
        if after == "somebody":
            assert ids(place.take()) == ["a"]
        return Write(ADA, acks=tuple(held))

    def expect_untouched(self, place: Place, after: str) -> None:
        if after == "somebody":
            assert place.take() == []
            place.clock.now += LEASE - 0.001
            assert place.take() == []
            place.clock.now += 0.001
        if after == "parked it":
            assert place.take() == []
            place.clock.now += 5
        assert place.drain(limit=1) == ["a", "b"]

    def test_acknowledges_nothing(self, place: Place, after: str) -> None:
        """R5."""
        place.queue.ack(self.become(place, after).acks)
        self.expect_untouched(place, after)

    def test_acknowledges_nothing_when_it_finishes(self, place: Place, after: str) -> None:
        """R5."""
        place.backend.finish(self.become(place, after))
        self.expect_untouched(place, after)

    def test_releases_nothing(self, place: Place, after: str) -> None:
        """R5."""
        place.queue.release(self.become(place, after).acks)
        self.expect_untouched(place, after)

    def test_parks_nothing(self, place: Place, after: str) -> None:
        """R5."""
        place.queue.release(self.become(place, after).acks, delay=500)
        self.expect_untouched(place, after)

    def test_extends_nothing_and_is_told(self, place: Place, after: str) -> None:
        """R5."""
        zombie = self.become(place, after)
        with pytest.raises(ConflictError, match="signup/ada"):
            place.queue.extend(zombie.acks, 500)
        self.expect_untouched(place, after)

    def test_loses_nothing_else_that_it_holds(self, place: Place) -> None:
        """R5: the leases that still last are extended."""
        place.send(ADA, "a")
        lost = place.take()
        place.clock.now += LEASE - 1
        place.send(BEN, "b")
        held = place.take()
        place.clock.now += 1
        with pytest.raises(ConflictError, match="signup/ada was lost"):
            place.queue.extend([*lost, *held], 100)
        place.clock.now += 99
        assert ids(place.take(2)) == ["a"]

    def test_is_known_after_the_queue_was_empty(self, place: Place) -> None:
        """R3: a drained key begins no new count of its leases."""
        place.send(ADA, "a")
        place.clock.now += 1
        old = place.take()
        place.queue.ack(old)
        place.send(ADA, "b")
        place.take()
        place.again().queue.ack(old)
        place.queue.release(old)
        assert place.take() == []


def test_acknowledged_stays_gone(place: Place) -> None:
    """D5: also when everything is opened again."""
    place.send(ADA, "a")
    place.queue.ack(place.take())
    place.clock.now += 10 * LEASE
    assert not place.again().queue.receive(1)
    assert place.take() == []


def test_an_acknowledged_step_frees_the_key(place: Place) -> None:
    place.send(ADA, "a", "b")
    held = place.take()
    next_ones = place.backend.finish_all([Write(ADA, stored(1), 0, acks=tuple(held))], receive=1)
    assert ids(next_ones.deliveries) == ["b"]
