"""`CommandRunner`: the simulator's driver of turns; it performs each command as round trips of a task.

It takes the place of the host's driver. Because every command yields before it acts, other tasks and faults can come
before, between and after the commands of a turn.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar, assert_never, cast

from attrs import define, evolve, field

from settled import Call, Key, Machine, SettledError
from settled.data import write as to_text
from settled.durable import Capability, Delivery, Write
from settled.durable.commands import (
    ActionsPerformed,
    ActorCall,
    ActorEnded,
    ActorResult,
    Answer,
    Command,
    Commands,
    DeadLettersLoaded,
    Done,
    EndIsolation,
    Extend,
    Finish,
    Isolate,
    Isolated,
    Load,
    LoadDeadLetters,
    Loaded,
    PerformActions,
    Release,
    RunActors,
)
from settled_conformance.simulator.effect_keys import kind_of, payload_of
from settled_conformance.simulator.machines import KILLER
from settled_conformance.simulator.scheduler import Choice, RoundTrip, Sleep, Task, TaskStep
from settled_conformance.simulator.simulation import Simulation, names
from settled_runtime.record_cache import RecordCache

T = TypeVar("T")
TaskSteps: TypeAlias = Generator[TaskStep, Any, T]


def drive(commands: Commands[T], runner: CommandRunner) -> TaskSteps[T]:
    """Run `commands` to the end; raise the error of a command where the generator waits for its answer."""
    try:
        command = next(commands)
        while True:
            try:
                answer = yield from runner.perform(command)
            except SettledError as error:
                command = commands.throw(error)
            else:
                command = commands.send(answer)
    except StopIteration as end:
        return cast("T", end.value)


@define(eq=False)
class CommandRunner:
    """Performs the commands of one turn for `task`, with the `machine` of its host and its record `cache`, if any.

    `ended` maps attempts of actors, by idempotency key and number, to their results.
    """

    simulation: Simulation
    task: Task
    machine: Machine[Any]
    cache: RecordCache | None = None
    ended: dict[tuple[str, int], ActorResult] = field(factory=dict[tuple[str, int], ActorResult])

    @property
    def clock(self) -> float:
        """The time that the turn is given, which is noted as read now.

        A real host uses the backend's clock, as punctual scenarios do. The others use the task's own, wrong clock: a
        turn must break nothing even then.
        """
        scheduler = self.simulation.scheduler
        self.task.clock_read_at = scheduler.now
        return scheduler.now if self.simulation.punctual else scheduler.clock(self.task)

    def perform(self, command: Command) -> TaskSteps[Answer]:
        """Perform `command`, and return its answer."""
        possible_faults = self.simulation.possible_faults
        match command:
            case Load(key):
                round_trip = RoundTrip(f"load {key}", partial(self._load, key), possible_faults.read)
            case LoadDeadLetters(key):
                round_trip = RoundTrip(
                    f"load dead letters {key}", partial(self._load_dead_letters, key), possible_faults.read
                )
            case Finish():
                return (yield from self._finish(command))
            case Release(deliveries, delay):
                label = f"release {names(deliveries)} for {delay:g}"
                round_trip = RoundTrip(label, partial(self._release, deliveries, delay), possible_faults.release)
            case Extend(deliveries):
                round_trip = RoundTrip(
                    f"extend {names(deliveries)}", partial(self._extend, deliveries), possible_faults.release
                )
            case PerformActions():
                return (yield from self._perform_actions(command))
            case RunActors():
                return (yield from self._run_actors(command))
            case Isolate():  # a simulated worker runs one turn at a time
                self.simulation.scheduler.log(f"{self.task.name} runs {command.message_id} alone")
                return Isolated(True, self.clock)
            case EndIsolation():
                return Done(self.clock)
            case _:
                assert_never(command)
        return cast("Answer", (yield round_trip))

    def _load(self, key: Key) -> Loaded:
        return Loaded(self.simulation.load(self.task, key), self.clock)

    def _load_dead_letters(self, key: Key) -> DeadLettersLoaded:
        return DeadLettersLoaded(tuple(self.simulation.handle(self.task).store.dead_letters(key)), self.clock)

    def _finish(self, command: Finish) -> TaskSteps[Done]:
        write = command.write
        done: Done = yield self._finishing(write)
        if self.cache and write.stored and command.record:
            self.cache.put(write.key, command.record, write.stored.version)
        return done

    def _finishing(self, write: Write) -> RoundTrip:
        """Return the round trip of a write. If the backend's writes are not atomic, faults may strike within it."""
        possible_faults, simulation = self.simulation.possible_faults, self.simulation
        is_torn = write.stored is not None and Capability.ATOMIC_FINISH not in simulation.backend.capabilities
        faults = (*possible_faults.write, *possible_faults.within) if is_torn else possible_faults.write
        if not (write.stored or write.sends or write.timers):
            faults = possible_faults.release
        # The parts of a write are done in order and the commit is the first, so a write that is cut off has done this.
        half = evolve(write, sends=(), timers=(), cancels=(), acks=())
        return RoundTrip(_label(write), partial(self._write, write), faults, partial(self._write, half))

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

    def _perform_actions(self, command: PerformActions) -> TaskSteps[ActionsPerformed]:
        for count, action in enumerate(command.actions):
            name, what = action.idempotency_key, kind_of(action.effect)
            perform = partial(self.simulation.perform, command.key, name, what, payload_of(action.effect))
            faults, error_message = self.simulation.possible_faults.effect, self.simulation.error_message
            error: str | None = yield RoundTrip(f"{what} {name}", perform, faults, instead=partial(str, error_message))
            if error:
                return ActionsPerformed(count, self.clock, error)
        return ActionsPerformed(len(command.actions), self.clock)

    def _run_actors(self, command: RunActors) -> TaskSteps[ActorEnded]:
        for invocation in command.calls:
            if _attempt(invocation) not in self.ended:
                call = partial(self._call, command, invocation)
                label = f"{invocation.src} {invocation.idempotency_key}"
                faults = self.simulation.possible_faults.effect
                kills = invocation.src == KILLER and bool(invocation.input)
                if kills:
                    self.simulation.killers.add(command.key)
                self.ended[_attempt(invocation)] = yield RoundTrip(
                    label, call, faults, partial(call, fails=True), kills
                )
        return (yield from self._wait(command))

    def _wait(self, command: RunActors) -> TaskSteps[ActorEnded]:
        """Choose what ends the wait: one of the running actors, the time limit, or a shutdown of the worker."""
        count, scheduler = len(command.calls), self.simulation.scheduler
        option: int = (yield Choice("which ends", count + 2)) if count else count + 1
        if option < count:
            return ActorEnded(self.ended[_attempt(command.calls[option])], self.clock)
        if command.until is not None and option == count + 1:
            scheduler.log(f"{self.task.name} waits for a timer")
            yield Sleep(command.until - self.task.skew)  # `until` is by the task's clock, sleeping by the true one
            return ActorEnded(None, max(command.until, self.clock))
        scheduler.log(f"{self.task.name} is interrupted")
        return ActorEnded(None, self.clock, stopping=True)

    def _call(self, command: RunActors, invocation: ActorCall, fails: bool = False) -> ActorResult:
        name = invocation.idempotency_key
        payload = to_text([invocation.src, invocation.id, invocation.input])
        self.simulation.perform(command.key, name, invocation.src, payload)
        if fails:
            return ActorResult(invocation.id, False, {"name": "Failed", "message": "on purpose"})
        actor = self.machine.actor(invocation.src)
        assert not isinstance(actor, Machine), "turns run functions only; a machine is an instance of its own"
        call = Call(command.key, name, invocation.attempt, None, command.fence, lambda: False)
        return ActorResult(invocation.id, True, actor.function(invocation.input, call))


def _attempt(invocation: ActorCall) -> tuple[str, int]:
    return (invocation.idempotency_key, invocation.attempt)


def _label(write: Write) -> str:
    return f"commit {write.key} v{write.stored.version}" if write.stored else f"write to {write.key}"
