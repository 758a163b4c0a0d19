"""The client: starts instances, sends them events, reads their state, and redrives, moves and deletes them.

Its law: it talks to the queue and the store, never to a worker. So it works wherever the backend can be reached,
whether or not a worker is running.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from attrs import frozen

from settled import (
    ConflictError,
    Json,
    Key,
    Machine,
    OutcomeUnknownError,
    SettledError,
    Snapshot,
    UnavailableError,
    from_xstate_json,
    redrive,
    to_xstate_json,
)
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
from settled.durable.record_json import record_to_tombstone
from settled.durations import check_duration
from settled_runtime.backend_commands import BackendCommands, refuse_in_event_loop, retried
from settled_runtime.events import Observers
from settled_runtime.instance_reader import InstanceReader, InstanceUpdate
from settled_runtime.many import Outgoing, Sent, send_each
from settled_runtime.waiting import first_found_by_thread, found_by_thread

C = TypeVar("C")
T = TypeVar("T")
P = ParamSpec("P")

new_message_id = partial(secrets.token_urlsafe, 12)
"""Returns an id that no other message has."""


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

    Its methods block. In a thread that runs an event loop they raise RuntimeError, and do nothing: use `AsyncClient`.

    Args:
        machine: the machine of the instances. Its guards, actions and actors are never called here.
        backend: the backend that the instances live in, as `connect` opens it.
        largest_message: how many bytes an event or an input may have as JSON; by default `Backend.largest_message`,
            1 MiB unless the URL says otherwise. An event that is kept in the context needs room in the record.
    """

    def __init__(self, machine: Machine[C], backend: Backend, *, largest_message: int | None = None) -> None:
        self._machine, self._backend = machine, backend
        self._reader = InstanceReader(machine)
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
        return self.send_message(instance, event, message_id, headers).id

    def start_many(self, instances: Iterable[Outgoing]) -> Sequence[Sent]:
        """Start many instances, and return what became of each, in the same order.

        Hundreds go to the queue in one call. One that is refused keeps none of the others from being sent; if the
        backend cannot be reached, those that follow are not sent either.

        Args:
            instances: the name of each, and its input as `Outgoing.content`.
        """
        return self._send_many(instances, Start)

    def send_many(self, events: Iterable[Outgoing]) -> Sequence[Sent]:
        """Send many events, and return what became of each, in the same order: as `start_many` starts instances."""
        return self._send_many(events, lambda content: Event(self._machine.check_event(content)))

    def _send_many(self, entries: Iterable[Outgoing], content_of: Callable[[Any], Start | Event]) -> Sequence[Sent]:
        refuse_in_event_loop()
        results, messages, places = list[Sent](), list[Message](), list[int]()
        for place, (instance, given, message_id, headers) in enumerate(entries):
            id = message_id or new_message_id()
            try:
                content = content_of(given)
                message = message_from_outside(self._key(instance), id, content, headers, self._largest_message)
            except (SettledError, TypeError, ValueError) as error:
                results.append(Sent(instance, message_id, error))
            else:
                results.append(Sent(instance, id, None))
                messages.append(message)
                places.append(place)
        for place, refusal in zip(places, send_each(self._backend.queue.send, messages), strict=True):
            results[place] = results[place]._replace(error=refusal)
        return results

    def send_message(
        self, instance: str, event: Any, message_id: str | None, headers: Mapping[str, str] = NO_HEADERS
    ) -> Message:
        """Do `send`, and return the message."""
        return self._send(instance, Event(self._machine.check_event(event)), message_id, headers)

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
        message = self.send_message(instance, event, message_id, headers)
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
        steps = self._reader.outcome(instance, message_id, digest, timeout)
        return first_found_by_thread(self._backend, self._key(instance), steps)

    def get(self, instance: str) -> Snapshot[C] | None:
        """Return the newest committed snapshot of `instance`; None if it does not exist.

        Raises:
            RecordError, LogicError: this machine cannot read the instance, or a migration raised.
        """
        record = self._load(self._machine, self._key(instance))
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
        steps = self._reader.meeting(instance, tag, value, timeout, done=done)
        return first_found_by_thread(self._backend, self._key(instance), steps)

    def watch(
        self, instance: str, *, timeout: timedelta | None = None, must_exist: bool = False
    ) -> Iterator[InstanceUpdate[C]]:
        """Yield the newest state of `instance`, and then each newer one that is seen, until the instance ends.

        No state is older than the one before. If several commits come faster than they are read, only the last one is
        yielded: `InstanceUpdate.skipped` says how many were not. The last one is that of the end, or of the deletion.

        Args:
            instance: the name of the instance.
            timeout: after how long to stop; by default never.
            must_exist: whether to stop at once if there is no such instance, and not to wait for its start.

        Raises:
            RecordError, LogicError: this machine cannot read the instance, or a migration raised.
        """
        steps = self._reader.updates(instance, timeout, must_exist=must_exist)
        return found_by_thread(self._backend, self._key(instance), steps)

    def dead_letters(self, instance: str) -> Sequence[DeadLetter]:
        """Return the dead letters of `instance`, oldest first; none if the instance does not exist."""
        return _blocking(self._backend.store.dead_letters, self._key(instance))

    def redrive(self, instance: str) -> int:
        """Let workers take the dead letters of `instance` again, and return how many there are.

        They are taken in order, before any newer message; a halted instance goes on. Return once this is committed,
        without waiting for a worker. Safe to repeat.

        Raises:
            RecordError: there is no such instance and there are no dead letters, or this machine cannot read it.
            ConflictError: a worker committed in the meantime; nothing was changed. Call again.
            OutcomeUnknownError: the redrive may have been committed. Call again.
        """
        refuse_in_event_loop()
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
        found = _blocking(self._backend.store.load, key)
        # `now` may be behind the true time by `resolution`. Delays count from the later one, so that none is early.
        now = self._backend.now() + self._backend.resolution.total_seconds()
        write = import_tree(self._machine, key, tree, found, secrets.token_hex(8), now, Traits.of(self._backend))
        _blocking(self._backend.finish, write)

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
        stored = _blocking(self._backend.store.load, key)
        # Dead letters may have outlived a record that was removed by hand. They are deleted all the same.
        if stored.is_deleted if stored else not self.dead_letters(instance):
            return False
        now, expected = self._backend.now(), stored.version if stored else 0
        found = stored or Stored(Traits.of(self._backend).first_version(now) - 1, "", Index("absent"))
        # A tombstone takes the record's place and continues its versions: if the key were removed, a worker with the
        # old record in its cache could commit over the next instance of this name.
        _blocking(self._backend.store.delete, key, record_to_tombstone(key, found, now), expected)
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
        rows = _blocking(self._backend.store.scan, self._machine.id, after_key, limit, status)
        return [self._listed(key, stored) for key, stored in rows]

    def _listed(self, key: Key, stored: Stored) -> Instance[C]:
        full = stored if stored.body else _blocking(self._backend.store.load, key)  # some list without bodies
        record = None if full is None or full.is_deleted else record_from_json(self._machine, key, full.body)
        snapshot = record.snapshot if record and isinstance(record.snapshot, Snapshot) else None
        halted = record.halted if record else None
        return Instance(key.instance, stored.index.status, stored.index.updated, snapshot, halted)

    def _key(self, instance: str) -> Key:
        return Key(self._machine.id, instance)

    def _send(
        self, instance: str, content: Start | Event, message_id: str | None, headers: Mapping[str, str]
    ) -> Message:
        id = message_id or new_message_id()
        message = message_from_outside(self._key(instance), id, content, headers, self._largest_message)
        try:
            # The id is fixed before the first attempt: a retry with a new one would be a second message.
            refuse_in_event_loop()
            retried(self._backend.queue.send, [message])
        except (UnavailableError, OutcomeUnknownError) as error:
            # A generated id is not known to the caller. Without it the caller could only send a second message.
            error.message_id = message.id
            error.add_note(f"retry with message_id={message.id!r}, and the message takes effect once")
            raise
        return message

    def _load(self, machine: Machine[Any], key: Key) -> Record | None:
        stored = _blocking(self._backend.store.load, key)
        return None if stored is None or stored.is_deleted else record_from_json(machine, key, stored.body)


def _blocking(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do `retried`, but not in an event loop."""
    refuse_in_event_loop()
    return retried(call, *args, **kwargs)
