"""Tests for the stores of adapters with emulated vendors; each adapter runs them with a `store` fixture of its own."""

from __future__ import annotations

import pytest

from settled import ConflictError, Key
from settled.durable import Store
from tests.support.builders import ADA, BEN, dead_letter, stored, tombstone

ODD = ["", "\0 \x7f \ufffe", '{"name":"\ud83d"}', "e\u0301 é 🙂"]
"""Texts that some databases do not keep as they are."""


class Commits:
    def test_a_key_has_no_record_before_the_first_commit(self, store: Store) -> None:
        assert store.load(ADA) is None

    def test_a_commit_is_read_back_as_it_was(self, store: Store) -> None:
        store.commit(ADA, stored(1), 0)
        assert store.load(ADA) == stored(1)

    def test_a_commit_with_another_version_fails(self, store: Store) -> None:
        store.commit(ADA, stored(1), 0)
        store.commit(ADA, stored(2, '{"second":true}'), 1)
        for expected in (0, 1, 3):
            with pytest.raises(ConflictError, match="signup/ada, version"):
                store.commit(ADA, stored(expected + 1, '{"late":true}'), expected)
        assert store.load(ADA) == stored(2, '{"second":true}')

    @pytest.mark.parametrize("text", ODD)
    def test_odd_texts_and_keys_are_kept(self, store: Store, text: str) -> None:
        key = Key(f"m{text}", f"i{text}/{'x' * 2000}")
        store.commit(key, stored(1, text), 0, [dead_letter(key, text, text)])
        assert store.load(key) == stored(1, text)
        assert store.dead_letters(key) == [dead_letter(key, text, text)]


class DeadLetters:
    def test_they_are_in_the_order_of_the_commits_that_added_them(self, store: Store) -> None:
        for version in range(1, 12):
            store.commit(ADA, stored(version), version - 1, [dead_letter(ADA, f"{version}.{n}") for n in range(2)])
        expected = [f"{version}.{n}" for version in range(1, 12) for n in range(2)]
        assert [each.message.id for each in store.dead_letters(ADA)] == expected
        assert store.dead_letters(BEN) == []

    def test_the_oldest_dead_letters_are_removed_and_new_ones_added_at_the_end(self, store: Store) -> None:
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, "1"), dead_letter(ADA, "2"), dead_letter(ADA, "3")])
        store.commit(ADA, stored(2), 1, [dead_letter(ADA, "4")], remove_dead_letters=2)
        assert store.dead_letters(ADA) == [dead_letter(ADA, "3"), dead_letter(ADA, "4")]

    def test_a_failed_commit_moves_none(self, store: Store) -> None:
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, "1")])
        with pytest.raises(ConflictError):
            store.commit(ADA, stored(1), 0, [dead_letter(ADA, "2")], remove_dead_letters=1)
        assert store.dead_letters(ADA) == [dead_letter(ADA, "1")]


class Deletes:
    def test_the_tombstone_continues_the_version(self, store: Store) -> None:
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, "1")])
        store.delete(ADA, tombstone(2), 1)
        found = store.load(ADA)
        assert found == tombstone(2)
        assert found is not None
        assert found.is_deleted
        assert store.dead_letters(ADA) == []
        store.commit(ADA, stored(3), 2)
        assert store.load(ADA) == stored(3)

    @pytest.mark.parametrize("expected", [0, 2])
    def test_another_version_is_not_deleted(self, store: Store, expected: int) -> None:
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, "1")])
        with pytest.raises(ConflictError):
            store.delete(ADA, tombstone(expected + 1), expected)
        assert store.load(ADA) == stored(1)
        assert store.dead_letters(ADA) == [dead_letter(ADA, "1")]
