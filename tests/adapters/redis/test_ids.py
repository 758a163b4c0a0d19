"""A message is known by its id and its body (X1, X2, X11, F7): an id that is used again for another one loses nothing.

The queue takes both: its script could not refuse one without undoing what it did before. The record finds out.
"""

from __future__ import annotations

import pytest

from settled.durable.messages import Message, Timer
from settled.durable.ports import Write
from tests.adapters.local.fixtures import ADA, Place, message
from tests.adapters.local.test_duplicates import TestARepeat as Repeat


@pytest.fixture
def place(any_place: Place) -> Place:
    return any_place


def bodies(place: Place) -> list[str]:
    """Those of all that is there, in the order of their hand-out."""
    found: list[str] = []
    while deliveries := place.take(10):
        found += [each.message.body for each in deliveries]
        place.queue.ack(deliveries)
    return found


class TestARepeat:
    """What is promised of it everywhere; what Redis does where the body is another one stands below."""

    test_while_the_first_one_waits_is_not_added = Repeat.test_while_the_first_one_waits_is_not_added
    test_while_the_first_one_is_leased_is_not_added = Repeat.test_while_the_first_one_is_leased_is_not_added
    test_after_the_first_one_was_acknowledged_is_not_added = (
        Repeat.test_after_the_first_one_was_acknowledged_is_not_added
    )
    test_for_another_key_is_another_message = Repeat.test_for_another_key_is_another_message


FIRST, SECOND = message(ADA, "a", '{"n":1}'), message(ADA, "a", '{"n":2}')


class TestAKnownId:
    def test_with_another_body_is_queued(self, place: Place) -> None:
        """At once, while the first one waits, is held, and when it was acknowledged."""
        place.queue.send([FIRST, SECOND, FIRST, SECOND])
        assert bodies(place) == [FIRST.body, SECOND.body]
        third, fourth = (message(ADA, "a", f'{{"n":{n}}}') for n in (3, 4))
        place.queue.send([third])
        held = place.take()
        place.queue.send([fourth, third])
        place.queue.ack(held)
        place.queue.send([FIRST, SECOND, third, fourth])
        assert bodies(place) == [fourth.body]

    def test_with_the_same_body_is_a_repetition(self, place: Place) -> None:
        """X3: also when a step sends it, however long ago the first was acknowledged."""
        place.queue.send([FIRST])
        assert bodies(place) == [FIRST.body]
        place.clock.now += 1_000_000
        place.backend.finish(Write(ADA, sends=(FIRST,)))
        assert bodies(place) == []

    @pytest.mark.parametrize("timer_id", ["t", "signup/ada/1/1/1"], ids=["lives anywhere", "lives with its key"])
    def test_is_looked_at_for_a_timer_too(self, place: Place, timer_id: str) -> None:
        """In whichever partition the timer lives."""
        place.queue.send([FIRST])
        found: list[list[str]] = []
        for sent in (FIRST, SECOND, SECOND):
            place.timers.schedule(Timer(timer_id, sent, place.clock.now))
            found.append(bodies(place))
        assert found == [[FIRST.body], [SECOND.body], []]


@pytest.mark.parametrize("id", ["", "00000000", " 3 x", "a b", "\0", "é\ud800"])
def test_an_id_may_be_any_text(place: Place, id: str) -> None:
    """A digest in front of it is never taken for a part of it."""
    plain, longer = Message(ADA, id, "1"), Message(ADA, Message(ADA, id, "2").digest + id, "1")
    place.queue.send([plain, longer, Message(ADA, id, "2"), plain, longer])
    assert bodies(place) == ["1", "1", "2"]
