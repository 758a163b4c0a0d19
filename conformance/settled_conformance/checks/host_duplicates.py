"""The whole host takes every event once and none of the poisoned ones, with the real host, client and workers."""

from __future__ import annotations

import threading
import time
from typing import Any

from settled import Machine, assign, setup
from settled_conformance.checks import proves
from settled_conformance.checks.host import House, event, key_of, listing
from settled_conformance.fixture import Bench
from settled_conformance.simulator.history import diary_of
from settled_runtime import Client, Host, Worker


@proves("X1")
def an_event_that_is_sent_twice_is_taken_once(bench: Bench) -> None:
    house = House(bench, listing())
    house.client.start("a", id="start")
    for id in ("1", "2", "1"):
        house.client.send("a", event(id), id=id)
    house.work()
    bench.same(house.entries("a"), ["1", "2"], "taken")
    bench.mark("sent twice")
    house.close()


@proves("X3")
def an_event_that_is_sent_again_after_its_end_is_taken_no_more(bench: Bench) -> None:
    house = House(bench, listing())
    house.client.start("a", id="start")
    house.client.send("a", event("1"), id="1")
    house.work()
    house.client.send("a", event("1"), id="1")
    house.client.send("a", event("2"), id="2")
    house.work()
    bench.same(house.entries("a"), ["1", "2"], "taken")
    bench.mark("sent after the end")
    house.close()


@proves("X5")
def an_event_that_the_queue_has_forgotten_is_taken_no_more(bench: Bench) -> None:
    house = House(bench, listing())
    house.client.start("a", id="start")
    house.client.send("a", event("1"), id="1")
    old = house.work()
    bench.advance(600.0 if bench.owns_time else bench.lease * 2)
    house.client.send("a", event("2"), id="2")
    house.work()
    house.host.handle(old)
    bench.same(house.entries("a"), ["1", "2"], "taken, when a queue hands out again what it had forgotten")
    bench.mark("the queue had forgotten")
    house.close()


@proves("D5")
def what_was_taken_has_no_effect_again(bench: Bench) -> None:
    house = House(bench, listing())
    house.client.start("a")
    house.client.send("a", event("1"))
    house.work()
    bench.mark("acknowledged")
    for _ in range(3):
        bench.advance(bench.lease + bench.harness.tick)
        house.work()
    bench.same(house.entries("a"), ["1"], "taken")
    house.close()


@proves("X6")
def a_poisoned_event_is_set_aside_with_all_it_said(bench: Bench) -> None:
    house = House(bench, listing(broken=["POISON"]))
    house.client.start("a")
    house.client.send("a", {"type": "POISON", "id": "p", "text": "🙂" * 100}, id="p")
    house.client.send("a", event("2"), id="2")
    house.fail_for_good()
    lying = [each.message for each in bench.another().store.dead_letters(key_of(house))]
    bench.same([each.id for each in lying], ["p", "2"], "dead letters")
    bench.holds("🙂" * 100 in lying[0].body, f"a dead letter lost what it said: {lying[0].body[:80]}")
    bench.mark("set aside")
    house.close()


@proves("X7")
def events_beside_a_poisoned_one_are_spared(bench: Bench) -> None:
    house = House(bench, listing(broken=["POISON"]))
    for instance in ("a", "b"):
        house.client.start(instance)
        house.client.send(instance, event("1"), id="1")
    house.client.send("a", event("p", "POISON"), id="p")
    house.client.send("a", event("2"), id="2")
    house.client.send("b", event("2"), id="2")
    house.fail_for_good()
    bench.same(house.entries("b"), ["1", "2"], "taken by another instance")
    bench.same(house.entries("a"), ["1"], "taken before the poisoned event")
    mended = House(bench, listing())
    mended.client.redrive("a")
    mended.work()
    bench.same(mended.entries("a"), ["1", "p", "2"], "taken after a redrive")
    bench.mark("spared")
    house.close()
    mended.close()


@proves("R11")
def an_effect_that_thaws_after_its_turn_was_finished_changes_nothing(bench: Bench) -> None:
    thawed, ended = threading.Event(), threading.Event()
    frozen = list[str]()

    def work(_input: Any, call: Any) -> Any:
        if not frozen:
            frozen.append(call.idempotency_key)
            thawed.wait(20.0)
            return "late"
        frozen.append(call.idempotency_key)
        return "in time"

    machine = _working(work)
    house, other = House(bench, machine), House(bench, machine)
    house.client.start("a")
    house.client.send("a", {"type": "GO"}, id="go")
    held = bench.receive(least=2)

    def freeze() -> None:
        house.host.handle(held)
        ended.set()

    threading.Thread(target=freeze, daemon=True).start()
    _until(lambda: bool(frozen))
    bench.advance(bench.lease + bench.harness.tick)
    other.work()
    thawed.set()
    bench.holds(ended.wait(20.0), "the frozen worker never came to an end")
    snapshot = other.client.get("a")
    bench.holds(snapshot is not None and snapshot.context["output"] == "in time", f"it is {snapshot} after the thaw")
    bench.same(len(set(frozen)), 1, "keys under which the effect was performed")
    bench.mark("frozen in an effect")
    house.close()
    other.close()


def _until(condition: Any) -> None:
    end = time.monotonic() + 20.0
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)


def _working(work: Any) -> Machine[Any, Any]:
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


@proves("X4")
def many_workers_take_each_event_once(bench: Bench) -> None:
    machine = listing()
    house = House(bench, machine)
    hosts = [Host([machine], bench.another().backend, observers=()) for _ in range(3)]
    workers = [Worker(host, concurrency=2, batch=3, patience=0.05) for host in hosts]
    client = Client(machine, bench.another().backend)
    threads = [threading.Thread(target=worker.run, daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    for instance in "abc":
        client.start(instance)
    for number in range(8):
        for instance in "abc":
            client.send(instance, event(str(number)), id=f"{instance}{number}")
            client.send(instance, event(str(number)), id=f"{instance}{number}")
    expected = [str(number) for number in range(8)]
    reader = Client(machine, bench.another().backend)
    _until(lambda: all((found := reader.get(each)) and len(diary_of(found)) >= 8 for each in "abc"))
    for worker in workers:
        worker.stop()
    for thread in threads:
        thread.join(20.0)
    for instance in "abc":
        found = reader.get(instance)
        bench.same([event["id"] for event in diary_of(found)] if found else [], expected, f"taken by {instance}")
    for host in hosts:
        host.close()
    house.close()
