"""The time by AWS's clock, from the dates of its responses, independent of this machine's clock."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import pytest
from attrs import evolve
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis.strategies import builds, floats, lists

from settled import AccessDeniedError, UnavailableError
from settled_aws import Addresses, AwsUrl, DynamoDBStore, anyone, http_handler, lambda_handler
from settled_aws.clock import MAX_DRIFT, RESOLUTION, AwsClock, observed_by
from settled_runtime import CompositeBackend, Host
from tests.adapters.aws.fixtures import Cloud, Unhurried, backend, client
from tests.adapters.aws.test_timers import waited_for
from tests.support.builders import ADA, message, stored, timer
from tests.support.traced_machine import MACHINE

NOON = 1_800_000_000.0


def dated(at: float) -> dict[str, Any]:
    """Return a response of the time `at`."""
    return {"ResponseMetadata": {"HTTPHeaders": {"date": formatdate(at, usegmt=True)}}}


class Ticking:
    """An `AwsClock` whose requests get `answers`, counted in `asked`, and whose monotonic clock stands at `ticks`."""

    def __init__(self, *answers: Any) -> None:
        self.ticks, self.asked, self._answers = 0.0, 0, list(answers)
        self.clock = AwsClock(self._ask, lambda: self.ticks)

    def record(self, answer: Mapping[str, Any]) -> None:
        self.clock.begin_request()(answer)

    def _ask(self) -> None:
        self.asked += 1
        time.sleep(0.01)  # the other threads wait meanwhile
        record, answer = self.clock.begin_request(), self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        record(answer)


class TestTheTime:
    def test_it_is_the_date_of_a_response_plus_the_time_since(self) -> None:
        at = Ticking()
        at.record(dated(NOON))
        assert at.clock() == NOON
        at.ticks += 100.0
        assert at.clock() == pytest.approx(NOON + 100.0, abs=100 * MAX_DRIFT + 1e-6)
        assert at.clock() < NOON + 100.0
        assert at.asked == 0

    def test_of_several_responses_the_latest_bound_counts(self) -> None:
        at = Ticking()
        for passed, date, found in ((0.0, 0, 0.0), (0.75, 0, 0.75), (0.25, 2, 2.0), (0.5, 1, 2.5), (0.5, 3, 3.0)):
            at.ticks += passed
            at.record(dated(NOON + date))
            assert at.clock() == pytest.approx(NOON + found, abs=1e-3)

    @pytest.mark.parametrize(
        "answer", [{}, {"ResponseMetadata": {}}, {"ResponseMetadata": {"HTTPHeaders": {"date": "?"}}}]
    )
    def test_a_response_without_a_date_is_ignored(self, answer: Mapping[str, Any]) -> None:
        at = Ticking()
        at.record(dated(NOON))
        at.record(answer)
        assert at.clock() == NOON

    @given(
        trips=lists(builds(lambda *trip: trip, *[floats(0.0, 3.0)] * 3), min_size=1, max_size=8),
        fast=floats(1 - MAX_DRIFT, 1 + MAX_DRIFT / 2),
        start=floats(0.0, 1.0),
    )
    def test_it_is_never_ahead_and_behind_by_less_than_the_resolution_and_the_latency(
        self, trips: list[tuple[float, float, float]], fast: float, start: float
    ) -> None:
        at, now = Ticking(), NOON + start
        for idle, there, back in trips:
            now += idle + there
            answer = dated(now)
            now += back
            at.ticks = (now - NOON) * fast
            at.record(answer)
            assert now - RESOLUTION.total_seconds() - back - 1e-3 <= at.clock() <= now + 1e-6

    def test_it_does_not_go_back(self) -> None:
        at, before = Ticking(), 0.0
        for passed, date in ((0.0, 10), (0.5, 9), (0.5, 12), (3600.0, 11), (0.1, 3612)):
            at.ticks += passed
            at.record(dated(NOON + date))
            assert at.clock() >= before
            before = at.clock()


class TestAsking:
    def test_without_any_response_concurrent_callers_share_one_request(self) -> None:
        at = Ticking(dated(NOON))
        with ThreadPoolExecutor(8) as pool:
            assert {result.result() for result in [pool.submit(at.clock) for _ in range(8)]} == {NOON}
        assert at.asked == 1

    def test_after_forget_a_request_is_made(self) -> None:
        at = Ticking(dated(NOON + 7200))
        at.record(dated(NOON))
        at.clock.forget()
        assert at.clock() == NOON + 7200
        assert at.asked == 1

    def test_a_response_to_a_request_from_before_forget_is_ignored(self) -> None:
        """It may have waited in a socket for as long as the process was frozen."""
        at = Ticking(dated(NOON + 7200))
        late = at.clock.begin_request()
        at.clock.forget()
        late(dated(NOON))
        assert at.clock() == NOON + 7200

    def test_an_error_response_has_a_date_too(self) -> None:
        class Refusing:
            def get_item(self, **_: Any) -> Any:
                answer: Any = {"Error": {"Code": "AccessDeniedException"}, **dated(NOON)}
                raise ClientError(answer, "GetItem")

        clock = AwsClock(lambda: DynamoDBStore(observed_by(Refusing(), clock), "t").ping(), lambda: 0.0)
        assert clock() == NOON

    @pytest.mark.parametrize("error", [UnavailableError("no answer"), AccessDeniedError("no credentials")])
    def test_if_the_request_fails_so_does_the_call_and_the_next_one_asks_again(self, error: Exception) -> None:
        at = Ticking(error, dated(NOON))
        with pytest.raises(type(error)):
            at.clock()
        assert at.clock() == NOON

    def test_if_responses_have_no_date_this_machines_clock_is_used(self) -> None:
        assert time.time() - 60 < Ticking({}).clock() <= time.time()


class TestTheBackend:
    """In an account whose clock is an hour ahead of or behind this machine's."""

    @pytest.mark.parametrize("call", ["load", "receive", "send"])
    def test_each_response_sets_it(
        self, shifted: CompositeBackend, off: float, call: str, counted: Counter[str]
    ) -> None:
        calls: dict[str, Callable[[], object]] = {
            "load": lambda: shifted.store.load(ADA),
            "receive": lambda: shifted.queue.receive(1),
            "send": lambda: shifted.queue.send([message(ADA, "1")]),
        }
        calls[call]()
        before = counted.copy()
        assert is_about(shifted.now(), time.time() + off)
        assert counted == before
        assert shifted.resolution == RESOLUTION

    def test_a_short_wait_has_its_length(self, shifted: CompositeBackend) -> None:
        started = time.time()
        shifted.timers.schedule(timer("t", shifted.now() + RESOLUTION.total_seconds() + 1.5))
        assert waited_for(shifted, 10.0) == ["t"]
        assert 1.5 < time.time() - started < 9.0

    def test_a_wait_of_14_minutes_needs_no_schedule(self, cloud: Cloud, url: AwsUrl, shifted: CompositeBackend) -> None:
        shifted.timers.schedule(timer("a", shifted.now() + 14 * 60))
        shifted.timers.schedule(timer("b", shifted.now() + 16 * 60))
        assert len(cloud.scheduler.list_schedules(GroupName=url.schedules)["Schedules"]) == 1

    def test_the_end_of_a_lease_is_by_the_clock_of_the_queue(self, shifted: CompositeBackend, off: float) -> None:
        shifted.queue.send([message(ADA, "1")])
        (held,) = shifted.queue.receive(1)
        assert is_about(held.lease_until - shifted.lease.total_seconds(), time.time() + off)

    def test_expiry_is_by_the_clock_of_the_table(
        self, cloud: Cloud, url: AwsUrl, shifted: CompositeBackend, off: float
    ) -> None:
        shifted.store.commit(ADA, stored(1, status="done"), 0)
        (item,) = cloud.dynamodb.scan(TableName=url.table)["Items"]
        assert abs(int(item["expires"]["N"]) - KEEP_FINISHED.total_seconds() - (time.time() + off)) < 5.0

    @pytest.fixture(params=[-3600.0, 3600.0])
    def off(self, request: pytest.FixtureRequest) -> float:
        return float(request.param)

    @pytest.fixture
    def counted(self) -> Counter[str]:
        return Counter()

    @pytest.fixture
    def shifted(
        self, cloud: Cloud, url: AwsUrl, addresses: Addresses, off: float, counted: Counter[str]
    ) -> CompositeBackend:
        cloud = cloud.watched(lambda name: counted.update([name]))
        services = evolve(cloud, dynamodb=Shifted(cloud.dynamodb, off), sqs=Shifted(cloud.sqs, off))
        return backend(services, evolve(url, keep_finished=KEEP_FINISHED), addresses)


class TestTheClockOfABackend:
    def test_without_any_response_one_request_is_made(self, cloud: Cloud, url: AwsUrl, addresses: Addresses) -> None:
        counted = Counter[str]()
        aws = backend(cloud.watched(lambda name: counted.update([name])), url, addresses)
        assert is_about(aws.now(), time.time())
        aws.now()
        assert counted == {"get_item": 1}

    def test_without_dynamodb_sqs_is_asked(self, cloud: Cloud, url: AwsUrl, addresses: Addresses) -> None:
        counted = Counter[str]()
        watched = cloud.watched(lambda name: counted.update([name]))
        gone = client("dynamodb", "http://127.0.0.1:9")
        assert is_about(backend(evolve(watched, dynamodb=gone), url, addresses).now(), time.time())
        assert counted == {"get_queue_attributes": 1}

    def test_a_clock_that_is_passed_in_is_taken_to_be_exact(
        self, cloud: Cloud, url: AwsUrl, addresses: Addresses
    ) -> None:
        aws = backend(cloud, url, addresses, lambda: NOON)
        aws.store.load(ADA)
        assert (aws.now(), aws.resolution) == (NOON, timedelta())


KEEP_FINISHED = timedelta(days=1)


class Shifted:
    """A client whose responses are dated `off` seconds later."""

    def __init__(self, client: Any, off: float) -> None:
        self._client, self._off = client, off

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def observed(**request: Any) -> Any:
            answer = getattr(self._client, name)(**request)
            headers = answer["ResponseMetadata"]["HTTPHeaders"]
            headers["date"] = formatdate(parsedate_to_datetime(headers["date"]).timestamp() + self._off, usegmt=True)
            return answer

        return observed


def is_about(actual: float, true: float) -> bool:
    """Return whether `actual` is not ahead, and behind by at most the resolution and the delays of a busy machine."""
    return true - RESOLUTION.total_seconds() - 0.5 < actual <= true


class TestInvocations:
    """The process, and its monotonic clock, may have been frozen since the last invocation."""

    def test_an_invocation_discards_the_time_known_before(self, aws: CompositeBackend) -> None:
        assert asks_again(aws, lambda_handler(Host([MACHINE], aws)), {"Records": []})

    def test_an_http_request_does_too(self, aws: CompositeBackend) -> None:
        assert asks_again(aws, http_handler([MACHINE], aws, authorize=anyone), {"rawPath": "/"})


def asks_again(aws: CompositeBackend, handler: Callable[[Any, Any], object], event: Any) -> bool:
    """Return whether an invocation of `handler` discards the time that was known before."""
    assert isinstance(aws.clock, AwsClock)
    aws.clock.begin_request()(dated(NOON * 2))
    assert aws.now() >= NOON * 2
    handler(event, Unhurried())
    return aws.now() < NOON * 2


def test_without_an_answer_there_is_no_time() -> None:
    store = DynamoDBStore(client("dynamodb", "http://127.0.0.1:9"), "t")
    with pytest.raises(UnavailableError, match="asking t for the time"):
        store.ping()
