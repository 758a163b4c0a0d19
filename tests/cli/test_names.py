"""Names, events and contexts that others wrote are printed without line breaks and control characters of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from settled import Key
from settled.durable import Backend, Event, Message, Start, encode
from settled_runtime import Client
from tests.cli.conftest import Settled
from tests.cli.door_machine import door

HOSTILE = "x\nforged\r\x1b[2J\x9b1m\u202e\u2028\ud800"
SHOWN = r"x\nforged\r\x1b[2J\x9b1m\u202e\u2028\ud800"
KEY = f"door/{HOSTILE}"


def is_printable(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.fixture
def hostile(backend: Backend, work: Callable[[], None]) -> Backend:
    """An instance, a dead letter and a waiting message, under names and ids that forge lines and drive terminals."""
    client = Client(door, backend)
    client.start(HOSTILE, message_id=HOSTILE)
    work()
    backend.queue.send(
        [Message(Key("door", HOSTILE), f"{HOSTILE}2", encode(Event({"type": HOSTILE, "code": HOSTILE})))]
    )
    backend.queue.send([Message(Key("door", f"{HOSTILE}3"), f"{HOSTILE}3", HOSTILE)])
    work()
    backend.queue.send([Message(Key(f"{HOSTILE}4", HOSTILE), HOSTILE, encode(Start()))])
    return backend


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("list",), 0),
        (("get", KEY), 0),
        (("dead-letters",), 0),
        (("backlog",), 0),
        (("list", "--limit", "1"), 0),
        (("send", KEY, HOSTILE, "--id", f"{HOSTILE}4"), 0),
        (("start", KEY, "--id", HOSTILE, "--wait"), 0),
        (("redrive", KEY, "--machine", "tests.cli.door_machine:door"), 0),
        (("get", f"{KEY}0"), 1),
        (("get", KEY, "--until", "open", "--timeout", "0.01"), 1),
        (("send", KEY, "SHUT", "--id", HOSTILE), 1),
        (("get", HOSTILE), 2),
    ],
)
class TestHostileNames:
    def test_are_printed_as_escapes(self, words: tuple[str, ...], status: int, settled: Settled) -> None:
        result = settled(*words)
        assert result.status == status, result
        assert is_printable(result.out) and is_printable(result.err), result
        assert SHOWN in result.out + result.err

    def test_are_exact_in_json(self, words: tuple[str, ...], status: int, settled: Settled) -> None:
        if words[0] in ("list", "get", "dead-letters", "backlog", "start") and not status:
            result = settled(*words, "--json")
            assert is_printable(result.out)
            assert json.dumps(HOSTILE)[1:-1] in json.dumps(result.json)


def test_a_machine_from_others_is_checked_without_driving_the_terminal(settled: Settled, tmp_path: Path) -> None:
    config = {"id": HOSTILE, "initial": "a", "states": {"a": {"on": {HOSTILE: HOSTILE}}, HOSTILE: {}}}
    (tmp_path / "valid.json").write_text(json.dumps(config))
    (tmp_path / "invalid.json").write_text(json.dumps({**config, "initial": HOSTILE + "?"}))
    for file in ("valid.json", "invalid.json"):
        for options in ((), ("--json",)):
            result = settled("check", file, *options)
            assert is_printable(result.out) and is_printable(result.err), result
    assert is_printable(settled("diagram", "valid.json").out)
