"""`MachineScenario`: machines with their clients, workers and other participants, as one scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, Literal

from attrs import evolve, frozen

from settled import Json, Key, Machine, Policy
from settled.durable import Capability, Event, Message, Start, encode
from settled_conformance.environment import Environment
from settled_conformance.harness import Harness, HarnessFeature
from settled_conformance.simulator.choices import Choices
from settled_conformance.simulator.machines import FaultSwitch
from settled_conformance.simulator.operations import ClientOperation, participant
from settled_conformance.simulator.processes import client, operator, worker
from settled_conformance.simulator.scenario import ScenarioRun
from settled_conformance.simulator.scheduler import USUAL, PossibleFaults, Scheduler, Task
from settled_conformance.simulator.simulation import Simulation


@frozen(eq=False)
class MachineScenario:
    """A scenario of machines.

    `clients` are the messages of each client. `participants` are further tasks, by name, with their operations.
    `older` makes machines of older versions, each with a worker of its own. `window` is the dedup window of
    records, `dedup_limit` that of the queue, `max_record_size` in characters. `error_message` is the message of failing
    actions. `caches_records`: workers cache the record that they stored last. `punctual`: turns are given the true
    time, and timers are checked not to be early. `in_order`: the events of each client must be taken in order.
    `failed_events` is that of the policy. The scenario runs only if the backend declares `needs` and the harness has
    `features`.
    """

    name: str
    machines: Callable[[FaultSwitch, float], Iterable[Machine[Any]]]
    clients: Sequence[Sequence[Message]] = ()
    workers: int = 2
    weight: float = 1.0
    participants: Mapping[str, Sequence[ClientOperation]] = {}
    older: Callable[[], Sequence[Machine[Any]]] = tuple
    possible_faults: PossibleFaults = USUAL
    window: int | None = None
    dedup_limit: int | None = None
    max_record_size: float = float("inf")
    error_message: str = "it fails"
    caches_records: bool = False
    punctual: bool = False
    in_order: bool = False
    failed_events: Literal["halt", "skip"] = "halt"
    needs: frozenset[Capability] = frozenset()
    features: frozenset[HarnessFeature] = frozenset()

    def fits(self, harness: Harness) -> bool:
        """Return whether this scenario can run on `harness`."""
        return self.needs <= harness.capabilities and self.features <= harness.features

    def run(self, environment: Environment, choices: Choices) -> ScenarioRun:
        """Run once in `environment`, which must be empty."""
        if self.dedup_limit is not None:
            environment.limit_deduplication(self.dedup_limit)
        fault_switch, machines, older = _compiled(self, environment.lease)
        fault_switch.repaired = False  # the machines are cached between runs, and so is what the last run left in it
        harness = environment.harness
        scheduler = Scheduler(
            choices, harness.now, harness.tick, environment.lease, harness.advance, environment.record_crash
        )
        environment.contract.listeners.append(scheduler.log)
        simulation = Simulation(
            scheduler,
            environment,
            machines,
            self._policy(environment),
            older,
            self.possible_faults,
            self.max_record_size,
            self.error_message,
            self.caches_records,
            self.punctual,
            self.in_order,
        )
        for number, messages in enumerate(self.clients, 1):
            scheduler.tasks.append(Task(f"c{number}", client(simulation, messages)))
        for name, operations in self.participants.items():
            scheduler.tasks.append(Task(name, participant(simulation, operations)))
        hosts = [machines] * self.workers + [{**machines, machine.id: machine} for machine in older]
        for number, host in enumerate(hosts, 1):
            scheduler.tasks.append(Task(f"w{number}", worker(simulation, host)))
        scheduler.when_quiescent.append(lambda: _repair_and_redrive(simulation, fault_switch))
        simulation.close(scheduler.run())
        return ScenarioRun(environment.violations, scheduler.timeline, frozenset(scheduler.marks))

    def _policy(self, environment: Environment) -> Policy:
        lease = timedelta(seconds=environment.lease)
        policy = Policy(lease=lease, max_attempts=2, failed_events=self.failed_events, suspend_after=lease)
        return policy if self.window is None else evolve(policy, window=self.window)


CompiledMachines = tuple[FaultSwitch, Mapping[str, Machine[Any]], Sequence[Machine[Any]]]


@cache
def _compiled(scenario: MachineScenario, lease: float) -> CompiledMachines:
    """Return the compiled machines of `scenario`. They keep no state between runs except the fault switch."""
    fault_switch = FaultSwitch()
    return fault_switch, {machine.id: machine for machine in scenario.machines(fault_switch, lease)}, scenario.older()


def _repair_and_redrive(simulation: Simulation, fault_switch: FaultSwitch) -> bool:
    """Repair the machines, and start an operator for each instance that needs one; return whether any does."""
    fault_switch.repaired = True
    stuck = [key for key in simulation.lifetimes if simulation.needs_operator(key)]
    for key in stuck:
        simulation.scheduler.mark("redrive")
        simulation.scheduler.add(
            Task(f"o-{key.instance}-{simulation.scheduler.round_trips}", operator(simulation, key))
        )
    return bool(stuck)


def messages_to(key: Key, sender: str, events: Sequence[Mapping[str, Json]], start: bool = True) -> list[Message]:
    """Return a start of `key`, unless `start` is false, and `events`, with ids that begin with `sender`."""
    first = [Message(key, f"{sender}.start", encode(Start(None)))] if start else []
    rest = [
        Message(key, f"{sender}.{number}", encode(Event({"id": f"{sender}{number}", **event})))
        for number, event in enumerate(events, 1)
    ]
    return first + rest


APPEND: Mapping[str, Json] = {"type": "APPEND"}
TELL: Mapping[str, Json] = {"type": "TELL"}
POISON: Mapping[str, Json] = {"type": "APPEND", "poison": True}
ADA, BOB = "ada", "A:1"


def of(machine: str, instance: str = ADA) -> Key:
    """Return the key of an instance of `machine`."""
    return Key(machine, instance)
