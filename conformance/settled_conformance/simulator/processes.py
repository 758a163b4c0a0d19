"""Those who work with a backend: clients, workers, operators. Each may be lost at any moment, and begins again."""

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
"""For how many seconds a worker gives back what it could not go on with."""


def worker(simulation: Simulation, machines: Mapping[str, Machine[Any, Any]]) -> Callable[[Task], Body]:
    """Receives, and takes what it receives through its turns, one key after the other, as a host of `machines`."""

    def body(task: Task) -> Body:
        again, cache = partial(simulation.repeat, task), RecordCache() if simulation.caches_records else None
        while True:
            try:
                deliveries: Sequence[Delivery] = yield RoundTrip(
                    "receive", partial(simulation.receive, task), simulation.fault_rates.receive, instead=again
                )
            except SettledError:
                continue
            if not deliveries:
                yield Idle()
            for key in dict.fromkeys(delivery.message.key for delivery in deliveries):
                group = [each for each in deliveries if each.message.key == key]
                yield from _take(simulation, CommandRunner(simulation, task, machines[key.machine], cache), key, group)

    return body


def _take(simulation: Simulation, runner: CommandRunner, key: Key, group: Sequence[Delivery]) -> TaskSteps[None]:
    task = runner.task
    nonce = f"{task.nonce}.{simulation.scheduler.round_trips}"
    try:
        yield from drive(turn(runner.machine, key, group, nonce, simulation.policy, simulation.traits), runner)
    except SettledError as error:
        simulation.scheduler.log(f"{task.name} gives up: {error}")
        try:
            fault_rates = simulation.fault_rates.release
            yield RoundTrip("release", partial(simulation.release, task, group, AFTER_AN_ERROR), fault_rates)
        except SettledError:
            return


def client(simulation: Simulation, messages: Sequence[Message]) -> Callable[[Task], Body]:
    """Sends `messages`, each until it is answered; after a crash it goes on with the one it was at."""
    left = list(messages)

    def body(task: Task) -> Body:
        while left:
            try:
                yield RoundTrip(
                    f"send {left[0].id}", partial(simulation.send, task, left[:1]), simulation.fault_rates.write
                )
            except SettledError:
                continue
            simulation.scheduler.log(f"{task.name} sent {left[0].id}")
            left.pop(0)

    return body


def operator(simulation: Simulation, key: Key) -> Callable[[Task], Body]:
    """Redrives `key` until that has worked."""

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
