"""Checks of duplicates, poison events and frozen effects, with the real host, client and workers."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from functools import partial
from typing import Any

from settled import Machine, assign, setup
from settled.durable import Index, Stored
from settled_conformance.checks import checks
from settled_conformance.checks.host import HostFixture, event, key_of, listing
from settled_conformance.fixture import BackendFixture, key
from settled_conformance.simulator.history import history_of
from settled_runtime import Client, Worker


@checks("X1")
def an_event_sent_twice_is_taken_once(fixture: BackendFixture) -> None:
    service = HostFixture(fixture, listing())
    service.client.start("a", message_id="start")
    for id in ("1", "2", "1"):
        service.client.send("a", event(id), message_id=id)
    service.run_until_idle()
    fixture.require_equal(service.entries("a"), ["1", "2"], "taken")
    fixture.mark("sent twice")
    service.close()


@checks("X3")
def an_event_sent_again_after_its_acknowledgement_is_not_taken_again(fixture: BackendFixture) -> None:
    service = HostFixture(fixture, listing())
    service.client.start("a", message_id="start")
    service.client.send("a", event("1"), message_id="1")
    service.run_until_idle()
    service.client.send("a", event("1"), message_id="1")
    service.client.send("a", event("2"), message_id="2")
    service.run_until_idle()
    fixture.require_equal(service.entries("a"), ["1", "2"], "taken")
    fixture.mark("sent after the acknowledgement")
    service.close()


@checks("X5")
def an_event_the_queue_has_forgotten_is_not_taken_again(fixture: BackendFixture) -> None:
    service = HostFixture(fixture, listing())
    service.client.start("a", message_id="start")
    service.client.send("a", event("1"), message_id="1")
    old = service.run_until_idle()
    fixture.advance(600.0 if fixture.owns_time else fixture.lease * 2)
    service.client.send("a", event("2"), message_id="2")
    service.run_until_idle()
    service.host.handle(old)
    fixture.require_equal(service.entries("a"), ["1", "2"], "taken, when a queue redelivers a message it had forgotten")
    fixture.mark("forgotten by the queue")
    service.close()


@checks("D5")
def a_taken_event_has_no_further_effect(fixture: BackendFixture) -> None:
    service = HostFixture(fixture, listing())
    service.client.start("a")
    service.client.send("a", event("1"))
    service.run_until_idle()
    fixture.mark("acknowledged")
    for _ in range(3):
        fixture.advance(fixture.lease + fixture.harness.tick)
        service.run_until_idle()
    fixture.require_equal(service.entries("a"), ["1"], "taken")
    service.close()


@checks("X6")
def a_poison_event_becomes_a_dead_letter_with_its_payload(fixture: BackendFixture) -> None:
    service = HostFixture(fixture, listing(broken=["POISON"]))
    service.client.start("a")
    service.client.send("a", {"type": "POISON", "id": "p", "text": "🙂" * 100}, message_id="p")
    service.client.send("a", event("2"), message_id="2")
    service.run_until_dead_lettered()
    found = [each.message for each in fixture.open_handle().store.dead_letters(key_of(service))]
    fixture.require_equal([each.id for each in found], ["p", "2"], "dead letters")
    fixture.require("🙂" * 100 in found[0].body, f"a dead letter lost its payload: {found[0].body[:80]}")
    fixture.mark("dead-lettered")
    service.close()


@checks("X6")
def an_instance_whose_record_is_full_can_still_be_halted(fixture: BackendFixture) -> None:
    service, limit = HostFixture(fixture, _growing()), _limit_of_a_record(fixture)
    if limit is not None:
        service.client.start("a")
        service.client.send("a", {"type": "GROW", "text": "x" * 100_000})
        service.run_until_idle()
        left = limit - len(_stored(service).body) - 100  # for the ids of two more messages
        service.client.send("a", {"type": "GROW", "text": "x" * left})
        service.run_until_idle()
        size = len(_stored(service).body)
        fixture.require(limit - 200 < size <= limit, f"a record has {size:,} characters, and could have {limit:,}")
        service.client.send("a", event("p", "POISON"), message_id="p")
        service.run_until_dead_lettered()
        found = [each.message.id for each in fixture.open_handle().store.dead_letters(key_of(service))]
        fixture.require_equal(found, ["p"], "dead letters of an instance whose record is full")
        fixture.require_equal(_stored(service).index.status, "halted", "the status of an instance whose record is full")
    service.close()


def _growing() -> Machine[Any]:
    """Return a machine that keeps the texts it is sent, and fails at each POISON."""
    return setup(
        actions={"grow": assign(text=lambda a: a.context["text"] + a.event["text"])},
        guards={"fails": lambda a: a.context["missing"]},
    ).machine(
        {
            "id": "list",
            "context": {"text": ""},
            "initial": "open",
            "states": {
                "open": {
                    "tags": ["settled"],
                    "on": {"GROW": {"actions": "grow"}, "POISON": {"guard": "fails", "actions": "grow"}},
                }
            },
        }
    )


def _limit_of_a_record(fixture: BackendFixture) -> int | None:
    """Return how many characters a record may have at least; None if that is more than an event may have."""
    probe, version, fits, largest = key("probe"), 0, 150_000, 1_100_000
    tried = fails = largest
    while fails - fits > 50:
        written = Stored(version + 1, "x" * tried, Index("active"))
        if fixture.fits(partial(fixture.backend.store.commit, probe, written, version)):
            version, fits = version + 1, tried
        else:
            fails = tried
        tried = (fits + fails) // 2
    return fits if fits < largest else None


def _stored(service: HostFixture) -> Stored:
    found = service.fixture.open_handle().store.load(key_of(service))
    service.fixture.require(found is not None, "a record is gone")
    assert found is not None
    return found


@checks("X7")
def events_beside_a_poison_event_are_not_affected(fixture: BackendFixture) -> None:
    service = HostFixture(fixture, listing(broken=["POISON"]))
    for instance in ("a", "b"):
        service.client.start(instance)
        service.client.send(instance, event("1"), message_id="1")
    service.client.send("a", event("p", "POISON"), message_id="p")
    service.client.send("a", event("2"), message_id="2")
    service.client.send("b", event("2"), message_id="2")
    service.run_until_dead_lettered()
    fixture.require_equal(service.entries("b"), ["1", "2"], "taken by another instance")
    fixture.require_equal(service.entries("a"), ["1"], "taken before the poison event")
    repaired = HostFixture(fixture, listing())
    repaired.client.redrive("a")
    repaired.run_until_idle()
    fixture.require_equal(repaired.entries("a"), ["1", "p", "2"], "taken after a redrive")
    fixture.mark("not affected")
    service.close()
    repaired.close()


@checks("R11")
def an_effect_that_resumes_after_its_turn_was_finished_changes_nothing(fixture: BackendFixture) -> None:
    resumed, ended = threading.Event(), threading.Event()
    frozen = list[str]()

    def work(_input: Any, call: Any) -> Any:
        if not frozen:
            frozen.append(call.idempotency_key)
            resumed.wait(20.0)
            return "late"
        frozen.append(call.idempotency_key)
        return "in time"

    machine = _working(work)
    service, other = HostFixture(fixture, machine), HostFixture(fixture, machine)
    service.client.start("a")
    service.client.send("a", {"type": "GO"}, message_id="go")
    held = fixture.receive(least=2)

    def freeze() -> None:
        service.host.handle(held)
        ended.set()

    threading.Thread(target=freeze, daemon=True).start()
    _until(lambda: bool(frozen))
    fixture.advance(fixture.lease + fixture.harness.tick)
    other.run_until_idle()
    resumed.set()
    fixture.require(ended.wait(20.0), "the frozen worker never came to an end")
    snapshot = other.client.get("a")
    fixture.require(
        snapshot is not None and snapshot.context["output"] == "in time",
        f"it is {snapshot} after the frozen effect resumed",
    )
    fixture.require_equal(len(set(frozen)), 1, "keys under which the effect was performed")
    fixture.mark("frozen during an effect")
    service.close()
    other.close()


def _until(condition: Any) -> None:
    end = time.monotonic() + 20.0
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)


def _working(work: Any) -> Machine[Any]:
    return setup(actors={"work": work}, actions={"keep": assign(output=lambda args: args.event["output"])}).machine(
        {
            "id": "worker",
            "context": {"output": None},
            "initial": "idle",
            "states": {
                "idle": {"tags": ["settled"], "on": {"GO": "busy"}},
                "busy": {"invoke": {"src": "work", "onDone": {"target": "idle", "actions": ["keep"]}}},
            },
        }
    )


@checks("X4")
def many_workers_take_each_event_once(fixture: BackendFixture) -> None:
    machine = listing()
    owner = HostFixture(fixture, machine)
    backends = [fixture.open_handle().backend for _ in range(3)]
    workers = [
        Worker([machine], backend, observers=(), concurrency=2, batch=3, receive_wait=timedelta(seconds=0.05))
        for backend in backends
    ]
    client = Client(machine, fixture.open_handle().backend)
    threads = [threading.Thread(target=worker.run, daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    for instance in "abc":
        client.start(instance)
    for number in range(8):
        for instance in "abc":
            client.send(instance, event(str(number)), message_id=f"{instance}{number}")
            client.send(instance, event(str(number)), message_id=f"{instance}{number}")
    expected = [str(number) for number in range(8)]
    reader = Client(machine, fixture.open_handle().backend)
    _until(lambda: all((found := reader.get(each)) and len(history_of(found)) >= 8 for each in "abc"))
    for worker in workers:
        worker.stop()
    for thread in threads:
        thread.join(20.0)
    for instance in "abc":
        found = reader.get(instance)
        fixture.require_equal(
            [event["id"] for event in history_of(found)] if found else [], expected, f"taken by {instance}"
        )
    for worker in workers:
        worker.close()
    owner.close()
