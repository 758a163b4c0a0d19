"""Plays live cases through the durable path: what ``live.mjs`` does with the actors of the real XState.

Each actor that is a machine is an instance, and time is virtual. Functions take the time their script says; meanwhile
other instances go on, as they would under other workers.

A case is over where logic raises: XState then ends the actor with an error, while an instance here is halted as it
stood, for somebody to mend.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from attrs import Factory, define, frozen

from settled import ABSENT, Key, Machine, Policy, Snapshot, send_parent, turn
from settled.chart.actions import BuiltInAction
from settled.data import Json, is_object
from settled.durable.commands import (
    ActionsPerformed,
    ActorEnded,
    ActorResult,
    Command,
    Commands,
    PerformActions,
    RunActors,
)
from settled.durable.messages import CHILD_MARKER
from settled.durable.ports import Delivery
from settled.durable.record import Record
from settled.step.effects import Emit, Execute, Log
from settled_local.memory import MemoryBackend
from tests.parity.runner import built
from tests.parity.vocabulary import Vocabulary, dynamic
from tests.support.virtual_world import World

Case = Mapping[str, Any]
Step = dict[str, Any]

FOR_EVER = float("inf")
LEASE = 1e9
A_MOMENT = 1e-9
"""How far apart two equal times may be, in seconds: they are sums of fractions."""

MOST_HANDOUTS = 2_000
MOST_MOMENTS = 200
"""How many moments a case may take from one step to the next."""


class LiveVocabulary(Vocabulary):
    """The vocabulary of machines that have a parent."""

    def action(self, value: Any) -> Any:
        if is_object(value) and value.get("type") == "sendParent":
            return _send_parent(value["params"])
        return super().action(value)


def _send_parent(params: Mapping[str, Any]) -> BuiltInAction:
    return send_parent(dynamic(params["event"]))


def machines_of(case: Case) -> tuple[Machine[Any], dict[str, Machine[Any]]]:
    """The machine of `case`, and those it has as actors, by their names."""
    made: dict[str, Machine[Any]] = {}

    def make(config: Mapping[str, Any]) -> Machine[Any]:
        vocabulary = LiveVocabulary()
        return built(vocabulary, config, lambda: {src: logic(src) for src in vocabulary.actors})

    def logic(src: str) -> Any:
        if src not in case.get("machines", ()):
            return unasked
        if src not in made:
            made[src] = make(case["machines"][src])
        return made[src]

    return make(case["config"]), made


def unasked(_input: Any, _call: Any) -> None:
    raise AssertionError("a function's script says what it answers")


@frozen
class Parked:
    """A turn that waits for its functions until `wake`."""

    wake: float
    key: Key
    commands: Commands[Any]
    command: RunActors


@define
class Live(World):
    """A world in which functions take their time, and all that happens is noted."""

    functions: Mapping[str, Mapping[str, Any]] = {}
    parked: list[Parked] = Factory(list[Parked])
    ends: dict[tuple[str, int], float] = Factory(dict[tuple[str, int], float])
    paths: dict[str, str] = Factory(dict[str, str])
    at_work: Key | None = None
    log: dict[str, dict[str, list[Any]]] = Factory(dict[str, dict[str, list[Any]]])

    def play(self, case: Case) -> Generator[Step]:
        """Each step of `case`, the start first."""
        with self._noting():
            self.start("root", case.get("input"))
            yield self._step(self.rest())
            for step in case["steps"]:
                if "send" in step:
                    self.send(step["send"], "root")
                    yield self._step(self.rest())
                else:
                    yield self._step(self.wait(step["wait"] / 1000) and self.rest())

    def _step(self, is_resting: bool) -> Step:
        step: Step = {"at": self.now, "actors": self.seen(self.key("root")), **self.log}
        self.log = {"events": {}, "actions": {}}
        return step if is_resting else {"stuck": True}

    # Time

    def rest(self) -> bool:
        """Let time pass until no function runs; False if one runs for ever."""
        self._work()
        for _ in range(MOST_MOMENTS):
            if not self.parked:
                return True
            if not self._go_on():
                return False
        return False

    def wait(self, seconds: float) -> bool:
        until = self.now + seconds
        for _ in range(MOST_MOMENTS):
            if min(self.backend.next_due(), *(each.wake for each in self.parked), FOR_EVER) > until + A_MOMENT:
                self.now = until
                return True
            self._go_on()
        return False

    def _work(self) -> None:
        for _ in range(MOST_HANDOUTS):
            deliveries = self.backend.queue.receive(10)
            if not deliveries:
                return
            self.take(deliveries)
        raise AssertionError("the instances answer one another for ever")

    def _go_on(self) -> bool:
        """Go to the next moment at which something happens. Timers come before the answers of functions."""
        first = min(self.parked, key=lambda each: each.wake, default=None)
        due = self.backend.next_due()
        if due <= (first.wake if first else FOR_EVER) and due < LEASE:
            self.now = max(self.now, due)
        elif first is not None and first.wake < FOR_EVER:
            self.now = max(self.now, first.wake)
            self.parked.remove(first)
            self._drive(first.key, first.commands, self._answer(first.command))
        else:
            return False
        self._work()
        return True

    # Turns

    def take(self, deliveries: Sequence[Delivery]) -> None:
        for key in dict.fromkeys(delivery.message.key for delivery in deliveries):
            self.workers += 1
            group = [delivery for delivery in deliveries if delivery.message.key == key]
            nonce = f"w{self.workers}"
            self._drive(key, turn(self.machine_of(key), key, group, nonce, self.policy, self.traits), None)

    def _drive(self, key: Key, commands: Commands[Any], answer: Any) -> None:
        """As far as `course` goes without waiting."""
        self.at_work = key
        try:
            command: Command = commands.send(answer)
            while not isinstance(command, RunActors):
                command = commands.send(self.perform(command))
        except StopIteration:
            return
        self.parked.append(Parked(self._wake(command), key, commands, command))

    def _wake(self, run: RunActors) -> float:
        ends = [self._end(each.src, each.idempotency_key, each.attempt) for each in run.calls]
        return min(*ends, FOR_EVER if run.until is None else run.until, FOR_EVER)

    def _end(self, src: str, key: str, attempt: int) -> float:
        after = self.functions[src].get("after")
        return self.ends.setdefault((key, attempt), FOR_EVER if after is None else self.now + after / 1000)

    def _answer(self, run: RunActors) -> ActorEnded:
        first = min(run.calls, key=lambda each: self._end(each.src, each.idempotency_key, each.attempt))
        if self._end(first.src, first.idempotency_key, first.attempt) > self.now:
            return ActorEnded(None, self.now)
        script = self.functions[first.src]
        is_done = "error" not in script
        return ActorEnded(
            ActorResult(first.id, is_done, script.get("output") if is_done else script["error"]), self.now
        )

    # What is noted

    def _perform_actions(self, command: PerformActions) -> ActionsPerformed:
        for action in command.actions:
            match action.effect:
                case Execute(type=type, params=params):
                    self._note("actions", [type, params])
                case Emit(event=event):
                    self._note("actions", ["xstate.emit", event])
                case Log(value=value, label=label):
                    self._note("actions", ["xstate.log", {"value": value, "label": label}])
        return ActionsPerformed(len(command.actions), self.now)

    def _note(self, kind: str, what: Json) -> None:
        assert self.at_work is not None
        self.log.setdefault(kind, {}).setdefault(self.path(self.at_work), []).append(what)

    @contextmanager
    def _noting(self) -> Generator[None]:
        own = vars(Machine)
        start, take = own["initial_transition"], own["transition"]

        def started(machine: Any, *args: Any, **options: Any) -> Any:
            assert self.at_work is not None
            self.path(self.at_work)
            return start(machine, *args, **options)

        def taken(machine: Any, snapshot: Any, event: Any, **options: Any) -> Any:
            self._note("events", visible(event))
            return take(machine, snapshot, event, **options)

        self.log = {"events": {}, "actions": {}}
        with patch.object(Machine, "initial_transition", started), patch.object(Machine, "transition", taken):
            yield

    def path(self, key: Key) -> str:
        """The ids from the root down to the instance `key`, and which start of its id it is."""
        if CHILD_MARKER not in key.instance:
            return "root"
        if key.instance not in self.paths:
            parent, _, own = key.instance.rpartition(CHILD_MARKER)
            plain = f"{self.path(Key('', parent))}/{own.rsplit('.', 4)[0]}"
            count = sum(path.startswith(f"{plain}#") and "/" not in path[len(plain) :] for path in self.paths.values())
            self.paths[key.instance] = f"{plain}#{count + 1}"
        return self.paths[key.instance]

    def seen(self, key: Key) -> dict[str, Any]:
        """The instance and the machines below it that still run."""
        record = self.record_of(key)
        if record.halted:
            return {self.path(key): {"halted": record.halted}}
        found = {self.path(key): viewed(record.readable_snapshot())}
        for id in record.children:
            if self._is_active(record, id):
                found |= self.seen(record.children[id].key)
        return found

    def _is_active(self, record: Record, id: str) -> bool:
        child = record.readable_snapshot().children.get(id)
        return child is not None and child.status == "active"


def viewed(snapshot: Snapshot[Any]) -> dict[str, Any]:
    view: dict[str, Any] = {
        "value": snapshot.value,
        "context": snapshot.context,
        "status": snapshot.status,
        "children": {id: child.status for id, child in snapshot.children.items()},
    }
    if snapshot.output is not ABSENT:
        view["output"] = snapshot.output
    if snapshot.status == "error":
        view["error"] = None if snapshot.error is ABSENT else snapshot.error
    return view


def visible(event: Mapping[str, Any]) -> Json:
    """Return `event`; of one that brings a snapshot only the state value is compared."""
    snapshot = event.get("snapshot")
    if is_object(snapshot) and str(event["type"]).startswith("xstate.snapshot."):
        return {"type": event["type"], "value": snapshot.get("value")}
    return event


def played(case: Case) -> list[Step]:
    """Play `case` through the durable path, and return its steps, with times in milliseconds from the start."""
    root, others = machines_of(case)
    live = Live(
        root,
        list(others.values()),
        Policy(lease=timedelta(seconds=LEASE), max_attempts=1),
        functions=case.get("functions", {}),
    )
    live.backend = MemoryBackend(lease=timedelta(seconds=LEASE), clock=lambda: live.now)
    begin = live.now
    steps: list[Step] = []
    for step in live.play(case):
        if "at" in step:
            step["at"] = (step["at"] - begin) * 1000
        steps.append(step)
        if "stuck" in step or any("halted" in view for view in step["actors"].values()):
            break
    return steps
