"""``settled backlog``, ``set-aside`` and ``bring-back``: what no worker takes is counted, and can be moved away."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from settled import Key
from settled.durable import Backend, Event, Message, encode
from settled_cli.errors import CommandError
from settled_cli.set_aside import set_aside
from settled_local import MemoryBackend
from settled_runtime import CompositeBackend, connect
from tests.cli.conftest import Settled

OLD, OTHER = Key("old", "1"), Key("old", "2")


def message(id: str, key: Key = OLD) -> Message:
    return Message(key, id, encode(Event({"type": "GO", "text": "\ud800 é"})))


def waiting(backend: Backend) -> dict[str, int]:
    return {each.machine: each.messages for each in backend.queue.backlog()}


def drained(backend: Backend, machine: str = "old") -> list[str]:
    """The ids of the messages of `machine`, in the order of their delivery."""
    ids: list[str] = []
    while deliveries := backend.queue.receive(10, machines={machine}):
        ids += [each.message.id for each in deliveries]
        backend.queue.ack(deliveries)
    return ids


def test_the_backlog_of_each_machine_is_counted(settled: Settled, backend: Backend) -> None:
    assert settled("backlog").out == "none\n"
    backend.queue.send([message("1"), message("2"), message("x", Key("new", "1"))])
    found = settled("backlog", "--json").json
    assert [(each["machine"], each["messages"]) for each in found] == [("new", 1), ("old", 2)]
    assert found[0]["oldest"].startswith("20")
    assert "old" in settled("backlog").out


def test_messages_are_moved_to_a_file_and_back_in_their_order(
    settled: Settled, backend: Backend, tmp_path: Path
) -> None:
    backend.queue.send([message("1"), message("2"), message("a", OTHER), message("x", Key("new", "1"))])
    file = tmp_path / "old.jsonl"
    assert settled("set-aside", "old", str(file)).out == f"3 messages set aside in {file}\n"
    assert waiting(backend) == {"new": 1}
    assert len(file.read_text().splitlines()) == 3
    # What is sent meanwhile must not overtake them.
    backend.queue.send([message("3")])
    assert settled("bring-back", str(file)).out == "4 messages sent\n"
    assert [id for id in drained(backend) if id != "a"] == ["1", "2", "3"]


def test_a_message_keeps_its_headers(settled: Settled, backend: Backend, tmp_path: Path) -> None:
    headers = {"traceparent": "00-1"}
    backend.queue.send([Message(OLD, "1", "{}", headers)])
    file = str(tmp_path / "old.jsonl")
    settled("set-aside", "old", file)
    settled("bring-back", file)
    assert [each.message.headers for each in backend.queue.receive(10, machines={"old"})] == [headers]


def test_bringing_back_is_safe_to_repeat(settled: Settled, backend: Backend, tmp_path: Path) -> None:
    backend.queue.send([message("1"), message("2")])
    file = str(tmp_path / "old.jsonl")
    settled("set-aside", "old", file)
    settled("bring-back", file)
    backend.queue.send([message("3")])
    settled("bring-back", file)
    assert drained(backend) == ["1", "2", "3"]


def test_a_message_leaves_the_queue_only_when_it_is_on_the_disk(
    settled: Settled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash before that loses none, and one after it repeats none."""
    url, file = f"sqlite:///{tmp_path}/crash.db?lease=0.2", tmp_path / "old.jsonl"
    with closing(connect(url)) as backend:
        backend.queue.send([message("1"), message("2")])

        def crash(_file: int) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", crash)
            assert settled("set-aside", "old", str(file), "--backend", url).status == 130
        time.sleep(0.3)
        assert waiting(backend) == {"old": 2}
        assert settled("bring-back", str(file), "--backend", url).status == 0
        assert drained(backend) == ["1", "2"]


def test_what_a_worker_holds_stays_in_the_queue(settled: Settled, backend: Backend, tmp_path: Path) -> None:
    backend.queue.send([message("1"), message("2"), message("a", OTHER)])
    held = backend.queue.receive(1)
    assert settled("set-aside", "old", str(tmp_path / "f")).out.startswith("1 message ")
    backend.queue.release(held)
    assert drained(backend) == ["1", "2"]


def test_a_backend_that_cannot_select_is_refused(tmp_path: Path) -> None:
    parts = MemoryBackend()
    parts.queue.send([message("1"), message("x", Key("new", "1"))])
    backend = CompositeBackend(parts.store, parts.queue, parts.timers)
    with pytest.raises(CommandError, match="does not declare selective-receive"):
        set_aside(backend, "old", tmp_path / "f")


def test_another_file_is_refused(settled: Settled, backend: Backend, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text('{"key": "old/1"}\n')
    refused = settled("bring-back", str(file))
    assert refused.status == 1
    assert "line 1: is no message that was set aside" in refused.err
    assert settled("bring-back", str(tmp_path / "nothing")).status == 2


def test_the_doctor_reports_what_waits_longer_than_a_lease(settled: Settled, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/doctor.db?lease=0.1"
    with closing(connect(url)) as backend:
        backend.queue.send([message("1")])
    time.sleep(0.2)
    found = settled("doctor", url)
    assert found.status == 1
    assert found.out.startswith("old: messages wait (1): for 0 s")
    assert "settled set-aside old FILE" in found.out
