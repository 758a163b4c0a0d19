"""``settled wake`` sends again what instances have waited for in vain."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from settled import Key, setup
from settled.durable import Backend
from settled_runtime import Host
from tests.cli.conftest import Settled

flash = setup().machine(
    {
        "id": "flash",
        "initial": "bright",
        "states": {"bright": {"tags": ["settled"], "after": {"10": "dark"}}, "dark": {"type": "final"}},
    }
)
FIRST = Key("flash", "first")


@pytest.fixture(autouse=True)
def host(settled: Settled, backend: Backend) -> Iterator[Host]:
    """A host that has taken the start of an instance with a delay of 10 ms, which is over."""
    settled("start", str(FIRST))
    with Host([flash], backend) as host:
        host.handle(backend.queue.receive(10))
        time.sleep(0.02)
        yield host


def test_overdue_timers_fire_and_are_listed(settled: Settled, backend: Backend, host: Host) -> None:
    (row,) = settled("wake", "--older-than", "0", "--json").json
    assert (row["key"], row["what"]) == ("flash/first", "the timer xstate.after.10.flash.bright")
    assert row["since"].endswith("Z")
    host.handle(backend.queue.receive(10))
    assert settled("get", str(FIRST), "--json").json["status"] == "done"
    assert settled("wake", "--older-than", "0", "--json").json == []


def test_without_json_it_is_a_table(settled: Settled) -> None:
    titles, _, row = settled("wake", "--older-than", "0").out.splitlines()
    assert titles.split() == ["key", "what", "since"]
    assert row.startswith("flash/first")


def test_what_is_overdue_for_less_than_an_hour_may_come_by_itself(settled: Settled) -> None:
    assert settled("wake").out == "none\n"


def test_a_record_that_cannot_be_read_is_an_error_but_the_others_are_woken(settled: Settled, backend: Backend) -> None:
    stored = backend.store.load(FIRST)
    assert stored is not None
    backend.store.commit(Key("flash", "damaged"), type(stored)(1, "{}", stored.index), 0)
    result = settled("wake", "--older-than", "0", "--json")
    assert (result.status, [row["key"] for row in result.json]) == (1, ["flash/first"])
    assert "flash/damaged: the stored text is not a record of settled" in result.err
    assert "1 of 2 instances could not be read" in result.err
