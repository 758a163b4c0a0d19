"""The whole conformance suite over the emulators, with few schedules.

``settled conformance tests.adapters.aws.harness:emulated`` explores more, and prints what it finds.
"""

from __future__ import annotations

import pytest

from settled import ConflictError
from settled_conformance import GUARANTEES, Session
from settled_conformance.case import settle
from settled_conformance.checks import Check, checks_of
from settled_conformance.environment import Environment
from settled_conformance.fixture import BackendFixture, GuaranteeBrokenError
from tests.adapters.aws.harness import AwsHarness
from tests.support.builders import ADA, BEN, CEM, ids, message

SCHEDULES = 48
"""Enough that each guarantee is exercised."""


@pytest.fixture(scope="module")
def session(harness: AwsHarness) -> Session:
    return Session(harness, SCHEDULES)


CHECKED = [id for id, each in GUARANTEES.items() if each.needs is None or each.needs in AwsHarness.capabilities]


@pytest.mark.parametrize("guarantee", CHECKED)
def test_the_adapter_keeps(guarantee: str, session: Session) -> None:
    settle(session.verdict(guarantee))


class TestIndependenceOfKeys:
    """F6 fails by ministack's choice of the next group. These tests cover the rest of F6."""

    def test_only_the_two_checks_of_that_choice_fail(self, harness: AwsHarness) -> None:
        broken = {check.name for check in checks_of("F6") if not holds(check, harness)}
        assert broken == {"a failing key does not hold up another", "a long backlog does not starve the others"}

    def test_a_failing_key_with_a_delay_does_not_block_another(self, harness: AwsHarness) -> None:
        aws, received = harness.fresh(), list[str]()
        aws.queue.send([message(ADA, "fails"), message(BEN, "1"), message(CEM, "2")])
        for _ in range(3):
            (delivery,) = aws.queue.receive(1)
            received.append(delivery.message.id)
            if delivery.message.key == ADA:
                aws.queue.release([delivery], 1.0)
            else:
                aws.queue.ack([delivery])
        assert received == ["fails", "1", "2"]

    def test_a_long_backlog_delays_only_later_messages(self, harness: AwsHarness) -> None:
        aws = harness.fresh()
        aws.queue.send([message(ADA, f"{number}") for number in range(12)])
        aws.queue.send([message(BEN, "x")])
        aws.queue.send([message(ADA, f"{number}") for number in range(12, 30)])
        aws.queue.ack(aws.queue.receive(10))
        assert "x" in ids(aws.queue.receive(10))


def holds(check: Check, harness: AwsHarness) -> bool:
    fixture = BackendFixture(Environment.fresh(harness))
    try:
        check.check(fixture)
    except GuaranteeBrokenError:
        return False
    return not fixture.environment.violations


class TestTheClockOfTheEmulator:
    """The tests above rely on it."""

    def test_a_lease_lasts_as_long_as_the_clock_says(self, harness: AwsHarness) -> None:
        aws = harness.fresh()
        aws.queue.send([message(ADA, "1")])
        aws.queue.receive(1)
        harness.advance(aws.lease.total_seconds() - 1)
        assert aws.queue.receive(1) == []
        harness.advance(1)
        assert ids(aws.queue.receive(1)) == ["1"]

    def test_a_receipt_is_valid_for_as_long_as_its_lease(self, harness: AwsHarness) -> None:
        aws = harness.fresh()
        aws.queue.send([message(ADA, "1")])
        held = aws.queue.receive(1)
        harness.advance(aws.lease.total_seconds())
        aws.queue.ack(held)
        with pytest.raises(ConflictError, match="the lease of 1 was lost"):
            aws.queue.extend(held, aws.lease.total_seconds())
        assert ids(aws.queue.receive(1)) == ["1"]

    def test_sqs_deduplicates_an_id_for_five_minutes(self, harness: AwsHarness) -> None:
        aws = harness.fresh()
        for seconds, expected in ((0, ["1"]), (299, []), (1, ["1"])):
            harness.advance(seconds)
            aws.queue.send([message(ADA, "1")])
            held = aws.queue.receive(1)
            assert ids(held) == expected
            aws.queue.ack(held)


def test_another_process_opens_the_same_backend(harness: AwsHarness) -> None:
    harness.fresh().queue.send([message(ADA, "1")])
    opener = harness.opener()
    with pytest.MonkeyPatch.context() as patch:
        for name in harness.environment:
            patch.setenv(name, "")  # restores what the opener sets
        opened = opener()
        assert ids(opened.queue.receive(1)) == ["1"]
    opened.close()
