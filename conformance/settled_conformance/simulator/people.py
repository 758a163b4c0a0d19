"""Those who work with a backend: clients, workers, operators. Each may be lost at any moment, and begins again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from settled import Delivery, Key, Message, SettledError, redrive, turn
from settled_conformance.simulator.hands import Going, Hands, drive
from settled_conformance.simulator.kernel import RECEIVE, WRITE, Body, Idle, Task, Trip
from settled_conformance.simulator.simulation import Simulation

AFTER_AN_ERROR = 5.0
"""For how many seconds a worker gives back what it could not go on with."""


def worker(simulation: Simulation) -> Callable[[Task], Body]:
    """Receives, and takes what it receives through its turns, one key after the other."""

    def body(task: Task) -> Body:
        again = partial(simulation.repeat, task)
        while True:
            try:
                deliveries: Sequence[Delivery] = yield Trip(
                    "receive", partial(simulation.receive, task), RECEIVE, instead=again
                )
            except SettledError:
                continue
            if not deliveries:
                yield Idle()
            for key in dict.fromkeys(delivery.message.key for delivery in deliveries):
                yield from _take(simulation, task, key, [each for each in deliveries if each.message.key == key])

    return body


def _take(simulation: Simulation, task: Task, key: Key, group: Sequence[Delivery]) -> Going[None]:
    machine, nonce = simulation.machines[key.machine], f"{task.nonce}.{simulation.kernel.trips}"
    try:
        yield from drive(turn(machine, key, group, nonce, simulation.policy), Hands(simulation, task))
    except SettledError as error:
        simulation.kernel.say(f"{task.name} gives up: {error}")
        try:
            yield Trip("release", partial(simulation.release, task, group, AFTER_AN_ERROR), WRITE)
        except SettledError:
            return


def client(simulation: Simulation, messages: Sequence[Message]) -> Callable[[Task], Body]:
    """Sends `messages`, each until it is answered; after a crash it goes on with the one it was at."""
    left = list(messages)

    def body(task: Task) -> Body:
        while left:
            try:
                yield Trip(f"send {left[0].id}", partial(simulation.send, task, left[:1]), WRITE)
            except SettledError:
                continue
            simulation.kernel.say(f"{task.name} sent {left[0].id}")
            left.pop(0)

    return body


def operator(simulation: Simulation, key: Key) -> Callable[[Task], Body]:
    """Redrives `key` until that has worked."""

    def body(task: Task) -> Body:
        while True:
            course = redrive(simulation.machines[key.machine], key, f"{task.nonce}.{simulation.kernel.trips}")
            try:
                yield from drive(course, Hands(simulation, task))
            except SettledError:
                continue
            return

    return body
