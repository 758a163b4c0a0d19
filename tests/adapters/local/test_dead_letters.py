"""Where messages go that were set aside (X6, X10)."""

from __future__ import annotations

from tests.adapters.local.fixtures import ADA, BEN, BackendEnv, ids, letter, stored


def test_they_are_kept_whole_and_in_order(env: BackendEnv) -> None:
    """X6."""
    env.store.commit(ADA, stored(1), 0, [letter(ADA, "b"), letter(ADA, "a")])
    env.store.commit(ADA, stored(2), 1, [letter(ADA, "c")])
    assert list(env.again().store.dead_letters(ADA)) == [letter(ADA, id) for id in "bac"]


def test_they_are_the_key_s_own(env: BackendEnv) -> None:
    """X7."""
    env.store.commit(ADA, stored(1), 0, [letter(ADA, "a")])
    assert list(env.store.dead_letters(BEN)) == []


def test_they_leave_from_the_head(env: BackendEnv) -> None:
    """X10: in the commit that takes them over."""
    env.store.commit(BEN, stored(1), 0, [letter(BEN, "b")])
    env.store.commit(ADA, stored(1), 0, [letter(ADA, id) for id in "abc"])
    env.store.commit(ADA, stored(2), 1, unbury=2)
    assert list(env.store.dead_letters(ADA)) == [letter(ADA, "c")]
    assert list(env.store.dead_letters(BEN)) == [letter(BEN, "b")]


def test_those_that_return_go_behind_those_that_stayed(env: BackendEnv) -> None:
    """X10."""
    env.store.commit(ADA, stored(1), 0, [letter(ADA, id) for id in "abc"])
    env.store.commit(ADA, stored(2), 1, [letter(ADA, id) for id in "ab"], unbury=2)
    assert list(env.store.dead_letters(ADA)) == [letter(ADA, id) for id in "cab"]
    env.store.commit(ADA, stored(3), 2, [letter(ADA, id) for id in "abc"], unbury=3)
    assert list(env.store.dead_letters(ADA)) == [letter(ADA, id) for id in "abc"]


def test_taking_more_than_there_are_takes_all(env: BackendEnv) -> None:
    env.store.commit(ADA, stored(1), 0, [letter(ADA, "a")])
    env.store.commit(ADA, stored(2), 1, unbury=5)
    assert list(env.store.dead_letters(ADA)) == []


def test_a_buried_message_takes_no_follower_along(env: BackendEnv) -> None:
    """X6."""
    env.send(ADA, "a", "b")
    held = env.take()
    env.store.commit(ADA, stored(1), 0, [letter(ADA, "a")])
    env.queue.ack(held)
    assert ids(env.take()) == ["b"]
