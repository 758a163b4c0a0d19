"""What both hosts know: the machines, the backend, who watches, and what a running effect is told."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from attrs import evolve, frozen

from settled import Call, Json, Key, Machine, Policy, RecordError, SettledError, TurnEnd, turn
from settled.durable import Backend, Capability, Delivery, Traits
from settled.durable.commands import ActorCall, CachedRecord, Commands, Finish, Load, PerformActions, Release, RunActors
from settled.durable.record import PerformAction
from settled.step.effects import Emit, Execute, Log
from settled_runtime.backend_commands import BackendCommand, BackendCommands
from settled_runtime.events import ActionPerformed, ActorStarted, Emitted, Logged, Observer, Observers, TurnEnded
from settled_runtime.leases import HeldDeliveries, LeaseRenewer
from settled_runtime.record_cache import RecordCache

ERROR_RELEASE_DELAY = 5.0
"""For how many seconds messages are given back when their turn could not go on."""


@frozen
class HostContext:
    """All that a host needs but a way to wait."""

    machines: Mapping[str, Machine[Any, Any]]
    backend_commands: BackendCommands
    leases: LeaseRenewer
    record_cache: RecordCache
    policy: Policy
    traits: Traits
    observe: Observer

    @property
    def clock(self) -> Callable[[], float]:
        """The backend's time, in seconds since the epoch."""
        return self.backend_commands.clock

    @classmethod
    def of(
        cls,
        machines: Iterable[Machine[Any, Any]],
        backend: Backend,
        policy: Policy | None,
        observers: Iterable[Observer],
    ) -> HostContext:
        """The house of `machines`, and of all machines that run as their children."""
        observe = Observers.of(observers)
        return cls(
            machines={machine.id: machine for machine in _with_children(machines)},
            backend_commands=BackendCommands(backend, observe),
            leases=LeaseRenewer(backend.queue, backend.lease),
            record_cache=RecordCache(),
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

    def turn(self, key: Key, deliveries: Sequence[Delivery]) -> Commands[TurnEnd]:
        """The turn of `deliveries`."""
        return (yield from turn(self.machine(key), key, deliveries, secrets.token_hex(8), self.policy, self.traits))

    def effect_call(
        self,
        command: RunActors | PerformActions,
        name: str,
        held: HeldDeliveries,
        attempt: int = 1,
        deadline: float | None = None,
    ) -> Call:
        """What an effect is told of its circumstances."""
        return Call(command.key, name, attempt, deadline, command.fence, lambda: held.lost)

    def start_actor(
        self, command: RunActors, invocation: ActorCall, held: HeldDeliveries
    ) -> tuple[Callable[..., Any], Call]:
        """The function of `invocation`, and what it is called with besides its input."""
        actor = self.machine(command.key).actor(invocation.src)
        if isinstance(actor, Machine):
            raise RecordError(f"{command.key}: the actor {invocation.src!r} is a machine, not a function")
        deadline = None if actor.timeout is None else self.clock() + actor.timeout.total_seconds()
        self.observe(ActorStarted(command.key, invocation.src, invocation.idempotency_key, invocation.attempt))
        call = self.effect_call(command, invocation.idempotency_key, held, invocation.attempt, deadline)
        return actor.function, call

    def action_function(
        self, command: PerformActions, action: PerformAction, held: HeldDeliveries
    ) -> Callable[[], object]:
        """What performs `action`."""
        match action.effect:
            case Execute() as effect:
                call = self.effect_call(command, action.idempotency_key, held)
                return self.machine(command.key).bind(effect, command.snapshot, call)
            case Emit(_, event):
                return lambda: self.observe(Emitted(command.key, event, action.idempotency_key))
            case Log(_, value, label):
                return lambda: self.observe(Logged(command.key, value, label))

    def action_performed(self, command: PerformActions, action: PerformAction, error: str | None) -> None:
        """Tell the observers of a custom action."""
        if isinstance(action.effect, Execute):
            self.observe(ActionPerformed(command.key, action.effect.type, action.idempotency_key, error))

    def perform(self, command: BackendCommand, held: HeldDeliveries) -> Any:
        """Perform a command of the backend's, or remember; and hold no longer what was given up."""
        if isinstance(command, Load) and not command.fresh and (known := self.record_cache.pop(command.key)):
            return CachedRecord(*known, self.clock())
        answer = self.backend_commands.perform(command)
        match command:
            case Finish():
                self.committed(command, held)
            case Release(deliveries, _):
                held.drop(deliveries)
            case _:
                pass
        return answer

    def committed(self, commit: Finish, held: HeldDeliveries) -> None:
        """Hold no longer what `commit` has acknowledged, and remember what it has stored."""
        write, record = commit.write, commit.record
        held.drop(write.acks)
        if write.stored is not None and record is not None:
            self.record_cache.put(write.key, record, write.stored.version)

    def release(self, held: HeldDeliveries, delay: float = 0.0) -> None:
        """Release what is `held`, and extend it no more."""
        self.leases.stop_renewing(held)
        try:
            self.backend_commands.backend.queue.release(held.deliveries, delay)
        except SettledError:
            return  # The lease runs out, and the queue hands the messages out again.

    def turn_ended(self, key: Key, end: TurnEnd) -> TurnEnd:
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


def error_json(error: BaseException) -> Json:
    """An error as the machine is told of it."""
    return {"name": type(error).__name__, "message": str(error)}
