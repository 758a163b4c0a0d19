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
from settled.durable.apply_context import ApplyContext
from settled.durable.commands import Commands, Loaded, extend, finish, load, load_cached, perform_actions, release
from settled.durable.messages import Message, Timer
from settled.durable.policy import Policy, TurnEnd
from settled.durable.ports import DeadLetter, Delivery, Position, Stored, Traits, Write
from settled.durable.record import CancelTimer, Failing, OpenTurn, OutboxEntry, PerformAction, Receives, Record
from settled.durable.record_json import record_from_json, record_from_tombstone, record_to_stored
from settled.durable.window import Outcome, Window
from settled.errors import BackendRefusedError, ConflictError, LeaseLostError, OutcomeUnknownError, TooLargeError
from settled.key import Key
from settled.machine import Machine

MAX_LOST_ANSWERS = 5
"""How often in a row a write is looked for and tried again, before its turn gives up."""

MAX_DETAIL_CHARACTERS = 1000
"""The most characters of an error that a record keeps, so that errors do not make it outgrow the store."""


@define
class TurnState:
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
    deliveries: list[Delivery]
    handed_out: frozenset[str] = field(
        default=Factory(lambda self: frozenset(each.message.id for each in self.deliveries), takes_self=True)
    )
    record: Record = field(factory=Record)
    version: int = 0
    now: float = 0.0
    is_fresh: bool = True
    claimed: bool = False
    receives_counted: bool = False
    one_by_one: bool = False

    @property
    def head(self) -> Delivery:
        """The oldest delivery in hand."""
        return self.deliveries[0]

    @property
    def open_turn(self) -> OpenTurn:
        """The record's open turn, where there is one."""
        assert self.record.turn is not None, "the turn is open"
        return self.record.turn

    def context(self, delivery: Delivery | None = None) -> ApplyContext:
        """Where the ledger works: for `delivery`, or the open turn, or else the head.

        What an open turn owes is its own message's, which is still to be acknowledged, and so is handed out again
        until it was performed. Whatever else is in hand may be a repetition that never comes back.
        """
        by = delivery.message if delivery else self.head.message if self.record.turn is None else self.open_turn.message
        lease, version = self.now + self.policy.lease, self.version + 1
        resolution = self.traits.resolution
        return ApplyContext(self.machine, self.key, self.now, by.id, lease, version, self.next_nonce, resolution)

    @property
    def next_nonce(self) -> str:
        """The nonce of the next commit."""
        return f"{self.nonce}.{self.version + 1}"

    def is_in_hand(self, id: str) -> bool:
        """Whether the message `id` is among the deliveries in hand."""
        return any(delivery.message.id == id for delivery in self.deliveries)


@frozen
class AfterCommit:
    """The work that a commit leaves: perform `debts`, and acknowledge `acks` after that."""

    actions: tuple[OutboxEntry, ...] = ()
    acks: tuple[Delivery, ...] = ()


def load_first(state: TurnState) -> Commands[None]:
    """Take up the record, as the driver remembers it if it does."""
    found = yield from load_cached(state.key)
    if isinstance(found, Loaded):
        _use(state, found)
    else:
        state.now, state.version, state.record, state.is_fresh = found.now, found.version, found.record, False
    yield from _confirm_leases(state)


def reload(state: TurnState) -> Commands[None]:
    """Load the record afresh."""
    _use(state, (yield from load(state.key)))
    yield from _confirm_leases(state)


def _use(state: TurnState, loaded: Loaded) -> None:
    state.now, state.claimed, state.is_fresh = loaded.now, False, True
    stored, size = loaded.stored, state.policy.window
    state.version = 0 if stored is None else stored.version
    if stored is None:
        state.record = Record(window=Window(size))
    elif stored.is_deleted:
        state.record = record_from_tombstone(state.key, stored.body, size)
    else:
        state.record = record_from_json(state.machine, state.key, stored.body, size, state.policy.accepts)


def _confirm_leases(state: TurnState) -> Commands[None]:
    """Ask the queue whether the hand-out still counts, where nothing else can tell.

    The record was read before. So if nobody else was handed the messages until now, then what it says of them is true,
    or its version is not the newest any more and the commit that rests on it is refused. What stands beyond the
    record's mark was not taken by anybody; that needs no asking.

    Raises:
        LeaseLost: somebody else may hold the messages.
    """
    if not state.traits.fenced and any(_may_have_been_taken(state.record, delivery) for delivery in state.deliveries):
        state.now = (yield from extend(tuple(state.deliveries))).now


def _may_have_been_taken(record: Record, delivery: Delivery) -> bool:
    return delivery.position is None or record.has_passed(delivery.position)


def release_deliveries(state: TurnState, delay: float, warning: str = "") -> Commands[TurnEnd]:
    """Release what is in hand for `delay` seconds."""
    yield from release(tuple(state.deliveries), delay, warning)
    return TurnEnd.RELEASED


def commit(
    state: TurnState,
    record: Record,
    done: tuple[Delivery, ...] = (),
    bury: tuple[DeadLetter, ...] = (),
    unbury: int = 0,
    fresh: tuple[OutboxEntry, ...] = (),
    progress: bool = True,
    notes: tuple[str, ...] = (),
) -> Commands[AfterCommit]:
    """Commit `record`, with what its newest steps owe (`fresh`) and what may be acknowledged of `done` at once.

    That is what no action stands before: an acknowledgement with an action still owed would lose it in a crash. The
    rest is left to do.

    `progress`: the turn has come further, so its workers do not seem to die of it.

    Raises:
        LogicError: the context is not JSON. Nothing was written.
        TooLarge: the record has outgrown the store. Nothing was written.
    """
    actions = tuple(entry for entry in fresh if isinstance(entry.item, PerformAction)) if fresh else ()
    early = _before_actions(done, actions)
    record = evolve(
        _claim(state, record, progress),
        nonce=state.next_nonce,
        window=record.window.unpin(state.handed_out, state.record.window.pinned),
        high_water_mark=_next_mark(state, record, done),
        outbox=_without_sent(record.outbox, fresh) if state.traits.atomic else record.outbox,
    )
    stored = record_to_stored(state.machine, record, state.version + 1, state.now)
    write = Write(state.key, stored, state.version, bury, unbury, acks=early, holder=state.head)
    yield from _finish(state, _with_outbox(write, fresh), record, notes)
    if fresh:
        state.record = evolve(state.record, outbox=_without_sent(state.record.outbox, fresh))
    return AfterCommit(actions, done[len(early) :])


def _next_mark(state: TurnState, record: Record, done: tuple[Delivery, ...]) -> Position | None:
    """Return how far `record` is in the queue: past what is `done`, or past a head that was taken or set aside."""
    if done:
        return record.mark_after(done[-1].position)
    head = state.head
    is_taken = record.turn is not None and record.turn.message.id == head.message.id
    return (
        record.mark_after(head.position) if is_taken or record.window.outcome(head.message) else record.high_water_mark
    )


def _claim(state: TurnState, record: Record, progress: bool) -> Record:
    """`record` with its open turn, if it has one, claimed by this worker, and the calls that are ready started."""
    if record.turn is None or record.halted:
        return record
    actors = tuple(
        evolve(actor, started_by=state.nonce) if actor.started_by is None and actor.not_before <= state.now else actor
        for actor in record.turn.actors
    )
    turn = evolve(record.turn, actors=actors, lease=state.now + state.policy.lease)
    receives = Receives(state.head.message.id, state.head.attempt) if progress else record.receives
    return evolve(record, turn=turn, receives=receives)


def finish_step(
    state: TurnState, entries: tuple[OutboxEntry, ...], done: tuple[Delivery, ...] = ()
) -> Commands[AfterCommit]:
    """Send and schedule what `debts` ask for, and acknowledge what of `done` no action stands before."""
    actions = tuple(entry for entry in entries if isinstance(entry.item, PerformAction))
    early = _before_actions(done, actions)
    yield from _finish(state, _with_outbox(Write(state.key, acks=early), entries), state.record)
    if entries:
        state.record = evolve(state.record, outbox=_without_sent(state.record.outbox, entries))
    return AfterCommit(actions, done[len(early) :])


def finish_commit(state: TurnState, owing: AfterCommit) -> Commands[TurnEnd | None]:
    """Do what is left to do after a commit. An action that fails counts as a failure of its message."""
    if owing.actions:
        failed = yield from _perform_actions(state, owing.actions)
        if failed is not None:
            return (yield from record_failure(state, *failed))
    if owing.acks:
        yield from _finish(state, Write(state.key, acks=owing.acks), state.record)
    return None


def _before_actions(done: tuple[Delivery, ...], actions: tuple[OutboxEntry, ...]) -> tuple[Delivery, ...]:
    if not actions:
        return done
    acting = {entry.delivery_id for entry in actions}
    return tuple(takewhile(lambda delivery: delivery.message.id not in acting, done))


def _without_sent(outbox: tuple[OutboxEntry, ...], sent: tuple[OutboxEntry, ...]) -> tuple[OutboxEntry, ...]:
    """`outbox` without what of `sent` is done by a write alone."""
    return (
        tuple(entry for entry in outbox if entry not in sent or isinstance(entry.item, PerformAction))
        if sent
        else outbox
    )


def _with_outbox(write: Write, entries: tuple[OutboxEntry, ...]) -> Write:
    if not entries:
        return write
    entry = [entry.item for entry in entries]
    return evolve(
        write,
        sends=tuple(entry for entry in entry if isinstance(entry, Message)),
        timers=tuple(entry for entry in entry if isinstance(entry, Timer)),
        cancels=tuple(entry.token for entry in entry if isinstance(entry, CancelTimer)),
    )


def _perform_actions(state: TurnState, actions: tuple[OutboxEntry, ...]) -> Commands[tuple[str, str] | None]:
    """Perform `actions`; those that were performed are owed no more. The error of one that failed, and whose it is."""
    todo = tuple(entry.item for entry in actions if isinstance(entry.item, PerformAction))
    answer = yield from perform_actions(state.key, todo, state.record.readable_snapshot(), state.version)
    state.now = answer.now
    performed = actions[: answer.count]
    state.record = evolve(state.record, outbox=tuple(entry for entry in state.record.outbox if entry not in performed))
    return None if answer.error is None else (answer.error, actions[answer.count].delivery_id)


def _finish(state: TurnState, write: Write, record: Record, notes: tuple[str, ...] = ()) -> Commands[None]:
    """Do all of `write`; from then on, and not before, `record` is the one in hand."""
    acks = {delivery.receipt for delivery in write.acks}
    for _ in range(MAX_LOST_ANSWERS):
        try:
            answer = yield from finish(write, record, notes)
        except (ConflictError, LeaseLostError, OutcomeUnknownError, TooLargeError, BackendRefusedError) as error:
            if write.stored is None:
                raise
            write = yield from _resolve_lost_commit(state, write, write.stored, record, error)
            if write.stored is None and isinstance(error, TooLargeError | BackendRefusedError):
                raise  # it was said of something that came after the commit, which stands
            continue
        state.now = answer.now
        _committed(state, write.stored, record)
        state.deliveries = [delivery for delivery in state.deliveries if delivery.receipt not in acks]
        return
    raise OutcomeUnknownError(f"{state.key}: the answers of {MAX_LOST_ANSWERS} writes in a row were lost")


def _resolve_lost_commit(
    state: TurnState,
    write: Write,
    stored: Stored,
    record: Record,
    error: ConflictError | LeaseLostError | OutcomeUnknownError | TooLargeError | BackendRefusedError,
) -> Commands[Write]:
    """What is still to be written after a refusal or a lost answer: all but the commit, if the commit is ours."""
    if state.traits.atomic and isinstance(error, TooLargeError | BackendRefusedError):
        raise error
    loaded = yield from load(state.key)
    state.now, found = loaded.now, loaded.stored
    if found is not None and found.version == stored.version and found.body == stored.body:
        _committed(state, stored, record)
        return evolve(write, stored=None, bury=(), unbury=0)
    if isinstance(error, OutcomeUnknownError) and (found.version if found else 0) == write.expected:
        return write
    if isinstance(error, OutcomeUnknownError):
        raise ConflictError(f"{state.key}: another commit came first") from error
    raise error


def _committed(state: TurnState, stored: Stored | None, record: Record) -> None:
    if stored is not None:
        state.record, state.version, state.is_fresh = record, stored.version, True
        state.claimed = record.turn is not None and not record.halted


def record_failure(
    state: TurnState, detail: str, message_id: str | None = None, *, then_release: bool = True
) -> Commands[TurnEnd | None]:
    """Count a failure of the message in hand; after its last attempt, set it aside and halt the instance.

    The commit keeps the open turn and all that is still owed. `by` is the id of the message, if it is not the first.
    """
    record, message = state.record, _message_in_hand(state, message_id)
    before = record.failing.count if record.failing and record.failing.id == message.id else 0
    failing = Failing(message.id, before + 1, detail[:MAX_DETAIL_CHARACTERS])
    if failing.count >= state.policy.max_attempts:
        yield from _dead_letter(state, message, failing)
        return None
    yield from commit(state, evolve(record, failing=failing), progress=False)
    if not then_release:
        return None
    return (yield from release_deliveries(state, state.policy.backoff.wait(failing.count + 1).total_seconds()))


def _message_in_hand(state: TurnState, by: str | None) -> Message:
    named = next((each.message for each in state.deliveries if each.message.id == by), None)
    if named is not None:
        return named
    return state.head.message if state.record.turn is None else state.record.turn.message


def _dead_letter(state: TurnState, message: Message, failing: Failing) -> Commands[None]:
    """Halt the instance. A message that lies among the dead letters already is not buried again."""
    record, turn = state.record, state.record.turn
    lies_there = record.redriving is not None if turn is None else turn.from_dead_letters
    if not lies_there and record.window.outcome(message) is None:
        record = evolve(record, window=record.window.add(message, Outcome.DEAD_LETTERED))
    record = evolve(
        record,
        turn=turn and evolve(turn, from_dead_letters=True),
        failing=None,
        receives=None,
        halted=f"{message.id} failed {failing.count} times, at last with {failing.detail}",
        redriving=None,
    )
    dead_letter = DeadLetter(message, f"failed {failing.count} times", state.now, failing.detail)
    yield from commit(state, record, bury=() if lies_there else (dead_letter,))
