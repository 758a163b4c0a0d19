"""What the whole host promises over the port, tried with the real host, client and workers.

Most of these promises are proven by exploration (see `settled_conformance.simulator`); here is what has to be
arranged: a deploy, a queue that has forgotten, ten thousand events.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from settled import Backend, Delivery, Key, Machine, Policy, assign, cancel, raise_, setup
from settled_conformance.bench import Bench, message
from settled_conformance.proofs import proves
from settled_conformance.simulator.diary import DiaryMachine, diary_of, with_diary
from settled_runtime import Client, Host, Worker

IMPATIENT = Policy(max_attempts=2)


class House:
    """A machine that lives at a bench, with a client and a host, over its first handle or over `backend`."""

    def __init__(
        self,
        bench: Bench,
        machine: Machine[Any, Any],
        backend: Backend | None = None,
        policy: Policy = IMPATIENT,
    ) -> None:
        self.bench, self.machine = bench, machine
        handle = backend or bench.backend
        self.client = Client(machine, handle)
        self.host = Host([machine], handle, policy=policy, observers=())

    def work(self) -> list[Delivery]:
        """Take what there is, until nothing comes for a while; all that was handed out."""
        taken = list[Delivery]()
        for _ in range(200):
            found = self.bench.receive()
            if not found:
                return taken
            taken += found
            self.host.handle(found)
        self.bench.holds(False, "the host never came to rest")
        return taken

    def fail_for_good(self) -> None:
        """Work, and let time pass for those who wait."""
        for _ in range(6):
            self.work()
            self.bench.advance(3.0)

    def entries(self, instance: str) -> list[str]:
        """The ids of the events that `instance` has taken."""
        snapshot = self.client.get(instance)
        return [event["id"] for event in diary_of(snapshot)] if snapshot else []

    def close(self) -> None:
        self.host.close()


def listing(broken: Sequence[str] = (), tell: Callable[[Any], object] | None = None) -> DiaryMachine:
    """Takes events, and tells the world of each by `tell`; those of the types in `broken` fail."""

    def check(args: Any) -> bool:
        if args.event["type"] in broken:
            raise RuntimeError(f"{args.event['type']} is broken")
        return True

    return with_diary(
        {
            "id": "list",
            "context": {},
            "initial": "open",
            "states": {"open": {"tags": ["settled"], "on": {"*": {"guard": "check", "actions": ["tell"]}}}},
        },
        guards={"check": check},
        actions={"tell": tell or _tell},
    )


def _tell(_args: Any, _params: Any) -> None:
    """The world is told."""


def event(id: str, type: str = "E") -> Mapping[str, str]:
    return {"type": type, "id": id}


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


def key_of(house: House, instance: str = "a") -> Key:
    return Key(house.machine.id, instance)


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


@proves("V1")
def an_instance_whose_state_is_gone_waits_for_its_state(bench: Bench) -> None:
    before, without = House(bench, _deployed("old", "kept")), House(bench, _deployed("kept"))
    before.client.start("a")
    before.client.send("a", event("1", "GO"), id="1")
    before.work()
    without.client.send("a", event("2"), id="2")
    without.client.send("a", event("3"), id="3")
    without.fail_for_good()
    record = bench.backend.store.load(key_of(before))
    bench.holds(record is not None and record.index.status == "halted", f"no operator could see it: {record}")
    bench.mark("unreadable")
    after = House(bench, _deployed("kept", "old"))
    bench.same(after.client.redrive("a"), 2, "dead letters")
    after.client.send("a", event("4"), id="4")
    after.work()
    bench.same(after.entries("a"), ["1", "2", "3", "4"], "taken")
    for house in (before, without, after):
        house.close()


def _deployed(*states: str) -> DiaryMachine:
    return with_diary(
        {
            "id": "list",
            "context": {},
            "initial": "start",
            "states": {
                "start": {"tags": ["settled"], "on": {"GO": states[0]}},
                **{state: {"tags": ["settled"], "on": {"E": {}}} for state in states},
            },
        }
    )


@proves("T3")
def a_timer_that_its_machine_cancelled_has_no_effect(bench: Bench) -> None:
    house = House(bench, _bell(bench.lease / 2))
    house.client.start("a")
    house.client.send("a", event("1", "SET"))
    house.work()
    house.client.send("a", event("2", "CANCEL"))
    house.work()
    bench.advance(bench.lease / 2 + bench.harness.tick)
    house.work()
    bench.same(_state(house), "quiet", "the state after a timer that was cancelled")
    bench.mark("cancelled")
    house.close()


@proves("T4")
def a_timer_that_its_machine_set_again_has_its_effect_at_the_new_time(bench: Bench) -> None:
    house, quarter = House(bench, _bell(bench.lease / 2)), bench.lease / 4
    house.client.start("a")
    house.client.send("a", event("1", "SET"))
    house.work()
    bench.advance(quarter)
    house.client.send("a", event("2", "SET"))
    house.work()
    bench.advance(quarter + bench.harness.tick)
    house.work()
    bench.same(_state(house), "quiet", "the state at the old time of a timer")
    bench.mark("replaced")
    bench.advance(quarter)
    house.work()
    bench.same(_state(house), "rung", "the state at the new time of a timer")
    house.close()


def _bell(wait: float) -> Machine[Any, Any]:
    """Rings `wait` seconds after it was set last, unless it was cancelled."""
    return setup(
        actions={"set": raise_({"type": "RING"}, id="bell", delay="a while"), "cancel": cancel("bell")},
        delays={"a while": timedelta(seconds=wait)},
    ).machine(
        {
            "id": "bell",
            "initial": "quiet",
            "states": {
                "quiet": {
                    "tags": ["settled"],
                    "on": {"SET": {"actions": ["cancel", "set"]}, "CANCEL": {"actions": ["cancel"]}, "RING": "rung"},
                },
                "rung": {"tags": ["settled"]},
            },
        }
    )


def _state(house: House) -> Any:
    snapshot = house.client.get("a")
    return None if snapshot is None else snapshot.value


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


@proves("G1")
def an_old_instance_is_as_light_and_as_quick_as_a_young_one(bench: Bench) -> None:
    machine = setup(actions={"count": assign(count=lambda args: (args.context["count"] + 1) % 10)}).machine(
        {
            "id": "counter",
            "context": {"count": 0},
            "initial": "on",
            "states": {"on": {"tags": ["settled"], "on": {"E": {"actions": ["count"]}}}},
        }
    )
    handle = bench.backend.backend  # nobody watches: so many messages would take too long
    house = House(bench, machine, handle)
    house.client.start("a", id="start")
    house.host.handle(bench.receive_raw(handle))
    batches, weights, times = (100 if bench.owns_time else 12), list[int](), list[float]()
    for batch in range(batches):
        if bench.owns_time:
            bench.advance(bench.lease)  # a queue that knows ids again forgets them by and by
        ids = [f"{batch:05}.{number:02}" for number in range(100)]
        handle.queue.send([message(id, key_of(house)) for id in ids])
        begin = time.perf_counter()
        while held := bench.receive_raw(handle, 100):
            house.host.handle(held)
        times.append(time.perf_counter() - begin)
        record = handle.store.load(key_of(house))
        weights.append(len(record.body or "") if record else 0)
    young, old = weights[9], weights[-1]
    bench.holds(old <= young + 40, f"the record weighed {young} characters after 1,000 events, and {old} at the end")
    early, late = statistics.median(times[5:12]), statistics.median(times[-7:])
    bench.holds(late < 4 * early, f"100 events took {early:.4f} s after 1,000, and {late:.4f} s at the end")
    bench.mark("grown")
    house.close()
