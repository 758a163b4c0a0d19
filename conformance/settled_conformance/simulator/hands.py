"""Hands: the commands of a turn, each performed as one or more round trips, so that anything may come in between."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar, assert_never, cast

from attrs import define, field

from settled import Call, Delivery, Key, Machine, SettledError, Write
from settled.commands import (
    Act,
    Acted,
    Answer,
    Command,
    Course,
    Done,
    Finish,
    Invocation,
    Letters,
    Load,
    Loaded,
    Lying,
    Ran,
    Release,
    Result,
    Run,
)
from settled_conformance.simulator.judge import kind_of
from settled_conformance.simulator.kernel import EFFECT, READ, WRITE, Choice, Sleep, Step, Task, Trip
from settled_conformance.simulator.simulation import Simulation, names

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
    """What `task` does for one turn. `ended` are the attempts that it has made, and how each came out."""

    simulation: Simulation
    task: Task
    ended: dict[tuple[str, int], Result] = field(factory=dict[tuple[str, int], Result])

    @property
    def clock(self) -> float:
        """What time it is for the task."""
        return self.simulation.kernel.clock(self.task)

    def perform(self, command: Command) -> Going[Answer]:
        """Perform `command`."""
        match command:
            case Load(key):
                trip = Trip(f"load {key}", partial(self._load, key), READ)
            case Letters(key):
                trip = Trip(f"letters {key}", partial(self._letters, key), READ)
            case Finish(write):
                trip = Trip(_label(write), partial(self._finish, write), WRITE)
            case Release(deliveries, delay):
                label = f"release {names(deliveries)} for {delay:g}"
                trip = Trip(label, partial(self._release, deliveries, delay), WRITE)
            case Act():
                return (yield from self._act(command))
            case Run():
                return (yield from self._run(command))
            case _:
                assert_never(command)
        return cast("Answer", (yield trip))

    def _load(self, key: Key) -> Loaded:
        return Loaded(self.simulation.handle(self.task).store.load(key), self.clock)

    def _letters(self, key: Key) -> Lying:
        return Lying(tuple(self.simulation.handle(self.task).store.dead_letters(key)), self.clock)

    def _finish(self, write: Write) -> Done:
        self.simulation.finish(self.task, write)
        return Done(self.clock)

    def _release(self, deliveries: Sequence[Delivery], delay: float) -> Done:
        self.simulation.release(self.task, deliveries, delay)
        return Done(self.clock)

    # Effects

    def _act(self, command: Act) -> Going[Acted]:
        for count, action in enumerate(command.actions):
            name, what = action.idempotency_key, kind_of(action.effect)
            perform = partial(self.simulation.perform, command.key, name, what)
            error: str | None = yield Trip(f"{what} {name}", perform, EFFECT, instead=lambda: "it fails")
            if error:
                return Acted(count, self.clock, error)
        return Acted(len(command.actions), self.clock)

    def _run(self, command: Run) -> Going[Ran]:
        for invocation in command.invocations:
            if _attempt(invocation) not in self.ended:
                call = partial(self._call, command, invocation)
                label = f"{invocation.src} {invocation.idempotency_key}"
                self.ended[_attempt(invocation)] = yield Trip(label, call, EFFECT, partial(call, fails=True))
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
        self.simulation.perform(command.key, name, invocation.src)
        if fails:
            return Result(invocation.id, False, {"name": "Failed", "message": "on purpose"})
        actor = self.simulation.machines[command.key.machine].actor(invocation.src)
        assert not isinstance(actor, Machine), "a machine is no function"
        call = Call(command.key, name, invocation.attempt, None, command.fence, lambda: False)
        return Result(invocation.id, True, actor.function(invocation.input, call))


def _attempt(invocation: Invocation) -> tuple[str, int]:
    return (invocation.idempotency_key, invocation.attempt)


def _label(write: Write) -> str:
    return f"commit {write.key} v{write.stored.version}" if write.stored else f"write to {write.key}"
