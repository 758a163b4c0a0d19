"""A world for testing turns: virtual time, a memory backend, and workers that can crash at any command.

A worker is one call of `deliver`: it receives messages, drives their turns, and performs each command in order; a test
can have it crash at one of them. Its messages are delivered again once their lease is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from string import ascii_lowercase
from typing import Any, assert_never

from attrs import Factory, define, evolve

from settled import (
    Call,
    ConflictError,
    Key,
    LeaseLostError,
    Machine,
    Outcome,
    Policy,
    SettledError,
    Snapshot,
    TurnEnd,
    redrive,
    turn,
)
from settled.durable import Event, Message, Record, Start, Traits, encode, record_from_json
from settled.durable.commands import (
    ActionsPerformed,
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
from settled.durable.headers import NO_HEADERS
from settled.durable.messages import Content
from settled.durable.ports import DeadLetter, Delivery
from settled.durable.record_json import record_to_tombstone
from settled.step.effects import Emit, Execute, Log
from settled_local.memory import MemoryBackend
from settled_runtime.record_cache import RecordCache

LEASE = 30.0

STRAY = "0.0"
"""The receipt of a delivery that did not come from the queue."""


class Crash(BaseException):
    """The death of a worker, which nothing in the turn may catch."""


@define
class Plan:
    """An error at the `nth` command that `matches`: instead of performing it, or `after` it was performed."""

    matches: Callable[[Command], bool]
    error: BaseException
    after: bool = False
    nth: int = 1

    def is_due(self, command: Command) -> bool:
        if self.matches(command):
            self.nth -= 1
        return self.nth == 0 and self.matches(command)


@define
class World:
    """The instances of `machine` and its child machines (`others`), in memory and in virtual time.

    The memory backend guarantees more than the contract. Turns rely only on `traits`, by default on none of it.
    """

    machine: Machine[Any]
    others: Sequence[Machine[Any]] = ()
    policy: Policy = Policy(lease=timedelta(seconds=LEASE))
    traits: Traits = Factory(Traits)
    now: float = 1_000.0
    backend: MemoryBackend = Factory(
        lambda self: MemoryBackend(lease=timedelta(seconds=LEASE), clock=lambda: self.now), takes_self=True
    )
    plans: list[Plan] = Factory(list[Plan])
    freezes: list[tuple[type[Any], Callable[[], object]]] = Factory(list[tuple[type[Any], Callable[[], object]]])
    effects: list[tuple[str, str, int]] = Factory(list[tuple[str, str, int]])
    commands: list[Command] = Factory(list[Command])
    sent: int = 0
    workers: int = 0
    can_isolate: bool = True
    record_cache: RecordCache | None = None

    # Clients and operators

    def start(self, instance: str = "ada", input: Any = None, id: str | None = None) -> str:
        return self.post(instance, encode(Start(input)), id)

    def send(
        self,
        event: Any,
        instance: str | Key = "ada",
        id: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> str:
        event = {"type": event} if isinstance(event, str) else event
        return self.post(instance, encode(Event(event)), id, headers)

    def post(
        self, instance: str | Key, body: str, id: str | None = None, headers: Mapping[str, str] = NO_HEADERS
    ) -> str:
        self.sent += 1
        key = instance if isinstance(instance, Key) else self.key(instance)
        message = Message(key, id or f"m{self.sent}", body, headers)
        self.backend.queue.send([message])
        return message.id

    def stray(self, content: Content, id: str, attempt: int = 1) -> Delivery:
        """Return a delivery that no queue should make: a duplicate whose id it has forgotten, or one out of order."""
        return Delivery(Message(self.key(), id, encode(content)), STRAY, attempt, self.now + LEASE)

    def redrive(self, instance: str = "ada") -> int:
        self.workers += 1
        count: int = self.drive(redrive(self.machine, self.key(instance), f"w{self.workers}"))
        return count

    def delete(self, instance: str = "ada") -> None:
        key = self.key(instance)
        stored = self.backend.store.load(key)
        assert stored is not None, "there is an instance to delete"
        self.backend.store.delete(key, record_to_tombstone(key, stored, self.now), stored.version)

    # Faults

    def crash_at(self, command: type[Any], *, nth: int = 1) -> None:
        """Let the next worker die before it performs its `nth` command of this kind."""
        self.plans.append(Plan(lambda each: isinstance(each, command), Crash(), nth=nth))

    def crash_after(self, command: type[Any], *, nth: int = 1) -> None:
        """Let the next worker die after it has performed its `nth` command of this kind."""
        self.plans.append(Plan(lambda each: isinstance(each, command), Crash(), after=True, nth=nth))

    def fail_at(self, command: type[Any], error: SettledError, *, nth: int = 1) -> None:
        """Let the `nth` command of this kind fail with `error`, without any effect."""
        self.plans.append(Plan(lambda each: isinstance(each, command), error, nth=nth))

    def lose_answer_of(self, command: type[Any], error: SettledError, *, nth: int = 1) -> None:
        """Let the `nth` command of this kind take effect, but fail with `error`."""
        self.plans.append(Plan(lambda each: isinstance(each, command), error, after=True, nth=nth))

    def before(self, command: type[Any], happens: Callable[[], object]) -> None:
        """Freeze the next worker before it performs a command of this kind, and call `happens` meanwhile."""
        self.freezes.append((command, happens))

    # Workers

    def deliver(self, limit: int = 10) -> TurnEnd | None:
        """Let one worker take the messages that are ready; None if there are none, or if the worker died."""
        deliveries = self.backend.queue.receive(limit)
        return self.take(deliveries) if deliveries else None

    def take(self, deliveries: Sequence[Delivery]) -> TurnEnd | None:
        """Let one worker take `deliveries`."""
        self.workers += 1
        end: TurnEnd | None = None
        keys = dict.fromkeys(delivery.message.key for delivery in deliveries)
        for key in keys:
            group = [delivery for delivery in deliveries if delivery.message.key == key]
            try:
                cached = self.record_cache.pop(key, lambda: self.now) if self.record_cache else None
                nonce, machine = f"w{self.workers}", self.machine_of(key)
                end = self.drive(turn(machine, key, group, nonce, self.policy, self.traits, cached))
            except Crash:
                return None
        return end

    def settle(self, until: float = 10_000.0) -> None:
        """Let workers work and time pass until there is nothing left to do before `until`."""
        while True:
            while deliveries := self.backend.queue.receive(10):
                self.take(deliveries)
            later = self.backend.next_due()
            if later > until:
                return
            self.now = max(self.now, later)

    def drive(self, commands: Commands[Any]) -> Any:
        try:
            command = next(commands)
            while True:
                try:
                    answer = self.perform(command)
                except SettledError as error:
                    command = commands.throw(error)
                else:
                    command = commands.send(answer)
        except StopIteration as end:
            return end.value

    def perform(self, command: Command) -> Answer:
        for freeze in [each for each in self.freezes if isinstance(command, each[0])]:
            self.freezes.remove(freeze)
            freeze[1]()
        self.commands.append(command)
        plan = next((plan for plan in self.plans if plan.is_due(command)), None)
        if plan is not None and not plan.after:
            self.plans.remove(plan)
            raise plan.error
        answer = self._perform(command)
        if plan is not None:
            self.plans.remove(plan)
            raise plan.error
        return answer

    def _perform(self, command: Command) -> Answer:
        match command:
            case Load(key):
                return Loaded(self.backend.store.load(key), self.now)
            case LoadDeadLetters(key):
                return DeadLettersLoaded(tuple(self.backend.store.dead_letters(key)), self.now)
            case Finish(write, record):
                self.backend.finish(write if self.traits.fenced else evolve(write, holder=None))
                if self.record_cache and write.stored and record:
                    self.record_cache.put(write.key, record, write.stored.version)
                return Done(self.now)
            case Release(deliveries, delay):
                self.backend.queue.release(deliveries, delay)
                return Done(self.now)
            case Extend(deliveries):
                return self._extend(deliveries)
            case PerformActions():
                return self._perform_actions(command)
            case RunActors():
                return self._run_actors(command)
            case Isolate():
                return Isolated(self.can_isolate, self.now)
            case EndIsolation():
                return Done(self.now)
            case _:
                assert_never(command)

    def _extend(self, deliveries: Sequence[Delivery]) -> Answer:
        try:
            self.backend.queue.extend([each for each in deliveries if each.receipt != STRAY], LEASE)
        except ConflictError as error:
            raise LeaseLostError(str(error)) from error
        return Done(self.now)

    def _perform_actions(self, command: PerformActions) -> Answer:
        for count, action in enumerate(command.actions):
            match action.effect:
                case Execute(type=type) as effect:
                    self.effects.append((type, action.idempotency_key, 1))
                    call = self._call(command, action.idempotency_key, 1, action.headers)
                    try:
                        self.machine_of(command.key).bind(effect, command.snapshot, call)()
                    except Exception as error:
                        return ActionsPerformed(count, self.now, f"{type}: {error}")
                case Emit():
                    self.effects.append(("emit", action.idempotency_key, 1))
                case Log():
                    self.effects.append(("log", action.idempotency_key, 1))
        return ActionsPerformed(len(command.actions), self.now)

    def _run_actors(self, command: RunActors) -> Answer:
        if not command.calls:
            assert command.until is not None
            self.now = max(self.now, command.until)
            return ActorEnded(None, self.now)
        actor_call = command.calls[0]
        self.effects.append((actor_call.src, actor_call.idempotency_key, actor_call.attempt))
        actor = self.machine_of(command.key).actor(actor_call.src)
        assert not isinstance(actor, Machine)
        call = self._call(command, actor_call.idempotency_key, actor_call.attempt, actor_call.headers)
        try:
            output = actor.function(actor_call.input, call)
        except Hanging:
            assert command.until is not None, "an actor that hangs needs a timer to end it"
            self.now = max(self.now, command.until)
            return ActorEnded(None, self.now)
        except Exception as error:
            return ActorEnded(
                ActorResult(actor_call.id, False, {"name": type(error).__name__, "message": str(error)}), self.now
            )
        return ActorEnded(ActorResult(actor_call.id, True, output), self.now)

    def _call(
        self, command: RunActors | PerformActions, idempotency_key: str, attempt: int, headers: Mapping[str, str]
    ) -> Call:
        return Call(command.key, idempotency_key, attempt, None, command.fence, lambda: False, headers)

    # Observations

    def key(self, instance: str = "ada") -> Key:
        return Key(self.machine.id, instance)

    def machine_of(self, key: Key) -> Machine[Any]:
        return next(machine for machine in (self.machine, *self.others) if machine.id == key.machine)

    def record(self, instance: str = "ada") -> Record:
        return self.record_of(self.key(instance))

    def record_of(self, key: Key) -> Record:
        stored = self.backend.store.load(key)
        assert stored is not None and not stored.is_deleted, f"{key} has no record"
        return record_from_json(self.machine_of(key), key, stored.body)

    def version(self, instance: str = "ada") -> int:
        stored = self.backend.store.load(self.key(instance))
        return 0 if stored is None else stored.version

    def snapshot(self, instance: str = "ada") -> Snapshot[Any]:
        return self.record(instance).readable_snapshot()

    def value(self, instance: str = "ada") -> Any:
        return self.snapshot(instance).value

    def outcome(self, id: str, instance: str = "ada") -> Outcome | None:
        return self.record(instance).window.outcome_of_id(id)

    def reason(self, id: str, instance: str = "ada") -> str | None:
        return self.record(instance).window.reason_of_id(id)

    def dead_letters(self, instance: str = "ada") -> list[DeadLetter]:
        return list(self.backend.store.dead_letters(self.key(instance)))

    def performed(self, name: str) -> list[tuple[str, int]]:
        """Return the idempotency key and attempt of each start of the actor or action `name`.

        The nonce in a key is replaced by a letter: ``a`` for the first nonce of an event's effects, ``b`` for a second
        one, of which there should be none.
        """
        nonces: dict[tuple[str, str], list[str]] = {}
        found: list[tuple[str, int]] = []
        for each, key, attempt in self.effects:
            instance, nonce, ordinal, index = key.rsplit("/", 3)
            known = nonces.setdefault((instance, ordinal), [])
            if nonce not in known:
                known.append(nonce)
            if each == name:
                found.append((f"{instance}/{ascii_lowercase[known.index(nonce)]}/{ordinal}/{index}", attempt))
        return found


class Hanging(Exception):
    """Raised by an actor that stands for one that never returns; it ends with the next timer."""
