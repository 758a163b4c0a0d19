"""The simulated processes: workers, clients and operators, as generators for the scheduler.

A crash closes the generator and starts a new one; a client then continues with the message whose send was not
confirmed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from settled import Key, Machine, SettledError, redrive, turn
from settled.durable import Delivery, Message
from settled_conformance.simulator.command_runner import CommandRunner, TaskSteps, drive
from settled_conformance.simulator.scheduler import Body, Idle, RoundTrip, Task
from settled_conformance.simulator.simulation import Simulation
from settled_runtime.record_cache import RecordCache

AFTER_AN_ERROR = 5.0
"""The delay in seconds with which a worker releases messages whose turn failed."""


def worker(simulation: Simulation, machines: Mapping[str, Machine[Any]]) -> Callable[[Task], Body]:
    """Return a worker that receives, and runs a turn for each key, as a host of `machines`."""

    def body(task: Task) -> Body:
        again, cache = partial(simulation.repeat, task), RecordCache() if simulation.caches_records else None
        while True:
            try:
                deliveries: Sequence[Delivery] = yield RoundTrip(
                    "receive", partial(simulation.receive, task), simulation.possible_faults.receive, instead=again
                )
            except SettledError:
                continue
            if not deliveries:
                yield Idle()
            # `dict.fromkeys`, not a set: the order of keys must be the same in a replay.
            for key in dict.fromkeys(delivery.message.key for delivery in deliveries):
                group = [each for each in deliveries if each.message.key == key]
                yield from _take(simulation, CommandRunner(simulation, task, machines[key.machine], cache), key, group)

    return body


def _take(simulation: Simulation, runner: CommandRunner, key: Key, group: Sequence[Delivery]) -> TaskSteps[None]:
    task = runner.task
    nonce = f"{task.nonce}.{simulation.scheduler.round_trips}"
    cached = runner.cache.pop(key, lambda: runner.clock) if runner.cache else None
    commands = turn(runner.machine, key, group, nonce, simulation.policy, simulation.traits, cached)
    try:
        yield from drive(commands, runner)
    except SettledError as error:
        simulation.scheduler.log(f"{task.name} gives up: {error}")
        try:
            possible_faults = simulation.possible_faults.release
            yield RoundTrip("release", partial(simulation.release, task, group, AFTER_AN_ERROR), possible_faults)
        except SettledError:
            return


def client(simulation: Simulation, messages: Sequence[Message]) -> Callable[[Task], Body]:
    """Return a client that sends `messages` one by one, and repeats each until its send is confirmed."""
    left = list(messages)  # outside of the body: it survives a crash, as a client's own storage would

    def body(task: Task) -> Body:
        while left:
            try:
                yield RoundTrip(
                    f"send {left[0].id}", partial(simulation.send, task, left[:1]), simulation.possible_faults.write
                )
            except SettledError:
                continue
            simulation.scheduler.log(f"{task.name} sent {left[0].id}")
            left.pop(0)

    return body


def operator(simulation: Simulation, key: Key) -> Callable[[Task], Body]:
    """Return an operator that redrives `key`, again and again until the redrive is committed."""

    def body(task: Task) -> Body:
        while True:
            machine = simulation.machines[key.machine]
            commands = redrive(machine, key, f"{task.nonce}.{simulation.scheduler.round_trips}")
            try:
                yield from drive(commands, CommandRunner(simulation, task, machine))
            except SettledError:
                continue
            return

    return body
