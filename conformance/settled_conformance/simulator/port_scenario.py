"""`PortScenario`: clients and consumers that use the ports directly, without machines.

A turn would hide some faults of a port, for it tolerates them. Here only the contract judges what is delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

from attrs import frozen

from settled import Key, SettledError
from settled.durable import Delivery, Index, Message, Stored, Timer, Write
from settled_conformance.contract.checked_backend import CheckedBackend, CheckedQueue
from settled_conformance.environment import Environment
from settled_conformance.harness import Harness
from settled_conformance.simulator.choices import Choices
from settled_conformance.simulator.scenario import ScenarioRun
from settled_conformance.simulator.scheduler import (
    RECEIVE,
    WRITE,
    Body,
    Choice,
    Idle,
    InjectedFault,
    RoundTrip,
    Scheduler,
    Task,
    TaskStep,
)

KEYS = (Key("m", "A"), Key("m", "A:1"), Key("m", "b"))
TAKE = tuple(
    fault for fault in RECEIVE if fault not in (InjectedFault.REPEAT, InjectedFault.AHEAD, InjectedFault.BEHIND)
)


@frozen(eq=False)
class PortScenario:
    """A scenario of two clients, two consumers and three keys."""

    name: str = "ports"
    weight: float = 1.0

    def fits(self, harness: Harness) -> bool:
        """Return true: every backend has ports."""
        return True

    def run(self, environment: Environment, choices: Choices) -> ScenarioRun:
        """Run once in `environment`, which must be empty."""
        harness = environment.harness
        scheduler = Scheduler(
            choices, harness.now, harness.tick, environment.lease, harness.advance, environment.record_crash
        )
        environment.contract.listeners.append(scheduler.log)
        for number in (1, 2):
            scheduler.tasks.append(Task(f"c{number}", _client(scheduler, environment, number)))
        for number in (1, 2):
            scheduler.tasks.append(Task(f"w{number}", _consumer(scheduler, environment)))
        if scheduler.run():
            environment.contract.check_quiescent()
        else:
            environment.contract.report("L1", "the queue never became empty")
        return ScenarioRun(environment.violations, scheduler.timeline, frozenset(scheduler.marks))


def _client(scheduler: Scheduler, environment: Environment, number: int) -> Callable[[Task], Body]:
    """Return a client that sends, schedules, postpones and cancels; it repeats each call until it is confirmed."""
    lease = environment.lease
    ids = [f"{number}.{count}" for count in range(1, 5)]

    def calls(handle: CheckedBackend) -> list[tuple[str, Callable[[], object]]]:
        now, (first, second, third, fourth) = scheduler.epoch, ids
        own, other = KEYS[0], KEYS[number]
        batch = [Message(own, first, "{}"), Message(own, second, "{}"), Message(other, first, "{}")]
        soon, late = Timer(f"t{number}", Message(own, f"t{number}", "{}"), now + lease / 2), now + 0.8 * lease
        gone = Timer(f"g{number}", Message(own, f"g{number}", "{}"), now + 5 * lease)
        later = Timer(soon.id, soon.message, late)
        return [
            (f"send {first} {second}", lambda: handle.queue.send(batch)),
            (f"schedule {soon.id}", lambda: handle.timers.schedule(soon)),
            (f"schedule {gone.id}", lambda: handle.timers.schedule(gone)),
            (f"send {third}", lambda: handle.queue.send([Message(own, third, "{}")])),
            (f"postpone {soon.id}", lambda: handle.timers.schedule(later)),
            (f"cancel {gone.id}", lambda: handle.timers.cancel(gone.id)),
            (f"send {fourth}", lambda: handle.queue.send([Message(other, fourth, "{}")])),
        ]

    done = 0

    def body(task: Task) -> Body:
        nonlocal done
        handle = environment.open()
        while done < len(calls(handle)):
            name, do = calls(handle)[done]
            try:
                yield RoundTrip(name, partial(_done, scheduler, do), WRITE)
            except SettledError:
                continue
            scheduler.log(f"{task.name} {name}")
            done += 1

    return body


def _consumer(scheduler: Scheduler, environment: Environment) -> Callable[[Task], Body]:
    """Return a consumer that receives, and chooses what to do with each key."""

    def body(task: Task) -> Body:
        handle = environment.open()
        scheduler.add_deadline(scheduler.epoch + environment.lease / 2)
        scheduler.add_deadline(scheduler.epoch + 0.8 * environment.lease)
        while True:
            try:
                deliveries = yield RoundTrip("receive", lambda: _receive(scheduler, handle, task), TAKE)
            except SettledError:
                continue
            if not deliveries:
                yield Idle()
                continue
            for key in dict.fromkeys(delivery.message.key for delivery in deliveries):
                group = [delivery for delivery in deliveries if delivery.message.key == key]
                yield from _use(scheduler, handle, task, group)

    return body


def _receive(scheduler: Scheduler, handle: CheckedBackend, task: Task) -> Sequence[Delivery]:
    deliveries = handle.queue.receive(3)
    for delivery in deliveries:
        task.holds_until = max(task.holds_until, delivery.lease_until)
        scheduler.add_deadline(delivery.lease_until)
    if deliveries:
        scheduler.log(f"{task.name} receive {' '.join(f'{each.message.id}#{each.attempt}' for each in deliveries)}")
    return deliveries


def _use(
    scheduler: Scheduler, handle: CheckedBackend, task: Task, group: Sequence[Delivery]
) -> Generator[TaskStep, Any, None]:
    key, queue, lease = group[0].message.key, handle.queue, scheduler.lease
    options: list[tuple[str, Callable[[], object]]] = [
        ("commit and acknowledge", lambda: _commit(handle, key, group)),
        ("acknowledge", lambda: queue.ack(group)),
        ("acknowledge the first of", lambda: _one_of(queue, group)),
        ("release", lambda: queue.release(group)),
        ("park", lambda: queue.release(group, lease / 3)),
        ("extend and keep", lambda: queue.extend(group, lease)),
        ("keep", lambda: None),
    ]
    option: int = yield Choice("what is done with it", len(options))
    name, do = options[option]
    label = f"{name} {' '.join(each.message.id for each in group)}"
    try:
        yield RoundTrip(label, lambda: _done(scheduler, do), WRITE)
    except SettledError:
        return
    scheduler.log(f"{task.name} {label}")


def _done(scheduler: Scheduler, do: Callable[[], object]) -> None:
    do()
    scheduler.add_deadline(scheduler.now + scheduler.lease / 3)
    scheduler.add_deadline(scheduler.now + scheduler.lease)
    scheduler.wake_all()


def _one_of(queue: CheckedQueue, group: Sequence[Delivery]) -> None:
    queue.ack(group[:1])
    queue.release(group[1:])


def _commit(handle: CheckedBackend, key: Key, group: Sequence[Delivery]) -> None:
    found = handle.store.load(key)
    version = found.version if found else 0
    stored = Stored(version + 1, f"version {version + 1}", Index("active"))
    handle.finish(Write(key, stored, version, acks=tuple(group)))
