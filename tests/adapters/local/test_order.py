"""In what order messages are handed out (F1 to F8)."""

from __future__ import annotations

from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settled.durable.ports import Write
from settled.key import Key
from tests.adapters.local.fixtures import ADA, BEN, CEM, LEASE, Place, ids, keys, stored, timer


class TestOneKey:
    def test_messages_come_in_the_order_of_their_sends(self, place: Place) -> None:
        """F1, F8: past ten, where text would sort otherwise."""
        sent = [f"m{n}" for n in range(25)]
        for id in sent:
            place.send(ADA, id)
        assert place.drain(limit=4) == sent

    def test_a_batch_is_one_run_from_the_head(self, place: Place) -> None:
        """F2."""
        place.send(ADA, "a", "b", "c")
        assert ids(place.take(2)) == ["a", "b"]

    def test_what_is_released_comes_back_before_what_followed(self, place: Place) -> None:
        """F3."""
        place.send(ADA, "a", "b", "c")
        place.queue.release(place.take(2))
        assert place.drain(limit=2) == ["a", "b", "c"]

    def test_what_ran_out_of_lease_comes_back_before_what_followed(self, place: Place) -> None:
        """F3."""
        place.send(ADA, "a", "b", "c")
        place.take()
        place.clock.now += LEASE
        assert place.drain(limit=1) == ["a", "b", "c"]

    def test_nothing_skips_past_a_parked_head(self, place: Place) -> None:
        """F3: what is sent meanwhile waits too."""
        place.send(ADA, "a")
        place.queue.release(place.take(), delay=60)
        place.send(ADA, "b")
        place.clock.now += 59
        assert place.take() == []
        place.clock.now += 1
        assert place.drain(limit=1) == ["a", "b"]

    def test_acknowledging_part_of_a_batch_keeps_the_rest(self, place: Place) -> None:
        """F4: held until it is released, and then in order."""
        place.send(ADA, "a", "b", "c", "d")
        batch = place.take(3)
        place.queue.ack(batch[:1])
        assert place.take() == []
        place.queue.release(batch[1:2])
        assert place.drain(limit=1) == ["b", "c", "d"]

    def test_acknowledging_the_middle_of_a_batch_keeps_its_head_first(self, place: Place) -> None:
        """F4."""
        place.send(ADA, "a", "b", "c")
        batch = place.take(3)
        place.queue.ack(batch[1:2])
        place.clock.now += LEASE
        assert place.drain(limit=1) == ["a", "c"]

    def test_what_waits_behind_is_handed_out_by_the_finish_of_its_head(self, place: Place) -> None:
        """F4: what was acknowledged out of order too, and what a timer sends at that very moment."""
        place.send(ADA, "a", "b", "c")
        place.queue.ack(place.take(3)[1:2])
        place.clock.now += LEASE
        place.timers.schedule(timer("t", place.clock.now))
        handed_out: list[str] = []
        held = place.take()
        for version in range(4):
            handed_out += ids(held)
            write = Write(ADA, stored(version + 1), version, acks=tuple(held))
            held = list(place.backend.finish_all([write], receive=1 if version < 2 else 9).deliveries)
        assert handed_out == ["a", "c", "t"]
        assert place.drain() == []

    def test_a_timer_that_sends_as_the_last_message_is_acknowledged_is_handed_out_once(self, place: Place) -> None:
        """F1."""
        place.send(ADA, "a")
        held = tuple(place.take())
        place.timers.schedule(timer("t", place.clock.now))
        finished = place.backend.finish_all([Write(ADA, stored(1), 0, acks=held)], receive=9)
        assert ids(finished.deliveries) == ["t"]

    def test_it_does_not_matter_in_what_order_a_batch_is_acknowledged(self, place: Place) -> None:
        """F4: nor whether some of it was acknowledged before."""
        place.send(ADA, "a", "b", "c")
        a, b, c = place.take(3)
        place.queue.ack([b, a])
        place.queue.ack([a, c])
        place.clock.now += LEASE
        assert place.drain() == []

    def test_a_send_during_a_lease_is_kept(self, place: Place) -> None:
        """F5: acknowledging what was held takes nothing else with it, and wakes what came."""
        place.send(ADA, "a")
        held = place.take()
        place.send(ADA, "b")
        assert place.take() == []
        place.queue.ack(held)
        assert place.drain() == ["b"]

    def test_a_send_after_the_queue_was_empty_is_handed_out(self, place: Place) -> None:
        """F5."""
        for id in ("a", "b", "c"):
            place.send(ADA, id)
            assert place.drain() == [id]

    def test_a_retried_send_keeps_its_first_place(self, place: Place) -> None:
        """F7."""
        place.send(ADA, "a", "b")
        place.send(ADA, "a")
        place.send(ADA, "c")
        assert place.drain() == ["a", "b", "c"]


class TestOtherKeys:
    def test_a_leased_key_holds_up_no_other(self, place: Place) -> None:
        """F6."""
        place.send(ADA, "a1", "a2")
        place.take()
        place.send(BEN, "b1")
        assert ids(place.take()) == ["b1"]

    def test_a_parked_key_holds_up_no_other(self, place: Place) -> None:
        """F6."""
        place.send(ADA, "a1")
        place.queue.release(place.take(), delay=60)
        place.send(BEN, "b1")
        assert ids(place.take()) == ["b1"]

    def test_a_key_that_always_fails_holds_up_no_other(self, place: Place) -> None:
        """F6."""
        place.send(ADA, "poison")
        place.send(BEN, "b1")
        place.queue.release(place.take())
        assert ids(place.take()) == ["b1"]

    def test_a_long_backlog_starves_nobody(self, place: Place) -> None:
        """F6: however busy one key is, another waits for one batch of it and no more."""
        place.send(ADA, *(f"a{n}" for n in range(100)))
        first = place.take()
        place.send(BEN, "b1")
        place.send(CEM, "c1")
        place.queue.ack(first)
        assert keys(place.take(2)) == [BEN, CEM]

    def test_each_ready_key_has_its_turn(self, place: Place) -> None:
        """F6."""
        for key in (ADA, BEN, CEM):
            place.send(key, *(f"{key.instance}{n}" for n in range(3)))
        assert place.drain(limit=1) == ["ada0", "ben0", "cem0", "ada1", "ben1", "cem1", "ada2", "ben2", "cem2"]

    def test_a_batch_is_filled_from_several_keys(self, place: Place) -> None:
        place.send(ADA, "a1", "a2")
        place.send(BEN, "b1", "b2")
        assert ids(place.take(3)) == ["a1", "a2", "b1"]

    def test_a_clock_set_back_hides_nothing_that_is_ready(self, place: Place) -> None:
        """T5: only leases, pauses and timers look at the clock."""
        place.send(ADA, "a")
        place.clock.now -= 3600
        assert ids(place.take()) == ["a"]


runs = count()  # hypothesis tries all its examples on one place: they are not to meet
odd_ids = st.text(st.sampled_from("\0aA:/%1é\ud800\ue000\U0001f600"), max_size=3)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(instances=st.lists(odd_ids, min_size=1, max_size=12, unique=True))
def test_odd_ids_are_keys_of_their_own(place: Place, instances: list[str]) -> None:
    """F8: neither case, nor a prefix, nor an escape, nor an end of text makes two keys one."""
    run = str(next(runs))
    odd = [Key(run + machine, instance) for machine in ("", "\0") for instance in instances]
    for key in odd:
        place.send(key, "same id")
    received = place.take(100)
    place.queue.ack(received)
    assert keys(received) == odd


def test_long_ids_are_keys_of_their_own(place: Place) -> None:
    """F8."""
    long = [Key("signup", "x" * 5000 + end) for end in ("", "1", "2")]
    for key in long:
        place.send(key, "y" * 5000)
    assert keys(place.take(4)) == long
