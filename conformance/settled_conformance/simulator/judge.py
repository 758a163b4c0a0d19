"""The judge: the theorem, applied to one instance.

It plays the diary of an instance again on the pure machine, one event after the other, and asks of each what right it
had to be there: it was sent and not yet taken, or a timer that was running, or the result of an actor that ran. What
the effects of that play are is what the world must have seen: each at least once, all under the names that they have
here, and none before the commit that brought it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, assert_never

from attrs import define, field, frozen

from settled import Actor, Json, Key, Machine, Record, Snapshot, fold, is_settled
from settled.actions import INTERNAL
from settled.data import write
from settled.effects import Cancel, Effect, Emit, Execute, Invoke, Log, Raise, Schedule, Send, Stop
from settled.message import Event, Message, Report, Start, decode
from settled.settle import Progress, begin, take
from settled_conformance.simulator.diary import diary_of

Accuse = Callable[[str, str], None]
"""Called with the number of a guarantee, and how it was broken."""


Action: TypeAlias = Execute | Emit | Log


def kind_of(effect: Action) -> str:
    """What an action is called in the world."""
    return effect.type if isinstance(effect, Execute) else type(effect).__name__.lower()


@frozen
class Running:
    """A timer of the play: its event, the name it may be cancelled by, and to whom it goes."""

    event: Json
    id: str | None
    to: str | None = None


@define(eq=False)
class Judge:
    """The play of one instance, as far as its committed diary goes."""

    machine: Machine[Any, Any]
    key: Key
    accuse: Accuse
    progress: Progress | None = None
    input: Json = None
    incarnation: int = 0
    ordinal: int = 0
    seen: int = 0
    broken: bool = False
    external: list[Json] = field(factory=list[Json])
    arrived: dict[str, Message] = field(factory=dict[str, Message])
    taken: Counter[str] = field(factory=Counter[str])
    offered: Counter[str] = field(factory=Counter[str])
    running: dict[str, Running] = field(factory=dict[str, Running])
    fired: Counter[str] = field(factory=Counter[str])
    cancelled: Counter[str] = field(factory=Counter[str])
    actions: dict[str, Action] = field(factory=dict[str, Action])
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

    # What came over the wire

    def arrive(self, message: Message) -> None:
        """`message` was put into the queue for this instance."""
        if message.id in self.arrived:
            return
        self.arrived[message.id] = message
        content = decode(message.body)
        if isinstance(content, Event):
            self.offered[write(content.event)] += 1
        if isinstance(content, Report):
            self.offered[_report_text(content.child, content.data)] += 1

    # What was committed

    def read(self, record: Record) -> None:
        """`record` was committed."""
        if record.snapshot is None or not isinstance(record.snapshot, Snapshot) or self.broken:
            return
        if record.incarnation != self.incarnation:
            self._begin(record.incarnation)
        diary = diary_of(record.snapshot)
        if len(diary) < self.seen:
            self._break("R9", f"its diary went back from {self.seen} to {len(diary)} events")
            return
        for event in diary[self.seen :]:
            self._take(event)
            if self.broken:
                return
        self.seen = len(diary)

    def _begin(self, incarnation: int) -> None:
        start = next((each for each in map(_content, self.arrived.values()) if isinstance(each, Start)), None)
        if start is None:
            self._break("X9", "it was started, and nobody had asked for it")
            return
        self.incarnation, self.input, self.ordinal, self.seen = incarnation, start.input, 0, 0
        self.external, self.running = [], {}
        self._enter(begin(self.machine, self.input), 0)

    def _take(self, event: Json) -> None:
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
            self.ordinal += 1
        self._step(Progress(progress.snapshot, (), (), 0 if opens else progress.index), event)

    def _step(self, progress: Progress, event: Json) -> None:
        self._enter(take(self.machine, progress, event), len(progress.effects))

    def _enter(self, progress: Progress, first: int) -> None:
        for effect in progress.effects[first:]:
            self._note(effect)
        if progress.snapshot.status != "active":
            self.running = {}
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
        name = next(name for name, timer in self.running.items() if write(timer.event) == text)
        del self.running[name]
        self.fired[text] += 1
        return True

    def _is_new(self, text: str, event: str) -> bool:
        if self.offered[text] == 0:
            return self._break("X9", f"took {event}, which nobody had sent")
        self.taken[text] += 1
        if self.taken[text] > self.offered[text]:
            return self._break("X4", f"took {event} {self.taken[text]} times; it was sent {self.offered[text]} times")
        return True

    def _note(self, effect: Effect) -> None:
        name = f"{self.key}/{self.incarnation}/{self.ordinal}/{effect.index}"
        match effect:
            case Execute() | Emit() | Log():
                self.actions[name] = effect
            case Invoke():
                self._invoke(name, effect)
            case Stop() | Raise():
                pass
            case Send(_, to, event, id, delay) if delay is not None:
                self._watch(name, Running(event, id, None if to == INTERNAL else to))
            case Send(_, to, event):
                if to != INTERNAL:
                    self.sends[name] = event
            case Schedule(_, event, _, id):
                self._watch(name, Running(event, id))
            case Cancel(_, id):
                self._cancel(id)
            case _:
                assert_never(effect)

    def _invoke(self, name: str, effect: Invoke) -> None:
        if isinstance(self.machine.actor(effect.src), Machine):
            self.sends[name] = effect.input
        else:
            self.calls[name] = effect

    def _watch(self, name: str, timer: Running) -> None:
        if timer.id is not None:
            self._cancel(timer.id)
        if timer.to is None:
            self.running[name] = timer

    def _cancel(self, id: str) -> None:
        for name in [name for name, timer in self.running.items() if timer.id == id]:
            self.cancelled[write(self.running.pop(name).event)] += 1

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
        for id, message in self.arrived.items():
            content = _content(message)
            if not isinstance(content, Start | Event) or self._lies_rightly(id, content, set_aside):
                continue
            if isinstance(content, Start):
                if record is None or record.snapshot is None:
                    self.accuse("D1", f"{self.key} was never started, though {id} was sent")
            elif active and self.taken[write(content.event)] < self.offered[write(content.event)]:
                self.accuse("D3", f"{self.key} never took {id} {content.event}, and it is no dead letter")

    def _lies_rightly(self, id: str, content: Start | Event, set_aside: set[str]) -> bool:
        """Whether the message lies among the dead letters; there it must not lie once it was taken."""
        if id not in set_aside:
            return False
        text = write(content.event) if isinstance(content, Event) else ""
        if self.taken[text] >= self.offered[text] > 0:
            self.accuse("X10", f"{self.key} has taken {id} from the dead letters, and it still lies there")
        return True

    def _compare(self, found: Snapshot[Any]) -> None:
        expected = fold(self.machine, self.external, self.input)
        if found.status == "stopped":
            return
        if self.machine.dump(found) != self.machine.dump(expected):
            self.accuse(
                "X4", f"{self.key} is not the fold of its events: {self.machine.dump(found)}, not {expected.value}"
            )


def _content(message: Message) -> object:
    return decode(message.body)


def _report_text(child: str, data: Json) -> str:
    return write(["report", child, data])


def _unfinished(record: Record) -> str:
    if record.halted:
        return f"halted, {record.halted}"
    return f"its turn of {record.turn.message.id} is open" if record.turn else "a redrive is under way"
