"""``--codec``: commands read and write what a codec encodes, and without it they change nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from settled import Key
from settled.durable import Backend, Event, Message, encode
from settled.durable.encoded import ENCODED_PREFIX
from settled_runtime import Client, CodedBackend, Host
from tests.cli import codecs_of_tests as codecs
from tests.cli.conftest import Settled
from tests.cli.door_machine import door
from tests.examples.processes import worker

FIRST, OTHER = ("--codec", "tests.cli.codecs_of_tests:first"), ("--codec", "tests.cli.codecs_of_tests:other")


@pytest.fixture
def front(backend: Backend) -> Backend:
    """The backend of the commands, encrypted, with an instance and a dead letter in it."""
    coded = CodedBackend(backend, codecs.first)
    client = Client(door, coded)
    client.start("front")
    client.send("back", {"type": "UNLOCK", "code": "4711"}, message_id="lost")
    with Host([door], coded, observers=()) as host:
        host.handle(coded.queue.receive(10))
    return coded


@pytest.mark.usefixtures("front")
class TestWithTheCodec:
    def test_instances_are_shown(self, settled: Settled) -> None:
        assert settled("get", "door/front", "--json", *FIRST).json["state"] == "shut"
        assert [row["state"] for row in settled("list", "--json", *FIRST).json] == ["-", "shut"]
        assert (
            "class shut active"
            in settled("diagram", "tests.cli.door_machine:door", "--instance", "door/front", *FIRST).out
        )

    def test_it_may_be_named_by_the_environment(self, settled: Settled, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SETTLED_CODEC", FIRST[1])
        assert settled("get", "door/front", "--json").json["state"] == "shut"

    def test_dead_letters_are_shown(self, settled: Settled) -> None:
        (letter,) = settled("dead-letters", "--json", *FIRST).json
        assert letter["message"]["event"]["code"] == "4711"

    def test_messages_are_sent_encoded(self, settled: Settled, backend: Backend) -> None:
        machine = ("--machine", "tests.cli.door_machine:door")
        assert settled("send", "door/front", "UNLOCK", "code=0042", *machine, *FIRST).status == 0
        assert settled("start", "door/side", *FIRST).status == 0
        bodies = [each.message.body for each in backend.queue.receive(10)]
        assert len(bodies) == 2 and all(body.startswith(ENCODED_PREFIX) for body in bodies)

    def test_dead_letters_are_redriven(self, settled: Settled, front: Backend) -> None:
        machine = ("--machine", "tests.cli.door_machine:door")
        assert settled("redrive", "door/back", *machine, *FIRST).status == 0
        assert settled("get", "door/back", *FIRST).status == 0

    def test_a_worker_processes_messages(self, settled: Settled, front: Backend) -> None:
        url = os.environ["SETTLED_BACKEND"]
        with worker("tests.cli.door_machine:door", *FIRST, SETTLED_BACKEND=url):
            assert Client(door, front).ask("front", {"type": "UNLOCK", "code": "0042"}).value == "open"


@pytest.mark.usefixtures("front")
class TestWithoutIt:
    @pytest.mark.parametrize("codec", [(), OTHER], ids=["none", "another key"])
    def test_an_instance_is_not_shown_and_the_error_says_why(self, settled: Settled, codec: tuple[str, ...]) -> None:
        result = settled("get", "door/front", *codec)
        assert (result.status, result.out) == (1, "")
        assert "cannot be decoded" in result.err and result.err.count("\n") == 1

    def test_dead_letters_are_listed_as_they_are_stored(self, settled: Settled) -> None:
        (letter,) = settled("dead-letters", "door/back", "--json").json
        assert letter["id"] == "lost" and letter["message"].startswith(ENCODED_PREFIX)

    def test_messages_are_set_aside_and_brought_back_as_they_are_stored(
        self, settled: Settled, front: Backend, tmp_path: Path
    ) -> None:
        sent = Message(Key("gate", "1"), "m1", encode(Event({"type": "GO", "code": "4711"})))
        front.queue.send([sent])
        file = tmp_path / "gate.jsonl"
        assert settled("set-aside", "gate", str(file)).status == 0
        assert "4711" not in file.read_text()
        assert settled("bring-back", str(file)).status == 0
        assert [each.message for each in front.queue.receive(10, machines={"gate"})] == [sent]

    def test_messages_that_were_set_aside_encoded_are_not_encoded_again(
        self, settled: Settled, front: Backend, tmp_path: Path
    ) -> None:
        sent = Message(Key("gate", "1"), "m1", encode(Event({"type": "GO", "code": "4711"})))
        front.queue.send([sent])
        file = tmp_path / "gate.jsonl"
        assert settled("set-aside", "gate", str(file)).status == 0
        assert settled("bring-back", str(file), *FIRST).status == 0
        assert [each.message for each in front.queue.receive(10, machines={"gate"})] == [sent]

    @pytest.mark.parametrize("codec", [(), OTHER], ids=["none", "another key"])
    def test_messages_of_an_instance_that_cannot_be_read_are_not_set_aside(
        self, settled: Settled, front: Backend, tmp_path: Path, codec: tuple[str, ...]
    ) -> None:
        Client(door, front).send("front", {"type": "UNLOCK", "code": "0042"})
        result = settled("set-aside", "door", str(tmp_path / "doors.jsonl"), *codec)
        assert result.out.startswith("0 messages")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nosuch", "'nosuch' does not name a codec. Give module:attribute"),
        ("tests.cli.codecs_of_tests:nosuch", "it has no attribute nosuch"),
        ("tests.cli.codecs_of_tests:key", "is not a codec but a bytes"),
    ],
)
def test_a_name_that_is_no_codec_is_a_usage_error(settled: Settled, backend: Backend, name: str, why: str) -> None:
    result = settled("list", "--codec", name)
    assert result.status == 2
    assert why in result.err
