"""When timers fire (T1 to T4)."""

from __future__ import annotations

from tests.adapters.local.fixtures import ADA, BEN, BackendEnv, ids, message, timer


class TestATimer:
    def test_fires_when_it_is_due_and_not_earlier(self, env: BackendEnv) -> None:
        """T1, T2."""
        due = env.clock.now + 10
        env.timers.schedule(timer("t", due, message_id="fired"))
        env.clock.now = due - 0.001
        assert env.take() == []
        env.clock.now = due
        assert [delivery.message for delivery in env.take()] == [message(ADA, "fired")]

    def test_fires_no_earlier_when_another_message_is_ready(self, env: BackendEnv) -> None:
        """T1."""
        env.timers.schedule(timer("t", env.clock.now + 10))
        env.clock.now += 9.999
        env.send(BEN, "b")
        assert ids(env.take(5)) == ["b"]

    def test_fires_once(self, env: BackendEnv) -> None:
        """T2: if it is scheduled again after it fired, its message is deduplicated."""
        for _ in range(2):
            env.timers.schedule(timer("t", env.clock.now, message_id="fired"))
            env.drain()
        env.clock.now += 100
        assert env.take() == []

    def test_fires_when_it_is_long_past_due(self, env: BackendEnv) -> None:
        """T2."""
        env.timers.schedule(timer("t", 0.0))
        assert ids(env.take()) == ["t"]

    def test_fires_after_the_backend_was_reopened(self, env: BackendEnv) -> None:
        """T2, D1."""
        env.timers.schedule(timer("t", env.clock.now + 10))
        env.clock.now += 10
        assert ids(env.reopen().queue.receive(1)) == ["t"]

    def test_is_appended_to_the_queue_of_its_key(self, env: BackendEnv) -> None:
        """T2, F1: it waits like any message while the key is leased."""
        env.timers.schedule(timer("t", env.clock.now + 10))
        env.send(ADA, "a", "b")
        held = env.take()
        env.clock.now += 10
        assert env.take() == []
        env.queue.ack(held)
        assert env.drain() == ["b", "t"]

    def test_fires_during_a_backlog_of_another_key(self, env: BackendEnv) -> None:
        """T2."""
        env.send(ADA, *(f"a{n}" for n in range(20)))
        env.timers.schedule(timer("t", env.clock.now, BEN))
        first = env.take()
        env.queue.ack(first)
        assert ids([*first, *env.take()]) == ["a0", "t"]

    def test_fires_while_another_key_is_leased(self, env: BackendEnv) -> None:
        """T2."""
        env.send(ADA, "a")
        env.timers.schedule(timer("t", env.clock.now + 10, BEN))
        held = env.take()
        env.clock.now += 10
        env.queue.ack(held)
        assert ids(env.take()) == ["t"]


def test_several_timers_fire_in_due_order(env: BackendEnv) -> None:
    """T2: all of them, however many are due."""
    names = [f"t{n}" for n in range(250)]
    for n in reversed(range(250)):
        env.timers.schedule(timer(names[n], env.clock.now + n))
    env.clock.now += 250
    assert env.drain() == names


def test_a_cancelled_timer_does_not_fire(env: BackendEnv) -> None:
    """T3."""
    env.timers.schedule(timer("t", env.clock.now))
    env.timers.schedule(timer("u", env.clock.now))
    env.timers.cancel("t")
    env.timers.cancel("never scheduled")
    assert env.drain() == ["u"]


class TestAReplacedTimer:
    def test_fires_at_the_new_time_only(self, env: BackendEnv) -> None:
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

    def test_fires_with_the_new_message_only(self, env: BackendEnv) -> None:
        """T4."""
        env.timers.schedule(timer("t", env.clock.now + 10, message_id="old"))
        env.timers.schedule(timer("t", env.clock.now + 10, BEN, message_id="new"))
        env.clock.now += 10
        assert [delivery.message for delivery in env.take(2)] == [message(BEN, "new")]
