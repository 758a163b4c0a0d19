"""``settled backlog``, ``set-aside`` and ``bring-back``: what no worker takes is counted, and can be moved away."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest

from settled import ActionArgs, Key, setup
from settled.durable import Backend, Event, Message, encode
from settled_cli.errors import CommandError
from settled_cli.set_aside import set_aside
from settled_local import MemoryBackend
from settled_runtime import Client, CompositeBackend, Host, connect
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


def test_a_new_file_is_private_and_one_that_exists_keeps_its_mode(
    settled: Settled, backend: Backend, tmp_path: Path
) -> None:
    new, old = tmp_path / "new.jsonl", tmp_path / "old.jsonl"
    old.touch()
    old.chmod(0o644)
    for file in (new, old):
        backend.queue.send([message(file.name)])
        assert settled("set-aside", "old", str(file)).status == 0
    assert [oct(S_IMODE(file.stat().st_mode)) for file in (new, old)] == ["0o600", "0o644"]


def test_a_message_keeps_its_headers(settled: Settled, backend: Backend, tmp_path: Path) -> None:
    headers = {"traceparent": "00-1"}
    backend.queue.send([Message(OLD, "1", "{}", headers)])
    file = str(tmp_path / "old.jsonl")
    settled("set-aside", "old", file)
    settled("bring-back", file)
    assert [each.message.headers for each in backend.queue.receive(10, machines={"old"})] == [headers]


def test_what_was_brought_back_is_not_brought_back_again(settled: Settled, backend: Backend, tmp_path: Path) -> None:
    backend.queue.send([message("1"), message("2")])
    file = tmp_path / "old.jsonl"
    for number in ("", "2"):
        settled("set-aside", "old", str(file))
        settled("bring-back", str(file))
        assert not file.exists()
        assert (tmp_path / f"old.jsonl.sent{number}").exists()
    assert drained(backend) == ["1", "2"]
    assert settled("bring-back", str(file)).status == 2


def test_bringing_back_goes_on_after_a_crash(
    settled: Settled, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.queue.send([message("1"), message("2")])
    file = tmp_path / "old.jsonl"
    settled("set-aside", "old", str(file))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crash)
        assert settled("bring-back", str(file)).status == 130
    backend.queue.send([message("3")])
    settled("bring-back", str(file))
    assert drained(backend) == ["1", "2", "3"]


def test_half_a_line_of_a_crash_is_cut_off(settled: Settled, backend: Backend, tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl"
    file.write_text('{"key": "old/1", "id": "0", "bo')
    backend.queue.send([message("1")])
    settled("set-aside", "old", str(file))
    assert settled("bring-back", str(file)).out == "1 message sent\n"


def test_an_id_with_two_bodies_is_reported_and_nothing_is_sent(
    settled: Settled, backend: Backend, tmp_path: Path
) -> None:
    file = tmp_path / "old.jsonl"
    backend.queue.send([Message(OLD, "1", "{}")])
    settled("set-aside", "old", str(file))
    backend.queue.send([Message(OLD, "1", "[]")])
    refused = settled("bring-back", str(file))
    assert refused.status == 1
    assert "line 2: the id '1' of old/1 has another body in an earlier line" in refused.err
    assert len(file.read_text().splitlines()) == 2


def test_an_instance_that_has_begun_a_message_keeps_all_of_them(
    settled: Settled, backend: Backend, tmp_path: Path
) -> None:
    """Its record relies on the queue: the action would be lost, or the turn never go on."""
    done: list[int] = []

    def report(a: ActionArgs[Any]) -> None:
        if not done and a.event["n"] == 1 and a.call.fence:
            done.append(0)
            raise ConnectionError("the printer is off")
        done.append(a.event["n"])

    machine = setup(actions={"report": report}).machine(
        {"id": "old", "initial": "on", "states": {"on": {"tags": ["settled"], "on": {"TELL": {"actions": "report"}}}}}
    )
    client = Client(machine, backend)
    client.start("1")
    with Host([machine], backend, observers=()) as host:
        host.handle(backend.queue.receive(1))
        client.send("1", {"type": "TELL", "n": 1})
        host.handle(backend.queue.receive(1))  # taken; its action fails, and is retried after a second
        client.send("1", {"type": "TELL", "n": 2})
        time.sleep(1.1)
        assert settled("set-aside", "old", str(tmp_path / "f")).out.startswith("0 messages ")


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


@pytest.mark.parametrize(
    "line", ['{"key": "old/1"}', '{"key": "old/1", "id": 5, "body": "{}"}', '{"key": "old/1", "id": "a", "body": 5}']
)
def test_another_file_is_refused(line: str, settled: Settled, backend: Backend, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text(f"{line}\n")
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
