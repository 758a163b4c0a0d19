"""``settled backup``, ``restore`` and ``new-epoch``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from settled.durable import Backend
from settled.errors import BackendReplacedError
from settled_runtime import Client, connect
from tests.cli.conftest import Settled
from tests.cli.door_machine import door


def value_of(backend: Backend) -> object:
    snapshot = Client(door, backend).get("front")
    return None if snapshot is None else snapshot.value


@pytest.mark.parametrize("given", ["doors.db", "sqlite:///doors.db?lease=5"])
def test_a_file_is_backed_up_while_it_is_in_use_and_restored(
    settled: Settled, backend: Backend, work: Callable[[], None], given: str
) -> None:
    settled("start", "door/front")
    work()
    assert settled("backup", given, "copy.db").out.startswith("copy.db: a whole copy, as of this moment. To use it: ")
    settled("send", "door/front", "UNLOCK", "code=0042")
    work()
    assert value_of(backend) == "open"
    done = settled("restore", "copy.db", "restored.db")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("restored.db: restored from copy.db. What happened after the backup is gone")
    with closing(connect("sqlite:///restored.db")) as restored:
        assert value_of(restored) == "shut"


def test_nothing_is_overwritten(settled: Settled, backend: Backend, tmp_path: Path) -> None:
    settled("start", "door/front")
    settled("backup", "doors.db", "copy.db")
    before = (tmp_path / "copy.db").read_bytes()
    for words in (("backup", "doors.db", "copy.db"), ("restore", "copy.db", "doors.db")):
        refused = settled(*words)
        assert refused.status == 2
        assert "exists, and is not overwritten" in refused.err
    assert (tmp_path / "copy.db").read_bytes() == before


def test_a_command_fails_on_a_file_that_was_replaced(settled: Settled, backend: Backend, tmp_path: Path) -> None:
    settled("backup", "doors.db", "copy.db")
    for each in tmp_path.glob("doors.db*"):
        each.rename(tmp_path / f"old-{each.name}")
    settled("restore", "copy.db", "doors.db")
    with pytest.raises(BackendReplacedError):
        Client(door, backend).start("front")
    assert settled("start", "door/front").status == 0


def test_a_file_gets_a_new_epoch(settled: Settled, backend: Backend) -> None:
    def epoch(id: str) -> str:
        settled("start", "door/front", "--id", id)
        with closing(connect("sqlite:///doors.db")) as opened:
            (delivery,) = opened.queue.receive(1)
            opened.queue.ack([delivery])
        assert delivery.position is not None
        return delivery.position.epoch

    first = epoch("1")
    assert epoch("2") == first
    assert settled("new-epoch", "doors.db").out.startswith("the queue has a new epoch")
    assert epoch("3") != first


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("backup", "aws://eu-central-1/doors", "x"), "settled has no tools for this, only for redis://"),
        (("restore", "x", "gcp://doors/doors"), "settled has no tools for this"),
        (("new-epoch", "memory://"), "settled has no tools for this"),
        (("new-epoch", "nowhere.db"), "nowhere.db: it must be a file"),
        (("restore", "nowhere.db", "new.db"), "nowhere.db: it must be a file"),
    ],
)
def test_what_cannot_be_done_is_one_line(settled: Settled, words: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    refused = settled(*words)
    assert refused.status == 2
    assert reason in refused.err
    assert refused.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
