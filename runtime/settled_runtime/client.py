"""The client: starts instances, sends them events, and looks at what became of them.

It talks to the queue and the store, never to a worker, so it can be used anywhere the backend can be reached from.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, assert_never

from attrs import frozen

from settled import (
    ConflictError,
    EventError,
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
from settled.durable import (
    Backend,
    DeadLetter,
    Event,
    Message,
    Record,
    Start,
    Stored,
    encode,
    export_tree,
    import_tree,
    record_from_json,
)
from settled.durable.commands import (
    Answer,
    Command,
    Extend,
    Finish,
    Load,
    LoadDeadLetters,
    PerformActions,
    Release,
    RunActors,
)
from settled.durable.messages import check_id, check_start
from settled.durable.persisted_tree import tree_to_json
from settled.durable.record_json import record_from_tombstone, record_to_tombstone
from settled.durable.window import IN_DEAD_LETTERS
from settled_runtime.backend_commands import BackendCommands, retried
from settled_runtime.command_loop import CommandLoop
from settled_runtime.events import Observers

C = TypeVar("C")
T = TypeVar("T")

FIRST_POLL_INTERVAL, MAX_POLL_INTERVAL = 0.005, 0.25
"""How long a waiting client pauses before its second look at the store, and at most between two looks; in seconds."""


class EventRejectedError(SettledError):
    """The event was answered with a ``reject``, or could not be taken. `outcome` says which, `snapshot` what was found.

    `snapshot` is None where there is no instance.
    """

    def __init__(self, message: str, outcome: Outcome, snapshot: Snapshot[Any] | None) -> None:
        super().__init__(message)
        self.outcome, self.snapshot = outcome, snapshot


@frozen
class Instance(Generic[C]):
    """An instance as it is listed. `snapshot` is None before its start, or where this machine cannot read it."""

    id: str
    status: str
    updated: float
    snapshot: Snapshot[C] | None
    halted: str | None


class Client(Generic[C]):
    """A way to the instances of `machine` that live in `backend`.

    Ids that begin with ``settled:`` are those of the machines' own messages, and names with ``/~`` in them those of
    child machines: neither can be given here.
    """

    def __init__(self, machine: Machine[C, Any], backend: Backend) -> None:
        self._machine, self._backend = machine, backend

    def start(self, instance: str, input: Json = None, *, message_id: str | None = None) -> str:
        """Create `instance`. Returns the id of the message, by which `ask`'s waiting can be repeated.

        An instance that exists already is left as it is.

        Args:
            id: the message's own id; who gives the same one again repeats this start.

        Raises:
            IdReused: the id was given to something else.
            Unavailable: nothing was sent.
            Unknown: perhaps it was sent. Start again with the error's `message_id` as `id`, and it is started once.
        """
        check_start(self._key(instance))
        return self._send(instance, encode(Start(input)), message_id)

    def send(self, instance: str, event: Any, *, message_id: str | None = None) -> str:
        """Send `event` to `instance`. Returns the id of the message.

        Args:
            event: an object with a ``type``, or an instance of one of the machine's event classes.
            id: the message's own id; who gives the same one again repeats this event.

        Raises:
            EventError: it is no event for this machine; nothing was sent.
            IdReused: the id was given to something else.
            Unavailable: nothing was sent.
            Unknown: perhaps it was sent. Send it again with the error's `message_id` as `id`, and it is taken once.
        """
        return self._send(instance, self._event(event), message_id)

    def _event(self, event: Any) -> str:
        return encode(Event(self._machine.admit(event)))

    def ask(self, instance: str, event: Any, *, message_id: str | None = None, timeout: float = 30.0) -> Snapshot[C]:
        """Send `event` and wait for the end of the turn that took it. Returns the snapshot that was found then.

        Raises:
            NotTaken: the turn ended in a node tagged ``reject`` or in an error, or there was none.
            TimeoutError: the turn was not over in time. It goes on; ask again with the same `id`.
            EventError, IdReused, Unavailable, Unknown: as `send`.
        """
        body = self._event(event)
        message_id = self._send(instance, body, message_id)
        return self._outcome(instance, message_id, Message(self._key(instance), message_id, body).digest, timeout)

    def outcome(self, instance: str, message_id: str, *, timeout: float = 30.0) -> Snapshot[C]:
        """Wait for the end of the turn of the message `id`; as `ask`, without sending."""
        return self._outcome(instance, message_id, None, timeout)

    def _outcome(self, instance: str, id: str, digest: str | None, timeout: float) -> Snapshot[C]:
        def look(record: Record | None) -> Snapshot[C] | None:
            past = record or self._tombstone(instance)
            found = past.window.outcome_of(id, digest) if past else None
            return None if past is None or found is None else self._answer(instance, id, past, found)

        return self._wait(instance, look, timeout, f"the turn of {id}")

    def _tombstone(self, instance: str) -> Record | None:
        """Load what is left of `instance`, if it was deleted."""
        key = self._key(instance)
        stored = retried(lambda: self._backend.store.load(key))
        return record_from_tombstone(key, stored.body) if stored is not None and stored.is_deleted else None

    def get(self, instance: str) -> Snapshot[C] | None:
        """Where `instance` is; None if there is none.

        Raises:
            RecordError: it cannot be read by this machine.
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
        timeout: float = 30.0,
    ) -> Snapshot[C]:
        """Wait until `instance` carries `tag`, matches `value`, or is `done`; of several conditions all must hold.

        Raises:
            TimeoutError: it did not come to that in time.
        """

        def look(record: Record | None) -> Snapshot[C] | None:
            if record is None or record.snapshot is None:
                return None
            snapshot = record.readable_snapshot()
            holds = (
                (tag is None or snapshot.has_tag(tag))
                and (value is None or snapshot.matches(value))
                and (not done or snapshot.status != "active")
            )
            return snapshot if holds else None

        wanted = [f"tag {tag}"] * bool(tag) + [f"value {value}"] * bool(value) + ["its end"] * done
        return self._wait(instance, look, timeout, " and ".join(wanted) or "its start")

    def dead_letters(self, instance: str) -> Sequence[DeadLetter]:
        """The messages that were set aside, oldest first."""
        return retried(lambda: self._backend.store.dead_letters(self._key(instance)))

    def redrive(self, instance: str) -> int:
        """Let the dead letters be taken after all, in order, before anything newer. Returns how many there are.

        Raises:
            RecordError: there is no such instance, or it cannot be read.
            Conflict: a worker committed meanwhile; try again.
        """
        ports = BackendCommands(self._backend, Observers(()))
        return CommandLoop(redrive(self._machine, self._key(instance), uuid.uuid4().hex)).run(_performer(ports))

    def import_snapshot(self, instance: str, text: str) -> None:
        """Let what XState has persisted go on as `instance`, and the machines it had started as instances of their own.

        Function actors that had not ended are started again, and the delays of active states count from now. It is all
        or nothing; after an error or a crash, the same call again goes on with it.

        Raises:
            RecordError: `text` is no snapshot of this machine, or there is such an instance already.
            LogicError: it has an actor that this machine does not know.
            EventError: an instance of this name is not to be started by an outsider.
            Conflict: somebody else began it meanwhile.
            Unknown: perhaps it was adopted; adopt it again.
        """
        key, tree = self._key(instance), tree_to_json(self._machine, from_xstate_json(self._machine, text))
        try:
            self._import(key, tree)
        except ConflictError:
            # It may have been this very call that came first: its commit was made, and an answer was not.
            self._import(key, tree)

    def _import(self, key: Key, tree: Json) -> None:
        found = retried(lambda: self._backend.store.load(key))
        write = import_tree(
            self._machine, key, tree, found, secrets.token_hex(8), self._backend.now() + self._backend.resolution
        )
        retried(lambda: self._backend.finish(write))

    def export_snapshot(self, instance: str) -> str:
        """What XState would have persisted of `instance` and of the machines that it has started.

        Raises:
            RecordError: there is no such instance, or it cannot be read by this machine.
        """
        return to_xstate_json(self._machine, export_tree(self._machine, self._key(instance), self._look))

    def delete(self, instance: str) -> bool:
        """Forget `instance` and its dead letters. Returns whether there was one.

        Raises:
            Conflict: a worker committed meanwhile; try again.
        """
        key = self._key(instance)
        stored = retried(lambda: self._backend.store.load(key))
        if stored is None or stored.is_deleted:
            return False
        self._backend.store.delete(key, record_to_tombstone(key, stored, self._backend.now()), stored.version)
        return True

    def list(self, *, status: str | None = None, after: str | None = None, limit: int = 100) -> Iterable[Instance[C]]:
        """Up to `limit` instances, in the order of their ids, from the first behind `after`.

        Raises:
            Unsupported: this backend cannot list.
        """
        behind = None if after is None else self._key(after)
        rows = retried(lambda: self._backend.store.scan(self._machine.id, behind, limit, status))
        return [self._listed(key, stored) for key, stored in rows]

    def _listed(self, key: Key, stored: Stored) -> Instance[C]:
        full = stored if stored.body else self._backend.store.load(key)
        record = None if full is None or full.is_deleted else record_from_json(self._machine, key, full.body)
        snapshot = record.snapshot if record and isinstance(record.snapshot, Snapshot) else None
        halted = record.halted if record else None
        return Instance(key.instance, stored.index.status, stored.index.updated, snapshot, halted)

    def _key(self, instance: str) -> Key:
        return Key(self._machine.id, instance)

    def _send(self, instance: str, body: str, message_id: str | None) -> str:
        if not instance:
            raise EventError("an instance needs a name: the one given is empty")
        check_id(message_id or "")
        message = Message(self._key(instance), message_id or secrets.token_urlsafe(12), body)
        try:
            retried(lambda: self._backend.queue.send([message]))
        except (UnavailableError, OutcomeUnknownError) as error:
            error.message_id = message.id
            error.add_note(f"its id is {message.id}: sent again under it, it is taken once")
            raise
        return message.id

    def _record(self, instance: str) -> Record | None:
        return self._look(self._machine, self._key(instance))

    def _look(self, machine: Machine[Any, Any], key: Key) -> Record | None:
        stored = retried(lambda: self._backend.store.load(key))
        return None if stored is None or stored.is_deleted else record_from_json(machine, key, stored.body)

    def _answer(self, instance: str, id: str, record: Record, outcome: Outcome) -> Snapshot[C]:
        if record.snapshot is None and outcome not in IN_DEAD_LETTERS:
            how = f"{self._key(instance)}: the message {id} was {outcome}, and the instance was deleted since"
            raise EventRejectedError(how, outcome, None)
        match outcome:
            case Outcome.TAKEN | Outcome.RESOLVED | Outcome.IGNORED:
                return record.readable_snapshot()
            case Outcome.REJECTED | Outcome.FAILED | Outcome.INVALID | Outcome.DEAD_LETTERED:
                snapshot = record.snapshot if isinstance(record.snapshot, Snapshot) else None
                raise EventRejectedError(f"{self._key(instance)}: the message {id} was {outcome}", outcome, snapshot)
            case _:
                assert_never(outcome)

    def _wait(
        self, instance: str, look: Callable[[Record | None], Snapshot[C] | None], timeout: float, what: str
    ) -> Snapshot[C]:
        for pause in _pauses(timeout):
            found = look(self._record(instance))
            if found is not None:
                return found
            time.sleep(pause)
        raise TimeoutError(f"{self._key(instance)}: waited {timeout:g} s for {what}")


def _pauses(timeout: float) -> Iterator[float]:
    """How long to pause after each look, until `timeout` seconds have passed; the last look is at the end."""
    end, pause = time.monotonic() + timeout, FIRST_POLL_INTERVAL
    while (left := end - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 1.5, MAX_POLL_INTERVAL)
    yield 0.0


def _performer(ports: BackendCommands) -> Callable[[Command], Answer]:
    def perform(command: Command) -> Answer:
        match command:
            case Load() | LoadDeadLetters() | Finish() | Release() | Extend():
                return ports.perform(command)
            case PerformActions() | RunActors():
                raise AssertionError("an operator's command performs no effects")
            case _:
                assert_never(command)

    return perform
