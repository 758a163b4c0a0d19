"""The window: the last messages and what became of them, whatever their ids look like."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from settled import Key, Outcome, Record, read, setup
from settled.codec import store
from settled.message import Message
from settled.record import Window

KEY = Key("list", "ada")
IDS = st.one_of(st.text(max_size=4), st.sampled_from(["", "a", "b", "a,b", '","', '",\n"', "\n", ",", "\\n", "\ud800"]))
ADDED = st.lists(st.tuples(IDS, st.sampled_from(Outcome)), max_size=12)
MACHINE_JSON: dict[str, Any] = {"id": "list", "initial": "open", "states": {"open": {"tags": ["settled"]}}}
MACHINE = setup().machine(MACHINE_JSON)


def window_of(size: int, added: list[tuple[str, Outcome]]) -> Window:
    window = Window(size)
    for id, outcome in added:
        window = window.add(Message(KEY, id, "{}"), outcome)
    return window


def newest(size: int, added: list[tuple[str, Outcome]]) -> dict[str, Outcome]:
    """What a window of `size` is to know, oldest first."""
    known = dict[str, Outcome]()
    for id, outcome in added:
        known.pop(id, None)
        known[id] = outcome
        if len(known) > size:
            del known[next(iter(known))]
    return known


@given(st.integers(1, 5), ADDED, IDS)
def test_it_knows_the_newest_and_nothing_else(size: int, added: list[tuple[str, Outcome]], other: str) -> None:
    window, known = window_of(size, added), newest(size, added)
    assert window.ids == tuple(known)
    assert {id: window.outcome_of(id) for id, _ in added} == {id: known.get(id) for id, _ in added}
    assert window.outcome_of(other) == known.get(other)


@given(ADDED)
def test_it_comes_back_from_a_record(added: list[tuple[str, Outcome]]) -> None:
    record = Record(window=window_of(256, added))
    stored = store(MACHINE, record, 1, 0.0)
    assert stored.body is not None
    assert read(MACHINE, KEY, stored.body).window == record.window
    assert read(MACHINE, KEY, json.dumps(json.loads(stored.body), indent=1)).window == record.window


@given(st.dictionaries(st.just("window"), st.lists(st.integers())), st.booleans())
def test_a_context_that_has_a_window_too_is_not_taken_for_it(context: dict[str, Any], is_last: bool) -> None:
    snapshot, _ = setup().machine({**MACHINE_JSON, "context": context}).initial_transition()
    machine = setup().machine({**MACHINE_JSON, "context": {}})
    stored = store(machine, Record(snapshot=snapshot, window=Window.of(256, ["a"])), 1, 0.0)
    body = json.loads(stored.body or "")
    text = json.dumps({**body, "snapshot": body.pop("snapshot")} if is_last else body, separators=(",", ":"))
    found = read(machine, KEY, text)
    assert found.window.ids == ("a",)
    assert found.live().context == context
