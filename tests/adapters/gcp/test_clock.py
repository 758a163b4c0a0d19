"""The time by Firestore's clock, from its responses, and the rare requests for it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib import import_module
from typing import Any, cast

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from settled import AccessDeniedError, UnavailableError
from settled_gcp.clock import MAX_AGE, MAX_DRIFT, RESOLUTION, ServerTime
from settled_gcp.cloud_tasks_timers import CloudTasksTimers, TaskTarget
from settled_gcp.documents import Collection
from settled_gcp.firestore_timers import FirestoreTimers
from settled_gcp.store import FirestoreStore
from tests.adapters.gcp.fixtures import DATABASE, PROJECT, Cloud, ahead, backend, create
from tests.adapters.gcp.virtual_time import HERE, START, World, at, firestore
from tests.support.builders import ADA, BEN, PATIENCE, dead_letter, fresh_name, ids, message, stored, timer, watched

CALLS: Any = import_module("google.api_core.exceptions")  # they have no types

DAY = 86_400.0


@pytest.fixture
def world() -> World:
    return World()


class TestTheBound:
    def test_it_is_the_time_of_a_response_plus_the_time_since(self, world: World) -> None:
        clock = world.clock
        clock.observe(at(START))
        assert clock() == START
        world.passes(10)
        assert START + 10 - 0.001 <= clock() < START + 10
        assert world.asked == []

    def test_a_slow_response_does_not_lower_it(self, world: World) -> None:
        clock = world.clock
        clock.observe(at(START))
        world.passes(10)
        clock.observe(at(START + 8))
        assert clock() > START + 9.9

    def test_a_higher_bound_replaces_it(self, world: World) -> None:
        clock = world.clock
        clock.observe(at(START - 0.5))
        world.passes(1)
        clock.observe(at(START + 1))
        assert clock() == START + 1

    def test_a_response_without_a_time_is_ignored(self, world: World) -> None:
        clock = world.clock
        clock.observe(firestore.BatchGetDocumentsResponse(transaction=b"t").read_time)
        assert clock() == START
        assert len(world.asked) == 1

    @given(
        st.lists(st.tuples(st.floats(0, 10_000), st.floats(0, 5)), min_size=1, max_size=20),
        st.floats(1 - MAX_DRIFT, 1 + MAX_DRIFT),
    )
    def test_it_is_never_ahead_however_fast_the_monotonic_clock_runs(
        self, answers: list[tuple[float, float]], rate: float
    ) -> None:
        world = World()
        clock = world.clock
        for wait, latency in answers:
            world.passes(wait, rate)
            given = world.true
            world.passes(latency, rate)
            clock.observe(at(given))
            assert clock.lower_bound() <= world.true + 1e-5  # the precision of these numbers
        world.passes(MAX_AGE, rate)
        assert world.true - clock() <= answers[-1][1] + 3 * MAX_DRIFT * (MAX_AGE + 5)

    def test_threads_share_it(self, world: World) -> None:
        clock = world.clock

        def observe(number: int) -> float:
            clock.observe(at(START + number % 100))
            return clock()

        with ThreadPoolExecutor(8) as pool:
            times = list(pool.map(observe, range(2000)))
        assert all(START + number % 100 <= time <= START + 99 for number, time in enumerate(times))
        assert clock() == START + 99


class TestAsking:
    def test_without_any_response_it_reads_a_missing_document(self, world: World) -> None:
        clock = world.clock
        assert [clock(), clock(), clock.lower_bound()] == [START] * 3
        (asked,) = world.asked
        assert list(asked.documents) == [f"{DATABASE}/documents/signup-clock/nobody"]
        assert list(asked.mask.field_paths) == ["__name__"]

    def test_it_asks_again_after_a_minute_without_a_response(self, world: World) -> None:
        clock = world.clock
        clock.observe(at(START))
        world.passes(MAX_AGE)
        clock()
        assert world.asked == []
        world.passes(0.5)
        assert clock() == START + MAX_AGE + 0.5
        assert len(world.asked) == 1

    def test_even_a_slow_response_counts(self, world: World) -> None:
        clock = world.clock
        clock.observe(at(START))
        for _ in range(5):
            world.passes(MAX_AGE)
            clock.observe(at(world.true - 1))
            clock()
        assert world.asked == []

    def test_after_invalidation_it_asks(self, world: World) -> None:
        clock = world.clock
        clock.observe(at(START))
        world.true += DAY
        clock.invalidate()
        assert clock() == START + DAY
        clock.invalidate()
        clock.observe(at(START + DAY + 1))
        assert clock() == START + DAY + 1
        assert len(world.asked) == 1

    def test_the_lower_bound_takes_no_request_after_any_response(self, world: World) -> None:
        clock = world.clock
        assert clock.lower_bound() == START
        world.passes(DAY)
        clock.invalidate()
        assert START + DAY - DAY * MAX_DRIFT <= clock.lower_bound() + 1e-5 <= START + DAY
        assert len(world.asked) == 1

    def test_if_the_request_fails_the_last_bound_is_used(self, world: World) -> None:
        clock = world.clock
        clock.observe(at(START))
        world.fails = CALLS.ServiceUnavailable("not now")
        clock.invalidate()
        assert clock() == START

    @pytest.mark.parametrize(
        ("error", "kind"),
        [(CALLS.ServiceUnavailable("not now"), UnavailableError), (CALLS.PermissionDenied("never"), AccessDeniedError)],
    )
    def test_if_it_fails_without_any_response_so_does_the_call(
        self, world: World, error: Exception, kind: type[Exception]
    ) -> None:
        world.fails = error
        for ask in (world.clock, world.clock.lower_bound):
            with pytest.raises(kind, match="asking Firestore for the time"):
                ask()

    def test_a_clock_that_is_passed_in_is_used(self, world: World) -> None:
        clock = ServerTime(cast("Any", world), HERE, lambda: 7.5)
        clock.observe(at(START))
        clock.invalidate()
        assert (clock(), clock.lower_bound()) == (7.5, 7.5)
        assert world.asked == []


REQUESTS: Mapping[str, Callable[[FirestoreStore, FirestoreTimers], Any]] = {
    "load": lambda store, _: store.load(ADA),
    "commit": lambda store, _: store.commit(BEN, stored(1), 0),
    "delete": lambda store, _: store.delete(ADA, stored(2, status="deleted"), 1),
    "scan": lambda store, _: store.scan(machine="nothing"),
    "dead letters": lambda store, _: store.dead_letters(BEN),
    "sweep": lambda _, timers: timers.sweep(),
    "cancel": lambda _, timers: timers.cancel("t"),
}


class TestResponses:
    """Every response of Firestore's sets the time, so that it takes no request."""

    @pytest.mark.parametrize("name", REQUESTS)
    def test_a_response_sets_the_time(self, documents: Any, collection: Collection, name: str) -> None:
        FirestoreStore(documents, collection).commit(ADA, stored(1), 0, [dead_letter(ADA, "1")])
        asked = Counter[str]()
        client = watched(documents, lambda name: asked.update([name]))
        clock = ServerTime(client, collection)
        clock.observe(at(1.0))
        store = FirestoreStore(client, collection, clock=clock)
        REQUESTS[name](store, FirestoreTimers(client, collection, lambda _: None, clock))
        asked.clear()
        assert abs(clock() - time.time()) < PATIENCE
        assert asked == {}

    def test_the_emulators_time_is_this_machines_and_never_ahead(self, documents: Any, collection: Collection) -> None:
        clock = ServerTime(documents, collection)
        for _ in range(20):
            clock.invalidate()
            before = time.time()
            clock()
            assert before - 0.001 <= clock() <= time.time()


class TestTheBackend:
    def test_its_time_is_firestores_without_a_resolution(self, cloud: Cloud) -> None:
        url = cloud.gcp_url(fresh_name())
        asked = list[str]()
        gcp = backend(cloud.watched(asked.append), url)
        gcp.store.load(ADA)
        assert time.time() - PATIENCE < gcp.now() <= time.time()
        assert gcp.resolution == RESOLUTION == timedelta()
        assert asked == ["batch_get_documents"]

    def test_a_clock_that_is_passed_in_is_its_time(self, cloud: Cloud) -> None:
        gcp = backend(cloud, cloud.gcp_url(fresh_name()), lambda: 7.5)
        assert (gcp.now(), gcp.resolution) == (7.5, timedelta())

    def test_it_does_not_use_this_machines_clock(self, cloud: Cloud) -> None:
        """Firestore's clock is a day ahead of this machine's here."""
        gcp = backend(later(cloud), cloud.gcp_url(fresh_name()))
        assert gcp.now() == pytest.approx(time.time() + DAY, abs=PATIENCE)

    def test_the_end_of_a_lease_is_by_that_time(self, cloud: Cloud) -> None:
        url = cloud.gcp_url(fresh_name())
        create(cloud, url)
        gcp = backend(later(cloud), url)
        gcp.queue.send([message(ADA, "1")])
        (held,) = gcp.queue.receive(1, PATIENCE)
        assert held.lease_until == pytest.approx(time.time() + DAY + url.lease.total_seconds(), abs=PATIENCE)

    def test_timers_are_sent_and_swept_by_that_time(self, cloud: Cloud) -> None:
        url = cloud.gcp_url(fresh_name(), timers="sweep", sweep_every="0.01")
        create(cloud, url)
        gcp = backend(later(cloud), url)
        gcp.timers.schedule(timer("now", time.time() + DAY - 60))
        gcp.timers.schedule(timer("soon", time.time() + DAY + 1.0))
        gcp.timers.schedule(timer("late", time.time() + DAY + 60))
        received = list[str]()
        end = time.monotonic() + PATIENCE
        while "soon" not in received and time.monotonic() < end:
            held = gcp.queue.receive(10, 0.2)
            gcp.queue.ack(held)
            received += ids(held)
        assert received == ["now", "soon"]

    def test_a_timer_that_is_due_by_that_time_needs_no_task(self, documents: Any) -> None:
        sent = list[str]()
        target = TaskTarget(f"projects/{PROJECT}/locations/l/queues/q", "https://nowhere.example", "timers@p")
        clock = ServerTime(ahead(documents, DAY), HERE)
        timers = CloudTasksTimers(
            lambda: pytest.fail("a task was made"),
            target,
            lambda messages: sent.extend(each.id for each in messages),
            clock,
        )
        timers.schedule(timer("t", time.time() + DAY - 60))
        assert sent == ["t"]


def later(cloud: Cloud) -> Cloud:
    """Return `cloud` with a Firestore whose clock is a day ahead."""
    return evolve(cloud, firestore=ahead(cloud.firestore, DAY))
