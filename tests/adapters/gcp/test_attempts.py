"""Without a dead-letter policy Pub/Sub does not count deliveries, so they are estimated by the age of a message."""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import floats

from settled import AccessDeniedError, Policy, UnavailableError
from settled.durable.commands import ReleaseReason
from settled.durable.release_delays import release_delay
from settled_gcp.attempts import estimated_attempt

RETENTION = 31 * 24 * 60 * 60.0

ages, leases = floats(min_value=-60.0, max_value=RETENTION), floats(min_value=10.0, max_value=600.0)


@given(age=ages, lease=leases)
def test_after_two_leases_a_message_may_have_cost_as_many_workers_as_are_watched_for(age: float, lease: float) -> None:
    is_watched = estimated_attempt(age, lease) > Policy().receives_before_watch
    assert is_watched == (age >= 2 * lease)


@given(age=floats(min_value=60.0, max_value=RETENTION), lease=leases)
def test_the_next_wait_of_an_outage_is_no_more_than_a_fifth_of_its_length(age: float, lease: float) -> None:
    attempt = estimated_attempt(age, lease)
    for error in (UnavailableError("no route"), AccessDeniedError("no")):
        assert release_delay(ReleaseReason.ERROR, attempt, error) <= age / 5


@given(age=ages, more=floats(min_value=0, max_value=1000.0), lease=leases)
def test_it_never_decreases(age: float, more: float, lease: float) -> None:
    assert 1 <= estimated_attempt(age, lease) <= estimated_attempt(age + more, lease)
