"""Hands: the commands of a turn, each performed as one or more round trips, so that anything may come in between."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar, assert_never, cast

from attrs import define, evolve, field

from settled import Call, Key, Machine, SettledError
from settled.data import write as to_text
from settled.durable import Capability, Delivery, Write
from settled.durable.commands import (
    Act,
    Acted,
    Answer,
    Command,
    Course,
    Done,
    Extend,
    Finish,
    Invocation,
    Letters,
    Load,
    Loaded,
    Lying,
    Ran,
    Release,
    Remembered,
    Result,
    Run,
)
from settled_conformance.simulator.effect_keys import kind_of, meaning_of
from settled_conformance.simulator.scheduler import Choice, Sleep, Step, Task, Trip
from settled_conformance.simulator.simulation import Simulation, names
from settled_runtime.record_cache import Memory

T = TypeVar("T")
Going: TypeAlias = Generator[Step, Any, T]


def drive(course: Course[T], hands: Hands) -> Going[T]:
    """Run `course` to its end, one command after the other."""
    try:
        command = next(course)
        while True:
            try:
                answer = yield from hands.perform(command)
            except SettledError as error:
                command = course.throw(error)
            else:
                command = course.send(answer)
    except StopIteration as end:
        return cast("T", end.value)


@define(eq=False)
class Hands:
    """What `task` does for one turn, with the `machine` of its host, and what that remembers, if it does.

    `ended` are the attempts that it has made, and how each came out.
    """

    simulation: Simulation
    task: Task
    machine: Machine[Any, Any]
    memory: Memory | None = None
    ended: dict[tuple[str, int], Result] = field(factory=dict[tuple[str, int], Result])

    @property
    def clock(self) -> float:
        """What time it is for the task, which is told now.

        A host asks its backend for the time, and does so where timers are to be punctual; that a turn breaks nothing
        even if it is told a wrong one is tried elsewhere.
        """
        kernel = self.simulation.kernel
        self.task.told = kernel.now
        return kernel.now if self.simulation.punctual else kernel.clock(self.task)

    def perform(self, command: Command) -> Going[Answer]:
        """Perform `command`."""
        hazards = self.simulation.hazards
        match command:
            case Load(key, fresh=False) if self.memory and (known := self.memory.recall(key)):
                return Remembered(*known, self.clock)
            case Load(key):
                trip = Trip(f"load {key}", partial(self._load, key), hazards.read)
            case Letters(key):
                trip = Trip(f"letters {key}", partial(self._letters, key), hazards.read)
            case Finish():
                return (yield from self._finish(command))
            case Release(deliveries, delay):
                label = f"release {names(deliveries)} for {delay:g}"
                trip = Trip(label, partial(self._release, deliveries, delay), hazards.release)
            case Extend(deliveries):
                trip = Trip(f"extend {names(deliveries)}", partial(self._extend, deliveries), hazards.release)
            case Act():
                return (yield from self._act(command))
            case Run():
                return (yield from self._run(command))
            case _:
                assert_never(command)
        return cast("Answer", (yield trip))

    def _load(self, key: Key) -> Loaded:
        return Loaded(self.simulation.load(self.task, key), self.clock)

    def _letters(self, key: Key) -> Lying:
        return Lying(tuple(self.simulation.handle(self.task).store.dead_letters(key)), self.clock)

    def _finish(self, command: Finish) -> Going[Done]:
        write = command.write
        done: Done = yield self._finishing(write)
        if self.memory and write.stored and command.record:
            self.memory.remember(write.key, command.record, write.stored.version)
        return done

    def _finishing(self, write: Write) -> Trip:
        """Where a write is several round trips, something may also happen between its commit and the rest of it."""
        hazards, simulation = self.simulation.hazards, self.simulation
        is_torn = write.stored is not None and Capability.ATOMIC_FINISH not in simulation.backend.capabilities
        faults = (*hazards.write, *hazards.within) if is_torn else hazards.write
        if not (write.stored or write.sends or write.timers):
            faults = hazards.release
        half = evolve(write, sends=(), timers=(), cancels=(), acks=())
        return Trip(_label(write), partial(self._write, write), faults, partial(self._write, half))

    def _write(self, write: Write) -> Done:
        self.simulation.finish(self.task, write)
        return Done(self.clock)

    def _release(self, deliveries: Sequence[Delivery], delay: float) -> Done:
        self.simulation.release(self.task, deliveries, delay)
        return Done(self.clock)

    def _extend(self, deliveries: Sequence[Delivery]) -> Done:
        self.simulation.extend(self.task, deliveries)
        return Done(self.clock)

    # Effects

    def _act(self, command: Act) -> Going[Acted]:
        for count, action in enumerate(command.actions):
            name, what = action.idempotency_key, kind_of(action.effect)
            perform = partial(self.simulation.perform, command.key, name, what, meaning_of(action.effect))
            faults, complaint = self.simulation.hazards.effect, self.simulation.complaint
            error: str | None = yield Trip(f"{what} {name}", perform, faults, instead=partial(str, complaint))
            if error:
                return Acted(count, self.clock, error)
        return Acted(len(command.actions), self.clock)

    def _run(self, command: Run) -> Going[Ran]:
        for invocation in command.invocations:
            if _attempt(invocation) not in self.ended:
                call = partial(self._call, command, invocation)
                label = f"{invocation.src} {invocation.idempotency_key}"
                faults = self.simulation.hazards.effect
                self.ended[_attempt(invocation)] = yield Trip(label, call, faults, partial(call, fails=True))
        return (yield from self._wait(command))

    def _wait(self, command: Run) -> Going[Ran]:
        """One of those that run ends; or it is time, or the worker has to stop, before that."""
        count, kernel = len(command.invocations), self.simulation.kernel
        way: int = (yield Choice("which ends", count + 2)) if count else count + 1
        if way < count:
            return Ran(self.ended[_attempt(command.invocations[way])], self.clock)
        if command.until is not None and way == count + 1:
            kernel.say(f"{self.task.name} waits for a timer")
            yield Sleep(command.until - self.task.skew)
            return Ran(None, max(command.until, self.clock))
        kernel.say(f"{self.task.name} is interrupted")
        return Ran(None, self.clock, interrupted=True)

    def _call(self, command: Run, invocation: Invocation, fails: bool = False) -> Result:
        name = invocation.idempotency_key
        meaning = to_text([invocation.src, invocation.id, invocation.input])
        self.simulation.perform(command.key, name, invocation.src, meaning)
        if fails:
            return Result(invocation.id, False, {"name": "Failed", "message": "on purpose"})
        actor = self.machine.actor(invocation.src)
        assert not isinstance(actor, Machine), "a machine is no function"
        call = Call(command.key, name, invocation.attempt, None, command.fence, lambda: False)
        return Result(invocation.id, True, actor.function(invocation.input, call))


def _attempt(invocation: Invocation) -> tuple[str, int]:
    return (invocation.idempotency_key, invocation.attempt)


def _label(write: Write) -> str:
    return f"commit {write.key} v{write.stored.version}" if write.stored else f"write to {write.key}"
