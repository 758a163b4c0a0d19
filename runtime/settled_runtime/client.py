"""The client: starts instances, sends them events, reads their state, and redrives, moves and deletes them.

Its law: it talks to the queue and the store, never to a worker. So it works wherever the backend can be reached,
whether or not a worker is running.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar, assert_never

from attrs import frozen

from settled import (
    ConflictError,
    Json,
    Key,
    Machine,
    Outcome,
    OutcomeUnknownError,
    SettledError,
    Snapshot,
    UnavailableError,
    from_xstate_json,
    redrive,
    to_xstate_json,
)
from settled.data import is_object
from settled.durable import (
    STATUSES,
    Backend,
    ClosedOnExit,
    DeadLetter,
    Event,
    Index,
    Message,
    Record,
    Start,
    Stored,
    Traits,
    export_tree,
    import_tree,
    record_from_json,
)
from settled.durable.headers import NO_HEADERS
from settled.durable.limits import message_from_outside
from settled.durable.persisted_tree import tree_to_json
from settled.durable.record_json import record_from_tombstone, record_to_tombstone
from settled.durable.window import IN_DEAD_LETTERS
from settled.durations import check_duration, in_seconds
from settled.printable import printable
from settled_runtime.backend_commands import BackendCommands, retried
from settled_runtime.events import Observers

C = TypeVar("C")

FIRST_POLL_INTERVAL = 0.005
"""How many seconds a waiting client pauses after its first read of the store."""

MAX_POLL_INTERVAL = 0.5
"""The maximum number of seconds between two reads of the store: how late a waiting client may learn of a commit."""

PAUSE_PER_READ = 10
"""How many times as long as the read before it a pause is at least: reads of a store that is far away cost money."""


class EventOutcomeError(SettledError):
    """The outcome of a message is not a success.

    Attributes:
        outcome: ``IGNORED`` if the message changed nothing, ``REJECTED`` if the turn ended in a node tagged ``reject``,
            ``FAILED`` if it ended in an error, ``INVALID`` or ``DEAD_LETTERED`` if the message is among the dead
            letters. If the instance was deleted in the meantime, the outcome that the message had, which may be any.
        snapshot: the snapshot of the instance as found now, which may be later than the message's own turn. None if
            the instance does not exist, or if this machine cannot read its snapshot.
        reason: why the message has this outcome: the guards that answered false, the error of an actor or of the
            machine, what is wrong with the event. The text is for people, and its beginning is kept if it is long. None
            for ``TAKEN`` and ``RESOLVED``, and where the instance keeps it no longer: it keeps those of the last few.
    """

    def __init__(
        self, message: str, outcome: Outcome, snapshot: Snapshot[Any] | None, reason: str | None = None
    ) -> None:
        super().__init__(message)
        self.outcome, self.snapshot, self.reason = outcome, snapshot, reason


@frozen
class Instance(Generic[C]):
    """A row of `Client.list`.

    Attributes:
        id: the instance's name.
        status: XState's ``active``, ``done``, ``error`` or ``stopped``; ``halted`` while the instance waits for an
            operator; ``absent`` if messages came but no start did.
        updated: the time of the last commit, in seconds since the epoch by the backend's clock.
        snapshot: None before the instance's start, or if this machine cannot read it.
        halted: why the instance is halted; None if it is not.
    """

    id: str
    status: str
    updated: float
    snapshot: Snapshot[C] | None
    halted: str | None


class Client(ClosedOnExit, Generic[C]):
    """Starts, messages and reads the instances of one machine in one backend.

    A client holds nothing open, so it need not be closed, but a ``with`` statement may name it. The caller closes the
    backend.

    Retrying. `start`, `send` and `ask` are idempotent under a `message_id`: the second message with the same id and
    the same content has no effect. Give an id if the caller itself may retry (an HTTP ``Idempotency-Key``, an order
    number); otherwise one is generated. If a send raises `UnavailableError` or `OutcomeUnknownError`, the error's
    `message_id` is the id that was used: call again with it, and the message takes effect once, whether or not the
    first call got through. An instance remembers the ids of its last messages (`Policy.window`). The same id with other
    content raises `IdReusedError` while the queue remembers it; later, that message becomes a dead letter.

    Limits. Message ids and the names of instances have at most 256 bytes; events and inputs have at most
    `largest_message` bytes and 64 levels of arrays and objects.

    Reserved names. Message ids that begin with ``settled:`` belong to machines, and instance names that contain
    ``/~`` to child machines: the former cannot be sent, the latter not started.

    While the backend is unavailable, a method retries for some seconds before it raises `UnavailableError`. Every
    method may also raise `OutcomeUnknownError`, `AccessDeniedError`, `BackendConfigError` and `BackendClosedError`.

    Args:
        machine: the machine of the instances. Its guards, actions and actors are never called here.
        backend: the backend that the instances live in, as `connect` opens it.
        largest_message: how many bytes an event or an input may have as JSON; by default `Backend.largest_message`,
            1 MiB unless the URL says otherwise. An event that is kept in the context needs room in the record.
    """

    def __init__(self, machine: Machine[C], backend: Backend, *, largest_message: int | None = None) -> None:
        self._machine, self._backend = machine, backend
        self._largest_message = backend.largest_message if largest_message is None else largest_message

    def close(self) -> None:
        """Do nothing: the backend stays open, for its other users."""

    def start(
        self,
        instance: str,
        input: Json = None,
        *,
        message_id: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> str:
        """Send the message that creates `instance`, and return the message's id.

        Return once the message is durable in the queue; the instance exists when a worker has taken it, which
        `outcome` and `wait_for` wait for. A start of an instance that exists has no effect (`Outcome.IGNORED`).

        Args:
            instance: the name of the new instance.
            input: JSON, passed to the machine as its input.
            message_id: idempotency key: a second start with the same id has no effect.
            headers: short texts for observers, actions and actors, such as a trace context.

        Raises:
            EventError: the name is empty, reserved or too long, the id reserved or too long, the input too deeply
                nested, or a header not allowed; nothing was sent.
            TypeError, ValueError: the input is not JSON; nothing was sent.
            IdReusedError: the id was used for another message; nothing was sent.
            TooLargeError: the input is too large, for this client or for the queue; nothing was sent.
            UnavailableError: nothing was sent.
            OutcomeUnknownError: the start may have been sent. Retry with the error's `message_id`.
        """
        return self._send(instance, Start(input), message_id, headers).id

    def send(
        self, instance: str, event: Any, *, message_id: str | None = None, headers: Mapping[str, str] = NO_HEADERS
    ) -> str:
        """Send `event` to `instance`, and return the message's id.

        Return once the message is durable in the queue, without waiting for a worker. An instance takes its messages
        in the order in which their sends completed.

        Args:
            instance: the name of the instance. An event for one that does not exist becomes a dead letter.
            event: a JSON object with a ``type``, or an instance of one of the machine's event classes.
            message_id: idempotency key: a second event with the same id and content has no effect.
            headers: short texts about the message, which the machine does not see: at most 16, of 1024 characters,
                named with lower-case letters, digits, ``_``, ``.`` and ``-``. Observers (`TurnStarted`), actions and
                actors (`Call.headers`) get them, and so do the messages and timers of its turn. If a timer ends in the
                turn of another message, its effects have the headers of that one.

        Raises:
            EventError: the event has no type, a reserved type (``xstate.*``), does not fit the class declared for its
                type, is not JSON, or is too deeply nested; or the name is empty or too long, the id reserved or too
                long, or a header not allowed. Nothing was sent.
            IdReusedError: the id was used for another message; nothing was sent.
            TooLargeError: the event is too large, for this client or for the queue; nothing was sent.
            UnavailableError: nothing was sent.
            OutcomeUnknownError: the event may have been sent. Retry with the error's `message_id`.
        """
        return self._send(instance, Event(self._machine.check_event(event)), message_id, headers).id

    def ask(
        self,
        instance: str,
        event: Any,
        *,
        message_id: str | None = None,
        timeout: timedelta = timedelta(seconds=30),
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Snapshot[C]:
        """Send `event` to `instance`, wait until the turn that took it has ended, and return the snapshot found then.

        The snapshot is the newest one: if other events were taken in the meantime, it includes them.

        Args:
            instance: the name of the instance.
            event: a JSON object with a ``type``, or an instance of one of the machine's event classes.
            message_id: idempotency key. Give one to be able to wait again after a timeout.
            timeout: how long to wait for the end of the turn; the time of the send is not included.
            headers: as for `send`.

        Raises:
            EventOutcomeError: the message was ignored, because no transition took it; or it was rejected, failed,
                invalid or dead-lettered; or its instance was deleted since. The error says why.
            TimeoutError: the turn had not ended in time. The event stays in the queue and will be taken. Call `ask`
                with the same `message_id` and event, or `outcome`, to wait again.
            RecordError, LogicError: this machine cannot read the instance, or a migration raised.
            EventError, IdReusedError, TooLargeError, UnavailableError, OutcomeUnknownError: as for `send`.
        """
        check_duration(timeout, "timeout")  # before the event is sent
        message = self._send(instance, Event(self._machine.check_event(event)), message_id, headers)
        return self._outcome(instance, message.id, message.digest, timeout)

    def outcome(self, instance: str, message_id: str, *, timeout: timedelta = timedelta(seconds=30)) -> Snapshot[C]:
        """Wait until the turn that took the message `message_id` has ended; return what `ask` returns.

        Use it after `start` or `send`, or after a timeout of `ask`. A record remembers its last messages only
        (`Policy.window`); of older ones, and of those that were never sent, no outcome is found.

        Args:
            instance: the name of the instance.
            message_id: the id that `start` or `send` returned.
            timeout: how long to wait; ``timedelta(0)`` reads the outcome once.

        Raises:
            EventOutcomeError: as for `ask`; a second start of an instance is ignored, too.
            TimeoutError: no outcome was found in time.
            RecordError, LogicError: this machine cannot read the instance, or a migration raised.
        """
        return self._outcome(instance, message_id, None, timeout)

    def _outcome(self, instance: str, message_id: str, digest: str | None, timeout: timedelta) -> Snapshot[C]:
        def answered(found: Record | None) -> Snapshot[C] | None:
            outcome = found.window.outcome_of_id(message_id, digest) if found else None
            if found is None or outcome is None or outcome is Outcome.POSTPONED:
                return None
            reason = found.window.reason_of_id(message_id, digest)
            return self._answer(instance, message_id, found, outcome, reason)

        return self._wait(instance, answered, timeout, f"the turn of {message_id}")

    def get(self, instance: str) -> Snapshot[C] | None:
        """Return the newest committed snapshot of `instance`; None if it does not exist.

        Raises:
            RecordError, LogicError: this machine cannot read the instance, or a migration raised.
        """
        record = self._record(instance)
        return None if record is None or record.snapshot is None else record.readable_snapshot()

    def wait_for(
        self,
        instance: str,
        *,
        tag: str | None = None,
        value: Any = None,
        done: bool = False,
        timeout: timedelta = timedelta(seconds=30),
    ) -> Snapshot[C]:
        """Wait until a snapshot of `instance` meets all the conditions given, and return it.

        Without a condition, wait until the instance has started. The store is polled, so a state that the instance
        passes through quickly can be missed: wait for one in which it rests.

        Args:
            instance: the name of the instance, which need not exist yet.
            tag: a tag that one of the active nodes must have.
            value: a state value that the snapshot must match, as for `Snapshot.matches`.
            done: whether the machine must have ended: be ``done``, ``error`` or ``stopped``.
            timeout: how long to wait; ``timedelta(0)`` checks once.

        Raises:
            TypeError: `value` is no state value; nothing was read.
            TimeoutError: the conditions were not met in time.
            RecordError, LogicError: this machine cannot read the instance, or a migration raised.
        """
        if value is not None and not (isinstance(value, str) or is_object(value)):
            raise TypeError(f"value: {value!r} is no state value: neither text nor a mapping")

        def matching(record: Record | None) -> Snapshot[C] | None:
            if record is None or record.snapshot is None:  # not started yet, or deleted
                return None
            snapshot = record.readable_snapshot()
            holds = (
                (tag is None or snapshot.has_tag(tag))
                and (value is None or snapshot.matches(value))
                and (not done or snapshot.status != "active")
            )
            return snapshot if holds else None

        wanted = [f"tag {tag}"] * (tag is not None) + [f"value {value}"] * (value is not None) + ["its end"] * done
        return self._wait(instance, matching, timeout, " and ".join(wanted) or "its start")

    def dead_letters(self, instance: str) -> Sequence[DeadLetter]:
        """Return the dead letters of `instance`, oldest first; none if the instance does not exist."""
        return retried(self._backend.store.dead_letters, self._key(instance))

    def redrive(self, instance: str) -> int:
        """Let workers take the dead letters of `instance` again, and return how many there are.

        They are taken in order, before any newer message; a halted instance goes on. Return once this is committed,
        without waiting for a worker. Safe to repeat.

        Raises:
            RecordError: there is no such instance and there are no dead letters, or this machine cannot read it.
            ConflictError: a worker committed in the meantime; nothing was changed. Call again.
            OutcomeUnknownError: the redrive may have been committed. Call again.
        """
        commands = redrive(self._machine, self._key(instance), uuid.uuid4().hex, Traits.of(self._backend))
        return BackendCommands(self._backend, Observers(())).run(commands)

    def import_snapshot(self, instance: str, text: str) -> None:
        """Create `instance`, and instances for the child machines in it, from a snapshot that XState persisted.

        Function actors that had not ended are started again, and the delays of active states begin anew. The import
        is all or nothing and safe to repeat: after an error or a crash, the same call completes it.

        Args:
            instance: the name of the new instance.
            text: the JSON text of XState's ``actor.getPersistedSnapshot()``.

        Raises:
            RecordError: `text` is not a snapshot of this machine, or another instance of this name exists.
            LogicError: the snapshot has an actor that this machine does not have.
            EventError: the name is empty or reserved.
            ConflictError: another process created the instance in the meantime.
            TooLargeError: the store cannot hold the snapshot; nothing was written.
            OutcomeUnknownError: the snapshot may have been imported. Call again.
        """
        key, tree = self._key(instance), tree_to_json(self._machine, from_xstate_json(self._machine, text))
        try:
            self._import(key, tree)
        except ConflictError:
            # The commit that came first may be this call's own, whose answer was lost. `import_tree` recognises it;
            # without the second attempt, an import that succeeded would be reported as a conflict.
            self._import(key, tree)

    def _import(self, key: Key, tree: Json) -> None:
        found = retried(self._backend.store.load, key)
        # `now` may be behind the true time by `resolution`. Delays count from the later one, so that none is early.
        now = self._backend.now() + self._backend.resolution.total_seconds()
        write = import_tree(self._machine, key, tree, found, secrets.token_hex(8), now, Traits.of(self._backend))
        retried(self._backend.finish, write)

    def export_snapshot(self, instance: str) -> str:
        """Return `instance` and its child instances as the JSON text that XState would persist.

        Raises:
            RecordError: there is no such instance, or this machine cannot read it.
        """
        return to_xstate_json(self._machine, export_tree(self._machine, self._key(instance), self._load))

    def delete(self, instance: str) -> bool:
        """Delete `instance` and its dead letters, and return whether there was either.

        Events that are still in the queue become dead letters of the deleted instance. Its child instances are not
        deleted.

        Raises:
            UnavailableError: nothing was deleted. Call again.
            ConflictError: a worker committed in the meantime; nothing was deleted. Call again.
            OutcomeUnknownError: the instance may have been deleted. Call again.
        """
        key = self._key(instance)
        stored = retried(self._backend.store.load, key)
        # Dead letters may have outlived a record that was removed by hand. They are deleted all the same.
        if stored.is_deleted if stored else not self.dead_letters(instance):
            return False
        now, expected = self._backend.now(), stored.version if stored else 0
        found = stored or Stored(Traits.of(self._backend).first_version(now) - 1, "", Index("absent"))
        # A tombstone takes the record's place and continues its versions: if the key were removed, a worker with the
        # old record in its cache could commit over the next instance of this name.
        retried(self._backend.store.delete, key, record_to_tombstone(key, found, now), expected)
        return True

    def list(self, *, status: str | None = None, after: str | None = None, limit: int = 100) -> Iterable[Instance[C]]:
        """Return up to `limit` instances, ordered by name; on AWS in an order of the table's own, which stays the same.

        Args:
            status: only those with this status, one of `STATUSES` (see `Instance`).
            after: the name to begin after; for the next page, that of the last row.
            limit: the maximum number of instances to return.

        Raises:
            ValueError: no instance ever has this `status`.
            UnsupportedError: this backend cannot list instances.
        """
        if status is not None and status not in STATUSES:
            raise ValueError(f"status: {status!r} is none of {', '.join(STATUSES)}")
        after_key = None if after is None else self._key(after)
        rows = retried(self._backend.store.scan, self._machine.id, after_key, limit, status)
        return [self._listed(key, stored) for key, stored in rows]

    def _listed(self, key: Key, stored: Stored) -> Instance[C]:
        full = stored if stored.body else retried(self._backend.store.load, key)  # some list without bodies
        record = None if full is None or full.is_deleted else record_from_json(self._machine, key, full.body)
        snapshot = record.snapshot if record and isinstance(record.snapshot, Snapshot) else None
        halted = record.halted if record else None
        return Instance(key.instance, stored.index.status, stored.index.updated, snapshot, halted)

    def _key(self, instance: str) -> Key:
        return Key(self._machine.id, instance)

    def _send(
        self, instance: str, content: Start | Event, message_id: str | None, headers: Mapping[str, str]
    ) -> Message:
        id = message_id or secrets.token_urlsafe(12)
        message = message_from_outside(self._key(instance), id, content, headers, self._largest_message)
        try:
            # The id is fixed before the first attempt: a retry with a new one would be a second message.
            retried(self._backend.queue.send, [message])
        except (UnavailableError, OutcomeUnknownError) as error:
            # A generated id is not known to the caller. Without it the caller could only send a second message.
            error.message_id = message.id
            error.add_note(f"retry with message_id={message.id!r}, and the message takes effect once")
            raise
        return message

    def _record(self, instance: str) -> Record | None:
        return self._load(self._machine, self._key(instance))

    def _record_or_tombstone(self, instance: str) -> Record | None:
        # A tombstone keeps the window of the deleted instance: a retry after the deletion still gets its answer.
        key = self._key(instance)
        stored = retried(self._backend.store.load, key)
        if stored is None:
            return None
        if stored.is_deleted:
            return record_from_tombstone(key, stored.body)
        return record_from_json(self._machine, key, stored.body)

    def _load(self, machine: Machine[Any], key: Key) -> Record | None:
        stored = retried(self._backend.store.load, key)
        return None if stored is None or stored.is_deleted else record_from_json(machine, key, stored.body)

    def _answer(
        self, instance: str, message_id: str, record: Record, outcome: Outcome, reason: str | None
    ) -> Snapshot[C]:
        """Return the snapshot for a message with `outcome`, or raise EventOutcomeError."""
        text = f"{self._key(instance)}: the message {message_id} was {outcome}{f': {reason}' if reason else ''}"
        if record.snapshot is None and outcome not in IN_DEAD_LETTERS:
            raise EventOutcomeError(f"{text}; the instance was deleted since", outcome, None, reason)
        match outcome:
            case Outcome.TAKEN | Outcome.RESOLVED:
                return record.readable_snapshot()
            case Outcome.IGNORED | Outcome.REJECTED | Outcome.FAILED | Outcome.INVALID | Outcome.DEAD_LETTERED:
                snapshot = record.snapshot if isinstance(record.snapshot, Snapshot) else None
                raise EventOutcomeError(text, outcome, snapshot, reason)
            case Outcome.POSTPONED:
                raise AssertionError("it has no outcome yet, and is waited for")
            case _:
                assert_never(outcome)

    def _wait(
        self, instance: str, find: Callable[[Record | None], Snapshot[C] | None], timeout: timedelta, awaited: str
    ) -> Snapshot[C]:
        """Poll the record of `instance` until `find` returns a snapshot; `awaited` describes it in the TimeoutError."""
        seconds = in_seconds(timeout, "timeout")
        for _ in polls(seconds):
            found = find(self._record_or_tombstone(instance))
            if found is not None:
                return found
        raise TimeoutError(printable(f"{self._key(instance)}: waited {seconds:g} s for {awaited}"))


def polls(timeout: float) -> Iterator[None]:
    """Yield whenever it is time for a read, first at once and last when `timeout` seconds have passed."""
    began, pause = time.monotonic(), FIRST_POLL_INTERVAL
    end = began + timeout
    while True:
        yield
        read = time.monotonic()
        if not read < end:  # also for NaN
            return
        pause = min(max(pause, PAUSE_PER_READ * (read - began)), MAX_POLL_INTERVAL)
        time.sleep(min(pause, end - read))
        began, pause = time.monotonic(), pause * 1.5
