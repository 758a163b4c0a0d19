"""``settled dead-letters`` lists dead letters; ``settled redrive`` has them processed again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from settled import Key
from settled.durable import Backend, Message
from settled_runtime import Host
from tests.cli.conftest import Settled
from tests.cli.door_machine import door

DOOR = "tests.cli.door_machine:door"


@pytest.fixture(autouse=True)
def invalid_events(settled: Settled, work: Callable[[], None]) -> None:
    """Two doors, and an invalid event for each."""
    for instance in ("back", "front"):
        settled("start", f"door/{instance}")
        settled("send", f"door/{instance}", "UNLOCK", "--id", f"bad-{instance}")
    work()


def test_all_instances_are_searched_without_a_key(settled: Settled) -> None:
    rows = settled("dead-letters", "--json").json
    assert [(row["key"], row["id"]) for row in rows] == [("door/back", "bad-back"), ("door/front", "bad-front")]


def test_a_key_lists_those_of_one_instance(settled: Settled) -> None:
    (row,) = settled("dead-letters", "door/front", "--json").json
    assert row["message"] == {"kind": "event", "event": {"type": "UNLOCK"}}
    assert row["reason"] == "UNLOCK: required field missing @ event.code"
    assert row["at"].endswith("Z")


def test_without_json_it_is_a_table(settled: Settled) -> None:
    titles, _, row = settled("dead-letters", "door/front").out.splitlines()
    assert titles.split() == ["key", "id", "message", "reason", "detail", "at"]
    assert row.split()[:2] == ["door/front", "bad-front"]


def test_a_body_that_is_not_json_is_shown_as_text(settled: Settled, backend: Backend, work: Callable[[], None]) -> None:
    backend.queue.send([Message(Key("door", "front"), "odd", "hello?")])
    work()
    assert settled("dead-letters", "door/front", "--json").json[-1]["message"] == "hello?"


def test_an_instance_is_redriven(settled: Settled, work: Callable[[], None]) -> None:
    result = settled("redrive", "door/front", "--machine", DOOR)
    assert (result.status, result.out) == (0, "door/front: 1 dead letter will be redriven\n")
    work()
    assert settled("dead-letters", "door/front").status == 0


def test_a_redrive_reports_the_count_as_json(settled: Settled) -> None:
    result = settled("redrive", "door/front", "--machine", DOOR, "--json")
    assert result.json == {"key": "door/front", "redriven": 1}


def test_the_machine_is_found_in_the_working_directory(settled: Settled, tmp_path: Path) -> None:
    (tmp_path / "machine.py").write_text("from tests.cli.door_machine import doors as machine\n")
    assert settled("redrive", "door/front").status == 0


def test_the_machine_is_found_by_the_environment(settled: Settled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETTLED_MACHINE", DOOR)
    assert settled("redrive", "door/front").status == 0


def test_a_redrive_without_dead_letters_succeeds(settled: Settled, backend: Backend, work: Callable[[], None]) -> None:
    settled("start", "door/side")
    work()
    result = settled("redrive", "door/side", "--machine", DOOR)
    assert (result.status, result.out) == (0, "door/side: 0 dead letters will be redriven\n")


def test_more_instances_than_one_page_are_searched(settled: Settled, backend: Backend) -> None:
    host = Host([door], backend)
    for number in range(120):
        backend.queue.send([Message(Key("door", f"n{number:03}"), f"odd-{number}", "?")])
    while deliveries := backend.queue.receive(100):
        host.handle(deliveries)
    host.close()
    assert len(settled("dead-letters", "--json").json) == 122
