"""A simulation: some machines at one place, and what is known of all that happens to them, in the kernel's time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define, evolve, field

from settled import Delivery, Key, Machine, Message, Policy, Record, Stored, Write, read
from settled_conformance.contract.witness import Witness
from settled_conformance.place import Place
from settled_conformance.simulator.judge import Judge
from settled_conformance.simulator.kernel import Kernel, Task

BATCH = 4
"""How many messages a worker receives at once."""


@define(eq=False)
class Simulation:
    """What happens to `machines` at `place`. What it looks up for itself goes through `backend`."""

    kernel: Kernel
    place: Place
    machines: Mapping[str, Machine[Any, Any]]
    policy: Policy
    judges: dict[Key, Judge] = field(factory=dict[Key, Judge])
    performed: dict[str, int] = field(factory=dict[str, int])
    sent: dict[str, Message] = field(factory=dict[str, Message])
    leased_until: dict[Key, float] = field(factory=dict[Key, float])
    handles: dict[str, Witness] = field(factory=dict[str, Witness])
    acked: dict[Key, list[Delivery]] = field(factory=dict[Key, "list[Delivery]"])

    def accuse(self, guarantee: str, how: str) -> None:
        """A guarantee was broken."""
        self.place.contract.accuse(guarantee, how)

    @property
    def backend(self) -> Witness:
        """The handle of the one who looks on."""
        return self.place.handles[0]

    def handle(self, task: Task) -> Witness:
        """The handle of `task`: another one in each of its lives."""
        if task.nonce not in self.handles:
            self.handles[task.nonce] = self.place.open()
        return self.handles[task.nonce]

    def judge(self, key: Key) -> Judge:
        """The judge of `key`."""
        if key not in self.judges:
            self.judges[key] = Judge(self.machines[key.machine], key, self.accuse)
        return self.judges[key]

    # The backend, as everybody sees it

    def send(self, task: Task, messages: Sequence[Message]) -> None:
        for message in messages:
            self._arrive(message)
        self.handle(task).queue.send(messages)
        self.kernel.stir()

    def receive(self, task: Task) -> Sequence[Delivery]:
        deliveries = self.handle(task).queue.receive(BATCH)
        for delivery in deliveries:
            self._hold(task, delivery)
        if deliveries:
            self.kernel.say(
                f"{task.name} receive {names(deliveries)} until={deliveries[0].until - self.kernel.epoch:g}"
            )
        return deliveries

    def repeat(self, task: Task) -> Sequence[Delivery]:
        """Receive, and be handed again what was acknowledged before it: a queue may repeat, but in its order."""
        deliveries = self.receive(task)
        idle = [key for key in self.acked if key not in self.leased_until or self.leased_until[key] <= self.kernel.now]
        until = self.kernel.now + self.kernel.lease
        for key in list(dict.fromkeys(each.message.key for each in deliveries)) or idle[:1]:
            ghosts = [
                evolve(each, receipt=f"{GHOST}{each.receipt}", until=until) for each in self.acked.get(key, [])[-2:]
            ]
            if ghosts:
                self.kernel.mark("repeated delivery")
                self.kernel.say(f"{task.name} receive again {names(ghosts)}")
                task.holds_until = max(task.holds_until, until)
                deliveries = [*ghosts, *deliveries]
        return deliveries

    def _hold(self, task: Task, delivery: Delivery) -> None:
        task.holds_until = max(task.holds_until, delivery.until)
        self.leased_until[delivery.message.key] = delivery.until
        self.kernel.expect(delivery.until)
        self._arrive(delivery.message)
        if delivery.attempt > 1:
            self.kernel.mark("redelivery")

    def _arrive(self, message: Message) -> None:
        self.sent[message.id] = message
        self.judge(message.key).arrive(message)

    def finish(self, task: Task, write: Write) -> None:
        real = evolve(write, acks=_real(write.acks))
        if task.is_zombie and write.stored is not None:
            self.kernel.mark("zombie commit")
        self.place.contract.blame = "R4" if task.is_zombie else "R6"
        self.handle(task).finish(real)
        self.kernel.stir()
        if write.sends or write.timers:
            self.kernel.mark("owed")
        for message in write.sends:
            self._arrive(message)
        for timer in write.timers:
            self.kernel.expect(timer.due)
        for delivery in real.acks:
            self.acked.setdefault(delivery.message.key, []).append(delivery)
        self.kernel.say(f"{task.name} {_told(write)}")
        if write.stored is not None:
            self._committed(write.key, write.stored)

    def _committed(self, key: Key, stored: Stored) -> None:
        assert stored.body is not None
        record = read(self.machines[key.machine], key, stored.body)
        self.judge(key).read(record)

    def release(self, task: Task, deliveries: Sequence[Delivery], delay: float) -> None:
        self.handle(task).queue.release(_real(deliveries), delay)
        self.kernel.expect(self.kernel.now + delay)
        self.kernel.stir()

    def record(self, key: Key) -> Record | None:
        stored = self.backend.store.load(key)
        if stored is None or stored.body is None:
            return None
        return read(self.machines[key.machine], key, stored.body)

    def perform(self, key: Key, name: str, what: str) -> None:
        """The action or actor `what` is performed in the world under the idempotency key `name`."""
        self.performed[name] = self.performed.get(name, 0) + 1
        self.kernel.mark("performed")
        self.kernel.say(f"{what} {name}")
        expected = self.judge(key).effect(name)
        if expected is None:
            self.accuse("E2", f"{what} was performed under {name}, and no committed step had asked for it")
        elif expected != what:
            self.accuse("E2", f"{what} was performed under {name}, which is the key of {expected}")
        elif self.performed[name] > self.judge(key).most_starts(name):
            self.accuse("R11", f"{what} must not be started again when it was interrupted, and was: {name}")

    # The end

    def close(self, rested: bool) -> None:
        """Judge all that there is."""
        if not rested:
            self.accuse("L1", f"after {self.kernel.trips} round trips there is still something to do")
            return
        self.kernel.mark("came to rest")
        for key, judge in self.judges.items():
            set_aside = {letter.message.id for letter in self.backend.store.dead_letters(key)}
            judge.close(self.record(key), set_aside)
        self._effects()
        self.place.contract.at_rest()

    def _effects(self) -> None:
        for judge in self.judges.values():
            if judge.broken:
                continue
            for name, effect in judge.actions.items():
                if name not in self.performed:
                    self.accuse("E1", f"{name} {type(effect).__name__} was committed and never performed")
            for name in judge.sends:
                if name not in self.sent:
                    self.accuse("D4", f"{name} was to be sent, and never was")


def names(deliveries: Sequence[Delivery]) -> str:
    """`deliveries` as a timeline writes them: the id, and which hand-out it is."""
    return ",".join(f"{delivery.message.id}#{delivery.attempt}" for delivery in deliveries) or "-"


GHOST = "ghost "
"""How the receipt of a repeated delivery begins; the queue knows nothing of it."""


def _real(deliveries: Iterable[Delivery]) -> tuple[Delivery, ...]:
    return tuple(delivery for delivery in deliveries if not delivery.receipt.startswith(GHOST))


def _told(write: Write) -> str:
    parts = [f"commits {write.key} v{write.stored.version}" if write.stored else f"writes to {write.key}"]
    parts += [f"acks {names(write.acks)}"] if write.acks else []
    parts += [f"sends {','.join(message.id for message in write.sends)}"] if write.sends else []
    parts += [f"schedules {','.join(timer.id for timer in write.timers)}"] if write.timers else []
    parts += [f"cancels {','.join(write.cancels)}"] if write.cancels else []
    parts += [f"buries {','.join(letter.message.id for letter in write.bury)}"] if write.bury else []
    return ", ".join(parts)
