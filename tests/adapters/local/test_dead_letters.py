"""Where messages go that were set aside (X6, X10)."""

from __future__ import annotations

from tests.adapters.local.fixtures import ADA, BEN, Place, ids, letter, stored


def test_they_are_kept_whole_and_in_order(place: Place) -> None:
    """X6."""
    place.store.commit(ADA, stored(1), 0, [letter(ADA, "b"), letter(ADA, "a")])
    place.store.commit(ADA, stored(2), 1, [letter(ADA, "c")])
    assert list(place.again().store.dead_letters(ADA)) == [letter(ADA, id) for id in "bac"]


def test_they_are_the_key_s_own(place: Place) -> None:
    """X7."""
    place.store.commit(ADA, stored(1), 0, [letter(ADA, "a")])
    assert list(place.store.dead_letters(BEN)) == []


def test_they_leave_from_the_head(place: Place) -> None:
    """X10: in the commit that takes them over."""
    place.store.commit(BEN, stored(1), 0, [letter(BEN, "b")])
    place.store.commit(ADA, stored(1), 0, [letter(ADA, id) for id in "abc"])
    place.store.commit(ADA, stored(2), 1, unbury=2)
    assert list(place.store.dead_letters(ADA)) == [letter(ADA, "c")]
    assert list(place.store.dead_letters(BEN)) == [letter(BEN, "b")]


def test_those_that_return_go_behind_those_that_stayed(place: Place) -> None:
    """X10."""
    place.store.commit(ADA, stored(1), 0, [letter(ADA, id) for id in "abc"])
    place.store.commit(ADA, stored(2), 1, [letter(ADA, id) for id in "ab"], unbury=2)
    assert list(place.store.dead_letters(ADA)) == [letter(ADA, id) for id in "cab"]
    place.store.commit(ADA, stored(3), 2, [letter(ADA, id) for id in "abc"], unbury=3)
    assert list(place.store.dead_letters(ADA)) == [letter(ADA, id) for id in "abc"]


def test_taking_more_than_there_are_takes_all(place: Place) -> None:
    place.store.commit(ADA, stored(1), 0, [letter(ADA, "a")])
    place.store.commit(ADA, stored(2), 1, unbury=5)
    assert list(place.store.dead_letters(ADA)) == []


def test_a_buried_message_takes_no_follower_along(place: Place) -> None:
    """X6."""
    place.send(ADA, "a", "b")
    held = place.take()
    place.store.commit(ADA, stored(1), 0, [letter(ADA, "a")])
    place.queue.ack(held)
    assert ids(place.take()) == ["b"]
