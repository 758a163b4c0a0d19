"""``settled send-many``: a file of events and starts, sent in its order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from settled.durable import Backend
from tests.cli.conftest import Settled

START = {"key": "door/front", "input": None, "id": "1"}
OPEN = {"key": "door/front", "event": {"type": "OPEN"}, "id": "2", "headers": {"trace": "t"}}


def file_of(tmp_path: Path, *lines: Any) -> str:
    file = tmp_path / "events.jsonl"
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return str(file)


def queued(backend: Backend) -> list[tuple[str, str]]:
    return [(str(each.message.key), each.message.id) for each in backend.queue.receive(100)]


def test_the_lines_are_sent_in_their_order(settled: Settled, backend: Backend, tmp_path: Path) -> None:
    result = settled("send-many", file_of(tmp_path, START, OPEN, {"key": "door/back", "event": "OPEN", "id": "1"}))
    assert (result.status, result.out, result.err) == (0, "3 of 3 messages sent\n", "")
    (start, event, other) = backend.queue.receive(100)
    assert [each.message.id for each in (start, event, other)] == ["1", "2", "1"]
    assert event.message.headers == {"trace": "t"}


def test_sending_a_file_again_sends_each_once(settled: Settled, backend: Backend, tmp_path: Path) -> None:
    file = file_of(tmp_path, START, OPEN)
    assert settled("send-many", file).status == settled("send-many", file).status == 0
    assert queued(backend) == [("door/front", "1"), ("door/front", "2")]


def test_what_the_queue_refuses_is_reported_with_its_line(settled: Settled, backend: Backend, tmp_path: Path) -> None:
    again = {**OPEN, "event": {"type": "CLOSE"}}
    result = settled("send-many", file_of(tmp_path, START, OPEN, again, {**OPEN, "id": "3"}), "--json")
    assert result.status == 1
    assert "3 of 4 messages sent" in result.err
    (failure,) = result.json["failed"]
    assert (failure["line"], failure["id"], result.json["sent"]) == (3, "2", 3)
    assert queued(backend) == [("door/front", "1"), ("door/front", "2"), ("door/front", "3")]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("hello", "not JSON"),
        ("[]", "a line is a JSON object"),
        ({"event": "OPEN"}, "a line is a JSON object"),
        ({"key": "door/front"}, "a line is a JSON object"),
        ({**OPEN, "input": None}, "a line is a JSON object"),
        ({**OPEN, "event": 3}, "an event is a JSON object"),
        ({**OPEN, "event": {"typ": "OPEN"}}, "cannot have the type None"),
        ({**OPEN, "event": {"type": "xstate.done"}}, "xstate.done"),
        ({**OPEN, "id": ""}, "an id is a text"),
        ({**OPEN, "id": "settled:1"}, "reserved"),
        ({**OPEN, "key": "door"}, "door"),
        ({**OPEN, "event": "OPEN", "evnt": 1}, "unknown: evnt"),
        ({**OPEN, "headers": {"A": "b"}}, "A"),
        ({**OPEN, "headers": 3}, "headers"),
        ('{"key": "door/front", "event": "OPEN", "event": "CLOSE"}', "twice"),
    ],
)
def test_a_line_that_is_no_message_sends_nothing(
    settled: Settled, backend: Backend, tmp_path: Path, line: Any, text: str
) -> None:
    result = settled("send-many", file_of(tmp_path, START, line))
    assert result.status == 2
    assert "line 2" in result.err
    assert text in result.err
    assert queued(backend) == []


def test_a_file_that_does_not_exist(settled: Settled, backend: Backend) -> None:
    assert settled("send-many", "nothing.jsonl").status == 2
