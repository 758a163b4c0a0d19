"""The state that the turns of a host share: machines, backend, leases, record cache and observers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeGuard

from attrs import evolve, field, frozen

from settled import DefinitionError, DefinitionProblem, Key, Machine, Policy, RecordError, SettledError
from settled.durable import Backend, Capability, Traits
from settled.durable.commands import ReleaseReason
from settled_runtime.backend_commands import BackendCommands
from settled_runtime.daemon_threads import DaemonThreads
from settled_runtime.events import MachineNotServed, Observer, Observers, Released
from settled_runtime.held_deliveries import HeldDeliveries
from settled_runtime.leases import LeaseRenewer
from settled_runtime.record_cache import RecordCache
from settled_runtime.turn_gate import TurnGate


@frozen
class HostContext:
    """The machines, the backend and the services that the turns of a host share.

    Attributes:
        machines: the machines by id, with their child machines.
        backend_commands: performs the commands that call the backend.
        leases: renews the deliveries of all running turns, and reports those that hang.
        record_cache: the records committed last in this process.
        gate: the turns that run, and those that must run alone.
        actor_threads: the threads in which function actors run.
        policy: the host's policy, with the backend's lease.
        traits: the backend's capabilities that turns may rely on.
        observe: calls all observers.
        clock: the backend's time, in seconds since the epoch.
    """

    machines: Mapping[str, Machine[Any]]
    backend_commands: BackendCommands
    leases: LeaseRenewer
    record_cache: RecordCache
    gate: TurnGate
    actor_threads: DaemonThreads
    policy: Policy
    traits: Traits
    observe: Observer
    clock: Callable[[], float]
    _not_served: set[str] = field(factory=set[str], init=False)

    @property
    def backend(self) -> Backend:
        return self.backend_commands.backend

    @classmethod
    def of(
        cls,
        machines: Iterable[Machine[Any]],
        backend: Backend,
        policy: Policy | None,
        observers: Iterable[Observer],
    ) -> HostContext:
        """Return the context of a host for `machines` and, at any depth, their child machines.

        Raises:
            DefinitionError: two of them have the same id.
        """
        observe = Observers(tuple(observers))
        return cls(
            machines=machines_by_id(machines),
            backend_commands=BackendCommands(backend, observe),
            leases=LeaseRenewer(backend.queue, backend.lease.total_seconds(), observe),
            record_cache=RecordCache(),
            gate=TurnGate(),
            actor_threads=DaemonThreads(),
            policy=evolve(policy or Policy(), lease=backend.lease),
            traits=traits_of(backend),
            observe=observe,
            clock=backend.now,
        )

    def no_machine(self, key: Key) -> RecordError:
        """Return the error for `key`, whose machine this host does not serve; observe that, once for each machine."""
        if key.machine not in self._not_served:
            self._not_served.add(key.machine)
            self.observe(MachineNotServed(key.machine))
        return RecordError(f"{key}: this host has no machine {key.machine!r}, only {', '.join(self.machines)}")

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


def traits_of(backend: Backend) -> Traits:
    """Return the properties of `backend` that turns may rely on."""
    declared, retention = backend.capabilities, backend.retention
    return Traits(
        Capability.ATOMIC_FINISH in declared,
        Capability.FENCED_FINISH in declared,
        backend.resolution.total_seconds(),
        backend.largest_message,
        None if retention is None else retention.total_seconds(),
    )


def machines_by_id(machines: Iterable[Machine[Any]]) -> Mapping[str, Machine[Any]]:
    """Return `machines` and, at any depth, their child machines by id.

    Raises:
        DefinitionError: two of them have the same id: they would take each other's instances.
    """
    found: dict[str, tuple[Machine[Any], str]] = {}
    for number, machine in enumerate(machines, 1):
        _add_with_children(found, machine, f"number {number} of the machines given")
    return {id: machine for id, (machine, _) in found.items()}


def _add_with_children(found: dict[str, tuple[Machine[Any], str]], machine: Machine[Any], where: str) -> None:
    known, first = found.setdefault(machine.id, (machine, where))
    if known is not machine:
        problem = f'two machines have the id "{machine.id}": {first}, and {where}'
        remedy = "Give each an id of its own: instances are stored under it."
        raise DefinitionError([DefinitionProblem("id", problem, remedy)])
    for src, child in machine.implementations.actors.items():
        if _is_machine(child):
            _add_with_children(found, child, f'the actor "{src}" of the machine "{machine.id}"')


def _is_machine(actor: object) -> TypeGuard[Machine[Any]]:
    return isinstance(actor, Machine)
