"""`Simulation`: the state of one run: handles, deliveries, and what was sent, committed and performed.

Tasks go through it instead of calling the backend, so it sees everything that happens. It feeds the oracles of the
instances, and judges the end of the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import Factory, define, evolve, field

from settled import ConflictError, Key, LeaseLostError, Machine, Outcome, Policy, Snapshot, TooLargeError
from settled.data import is_object, parse
from settled.durable import Delivery, Message, Record, Stored, Traits, Write, record_from_json
from settled.durable.ports import POSTPONED
from settled.durable.record_json import record_to_tombstone
from settled_conformance.contract.checked_backend import CheckedBackend
from settled_conformance.environment import Environment
from settled_conformance.simulator.effect_keys import EffectKeys
from settled_conformance.simulator.history import history_of
from settled_conformance.simulator.lifetimes import Lifetimes
from settled_conformance.simulator.oracle import CommitTime
from settled_conformance.simulator.scheduler import USUAL, PossibleFaults, Scheduler, Task

NUMBERED = re.compile(r"([a-z]+)([0-9]+)")
"""The id of an event of a client: its name, and the number of the event."""

BATCH = 4
"""The number of messages that a worker receives at once."""


@define(eq=False)
class Simulation:
    """One run of `machines` in `environment`; see `MachineScenario` for the options.

    `lifetimes` are the oracles of each key. `received` maps an incarnation of a task and a key to the number of events
    that had been taken when it received. `performed` counts the executions of each effect by key. `sent` are all
    messages, by id. `leased_until` is the end of the last lease of each key, `held` the last delivery of each task and
    key. `acked` are acknowledged deliveries, for redelivery. `restored` is set once a backup was restored. `killers`
    are the keys whose actors have ended workers. `holders` has the nonce of the task that holds a key, and the end of
    its lease; `outlived` are the keys of which a task has lived on when its lease had run out.
    """

    scheduler: Scheduler
    environment: Environment
    machines: Mapping[str, Machine[Any]]
    policy: Policy
    older: Sequence[Machine[Any]] = ()
    possible_faults: PossibleFaults = USUAL
    max_record_size: float = float("inf")
    error_message: str = "it fails"
    caches_records: bool = False
    punctual: bool = False
    in_order: bool = False
    commit_time: CommitTime = field(factory=CommitTime)
    restored: bool = False
    killers: set[Key] = field(factory=set[Key])
    holders: dict[Key, tuple[str, float]] = field(factory=dict[Key, "tuple[str, float]"])
    outlived: set[Key] = field(factory=set[Key])
    lifetimes: dict[Key, Lifetimes] = field(factory=dict[Key, Lifetimes])
    received: dict[tuple[str, Key], int] = field(factory=dict[tuple[str, Key], int])
    performed: dict[str, int] = field(factory=dict[str, int])
    sent: dict[str, Message] = field(factory=dict[str, Message])
    leased_until: dict[Key, float] = field(factory=dict[Key, float])
    handles: dict[str, CheckedBackend] = field(factory=dict[str, CheckedBackend])
    acked: dict[Key, list[Delivery]] = field(factory=dict[Key, "list[Delivery]"])
    held: dict[tuple[str, Key], Delivery] = field(factory=dict[tuple[str, Key], Delivery])
    keys: EffectKeys = field(default=Factory(lambda self: EffectKeys(self.report), takes_self=True), init=False)

    def report(self, guarantee: str, how: str) -> None:
        """Report a violation of `guarantee`."""
        self.environment.contract.report(guarantee, how)

    @property
    def traits(self) -> Traits:
        """The properties of the backend that turns may rely on."""
        return Traits.of(self.backend.backend)

    @property
    def backend(self) -> CheckedBackend:
        """The handle for the simulation's own reads. No task uses it, so its reads influence no task."""
        return self.environment.handles[0]

    def handle(self, task: Task) -> CheckedBackend:
        """Return the handle of `task`. Each incarnation has its own, as a new process would."""
        if task.nonce not in self.handles:
            self.handles[task.nonce] = self.environment.open()
        return self.handles[task.nonce]

    def lifetimes_of(self, key: Key) -> Lifetimes:
        """Return the lifetimes of `key`."""
        if key not in self.lifetimes:
            versions = {each.version: each for each in self._versions(key)}
            self.lifetimes[key] = Lifetimes(self.machines[key.machine], key, self.report, versions, self.commit_time)
        return self.lifetimes[key]

    def _versions(self, key: Key) -> list[Machine[Any]]:
        return [*(machine for machine in self.older if machine.id == key.machine), self.machines[key.machine]]

    # The backend, as the tasks use it

    def send(self, task: Task, messages: Sequence[Message]) -> None:
        # Before the call: if its answer is lost, the messages may have arrived all the same.
        for message in messages:
            self._arrive(message)
        self.handle(task).queue.send(messages)
        self.scheduler.wake_all()

    def receive(self, task: Task) -> Sequence[Delivery]:
        deliveries = self.handle(task).queue.receive(BATCH, machines=self.machines)
        for delivery in deliveries:
            self._hold(task, delivery)
            self.held[task.name, delivery.message.key] = delivery
        if deliveries:
            self.scheduler.log(
                f"{task.name} receive {names(deliveries)} until={deliveries[0].lease_until - self.scheduler.epoch:g}"
            )
        return deliveries

    def repeat(self, task: Task) -> Sequence[Delivery]:
        """Receive, with redeliveries of messages acknowledged before: a queue may repeat them, but in their order.

        The redeliveries are made up here. The backend does not know their receipts, so these are filtered out of every
        call to it (`_real`).
        """
        deliveries = self.receive(task)
        idle = [
            key for key in self.acked if key not in self.leased_until or self.leased_until[key] <= self.scheduler.now
        ]
        until = self.scheduler.now + self.scheduler.lease
        for key in list(dict.fromkeys(each.message.key for each in deliveries)) or idle[:1]:
            ghosts = [
                evolve(each, receipt=f"{FAKE_RECEIPT}{each.receipt}", lease_until=until)
                for each in self.acked.get(key, [])[-2:]
            ]
            if ghosts:
                self.scheduler.mark("repeated delivery")
                self.scheduler.log(f"{task.name} receive again {names(ghosts)}")
                task.holds_until = max(task.holds_until, until)
                deliveries = [*ghosts, *deliveries]
        return deliveries

    def _hold(self, task: Task, delivery: Delivery) -> None:
        key = delivery.message.key
        before, now = self.holders.get(key), (task.nonce, delivery.lease_until)
        if before not in (None, now) and before[0] in [each.nonce for each in self.scheduler.tasks]:
            self.outlived.add(key)
        self.holders[key] = now
        task.holds_until = max(task.holds_until, delivery.lease_until)
        self.leased_until[delivery.message.key] = delivery.lease_until
        self.scheduler.add_deadline(delivery.lease_until)
        self._arrive(delivery.message)
        self.received[task.nonce, delivery.message.key] = self.lifetimes_of(delivery.message.key).taken
        if delivery.attempt > 1:
            self.scheduler.mark("redelivery")

    def _arrive(self, message: Message) -> None:
        self.sent[message.id] = message
        self.lifetimes_of(message.key).mailbox.arrive(message)

    def load(self, task: Task, key: Key) -> Stored | None:
        """Load `key`; mark if more than a window of events was taken since `task` received, before its first load."""
        before = self.received.pop((task.nonce, key), None)
        if before is not None and task.is_stale and self.lifetimes_of(key).taken - before > self.policy.window:
            self.scheduler.mark("more than a window was taken between a receive and its first load")
        return self.handle(task).store.load(key)

    def finish(self, task: Task, write: Write, is_import: bool = False) -> None:
        real = evolve(write, acks=_real(write.acks), holder=self._holder(task, write))
        size = len(write.stored.body) if write.stored else 0
        if size > self.max_record_size:
            raise TooLargeError(f"{write.key}: {size} characters, and there is room for {self.max_record_size:g}")
        if task.is_stale and write.stored is not None:
            self.scheduler.mark("stale commit")
        # Over an old version, the commit of a stale worker breaks R4, that of any other task R6.
        self.environment.contract.stale_commit_guarantee = "R4" if task.is_stale else "R6"
        self.handle(task).finish(real)
        for delivery in real.acks:
            self.holders.pop(delivery.message.key, None)
        self.scheduler.wake_all()
        if write.sends or write.timers:
            self.scheduler.mark("outbox sent")
        for message in write.sends:
            self._arrive(message)
            self.keys.use(f"{message.id} to {message.key}", message.body)
        for timer in write.timers:
            self.scheduler.add_deadline(timer.due)
        for delivery in real.acks:
            self.acked.setdefault(delivery.message.key, []).append(delivery)
        self.scheduler.log(f"{task.name} {_describe(write)}")
        if write.stored is not None:
            self.commit_time.now, self.commit_time.clock_read_at = (
                self.scheduler.now,
                task.clock_read_at if self.punctual else None,
            )
            self._committed(write.key, write.stored, is_import)

    def _holder(self, task: Task, write: Write) -> Delivery | None:
        """Return the holder for the backend: that of a made-up redelivery is the task's last real delivery."""
        if write.holder is None or not write.holder.receipt.startswith(FAKE_RECEIPT):
            return write.holder
        return self.held.get((task.name, write.key))

    def _committed(self, key: Key, stored: Stored, is_import: bool) -> None:
        record, lifetimes = self._read(key, stored), self.lifetimes_of(key)
        assert record is not None, "a commit never deletes"
        if self.killers:
            self._check_blame(key, record)
        if is_import:
            self.scheduler.mark("imported")
            lifetimes.start_imported(record)
        else:
            lifetimes.read(record)

    def _check_blame(self, key: Key, record: Record) -> None:
        """Report an instance that is blamed for a worker which an actor of another one has ended."""
        self.scheduler.mark("a worker ended by its actor")
        # A worker that has outlived its lease cannot be told from one that was ended.
        if key in self.killers or key in self.outlived:
            return
        if record.halted:
            self.report("L2", f"{key} was halted, because workers were ended: {record.halted}")
        snapshot = record.snapshot
        errors = [event.get("error") for event in history_of(snapshot)] if isinstance(snapshot, Snapshot) else []
        if any(error and error["name"] == "WorkerLost" for error in errors):
            self.report("L2", f"{key} got the error WorkerLost, and its actor has ended no worker")

    def delete(self, task: Task, key: Key, found: Stored) -> None:
        removed = {dead_letter.message.id for dead_letter in self.backend.store.dead_letters(key)}
        self.handle(task).store.delete(key, record_to_tombstone(key, found, self.scheduler.now), found.version)
        self.scheduler.mark("deleted")
        self.scheduler.wake_all()
        self.lifetimes_of(key).end(removed)

    def backup(self) -> Callable[[], None]:
        """Return a function that restores the store, and all that is known of it, to the present state.

        The queue is not restored. All workers are killed: no process outlives a restore of its store.
        """
        kept = {key: lifetimes.checkpoint() for key, lifetimes in self.lifetimes.items()}
        undo, forget = self.environment.harness.backup(), self.environment.contract.store_checker.checkpoint()

        def restore() -> None:
            undo()
            forget()
            self.restored = True
            self.scheduler.mark("restored")
            for key, lifetimes in self.lifetimes.items():
                kept.get(key, lifetimes.reset)()
            for task in self.scheduler.tasks:
                if task.name.startswith("w"):
                    self.scheduler.kill(task)

        return restore

    def release(self, task: Task, deliveries: Sequence[Delivery], delay: float) -> None:
        self.handle(task).queue.release(_real(deliveries), delay)
        for delivery in deliveries:
            self.holders.pop(delivery.message.key, None)
        self.scheduler.add_deadline(self.scheduler.now + delay)
        self.scheduler.wake_all()

    def extend(self, task: Task, deliveries: Sequence[Delivery]) -> None:
        real, until = _real(deliveries), self.scheduler.now + self.scheduler.lease
        # Also where it fails: the leases that were not lost are extended, and end then.
        self.scheduler.add_deadline(until)
        try:
            self.handle(task).queue.extend(real, self.scheduler.lease)
        except ConflictError as error:
            raise LeaseLostError(str(error)) from error
        for delivery in real:
            task.holds_until = max(task.holds_until, until)
            self.leased_until[delivery.message.key] = until

    def record(self, key: Key) -> Record | None:
        return self._read(key, self.backend.store.load(key))

    def needs_operator(self, key: Key) -> bool:
        """Return whether `key` is halted, or has skipped an event that can be taken once its machine is repaired."""
        record = self.record(key)
        if record is None or self.policy.failed_events == "halt":
            return record is not None and record.halted is not None
        dead_letters = [each.message.id for each in self.backend.store.dead_letters(key)]
        if not record.halted and any(record.window.outcome_of_id(id) is Outcome.DEAD_LETTERED for id in dead_letters):
            self.scheduler.mark("skipped")
        return record.halted is not None or bool(dead_letters)

    def _read(self, key: Key, stored: Stored | None) -> Record | None:
        """Read `stored` by the machine of the version that wrote it, so that reading migrates nothing."""
        if stored is None or stored.is_deleted:
            return None
        machine = self.machines[key.machine]
        if self.older:
            version = parse(stored.body).get("version")
            machine = next(each for each in self._versions(key) if each.version == version)
        return record_from_json(machine, key, stored.body)

    def perform(self, key: Key, name: str, what: str, payload: str) -> None:
        """Record that the action or actor `what` was performed under the idempotency key `name`."""
        self.keys.use(name, payload)
        self.performed[name] = self.performed.get(name, 0) + 1
        self.scheduler.mark("performed")
        self.scheduler.log(f"{what} {name}")
        lifetimes = self.lifetimes_of(key)
        expected = lifetimes.effect(name)
        if lifetimes.broken:
            return  # after a violation the oracle cannot tell any more which effects are expected
        if expected is None:
            self.report("E2", f"{what} was performed under {name}, which no committed step had requested")
        elif expected != what:
            self.report("E2", f"{what} was performed under {name}, which is the key of {expected}")
        elif self.performed[name] > lifetimes.max_starts(name):
            self.report("R11", f"{what} must not be started again when it was interrupted, and was: {name}")

    # The end of a run

    def close(self, rested: bool) -> None:
        """Check the final state; `rested` is whether the run came to rest by itself."""
        if not rested:
            self.report("L1", f"after {self.scheduler.round_trips} round trips there is still something to do")
            return
        self.scheduler.mark("came to rest")
        records = {key: self.record(key) for key in self.lifetimes}
        for key, lifetimes in self.lifetimes.items():
            dead_lettered = {dead_letter.message.id for dead_letter in self.backend.store.dead_letters(key)}
            lifetimes.close(records[key], dead_lettered)
        self._check_effects()
        self._check_waits(records)
        self._check_postponed(records)
        if self.in_order:
            self._check_order()
        self.environment.contract.check_quiescent()

    def _check_waits(self, records: Mapping[Key, Record | None]) -> None:
        """Report instances that wait for something that cannot come: an overdue timer, or a child that has ended."""
        for key, record in records.items():
            if record is None or record.halted or not isinstance(record.snapshot, Snapshot):
                continue
            for token, timer in record.timers.items():
                if timer.due < self.scheduler.now and not self.restored:
                    self.report("T2", f"{key} waits for its timer {token}, which was due and never fired")
            for id, home in record.children.items():
                child = records.get(home.key)
                ended = child and isinstance(child.snapshot, Snapshot) and child.snapshot.status in ("done", "error")
                if ended and not self.restored:
                    self.report("D4", f"{key} waits for its child {id}, which has ended without a message to it")

    def _check_postponed(self, records: Mapping[Key, Record | None]) -> None:
        """Report messages that were postponed, and are left among the dead letters of an instance that is at rest."""
        for key, record in records.items():
            left = [each.message.id for each in self.backend.store.dead_letters(key) if each.reason == POSTPONED]
            if left and record is not None and not record.halted and not self.restored:
                self.report("L1", f"{key} has postponed {', '.join(left)}, and takes them no more")

    def _check_order(self) -> None:
        """Report events of one sender, whose ids are its name and their numbers, that were taken in another order."""
        for oracle in (oracle for lifetimes in self.lifetimes.values() for oracle in lifetimes.oracles):
            last: dict[str, int] = {}
            for event in oracle.external:
                numbered = NUMBERED.fullmatch(str(event.get("id"))) if is_object(event) else None
                if numbered is None:
                    continue
                sender, number = numbered[1], int(numbered[2])
                if number <= last.get(sender, 0):
                    self.report("F1", f"{oracle.key} took {sender}{number} after {sender}{last[sender]}")
                last[sender] = number

    def _check_effects(self) -> None:
        for lifetimes in self.lifetimes.values():
            oracle = lifetimes.current
            if oracle is None or lifetimes.broken:
                continue
            for name, effect in oracle.actions.items():
                if name not in self.performed:
                    self.report("E1", f"{name} {type(effect).__name__} was committed and never performed")
            for name in oracle.sends:
                if name not in self.sent:
                    self.report("D4", f"{name} was to be sent, and never was")


def names(deliveries: Sequence[Delivery]) -> str:
    """Return `deliveries` for a timeline: the id and the attempt of each."""
    return ",".join(f"{delivery.message.id}#{delivery.attempt}" for delivery in deliveries) or "-"


FAKE_RECEIPT = "ghost "
"""The prefix of the receipt of a made-up redelivery, which the backend does not know."""


def _real(deliveries: Iterable[Delivery]) -> tuple[Delivery, ...]:
    return tuple(delivery for delivery in deliveries if not delivery.receipt.startswith(FAKE_RECEIPT))


def _describe(write: Write) -> str:
    parts = [f"commits {write.key} v{write.stored.version}" if write.stored else f"writes to {write.key}"]
    parts += [f"acks {names(write.acks)}"] if write.acks else []
    parts += [f"sends {','.join(message.id for message in write.sends)}"] if write.sends else []
    parts += [f"schedules {','.join(timer.id for timer in write.timers)}"] if write.timers else []
    parts += [f"cancels {','.join(write.cancels)}"] if write.cancels else []
    parts += (
        [f"dead-letters {','.join(dead_letter.message.id for dead_letter in write.add_dead_letters)}"]
        if write.add_dead_letters
        else []
    )
    return ", ".join(parts)
