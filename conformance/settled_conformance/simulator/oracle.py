"""The judge: the theorem, applied to one instance.

It plays the diary of an instance again on the pure machine, one event after the other, and asks of each what right it
had to be there: it was sent and not yet taken, or a timer that was running, or the result of an actor that ran. What
the effects of that play are is what the world must have seen: each at least once, all under the names that they have
here, and none before the commit that brought it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, assert_never

from attrs import define, evolve, field, frozen

from settled import Actor, Json, Key, Machine, Snapshot, fold, is_settled
from settled.chart.actions import INTERNAL
from settled.data import parse, write
from settled.durable import Record
from settled.durable.delays import delays_of
from settled.durable.messages import Event, ImportChild, Start, internal_id
from settled.durable.persisted_tree import tree_from_json
from settled.progress import Progress, initial_progress, take_event
from settled.step.effects import Cancel, Effect, Emit, Execute, Invoke, Log, Raise, Schedule, Send, Stop
from settled_conformance.simulator.effect_keys import KeyedAction, Origin, effect_key, kind_of, origin_of
from settled_conformance.simulator.history import born_of, history_of
from settled_conformance.simulator.mailbox import Mailbox

Accuse = Callable[[str, str], None]
"""Called with the number of a guarantee, and how it was broken."""


@frozen
class Running:
    """A timer of the play: its event, the name it may be cancelled by, to whom it goes, and before when it is early."""

    event: Json
    id: str | None
    to: str | None = None
    due: float = 0.0


@define(eq=False)
class Moment:
    """When a commit is made, and when its worker was last told the time: that is what its delays count from.

    `told` is None where nobody asks whether timers are punctual, because workers' own clocks decide and are off.
    """

    now: float = 0.0
    told: float | None = None
    tolerance: float = 0.0

    def after(self, delay: timedelta) -> float:
        """Before when what is to come after `delay` would be early."""
        return 0.0 if self.told is None else self.told + delay.total_seconds()


@define(eq=False)
class Oracle:
    """The play of one life of an instance, as far as its committed diary goes.

    `versions` are all machines that may write it, by their versions; `machine` is the one that wrote it last. `moment`
    is when that was, by a clock that is right. `folds`:
    the life is the fold of its events alone, for it began with a start and was never migrated.
    """

    machine: Machine[Any, Any]
    key: Key
    accuse: Accuse
    mail: Mailbox
    versions: Mapping[str | None, Machine[Any, Any]]
    moment: Moment
    progress: Progress | None = None
    input: Json = None
    folds: bool = True
    origin: Origin = ""
    ordinal: int = 0
    history: list[Json] = field(factory=list[Json])
    broken: bool = False
    external: list[Json] = field(factory=list[Json])
    running: dict[str, Running] = field(factory=dict[str, Running])
    named: dict[str, str] = field(factory=dict[str, str])
    fired: Counter[str] = field(factory=Counter[str])
    cancelled: Counter[str] = field(factory=Counter[str])
    actions: dict[str, KeyedAction] = field(factory=dict[str, KeyedAction])
    calls: dict[str, Invoke] = field(factory=dict[str, Invoke])
    sends: dict[str, Json] = field(factory=dict[str, Json])

    # What may be performed

    def effect(self, name: str) -> str | None:
        """What a committed step has asked for under the key `name`; None if none has."""
        if name in self.calls:
            return self.calls[name].src
        return kind_of(self.actions[name]) if name in self.actions else None

    def most_starts(self, name: str) -> float:
        """How often what bears the key `name` may be started at most."""
        call = self.calls.get(name)
        logic = None if call is None else self.machine.actor(call.src)
        return logic.retry.attempts if isinstance(logic, Actor) and logic.interruption == "fail" else float("inf")

    # What was committed

    def read(self, record: Record) -> None:
        """`record` was committed."""
        if record.snapshot is None or not isinstance(record.snapshot, Snapshot) or self.broken:
            return
        if self.progress is None:
            self._begin(record, born_of(record.snapshot))
        elif record.version != self.machine.version:
            self._migrate(record.version)
        history, seen = history_of(record.snapshot), len(self.history)
        if history[:seen] != self.history:
            self._break("R9", f"a committed step was undone: had taken {_ids(self.history)}, and now {_ids(history)}")
        for event in history[seen:]:
            if self.broken:
                return
            self._take(event, origin_of(record))
        self.history = history

    def vanish(self) -> None:
        """A record was committed in which it was never started."""
        self._break("R9", "a committed step was undone: it had been started, and now it never was")

    def adopt(self, record: Record) -> None:
        """`record` was written by an operator: the life begins as what it holds, wherever that has lived before."""
        assert isinstance(record.snapshot, Snapshot), "what is adopted can be read"
        self.machine, self.folds = self.versions[record.version], False
        self.origin, self.history = origin_of(record), history_of(record.snapshot)
        self.progress = Progress(record.snapshot, index=record.turn.index if record.turn else 0)
        for token, timer in record.timers.items():
            self._watch(token, Running(timer.event, timer.id))
        for call in record.turn.actors if record.turn else ():
            self.calls[self._name(call.index)] = Invoke(call.index, call.id, call.src, call.input)

    def branch(self) -> Oracle:
        """Another judge of the same life, as far as it has come: after a restore it may go on in another way."""
        return evolve(
            self,
            history=list(self.history),
            external=list(self.external),
            running=dict(self.running),
            named=dict(self.named),
            fired=Counter(self.fired),
            cancelled=Counter(self.cancelled),
            actions=dict(self.actions),
            calls=dict(self.calls),
            sends=dict(self.sends),
        )

    def _begin(self, record: Record, born: Json) -> None:
        adoptions = [(id, each) for id, each in self.mail.adoptions().items() if each.parent == record.parent]
        if adoptions:
            return self._begin_from(record, *adoptions[0])
        starts = self.mail.starts()
        candidates = {id: each for id, each in starts.items() if (each.input, each.parent) == (born, record.parent)}
        fresh = {id: start for id, start in candidates.items() if id not in self.mail.begun}
        if not candidates:
            self._break("X9", "it was started, and nobody had asked for it")
            return
        if not fresh and born is not None:
            self._break("X4", f"was started a second time by {next(iter(candidates))}")
            return
        id, start = next(iter((fresh or candidates).items()))
        self.mail.begun.add(id)
        self.machine = self.versions.get(record.version, self.machine)
        self.input, self.origin = start.input, origin_of(record)
        self._enter(initial_progress(self.machine, self.input), 0)

    def _begin_from(self, record: Record, id: str, adoption: ImportChild) -> None:
        """The life begins as what its parent had sent to it; what runs in there runs from now on."""
        if id in self.mail.begun:
            self._break("X4", f"was adopted a second time by {id}")
            return
        self.mail.begun.add(id)
        snapshot = tree_from_json(self.machine, adoption.tree).snapshot
        self.origin, self.folds, self.history = origin_of(record), False, history_of(snapshot)
        going = [(name, child) for name, child in snapshot.children.items() if child.status == "active"]
        for index, (name, child) in enumerate(going):
            if not isinstance(self.machine.actor(child.src), Machine):
                self.calls[self._name(index)] = Invoke(index, name, child.src, None)
        delays = delays_of(snapshot)
        for after in delays:
            self._watch(after.event, Running({"type": after.event}, after.event))
        self.progress = Progress(snapshot, index=len(going) + len(delays))

    def _migrate(self, version: str | None) -> None:
        """Another version of the machine goes on with it: with its own migration, once, and not back again."""
        newer, progress = self.versions[version], self.progress
        assert progress is not None, "what is migrated has begun"
        if self.machine.version not in newer.logic.migrations:
            self._break("V1", f"was written by version {self.machine.version}, and now by {version}, which is older")
            return
        raw = newer.migrate(parse(self.machine.dump(progress.snapshot)), self.machine.version)
        self.machine, self.folds, self.progress = newer, False, evolve(progress, snapshot=newer.from_json(raw))

    def _take(self, event: Json, origin: Origin) -> None:
        progress = self.progress
        assert progress is not None, "a diary begins with a start"
        if progress.inbox:
            expected, *later = progress.inbox
            if write(expected) != write(event):
                self._break("X9", f"took {event}, where it had sent itself {expected}")
                return
            self._step(Progress(progress.snapshot, tuple(later), (), progress.index), event)
            return
        opens = is_settled(self.machine, progress.snapshot)
        if not self._may_take(progress.snapshot, event, opens):
            return
        self.external.append(event)
        if opens:
            self.ordinal, self.origin = self.ordinal + 1, origin
        self._step(Progress(progress.snapshot, (), (), 0 if opens else progress.index), event)

    def _step(self, progress: Progress, event: Json) -> None:
        self._enter(take_event(self.machine, progress, event), len(progress.effects))

    def _enter(self, progress: Progress, first: int) -> None:
        for effect in progress.effects[first:]:
            self._note(effect)
        if progress.snapshot.status != "active":
            self.running, self.named = {}, {}
            progress = Progress(progress.snapshot, (), (), progress.index)
        self.progress = progress

    def _may_take(self, snapshot: Snapshot[Any], event: Any, opens: bool) -> bool:
        type = str(event.get("type"))
        if snapshot.status != "active":
            return self._break("X4", f"took {event} after its end")
        if type.startswith(("xstate.done.actor.", "xstate.error.actor.")):
            return self._may_report(snapshot, event, opens)
        text = write(event)
        if any(write(timer.event) == text for timer in self.running.values()):
            return self._fire(text)
        if type.startswith("xstate."):
            kind = "T3" if self.cancelled[text] else "X4"
            return self._break(kind, f"took the timer {type}, which was not running")
        if not opens:
            return self._break("X4", f"took {event} in the middle of a turn")
        return self._is_new(text, text)

    def _may_report(self, snapshot: Snapshot[Any], event: Mapping[str, Any], opens: bool) -> bool:
        child = snapshot.children.get(str(event.get("actorId")))
        if child is None or child.status != "active":
            return self._break("X4", f"took {event.get('type')}, and no such actor was running")
        is_machine = isinstance(self.machine.actor(child.src), Machine)
        if is_machine != opens:
            return self._break("X4", f"took {event.get('type')} at the wrong place of a turn")
        return True

    def _fire(self, text: str) -> bool:
        alike = [name for name, timer in self.running.items() if write(timer.event) == text]
        name = min(alike, key=lambda each: self.running[each].due)
        if self.running[name].due > self.moment.now + self.moment.tolerance:
            self.accuse("T1", f"{self.key} took {text} at {self.moment.now:g}: it is due at {self.running[name].due:g}")
        self.named.pop(self.running.pop(name).id or "", None)
        self.fired[text] += 1
        return True

    def _is_new(self, text: str, event: str) -> bool:
        taken, offered = self.mail.taken, self.mail.offered[text]
        if offered == 0:
            return self._break("X9", f"took {event}, which nobody had sent")
        taken[text] += 1
        if taken[text] > offered:
            return self._break("X4", f"took {event} {taken[text]} times; it was sent {offered} times")
        return True

    def _name(self, index: int) -> str:
        return effect_key(self.key, self.origin, self.ordinal, index)

    def _note(self, effect: Effect) -> None:
        name = self._name(effect.index)
        match effect:
            case Execute() | Emit() | Log():
                self.actions[name] = effect
            case Invoke():
                self._invoke(name, effect)
            case Stop() | Raise():
                pass
            case Send(_, to, event, id, delay) if delay is not None:
                self._watch(name, Running(event, id, None if to == INTERNAL else to, self.moment.after(delay)))
            case Send(_, to, event):
                if to != INTERNAL:
                    self.sends[internal_id(name)] = event
            case Schedule(_, event, delay, id):
                self._watch(name, Running(event, id, due=self.moment.after(delay)))
            case Cancel(_, id):
                self._cancel(id)
            case _:
                assert_never(effect)

    def _invoke(self, name: str, effect: Invoke) -> None:
        if isinstance(self.machine.actor(effect.src), Machine):
            self.sends[internal_id(name)] = effect.input
        else:
            self.calls[name] = effect

    def _watch(self, name: str, timer: Running) -> None:
        if timer.id is not None:
            self.named[timer.id] = name
        if timer.to is None:
            self.running[name] = timer

    def _cancel(self, id: str) -> None:
        cancelled = self.running.pop(self.named.pop(id, ""), None)
        if cancelled is not None:
            self.cancelled[write(cancelled.event)] += 1

    def _break(self, guarantee: str, how: str) -> bool:
        self.broken = True
        self.accuse(guarantee, f"{self.key} {how}")
        return False

    # The end

    def close(self, record: Record | None, set_aside: set[str]) -> None:
        """The run is over; `record` is the last one, and the ids in `set_aside` are among the dead letters."""
        if self.broken:
            return
        self._account_for_all(record, set_aside)
        if record is None or self.progress is None or not isinstance(record.snapshot, Snapshot):
            return
        if record.turn is not None or record.halted or record.redriving is not None:
            self.accuse("L1", f"{self.key} never came to rest: {_unfinished(record)}")
            return
        self._compare(record.snapshot)

    def _account_for_all(self, record: Record | None, set_aside: set[str]) -> None:
        active = record is not None and isinstance(record.snapshot, Snapshot) and record.snapshot.status == "active"
        for id, content in self.mail.arrived.items():
            if not isinstance(content, Start | Event) or self._lies_rightly(id, content, set_aside):
                continue
            if id in self.mail.excused:
                continue
            if isinstance(content, Start):
                if id not in self.mail.begun and (record is None or record.snapshot is None):
                    self.accuse("D1", f"{self.key} was never started, though {id} was sent")
            elif active and not self.mail.was_taken(content.event):
                self.accuse("D3", f"{self.key} never took {id} {content.event}, and it is no dead letter")

    def _lies_rightly(self, id: str, content: Start | Event, set_aside: set[str]) -> bool:
        """Whether the message lies among the dead letters; there it must not lie once this life has taken it."""
        if id not in set_aside:
            return False
        if isinstance(content, Event) and content.event in self.external and self.mail.was_taken(content.event):
            self.accuse("X10", f"{self.key} has taken {id} from the dead letters, and it still lies there")
        return True

    def _compare(self, found: Snapshot[Any]) -> None:
        if found.status == "stopped":
            return
        assert self.progress is not None, "what was found has begun"
        expected = fold(self.machine, self.external, self.input) if self.folds else self.progress.snapshot
        if self.machine.dump(found) != self.machine.dump(expected):
            self.accuse(
                "X4", f"{self.key} is not the fold of its events: {self.machine.dump(found)}, not {expected.value}"
            )


def _ids(history: list[Any]) -> list[Any]:
    return [event.get("id", event.get("type")) for event in history]


def _unfinished(record: Record) -> str:
    if record.halted:
        return f"halted, {record.halted}"
    return f"its turn of {record.turn.message.id} is open" if record.turn else "a redrive is under way"
