"""A turn at work: the record as far as it is known, and every write to it.

Here is the order that the promise rests on: commit; then messages and timers; then actions; then the rest of the
acknowledgements. What fails is counted by a commit, too, because the queue's own count of receives is not a count of
failures. And a commit whose answer was lost is looked for: the record's nonce says whose it is.

No commit is made by a worker that was left behind: one that was frozen since its messages were handed out, for however
long and at whatever point. Where the store can tell, it refuses such a commit. Elsewhere a position in the queue says
that a message was taken; and where there are none the queue is asked, after each look at the record and so before each
commit that rests on it, whether the hand-out still counts. Neither this worker's memory nor its clock can say so: they
were frozen with it.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from attrs import Factory, define, field, frozen

from settled._fast_frozen import evolve
from settled.durable.apply_context import Desk
from settled.durable.commands import Course, Loaded, act, extend, finish, load, recall, release
from settled.durable.messages import Message, Timer
from settled.durable.policy import End, Policy
from settled.durable.ports import DeadLetter, Delivery, Position, Stored, Traits, Write
from settled.durable.record import Action, CancelTimer, Failing, OpenTurn, Owed, Receives, Record
from settled.durable.record_json import read, read_tombstone, store
from settled.durable.window import Outcome, Window
from settled.errors import Conflict, Denied, LeaseLost, TooLarge, Unknown
from settled.key import Key
from settled.machine import Machine

MOST_LOST_ANSWERS = 5
"""How often in a row a write is looked for and tried again, before its turn gives up."""

LONGEST_DETAIL = 1000
"""The most characters of an error that a record keeps, so that errors do not make it outgrow the store."""


@define
class Work:
    """What one turn has in its hands.

    `waiting` are the deliveries not yet acknowledged, `handed_out` the ids of all that there were. `record` is the
    record at `version`, less what was performed since. `is_fresh`: it was loaded, and not only remembered. `claimed`:
    the open turn in it is this worker's. `receives_counted`: the head's many receives were looked at. `alone`: messages
    are taken one by one, because together they could not be committed.
    """

    machine: Machine[Any, Any]
    key: Key
    nonce: str
    policy: Policy
    traits: Traits
    waiting: list[Delivery]
    handed_out: frozenset[str] = field(
        default=Factory(lambda self: frozenset(each.message.id for each in self.waiting), takes_self=True)
    )
    record: Record = field(factory=Record)
    version: int = 0
    now: float = 0.0
    is_fresh: bool = True
    claimed: bool = False
    receives_counted: bool = False
    alone: bool = False

    @property
    def head(self) -> Delivery:
        """The oldest delivery in hand."""
        return self.waiting[0]

    @property
    def open_turn(self) -> OpenTurn:
        """The record's open turn, where there is one."""
        assert self.record.turn is not None, "the turn is open"
        return self.record.turn

    def desk(self, delivery: Delivery | None = None) -> Desk:
        """Where the ledger works: for `delivery`, or the open turn, or else the head.

        What an open turn owes is its own message's, which is still to be acknowledged, and so is handed out again
        until it was performed. Whatever else is in hand may be a repetition that never comes back.
        """
        by = delivery.message if delivery else self.head.message if self.record.turn is None else self.open_turn.message
        lease, version = self.now + self.policy.lease, self.version + 1
        resolution = self.traits.resolution
        return Desk(self.machine, self.key, self.now, by.id, lease, version, self.next_nonce, resolution)

    @property
    def next_nonce(self) -> str:
        """The nonce of the next commit."""
        return f"{self.nonce}.{self.version + 1}"

    def is_waiting(self, id: str) -> bool:
        """Whether the message `id` is among the deliveries in hand."""
        return any(delivery.message.id == id for delivery in self.waiting)


@frozen
class Owing:
    """The work that a commit leaves: perform `debts`, and acknowledge `acks` after that."""

    debts: tuple[Owed, ...] = ()
    acks: tuple[Delivery, ...] = ()


def begin(work: Work) -> Course[None]:
    """Take up the record, as the driver remembers it if it does."""
    found = yield from recall(work.key)
    if isinstance(found, Loaded):
        _take_up(work, found)
    else:
        work.now, work.version, work.record, work.is_fresh = found.now, found.version, found.record, False
    yield from _make_sure(work)


def look(work: Work) -> Course[None]:
    """Load the record afresh."""
    _take_up(work, (yield from load(work.key)))
    yield from _make_sure(work)


def _take_up(work: Work, loaded: Loaded) -> None:
    work.now, work.claimed, work.is_fresh = loaded.now, False, True
    stored, size = loaded.stored, work.policy.window
    work.version = 0 if stored is None else stored.version
    if stored is None:
        work.record = Record(window=Window(size))
    elif stored.is_deleted:
        work.record = read_tombstone(work.key, stored.body, size)
    else:
        work.record = read(work.machine, work.key, stored.body, size, work.policy.accepts)


def _make_sure(work: Work) -> Course[None]:
    """Ask the queue whether the hand-out still counts, where nothing else can tell.

    The record was read before. So if nobody else was handed the messages until now, then what it says of them is true,
    or its version is not the newest any more and the commit that rests on it is refused. What stands beyond the
    record's mark was not taken by anybody; that needs no asking.

    Raises:
        LeaseLost: somebody else may hold the messages.
    """
    if not work.traits.fenced and any(_is_doubtful(work.record, delivery) for delivery in work.waiting):
        work.now = (yield from extend(tuple(work.waiting))).now


def _is_doubtful(record: Record, delivery: Delivery) -> bool:
    return delivery.position is None or record.has_passed(delivery.position)


def give_back(work: Work, delay: float, warning: str = "") -> Course[End]:
    """Release what is in hand for `delay` seconds."""
    yield from release(tuple(work.waiting), delay, warning)
    return End.RELEASED


def commit(
    work: Work,
    record: Record,
    done: tuple[Delivery, ...] = (),
    bury: tuple[DeadLetter, ...] = (),
    unbury: int = 0,
    fresh: tuple[Owed, ...] = (),
    progress: bool = True,
    notes: tuple[str, ...] = (),
) -> Course[Owing]:
    """Commit `record`, with what its newest steps owe (`fresh`) and what may be acknowledged of `done` at once.

    That is what no action stands before: an acknowledgement with an action still owed would lose it in a crash. The
    rest is left to do.

    `progress`: the turn has come further, so its workers do not seem to die of it.

    Raises:
        LogicError: the context is not JSON. Nothing was written.
        TooLarge: the record has outgrown the store. Nothing was written.
    """
    actions = tuple(owed for owed in fresh if isinstance(owed.what, Action)) if fresh else ()
    early = _before_actions(done, actions)
    record = evolve(
        _claim(work, record, progress),
        nonce=work.next_nonce,
        window=record.window.settle(work.handed_out, work.record.window.pinned),
        mark=_mark(work, record, done),
        outbox=_without_sent(record.outbox, fresh) if work.traits.atomic else record.outbox,
    )
    stored = store(work.machine, record, work.version + 1, work.now)
    write = Write(work.key, stored, work.version, bury, unbury, acks=early, holder=work.head)
    yield from _finish(work, _with_debts(write, fresh), record, notes)
    if fresh:
        work.record = evolve(work.record, outbox=_without_sent(work.record.outbox, fresh))
    return Owing(actions, done[len(early) :])


def _mark(work: Work, record: Record, done: tuple[Delivery, ...]) -> Position | None:
    """Return how far `record` is in the queue: past what is `done`, or past a head that was taken or set aside."""
    if done:
        return record.mark_past(done[-1].position)
    head = work.head
    is_taken = record.turn is not None and record.turn.message.id == head.message.id
    return record.mark_past(head.position) if is_taken or record.window.outcome(head.message) else record.mark


def _claim(work: Work, record: Record, progress: bool) -> Record:
    """`record` with its open turn, if it has one, claimed by this worker, and the calls that are ready started."""
    if record.turn is None or record.halted:
        return record
    calls = tuple(
        evolve(call, started_by=work.nonce) if call.started_by is None and call.not_before <= work.now else call
        for call in record.turn.calls
    )
    turn = evolve(record.turn, calls=calls, lease=work.now + work.policy.lease)
    receives = Receives(work.head.message.id, work.head.attempt) if progress else record.receives
    return evolve(record, turn=turn, receives=receives)


def pay(work: Work, debts: tuple[Owed, ...], done: tuple[Delivery, ...] = ()) -> Course[Owing]:
    """Send and schedule what `debts` ask for, and acknowledge what of `done` no action stands before."""
    actions = tuple(owed for owed in debts if isinstance(owed.what, Action))
    early = _before_actions(done, actions)
    yield from _finish(work, _with_debts(Write(work.key, acks=early), debts), work.record)
    if debts:
        work.record = evolve(work.record, outbox=_without_sent(work.record.outbox, debts))
    return Owing(actions, done[len(early) :])


def perform(work: Work, owing: Owing) -> Course[End | None]:
    """Do what is left to do after a commit. An action that fails counts as a failure of its message."""
    if owing.debts:
        failed = yield from _act(work, owing.debts)
        if failed is not None:
            return (yield from fail(work, *failed))
    if owing.acks:
        yield from _finish(work, Write(work.key, acks=owing.acks), work.record)
    return None


def _before_actions(done: tuple[Delivery, ...], actions: tuple[Owed, ...]) -> tuple[Delivery, ...]:
    if not actions:
        return done
    acting = {owed.by for owed in actions}
    return tuple(takewhile(lambda delivery: delivery.message.id not in acting, done))


def _without_sent(outbox: tuple[Owed, ...], sent: tuple[Owed, ...]) -> tuple[Owed, ...]:
    """`outbox` without what of `sent` is done by a write alone."""
    return tuple(owed for owed in outbox if owed not in sent or isinstance(owed.what, Action)) if sent else outbox


def _with_debts(write: Write, debts: tuple[Owed, ...]) -> Write:
    if not debts:
        return write
    owed = [debt.what for debt in debts]
    return evolve(
        write,
        sends=tuple(debt for debt in owed if isinstance(debt, Message)),
        timers=tuple(debt for debt in owed if isinstance(debt, Timer)),
        cancels=tuple(debt.token for debt in owed if isinstance(debt, CancelTimer)),
    )


def _act(work: Work, actions: tuple[Owed, ...]) -> Course[tuple[str, str] | None]:
    """Perform `actions`; those that were performed are owed no more. The error of one that failed, and whose it is."""
    todo = tuple(owed.what for owed in actions if isinstance(owed.what, Action))
    answer = yield from act(work.key, todo, work.record.live(), work.version)
    work.now = answer.now
    performed = actions[: answer.count]
    work.record = evolve(work.record, outbox=tuple(owed for owed in work.record.outbox if owed not in performed))
    return None if answer.error is None else (answer.error, actions[answer.count].by)


def _finish(work: Work, write: Write, record: Record, notes: tuple[str, ...] = ()) -> Course[None]:
    """Do all of `write`; from then on, and not before, `record` is the one in hand."""
    acks = {delivery.receipt for delivery in write.acks}
    for _ in range(MOST_LOST_ANSWERS):
        try:
            answer = yield from finish(write, record, notes)
        except (Conflict, LeaseLost, Unknown, TooLarge, Denied) as error:
            if write.stored is None:
                raise
            write = yield from _look_for(work, write, write.stored, record, error)
            if write.stored is None and isinstance(error, TooLarge | Denied):
                raise  # it was said of something that came after the commit, which stands
            continue
        work.now = answer.now
        _committed(work, write.stored, record)
        work.waiting = [delivery for delivery in work.waiting if delivery.receipt not in acks]
        return
    raise Unknown(f"{work.key}: the answers of {MOST_LOST_ANSWERS} writes in a row were lost")


def _look_for(
    work: Work,
    write: Write,
    stored: Stored,
    record: Record,
    error: Conflict | LeaseLost | Unknown | TooLarge | Denied,
) -> Course[Write]:
    """What is still to be written after a refusal or a lost answer: all but the commit, if the commit is ours."""
    if work.traits.atomic and isinstance(error, TooLarge | Denied):
        raise error
    loaded = yield from load(work.key)
    work.now, found = loaded.now, loaded.stored
    if found is not None and found.version == stored.version and found.body == stored.body:
        _committed(work, stored, record)
        return evolve(write, stored=None, bury=(), unbury=0)
    if isinstance(error, Unknown) and (found.version if found else 0) == write.expected:
        return write
    if isinstance(error, Unknown):
        raise Conflict(f"{work.key}: another commit came first") from error
    raise error


def _committed(work: Work, stored: Stored | None, record: Record) -> None:
    if stored is not None:
        work.record, work.version, work.is_fresh = record, stored.version, True
        work.claimed = record.turn is not None and not record.halted


def fail(work: Work, detail: str, by: str | None = None, *, then_give_back: bool = True) -> Course[End | None]:
    """Count a failure of the message in hand; after its last attempt, set it aside and halt the instance.

    The commit keeps the open turn and all that is still owed. `by` is the id of the message, if it is not the first.
    """
    record, message = work.record, _message_in_hand(work, by)
    before = record.failing.count if record.failing and record.failing.id == message.id else 0
    failing = Failing(message.id, before + 1, detail[:LONGEST_DETAIL])
    if failing.count >= work.policy.max_attempts:
        yield from _set_aside(work, message, failing)
        return None
    yield from commit(work, evolve(record, failing=failing), progress=False)
    if not then_give_back:
        return None
    return (yield from give_back(work, work.policy.backoff.wait(failing.count + 1).total_seconds()))


def _message_in_hand(work: Work, by: str | None) -> Message:
    named = next((each.message for each in work.waiting if each.message.id == by), None)
    if named is not None:
        return named
    return work.head.message if work.record.turn is None else work.record.turn.message


def _set_aside(work: Work, message: Message, failing: Failing) -> Course[None]:
    """Halt the instance. A message that lies among the dead letters already is not buried again."""
    record, turn = work.record, work.record.turn
    lies_there = record.redriving is not None if turn is None else turn.letter
    if not lies_there and record.window.outcome(message) is None:
        record = evolve(record, window=record.window.add(message, Outcome.DEAD))
    record = evolve(
        record,
        turn=turn and evolve(turn, letter=True),
        failing=None,
        receives=None,
        halted=f"{message.id} failed {failing.count} times, at last with {failing.detail}",
        redriving=None,
    )
    letter = DeadLetter(message, f"failed {failing.count} times", work.now, failing.detail)
    yield from commit(work, record, bury=() if lies_there else (letter,))
