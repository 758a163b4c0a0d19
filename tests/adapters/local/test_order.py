"""The order in which messages are delivered (F1 to F8)."""

from __future__ import annotations

from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settled.durable.ports import Write
from settled.key import Key
from tests.adapters.local.fixtures import ADA, BEN, CEM, LEASE, BackendEnv, ids, keys, stored, timer


class TestOneKey:
    def test_messages_come_in_the_order_of_their_sends(self, env: BackendEnv) -> None:
        """F1, F8: more than ten, which would sort differently as text."""
        sent = [f"m{n}" for n in range(25)]
        for id in sent:
            env.send(ADA, id)
        assert env.drain(limit=4) == sent

    def test_a_batch_is_one_run_from_the_head(self, env: BackendEnv) -> None:
        """F2."""
        env.send(ADA, "a", "b", "c")
        assert ids(env.take(2)) == ["a", "b"]

    def test_released_messages_are_delivered_before_later_ones(self, env: BackendEnv) -> None:
        """F3."""
        env.send(ADA, "a", "b", "c")
        env.queue.release(env.take(2))
        assert env.drain(limit=2) == ["a", "b", "c"]

    def test_messages_whose_lease_ended_are_delivered_before_later_ones(self, env: BackendEnv) -> None:
        """F3."""
        env.send(ADA, "a", "b", "c")
        env.take()
        env.clock.now += LEASE
        assert env.drain(limit=1) == ["a", "b", "c"]

    def test_nothing_overtakes_a_parked_message(self, env: BackendEnv) -> None:
        """F3: messages that are sent meanwhile wait too."""
        env.send(ADA, "a")
        env.queue.release(env.take(), delay=60)
        env.send(ADA, "b")
        env.clock.now += 59
        assert env.take() == []
        env.clock.now += 1
        assert env.drain(limit=1) == ["a", "b"]

    def test_acknowledging_part_of_a_batch_keeps_the_rest(self, env: BackendEnv) -> None:
        """F4: it stays leased until it is released, and is then delivered in order."""
        env.send(ADA, "a", "b", "c", "d")
        batch = env.take(3)
        env.queue.ack(batch[:1])
        assert env.take() == []
        env.queue.release(batch[1:2])
        assert env.drain(limit=1) == ["b", "c", "d"]

    def test_acknowledging_the_middle_of_a_batch_keeps_its_head_first(self, env: BackendEnv) -> None:
        """F4."""
        env.send(ADA, "a", "b", "c")
        batch = env.take(3)
        env.queue.ack(batch[1:2])
        env.clock.now += LEASE
        assert env.drain(limit=1) == ["a", "c"]

    def test_finishing_a_message_delivers_the_next_one(self, env: BackendEnv) -> None:
        """F4: also after an acknowledgement out of order, and with a timer that fires at the same moment."""
        env.send(ADA, "a", "b", "c")
        env.queue.ack(env.take(3)[1:2])
        env.clock.now += LEASE
        env.timers.schedule(timer("t", env.clock.now))
        handed_out: list[str] = []
        held = env.take()
        for version in range(4):
            handed_out += ids(held)
            write = Write(ADA, stored(version + 1), version, acks=tuple(held))
            held = list(env.backend.finish_all([write], receive=1 if version < 2 else 9).deliveries)
        assert handed_out == ["a", "c", "t"]
        assert env.drain() == []

    def test_a_timer_that_fires_as_the_last_message_is_acknowledged_is_delivered_once(self, env: BackendEnv) -> None:
        """F1."""
        env.send(ADA, "a")
        held = tuple(env.take())
        env.timers.schedule(timer("t", env.clock.now))
        finished = env.backend.finish_all([Write(ADA, stored(1), 0, acks=held)], receive=9)
        assert ids(finished.deliveries) == ["t"]

    def test_a_batch_may_be_acknowledged_in_any_order(self, env: BackendEnv) -> None:
        """F4: also in parts, with repetitions."""
        env.send(ADA, "a", "b", "c")
        a, b, c = env.take(3)
        env.queue.ack([b, a])
        env.queue.ack([a, c])
        env.clock.now += LEASE
        assert env.drain() == []

    def test_a_send_during_a_lease_is_kept(self, env: BackendEnv) -> None:
        """F5: acknowledging the leased message makes the new one ready."""
        env.send(ADA, "a")
        held = env.take()
        env.send(ADA, "b")
        assert env.take() == []
        env.queue.ack(held)
        assert env.drain() == ["b"]

    def test_a_message_sent_to_an_empty_queue_is_delivered(self, env: BackendEnv) -> None:
        """F5."""
        for id in ("a", "b", "c"):
            env.send(ADA, id)
            assert env.drain() == [id]

    def test_a_repeated_send_keeps_its_position(self, env: BackendEnv) -> None:
        """F7."""
        env.send(ADA, "a", "b")
        env.send(ADA, "a")
        env.send(ADA, "c")
        assert env.drain() == ["a", "b", "c"]


class TestOtherKeys:
    def test_a_leased_key_delays_no_other(self, env: BackendEnv) -> None:
        """F6."""
        env.send(ADA, "a1", "a2")
        env.take()
        env.send(BEN, "b1")
        assert ids(env.take()) == ["b1"]

    def test_a_parked_key_delays_no_other(self, env: BackendEnv) -> None:
        """F6."""
        env.send(ADA, "a1")
        env.queue.release(env.take(), delay=60)
        env.send(BEN, "b1")
        assert ids(env.take()) == ["b1"]

    def test_a_key_that_always_fails_delays_no_other(self, env: BackendEnv) -> None:
        """F6."""
        env.send(ADA, "poison")
        env.send(BEN, "b1")
        env.queue.release(env.take())
        assert ids(env.take()) == ["b1"]

    def test_a_long_backlog_starves_no_other_key(self, env: BackendEnv) -> None:
        """F6: another key waits for one batch of it at most."""
        env.send(ADA, *(f"a{n}" for n in range(100)))
        first = env.take()
        env.send(BEN, "b1")
        env.send(CEM, "c1")
        env.queue.ack(first)
        assert keys(env.take(2)) == [BEN, CEM]

    def test_each_ready_key_has_its_turn(self, env: BackendEnv) -> None:
        """F6."""
        for key in (ADA, BEN, CEM):
            env.send(key, *(f"{key.instance}{n}" for n in range(3)))
        assert env.drain(limit=1) == ["ada0", "ben0", "cem0", "ada1", "ben1", "cem1", "ada2", "ben2", "cem2"]

    def test_a_batch_is_filled_from_several_keys(self, env: BackendEnv) -> None:
        env.send(ADA, "a1", "a2")
        env.send(BEN, "b1", "b2")
        assert ids(env.take(3)) == ["a1", "a2", "b1"]

    def test_ready_messages_are_delivered_after_the_clock_was_set_back(self, env: BackendEnv) -> None:
        """T5: the clock matters only to leases, pauses and timers."""
        env.send(ADA, "a")
        env.clock.now -= 3600
        assert ids(env.take()) == ["a"]


runs = count()  # Hypothesis runs all examples on one backend, so each has keys or ids of its own
odd_ids = st.text(st.sampled_from("\0aA:/%1é\ud800\ue000\U0001f600"), max_size=3)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(instances=st.lists(odd_ids, min_size=1, max_size=12, unique=True))
def test_odd_ids_are_keys_of_their_own(env: BackendEnv, instances: list[str]) -> None:
    """F8: keys that differ in case, by a prefix, an escape or a NUL are distinct."""
    run = str(next(runs))
    odd = [Key(run + machine, instance) for machine in ("", "\0") for instance in instances]
    for key in odd:
        env.send(key, "same id")
    received = env.take(100)
    env.queue.ack(received)
    assert sorted(keys(received)) == sorted(odd)


def test_long_ids_are_keys_of_their_own(env: BackendEnv) -> None:
    """F8."""
    long = [Key("signup", "x" * 5000 + end) for end in ("", "1", "2")]
    for key in long:
        env.send(key, "y" * 5000)
    assert keys(env.take(4)) == long
