"""Leases: which receiver may acknowledge a message, and until when (R1, R2, R3, R5, X7)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from settled.durable.ports import Write
from settled.errors import ConflictError
from tests.adapters.local.fixtures import ADA, BEN, LEASE, BackendEnv, ids, stored


class TestALease:
    def test_no_other_receiver_gets_a_message_of_a_leased_key(self, env: BackendEnv) -> None:
        """R1."""
        env.send(ADA, "a", "b")
        env.take()
        assert not env.reopen().queue.receive(10)
        assert not env.queue.receive(10)

    def test_its_delivery_says_when_it_ends(self, env: BackendEnv) -> None:
        env.send(ADA, "a")
        assert [delivery.lease_until for delivery in env.take()] == [env.clock.now + LEASE]
        assert env.backend.lease == timedelta(seconds=LEASE)

    def test_it_ends_at_its_deadline_and_not_earlier(self, env: BackendEnv) -> None:
        """R1, R2."""
        env.send(ADA, "a")
        env.take()
        env.clock.now += LEASE - 0.001
        assert env.take() == []
        env.clock.now += 0.001
        assert ids(env.take()) == ["a"]

    def test_it_ends_no_earlier_when_another_key_is_ready(self, env: BackendEnv) -> None:
        """R1."""
        env.send(ADA, "a")
        env.take()
        env.clock.now += LEASE - 0.001
        env.send(BEN, "b")
        assert ids(env.take(5)) == ["b"]

    def test_it_can_be_extended(self, env: BackendEnv) -> None:
        """R1, R2: from now, for all leased messages of the key."""
        env.send(ADA, "a", "b")
        held = env.take(2)
        env.clock.now += LEASE - 1
        env.queue.extend(held[1:], 100)
        env.clock.now += 99.999
        assert env.take() == []
        env.clock.now += 0.001
        assert ids(env.take(2)) == ["a", "b"]

    def test_it_can_be_released(self, env: BackendEnv) -> None:
        """With all leased messages of the key, for immediate redelivery or after a pause."""
        env.send(ADA, "a", "b")
        env.queue.release(env.take(2)[:1])
        env.queue.release(env.take(2)[1:], delay=5)
        env.clock.now += 4.999
        assert env.take() == []
        env.clock.now += 0.001
        assert ids(env.take(2)) == ["a", "b"]


class TestAttempts:
    def test_they_are_counted_for_each_message(self, env: BackendEnv) -> None:
        """X7: however the lease ended; messages that were not in the batch start at 1."""
        env.send(ADA, "a", "b", "c")
        assert [delivery.attempt for delivery in env.take(2)] == [1, 1]
        env.clock.now += LEASE
        held = env.take(1)
        assert [delivery.attempt for delivery in held] == [2]
        env.queue.release(held, delay=1)
        env.clock.now += 1
        assert [(delivery.message.id, delivery.attempt) for delivery in env.take(3)] == [("a", 3), ("b", 2), ("c", 1)]

    def test_a_pause_is_no_attempt(self, env: BackendEnv) -> None:
        """X7."""
        env.send(ADA, "a")
        env.queue.release(env.take(), delay=1)
        env.send(ADA, "b")
        env.clock.now += 1
        assert [delivery.attempt for delivery in env.take(2)] == [2, 1]


class TestAZombie:
    """A receiver whose lease of "a" has ended; another one may have taken over."""

    @pytest.fixture(params=["expired", "taken over", "released", "parked"])
    def after(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def lose_lease(self, env: BackendEnv, after: str) -> Write:
        env.send(ADA, "a", "b")
        held = env.take()
        if after == "released":
            env.queue.release(held)
        elif after == "parked":
            env.queue.release(held, delay=5)
        else:
            env.clock.now += LEASE
        if after == "taken over":
            assert ids(env.take()) == ["a"]
        return Write(ADA, acks=tuple(held))

    def assert_unchanged(self, env: BackendEnv, after: str) -> None:
        if after == "taken over":
            assert env.take() == []
            env.clock.now += LEASE - 0.001
            assert env.take() == []
            env.clock.now += 0.001
        if after == "parked":
            assert env.take() == []
            env.clock.now += 5
        assert env.drain(limit=1) == ["a", "b"]

    def test_acknowledges_nothing(self, env: BackendEnv, after: str) -> None:
        """R5."""
        env.queue.ack(self.lose_lease(env, after).acks)
        self.assert_unchanged(env, after)

    def test_acknowledges_nothing_when_it_finishes(self, env: BackendEnv, after: str) -> None:
        """R5."""
        env.backend.finish(self.lose_lease(env, after))
        self.assert_unchanged(env, after)

    def test_releases_nothing(self, env: BackendEnv, after: str) -> None:
        """R5."""
        env.queue.release(self.lose_lease(env, after).acks)
        self.assert_unchanged(env, after)

    def test_parks_nothing(self, env: BackendEnv, after: str) -> None:
        """R5."""
        env.queue.release(self.lose_lease(env, after).acks, delay=500)
        self.assert_unchanged(env, after)

    def test_extends_nothing_and_fails(self, env: BackendEnv, after: str) -> None:
        """R5."""
        stale = self.lose_lease(env, after)
        with pytest.raises(ConflictError, match="signup/ada"):
            env.queue.extend(stale.acks, 500)
        self.assert_unchanged(env, after)

    def test_keeps_its_other_leases(self, env: BackendEnv) -> None:
        """R5: leases that still last are extended."""
        env.send(ADA, "a")
        lost = env.take()
        env.clock.now += LEASE - 1
        env.send(BEN, "b")
        held = env.take()
        env.clock.now += 1
        with pytest.raises(ConflictError, match="signup/ada was lost"):
            env.queue.extend([*lost, *held], 100)
        env.clock.now += 99
        assert ids(env.take(2)) == ["a"]

    def test_is_recognized_after_the_queue_was_empty(self, env: BackendEnv) -> None:
        """R3: an empty queue does not restart the tokens."""
        env.send(ADA, "a")
        env.clock.now += 1
        old = env.take()
        env.queue.ack(old)
        env.send(ADA, "b")
        env.take()
        env.reopen().queue.ack(old)
        env.queue.release(old)
        assert env.take() == []


def test_extending_what_was_acknowledged_fails_and_extends_the_rest(env: BackendEnv) -> None:
    """A worker whose answer was lost must not believe that it still holds the message."""
    env.send(ADA, "a", "b")
    held = env.take(2)
    env.queue.ack(held[:1])
    env.clock.now += LEASE - 1
    with pytest.raises(ConflictError):
        env.queue.extend(held, LEASE)
    env.clock.now += LEASE - 1
    assert env.take() == []


def test_an_acknowledged_message_is_not_delivered_again(env: BackendEnv) -> None:
    """D5: also after the backend was reopened."""
    env.send(ADA, "a")
    env.queue.ack(env.take())
    env.clock.now += 10 * LEASE
    assert not env.reopen().queue.receive(1)
    assert env.take() == []


def test_an_acknowledgement_within_finish_all_makes_the_next_message_ready(env: BackendEnv) -> None:
    env.send(ADA, "a", "b")
    held = env.take()
    next_ones = env.backend.finish_all([Write(ADA, stored(1), 0, acks=tuple(held))], receive=1)
    assert ids(next_ones.deliveries) == ["b"]
