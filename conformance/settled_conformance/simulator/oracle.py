"""`Oracle`: checks one lifetime of an instance by replaying its history on the pure machine.

It reads the history from each committed record, and replays the new events. Each event must have had a reason: it was
sent and not taken before, or is a running timer, or the result of a running actor. The effects of the replay are those
that must be performed: each at least once, under the key computed here, and none before its commit. At the end the
snapshot must be the fold of the history, and every message must be accounted for. The outcome of an event tells whether
the replay has taken it.

The oracle uses settled's durable code only to read records, messages and delays: a result computed by the code under
test would repeat its bugs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, assert_never

from attrs import define, evolve, field, frozen

from settled import Actor, Json, Key, Machine, Outcome, Snapshot, fold, is_settled
from settled.chart.actions import INTERNAL
from settled.data import parse, write
from settled.durable import Record
from settled.durable.delays import delays_of
from settled.durable.messages import Event, ImportChild, Start, internal_id
from settled.durable.persisted_tree import tree_from_json
from settled.progress import Progress, initial_progress, take_event
from settled.step.effects import Cancel, Effect, Emit, Execute, Invoke, Log, Raise, Schedule, Send, Stop
from settled_conformance.simulator.effect_keys import KeyedAction, Origin, effect_key, kind_of, origin_of
from settled_conformance.simulator.history import history_of, input_of
from settled_conformance.simulator.mailbox import Mailbox

ReportViolation = Callable[[str, str], None]
"""Called with the id of a guarantee, and how it was broken."""


@frozen
class RunningTimer:
    """A timer of the replay: its event, its send id, its target (None: the instance itself), and when it is due."""

    event: Json
    id: str | None
    to: str | None = None
    due: float = 0.0


@define(eq=False)
class CommitTime:
    """When a commit is made, and when its worker last read the clock: delays count from that reading.

    `clock_read_at` is None where punctuality is not checked, because workers use their own, wrong clocks.
    """

    now: float = 0.0
    clock_read_at: float | None = None
    tolerance: float = 0.0

    def after(self, delay: timedelta) -> float:
        """Return the time before which a timer of `delay` would be early; 0 if punctuality is not checked."""
        return 0.0 if self.clock_read_at is None else self.clock_read_at + delay.total_seconds()


@define(eq=False)
class Oracle:
    """The replay of one lifetime of an instance, up to its newest commit.

    `versions` are all machines that may write it, by version; `machine` is the one that wrote it last, at
    `commit_time`. `progress` is the state of the replay, `ordinal` and `origin` the parts of effect keys. `external`
    are the events from outside, `unjudged` those whose outcome is not known yet, with whether it must be that they were
    ignored. `timers` are the running timers by token, `timer_names` their tokens by send id.
    `actions`, `calls` and `sends` are the effects of the replay, by key. `folds`: the snapshot must be the fold of
    `external`, because the lifetime began with a start and was never migrated.
    """

    machine: Machine[Any]
    key: Key
    report: ReportViolation
    mailbox: Mailbox
    versions: Mapping[str | None, Machine[Any]]
    commit_time: CommitTime
    progress: Progress | None = None
    input: Json = None
    folds: bool = True
    origin: Origin = ""
    ordinal: int = 0
    history: list[Json] = field(factory=list[Json])
    broken: bool = False
    external: list[Json] = field(factory=list[Json])
    unjudged: dict[str, bool] = field(factory=dict[str, bool])
    timers: dict[str, RunningTimer] = field(factory=dict[str, RunningTimer])
    timer_names: dict[str, str] = field(factory=dict[str, str])
    fired: Counter[str] = field(factory=Counter[str])
    cancelled: Counter[str] = field(factory=Counter[str])
    actions: dict[str, KeyedAction] = field(factory=dict[str, KeyedAction])
    calls: dict[str, Invoke] = field(factory=dict[str, Invoke])
    sends: dict[str, Json] = field(factory=dict[str, Json])

    # Effects

    def effect(self, name: str) -> str | None:
        """Return what a committed step requested under the key `name`, else None."""
        if name in self.calls:
            return self.calls[name].src
        return kind_of(self.actions[name]) if name in self.actions else None

    def max_starts(self, name: str) -> float:
        """Return how many times the actor with the key `name` may be started at most."""
        call = self.calls.get(name)
        logic = None if call is None else self.machine.actor(call.src)
        return logic.retry.attempts if isinstance(logic, Actor) and logic.interruption == "fail" else float("inf")

    # Commits

    def read(self, record: Record) -> None:
        """Replay the events that `record` has taken since the last commit."""
        if record.snapshot is None or not isinstance(record.snapshot, Snapshot) or self.broken:
            return
        if self.progress is None:
            self._start(record, input_of(record.snapshot))
        elif record.version != self.machine.version:
            self._migrate(record.version)
        history, seen = history_of(record.snapshot), len(self.history)
        if history[:seen] != self.history:
            self._violate("R9", f"a committed step was undone: had taken {_ids(self.history)}, and now {_ids(history)}")
        for event in history[seen:]:
            if self.broken:
                return
            self._take(event, origin_of(record))
        self.history = history
        self._check_outcomes(record)

    def _check_outcomes(self, record: Record) -> None:
        """Check the outcomes of the new events from outside whose turns have ended."""
        for text, ignored in list(self.unjudged.items()):
            ids = self.mailbox.ids[text]
            outcomes = [outcome for id in ids if (outcome := record.window.outcome_of_id(id)) is not None]
            if outcomes:  # not while the turn is open
                del self.unjudged[text]
            # Of several messages with one event it is not known which one was taken.
            if len(ids) == len(outcomes) == 1 and (outcomes[0] is Outcome.IGNORED) is not ignored:
                takes = "nothing takes" if ignored else "was taken"
                self._violate("X13", f"says of {ids[0]} that it was {outcomes[0]}: {text} {takes}")

    def report_undone_start(self) -> None:
        """Report a committed record without a snapshot: this lifetime had been started."""
        self._violate("R9", "a committed step was undone: it was started, and the newest record says it never was")

    def start_imported(self, record: Record) -> None:
        """Begin from `record`, which an operator imported, with its timers and actors running."""
        assert isinstance(record.snapshot, Snapshot), "an imported snapshot is readable"
        self.machine, self.folds = self.versions[record.version], False
        self.origin, self.history = origin_of(record), history_of(record.snapshot)
        self.progress = Progress(record.snapshot, index=record.turn.index if record.turn else 0)
        for token, timer in record.timers.items():
            self._start_timer(token, RunningTimer(timer.event, timer.id))
        for call in record.turn.actors if record.turn else ():
            self.calls[self._effect_key(call.index)] = Invoke(call.index, call.id, call.src, call.input)

    def copy(self) -> Oracle:
        """Return an independent copy, for a lifetime that may continue differently after a restore."""
        return evolve(
            self,
            history=list(self.history),
            external=list(self.external),
            unjudged=dict(self.unjudged),
            timers=dict(self.timers),
            timer_names=dict(self.timer_names),
            fired=Counter(self.fired),
            cancelled=Counter(self.cancelled),
            actions=dict(self.actions),
            calls=dict(self.calls),
            sends=dict(self.sends),
        )

    def _start(self, record: Record, input: Json) -> None:
        imports = [(id, each) for id, each in self.mailbox.imports().items() if each.parent == record.parent]
        if imports:
            return self._start_imported_child(record, *imports[0])
        starts = self.mailbox.starts()
        candidates = {id: each for id, each in starts.items() if (each.input, each.parent) == (input, record.parent)}
        fresh = {id: start for id, start in candidates.items() if id not in self.mailbox.started}
        if not candidates:
            self._violate("X9", "was started, and no start was sent")
            return
        # Starts without an input cannot be told apart by what the record holds, so a second one is not reported.
        if not fresh and input is not None:
            self._violate("X4", f"was started a second time by {next(iter(candidates))}")
            return
        id, start = next(iter((fresh or candidates).items()))
        self.mailbox.started.add(id)
        self.machine = self.versions.get(record.version, self.machine)
        self.input, self.origin = start.input, origin_of(record)
        self._record_effects(initial_progress(self.machine, self.input), 0)

    def _start_imported_child(self, record: Record, id: str, imported: ImportChild) -> None:
        """Begin from the tree that the parent sent to this child, with its timers and actors running."""
        if id in self.mailbox.started:
            self._violate("X4", f"was imported a second time by {id}")
            return
        self.mailbox.started.add(id)
        snapshot = tree_from_json(self.machine, imported.tree).snapshot
        self.origin, self.folds, self.history = origin_of(record), False, history_of(snapshot)
        going = [(name, child) for name, child in snapshot.children.items() if child.status == "active"]
        for index, (name, child) in enumerate(going):
            if not isinstance(self.machine.actor(child.src), Machine):
                self.calls[self._effect_key(index)] = Invoke(index, name, child.src, None)
        delays = delays_of(snapshot)
        for after in delays:
            self._start_timer(after.event, RunningTimer({"type": after.event}, after.event))
        self.progress = Progress(snapshot, index=len(going) + len(delays))

    def _migrate(self, version: str | None) -> None:
        """Migrate the replay to a newer version, as the machine's own migration does; report an older one."""
        newer, progress = self.versions[version], self.progress
        assert progress is not None, "what is migrated has begun"
        if self.machine.version not in newer.implementations.migrations:
            self._violate("V1", f"was written by version {self.machine.version}, and now by {version}, which is older")
            return
        raw = newer.migrate(parse(self.machine.dump(progress.snapshot)), self.machine.version)
        self.machine, self.folds, self.progress = newer, False, evolve(progress, snapshot=newer.from_json(raw))

    def _take(self, event: Json, origin: Origin) -> None:
        progress = self.progress
        assert progress is not None, "a history begins with a start"
        if progress.inbox:
            expected, *later = progress.inbox
            if write(expected) != write(event):
                self._violate("X9", f"took {event}, where it had sent itself {expected}")
                return
            self._step(Progress(progress.snapshot, tuple(later), (), progress.index), event)
            return
        opens = is_settled(self.machine, progress.snapshot)
        if not self._check_event(progress.snapshot, event, opens):
            return
        self.external.append(event)
        if opens:
            self.ordinal, self.origin = self.ordinal + 1, origin
        self._step(Progress(progress.snapshot, (), (), 0 if opens else progress.index), event)

    def _step(self, progress: Progress, event: Json) -> None:
        self._record_effects(take_event(self.machine, progress, event), len(progress.effects))

    def _record_effects(self, progress: Progress, first: int) -> None:
        for effect in progress.effects[first:]:
            self._record_effect(effect)
        if progress.snapshot.status != "active":
            self.timers, self.timer_names = {}, {}
            progress = Progress(progress.snapshot, (), (), progress.index)
        self.progress = progress

    def _check_event(self, snapshot: Snapshot[Any], event: Any, opens: bool) -> bool:
        type = str(event.get("type"))
        if snapshot.status != "active":
            return self._violate("X4", f"took {event} after its end")
        if type.startswith(("xstate.done.actor.", "xstate.error.actor.")):
            return self._check_actor_event(snapshot, event, opens)
        text = write(event)
        if any(write(timer.event) == text for timer in self.timers.values()):
            return self._fire(text)
        if type.startswith("xstate."):
            kind = "T3" if self.cancelled[text] else "X4"
            return self._violate(kind, f"took the timer {type}, which was not running")
        if not opens:
            return self._violate("X4", f"took {event} in the middle of a turn")
        if not self._check_external_event(text, text):
            return False
        self.unjudged[text] = self.machine.explain(snapshot, event) is not None
        return True

    def _check_actor_event(self, snapshot: Snapshot[Any], event: Mapping[str, Any], opens: bool) -> bool:
        child = snapshot.children.get(str(event.get("actorId")))
        if child is None or child.status != "active":
            return self._violate("X4", f"took {event.get('type')}, and no such actor was running")
        is_machine = isinstance(self.machine.actor(child.src), Machine)
        if is_machine != opens:
            return self._violate("X4", f"took {event.get('type')} at the wrong point of a turn")
        return True

    def _fire(self, text: str) -> bool:
        alike = [name for name, timer in self.timers.items() if write(timer.event) == text]
        name = min(alike, key=lambda each: self.timers[each].due)
        if self.timers[name].due > self.commit_time.now + self.commit_time.tolerance:
            self.report(
                "T1", f"{self.key} took {text} at {self.commit_time.now:g}: it is due at {self.timers[name].due:g}"
            )
        self.timer_names.pop(self.timers.pop(name).id or "", None)
        self.fired[text] += 1
        return True

    def _check_external_event(self, text: str, event: str) -> bool:
        taken, sent = self.mailbox.taken, self.mailbox.sent[text]
        if sent == 0:
            return self._violate("X9", f"took {event}, which was never sent")
        taken[text] += 1
        if taken[text] > sent:
            return self._violate("X4", f"took {event} {taken[text]} times; it was sent {sent} times")
        return True

    def _effect_key(self, index: int) -> str:
        return effect_key(self.key, self.origin, self.ordinal, index)

    def _record_effect(self, effect: Effect) -> None:
        name = self._effect_key(effect.index)
        match effect:
            case Execute() | Emit() | Log():
                self.actions[name] = effect
            case Invoke():
                self._invoke(name, effect)
            case Stop() | Raise():
                pass
            case Send(_, to, event, id, delay) if delay is not None:
                self._start_timer(
                    name, RunningTimer(event, id, None if to == INTERNAL else to, self.commit_time.after(delay))
                )
            case Send(_, to, event):
                if to != INTERNAL:
                    self.sends[internal_id(name)] = event
            case Schedule(_, event, delay, id):
                self._start_timer(name, RunningTimer(event, id, due=self.commit_time.after(delay)))
            case Cancel(_, id):
                self._cancel(id)
            case _:
                assert_never(effect)

    def _invoke(self, name: str, effect: Invoke) -> None:
        if isinstance(self.machine.actor(effect.src), Machine):
            self.sends[internal_id(name)] = effect.input
        else:
            self.calls[name] = effect

    def _start_timer(self, name: str, timer: RunningTimer) -> None:
        if timer.id is not None:
            self.timer_names[timer.id] = name
        if timer.to is None:
            self.timers[name] = timer

    def _cancel(self, id: str) -> None:
        cancelled = self.timers.pop(self.timer_names.pop(id, ""), None)
        if cancelled is not None:
            self.cancelled[write(cancelled.event)] += 1

    def _violate(self, guarantee: str, how: str) -> bool:
        self.broken = True
        self.report(guarantee, f"{self.key} {how}")
        return False

    # The end of a run

    def close(self, record: Record | None, dead_lettered: set[str]) -> None:
        """Check the final `record`; the ids in `dead_lettered` are among the dead letters."""
        if self.broken:
            return
        self._account_for_all(record, dead_lettered)
        if record is None or self.progress is None or not isinstance(record.snapshot, Snapshot):
            return
        if record.turn is not None or record.halted or record.takes_dead_letters:
            self.report("L1", f"{self.key} never came to rest: {_unfinished(record)}")
            return
        self._compare_with_fold(record.snapshot)

    def _account_for_all(self, record: Record | None, dead_lettered: set[str]) -> None:
        active = record is not None and isinstance(record.snapshot, Snapshot) and record.snapshot.status == "active"
        for id, content in self.mailbox.arrived.items():
            if not isinstance(content, Start | Event) or self._is_valid_dead_letter(id, content, dead_lettered):
                continue
            if id in self.mailbox.may_be_missing:
                continue
            if isinstance(content, Start):
                if id not in self.mailbox.started and (record is None or record.snapshot is None):
                    self.report("D1", f"{self.key} was never started, though {id} was sent")
            elif active and not self.mailbox.was_taken(content.event):
                self.report("D3", f"{self.key} never took {id} {content.event}, and it is no dead letter")

    def _is_valid_dead_letter(self, id: str, content: Start | Event, dead_lettered: set[str]) -> bool:
        """Return whether the message is a dead letter. Report X10 if it is one although this lifetime has taken it."""
        if id not in dead_lettered:
            return False
        if isinstance(content, Event) and content.event in self.external and self.mailbox.was_taken(content.event):
            self.report("X10", f"{self.key} has taken {id} from the dead letters, where it still is")
        return True

    def _compare_with_fold(self, found: Snapshot[Any]) -> None:
        if found.status == "stopped":
            return
        assert self.progress is not None, "what was found has begun"
        expected = fold(self.machine, self.external, self.input) if self.folds else self.progress.snapshot
        if self.machine.dump(found) != self.machine.dump(expected):
            self.report(
                "X4", f"{self.key} is not the fold of its events: {self.machine.dump(found)}, not {expected.value}"
            )


def _ids(history: list[Any]) -> list[Any]:
    return [event.get("id", event.get("type")) for event in history]


def _unfinished(record: Record) -> str:
    if record.halted:
        return f"halted, {record.halted}"
    return f"its turn of {record.turn.message.id} is open" if record.turn else "dead letters are still being taken"
