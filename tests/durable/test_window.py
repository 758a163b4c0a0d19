"""The dedup window: the last messages and their outcomes, whatever their ids contain."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from settled import Key, Outcome, setup
from settled.durable import Record, record_from_json
from settled.durable.messages import Message
from settled.durable.record_json import record_to_stored
from settled.durable.window import Window

KEY = Key("list", "ada")
IDS = st.one_of(st.text(max_size=4), st.sampled_from(["", "a", "b", "a,b", '","', '",\n"', "\n", ",", "\\n", "\ud800"]))
ADDED = st.lists(st.tuples(IDS, st.sampled_from(Outcome)), max_size=12)
MACHINE_JSON: dict[str, Any] = {"id": "list", "initial": "open", "states": {"open": {"tags": ["settled"]}}}
MACHINE = setup().machine(MACHINE_JSON)


def messages(added: list[tuple[str, Outcome]]) -> list[tuple[Message, Outcome]]:
    return [(Message(KEY, id, "{}"), outcome) for id, outcome in added]


def window_of(size: int, added: list[tuple[str, Outcome]], received: Container[str] = ()) -> Window:
    """Return a window with each message added in a commit of its own, while `received` were not acknowledged."""
    window = Window(size)
    for message, outcome in messages(added):
        if window.outcome_of_message(message) is not Outcome.TAKEN:
            window = window.add(message, outcome).unpin(received)
    return window


def expected_window(size: int, added: list[tuple[str, Outcome]], received: Container[str] = ()) -> dict[str, Outcome]:
    """Return the expected outcomes by id: first the acknowledged messages, oldest first, then the pinned ones."""
    known, pinned = dict[str, Outcome](), dict[str, Outcome]()
    for id, outcome in added:
        if Outcome.TAKEN in (known.get(id), pinned.get(id)):
            continue  # what was taken is never added again
        known.pop(id, None)
        pinned.pop(id, None)
        (pinned if id in received else known)[id] = outcome
        if len(known) > size:
            del known[next(iter(known))]
    return {**known, **pinned}


@given(st.integers(0, 5), ADDED, IDS, st.frozensets(IDS, max_size=3))
def test_it_knows_the_newest_and_what_is_pinned_and_nothing_else(
    size: int, added: list[tuple[str, Outcome]], other: str, received: frozenset[str]
) -> None:
    window, known = window_of(size, added, received), expected_window(size, added, received)
    assert window.ids == tuple(known)
    assert {id: window.outcome_of_id(id) for id, _ in added} == {id: known.get(id) for id, _ in added}
    assert window.outcome_of_id(other) == known.get(other)
    assert window.count == window.encoded_ids.count("\n") + bool(window.encoded_ids)


@given(st.integers(1, 5), ADDED, IDS)
def test_a_new_message_is_pinned_until_it_is_known_to_be_acknowledged(
    size: int, added: list[tuple[str, Outcome]], last: str
) -> None:
    window = window_of(size, added).add(Message(KEY, last, "{}"), Outcome.TAKEN)
    assert window.unpin({last}).pinned == window.pinned
    assert window.unpin(()).pinned == {}


@given(IDS, IDS)
def test_it_distinguishes_two_bodies_under_one_id(id: str, other: str) -> None:
    first, second = Message(KEY, id, "first"), Message(KEY, id, "second")
    window = window_of(3, [(other, Outcome.TAKEN)]).add(first, Outcome.RESOLVED)
    for each in (window, window.unpin(())):
        assert each.outcome_of_message(first) is Outcome.RESOLVED
        assert each.outcome_of_message(second) is None
        assert each.is_reused(second)
        assert each.is_reused(first) == (id == other)


def test_an_invalid_reuse_of_an_id_does_not_change_the_first_message() -> None:
    first, second = Message(KEY, "id", "first"), Message(KEY, "id", "second")
    window = Window(3).add(first, Outcome.TAKEN).add(second, Outcome.INVALID).unpin(())
    assert (window.outcome_of_message(first), window.outcome_of_message(second)) == (Outcome.TAKEN, Outcome.INVALID)
    assert not window.is_reused(first)
    assert window.is_reused(Message(KEY, "id", "third"))


@given(ADDED)
def test_it_survives_a_round_trip_through_the_record(added: list[tuple[str, Outcome]]) -> None:
    record = Record(window=window_of(256, added))
    stored = record_to_stored(MACHINE, record, 1, 0.0)
    assert record_from_json(MACHINE, KEY, stored.body).window == record.window


@given(st.dictionaries(st.just("window"), st.lists(st.integers())))
def test_a_window_in_the_context_is_not_mistaken_for_it(context: dict[str, Any]) -> None:
    snapshot, _ = setup().machine({**MACHINE_JSON, "context": context}).initial_transition()
    machine = setup().machine({**MACHINE_JSON, "context": {}})
    stored = record_to_stored(machine, Record(snapshot=snapshot, window=Window.of(256, ["a 000000"])), 1, 0.0)
    found = record_from_json(machine, KEY, stored.body)
    assert found.window.ids == ("a",)
    assert found.readable_snapshot().context == context
