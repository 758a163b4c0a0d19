"""The part of a host that does not wait: machines, backend, leases, cache and observers, and how effects are called.

`Host` and `AsyncHost` differ in how they wait for actors and for the backend; all that they share is here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

from attrs import evolve, field, frozen

from settled import Call, Json, Key, Machine, Policy, RecordError, SettledError, TurnEnd, turn
from settled.durable import Backend, Capability, Delivery, Traits
from settled.durable.commands import (
    ActorCall,
    CachedRecord,
    Commands,
    Finish,
    Load,
    PerformActions,
    Release,
    ReleaseReason,
    RunActors,
)
from settled.durable.record import PerformAction
from settled.step.effects import Emit, Execute, Log
from settled_runtime.backend_commands import BackendCommand, BackendCommands
from settled_runtime.events import (
    ActionPerformed,
    ActorStarted,
    Emitted,
    Logged,
    MachineNotServed,
    Observer,
    Observers,
    Released,
    TurnEnded,
)
from settled_runtime.leases import HeldDeliveries, LeaseRenewer
from settled_runtime.record_cache import RecordCache

ERROR_RELEASE_DELAY = 5.0
"""For how many seconds deliveries are released when their turn has raised an error."""


@frozen
class HostContext:
    """The machines, backend and observers of a host, and the services that its turns share.

    Attributes:
        machines: the machines by id, with their child machines.
        backend_commands: performs the commands that call the backend.
        leases: renews the deliveries of all running turns.
        record_cache: the records committed last in this process.
        policy: the host's policy, with the backend's lease.
        traits: the backend's capabilities that turns may rely on.
        observe: calls all observers.
    """

    machines: Mapping[str, Machine[Any, Any]]
    backend_commands: BackendCommands
    leases: LeaseRenewer
    record_cache: RecordCache
    policy: Policy
    traits: Traits
    observe: Observer
    _not_served: set[str] = field(factory=set[str], init=False)

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
        """Return the context of a host for `machines` and, at any depth, their child machines."""
        observe = Observers(tuple(observers))
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
        """Return the machine of `key`.

        Raises:
            RecordError: this host does not serve it.
        """
        if key.machine not in self.machines:
            if key.machine not in self._not_served:
                self._not_served.add(key.machine)
                self.observe(MachineNotServed(key.machine))
            raise RecordError(f"{key}: this host has no machine {key.machine!r}, only {', '.join(self.machines)}")
        return self.machines[key.machine]

    def turn(self, key: Key, deliveries: Sequence[Delivery]) -> Commands[TurnEnd]:
        """Return the turn of `deliveries`, all of `key`, as a generator of commands.

        An unknown machine raises RecordError at the first command, so that it ends this turn and no other.
        """
        # The nonce is new for each turn and unguessable: a turn recognises its own commit by it when an answer was
        # lost. Two turns with one nonce would each take the other's commit for its own.
        return (yield from turn(self.machine(key), key, deliveries, secrets.token_hex(8), self.policy, self.traits))

    def effect_call(
        self,
        command: RunActors | PerformActions,
        idempotency_key: str,
        held: HeldDeliveries,
        attempt: int = 1,
        deadline: float | None = None,
    ) -> Call:
        """Return the `Call` that an action or actor of `command` gets."""
        return Call(command.key, idempotency_key, attempt, deadline, command.fence, lambda: held.lost)

    def start_actor(
        self, command: RunActors, actor_call: ActorCall, held: HeldDeliveries
    ) -> tuple[Callable[..., Any], Call]:
        """Return the function of `actor_call` and the `Call` to pass to it besides its input; observe its start."""
        actor = self.machine(command.key).actor(actor_call.src)
        if isinstance(actor, Machine):
            raise RecordError(f"{command.key}: the actor {actor_call.src!r} is a machine, not a function")
        deadline = None if actor.timeout is None else self.clock() + actor.timeout.total_seconds()
        self.observe(ActorStarted(command.key, actor_call.src, actor_call.idempotency_key, actor_call.attempt))
        call = self.effect_call(command, actor_call.idempotency_key, held, actor_call.attempt, deadline)
        return actor.function, call

    def action_function(
        self, command: PerformActions, action: PerformAction, held: HeldDeliveries
    ) -> Callable[[], object]:
        """Return the function that performs `action`."""
        match action.effect:
            case Execute() as effect:
                call = self.effect_call(command, action.idempotency_key, held)
                return self.machine(command.key).bind(effect, command.snapshot, call)
            case Emit(_, event):
                return lambda: self.observe(Emitted(command.key, event, action.idempotency_key))
            case Log(_, value, label):
                return lambda: self.observe(Logged(command.key, value, label))

    def action_performed(self, command: PerformActions, action: PerformAction, error: str | None) -> None:
        """Tell the observers about `action`, if it is a custom one; `error` if it failed."""
        if isinstance(action.effect, Execute):
            self.observe(ActionPerformed(command.key, action.effect.type, action.idempotency_key, error))

    def perform(self, command: BackendCommand, held: HeldDeliveries) -> Any:
        """Perform `command` on the backend or, for a load that need not be fresh, from the cache; update `held`."""
        # Taken out of the cache, not only read: until this turn commits, no other turn may begin with this record.
        # It may be old if another process has committed since. The turn's commit compares versions and then loads
        # afresh; a `Load` that is `fresh` must go to the store, because the turn is about to decide without a commit.
        if isinstance(command, Load) and not command.fresh and (known := self.record_cache.pop(command.key)):
            return CachedRecord(*known, self.clock())
        answer = self.backend_commands.perform(command)
        match command:
            case Finish():
                self.committed(command, held)
            case Release(deliveries):
                held.drop(deliveries)
            case _:
                pass
        return answer

    def committed(self, commit: Finish, held: HeldDeliveries) -> None:
        """Stop renewing the deliveries that `commit` acknowledged, and cache the record it stored."""
        write, record = commit.write, commit.record
        held.drop(write.acks)
        # Only after the commit: with a record that was never stored, the next turn would continue from a false state.
        if write.stored is not None and record is not None:
            self.record_cache.put(write.key, record, write.stored.version)

    def release(self, held: HeldDeliveries, reason: ReleaseReason, delay: float = 0.0) -> None:
        """Stop renewing `held`, and release its deliveries for `delay` seconds."""
        # First: if the release fails, the leases must run out. Renewed for ever, they would block the key.
        self.leases.stop_renewing(held)
        try:
            self.backend_commands.backend.queue.release(held.deliveries, delay)
        except SettledError:
            return  # The leases run out, and the queue delivers the messages again.
        if held.deliveries:
            self.observe(Released(held.deliveries[0].message.key, delay, reason))

    def turn_ended(self, key: Key, end: TurnEnd) -> TurnEnd:
        """Tell the observers how a turn ended, and return that."""
        self.observe(TurnEnded(key, end))
        return end


def traits_of(backend: Backend) -> Traits:
    """Return the properties of `backend` that turns may rely on."""
    declared = backend.capabilities
    return Traits(Capability.ATOMIC_FINISH in declared, Capability.FENCED_FINISH in declared, backend.resolution)


def _with_children(machines: Iterable[Machine[Any, Any]]) -> Iterator[Machine[Any, Any]]:
    for machine in machines:
        yield machine
        yield from _with_children(filter(_is_machine, machine.implementations.actors.values()))


def _is_machine(actor: object) -> TypeGuard[Machine[Any, Any]]:
    return isinstance(actor, Machine)


def by_key(deliveries: Iterable[Delivery]) -> Mapping[Key, list[Delivery]]:
    """Group `deliveries` by key, keeping their order."""
    keys: dict[Key, list[Delivery]] = {}
    for delivery in deliveries:
        keys.setdefault(delivery.message.key, []).append(delivery)
    return keys


Attempt: TypeAlias = tuple[str, int]
"""The idempotency key of an actor call and the number of the attempt."""


def attempt_of(call: ActorCall) -> Attempt:
    """Return what tells `call` apart from every other attempt of the turn."""
    return (call.idempotency_key, call.attempt)


def error_json(error: BaseException) -> Json:
    """Return `error` as the JSON that the machine gets in an ``xstate.error.actor`` event."""
    return {"name": type(error).__name__, "message": str(error)}
