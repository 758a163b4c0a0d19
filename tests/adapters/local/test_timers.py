"""When timers ring (T1 to T4)."""

from __future__ import annotations

from tests.adapters.local.fixtures import ADA, BEN, BackendEnv, ids, message, timer


class TestATimer:
    def test_rings_when_it_is_due_and_not_earlier(self, env: BackendEnv) -> None:
        """T1, T2."""
        due = env.clock.now + 10
        env.timers.schedule(timer("t", due, message_id="rings"))
        env.clock.now = due - 0.001
        assert env.take() == []
        env.clock.now = due
        assert [delivery.message for delivery in env.take()] == [message(ADA, "rings")]

    def test_rings_no_earlier_because_something_else_is_ready(self, env: BackendEnv) -> None:
        """T1."""
        env.timers.schedule(timer("t", env.clock.now + 10))
        env.clock.now += 9.999
        env.send(BEN, "b")
        assert ids(env.take(5)) == ["b"]

    def test_rings_once(self, env: BackendEnv) -> None:
        """T2: and if the same is scheduled again after it rang, its message is known."""
        for _ in range(2):
            env.timers.schedule(timer("t", env.clock.now, message_id="rings"))
            env.drain()
        env.clock.now += 100
        assert env.take() == []

    def test_rings_although_it_is_long_past(self, env: BackendEnv) -> None:
        """T2."""
        env.timers.schedule(timer("t", 0.0))
        assert ids(env.take()) == ["t"]

    def test_rings_after_everything_was_opened_again(self, env: BackendEnv) -> None:
        """T2, D1."""
        env.timers.schedule(timer("t", env.clock.now + 10))
        env.clock.now += 10
        assert ids(env.again().queue.receive(1)) == ["t"]

    def test_joins_its_key_at_the_end(self, env: BackendEnv) -> None:
        """T2, F1: and waits like any message while the key is leased."""
        env.timers.schedule(timer("t", env.clock.now + 10))
        env.send(ADA, "a", "b")
        held = env.take()
        env.clock.now += 10
        assert env.take() == []
        env.queue.ack(held)
        assert env.drain() == ["b", "t"]

    def test_rings_while_others_keep_the_queue_busy(self, env: BackendEnv) -> None:
        """T2: a backlog starves no timer."""
        env.send(ADA, *(f"a{n}" for n in range(20)))
        env.timers.schedule(timer("t", env.clock.now, BEN))
        first = env.take()
        env.queue.ack(first)
        assert ids([*first, *env.take()]) == ["a0", "t"]

    def test_rings_within_a_finish(self, env: BackendEnv) -> None:
        """T2."""
        env.send(ADA, "a")
        env.timers.schedule(timer("t", env.clock.now + 10, BEN))
        held = env.take()
        env.clock.now += 10
        env.queue.ack(held)
        assert ids(env.take()) == ["t"]


def test_several_ring_in_the_order_in_which_they_are_due(env: BackendEnv) -> None:
    """T2: all of them, however many have waited."""
    names = [f"t{n}" for n in range(250)]
    for n in reversed(range(250)):
        env.timers.schedule(timer(names[n], env.clock.now + n))
    env.clock.now += 250
    assert env.drain() == names


def test_a_cancelled_one_does_not_ring(env: BackendEnv) -> None:
    """T3."""
    env.timers.schedule(timer("t", env.clock.now))
    env.timers.schedule(timer("u", env.clock.now))
    env.timers.cancel("t")
    env.timers.cancel("never scheduled")
    assert env.drain() == ["u"]


class TestAReplacedOne:
    def test_rings_at_the_new_time_only(self, env: BackendEnv) -> None:
        """T4: later or earlier."""
        now = env.clock.now
        env.timers.schedule(timer("t", now + 10))
        env.timers.schedule(timer("t", now + 20))
        env.timers.schedule(timer("u", now + 20))
        env.timers.schedule(timer("u", now + 10))
        env.clock.now = now + 10
        assert env.drain() == ["u"]
        env.clock.now = now + 20
        assert env.drain() == ["t"]

    def test_rings_with_the_new_message_only(self, env: BackendEnv) -> None:
        """T4."""
        env.timers.schedule(timer("t", env.clock.now + 10, message_id="old"))
        env.timers.schedule(timer("t", env.clock.now + 10, BEN, message_id="new"))
        env.clock.now += 10
        assert [delivery.message for delivery in env.take(2)] == [message(BEN, "new")]
