"""The whole suite over the emulators, with few explorations.

``settled conformance tests.adapters.aws.harness:emulated`` makes more of them, and tells what it found.
"""

from __future__ import annotations

import pytest

from settled import Conflict
from settled_conformance import GUARANTEES, Session
from settled_conformance.case import settle
from tests.adapters.aws.harness import AwsHarness
from tests.adapters.aws.place import ADA, ids, message

SCHEDULES = 48
"""With so many, everything that a guarantee is about happens."""


@pytest.fixture(scope="module")
def session(harness: AwsHarness) -> Session:
    return Session(harness, SCHEDULES)


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_the_adapter_keeps(guarantee: str, session: Session) -> None:
    settle(session.verdict(guarantee))


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
        with pytest.raises(Conflict, match="the lease of 1 was lost"):
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
