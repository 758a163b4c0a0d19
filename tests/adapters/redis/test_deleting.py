"""What is left of a deleted instance (R3, R6, R9): a text at the next version, which nobody is shown in a list."""

from __future__ import annotations

import pytest

from settled.durable.ports import DELETED
from settled.errors import ConflictError
from tests.adapters.local.fixtures import ADA, BEN, Place, letter, stored, tombstone


@pytest.fixture
def place(any_place: Place) -> Place:
    return any_place


class TestATombstone:
    @pytest.fixture(autouse=True)
    def delete(self, place: Place) -> None:
        for key in (ADA, BEN):
            place.store.commit(key, stored(1), 0, [letter(key, "x")])
        place.store.delete(ADA, tombstone(2), 1)

    def test_is_loaded_as_it_was_written(self, place: Place) -> None:
        assert place.store.load(ADA) == tombstone(2)
        assert place.again().store.load(ADA) == tombstone(2)

    def test_stands_in_the_place_of_the_dead_letters_too(self, place: Place) -> None:
        assert list(place.store.dead_letters(ADA)) == []
        assert list(place.store.dead_letters(BEN)) == [letter(BEN, "x")]

    def test_goes_on_with_the_version(self, place: Place) -> None:
        """R3: whoever remembers the old instance cannot commit over the next one."""
        for expected in (0, 1):
            with pytest.raises(ConflictError, match=f"expected version {expected}, found 2"):
                place.store.commit(ADA, stored(expected + 1), expected)
        place.store.commit(ADA, stored(3, "next"), 2)
        assert place.store.load(ADA) == stored(3, "next")
        assert [key for key, _ in place.store.scan()] == [ADA, BEN]

    @pytest.mark.parametrize("status", [None, "active", DELETED])
    def test_is_not_listed(self, place: Place, status: str | None) -> None:
        """Nor does it take a place in a page."""
        expected = [] if status == DELETED else [BEN]
        assert [key for key, _ in place.store.scan(status=status)] == expected
        assert [key for key, _ in place.store.scan(status=status, limit=1)] == expected

    def test_may_be_deleted_in_its_turn(self, place: Place) -> None:
        place.store.delete(ADA, tombstone(3), 2)
        assert place.store.load(ADA) == tombstone(3)

    def test_is_not_listed_if_it_is_committed(self, place: Place) -> None:
        """It is the status that says so."""
        place.store.commit(BEN, tombstone(2), 1)
        assert list(place.store.scan()) == []
        assert place.store.load(BEN) == tombstone(2)


@pytest.mark.parametrize("expected", [0, 2])
def test_to_delete_another_version_is_refused(place: Place, expected: int) -> None:
    """R6, R9: and changes nothing."""
    place.store.commit(ADA, stored(1), 0, [letter(ADA, "x")])
    with pytest.raises(ConflictError, match=f"expected version {expected}, found 1"):
        place.store.delete(ADA, tombstone(expected + 1), expected)
    assert place.store.load(ADA) == stored(1)
    assert list(place.store.dead_letters(ADA)) == [letter(ADA, "x")]
    assert [key for key, _ in place.store.scan()] == [ADA]
