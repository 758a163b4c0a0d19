"""The operations of participants: sends, waits, deletions, imports, redrives and restores, as steps of a task.

A participant runs its operations in order. After a crash it repeats the operation that was interrupted, unless that is
wrapped in `without_retry`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, cast

from attrs import frozen

from settled import EventError, IdReusedError, Json, Key, RecordError, SettledError, from_xstate_json, redrive
from settled.durable import Backend, Capability, Message, Record, Stored, import_tree
from settled.durable.persisted_tree import tree_to_json
from settled.durable.window import WINDOW
from settled_conformance.simulator.command_runner import CommandRunner, TaskSteps, drive
from settled_conformance.simulator.scheduler import Body, Idle, InjectedFault, RoundTrip, Task
from settled_conformance.simulator.simulation import Simulation
from settled_runtime import Client

ClientOperation: TypeAlias = Callable[[Simulation, Task], TaskSteps[None]]
Condition: TypeAlias = Callable[[Simulation], bool]


def participant(simulation: Simulation, operations: Sequence[ClientOperation]) -> Callable[[Task], Body]:
    """Return a task that runs `operations` in order; after a crash it continues with the interrupted one."""
    left = list(operations)

    def body(task: Task) -> Body:
        while left:
            yield from left[0](simulation, task)
            left.pop(0)

    return body


def without_retry(operation: ClientOperation) -> ClientOperation:
    """Return `operation`, which is not repeated after a crash."""

    def attempt(simulation: Simulation, task: Task) -> TaskSteps[None]:
        if task.incarnation == 1:
            yield from operation(simulation, task)

    return attempt


# Clients


@frozen
class _SendOnlyBackend:
    """The part of a backend that a client uses: a queue that sends, through the simulation."""

    simulation: Simulation
    task: Task

    @property
    def queue(self) -> _SendOnlyBackend:
        return self

    @property
    def largest_message(self) -> int:
        return self.simulation.backend.largest_message

    def send(self, messages: Sequence[Message]) -> None:
        self.simulation.send(self.task, messages)


def start(key: Key, input: Json, *, id: str | None = None) -> ClientOperation:
    """Start `key` with `input`, which is also the message id: the oracle tells starts apart by their inputs."""
    return _client_operation(
        key, f"start {id or input}", lambda client: client.start(key.instance, input, message_id=id or str(input))
    )


def send(key: Key, id: str, event: Mapping[str, Json]) -> ClientOperation:
    """Send `event` to `key`, with the message id added: the oracle tells events apart by their content."""
    return _client_operation(
        key, f"send {id}", lambda client: client.send(key.instance, {"id": id, **event}, message_id=id)
    )


def _client_operation(key: Key, label: str, call: Callable[[Client[Any]], object]) -> ClientOperation:
    def operation(simulation: Simulation, task: Task) -> TaskSteps[None]:
        client = Client(simulation.machines[key.machine], cast("Backend", _SendOnlyBackend(simulation, task)))
        yield from _retry_until_answered(simulation, task, label, partial(call, client))

    return operation


def _retry_until_answered(
    simulation: Simulation, task: Task, label: str, perform: Callable[[], object]
) -> TaskSteps[None]:
    while True:
        try:
            yield RoundTrip(label, perform, _send_faults(simulation))
        except (EventError, IdReusedError) as error:
            simulation.scheduler.log(f"{task.name} {label} fails: {error}")
            return
        except SettledError:
            continue
        simulation.scheduler.log(f"{task.name} {label}")
        return


def _send_faults(simulation: Simulation) -> Sequence[InjectedFault]:
    """Return the faults of a send. Where a late duplicate would not be recognised, none that makes clients repeat."""
    faults = simulation.possible_faults.write
    knows = Capability.DEDUPLICATION in simulation.environment.contract.queue_checker.capabilities
    if knows or simulation.policy.window >= WINDOW:
        return faults
    return tuple(fault for fault in faults if fault not in (InjectedFault.CRASH_AFTER, InjectedFault.LOST_ANSWER))


# Waiting


def wait(condition: Condition) -> ClientOperation:
    """Wait until `condition` holds."""

    def operation(simulation: Simulation, _task: Task) -> TaskSteps[None]:
        while not condition(simulation):
            yield Idle()

    return operation


def taken(key: Key, count: int) -> Condition:
    """Return the condition that the lifetimes of `key` have taken at least `count` events."""
    return lambda simulation: simulation.lifetimes_of(key).taken >= count


def is_alive(key: Key, number: int) -> Condition:
    """Return the condition that `key` has reached its lifetime of this number, and is not deleted."""
    return lambda simulation: (
        len(simulation.lifetimes_of(key).oracles) >= number and simulation.lifetimes_of(key).current is not None
    )


def is_deleted(key: Key) -> Condition:
    """Return the condition that `key` existed and was deleted."""
    return lambda simulation: (
        bool(simulation.lifetimes_of(key).oracles) and simulation.lifetimes_of(key).current is None
    )


def has_record(key: Key, holds: Callable[[Record], bool]) -> Condition:
    """Return the condition that `key` has a record for which `holds` is true."""
    return lambda simulation: (record := simulation.record(key)) is not None and holds(record)


def has_dead_letters(key: Key, count: int) -> Condition:
    """Return the condition that `key` has at least `count` dead letters."""
    return lambda simulation: len(simulation.backend.store.dead_letters(key)) >= count


# Operators


def delete(key: Key) -> ClientOperation:
    """Delete `key` in whatever state it is."""

    def operation(simulation: Simulation, task: Task) -> TaskSteps[None]:
        while True:
            stored = yield from _load(simulation, task, key)
            if stored is None or stored.is_deleted:
                return
            perform = partial(simulation.delete, task, key, stored)
            try:
                yield RoundTrip(f"delete {key}", perform, simulation.possible_faults.release)
            except SettledError:
                continue
            simulation.scheduler.log(f"{task.name} deletes {key}")
            return

    return operation


def redrive_dead_letters(key: Key) -> ClientOperation:
    """Redrive the dead letters of `key`."""

    def operation(simulation: Simulation, task: Task) -> TaskSteps[None]:
        machine = simulation.machines[key.machine]
        simulation.scheduler.mark("redrive")
        while True:
            nonce = f"{task.nonce}.{simulation.scheduler.round_trips}"
            try:
                yield from drive(redrive(machine, key, nonce), CommandRunner(simulation, task, machine))
            except SettledError:
                continue
            return

    return operation


def import_snapshot(key: Key, text: Callable[[Simulation], str]) -> ClientOperation:
    """Import a snapshot that XState persisted, as `settled_runtime.Client` does, but one round trip at a time."""

    def operation(simulation: Simulation, task: Task) -> TaskSteps[None]:
        machine, nonce = simulation.machines[key.machine], f"{task.nonce}.{simulation.scheduler.round_trips}"
        tree = tree_to_json(machine, from_xstate_json(machine, text(simulation)))
        while True:
            stored = yield from _load(simulation, task, key)
            try:
                write = import_tree(machine, key, tree, stored, nonce, simulation.scheduler.now, simulation.traits)
            except RecordError:
                return  # the instance exists already
            perform = partial(simulation.finish, task, write, is_import=write.stored is not None)
            try:
                yield RoundTrip(f"import {key}", perform, simulation.possible_faults.write)
            except SettledError:
                continue
            return

    return operation


def _load(simulation: Simulation, task: Task, key: Key) -> TaskSteps[Stored | None]:
    """Load `key`, until that succeeds."""
    round_trip = RoundTrip(f"load {key}", partial(simulation.load, task, key), simulation.possible_faults.read)
    while True:
        try:
            stored: Stored | None = yield round_trip
        except SettledError:
            continue
        return stored


def restore_backup(after: Condition, then: Condition) -> ClientOperation:
    """Back up the store once `after` holds, and restore it once `then` holds."""

    def operation(simulation: Simulation, task: Task) -> TaskSteps[None]:
        yield from wait(after)(simulation, task)
        simulation.scheduler.log(f"{task.name} makes a backup")
        restore = simulation.backup()
        yield from wait(then)(simulation, task)
        simulation.scheduler.log(f"{task.name} restores the backup")
        restore()

    return operation
