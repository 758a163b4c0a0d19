"""What both hosts know: the machines, the backend, who watches, and what a running effect is told."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from attrs import evolve, frozen

from settled import Call, End, Json, Key, Machine, Policy, RecordError, SettledError, turn
from settled.durable import Backend, Capability, Delivery, Traits
from settled.durable.commands import Act, Course, Finish, Invocation, Load, Release, Remembered, Run
from settled.durable.record import Action
from settled.step.effects import Emit, Execute, Log
from settled_runtime.backend_commands import PortCommand, Ports
from settled_runtime.events import ActionPerformed, CallBegan, Emitted, Logged, Observer, Observers, TurnEnded
from settled_runtime.leases import Held, LeaseKeeper
from settled_runtime.record_cache import Memory

AFTER_AN_ERROR = 5.0
"""For how many seconds messages are given back when their turn could not go on."""


@frozen
class House:
    """All that a host needs but a way to wait."""

    machines: Mapping[str, Machine[Any, Any]]
    ports: Ports
    keeper: LeaseKeeper
    memory: Memory
    policy: Policy
    traits: Traits
    observe: Observer

    @property
    def clock(self) -> Callable[[], float]:
        """The backend's time, in seconds since the epoch."""
        return self.ports.clock

    @classmethod
    def of(
        cls,
        machines: Iterable[Machine[Any, Any]],
        backend: Backend,
        policy: Policy | None,
        observers: Iterable[Observer],
    ) -> House:
        """The house of `machines`, and of all machines that run as their children."""
        observe = Observers.of(observers)
        return cls(
            machines={machine.id: machine for machine in _with_children(machines)},
            ports=Ports(backend, observe),
            keeper=LeaseKeeper(backend.queue, backend.lease),
            memory=Memory(),
            policy=evolve(policy or Policy(), lease=backend.lease),
            traits=traits_of(backend),
            observe=observe,
        )

    def machine(self, key: Key) -> Machine[Any, Any]:
        """The machine of `key`.

        Raises:
            RecordError: it does not live here.
        """
        if key.machine not in self.machines:
            raise RecordError(f"{key}: this host has no machine {key.machine!r}, only {', '.join(self.machines)}")
        return self.machines[key.machine]

    def course(self, key: Key, deliveries: Sequence[Delivery]) -> Course[End]:
        """The turn of `deliveries`."""
        return (yield from turn(self.machine(key), key, deliveries, secrets.token_hex(8), self.policy, self.traits))

    def call(self, command: Run | Act, name: str, held: Held, attempt: int = 1, deadline: float | None = None) -> Call:
        """What an effect is told of its circumstances."""
        return Call(command.key, name, attempt, deadline, command.fence, lambda: held.lost)

    def begin_call(self, command: Run, invocation: Invocation, held: Held) -> tuple[Callable[..., Any], Call]:
        """The function of `invocation`, and what it is called with besides its input."""
        actor = self.machine(command.key).actor(invocation.src)
        if isinstance(actor, Machine):
            raise RecordError(f"{command.key}: the actor {invocation.src!r} is a machine, not a function")
        deadline = None if actor.timeout is None else self.clock() + actor.timeout.total_seconds()
        self.observe(CallBegan(command.key, invocation.src, invocation.idempotency_key, invocation.attempt))
        call = self.call(command, invocation.idempotency_key, held, invocation.attempt, deadline)
        return actor.function, call

    def action(self, command: Act, action: Action, held: Held) -> Callable[[], object]:
        """What performs `action`."""
        match action.effect:
            case Execute() as effect:
                call = self.call(command, action.idempotency_key, held)
                return self.machine(command.key).bind(effect, command.snapshot, call)
            case Emit(_, event):
                return lambda: self.observe(Emitted(command.key, event, action.idempotency_key))
            case Log(_, value, label):
                return lambda: self.observe(Logged(command.key, value, label))

    def performed(self, command: Act, action: Action, error: str | None) -> None:
        """Tell the observers of a custom action."""
        if isinstance(action.effect, Execute):
            self.observe(ActionPerformed(command.key, action.effect.type, action.idempotency_key, error))

    def perform(self, command: PortCommand, held: Held) -> Any:
        """Perform a command of the backend's, or remember; and hold no longer what was given up."""
        if isinstance(command, Load) and not command.fresh and (known := self.memory.recall(command.key)):
            return Remembered(*known, self.clock())
        answer = self.ports.perform(command)
        match command:
            case Finish():
                self.note(command, held)
            case Release(deliveries, _):
                held.drop(deliveries)
            case _:
                pass
        return answer

    def note(self, commit: Finish, held: Held) -> None:
        """Hold no longer what `commit` has acknowledged, and remember what it has stored."""
        write, record = commit.write, commit.record
        held.drop(write.acks)
        if write.stored is not None and record is not None:
            self.memory.remember(write.key, record, write.stored.version)

    def give_back(self, held: Held, delay: float = 0.0) -> None:
        """Release what is `held`, and extend it no more."""
        self.keeper.let_go(held)
        try:
            self.ports.backend.queue.release(held.deliveries, delay)
        except SettledError:
            return  # The lease runs out, and the queue hands the messages out again.

    def ended(self, key: Key, end: End) -> End:
        """Tell the observers that a turn is over."""
        self.observe(TurnEnded(key, end))
        return end


def traits_of(backend: Backend) -> Traits:
    """Return what turns may rely on in `backend`."""
    declared = backend.capabilities
    return Traits(Capability.ATOMIC_FINISH in declared, Capability.FENCED_FINISH in declared, backend.resolution)


def _with_children(machines: Iterable[Machine[Any, Any]]) -> Iterator[Machine[Any, Any]]:
    for machine in machines:
        yield machine
        yield from _with_children(filter(_is_machine, machine.logic.actors.values()))


def _is_machine(actor: object) -> TypeGuard[Machine[Any, Any]]:
    return isinstance(actor, Machine)


def by_key(deliveries: Iterable[Delivery]) -> Mapping[Key, list[Delivery]]:
    """`deliveries` in their order, each key by itself."""
    keys: dict[Key, list[Delivery]] = {}
    for delivery in deliveries:
        keys.setdefault(delivery.message.key, []).append(delivery)
    return keys


def described(error: BaseException) -> Json:
    """An error as the machine is told of it."""
    return {"name": type(error).__name__, "message": str(error)}
