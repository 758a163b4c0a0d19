"""A simulation: some machines, a backend, and those who work with it, in the kernel's time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, assert_never

from attrs import define, evolve, field

from settled import (
    Call,
    Delivery,
    Key,
    Machine,
    Message,
    Policy,
    Record,
    SettledError,
    Stored,
    Unavailable,
    Unknown,
    Write,
    read,
    redrive,
    turn,
)
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
from settled.effects import Emit, Execute, Log
from settled.record import Action
from settled_conformance.contract.witness import Witness
from settled_conformance.place import Place
from settled_conformance.simulator.judge import Judge
from settled_conformance.simulator.kernel import (
    EFFECT,
    READ,
    RECEIVE,
    WRITE,
    Body,
    Choice,
    Idle,
    Kernel,
    Sleep,
    Step,
    Task,
    Trip,
)

AFTER_AN_ERROR = 5.0
BATCH = 4


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
                f"{task.name} receive {_names(deliveries)} until={deliveries[0].until - self.kernel.epoch:g}"
            )
        return deliveries

    def repeat(self, task: Task) -> Sequence[Delivery]:
        """Receive, and be handed again what was acknowledged before it: a queue may repeat, but in its order."""
        deliveries = self.receive(task)
        idle = [key for key in self.acked if key not in self.leased_until or self.leased_until[key] <= self.kernel.now]
        for key in list(dict.fromkeys(each.message.key for each in deliveries)) or idle[:1]:
            until = self.kernel.now + self.kernel.lease
            ghosts = [
                evolve(each, receipt=f"ghost {each.receipt}", until=until) for each in self.acked.get(key, [])[-2:]
            ]
            if not ghosts:
                continue
            self.kernel.mark("repeated delivery")
            self.kernel.say(f"{task.name} receive again {_names(ghosts)}")
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
        version = f"v{write.stored.version}" if write.stored else "-"
        self.kernel.say(
            f"{task.name} finish {write.key} {version} acks={_names(write.acks)} sends={[m.id for m in write.sends]} timers={[t.id for t in write.timers]}"
        )
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
        """An effect happens in the world."""
        self.performed[name] = self.performed.get(name, 0) + 1
        self.kernel.mark("performed")
        judge = self.judge(key)
        self.kernel.say(f"{what} {name}")
        if name not in judge.actions and name not in judge.calls:
            self.accuse("E2", f"{what} {name} was performed, and no committed step had asked for it")

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


def _names(deliveries: Sequence[Delivery]) -> str:
    return ",".join(f"{delivery.message.id}#{delivery.attempt}" for delivery in deliveries) or "-"


def _real(deliveries: Iterable[Delivery]) -> tuple[Delivery, ...]:
    return tuple(delivery for delivery in deliveries if not delivery.receipt.startswith("ghost "))


# Who works


def worker(simulation: Simulation) -> Callable[[Task], Body]:
    """Receives, and takes what it receives through its turns, one key after the other."""

    def body(task: Task) -> Body:
        while True:
            try:
                deliveries = yield Trip(
                    "receive", lambda: simulation.receive(task), RECEIVE, instead=lambda: simulation.repeat(task)
                )
            except SettledError:
                continue
            if not deliveries:
                yield Idle()
                continue
            for key in dict.fromkeys(delivery.message.key for delivery in deliveries):
                group = [delivery for delivery in deliveries if delivery.message.key == key]
                yield from _take(simulation, task, key, group)

    return body


def _take(simulation: Simulation, task: Task, key: Key, group: Sequence[Delivery]) -> Generator[Step, Any, None]:
    machine = simulation.machines[key.machine]
    nonce = f"{task.nonce}.{simulation.kernel.trips}"
    hands = _Hands(simulation, task)
    try:
        yield from _drive(turn(machine, key, group, nonce, simulation.policy), hands)
    except SettledError as error:
        simulation.kernel.say(f"{task.name} gives up: {error}")
        try:
            yield Trip("release", lambda: simulation.release(task, group, AFTER_AN_ERROR), WRITE)
        except SettledError:
            return


def _drive(course: Course[Any], hands: _Hands) -> Generator[Step, Any, Any]:
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
        return end.value


@define(eq=False)
class _Hands:
    """Performs the commands of one turn, each as one or more round trips."""

    simulation: Simulation
    task: Task
    started: dict[tuple[str, int], Invocation] = field(factory=dict[tuple[str, int], Invocation])
    ended: dict[tuple[str, int], Result] = field(factory=dict[tuple[str, int], Result])

    def perform(self, command: Command) -> Generator[Step, Any, Answer]:
        simulation, task, clock = self.simulation, self.task, self.simulation.kernel.clock
        match command:
            case Load(key):
                return (
                    yield Trip(
                        f"load {key}", lambda: Loaded(simulation.handle(task).store.load(key), clock(task)), READ
                    )
                )
            case Letters(key):
                return (yield Trip(f"letters {key}", lambda: self._letters(key), READ))
            case Finish(write):
                return (yield Trip(_finish_label(write), lambda: self._finish(write), WRITE))
            case Release(deliveries, delay):
                return (
                    yield Trip(
                        f"release {_names(deliveries)} for {delay:g}", lambda: self._release(deliveries, delay), WRITE
                    )
                )
            case Act():
                return (yield from self._act(command))
            case Run():
                return (yield from self._run(command))
            case _:
                assert_never(command)

    def _finish(self, write: Write) -> Done:
        self.simulation.finish(self.task, write)
        return Done(self.simulation.kernel.clock(self.task))

    def _letters(self, key: Key) -> Lying:
        letters = self.simulation.handle(self.task).store.dead_letters(key)
        return Lying(tuple(letters), self.simulation.kernel.clock(self.task))

    def _release(self, deliveries: Sequence[Delivery], delay: float) -> Done:
        self.simulation.release(self.task, deliveries, delay)
        return Done(self.simulation.kernel.clock(self.task))

    def _act(self, command: Act) -> Generator[Step, Any, Acted]:
        simulation, clock = self.simulation, self.simulation.kernel.clock
        for count, action in enumerate(command.actions):
            what = _what(action)
            failed = yield Trip(
                f"{what} {action.idempotency_key}",
                lambda action=action, what=what: simulation.perform(command.key, action.idempotency_key, what),
                EFFECT,
                instead=lambda: "it fails",
            )
            if failed:
                return Acted(count, clock(self.task), failed)
        return Acted(len(command.actions), clock(self.task))

    def _run(self, command: Run) -> Generator[Step, Any, Ran]:
        kernel, clock = self.simulation.kernel, self.simulation.kernel.clock
        for invocation in command.invocations:
            attempt = (invocation.idempotency_key, invocation.attempt)
            if attempt not in self.started:
                self.started[attempt] = invocation
                result = yield Trip(
                    f"{invocation.src} {invocation.idempotency_key}",
                    lambda invocation=invocation: self._call(command, invocation),
                    EFFECT,
                    instead=lambda invocation=invocation: self._fail(command, invocation),
                )
                self.ended[attempt] = result
        running = [each for each in command.invocations if (each.idempotency_key, each.attempt) in self.ended]
        hangs = command.until is not None
        way = (yield Choice("which ends", len(running) + hangs + 1)) if running else 0
        if way < len(running):
            each = running[way]
            return Ran(self.ended[each.idempotency_key, each.attempt], clock(self.task))
        if way == len(running) and command.until is not None:
            kernel.say(f"{self.task.name} waits for a timer")
            yield Sleep(command.until - self.task.skew)
            return Ran(None, max(command.until, clock(self.task)))
        kernel.say(f"{self.task.name} is interrupted")
        return Ran(None, clock(self.task), interrupted=True)

    def _call(self, command: Run, invocation: Invocation) -> Result:
        self.simulation.perform(command.key, invocation.idempotency_key, f"{invocation.src} #{invocation.attempt}")
        actor = self.simulation.machines[command.key.machine].actor(invocation.src)
        assert not isinstance(actor, Machine)
        call = Call(command.key, invocation.idempotency_key, invocation.attempt, None, command.fence, lambda: False)
        return Result(invocation.id, True, actor.function(invocation.input, call))

    def _fail(self, command: Run, invocation: Invocation) -> Result:
        self.simulation.perform(command.key, invocation.idempotency_key, f"{invocation.src} #{invocation.attempt}")
        return Result(invocation.id, False, {"name": "Failed", "message": "on purpose"})


def _finish_label(write: Write) -> str:
    return f"commit {write.key} v{write.stored.version}" if write.stored else f"ack {write.key}"


def _what(action: Action) -> str:
    match action.effect:
        case Execute(type=type):
            return type
        case Emit():
            return "emit"
        case Log():
            return "log"


def client(simulation: Simulation, messages: Sequence[Message]) -> Callable[[Task], Body]:
    """Sends `messages`, each until it is answered; after a crash it goes on with the one it was at."""
    left = list(messages)

    def body(task: Task) -> Body:
        while left:
            message = left[0]
            try:
                yield Trip(f"send {message.id}", lambda message=message: simulation.send(task, [message]), WRITE)
            except (Unavailable, Unknown):
                continue
            simulation.kernel.say(f"{task.name} sent {message.id}")
            left.pop(0)

    return body


def operator(simulation: Simulation, key: Key) -> Callable[[Task], Body]:
    """Redrives `key` until that has worked."""

    def body(task: Task) -> Body:
        while True:
            course = redrive(simulation.machines[key.machine], key, f"{task.nonce}.{simulation.kernel.trips}")
            try:
                yield from _drive(course, _Hands(simulation, task))
            except SettledError:
                continue
            return

    return body
