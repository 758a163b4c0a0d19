"""The time is that of the server (T1, T2, D3): a worker's own clock does not matter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta

import pytest
from attrs import evolve

from settled.durable.ports import Capability, Delivery, Write
from settled.errors import ConflictError, LeaseLostError
from settled.key import Key
from settled_redis.backend import RedisBackend
from settled_redis.clock import RedisClock
from tests.adapters.local.fixtures import ADA, BEN, Clock, ids, message, stored, timer, tombstone
from tests.adapters.redis.conftest import Opener, requests
from tests.emulators.redis_servers import Process

LONG_AGO = 1_000_000.0


def server_time(server: Process) -> float:
    seconds, microseconds = server.client.time()
    return float(seconds + microseconds / 1_000_000)


@pytest.fixture(params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Process:
    found: Process = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=[1, 4], ids=["one partition", "four partitions"])
def backend(request: pytest.FixtureRequest, server: Process, opener: Callable[[Process], Opener]) -> RedisBackend:
    return opener(server)(partitions=request.param)


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of this machine is wrong."""
    monkeypatch.setattr(time, "time", lambda: LONG_AGO)


@pytest.mark.usefixtures("wrong_clock")
class TestNow:
    def test_is_the_server_s_time(self, server: Process, backend: RedisBackend) -> None:
        """From the opening on, and never ahead of the server."""
        for _ in range(100):
            before = server_time(server)
            found = backend.now()
            assert before - 1.0 < found <= server_time(server)
            backend.queue.receive(1)

    def test_advances_without_calls(self, backend: RedisBackend) -> None:
        begun, before = time.monotonic(), backend.now()
        time.sleep(0.1)
        after = backend.now()
        assert 0.1 <= after - before <= time.monotonic() - begun

    def test_costs_no_round_trip(self, redis: Process, opener: Callable[[Process], Opener]) -> None:
        backend = opener(redis)()
        before = requests(redis)
        for _ in range(100):
            backend.now()
        assert requests(redis) - before == 1  # reading the statistics is a request too

    def test_is_not_behind_any_answer(self, backend: RedisBackend) -> None:
        """A lease that was just received began at or before `now`."""
        backend.queue.send([message(ADA, "a")])
        (held,) = (each for _ in range(4) for each in backend.queue.receive(1))
        assert held.lease_until - backend.lease.total_seconds() <= backend.now()

    def test_is_what_the_timers_go_by(self, backend: RedisBackend) -> None:
        """T2: a timer that was scheduled by it fires then, and is due by it."""
        due = backend.now() + backend.resolution.total_seconds() + 0.3
        backend.timers.schedule(timer("t", due))
        begun = time.monotonic()
        assert ids(backend.queue.receive(1, wait=10)) == ["t"]
        assert backend.now() >= due
        assert 0.2 < time.monotonic() - begun < 5

    def test_is_what_leases_go_by(self, server: Process, opener: Callable[[Process], Opener]) -> None:
        """D3."""
        backend = opener(server)(lease=timedelta(seconds=0.3))
        backend.queue.send([message(ADA, "a")])
        (held,) = backend.queue.receive(1)
        assert held.lease_until - 0.3 <= backend.now() < held.lease_until
        backend.finish(Write(ADA, stored(1), 0, holder=held))
        time.sleep(0.3)
        assert backend.now() >= held.lease_until
        with pytest.raises(LeaseLostError):
            backend.finish(Write(ADA, stored(2), 1, holder=held))

    def test_is_the_given_clock_s_time(self, redis: Process, opener: Callable[[Process], Opener]) -> None:
        clock = Clock()
        backend = opener(redis)(clock=clock)
        clock.now = 5.0
        assert backend.now() == 5.0
        assert backend.resolution == timedelta()


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The server times that the clock observed."""
    times, observe = list[float](), RedisClock.observe

    def record(self: RedisClock, partition: int, server_time: float, asked: float, answered: float) -> None:
        times.append(server_time)
        observe(self, partition, server_time, asked, answered)

    monkeypatch.setattr(RedisClock, "observe", record)
    return times


Call = Callable[[RedisBackend, Delivery], object]

CALLS: dict[str, Call] = {
    "send": lambda backend, held: backend.queue.send([message(BEN, "b")]),
    "receive": lambda backend, held: backend.queue.receive(1),
    "ack": lambda backend, held: backend.queue.ack([held]),
    "release": lambda backend, held: backend.queue.release([held]),
    "extend": lambda backend, held: backend.queue.extend([held], 5),
    "commit": lambda backend, held: backend.store.commit(ADA, stored(1), 0),
    "a conflict": lambda backend, held: backend.store.commit(ADA, stored(2), 1),
    "a lost lease": lambda backend, held: backend.finish(Write(ADA, stored(1), 0, holder=evolve(held, receipt="9.1"))),
    "delete": lambda backend, held: backend.store.delete(ADA, tombstone(1), 0),
    "schedule": lambda backend, held: backend.timers.schedule(timer("t", 0.0)),
    "cancel": lambda backend, held: backend.timers.cancel("t"),
    "finish": lambda backend, held: backend.finish(Write(ADA, stored(1), 0, acks=(held,), holder=held)),
    "finish all": lambda backend, held: backend.finish_all([Write(key, stored(1), 0) for key in (ADA, BEN)]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_answer_has_the_server_s_time(
    server: Process, backend: RedisBackend, observed: list[float], call: Call
) -> None:
    backend.queue.send([message(ADA, "a")])
    (held,) = (each for _ in range(4) for each in backend.queue.receive(1))
    observed.clear()
    before = server_time(server)
    with suppress(ConflictError, LeaseLostError):
        call(backend, held)
    assert observed
    assert all(before <= said <= server_time(server) for said in observed)


class TestRedisClock:
    """The time that is derived from a server's time between two moments of the local clock."""

    @pytest.fixture(autouse=True)
    def stand_still(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The local clock is at 50."""
        monkeypatch.setattr(time, "monotonic", lambda: 50.0)
        yield
        monkeypatch.undo()

    def test_is_never_ahead(self) -> None:
        """The server may have read its clock just before the answer arrived."""
        clock = RedisClock(1)
        clock.observe(0, server_time=1000.0, asked=10.0, answered=12.0)
        assert clock.now() == 1038.0

    def test_is_as_precise_as_the_fastest_answer(self) -> None:
        """Slower ones do not make it less precise."""
        clock = RedisClock(1)
        clock.observe(0, server_time=1000.0, asked=10.0, answered=12.0)
        clock.observe(0, server_time=1011.0, asked=21.0, answered=21.5)
        assert clock.now() == 1039.5
        clock.observe(0, server_time=1020.0, asked=30.0, answered=45.0)
        assert clock.now() == 1039.5

    def test_does_not_go_back_when_an_older_answer_is_observed_later(self) -> None:
        clock = RedisClock(1)
        clock.observe(0, server_time=1010.0, asked=20.0, answered=20.0)
        clock.observe(0, server_time=1000.0, asked=10.0, answered=40.0)
        assert clock.now() == 1040.0

    @pytest.mark.parametrize(("said", "now"), [(400.0, 419.0), (2000.0, 2019.0)], ids=["back", "forth"])
    def test_follows_when_the_server_s_clock_is_set(self, said: float, now: float) -> None:
        clock = RedisClock(1)
        clock.observe(0, server_time=1000.0, asked=10.0, answered=11.0)
        clock.observe(0, server_time=said, asked=30.0, answered=31.0)
        assert clock.now() == now

    def test_is_that_of_the_server_that_is_ahead(self) -> None:
        """A timer that fired by either of two clocks is due."""
        clock = RedisClock(3)
        clock.observe(1, server_time=1000.0, asked=10.0, answered=10.0)
        clock.observe(2, server_time=1005.0, asked=10.0, answered=10.0)
        clock.observe(1, server_time=1010.0, asked=20.0, answered=20.0)
        assert clock.now() == 1045.0


@pytest.mark.usefixtures("wrong_clock")
def test_a_worker_with_a_wrong_clock_works_like_any_other(server: Process, opener: Callable[[Process], Opener]) -> None:
    """T2, D3: it schedules and receives timers at the right time."""
    open_it, key = opener(server), Key("m", "i")
    mine, other = open_it(lease=timedelta(seconds=0.5)), open_it(lease=timedelta(seconds=0.5))
    mine.timers.schedule(timer("t", mine.now() + 0.2, key))
    assert list[Sequence[str]](map(ids, (other.queue.receive(1), other.queue.receive(1, wait=5)))) == [[], ["t"]]
    assert not mine.queue.receive(1)
    assert ids(mine.queue.receive(1, wait=5)) == ["t"]
    assert Capability.FENCED_FINISH in mine.capabilities
