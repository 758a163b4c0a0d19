"""``settled recover`` brings back what a queue has given up, and says what became of each message."""

from __future__ import annotations

import pytest

from settled import Key
from settled.durable import Backend, Message, Recovered
from settled_cli.commands import recover as command
from settled_runtime import LeftMessage, RecoveryReport
from tests.cli.conftest import Settled

FRONT, BACK = Key("door", "front"), Key("door", "back")


def test_a_queue_that_gives_nothing_up_has_nothing_to_recover(settled: Settled, backend: Backend) -> None:
    result = settled("recover")
    assert result.status == 1
    assert result.err == "settled: the queue of this backend gives up no message, and so has no dead-letter queue\n"


class TestTheReport:
    @pytest.fixture(autouse=True)
    def recovery(self, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> RecoveryReport:
        """What the recovery of a vendor's queue returns."""
        report = RecoveryReport(
            [
                Recovered(FRONT, ("1", "2"), ("0",), halted=False, overtaken=True),
                Recovered(BACK, ("3",), (), halted=True, overtaken=False),
            ],
            [Message(BACK, "t", "{}")],
        )

        def recovery(_backend: Backend) -> RecoveryReport:
            return report

        monkeypatch.setattr(command, "recover_dropped", recovery)
        return report

    def test_names_each_message(self, settled: Settled) -> None:
        result = settled("recover", "--json")
        assert result.status == 0
        assert [tuple(row.values()) for row in result.json] == [
            ("door/front", "1", "will be taken, perhaps after later messages"),
            ("door/front", "2", "will be taken, perhaps after later messages"),
            ("door/front", "0", "is known to the instance already"),
            ("door/back", "3", "waits with its halted instance"),
            ("door/back", "t", "was sent again"),
        ]

    def test_is_a_table_without_json(self, settled: Settled) -> None:
        titles, _, *rows = settled("recover").out.splitlines()
        assert titles.split() == ["key", "id", "result"]
        assert len(rows) == 5

    def test_fails_if_a_message_stays(self, settled: Settled, recovery: RecoveryReport) -> None:
        recovery.left.append(LeftMessage("dead.fifo", "hello", "is not settled's"))
        result = settled("recover", "--json")
        assert (result.status, result.err) == (1, "settled: 1 message stays\n")
        assert result.json[-1]["result"] == "stays in dead.fifo: hello (is not settled's)"
