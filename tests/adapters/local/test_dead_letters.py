"""The dead letters of a key, which `commit` appends and removes (X6, X10)."""

from __future__ import annotations

from tests.adapters.local.fixtures import ADA, BEN, BackendEnv, dead_letter, ids, stored


def test_dead_letters_are_kept_whole_and_in_order(env: BackendEnv) -> None:
    """X6."""
    env.store.commit(ADA, stored(1), 0, [dead_letter(ADA, "b"), dead_letter(ADA, "a")])
    env.store.commit(ADA, stored(2), 1, [dead_letter(ADA, "c")])
    assert list(env.reopen().store.dead_letters(ADA)) == [dead_letter(ADA, id) for id in "bac"]


def test_each_key_has_its_own_dead_letters(env: BackendEnv) -> None:
    """X7."""
    env.store.commit(ADA, stored(1), 0, [dead_letter(ADA, "a")])
    assert list(env.store.dead_letters(BEN)) == []


def test_the_oldest_dead_letters_are_removed(env: BackendEnv) -> None:
    """X10."""
    env.store.commit(BEN, stored(1), 0, [dead_letter(BEN, "b")])
    env.store.commit(ADA, stored(1), 0, [dead_letter(ADA, id) for id in "abc"])
    env.store.commit(ADA, stored(2), 1, remove_dead_letters=2)
    assert list(env.store.dead_letters(ADA)) == [dead_letter(ADA, "c")]
    assert list(env.store.dead_letters(BEN)) == [dead_letter(BEN, "b")]


def test_dead_letters_are_added_after_others_are_removed(env: BackendEnv) -> None:
    """X10."""
    env.store.commit(ADA, stored(1), 0, [dead_letter(ADA, id) for id in "abc"])
    env.store.commit(ADA, stored(2), 1, [dead_letter(ADA, id) for id in "ab"], remove_dead_letters=2)
    assert list(env.store.dead_letters(ADA)) == [dead_letter(ADA, id) for id in "cab"]
    env.store.commit(ADA, stored(3), 2, [dead_letter(ADA, id) for id in "abc"], remove_dead_letters=3)
    assert list(env.store.dead_letters(ADA)) == [dead_letter(ADA, id) for id in "abc"]


def test_removing_more_dead_letters_than_exist_removes_all(env: BackendEnv) -> None:
    env.store.commit(ADA, stored(1), 0, [dead_letter(ADA, "a")])
    env.store.commit(ADA, stored(2), 1, remove_dead_letters=5)
    assert list(env.store.dead_letters(ADA)) == []


def test_burying_a_message_leaves_the_next_one_in_the_queue(env: BackendEnv) -> None:
    """X6."""
    env.send(ADA, "a", "b")
    held = env.take()
    env.store.commit(ADA, stored(1), 0, [dead_letter(ADA, "a")])
    env.queue.ack(held)
    assert ids(env.take()) == ["b"]
