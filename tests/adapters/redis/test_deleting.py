"""The tombstone of a deleted instance (R3, R6, R9): a record at the next version that no list shows."""

from __future__ import annotations

import pytest

from settled.durable.ports import DELETED
from settled.errors import ConflictError
from tests.adapters.local.fixtures import ADA, BEN, BackendEnv, dead_letter, stored, tombstone


@pytest.fixture
def env(any_env: BackendEnv) -> BackendEnv:
    return any_env


class TestATombstone:
    @pytest.fixture(autouse=True)
    def delete(self, env: BackendEnv) -> None:
        for key in (ADA, BEN):
            env.store.commit(key, stored(1), 0, [dead_letter(key, "x")])
        env.store.delete(ADA, tombstone(2), 1)

    def test_is_loaded_as_it_was_written(self, env: BackendEnv) -> None:
        assert env.store.load(ADA) == tombstone(2)
        assert env.reopen().store.load(ADA) == tombstone(2)

    def test_replaces_the_dead_letters_too(self, env: BackendEnv) -> None:
        assert list(env.store.dead_letters(ADA)) == []
        assert list(env.store.dead_letters(BEN)) == [dead_letter(BEN, "x")]

    def test_continues_the_version(self, env: BackendEnv) -> None:
        """R3: a worker that loaded the old instance cannot commit over the next one."""
        for expected in (0, 1):
            with pytest.raises(ConflictError, match=f"expected version {expected}, found 2"):
                env.store.commit(ADA, stored(expected + 1), expected)
        env.store.commit(ADA, stored(3, "next"), 2)
        assert env.store.load(ADA) == stored(3, "next")
        assert [key for key, _ in env.store.scan()] == [ADA, BEN]

    @pytest.mark.parametrize("status", [None, "active", DELETED])
    def test_is_not_listed(self, env: BackendEnv, status: str | None) -> None:
        """Nor does it count towards the limit of a page."""
        expected = [] if status == DELETED else [BEN]
        assert [key for key, _ in env.store.scan(status=status)] == expected
        assert [key for key, _ in env.store.scan(status=status, limit=1)] == expected

    def test_may_be_deleted_again(self, env: BackendEnv) -> None:
        env.store.delete(ADA, tombstone(3), 2)
        assert env.store.load(ADA) == tombstone(3)

    def test_is_not_listed_if_it_is_committed(self, env: BackendEnv) -> None:
        """The status alone makes it a tombstone."""
        env.store.commit(BEN, tombstone(2), 1)
        assert list(env.store.scan()) == []
        assert env.store.load(BEN) == tombstone(2)


@pytest.mark.parametrize("expected", [0, 2])
def test_deleting_another_version_fails(env: BackendEnv, expected: int) -> None:
    """R6, R9: it changes nothing."""
    env.store.commit(ADA, stored(1), 0, [dead_letter(ADA, "x")])
    with pytest.raises(ConflictError, match=f"expected version {expected}, found 1"):
        env.store.delete(ADA, tombstone(expected + 1), expected)
    assert env.store.load(ADA) == stored(1)
    assert list(env.store.dead_letters(ADA)) == [dead_letter(ADA, "x")]
    assert [key for key, _ in env.store.scan()] == [ADA]
