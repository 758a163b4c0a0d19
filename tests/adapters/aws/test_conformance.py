"""The whole suite over the emulators, with few explorations.

``settled conformance tests.adapters.aws.harness:emulated`` makes more of them, and tells what it found.
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
"""With so many, everything that a guarantee is about happens."""


@pytest.fixture(scope="module")
def session(harness: AwsHarness) -> Session:
    return Session(harness, SCHEDULES)


HELD_TO = [id for id, each in GUARANTEES.items() if each.needs is None or each.needs in AwsHarness.capabilities]


@pytest.mark.parametrize("guarantee", HELD_TO)
def test_the_adapter_keeps(guarantee: str, session: Session) -> None:
    settle(session.verdict(guarantee))


class TestOneKeyBesideAnother:
    """F6 is known to be broken, by ministack's choice of who is next. What of it is not its choice is kept."""

    def test_it_is_the_choice_that_is_broken_and_nothing_else(self, harness: AwsHarness) -> None:
        broken = {proof.name for proof in checks_of("F6") if not holds(proof, harness)}
        assert broken == {"a failing key does not hold up another", "a long backlog does not starve the others"}

    def test_a_failing_key_that_makes_a_pause_does_not_hold_up_another(self, harness: AwsHarness) -> None:
        aws, heard = harness.fresh(), list[str]()
        aws.queue.send([message(ADA, "fails"), message(BEN, "1"), message(CEM, "2")])
        for _ in range(3):
            (delivery,) = aws.queue.receive(1)
            heard.append(delivery.message.id)
            if delivery.message.key == ADA:
                aws.queue.release([delivery], 1.0)
            else:
                aws.queue.ack([delivery])
        assert heard == ["fails", "1", "2"]

    def test_a_long_backlog_holds_up_only_what_is_younger(self, harness: AwsHarness) -> None:
        aws = harness.fresh()
        aws.queue.send([message(ADA, f"{number}") for number in range(12)])
        aws.queue.send([message(BEN, "x")])
        aws.queue.send([message(ADA, f"{number}") for number in range(12, 30)])
        aws.queue.ack(aws.queue.receive(10))
        assert "x" in ids(aws.queue.receive(10))


def holds(proof: Check, harness: AwsHarness) -> bool:
    fixture = BackendFixture(Environment.fresh(harness))
    try:
        proof.check(fixture)
    except GuaranteeBrokenError:
        return False
    return not fixture.environment.violations


class TestTheClockOfTheEmulator:
    """What all of that rests on."""

    def test_a_lease_lasts_as_long_as_the_clock_says(self, harness: AwsHarness) -> None:
        aws = harness.fresh()
        aws.queue.send([message(ADA, "1")])
        aws.queue.receive(1)
        harness.advance(aws.lease - 1)
        assert aws.queue.receive(1) == []
        harness.advance(1)
        assert ids(aws.queue.receive(1)) == ["1"]

    def test_a_receipt_is_good_for_as_long_as_its_lease(self, harness: AwsHarness) -> None:
        aws = harness.fresh()
        aws.queue.send([message(ADA, "1")])
        held = aws.queue.receive(1)
        harness.advance(aws.lease)
        aws.queue.ack(held)
        with pytest.raises(ConflictError, match="the lease of 1 was lost"):
            aws.queue.extend(held, aws.lease)
        assert ids(aws.queue.receive(1)) == ["1"]

    def test_sqs_remembers_an_id_for_five_minutes(self, harness: AwsHarness) -> None:
        aws = harness.fresh()
        for seconds, found in ((0, ["1"]), (299, []), (1, ["1"])):
            harness.advance(seconds)
            aws.queue.send([message(ADA, "1")])
            held = aws.queue.receive(1)
            assert ids(held) == found
            aws.queue.ack(held)


def test_another_process_opens_the_same_place(harness: AwsHarness) -> None:
    harness.fresh().queue.send([message(ADA, "1")])
    opener = harness.opener()
    with pytest.MonkeyPatch.context() as patch:
        for name in harness.environment:
            patch.setenv(name, "")  # what the opener sets is taken back after the test
        opened = opener()
        assert ids(opened.queue.receive(1)) == ["1"]
    opened.close()
