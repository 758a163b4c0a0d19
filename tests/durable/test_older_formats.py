"""Records and messages that older versions of settled have written: read as if they were new, and written as new ones.

The files in `older` were written by those versions; each is named by its format and by what it contains.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve

from settled import RecordError
from settled.durable import Index, Record, Stored, record_from_json
from settled.durable.messages import (
    ChildEnded,
    Content,
    Event,
    ForwardToSystemId,
    ImportChild,
    RegisterSystemId,
    SenderPosition,
    Start,
    StopChildInstance,
    TimerFired,
    Wake,
    decode,
    encode,
)
from settled.durable.record_json import (
    record_from_tombstone,
    record_to_stored,
    record_to_tombstone,
    record_with_redrive,
)
from settled.durable.record_text import FORMAT
from settled.durable.window import Outcome
from tests.support.example_records import KEY, MACHINE, OPEN_TURN, RECORDS, SENDER, SENT

OLDER = Path(__file__).parent / "older"
OLDER_FORMATS = range(3, FORMAT)
PARENT = RECORDS["child"].parent


def older(format: int, name: str) -> str:
    return (OLDER / "records" / f"{format}-{name}.json").read_text()


def expected(text: str, name: str) -> Record:
    # The fingerprint is that of the machine when the file was written.
    return evolve(RECORDS[name], fingerprint=json.loads(text)["fingerprint"])


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("format", OLDER_FORMATS)
class TestAnOlderRecord:
    def test_is_read(self, format: int, name: str) -> None:
        text = older(format, name)
        assert record_from_json(MACHINE, KEY, text) == expected(text, name)

    def test_is_written_in_the_new_format(self, format: int, name: str) -> None:
        text = older(format, name)
        stored = record_to_stored(MACHINE, record_from_json(MACHINE, KEY, text), 6, 0.0)
        assert json.loads(stored.body)["settled"] == FORMAT
        written = record_from_json(MACHINE, KEY, stored.body)
        assert evolve(written, fingerprint="", armed=None) == evolve(expected(text, name), fingerprint="", armed=None)

    def test_leaves_the_same_tombstone_as_a_new_one(self, format: int, name: str) -> None:
        old = record_to_stored(MACHINE, RECORDS[name], 6, 0.0)
        assert record_to_tombstone(KEY, evolve(old, body=older(format, name)), 0.0) == record_to_tombstone(
            KEY, old, 0.0
        )


@pytest.mark.parametrize("format", OLDER_FORMATS)
@pytest.mark.parametrize("name", ["never-started", "started", "window", "open-turn"])
def test_an_older_tombstone_is_read(format: int, name: str) -> None:
    found = record_from_tombstone(KEY, older(format, f"tombstone-{name}"))
    record = RECORDS[name]
    window = record.window if record.turn is None else record.window.add(OPEN_TURN.message, Outcome.TAKEN)
    assert found == Record(high_water_mark=record.high_water_mark, window=window)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"settled":99}', f"format 99, this version of settled reads 3 to {FORMAT}: update settled"),
        ('{"settled":99,"crc32":"00000000","a":1}', "format 99, .*: update settled"),
        ('{"settled":2}', "format 2, .*: finish it with the settled that wrote it, or delete it"),
        ('{"other":1}', "not a record of settled"),
        ('{"settled":"3"', "not a record of settled"),
        ("[]", "not a record of settled"),
        ("no JSON", "not a record of settled"),
        ("", "not a record of settled"),
    ],
)
def test_what_is_no_record_or_of_an_unknown_format_is_not_read_and_the_error_says_what_to_do(
    text: str, said: str
) -> None:
    with pytest.raises(RecordError, match=said):
        record_from_json(MACHINE, KEY, text)
    with pytest.raises(RecordError, match=said):
        record_from_tombstone(KEY, text)


CONTENTS: dict[str, Content] = {
    "start": Start({"n": 1}),
    "start-child": Start(None, PARENT),
    "start-synced": Start(None, RECORDS["synchronous-child"].parent),
    "event": Event({"type": "E"}),
    "event-sent": Event({"type": "E"}, SENDER),
    "event-last": Event({"type": "E"}, SENDER, is_last=True),
    "event-outside-child": Event({"type": "E"}, SenderPosition(KEY, "n1.1", 3, 0)),
    "timer": TimerFired("t0"),
    "timer-early": TimerFired("t0", 2),
    "child-ended": ChildEnded("left", "g", True, [1]),
    "stop": StopChildInstance("g"),
    "register": RegisterSystemId("me", KEY, False),
    "register-parent": RegisterSystemId("me", KEY, True, PARENT),
    "forward": ForwardToSystemId("me", {"type": "E"}),
    "forward-sent": ForwardToSystemId("me", {"type": "E"}, SENDER),
    "wake": Wake(),
    **({} if PARENT is None else {"import": ImportChild({"status": "active"}, PARENT)}),
}

OLDER_BODIES: dict[str, str] = json.loads((OLDER / "messages.json").read_text())


class TestAnOlderMessage:
    def test_of_every_kind_is_stored(self) -> None:
        assert OLDER_BODIES.keys() == CONTENTS.keys()

    @pytest.mark.parametrize("name", CONTENTS)
    def test_is_read(self, name: str) -> None:
        assert decode(OLDER_BODIES[name]) == CONTENTS[name]

    @pytest.mark.parametrize("name", CONTENTS)
    def test_is_read_as_a_new_one_is(self, name: str) -> None:
        assert decode(encode(CONTENTS[name])) == CONTENTS[name]

    @pytest.mark.parametrize("name", ["start", "event"])
    def test_of_an_outside_sender_has_the_same_text_if_it_is_sent_again(self, name: str) -> None:
        """Otherwise its repetition would count as another message under the same id."""
        assert encode(CONTENTS[name]) == OLDER_BODIES[name]

    def test_in_an_outbox_keeps_its_text(self) -> None:
        record = record_from_json(MACHINE, KEY, older(3, "outbox"))
        stored = record_to_stored(MACHINE, record, 6, 0.0)
        (text,) = [entry["body"] for entry in json.loads(stored.body)["outbox"] if entry["kind"] == "send"]
        assert text == SENT


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("format", [*OLDER_FORMATS, FORMAT])
class TestARecordThatIsChangedWithoutItsMachine:
    @staticmethod
    def stored(format: int, name: str) -> Stored:
        if format == FORMAT:
            return record_to_stored(MACHINE, RECORDS[name], 5, 0.0)
        return Stored(5, older(format, name), Index("active", ("a",), 0.0))

    def test_is_the_same_but_for_its_redrive(self, format: int, name: str) -> None:
        before = self.stored(format, name)
        was = record_from_json(MACHINE, KEY, before.body)
        after = record_with_redrive(KEY, before, 6, 7.0, "nonce", 3)
        turn = was.turn and evolve(was.turn, lease_until=0.0)
        expected = evolve(was, nonce="nonce", redriving=3, turn=turn)
        assert record_from_json(MACHINE, KEY, after.body) == expected
        assert (after.version, after.index) == (6, before.index._replace(updated=7.0))

    def test_is_the_same_without_a_redrive(self, format: int, name: str) -> None:
        before = self.stored(format, name)
        was = record_from_json(MACHINE, KEY, before.body)
        after = record_with_redrive(KEY, before, 6, 7.0, "nonce", None)
        assert record_from_json(MACHINE, KEY, after.body) == evolve(was, nonce="nonce", redriving=None)
