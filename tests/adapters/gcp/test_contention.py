"""Concurrent commits of one record: none is lost or duplicated, and none waits for long."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from settled import ConflictError, UnavailableError
from settled_gcp.documents import Collection
from settled_gcp.store import ConcurrencyMode, FirestoreStore
from tests.support.builders import ADA, dead_letter, stored


def count_to(store: FirestoreStore, times: int) -> int:
    """Add one to the number in the record, `times`. Return how often another commit came first."""
    lost = 0
    for _ in range(times):
        while True:
            found = store.load(ADA)
            version, number = (0, 0) if found is None else (found.version, int(found.body or 0))
            try:
                store.commit(ADA, stored(version + 1, f"{number + 1}"), version)
            except (ConflictError, UnavailableError):
                lost += 1
            else:
                break
    return lost


def contend(store: Callable[[], FirestoreStore], clients: int, times: int) -> tuple[int, float]:
    """Let `clients` count to `times` concurrently. Return how many commits were lost, and the seconds it took."""
    started = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        lost = sum(pool.map(count_to, [store() for _ in range(clients)], [times] * clients))
    return lost, time.monotonic() - started


@pytest.mark.parametrize(
    ("contention", "clients", "times"), [(ConcurrencyMode.PRECONDITION, 8, 10), (ConcurrencyMode.TRANSACTION, 2, 2)]
)
def test_every_commit_that_was_answered_counts_once(
    documents: Any, collection: Collection, contention: ConcurrencyMode, clients: int, times: int
) -> None:
    """Transactions are tried with few clients only.

    Firestore documents that it aborts one of several transactions that wait for each other. The emulator lets all of
    them wait until they time out, and may abort every one: no commit is lost, but it takes long.
    """
    lost, seconds = contend(lambda: FirestoreStore(documents, collection, contention=contention), clients, times)
    found = FirestoreStore(documents, collection).load(ADA)
    assert found is not None
    assert (found.version, found.body) == (clients * times, f"{clients * times}")
    if contention is ConcurrencyMode.PRECONDITION:
        assert lost > 0
        assert seconds < 30


def test_both_modes_may_be_mixed(documents: Any, collection: Collection) -> None:
    modes = iter([*ConcurrencyMode] * 2)
    contend(lambda: FirestoreStore(documents, collection, contention=next(modes)), 2, 3)
    assert FirestoreStore(documents, collection).load(ADA) == stored(6, "6")


def test_of_concurrent_redrives_one_takes_the_dead_letters(documents: Any, collection: Collection) -> None:
    FirestoreStore(documents, collection).commit(ADA, stored(1), 0, [dead_letter(ADA, f"{n}") for n in range(6)])

    def redrive(by: int) -> bool:
        try:
            FirestoreStore(documents, collection).commit(
                ADA, stored(2, f"{by}"), 1, [dead_letter(ADA, f"by {by}")], remove_dead_letters=3
            )
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(redrive, range(6)))
    assert Counter(won)[True] == 1
    left = [each.message.id for each in FirestoreStore(documents, collection).dead_letters(ADA)]
    assert left == ["3", "4", "5", f"by {won.index(True)}"]


def test_repeating_a_commit_is_a_conflict(documents: Any, collection: Collection) -> None:
    """As after a lost response: the repetition never writes a second version."""
    for contention in ConcurrencyMode:
        store = FirestoreStore(documents, collection, contention=contention)
        expected = 0 if (found := store.load(ADA)) is None else found.version
        store.commit(ADA, stored(expected + 1), expected)
        for again in (store, FirestoreStore(documents, collection, contention=contention)):
            with pytest.raises(ConflictError):
                again.commit(ADA, stored(expected + 1), expected)
