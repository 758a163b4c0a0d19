"""The time: AWS's, by the dates of its answers, whatever this machine's own clock says."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import pytest
from attrs import evolve
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis.strategies import builds, floats, lists

from settled import AccessDeniedError, UnavailableError
from settled_aws import Addresses, AwsUrl, DynamoDBStore, http_handler, lambda_handler
from settled_aws.clock import RESOLUTION, STRAY, AwsClock, listening
from settled_runtime import CompositeBackend, Host
from tests.adapters.aws.fixtures import Cloud, Unhurried, backend, client
from tests.adapters.aws.test_timers import waited_for
from tests.support.builders import ADA, message, stored, timer
from tests.support.traced_machine import MACHINE

NOON = 1_800_000_000.0


def dated(at: float) -> dict[str, Any]:
    """An answer that was given at `at`."""
    return {"ResponseMetadata": {"HTTPHeaders": {"date": formatdate(at, usegmt=True)}}}


class Ticking:
    """A clock that is asked with `asked` answers of its own, and a monotonic clock that stands at `ticks`."""

    def __init__(self, *answers: Any) -> None:
        self.ticks, self.asked, self._answers = 0.0, 0, list(answers)
        self.clock = AwsClock(self._ask, lambda: self.ticks)

    def hear(self, answer: Mapping[str, Any]) -> None:
        self.clock.listen()(answer)

    def _ask(self) -> None:
        self.asked += 1
        time.sleep(0.01)  # others want to know, too
        hear, answer = self.clock.listen(), self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        hear(answer)


class TestWhatTimeItIs:
    def test_it_is_what_an_answer_says_and_what_has_passed_since(self) -> None:
        at = Ticking()
        at.hear(dated(NOON))
        assert at.clock() == NOON
        at.ticks += 100.0
        assert at.clock() == pytest.approx(NOON + 100.0, abs=100 * STRAY + 1e-6)
        assert at.clock() < NOON + 100.0
        assert at.asked == 0

    def test_of_several_answers_the_one_that_is_furthest_ahead_counts(self) -> None:
        at = Ticking()
        for passed, date, found in ((0.0, 0, 0.0), (0.75, 0, 0.75), (0.25, 2, 2.0), (0.5, 1, 2.5), (0.5, 3, 3.0)):
            at.ticks += passed
            at.hear(dated(NOON + date))
            assert at.clock() == pytest.approx(NOON + found, abs=1e-3)

    @pytest.mark.parametrize(
        "answer", [{}, {"ResponseMetadata": {}}, {"ResponseMetadata": {"HTTPHeaders": {"date": "?"}}}]
    )
    def test_an_answer_without_a_date_says_nothing(self, answer: Mapping[str, Any]) -> None:
        at = Ticking()
        at.hear(dated(NOON))
        at.hear(answer)
        assert at.clock() == NOON

    @given(
        trips=lists(builds(lambda *way: way, *[floats(0.0, 3.0)] * 3), min_size=1, max_size=8),
        fast=floats(1 - STRAY, 1 + STRAY / 2),
        start=floats(0.0, 1.0),
    )
    def test_it_is_never_ahead_and_behind_by_less_than_a_second_and_the_way(
        self, trips: list[tuple[float, float, float]], fast: float, start: float
    ) -> None:
        at, now = Ticking(), NOON + start
        for idle, there, back in trips:
            now += idle + there
            answer = dated(now)
            now += back
            at.ticks = (now - NOON) * fast
            at.hear(answer)
            assert now - RESOLUTION - back - 1e-3 <= at.clock() <= now + 1e-6

    def test_it_does_not_go_back(self) -> None:
        at, before = Ticking(), 0.0
        for passed, date in ((0.0, 10), (0.5, 9), (0.5, 12), (3600.0, 11), (0.1, 3612)):
            at.ticks += passed
            at.hear(dated(NOON + date))
            assert at.clock() >= before
            before = at.clock()


class TestAsking:
    def test_before_any_answer_one_is_asked_for_however_many_want_to_know(self) -> None:
        at = Ticking(dated(NOON))
        with ThreadPoolExecutor(8) as pool:
            assert {told.result() for told in [pool.submit(at.clock) for _ in range(8)]} == {NOON}
        assert at.asked == 1

    def test_what_is_forgotten_is_asked_for_again(self) -> None:
        at = Ticking(dated(NOON + 7200))
        at.hear(dated(NOON))
        at.clock.forget()
        assert at.clock() == NOON + 7200
        assert at.asked == 1

    def test_the_answer_to_what_was_asked_before_that_says_nothing(self) -> None:
        """It may have lain there for as long as the process was frozen."""
        at = Ticking(dated(NOON + 7200))
        late = at.clock.listen()
        at.clock.forget()
        late(dated(NOON))
        assert at.clock() == NOON + 7200

    def test_an_answer_that_refuses_has_a_date_too(self) -> None:
        class Refusing:
            def get_item(self, **_: Any) -> Any:
                answer: Any = {"Error": {"Code": "AccessDeniedException"}, **dated(NOON)}
                raise ClientError(answer, "GetItem")

        clock = AwsClock(lambda: DynamoDBStore(listening(Refusing(), clock), "t").answer(), lambda: 0.0)
        assert clock() == NOON

    @pytest.mark.parametrize("error", [UnavailableError("nobody answered"), AccessDeniedError("no credentials")])
    def test_if_nobody_answers_it_says_so_and_asks_again_the_next_time(self, error: Exception) -> None:
        at = Ticking(error, dated(NOON))
        with pytest.raises(type(error)):
            at.clock()
        assert at.clock() == NOON

    def test_where_answers_have_no_date_it_is_that_of_this_machine(self) -> None:
        assert time.time() - 60 < Ticking({}).clock() <= time.time()


class TestByTheAnswersOfTheServices:
    """In an account whose clock is an hour off; or this machine's is, which is the same."""

    @pytest.mark.parametrize("call", ["load", "receive", "send"])
    def test_each_answer_tells_it(
        self, elsewhen: CompositeBackend, off: float, call: str, counted: Counter[str]
    ) -> None:
        calls: dict[str, Callable[[], object]] = {
            "load": lambda: elsewhen.store.load(ADA),
            "receive": lambda: elsewhen.queue.receive(1),
            "send": lambda: elsewhen.queue.send([message(ADA, "1")]),
        }
        calls[call]()
        before = counted.copy()
        assert is_about(elsewhen.now(), time.time() + off)
        assert counted == before
        assert elsewhen.resolution == RESOLUTION

    def test_a_short_wait_is_as_long_as_it_should_be(self, elsewhen: CompositeBackend) -> None:
        began = time.time()
        elsewhen.timers.schedule(timer("t", elsewhen.now() + RESOLUTION + 1.5))
        assert waited_for(elsewhen, 10.0) == ["t"]
        assert 1.5 < time.time() - began < 9.0

    def test_a_wait_of_a_quarter_of_an_hour_is_a_short_one(
        self, cloud: Cloud, where: AwsUrl, elsewhen: CompositeBackend
    ) -> None:
        elsewhen.timers.schedule(timer("a", elsewhen.now() + 14 * 60))
        elsewhen.timers.schedule(timer("b", elsewhen.now() + 16 * 60))
        assert len(cloud.scheduler.list_schedules(GroupName=where.schedules)["Schedules"]) == 1

    def test_a_lease_ends_by_the_clock_of_the_queue(self, elsewhen: CompositeBackend, off: float) -> None:
        elsewhen.queue.send([message(ADA, "1")])
        (held,) = elsewhen.queue.receive(1)
        assert is_about(held.until - elsewhen.lease, time.time() + off)

    def test_what_is_finished_expires_by_the_clock_of_the_table(
        self, cloud: Cloud, where: AwsUrl, elsewhen: CompositeBackend, off: float
    ) -> None:
        elsewhen.store.commit(ADA, stored(1, status="done"), 0)
        (item,) = cloud.dynamodb.scan(TableName=where.table)["Items"]
        assert abs(int(item["expires"]["N"]) - KEPT - (time.time() + off)) < 5.0

    @pytest.fixture(params=[-3600.0, 3600.0])
    def off(self, request: pytest.FixtureRequest) -> float:
        return float(request.param)

    @pytest.fixture
    def counted(self) -> Counter[str]:
        return Counter()

    @pytest.fixture
    def elsewhen(
        self, cloud: Cloud, where: AwsUrl, found: Addresses, off: float, counted: Counter[str]
    ) -> CompositeBackend:
        cloud = cloud.watched(lambda name: counted.update([name]))
        services = evolve(cloud, dynamodb=Elsewhen(cloud.dynamodb, off), sqs=Elsewhen(cloud.sqs, off))
        return backend(services, evolve(where, keep_finished=KEPT), found)


class TestWhereNoneIsGiven:
    def test_it_is_asked_for_where_there_was_no_answer_yet_and_then_no_more(
        self, cloud: Cloud, where: AwsUrl, found: Addresses
    ) -> None:
        counted = Counter[str]()
        aws = backend(cloud.watched(lambda name: counted.update([name])), where, found)
        assert is_about(aws.now(), time.time())
        aws.now()
        assert counted == {"get_item": 1}

    def test_a_clock_that_is_given_is_taken_to_be_exact(self, cloud: Cloud, where: AwsUrl, found: Addresses) -> None:
        aws = backend(cloud, where, found, lambda: NOON)
        aws.store.load(ADA)
        assert (aws.now(), aws.resolution) == (NOON, 0.0)


KEPT = 86_400.0


class Elsewhen:
    """`client`, whose answers come from where it is `off` seconds later."""

    def __init__(self, client: Any, off: float) -> None:
        self._client, self._off = client, off

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def answered(**request: Any) -> Any:
            answer = getattr(self._client, name)(**request)
            headers = answer["ResponseMetadata"]["HTTPHeaders"]
            headers["date"] = formatdate(parsedate_to_datetime(headers["date"]).timestamp() + self._off, usegmt=True)
            return answer

        return answered


def is_about(told: float, true: float) -> bool:
    """Whether `told` is not ahead, and behind by no more than a date may be, and a busy machine."""
    return true - RESOLUTION - 0.5 < told <= true


class TestInvocations:
    """A function may have been frozen since the last one, and its monotonic clock with it."""

    def test_each_of_a_function_goes_by_its_own_answers(self, aws: CompositeBackend) -> None:
        assert asks_again(aws, lambda_handler(Host([MACHINE], aws)), {"Records": []})

    def test_each_of_the_door_does_too(self, aws: CompositeBackend) -> None:
        assert asks_again(aws, http_handler([MACHINE], aws), {"rawPath": "/"})


def asks_again(aws: CompositeBackend, handler: Callable[[Any, Any], object], event: Any) -> bool:
    """Whether nothing that was known before an invocation is believed after it has begun."""

    assert isinstance(aws.clock, AwsClock)
    aws.clock.listen()(dated(NOON * 2))
    assert aws.now() >= NOON * 2
    handler(event, Unhurried())
    return aws.now() < NOON * 2


def test_nobody_answers_so_there_is_no_time() -> None:
    store = DynamoDBStore(client("dynamodb", "http://127.0.0.1:9"), "t")
    with pytest.raises(UnavailableError, match="asking t for the time"):
        store.answer()
