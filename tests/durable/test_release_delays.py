"""Messages that nobody can process now come back: soon after a short outage, and seldom during a long one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers, sampled_from

from settled import AccessDeniedError, OutcomeUnknownError, RecordError, UnavailableError
from settled.durable.commands import ReleaseReason
from settled.durable.release_delays import MAX_DELAY, outage_of, receives_within, release_delay

DAY = 24 * 60 * 60.0
SQS_RETENTION, SQS_RECEIVES, MANY = 14 * DAY, 1000, 5000
SQS_LONGEST = 12 * 60 * 60.0 - 60.0

GROWING = (ReleaseReason.ERROR, ReleaseReason.OTHER_VERSION, ReleaseReason.CONFLICTS, ReleaseReason.BUSY)
ERRORS = (None, UnavailableError("no route"), OutcomeUnknownError("lost"), AccessDeniedError("no"), RecordError("odd"))

causes = sampled_from([(reason, error) for reason in (*GROWING, ReleaseReason.SUSPECT) for error in ERRORS])


@given(cause=causes)
def test_an_outage_as_long_as_the_retention_does_not_use_up_the_receives(
    cause: tuple[ReleaseReason, Exception | None],
) -> None:
    reason, error = cause
    time, receives = 0.0, 1
    while time <= SQS_RETENTION and receives < MANY:
        delay = min(release_delay(reason, receives, error), SQS_LONGEST)
        time, receives = time + delay, receives + 1
    assert receives < SQS_RECEIVES / 2


@given(cause=causes, attempts=integers(min_value=2, max_value=1000))
def test_a_wait_is_at_most_a_fifth_of_the_outage_or_a_few_seconds(
    cause: tuple[ReleaseReason, Exception | None], attempts: int
) -> None:
    reason, error = cause
    outage = sum(release_delay(reason, attempt, error) for attempt in range(1, attempts))
    assert release_delay(reason, attempts, error) <= max(outage / 5, 10.0)


@given(cause=causes, attempt=integers(min_value=1, max_value=10_000))
def test_no_wait_is_shorter_than_the_one_before_or_longer_than_an_hour(
    cause: tuple[ReleaseReason, Exception | None], attempt: int
) -> None:
    reason, error = cause
    assert 0 <= release_delay(reason, attempt, error) <= release_delay(reason, attempt + 1, error) <= MAX_DELAY


@pytest.mark.parametrize(
    ("reason", "error", "seconds"),
    [
        (ReleaseReason.ERROR, UnavailableError("no route"), 1.0),
        (ReleaseReason.ERROR, OutcomeUnknownError("lost"), 1.0),
        (ReleaseReason.ERROR, AccessDeniedError("no"), 5.0),
        (ReleaseReason.ERROR, RecordError("this host has no machine"), 5.0),
        (ReleaseReason.OTHER_VERSION, None, 1.0),
        (ReleaseReason.CONFLICTS, None, 1.0),
        (ReleaseReason.BUSY, None, 0.0),
        (ReleaseReason.STOPPING, None, 0.0),
    ],
)
def test_the_first_wait_is_as_long_as_its_cause_may_last_at_least(
    reason: ReleaseReason, error: Exception | None, seconds: float
) -> None:
    assert release_delay(reason, 1, error) == seconds


def test_a_host_without_a_free_thread_gives_messages_back_at_once_but_not_for_ever() -> None:
    delays = [release_delay(ReleaseReason.BUSY, attempt) for attempt in range(1, 24)]
    assert delays == [0.0] * 20 + [1.0, 1.1, pytest.approx(1.21)]


@given(seconds=floats(min_value=0, max_value=31 * DAY))
def test_the_receives_of_an_outage_and_the_outage_of_receives_belong_together(seconds: float) -> None:
    receives = receives_within(seconds)
    assert outage_of(receives) <= seconds < outage_of(receives + 1)
