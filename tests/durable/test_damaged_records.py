"""A record that was changed after settled wrote it is never read: not one bit of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from zlib import crc32

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from settled import RecordError
from settled.durable import RecordView, record_from_json
from settled.durable.record_json import record_from_tombstone, record_to_stored, record_to_tombstone
from settled_runtime import Host
from tests.durable.machines import signup, submitted
from tests.support.example_records import KEY, MACHINE, RECORDS, SUSPENDED, WATCHED, WITH_HEADERS
from tests.support.virtual_world import World

STORED = {
    name: record_to_stored(MACHINE, record, 5, 1000.0)
    for name, record in {**RECORDS, "headers": WITH_HEADERS, "watched": WATCHED, "suspended": SUSPENDED}.items()
}
LIVE = {name: stored.body for name, stored in STORED.items()}
TOMBSTONES = {name: record_to_tombstone(KEY, stored, 1000.0).body for name, stored in STORED.items()}
TEXTS = {**LIVE, **{f"tombstone of {name}": text for name, text in TOMBSTONES.items()}}


def assert_unreadable(text: str) -> None:
    """Check that no way of reading the record takes `text`, and that each says what is wrong."""
    for read in (
        lambda: record_from_json(MACHINE, KEY, text),
        lambda: record_from_tombstone(KEY, text),
        lambda: RecordView.of(KEY, text),
    ):
        with pytest.raises(RecordError, match=r"damaged|not a record of settled|has format"):
            read()


def flipped(text: str, byte: int, bit: int) -> str | None:
    """Return `text` with one bit of its UTF-8 changed; None if that is no UTF-8, which no adapter can return."""
    data = bytearray(text.encode())
    data[byte] ^= 1 << bit
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None


@pytest.mark.parametrize("name", TEXTS)
def test_a_flip_of_any_bit_is_noticed(name: str) -> None:
    text = TEXTS[name]
    for byte in range(len(text.encode())):
        for bit in range(8):
            damaged = flipped(text, byte, bit)
            if damaged is not None:
                assert_unreadable(damaged)


@pytest.mark.parametrize("name", TEXTS)
def test_a_cut_at_any_place_is_noticed(name: str) -> None:
    text = TEXTS[name]
    for end in range(len(text)):
        assert_unreadable(text[:end])


def insert(at: int, new: str, text: str) -> str:
    at %= len(text)
    return text[:at] + new + text[at:]


def remove(at: int, size: int, text: str) -> str:
    at %= len(text)
    return text[:at] + text[at + size :]


def replace(at: int, new: str, text: str) -> str:
    at %= len(text)
    return text[:at] + new + text[at + len(new) :]


AT, JSON_CHARACTERS = (
    st.integers(0, 10_000),
    st.text(st.sampled_from('{}[],:"\\0123456789ntrue'), min_size=1, max_size=8),
)
CHANGES: st.SearchStrategy[Callable[[str], str]] = st.one_of(
    st.builds(partial, st.just(insert), AT, st.text(min_size=1) | JSON_CHARACTERS),
    st.builds(partial, st.just(remove), AT, st.integers(1, 40)),
    st.builds(partial, st.just(replace), AT, JSON_CHARACTERS),
)


@given(st.sampled_from(sorted(TEXTS)), st.lists(CHANGES, min_size=1, max_size=4))
def test_whatever_is_inserted_removed_or_replaced_is_noticed(name: str, changes: list[Callable[[str], str]]) -> None:
    text = TEXTS[name]
    for change in changes:
        text = change(text) or "{}"
    if text != TEXTS[name]:
        assert_unreadable(text)


@given(st.sampled_from(sorted(TEXTS)), st.sampled_from(["\n", " ", "}", "null", ',"x":1}', TEXTS["started"]]))
def test_whatever_is_appended_or_put_in_front_is_noticed(name: str, more: str) -> None:
    assert_unreadable(TEXTS[name] + more)
    assert_unreadable(more + TEXTS[name])


def test_a_record_that_was_written_anew_by_other_software_is_noticed() -> None:
    assert_unreadable(json.dumps(json.loads(LIVE["started"]), indent=1))


def test_a_record_that_claims_an_older_format_to_avoid_the_checksum_is_noticed() -> None:
    assert_unreadable(LIVE["started"].replace('{"settled":4', '{"settled":3'))
    data = json.loads(LIVE["everything"])
    del data["crc32"]
    assert_unreadable(json.dumps({**data, "settled": 3}, separators=(",", ":")))


def test_text_that_is_nested_too_deeply_to_parse_is_noticed() -> None:
    assert_unreadable('{"settled":3,"machine":' + "[" * 100_000)


def test_the_checksum_can_be_verified_by_anyone() -> None:
    """As `docs/formats.md` describes it."""
    _, _, rest = LIVE["everything"].partition('"crc32":"')
    checksum, _, summed = rest.partition('",')
    assert int(checksum, 16) == crc32(summed.encode())


class TestAnInstanceWhoseRecordIsDamaged:
    def damaged(self) -> tuple[World, str]:
        world = submitted(signup())
        stored = world.backend.store.load(world.key())
        assert stored is not None
        text = stored.body.replace('"ordinal":1', '"ordinal":2')
        assert text != stored.body
        world.backend.store.commit(world.key(), evolve(stored, version=stored.version + 1, body=text), stored.version)
        return world, text

    def test_is_never_changed_and_its_messages_wait(self) -> None:
        world, text = self.damaged()
        host = Host([world.machine], world.backend)
        for _ in range(10):
            for end in host.handle(world.backend.queue.receive(10)).values():
                assert isinstance(end, RecordError)
            world.now += 60
        host.close()
        stored = world.backend.store.load(world.key())
        assert stored is not None
        assert stored.body == text
        assert world.dead_letters() == []
        assert [each.message.id for each in world.backend.queue.receive(10)] == ["submit"]
