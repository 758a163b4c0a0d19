"""Check of G1: with the real host, an instance neither grows nor slows down with its number of events."""

from __future__ import annotations

import statistics
import time

from settled import assign, setup
from settled_conformance.checks import checks
from settled_conformance.checks.host import HostFixture, key_of
from settled_conformance.fixture import BackendFixture, message


@checks("G1")
def an_old_instance_is_as_small_and_fast_as_a_young_one(fixture: BackendFixture) -> None:
    machine = setup(actions={"count": assign(count=lambda args: (args.context["count"] + 1) % 10)}).machine(
        {
            "id": "counter",
            "context": {"count": 0},
            "initial": "on",
            "states": {"on": {"tags": ["settled"], "on": {"E": {"actions": ["count"]}}}},
        }
    )
    handle = fixture.backend.backend  # unchecked: the model would take too long for so many messages
    service = HostFixture(fixture, machine, handle)
    service.client.start("a", message_id="start")
    service.host.handle(fixture.receive_raw(handle))
    batches, weights, times = (100 if fixture.owns_time else 12), list[int](), list[float]()
    for batch in range(batches):
        if fixture.owns_time:
            fixture.advance(fixture.lease)  # lets a deduplicating queue forget old ids
        ids = [f"{batch:05}.{number:02}" for number in range(100)]
        handle.queue.send([message(id, key_of(service)) for id in ids])
        begin = time.perf_counter()
        while held := fixture.receive_raw(handle, 100):
            service.host.handle(held)
        times.append(time.perf_counter() - begin)
        record = handle.store.load(key_of(service))
        weights.append(len(record.body or "") if record else 0)
    young, old = weights[9], weights[-1]
    fixture.require(old <= young + 40, f"the record had {young} characters after 1,000 events, and {old} at the end")
    early, late = statistics.median(times[5:12]), statistics.median(times[-7:])
    fixture.require(late < 4 * early, f"100 events took {early:.4f} s after 1,000, and {late:.4f} s at the end")
    fixture.mark("grown")
    service.close()
